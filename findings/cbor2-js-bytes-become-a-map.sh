#!/usr/bin/env bash
# Bytes that cbor2 for JavaScript has read itself are written by it as a map.
# Expected: RFC 8949, section 3.1: a byte string (major type 2) and a map (major type 5) are different things. What a gateway
# decodes and encodes again is the same; cbor2 keeps even the size of floats and the difference of -0 and 0.
# Seen (cbor2 2.3.0): in a message that came as a Buffer, which MQTT and HTTP clients in Node.js hand out, byte strings are Buffers.
# Encoded again, 01 02 is the map {"type": "Buffer", "data": [1, 2]}, also beneath a tag, such as that of a UUID. In the same message
# as a Uint8Array they stay bytes. There is no error; registering an encoder for Buffer helps.
# Why it matters: keys, pictures, frames and UUIDs inside device messages are no bytes any more for the next hop, in any language, and
# several times as long.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --prefix "$work" cbor2@2.3.0 >/dev/null
cat >again.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import { decode, encode } from "cbor2";

console.log(JSON.parse(readFileSync("node_modules/cbor2/package.json")).version);
const uuid = "00112233445566778899aabbccddeeff";
for (const [what, text] of [["float and -0", "82f93e00f98000"], ["bytes", "420102"], ["bytes in a map", "a16164420102"], ["UUID", "d82550" + uuid]]) {
  const buffer = Buffer.from(text, "hex");
  for (const message of [buffer, new Uint8Array(buffer)]) {
    const again = Buffer.from(encode(decode(message))).toString("hex");
    console.log(what, "from", message.constructor.name + ":", again === text ? "the same" : `${text.length / 2} bytes became ${again.length / 2}: ${again.slice(0, 40)}`);
  }
}
const found = decode(new Uint8Array(encode(decode(Buffer.from("420102", "hex")))));
console.log("read back as", found.constructor.name, JSON.stringify(found));
JAVASCRIPT
seen=$(node again.mjs)
expected='2.3.0
float and -0 from Buffer: the same
float and -0 from Uint8Array: the same
bytes from Buffer: 3 bytes became 21: a264747970656642756666657264646174618201
bytes from Uint8Array: the same
bytes in a map from Buffer: 6 bytes became 24: a16164a264747970656642756666657264646174
bytes in a map from Uint8Array: the same
UUID from Buffer: 19 bytes became 51: d825a26474797065664275666665726464617461
UUID from Uint8Array: the same
read back as Object {"type":"Buffer","data":[1,2]}'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
