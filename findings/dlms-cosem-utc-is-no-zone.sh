#!/usr/bin/env bash
# A meter that keeps UTC has no time zone for dlms-cosem, and its readings move by hours.
# Expected: Blue Book of DLMS (IEC 62056-6-2), 4.1.6.1: a date and time has a deviation in minutes. 0000 is UTC, 8000 is "not specified".
# Seen (dlms-cosem 25.1.0): both are a datetime without a zone, which Python takes for the time of the machine that runs. Written
# again, UTC is 8000. +02:00 and -05:00 are kept. gurux-dlms 1.0.203 keeps UTC as well.
# Why it matters: on a gateway whose clock is five hours behind, noon UTC is 17:00 UTC, without an error. On a machine that runs in UTC
# all looks well, and so do meters of any other zone.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check dlms-cosem==25.1.0 gurux-dlms==1.0.203
cat >"$work/read.py" <<'PYTHON'
import datetime
from importlib.metadata import version
from dlms_cosem.time import datetime_from_bytes, datetime_to_bytes
from gurux_dlms import GXDLMSClient
from gurux_dlms.enums import DataType

print("dlms-cosem", version("dlms-cosem"), "gurux-dlms", version("gurux-dlms"), "in", __import__("os").environ["TZ"])
for what, deviation in [("+02:00", "ff88"), ("-05:00", "012c"), ("UTC", "0000"), ("not specified", "8000")]:
    data = bytes.fromhex("07e80701ff0c000000" + deviation + "00")
    time, _ = datetime_from_bytes(data)
    other = GXDLMSClient.changeType(bytearray(data), DataType.DATETIME).value
    told = [each.isoformat() + " is " + each.astimezone(datetime.timezone.utc).strftime("%H:%M UTC") for each in (time, other)]
    print(what + ":", told[0], "and again", datetime_to_bytes(time)[9:11].hex() + "; gurux:", told[1])
PYTHON
seen=$(for zone in EST5 UTC; do TZ=$zone "$work/venv/bin/python" "$work/read.py"; done)
expected='dlms-cosem 25.1.0 gurux-dlms 1.0.203 in EST5
+02:00: 2024-07-01T12:00:00+02:00 is 10:00 UTC and again ff88; gurux: 2024-07-01T12:00:00+02:00 is 10:00 UTC
-05:00: 2024-07-01T12:00:00-05:00 is 17:00 UTC and again 012c; gurux: 2024-07-01T12:00:00-05:00 is 17:00 UTC
UTC: 2024-07-01T12:00:00 is 17:00 UTC and again 8000; gurux: 2024-07-01T12:00:00+00:00 is 12:00 UTC
not specified: 2024-07-01T12:00:00 is 17:00 UTC and again 8000; gurux: 2024-07-01T12:00:00 is 17:00 UTC
dlms-cosem 25.1.0 gurux-dlms 1.0.203 in UTC
+02:00: 2024-07-01T12:00:00+02:00 is 10:00 UTC and again ff88; gurux: 2024-07-01T12:00:00+02:00 is 10:00 UTC
-05:00: 2024-07-01T12:00:00-05:00 is 17:00 UTC and again 012c; gurux: 2024-07-01T12:00:00-05:00 is 17:00 UTC
UTC: 2024-07-01T12:00:00 is 12:00 UTC and again 8000; gurux: 2024-07-01T12:00:00+00:00 is 12:00 UTC
not specified: 2024-07-01T12:00:00 is 12:00 UTC and again 8000; gurux: 2024-07-01T12:00:00 is 12:00 UTC'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
