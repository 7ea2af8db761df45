#!/usr/bin/env bash
# A character of the standard has no decoder in Azure Event Hubs for Python.
# AMQP 1.0 part 1, 1.6.16 (char): a Unicode character in four bytes, format code 0x73; decimal32 and decimal64 are types of
# the same table. A library that reads maps of properties has to read them all, or at least to name what it cannot read.
# Expected: a text of one character, or an error that names the type.
# Seen: "TypeError: NoneType object is not callable", from the table of decoders; the message cannot be read at all.
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
for name, text in [('char', '7300000041'), ('decimal32', '7422500001'), ('decimal64', '84' + '00' * 8)]:
    try:
        print(name, decode(text)[0])
    except TypeError as error:
        print(name, error)
PYTHON
)
expected='5.15.1
char '\''NoneType'\'' object is not callable
decimal32 '\''NoneType'\'' object is not callable
decimal64 '\''NoneType'\'' object is not callable'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
