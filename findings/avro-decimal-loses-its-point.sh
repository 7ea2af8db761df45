#!/usr/bin/env bash
# The decimal 1.5 is written as 0.15 by Apache's own Avro library for Python.
# Expected: Avro 1.12, "Decimal": the number is the whole number in the bytes times 10 to the minus scale. With the scale 2, 1.5 is 150
# (0096), and what does not fit the precision is refused.
# Seen (avro 1.12.2): the digits are written as they stand, without regard to how many of them are behind the point. With the scale 2, 1.50
# is right; 1.5 is 0.15, 21 is 0.21, and 100, written as Decimal("1E+2"), is 0.01. In fixed as in bytes, without an error. A number
# beyond the precision is written, and rounded by its own reader: 99999.99 is 100000. fastavro 1.13.1 reads and writes them right,
# and refuses the last one.
# Why it matters: Decimal(str(reading)) has as many digits as the reading, so meter readings and prices that end in 0 shrink to a tenth,
# and whole ones to a hundredth. azure-schemaregistry-avroencoder, for Event Hubs, stands on this library.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check avro==1.12.2 fastavro==1.13.1
seen=$(venv/bin/python - <<'PYTHON'
import io
import json
from decimal import Decimal
from importlib.metadata import version

import avro.io
import avro.schema
import fastavro

print("avro", version("avro"), "fastavro", version("fastavro"))
decimal = {"logicalType": "decimal", "precision": 6, "scale": 2}
for kind in [{"type": "bytes"}, {"type": "fixed", "size": 4, "name": "four"}]:
    schema = {"type": "record", "name": "reading", "fields": [{"name": "value", "type": {**kind, **decimal}}]}
    parsed = avro.schema.parse(json.dumps(schema))
    for text in ["1.50", "1.5", "-1.5", "21", "1E+2", "9999.99", "99999.99"]:
        record = {"value": Decimal(text)}
        one, two = io.BytesIO(), io.BytesIO()
        avro.io.DatumWriter(parsed).write(record, avro.io.BinaryEncoder(one))
        again = avro.io.DatumReader(parsed).read(avro.io.BinaryDecoder(io.BytesIO(one.getvalue())))["value"]
        try:
            fastavro.schemaless_writer(two, schema, record)
            two.seek(0)
            other = fastavro.schemaless_reader(two, schema)["value"]
        except ValueError as error:
            other = f"refused ({error})"
        print(f"{kind['type']}: avro writes {text} and reads {again}; fastavro: {other}")
PYTHON
)
expected='avro 1.12.2 fastavro 1.13.1
bytes: avro writes 1.50 and reads 1.50; fastavro: 1.50
bytes: avro writes 1.5 and reads 0.15; fastavro: 1.50
bytes: avro writes -1.5 and reads -0.15; fastavro: -1.50
bytes: avro writes 21 and reads 0.21; fastavro: 21.00
bytes: avro writes 1E+2 and reads 0.01; fastavro: 100.00
bytes: avro writes 9999.99 and reads 9999.99; fastavro: 9999.99
bytes: avro writes 99999.99 and reads 100000; fastavro: refused (The decimal precision is bigger than allowed by schema)
fixed: avro writes 1.50 and reads 1.50; fastavro: 1.50
fixed: avro writes 1.5 and reads 0.15; fastavro: 1.50
fixed: avro writes -1.5 and reads -0.15; fastavro: -1.50
fixed: avro writes 21 and reads 0.21; fastavro: 21.00
fixed: avro writes 1E+2 and reads 0.01; fastavro: 100.00
fixed: avro writes 9999.99 and reads 9999.99; fastavro: 9999.99
fixed: avro writes 99999.99 and reads 100000; fastavro: refused (The decimal precision is bigger than allowed by schema)'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
