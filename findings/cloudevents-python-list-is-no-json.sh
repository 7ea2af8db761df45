#!/usr/bin/env bash
# A JSON list leaves the CloudEvents SDK for Python in binary mode as Python's own notation.
# Expected: HTTP binding of CloudEvents 1.0, sections 2.2 and 3.1.2: in binary mode the body is the data in the format that its
# content type declares. SenML (RFC 8428) is a JSON list, so readings that came in JSON format leave as JSON, and section 3.2 of the
# JSON format says that a text keeps its quotes.
# Seen (cloudevents 2.2.0): an object is written as JSON. A list is written with single quotes, True and None; true alone is True.
# Both carry a JSON content type. The text "21" is written without its quotes and is the number 21 for the next reader. The other
# way, bytes of one content type become a text in "data" where they happen to be UTF-8, and "data_base64" where not.
# Why it matters: the next hop refuses the readings or, for "21" and for bytes, takes them for something else; tests with objects
# alone show nothing of it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check cloudevents==2.2.0
seen=$("$work/venv/bin/python" - <<'PYTHON'
import json
from importlib.metadata import version
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event

print(version("cloudevents"))
start = '{"specversion":"1.0","id":"1","source":"/d","type":"t","time":"2026-01-01T00:00:00Z",'
for data in ['{"n":"open","vb":true}', '[{"n":"open","vb":true,"u":null}]', 'true', '"21"']:
    body = (start + '"datacontenttype":"application/senml+json","data":' + data + "}").encode()
    event = from_http_event(HTTPMessage({"content-type": "application/cloudevents+json"}, body))
    sent = to_binary_event(event)
    print(data, "->", sent.headers["content-type"], sent.body.decode())
headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/d", "ce-type": "t", "content-type": "application/octet-stream"}
for body in [b"\x01\x41", b"\x01\xff"]:
    sent = json.loads(to_structured_event(from_http_event(HTTPMessage(headers, body))).body)
    print("bytes", body.hex(), "->", {name: sent[name] for name in sent if name.startswith("data")})
PYTHON
)
expected='2.2.0
{"n":"open","vb":true} -> application/senml+json {"n": "open", "vb": true}
[{"n":"open","vb":true,"u":null}] -> application/senml+json [{'"'n': 'open', 'vb': True, 'u': None"'}]
true -> application/senml+json True
"21" -> application/senml+json 21
bytes 0141 -> {'"'datacontenttype': 'application/octet-stream', 'data': '\\x01A'"'}
bytes 01ff -> {'"'datacontenttype': 'application/octet-stream', 'data_base64': 'Af8='"'}'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
