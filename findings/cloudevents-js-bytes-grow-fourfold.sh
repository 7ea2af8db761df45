#!/usr/bin/env bash
# Bytes that pass from JSON format to binary mode in the CloudEvents SDK for JavaScript are four times as long.
# Expected: JSON format of CloudEvents 1.0, section 3.1.1: "data_base64" holds the bytes of the data, and section 3.1.2 of the HTTP
# binding puts the same bytes into the body. The CBOR message 01 02 03 ff leaves as 01 02 03 ff.
# Seen (cloudevents 10.0.0): the reader keeps each byte as a number of 32 bits. What binary mode hands out as body is sent by fetch
# with three zeros after each byte; JSON.stringify makes an object of it. Written as JSON format again, it is right.
# Why it matters: a gateway that takes device events in one mode and sends them on in the other spoils every binary payload, with
# the right content type and without an error.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --prefix "$work" cloudevents@10.0.0 >/dev/null
cat >forward.mjs <<'JAVASCRIPT'
import { createRequire } from "node:module";
const require = createRequire(process.cwd() + "/");
const { HTTP } = require("cloudevents");
console.log(require("cloudevents/package.json").version);
const attributes = { specversion: "1.0", id: "1", source: "/sensor", type: "reading", time: "2026-01-01T00:00:00Z" };
const body = JSON.stringify({ ...attributes, datacontenttype: "application/cbor", data_base64: "AQID/w==" });
const event = HTTP.toEvent({ headers: { "content-type": "application/cloudevents+json" }, body });
const binary = HTTP.binary(event);
console.log("came as", Buffer.from("AQID/w==", "base64").toString("hex"));
console.log("content type", binary.headers["content-type"]);
console.log("body of fetch", Buffer.from(await new Response(binary.body).arrayBuffer()).toString("hex"));
console.log("body as JSON", JSON.stringify(binary.body));
console.log("JSON format", JSON.parse(HTTP.structured(event).body).data_base64);
JAVASCRIPT
seen=$(node forward.mjs)
expected='10.0.0
came as 010203ff
content type application/cbor
body of fetch 010000000200000003000000ff000000
body as JSON {"0":1,"1":2,"2":3,"3":255}
JSON format AQID/w=='
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
