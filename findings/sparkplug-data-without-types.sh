#!/usr/bin/env bash
# Every reading of a device that follows Sparkplug is null for the JavaScript library of the same standard.
# Expected: Sparkplug B 3.0, section 6.4.6: a metric's datatype must be in the birth messages and should not be repeated in the data
# messages. A decoder gives the value that is there, or says that it needs the type.
# Seen: sparkplug-payload 1.0.3 gives null for each value without a datatype, and no type. pysparkplug 0.6.1 for Python
# leaves the datatype out, as it should: what it sends is null, null, null there. A real null, is_null on the wire, looks the same.
# Why it matters: the birth message reads right, so the set-up looks fine; from then on all readings are null, as if the sensors
# had failed, without an error.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check pysparkplug==0.6.1
npm install --silent --no-audit --no-fund --prefix "$work" sparkplug-payload@1.0.3 >/dev/null
cat >send.py <<'PYTHON'
import pysparkplug as sparkplug

values = [("count", sparkplug.DataType.INT32, 5), ("open", sparkplug.DataType.BOOLEAN, True), ("heat", sparkplug.DataType.DOUBLE, 21.5), ("lost", sparkplug.DataType.DOUBLE, None)]
metrics = [sparkplug.Metric(timestamp=1, name=name, datatype=datatype, value=value) for name, datatype, value in values]
print("birth", sparkplug.DBirth(timestamp=1, seq=1, metrics=metrics).encode().hex())
print("data", sparkplug.DData(timestamp=1, seq=2, metrics=metrics).encode().hex())
PYTHON
cat >read.js <<'JAVASCRIPT'
const { decodePayload } = require("sparkplug-payload").get("spBv1.0");
for (const line of require("fs").readFileSync(0, "utf8").trim().split("\n")) {
  const [what, bytes] = line.split(" ");
  console.log(what, JSON.stringify(decodePayload(Buffer.from(bytes, "hex")).metrics.map(({ name, type, value }) => [name, type, value])));
}
JAVASCRIPT
seen=$(venv/bin/python send.py | node read.js)
expected='birth [["count","Int32",5],["open","Boolean",true],["heat","Double",21.5],["lost","Double",null]]
data [["count",null,null],["open",null,null],["heat",null,null],["lost",null,null]]'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
