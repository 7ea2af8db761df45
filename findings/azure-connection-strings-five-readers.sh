#!/usr/bin/env bash
# One connection string is read in five ways by five clients of one vendor.
# Expected: the same grammar everywhere: members separated by semicolons, each name once.
# Seen: a semicolon at the end is fine for three of them, an error for two, one of which speaks of a "dictionary update
# sequence". A host that is named twice is refused by all three for Python, while both for JavaScript take the last one without
# a word: a string with something appended leads elsewhere, with the key. A line break at the end becomes a part of the key for
# three, which shows later as a wrong key.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check azure-iot-hub==2.7.0 azure-iot-device==2.14.0 azure-eventhub==5.15.1 six==1.17.0
npm install --silent --no-audit --no-fund azure-iothub@1.16.6 @azure/event-hubs@6.0.4 >/dev/null
cat >python.py <<'PYTHON'
from azure.eventhub import parse_connection_string
from azure.iot.device.common.auth.connection_string import ConnectionString as Device
from azure.iot.hub.connection_string import ConnectionString as Hub

KEY = "a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5"

def event_hub(text):
    found = parse_connection_string(text)
    return found.fully_qualified_namespace, found.shared_access_key

READERS = [
    ("azure-iot-hub", lambda text: (Hub(text)._dict["HostName"], Hub(text)._dict["SharedAccessKey"]), "HostName=one.example;SharedAccessKeyName=p;SharedAccessKey=" + KEY, "HostName=two.example"),
    ("azure-iot-device", lambda text: (Device(text)._dict["HostName"], Device(text)._dict["SharedAccessKey"]), "HostName=one.example;DeviceId=d;SharedAccessKey=" + KEY, "HostName=two.example"),
    ("azure-eventhub", event_hub, "Endpoint=sb://one.example/;SharedAccessKeyName=p;SharedAccessKey=" + KEY, "Endpoint=sb://two.example/"),
]
for name, read, text, again in READERS:
    for what, variant in [("semicolon at the end", text + ";"), ("host twice", text + ";" + again), ("line break at the end", text + "\n")]:
        try:
            host, key = read(variant)
            result = host + (", key changed" if key != KEY else "")
        except ValueError as error:
            result = "refused: " + str(error)
        print("{}: {}: {}".format(name, what, result))
PYTHON
cat >node.js <<'JAVASCRIPT'
const hub = require("azure-iothub/dist/connection_string.js");
const { parseEventHubConnectionString } = require("@azure/event-hubs");
const KEY = "a2V5a2V5a2V5a2V5a2V5a2V5a2V5a2V5";
const readers = [
  ["azure-iothub", (text) => { const found = hub.parse(text); return [found.HostName, found.SharedAccessKey]; }, "HostName=one.example;SharedAccessKeyName=p;SharedAccessKey=" + KEY, "HostName=two.example"],
  ["@azure/event-hubs", (text) => { const found = parseEventHubConnectionString(text); return [found.fullyQualifiedNamespace, found.sharedAccessKey]; }, "Endpoint=sb://one.example/;SharedAccessKeyName=p;SharedAccessKey=" + KEY, "Endpoint=sb://two.example/"],
];
for (const [name, read, text, again] of readers) {
  for (const [what, variant] of [["semicolon at the end", text + ";"], ["host twice", text + ";" + again], ["line break at the end", text + "\n"]]) {
    const [host, key] = read(variant);
    console.log(`${name}: ${what}: ${host}${key === KEY ? "" : ", key changed"}`);
  }
}
JAVASCRIPT
seen=$(venv/bin/python python.py; node node.js)
expected='azure-iot-hub: semicolon at the end: refused: dictionary update sequence element #3 has length 1; 2 is required
azure-iot-hub: host twice: refused: Invalid Connection String - Unable to parse
azure-iot-hub: line break at the end: one.example, key changed
azure-iot-device: semicolon at the end: refused: Invalid Connection String - Unable to parse
azure-iot-device: host twice: refused: Invalid Connection String - Unable to parse
azure-iot-device: line break at the end: one.example, key changed
azure-eventhub: semicolon at the end: one.example
azure-eventhub: host twice: refused: Connection string is either blank or malformed.
azure-eventhub: line break at the end: one.example
azure-iothub: semicolon at the end: one.example
azure-iothub: host twice: two.example
azure-iothub: line break at the end: one.example, key changed
@azure/event-hubs: semicolon at the end: one.example
@azure/event-hubs: host twice: two.example
@azure/event-hubs: line break at the end: one.example'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
