#!/usr/bin/env bash
# A file of Event Hubs Capture that a program in Python reads and writes again has other numbers in the copy.
# Expected: Capture writes the properties of an event as a map of long, double, string or bytes. A program that reads such a file and
# writes what it has read, with the schema of the file, has the same values in the same types: 5 is a long, and stays one.
# Seen: avro 1.12.2, Apache's own library, takes the last of a union's types that could hold the value: each long becomes a double, and
# above 2^53 another number; 0.1 is cut to a float where float comes after double. fastavro 1.13.1 takes the first one: it is right here,
# and wrong in the same way where double comes before long. With each of the two libraries one of the two orders is wrong.
# Why it matters: a job that joins, filters or masks these files changes counters, identifiers and times in microseconds. Which values
# change depends on the order of types in the schema, which has no meaning in Avro, and on the library.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check avro==1.12.2 fastavro==1.13.1
seen=$(venv/bin/python - <<'PYTHON'
import io
import json
from importlib.metadata import version

import avro.datafile
import avro.io
import avro.schema
import fastavro

print("avro", version("avro"), "fastavro", version("fastavro"))


def schema(types):
    fields = {"SequenceNumber": "long", "Offset": "string", "EnqueuedTimeUtc": "string", "Properties": {"type": "map", "values": types}, "Body": ["null", "bytes"]}
    return {"type": "record", "name": "EventData", "namespace": "Microsoft.ServiceBus.Messaging", "fields": [{"name": name, "type": kind} for name, kind in fields.items()]}


def copy_with_avro(file, types):
    target = io.BytesIO()
    target.close = lambda: None
    reader = avro.datafile.DataFileReader(io.BytesIO(file), avro.io.DatumReader())
    writer = avro.datafile.DataFileWriter(target, avro.io.DatumWriter(), avro.schema.parse(json.dumps(schema(types))))
    for record in reader:
        writer.append(record)
    writer.flush()
    return target.getvalue()


def copy_with_fastavro(file, types):
    target = io.BytesIO()
    fastavro.writer(target, schema(types), list(fastavro.reader(io.BytesIO(file))))
    return target.getvalue()


for types in [["long", "double", "string", "bytes"], ["double", "long", "string", "bytes"], ["double", "float", "string"]]:
    properties = {"count": ("long", 5), "id": ("long", 2**53 + 1), "level": ("double", 0.1)} if "long" in types else {"level": ("double", 0.1)}
    source = io.BytesIO()
    fastavro.writer(source, schema(types), [{"SequenceNumber": 7, "Offset": "120", "EnqueuedTimeUtc": "7/1/2024 12:00:00 PM", "Properties": properties, "Body": b"{}"}])
    print("union of", ", ".join(types) + ":", json.dumps(next(fastavro.reader(io.BytesIO(source.getvalue())))["Properties"]))
    for copy in [copy_with_fastavro, copy_with_avro]:
        for record in fastavro.reader(io.BytesIO(copy(source.getvalue(), types))):
            print(" ", copy.__name__, json.dumps(record["Properties"]))
PYTHON
)
expected='avro 1.12.2 fastavro 1.13.1
union of long, double, string, bytes: {"count": 5, "id": 9007199254740993, "level": 0.1}
  copy_with_fastavro {"count": 5, "id": 9007199254740993, "level": 0.1}
  copy_with_avro {"count": 5.0, "id": 9007199254740992.0, "level": 0.1}
union of double, long, string, bytes: {"count": 5, "id": 9007199254740993, "level": 0.1}
  copy_with_fastavro {"count": 5.0, "id": 9007199254740992.0, "level": 0.1}
  copy_with_avro {"count": 5, "id": 9007199254740993, "level": 0.1}
union of double, float, string: {"level": 0.1}
  copy_with_fastavro {"level": 0.1}
  copy_with_avro {"level": 0.10000000149011612}'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
