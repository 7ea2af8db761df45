#!/usr/bin/env bash
# node-wot swaps bytes when it reads and not when it writes, and in an object for every second property alone.
# Expected: @node-wot/core's page "Octet-Stream": byteSeq is one of four orders, for reading and for writing. What is written in an order
# and read in the same is the same value, and all fields of an object have one order.
# Seen (@node-wot/core 0.9.2): in the orders without a swap this is so. BIG_ENDIAN_BYTE_SWAP and LITTLE_ENDIAN_BYTE_SWAP are written
# without the swap and read with it: 5 becomes 1280, 21.5 a tiny number, "abcd" "badc". Each property of an object swaps the one buffer
# again, so that the first and third are read without the swap and the second with it. The caller's buffer is swapped, too, so that
# one message read twice is two values.
# Why it matters: the swapped orders are those of many Modbus devices. A setpoint is written as 256 times of what it should be,
# without an error, and which of a frame's readings are right depends on their order in the description.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --prefix "$work" @node-wot/core@0.9.2 >/dev/null
cat >swap.js <<'JAVASCRIPT'
const { ContentSerdes } = require("@node-wot/core");
console.log(require("@node-wot/core/package.json").version);
const serdes = ContentSerdes.get();
(async () => {
  for (const order of ["BIG_ENDIAN", "LITTLE_ENDIAN", "BIG_ENDIAN_BYTE_SWAP", "LITTLE_ENDIAN_BYTE_SWAP"]) {
    for (const [kind, value, length] of [["integer", 5, 2], ["integer", 70000, 4], ["number", 21.5, 4], ["string", "abcd", 4]]) {
      const type = `application/octet-stream;length=${length};signed=true;byteSeq=${order}`;
      const body = await serdes.valueToContent(value, { type: kind }, type).toBuffer();
      console.log(order, kind, value, "as", body.toString("hex"), "is read as", serdes.contentToValue({ type, body }, { type: kind }));
    }
  }
  const schema = { type: "object", properties: {} };
  for (const [place, name] of ["a", "b", "c", "d"].entries()) schema.properties[name] = { type: "integer", "ex:bitOffset": 16 * place, "ex:bitLength": 16 };
  for (const [order, frame] of [["BIG_ENDIAN", "0001000200030004"], ["BIG_ENDIAN_BYTE_SWAP", "0100020003000400"]]) {
    const type = `application/octet-stream;length=8;signed=true;byteSeq=${order}`;
    console.log(order, frame, "as an object:", JSON.stringify(serdes.contentToValue({ type, body: Buffer.from(frame, "hex") }, schema)));
  }
  const body = Buffer.from("0500", "hex");
  const type = "application/octet-stream;length=2;signed=true;byteSeq=BIG_ENDIAN_BYTE_SWAP";
  console.log("one buffer, read twice:", serdes.contentToValue({ type, body }, { type: "integer" }), serdes.contentToValue({ type, body }, { type: "integer" }));
})();
JAVASCRIPT
seen=$(node swap.js 2>errors || cat errors)
expected='0.9.2
BIG_ENDIAN integer 5 as 0005 is read as 5
BIG_ENDIAN integer 70000 as 00011170 is read as 70000
BIG_ENDIAN number 21.5 as 41ac0000 is read as 21.5
BIG_ENDIAN string abcd as 61626364 is read as abcd
LITTLE_ENDIAN integer 5 as 0500 is read as 5
LITTLE_ENDIAN integer 70000 as 70110100 is read as 70000
LITTLE_ENDIAN number 21.5 as 0000ac41 is read as 21.5
LITTLE_ENDIAN string abcd as 61626364 is read as abcd
BIG_ENDIAN_BYTE_SWAP integer 5 as 0005 is read as 1280
BIG_ENDIAN_BYTE_SWAP integer 70000 as 00011170 is read as 16805905
BIG_ENDIAN_BYTE_SWAP number 21.5 as 41ac0000 is read as -2.7426949600339867e-12
BIG_ENDIAN_BYTE_SWAP string abcd as 61626364 is read as badc
LITTLE_ENDIAN_BYTE_SWAP integer 5 as 0500 is read as 1280
LITTLE_ENDIAN_BYTE_SWAP integer 70000 as 70110100 is read as 16805905
LITTLE_ENDIAN_BYTE_SWAP number 21.5 as 0000ac41 is read as -2.7426949600339867e-12
LITTLE_ENDIAN_BYTE_SWAP string abcd as 61626364 is read as badc
BIG_ENDIAN 0001000200030004 as an object: {"a":1,"b":2,"c":3,"d":4}
BIG_ENDIAN_BYTE_SWAP 0100020003000400 as an object: {"a":256,"b":2,"c":768,"d":4}
one buffer, read twice: 5 1280'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
