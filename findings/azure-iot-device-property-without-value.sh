#!/usr/bin/env bash
# A property without a value reaches a device as the text "undefined", or as None, depending on the client.
# Expected: Microsoft's page "Communicate with an IoT hub using MQTT" says how values stand in the topic of a cloud-to-device
# message: null as the bare key, an empty text as "key=". A client gives null, or nothing, for the former.
# Seen: azure-iot-device 2.14.0 (Python) gives None. azure-iot-device-mqtt 1.16.4 (JavaScript) gives the text "undefined", nine
# letters long. A name that is there twice is there twice in JavaScript, while Python keeps the last one.
# Why it matters: `if (message.properties.getValue("cancel"))` holds for a property that the service left without a value, and a
# name or a path made from it says "undefined". What works with devices in Python fails with those in JavaScript.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check azure-iot-device==2.14.0
npm install --silent --no-audit --no-fund --prefix "$work" azure-iot-device@1.18.4 azure-iot-device-mqtt@1.16.4 >/dev/null
cat >read.py <<'PYTHON'
import sys
from importlib.metadata import version
from azure.iot.device import Message
from azure.iot.device.iothub.pipeline import mqtt_topic_iothub

print("Python", version("azure-iot-device"))
message = Message("body")
mqtt_topic_iothub.extract_message_properties_from_topic(sys.argv[1], message)
for name, value in message.custom_properties.items():
    print(name, repr(value))
PYTHON
cat >read.js <<'JAVASCRIPT'
const { Mqtt } = require("azure-iot-device-mqtt/dist/mqtt.js");
console.log("JavaScript", require("azure-iot-device-mqtt/package.json").version);
const reader = Object.create(Mqtt.prototype);
reader.emit = (_, message) => message.properties.propertyList.forEach(({ key, value }) => console.log(key, JSON.stringify(value)));
reader._onC2DMessage(process.argv[2], Buffer.from("body"));
JAVASCRIPT
topic='devices/d/messages/devicebound/%24.to=%2Fdevices%2Fd%2Fmessages%2Fdevicebound&cancel&note=&step=1&step=2'
seen=$(venv/bin/python read.py "$topic"; node read.js "$topic")
expected="Python 2.14.0
cancel None
note ''
step '2'
"'JavaScript 1.16.4
cancel "undefined"
note ""
step "1"
step "2"'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
