#!/usr/bin/env bash
# Bytes, UUIDs and large numbers in an event's properties are objects with numbered members for Event Hubs for JavaScript.
# Expected: AMQP 1.0 part 1, 1.6: binary, uuid and ulong are types of their own. rhea, below, gives a Buffer for bytes, for a UUID and for a
# number above 2^53. A consumer gets the same, or a text.
# Seen (@azure/event-hubs 6.0.4, events made by azure-eventhub 5.15.1 for Python): where the client turns times into numbers, it copies all
# other objects member by member. The bytes 61 62 become {"0":97,"1":98}; so do a UUID and a long such as a time in ticks, alone and
# in lists. It is no Buffer any more: comparing, decoding or JSON does something else. A time is a number, as announced.
# Python reads the bytes and the UUID as what they were.
# Why it matters: a trace identifier, a key or a counter that one program sets is another thing in the next, without an error, and only
# from the value on where rhea's numbers end: a counter in ticks or nanoseconds is an object, a small one is a number.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check azure-eventhub==5.15.1
npm install --silent --no-audit --no-fund --prefix "$work" @azure/event-hubs@6.0.4 rhea@3.0.5 >/dev/null
cat >write.py <<'PYTHON'
from datetime import datetime, timezone
from uuid import UUID

from azure.eventhub import EventData, __version__
from azure.eventhub._pyamqp import _decode, _encode
from azure.eventhub._pyamqp.message import Message

properties = {
    "text": "ab",
    "time": datetime(2024, 7, 1, tzinfo=timezone.utc),
    "bytes": b"ab",
    "uuid": UUID("00112233-4455-6677-8899-aabbccddeeff"),
    "list": [1, b"ab"],
    "small": {"TYPE": "LONG", "VALUE": 638554176000},
    "ticks": {"TYPE": "LONG", "VALUE": 638554176000000000},
}
wire = bytearray()
_encode.encode_payload(wire, Message(application_properties=properties, data=[b"{}"]))
with open("message", "wb") as file:
    file.write(wire)
print("Python", __version__)
found = EventData._from_message(_decode.decode_payload(memoryview(bytes(wire)))).properties
for name, value in found.items():
    print(" ", name.decode(), type(value).__name__, str(value).replace("'", ""))
PYTHON
cat >read.js <<'JAVASCRIPT'
const package = "./node_modules/@azure/event-hubs/";
const { fromRheaMessage } = require(package + "dist/commonjs/eventData.js");
const message = require("rhea").message.decode(require("node:fs").readFileSync("message"));
console.log("JavaScript", require(package + "package.json").version, "on rhea", require("rhea/package.json").version);
const told = (value) => (Buffer.isBuffer(value) ? "Buffer" : Array.isArray(value) ? value.map(told).join(" and ") : value instanceof Date ? "Date" : JSON.stringify(value));
for (const [name, value] of Object.entries(fromRheaMessage(message).properties)) {
  console.log(" ", name + ": rhea", told(message.application_properties[name]) + ", client", told(value));
}
JAVASCRIPT
seen=$(venv/bin/python write.py; node read.js)
expected='Python 5.15.1
  text bytes bab
  time int 1719792000000
  bytes bytes bab
  uuid UUID 00112233-4455-6677-8899-aabbccddeeff
  list list [1, bab]
  small int 638554176000
  ticks int 638554176000000000
JavaScript 6.0.4 on rhea 3.0.5
  text: rhea "ab", client "ab"
  time: rhea Date, client 1719792000000
  bytes: rhea Buffer, client {"0":97,"1":98}
  uuid: rhea Buffer, client {"0":0,"1":17,"2":34,"3":51,"4":68,"5":85,"6":102,"7":119,"8":136,"9":153,"10":170,"11":187,"12":204,"13":221,"14":238,"15":255}
  list: rhea 1 and Buffer, client 1 and {"0":97,"1":98}
  small: rhea 638554176000, client 638554176000
  ticks: rhea Buffer, client {"0":8,"1":220,"2":153,"3":163,"4":206,"5":82,"6":128,"7":0}'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
