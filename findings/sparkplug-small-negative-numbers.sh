#!/usr/bin/env bash
# Two Sparkplug libraries write -5 of 8 or 16 bits in two ways, and neither reads the other's.
# Expected: Sparkplug B 3.0 has signed types of 8 and 16 bits, which travel in an unsigned field of 32 bits. -5 arrives as -5,
# whoever sends it, as it does for 32 and 64 bits.
# Seen: sparkplug-payload 1.0.3 (JavaScript) fills the 32 bits with the sign, pysparkplug 0.6.1 (Python) sends the 8 or 16 bits alone.
# In JavaScript, Python's -5 is 251 or 65531, without an error. In Python, JavaScript's -5 raises an overflow, and the whole message
# with its other metrics is lost. mqtt-spb-wrapper 2.1.2 (Python) reads both.
# Why it matters: a cold store at -5 degrees is reported at 251, or falls silent, as soon as it gets below zero. Above zero, and
# between devices of one maker, all is well.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv one
one/bin/pip install --quiet --disable-pip-version-check pysparkplug==0.6.1
python3 -m venv two
two/bin/pip install --quiet --disable-pip-version-check mqtt-spb-wrapper==2.1.2
npm install --silent --no-audit --no-fund --prefix "$work" sparkplug-payload@1.0.3 >/dev/null
cat >write.js <<'JAVASCRIPT'
const { encodePayload } = require("sparkplug-payload").get("spBv1.0");
const metrics = ["Int8", "Int16", "Int32"].map((type) => ({ name: type, type, value: -5, timestamp: 1 }));
for (const metric of metrics) console.log("JavaScript", Buffer.from(encodePayload({ timestamp: 1, seq: 1, metrics: [metric] })).toString("hex"));
JAVASCRIPT
cat >write.py <<'PYTHON'
import pysparkplug as sparkplug

for name, datatype in [("Int8", sparkplug.DataType.INT8), ("Int16", sparkplug.DataType.INT16), ("Int32", sparkplug.DataType.INT32)]:
    metric = sparkplug.Metric(timestamp=1, name=name, datatype=datatype, value=-5)
    print("pysparkplug", sparkplug.DBirth(timestamp=1, seq=1, metrics=[metric]).encode().hex())
PYTHON
cat >read.js <<'JAVASCRIPT'
const { decodePayload } = require("sparkplug-payload").get("spBv1.0");
for (const line of require("fs").readFileSync("written", "utf8").trim().split("\n")) {
  const [writer, bytes] = line.split(" ");
  const [{ name, value }] = decodePayload(Buffer.from(bytes, "hex")).metrics;
  console.log(writer, name, "in JavaScript:", value);
}
JAVASCRIPT
cat >read-one.py <<'PYTHON'
import pysparkplug as sparkplug

for line in open("written"):
    writer, data = line.split()
    try:
        [metric] = sparkplug.DBirth.decode(bytes.fromhex(data)).metrics
        print(writer, metric.name, "in pysparkplug:", metric.value)
    except OverflowError as error:
        print(writer, "in pysparkplug:", error)
PYTHON
cat >read-two.py <<'PYTHON'
from mqtt_spb_wrapper.spb_base import SpbPayloadParser

for line in open("written"):
    writer, data = line.split()
    [metric] = SpbPayloadParser().parse_payload(bytes.fromhex(data))["metrics"]
    print(writer, metric["name"], "in mqtt-spb-wrapper:", metric["value"])
PYTHON
{ node write.js; one/bin/python write.py; } >written
seen=$(node read.js; one/bin/python read-one.py; two/bin/python read-two.py)
expected='JavaScript Int8 in JavaScript: -5
JavaScript Int16 in JavaScript: -5
JavaScript Int32 in JavaScript: -5
pysparkplug Int8 in JavaScript: 251
pysparkplug Int16 in JavaScript: 65531
pysparkplug Int32 in JavaScript: -5
JavaScript in pysparkplug: Int8 overflow with value 4294967291
JavaScript in pysparkplug: Int16 overflow with value 4294967291
JavaScript Int32 in pysparkplug: -5
pysparkplug Int8 in pysparkplug: -5
pysparkplug Int16 in pysparkplug: -5
pysparkplug Int32 in pysparkplug: -5
JavaScript Int8 in mqtt-spb-wrapper: -5
JavaScript Int16 in mqtt-spb-wrapper: -5
JavaScript Int32 in mqtt-spb-wrapper: -5
pysparkplug Int8 in mqtt-spb-wrapper: -5
pysparkplug Int16 in mqtt-spb-wrapper: -5
pysparkplug Int32 in mqtt-spb-wrapper: -5'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
