#!/usr/bin/env bash
# The decimal number 1 is out of range for Azure Event Hubs for Python.
# AMQP 1.0 part 1, 1.6.15 (decimal128): IEEE 754-2008 with binary integer coefficients; 1 is the coefficient 1 with the
# biased exponent 6176, as 3040…01.
# Expected: Decimal("1"), since the package has a decoder for decimal128 (and none for decimal32 and decimal64).
# Seen: decimal.Overflow for every number but zero that was tried. One such property makes the whole message unreadable.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check azure-eventhub==5.15.1
seen=$("$work/venv/bin/python" - <<'PYTHON'
from azure.eventhub import __version__
from azure.eventhub._pyamqp import _decode

def decode(text):
    data = bytes.fromhex(text)
    rest, value = _decode._DECODE_BY_CONSTRUCTOR[data[0]](memoryview(data)[1:])
    return value, bytes(rest)

print(__version__)
for name, text in [('0', '3040' + '00' * 14), ('1', '3040' + '00' * 13 + '01'), ('-1.5', 'b03e' + '00' * 13 + '0f')]:
    try:
        print(name, decode('94' + text)[0])
    except ArithmeticError as error:
        print(name, type(error).__name__)
PYTHON
)
expected='5.15.1
0 0E+6111
1 Overflow
-1.5 Overflow'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
