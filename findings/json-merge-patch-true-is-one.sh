#!/usr/bin/env bash
# The merge patch from 1 to true is empty: json-merge-patch for Python leaves such changes out.
# Expected: RFC 7396 and RFC 8259: true and 1, false and 0 are different values of JSON. What create_patch makes of two documents,
# merged into the first, gives the second.
# Seen (json-merge-patch 0.3.0): from 1 to true, from 0 to false and back, alone, deeper and in lists, the patch is {}: Python holds
# them for equal. All other changes are in the patch. jsonpatch 1.48 (RFC 6902) for Python and json-merge-patch 1.0.2 for JavaScript
# see the change.
# Why it matters: the difference of two twins is what is sent. A device whose switch is to be true instead of 1, after its firmware
# or its schema changed, is never told so, and the next comparison finds nothing to do either.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check json-merge-patch==0.3.0 jsonpatch==1.48
npm install --silent --no-audit --no-fund --prefix "$work" json-merge-patch@1.0.2 >/dev/null
cat >pairs.json <<'JSON'
[[{"on": 1}, {"on": 2}], [{"on": 1}, {"on": true}], [{"on": false}, {"on": 0}], [{"fan": {"on": 0}}, {"fan": {"on": false}}],
 [{"on": [1, 0]}, {"on": [true, false]}], [{"on": 1, "speed": 3}, {"on": true, "speed": 4}]]
JSON
cat >patch.py <<'PYTHON'
import copy
import json
import json_merge_patch
import jsonpatch
from importlib.metadata import version

print("Python", version("json-merge-patch"), version("jsonpatch"))
for one, two in json.load(open("pairs.json")):
    patch = json_merge_patch.create_patch(copy.deepcopy(one), copy.deepcopy(two))
    merged = json_merge_patch.merge(copy.deepcopy(one), copy.deepcopy(patch))
    print(json.dumps(one), "to", json.dumps(two) + ":", json.dumps(patch), "gives", json.dumps(merged), "| RFC 6902:", len(list(jsonpatch.make_patch(one, two))))
PYTHON
cat >patch.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import patch from "json-merge-patch";

console.log("JavaScript", JSON.parse(readFileSync("node_modules/json-merge-patch/package.json")).version);
for (const [one, two] of JSON.parse(readFileSync("pairs.json"))) console.log(JSON.stringify(patch.generate(one, two)));
JAVASCRIPT
seen=$(venv/bin/python patch.py; node patch.mjs)
expected='Python 0.3.0 1.48
{"on": 1} to {"on": 2}: {"on": 2} gives {"on": 2} | RFC 6902: 1
{"on": 1} to {"on": true}: {} gives {"on": 1} | RFC 6902: 1
{"on": false} to {"on": 0}: {} gives {"on": false} | RFC 6902: 1
{"fan": {"on": 0}} to {"fan": {"on": false}}: {} gives {"fan": {"on": 0}} | RFC 6902: 1
{"on": [1, 0]} to {"on": [true, false]}: {} gives {"on": [1, 0]} | RFC 6902: 2
{"on": 1, "speed": 3} to {"on": true, "speed": 4}: {"speed": 4} gives {"on": 1, "speed": 4} | RFC 6902: 2
JavaScript 1.0.2
{"on":2}
{"on":true}
{"on":0}
{"fan":{"on":false}}
{"on":[true,false]}
{"on":true,"speed":4}'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
