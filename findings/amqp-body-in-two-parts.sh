#!/usr/bin/env bash
# One event whose body has two parts is read as [25], as [2,5] and as 5].
# Expected: AMQP 1.0 part 3, 3.2: the body of a message is one or more data sections. azure-eventhub for Python takes a list of parts
# for a body, and writes one section for each. Readers join them, or hand out all of them.
# Seen, for the parts "[2" and "5]": azure-eventhub 5.15.1 joins them to [25]. @azure/event-hubs 6.0.4 (JavaScript) puts a comma between
# them before it tries to read the body as JSON, and so finds the list [2,5]; "on and off" in two parts is a text with a comma.
# Where that is no JSON, it gives the list of parts. python-qpid-proton 0.40.0 keeps the last part, and sends on that alone.
# Why it matters: a sender that writes large bodies in parts, as its own library offers, is read with other values by one consumer,
# and cut off by another, without an error.
# It needs a C compiler: Proton is built when it is installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check azure-eventhub==5.15.1 python-qpid-proton==0.40.0
npm install --silent --no-audit --no-fund --prefix "$work" @azure/event-hubs@6.0.4 rhea@3.0.5 >/dev/null
cat >parts.py <<'PYTHON'
from azure.eventhub import EventData
from azure.eventhub._pyamqp._decode import decode_payload
from azure.eventhub._pyamqp._encode import encode_payload
from azure.eventhub._transport._pyamqp_transport import PyamqpTransport
from proton import Message

with open("written", "w") as written:
    for parts in [["[2", "5]"], ['"on and', ' off"'], ["2", "5"]]:
        event = EventData(parts)
        data = bytes(encode_payload(bytearray(), PyamqpTransport.to_outgoing_amqp_message(event.raw_amqp_message)))
        written.write(data.hex() + "\n")
        print(parts, "in azure-eventhub:", EventData._from_message(decode_payload(memoryview(data))).body_as_str())
        message = Message()
        message.decode(data)
        print(parts, "in python-qpid-proton:", bytes(message.body).decode())
PYTHON
cat >parts.js <<'JAVASCRIPT'
const { message } = require("rhea");
const { defaultDataTransformer } = require("./node_modules/@azure/event-hubs/dist/commonjs/dataTransformer.js");
for (const line of require("fs").readFileSync("written", "utf8").trim().split("\n")) {
  const { body } = defaultDataTransformer.decode(message.decode(Buffer.from(line, "hex")).body, false);
  console.log("in @azure/event-hubs:", Buffer.isBuffer(body[0]) ? `${body.length} parts` : JSON.stringify(body));
}
JAVASCRIPT
seen=$(venv/bin/python parts.py; node parts.js)
expected="['[2', '5]'] in azure-eventhub: [25]
['[2', '5]'] in python-qpid-proton: 5]
['\"on and', ' off\"'] in azure-eventhub: \"on and off\"
['\"on and', ' off\"'] in python-qpid-proton:  off\"
['2', '5'] in azure-eventhub: 25
['2', '5'] in python-qpid-proton: 5
in @azure/event-hubs: [2,5]
in @azure/event-hubs: \"on and, off\"
in @azure/event-hubs: 2 parts"
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
