#!/usr/bin/env bash
# A SenML reader takes values without their times and units, and a measurement of the past becomes one of now.
# Expected: RFC 8428, sections 4.1 to 4.3 and 4.5.3: "bt" and "t", "bu" and "u" give each record its time and unit, and one without a
# time was measured about now. What is read has them, and what is written again has them, too.
# Seen (micropython-senml 0.1.1, which runs on CPython): the base name and the base value are honoured, while the times and units of
# all records are None, though the class has fields for both and writes those that a program sets. Readings of three hours are
# written again as three readings of now, and volts as bare numbers. There is no error.
# Why it matters: a gateway that takes packs from devices loses when the readings were made; the next reader dates all of them to
# the moment of arrival, on top of each other.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check micropython-senml==0.1.1 cbor2==6.3.0
seen=$("$work/venv/bin/python" - <<'PYTHON'
import json
from importlib.metadata import version
from senml import SenmlPack, SenmlRecord

print(version("micropython-senml"))
text = '[{"bn":"meter:","bt":1700000000,"bu":"V","bv":200,"n":"volt","v":30},{"n":"volt2","t":3600,"v":31},{"n":"volt3","t":7200,"v":32}]'
for form in ["from_json", "from_cbor"]:
    pack = SenmlPack("meter:")
    if form == "from_json":
        pack.from_json(text)
    else:
        import cbor2
        labels = {"bn": -2, "bt": -3, "bu": -4, "bv": -5, "n": 0, "v": 2, "t": 6}
        pack.from_cbor(cbor2.dumps([{labels[name]: value for name, value in record.items()} for record in json.loads(text)]))
    for record in pack:
        print(form, record.name, "value", record.value, "time", record.time, "unit", record.unit)
    print("base time", pack.base_time, "base unit", pack.base_unit, "base value", pack.base_value)
    print("again", pack.to_json())
own = SenmlPack("meter:")
own.add(SenmlRecord("volt", value=230, time=1700000000, unit="V"))
print("a record of its own", own.to_json())
PYTHON
)
expected='0.1.1
from_json volt value 230 time None unit None
from_json volt2 value 231 time None unit None
from_json volt3 value 232 time None unit None
base time None base unit None base value 200
again [{"n": "volt", "v": 30, "bn": "meter:", "bv": 200}, {"n": "volt2", "v": 31}, {"n": "volt3", "v": 32}]
from_cbor volt value 230 time None unit None
from_cbor volt2 value 231 time None unit None
from_cbor volt3 value 232 time None unit None
base time None base unit None base value 200
again [{"n": "volt", "v": 30, "bn": "meter:", "bv": 200}, {"n": "volt2", "v": 31}, {"n": "volt3", "v": 32}]
a record of its own [{"n": "volt", "v": 230, "t": 1700000000, "u": "V", "bn": "meter:"}]'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
