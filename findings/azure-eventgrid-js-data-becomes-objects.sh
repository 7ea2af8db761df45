#!/usr/bin/env bash
# An event whose data is true or 5 arrives with an empty object in Event Grid for JavaScript, and one with false or 0 as it is.
# Expected: JSON format of CloudEvents 1.0, section 3.1 ("Handling of Data"): the member "data" holds any JSON value. The reader of
# @azure/eventgrid gives it as it is; it promises a change for times and for binary data only.
# Seen (@azure/eventgrid 5.12.0): deserializeCloudEvents and deserializeEventGridEvents give "on" as {"0":"o","1":"n"}, [1,2] as
# {"0":1,"1":2}, and 5 and true as {}, without an error. What counts as false in JavaScript (false, 0, an empty text, null) is kept,
# and so is all within an object. azure-core 1.41.0 for Python gives each value as it was.
# Why it matters: a handler that compares with true sees a switch go off and never on. One that only asks whether the data counts as
# true works, so the fault stays hidden; numbers other than zero are lost, and a list has no length.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check azure-core==1.41.0
npm install --silent --no-audit --no-fund --prefix "$work" @azure/eventgrid@5.12.0 >/dev/null
cat >read.js <<'JAVASCRIPT'
const { EventGridDeserializer } = require("@azure/eventgrid");
const path = require("node:path");
const manifest = path.join(__dirname, "node_modules/@azure/eventgrid/package.json");
console.log("JavaScript", JSON.parse(require("node:fs").readFileSync(manifest, "utf8")).version);
const reader = new EventGridDeserializer();
const cloud = { specversion: "1.0", id: "1", source: "/door", type: "state" };
const time = "2026-01-01T00:00:00Z";
const grid = { id: "1", topic: "/door", subject: "door", eventType: "state", eventTime: time, dataVersion: "1", metadataVersion: "1" };
(async () => {
  for (const data of [true, false, 5, 0, "on", "", [1, 2], null, { list: [1, 2], text: "on", number: 5 }]) {
    const [first] = await reader.deserializeCloudEvents(JSON.stringify([{ ...cloud, data }]));
    const [second] = await reader.deserializeEventGridEvents(JSON.stringify([{ ...grid, data }]));
    console.log(JSON.stringify(data), "is", JSON.stringify(first.data), "and", JSON.stringify(second.data));
  }
})();
JAVASCRIPT
cat >read.py <<'PYTHON'
import json
from importlib.metadata import version

from azure.core.messaging import CloudEvent

print("Python", version("azure-core"))
for data in [True, False, 5, 0, "on", "", [1, 2]]:
    event = {"specversion": "1.0", "id": "1", "source": "/door", "type": "state", "data": data}
    print(json.dumps(data), "is", json.dumps(CloudEvent.from_json(json.dumps(event)).data))
PYTHON
seen=$(node read.js; venv/bin/python read.py)
expected='JavaScript 5.12.0
true is {} and {}
false is false and false
5 is {} and {}
0 is 0 and 0
"on" is {"0":"o","1":"n"} and {"0":"o","1":"n"}
"" is "" and ""
[1,2] is {"0":1,"1":2} and {"0":1,"1":2}
null is null and null
{"list":[1,2],"text":"on","number":5} is {"list":[1,2],"text":"on","number":5} and {"list":[1,2],"text":"on","number":5}
Python 1.41.0
true is true
false is false
5 is 5
0 is 0
"on" is "on"
"" is ""
[1, 2] is [1, 2]'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
