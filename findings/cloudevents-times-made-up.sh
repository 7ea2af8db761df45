#!/usr/bin/env bash
# The CloudEvents SDK for JavaScript puts the present in place of a time that it cannot read.
# Expected: CloudEvents 1.0 has an optional attribute "time", a timestamp of RFC 3339, whose section 5.7 and appendix D allow a
# second 60 when a leap second was inserted. A reader keeps it, or says that it cannot; where there is no time, there is none.
# Seen (cloudevents 10.0.0 for JavaScript): a reading of a leap second, such as 2016-12-31T23:59:60Z, is dated to the moment of
# reading, ten years later, in both modes and without an error. The SDK for Python (2.2.0) refuses it. An event without a time gets
# the moment of reading in both, and is sent on with it: two readers of one event then disagree on its time.
# Why it matters: what was replayed from an archive or waited in a queue looks new, passes a filter by age, and comes last in order.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cloudevents==2.2.0
npm install --silent --no-audit --no-fund --prefix "$work" cloudevents@10.0.0 >/dev/null
cat >read.js <<'JAVASCRIPT'
const { HTTP } = require("cloudevents");
console.log("JavaScript", require("cloudevents/package.json").version);
const attributes = { specversion: "1.0", id: "1", source: "/meter", type: "reading" };
const told = (time) => (Math.abs(Date.now() - Date.parse(time)) < 60000 ? "now" : time);
for (const time of ["2016-12-31T23:59:59Z", "2016-12-31T23:59:60Z", "2017-01-01T00:59:60+01:00", undefined]) {
  const structured = { headers: { "content-type": "application/cloudevents+json" }, body: JSON.stringify({ ...attributes, time }) };
  const headers = { "content-type": "text/plain", "ce-id": "1", "ce-specversion": "1.0", "ce-source": "/meter", "ce-type": "reading" };
  const binary = { headers: time ? { ...headers, "ce-time": time } : headers, body: "1" };
  console.log(time || "no time", "->", told(HTTP.toEvent(structured).time), "and", told(HTTP.toEvent(binary).time));
}
JAVASCRIPT
cat >read.py <<'PYTHON'
import datetime
import json
from importlib.metadata import version
from cloudevents.core.bindings.http import HTTPMessage, from_http_event

print("Python", version("cloudevents"))
attributes = {"specversion": "1.0", "id": "1", "source": "/meter", "type": "reading"}
for time in ["2016-12-31T23:59:59Z", "2016-12-31T23:59:60Z", None]:
    body = json.dumps({**attributes, "time": time} if time else attributes).encode()
    try:
        found = from_http_event(HTTPMessage({"content-type": "application/cloudevents+json"}, body)).get_time()
        now = datetime.datetime.now(datetime.timezone.utc)
        print(time or "no time", "->", "now" if abs((now - found).total_seconds()) < 60 else found.isoformat())
    except ValueError as error:
        print(time, "-> refused:", error)
PYTHON
seen=$(node read.js; venv/bin/python read.py)
expected='JavaScript 10.0.0
2016-12-31T23:59:59Z -> 2016-12-31T23:59:59.000Z and 2016-12-31T23:59:59.000Z
2016-12-31T23:59:60Z -> now and now
2017-01-01T00:59:60+01:00 -> now and now
no time -> now and now
Python 2.2.0
2016-12-31T23:59:59Z -> 2016-12-31T23:59:59+00:00
2016-12-31T23:59:60Z -> refused: second must be in 0..59
no time -> now'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
