#!/usr/bin/env bash
# An identifier of 20 bytes leaves Event Hubs for JavaScript with 16, one of 4 with 16 as well; a BigInt is an empty map.
# Expected: @azure/event-hubs says of messageId and correlationId that they are a text, a number or a Buffer. AMQP 1.0 part 3, 3.2.4, has
# ulong, uuid, binary and text for them; a Buffer is binary, or is refused where it is no UUID.
# Seen (@azure/event-hubs 6.0.4 on rhea 3.0.5): each Buffer is sent as a UUID, longer ones without what follows, shorter ones with zeros.
# Other arrays of bytes, and negative numbers, are refused. Of a property, the BigInt 5n is sent as an empty map, and NaN as null, where
# the body of an event refuses a BigInt. azure-eventhub 5.15.1 for Python reads them as they were sent.
# Why it matters: two identifiers, such as hashes or W3C trace identifiers with a span, are one, and an answer finds the wrong question or
# none. BigInt is the one exact way to hold a counter above 2^53, and it is gone without an error.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check azure-eventhub==5.15.1
npm install --silent --no-audit --no-fund --prefix "$work" @azure/event-hubs@6.0.4 rhea@3.0.5 >/dev/null
cat >write.js <<'JAVASCRIPT'
const package = "./node_modules/@azure/event-hubs/";
const { toRheaMessage } = require(package + "dist/commonjs/eventData.js");
const rhea = require("rhea");
console.log("JavaScript", require(package + "package.json").version, "on rhea", require("rhea/package.json").version);
const bytes = Buffer.from("00112233445566778899aabbccddeeff10111213", "hex");
const events = {
  "messageId of 20 bytes": { messageId: bytes },
  "messageId of 16 bytes": { messageId: bytes.subarray(0, 16) },
  "messageId of 4 bytes": { messageId: bytes.subarray(0, 4) },
  "correlationId of 20 bytes": { correlationId: bytes },
  "messageId in a Uint8Array": { messageId: new Uint8Array(bytes) },
  "messageId -5": { messageId: -5 },
  "property 5": { properties: { value: 5 } },
  "property 5n": { properties: { value: 5n } },
  "property NaN": { properties: { value: NaN } },
  "body 5n": { body: 5n },
};
const sent = {};
for (const [name, event] of Object.entries(events)) {
  try {
    sent[name] = rhea.message.encode(toRheaMessage({ body: 1, ...event })).toString("hex");
  } catch (error) {
    console.log(name, "is refused");
  }
}
require("node:fs").writeFileSync("sent.json", JSON.stringify(sent));
JAVASCRIPT
cat >read.py <<'PYTHON'
import json

from azure.eventhub import EventData, __version__
from azure.eventhub._pyamqp import _decode

print("Python", __version__)
for name, wire in json.load(open("sent.json")).items():
    event = EventData._from_message(_decode.decode_payload(memoryview(bytes.fromhex(wire))))
    value = event.message_id or event.correlation_id or event.properties[b"value"]
    print(name, "is", type(value).__name__, value)
PYTHON
seen=$(node write.js; venv/bin/python read.py)
expected='JavaScript 6.0.4 on rhea 3.0.5
messageId in a Uint8Array is refused
messageId -5 is refused
body 5n is refused
Python 5.15.1
messageId of 20 bytes is UUID 00112233-4455-6677-8899-aabbccddeeff
messageId of 16 bytes is UUID 00112233-4455-6677-8899-aabbccddeeff
messageId of 4 bytes is UUID 00112233-0000-0000-0000-000000000000
correlationId of 20 bytes is UUID 00112233-4455-6677-8899-aabbccddeeff
property 5 is int 5
property 5n is dict {}
property NaN is NoneType None'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
