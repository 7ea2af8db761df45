#!/usr/bin/env bash
# An empty array makes the value after it unreadable for Azure Event Hubs for Python, without an error.
# AMQP 1.0 part 1, 1.6.22: an array has a size, a count and the constructor of its elements, also where the count is 0.
# Expected: a list of an empty array of symbols and the text "ok" reads as [[], "ok"].
# Seen: the constructor is left behind after an empty array and is taken for that of the next value, which then has other
# bytes, and in a map the next key is another one. A reader of device events gets wrong values instead of a failure.
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
print('list', decode('c00902' + 'e00200a3' + 'a1026f6b'))
print('array alone', decode('e00200a3'))
PYTHON
)
expected='5.15.1
list ([[], b'\''\x02ok'\''], b'\'''\'')
array alone ([], b'\''\xa3'\'')'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
