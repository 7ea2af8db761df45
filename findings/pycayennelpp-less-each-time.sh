#!/usr/bin/env bash
# A reading that pycayennelpp reads and writes again is smaller than before.
# Expected: in Cayenne LPP a voltage or an analog value is a number of hundredths, a place one of ten-thousandths of a degree. What is
# read from a frame and written to a frame of the same kind is the same.
# Seen (pycayennelpp 2.4.0): hundredths are cut, not rounded, and 0.58 times 100 is 57.99… 0.58 becomes 0.57 and then 0.56, -0.58 becomes
# -0.56. This is so for 4584 of the 65536 analog values; tenths of a degree are never touched. An analog 400 is written as -255.36, without
# an error, while 656 is refused: the limit does not know of the sign.
# Why it matters: each gateway on the way takes a little of a battery's voltage, a limit is passed that the device did not pass, and
# two readers of one message disagree. A check with round numbers finds nothing.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pycayennelpp==2.4.0
seen=$("$work/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version
from cayennelpp import LppFrame

print(version("pycayennelpp"))


def again(data, times):
    told = []
    for _ in range(times):
        [found] = LppFrame().from_bytes(data).data
        told.append(found.value)
        frame = LppFrame()
        frame.add_by_type(int(found.type), found.channel, found.value)
        data = bytes(frame)
    return told


for what, frame in [("analog 0.58", "0102003a"), ("analog -0.58", "0102ffc6"), ("voltage 4.35", "017401b3"), ("temperature -0.7", "0167fff9"), ("place", "0188075ebafe79550003e8")]:
    print(what, *again(bytes.fromhex(frame), 4))
print("analog values that change:", sum(again(bytes([1, 2]) + number.to_bytes(2, "big"), 2)[0] != again(bytes([1, 2]) + number.to_bytes(2, "big"), 2)[1] for number in range(0, 65536)))
for value in [327.67, 400.0, 655.0, 656.0]:
    try:
        frame = LppFrame()
        frame.add_analog_input(1, value)
        print(value, "is read as", *LppFrame().from_bytes(bytes(frame)).data[0].value)
    except ValueError as error:
        print(value, "refused:", error)
PYTHON
)
expected='2.4.0
analog 0.58 (0.58,) (0.57,) (0.56,) (0.56,)
analog -0.58 (-0.58,) (-0.57,) (-0.56,) (-0.56,)
voltage 4.35 (4.35,) (4.34,) (4.34,) (4.34,)
temperature -0.7 (-0.7,) (-0.7,) (-0.7,) (-0.7,)
place (48.3002, -10.0011, 10.0) (48.3001, -10.001, 10.0) (48.3001, -10.001, 10.0) (48.3001, -10.001, 10.0)
analog values that change: 4584
327.67 is read as 327.67
400.0 is read as -255.36
655.0 is read as -0.36
656.0 refused: Invalid data, exceed value range!'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
