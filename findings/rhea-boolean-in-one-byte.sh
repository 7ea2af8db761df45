#!/usr/bin/env bash
# A boolean in its one-byte form is read as a number by rhea.
# AMQP 1.0 part 1, 1.6.2 (boolean): true is 0x41 or 0x56 0x01, false is 0x42 or 0x56 0x00; both forms mean the same, and
# elements of an array can only have the second one.
# Expected: true and false for either form.
# Seen: 1 and 0 for the second form, alone and in an array. What a consumer compares with true is never true, depending on
# how the sender's library happens to write it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --prefix "$work" rhea@3.0.5 >/dev/null
seen=$(node - <<'JAVASCRIPT'
const types = require("rhea/lib/types.js");
const read = (text) => new types.Reader(Buffer.from(text, "hex")).read();
console.log(require("rhea/package.json").version);
const plain = (texts) => JSON.stringify(texts.map((text) => types.unwrap(read(text))));
console.log('code alone', plain(['41', '42']));
console.log('code and byte', plain(['5601', '5600']));
console.log('in an array', JSON.stringify(types.unwrap(read('e004025601' + '00'))));
JAVASCRIPT
)
expected='3.0.5
code alone [true,false]
code and byte [1,0]
in an array [1,0]'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
