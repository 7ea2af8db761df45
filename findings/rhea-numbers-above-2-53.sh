#!/usr/bin/env bash
# Some whole numbers just above 2^53 are read as their neighbours by rhea, and larger ones as they are.
# AMQP 1.0 part 1, 1.6.6 (ulong): 64 bits. JavaScript's numbers are exact up to 2^53; rhea gives a Buffer for what is larger.
# Expected: a Buffer from 2^53 + 1 on, or exact numbers.
# Seen: the Buffer begins at 2^53 + 2^32 only. Up to there an odd number becomes an even one, silently; negative ones get
# their Buffer in time. Microsoft's JavaScript clients for Event Hubs and IoT Hub stand on rhea: a counter in a property or in
# an AMQP value changes on the way.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --prefix "$work" rhea@3.0.5 >/dev/null
seen=$(node - <<'JAVASCRIPT'
const types = require("rhea/lib/types.js");
const read = (text) => new types.Reader(Buffer.from(text, "hex")).read();
console.log(require("rhea/package.json").version);
for (const number of [2n ** 53n - 1n, 2n ** 53n + 1n, 2n ** 53n + 2n ** 32n - 1n, 2n ** 53n + 2n ** 32n + 1n]) {
  const value = types.unwrap(read('80' + number.toString(16).padStart(16, '0')));
  console.log(String(number), Buffer.isBuffer(value) ? 'Buffer ' + value.toString('hex') : String(value));
}
const negative = types.unwrap(read('81' + BigInt.asUintN(64, -(2n ** 53n) - 1n).toString(16)));
console.log('-9007199254740993', Buffer.isBuffer(negative) ? 'Buffer ' + negative.toString('hex') : String(negative));
JAVASCRIPT
)
expected='3.0.5
9007199254740991 9007199254740991
9007199254740993 9007199254740992
9007203549708287 9007203549708288
9007203549708289 Buffer 0020000100000001
-9007199254740993 Buffer ffdfffffffffffff'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
