#!/usr/bin/env bash
# -5 in a field of 12 bits is 4091 for node-wot, -5 in 3 bytes is 252, and a field at the start of a frame is lost.
# Expected: @node-wot/core's page "Octet-Stream": signed is true by default, for all lengths; ex:bitOffset counts from the beginning of
# the bytes, and is 0 by default. What is written is read again as the same.
# Seen (@node-wot/core 0.9.2): -5 is read right in 8, 16 and 32 bits. In a field of bits that is part of a frame it is written with its
# sign and read without it. In 3 or 6 bytes it is written as 00 … fc, which is 252. A number at offset 0 that is shorter than the
# frame is written to the frame's end: in an object the first property arrives as 0, and the others arrive.
# Why it matters: sensors with 10, 12 or 24 bits are the rule. Below zero they report hundreds of degrees, and a command whose first
# field is a number goes out with a 0 in it, both without an error.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --prefix "$work" @node-wot/core@0.9.2 >/dev/null
cat >bits.js <<'JAVASCRIPT'
const { ContentSerdes } = require("@node-wot/core");
console.log(require("@node-wot/core/package.json").version);
const serdes = ContentSerdes.get();
const again = async (value, schema, length) => {
  const type = `application/octet-stream;length=${length};signed=true`;
  const body = await serdes.valueToContent(value, schema, type).toBuffer();
  const hex = body.toString("hex");
  return `${JSON.stringify(value)} as ${hex} is read as ${JSON.stringify(serdes.contentToValue({ type, body }, schema))}`;
};
const bits = (offset, length) => ({ type: "integer", "ex:bitOffset": offset, "ex:bitLength": length });
(async () => {
  for (const length of [1, 2, 3, 4, 6]) console.log(length, "bytes:", await again(-5, { type: "integer" }, length));
  for (const value of [5, -5]) console.log("the last 12 of 16 bits:", await again(value, bits(4, 12), 2));
  const schema = { type: "object", properties: { mode: bits(0, 4), target: bits(4, 12) } };
  for (const value of [{ mode: 3, target: 215 }, { mode: 3, target: -5 }]) console.log("object:", await again(value, schema, 2));
})();
JAVASCRIPT
seen=$(node bits.js 2>errors || cat errors)
expected='0.9.2
1 bytes: -5 as fb is read as -5
2 bytes: -5 as fffb is read as -5
3 bytes: -5 as 0000fc is read as 252
4 bytes: -5 as fffffffb is read as -5
6 bytes: -5 as 0000000000fc is read as 252
the last 12 of 16 bits: 5 as 0005 is read as 5
the last 12 of 16 bits: -5 as 0ffb is read as 4091
object: {"mode":3,"target":215} as 00d7 is read as {"mode":0,"target":215}
object: {"mode":3,"target":-5} as 0ffb is read as {"mode":0,"target":4091}'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
