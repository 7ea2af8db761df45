#!/usr/bin/env bash
# The event of 12:00+02:00 took place at 12:00 UTC for azure-core for Python, and that of 12:00-08:00 as well.
# Expected: CloudEvents 1.0 has an attribute "time", a timestamp of RFC 3339, whose section 5.6 writes an offset as two digits of hours
# and two of minutes. 12:00+02:00 is 10:00 UTC.
# Seen (azure-core 1.41.0): CloudEvent.from_dict and from_json take the first digit of the hours for all of them: +02:00 and -08:00
# are UTC, +05:30 is +00:30, and +10:00 and +14:00 are +01:00, without an error. UTC itself is right. The events are written by
# cloudevents 2.2.0 for Python, which reads them as they were.
# Why it matters: handlers of Event Grid in Python read events with this class. In summer a reading from Berlin is two hours
# late and one from Seattle seven hours early; tests in UTC do not show it, and events of two places change their order.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check azure-core==1.41.0 cloudevents==2.2.0
cat >read.py <<'PYTHON'
import json
from datetime import datetime, timezone
from importlib.metadata import version

from azure.core.messaging import CloudEvent as OfAzure
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

print("azure-core", version("azure-core"), "cloudevents", version("cloudevents"))
for offset in ["+00:00", "+02:00", "-08:00", "+05:30", "-03:30", "+10:00", "+14:00"]:
    time = datetime.fromisoformat("2026-06-01T12:00:00" + offset)
    event = CloudEvent({"specversion": "1.0", "id": "1", "source": "/meter", "type": "reading", "time": time}, 1)
    text = JSONFormat().write(event).decode()
    own = JSONFormat().read(CloudEvent, text).get_time()
    from_json, from_dict = OfAzure.from_json(text).time, OfAzure.from_dict(json.loads(text)).time
    assert own == time and from_json == from_dict
    utc = [moment.astimezone(timezone.utc).strftime("%H:%M") for moment in (own, from_json)]
    print(json.loads(text)["time"], "in UTC is", utc[0], "for cloudevents,", utc[1], "for azure-core")
PYTHON
seen=$(venv/bin/python read.py)
expected='azure-core 1.41.0 cloudevents 2.2.0
2026-06-01T12:00:00Z in UTC is 12:00 for cloudevents, 12:00 for azure-core
2026-06-01T12:00:00+02:00 in UTC is 10:00 for cloudevents, 12:00 for azure-core
2026-06-01T12:00:00-08:00 in UTC is 20:00 for cloudevents, 12:00 for azure-core
2026-06-01T12:00:00+05:30 in UTC is 06:30 for cloudevents, 11:30 for azure-core
2026-06-01T12:00:00-03:30 in UTC is 15:30 for cloudevents, 12:30 for azure-core
2026-06-01T12:00:00+10:00 in UTC is 02:00 for cloudevents, 11:00 for azure-core
2026-06-01T12:00:00+14:00 in UTC is 22:00 for cloudevents, 11:00 for azure-core'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
