#!/usr/bin/env bash
# A Bluetooth beacon at -5 degrees is at 251 degrees for beacontools.
# Expected: Eddystone's page on TLM frames: the temperature is a signed number with eight bits before and eight after the point, and
# 8000 (-128) says that there is no thermometer. -5 is fb00.
# Seen (beacontools 2.1.0): the number is read without its sign. From 0 upward all is well; -0.5 is 255.5, -5 is 251, and a beacon
# without a thermometer is at 128.
# Why it matters: a cold store that gets below zero is reported as on fire, and so is each beacon that cannot measure. What was tried
# on a desk reads right.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check beacontools==2.1.0
seen=$("$work/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version
from beacontools import parse_packet

print(version("beacontools"))
for what, temperature in [("21.5", "1580"), ("0", "0000"), ("-0.5", "ff80"), ("-5", "fb00"), ("no thermometer", "8000")]:
    # Flags, the list of services, then the service's data: TLM, version 0, 2840 mV, temperature, 1 packet, 1.6 seconds.
    frame = bytes.fromhex("020106" + "0303aafe" + "1116aafe" + "2000" + "0b18" + temperature + "00000001" + "00000010")
    print(what, "->", parse_packet(frame).temperature)
PYTHON
)
expected='2.1.0
21.5 -> 21.5
0 -> 0.0
-0.5 -> 255.5
-5 -> 251.0
no thermometer -> 128.0'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
