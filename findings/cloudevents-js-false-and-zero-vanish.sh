#!/usr/bin/env bash
# An event whose data is false, 0 or an empty text loses its data in the CloudEvents SDK for JavaScript.
# Expected: JSON format of CloudEvents 1.0, section 3.1 ("Handling of Data"): the member "data" holds any JSON value. A door that
# reports false has reported something; true and false pass alike.
# Seen (cloudevents 10.0.0): true, 1 and [false] arrive. false, 0 and "" are read as if the event had no data, and are written on
# without the member, in both modes and without an error.
# Why it matters: a workflow that reads a switch, a counter or an alarm never sees it off. "No data" then stands for "off", and
# looks the same as an event that only says that the device is alive.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --prefix "$work" cloudevents@10.0.0 >/dev/null
seen=$(node - <<'JAVASCRIPT'
const { HTTP } = require("cloudevents");
console.log(require("cloudevents/package.json").version);
for (const data of ["true", "false", "1", "0", '"off"', '""', "[false]"]) {
  const body = `{"specversion":"1.0","id":"1","source":"/door","type":"state","time":"2026-01-01T00:00:00Z","data":${data}}`;
  const event = HTTP.toEvent({ headers: { "content-type": "application/cloudevents+json" }, body });
  const written = JSON.parse(HTTP.structured(event).body);
  console.log(data, "read as", JSON.stringify(event.data), "| written", "data" in written ? JSON.stringify(written.data) : "without data");
}
JAVASCRIPT
)
expected='10.0.0
true read as true | written true
false read as undefined | written without data
1 read as 1 | written 1
0 read as undefined | written without data
"off" read as "off" | written "off"
"" read as undefined | written without data
[false] read as [false] | written [false]'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
