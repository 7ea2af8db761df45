#!/usr/bin/env bash
# A float that passes through rhea becomes a double with other digits.
# AMQP 1.0 part 1, 1.6.11 and 1.6.12: float (0x72) and double (0x82) are different types. A gateway that decodes a message and
# sends it on ought to leave the properties as they were.
# Expected: n = 3.1415927 as a float again (72 40490fdb).
# Seen: 82 400921fb60000000, a double; and the message, which had no body, has one now: a null (00 53 77 40). A device that
# sends 0.1 as a float is shown as 0.10000000149011612 behind such a gateway.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --prefix "$work" rhea@3.0.5 >/dev/null
seen=$(node - <<'JAVASCRIPT'
const types = require("rhea/lib/types.js");
const read = (text) => new types.Reader(Buffer.from(text, "hex")).read();
console.log(require("rhea/package.json").version);
const { message } = require('rhea');
const before = '005374' + 'c10902' + 'a1016e' + '7240490fdb';
const decoded = message.decode(Buffer.from(before, 'hex'));
console.log(JSON.stringify(decoded.application_properties));
const after = message.encode(decoded).toString('hex');
console.log('double', after.includes('82400921fb60000000'), 'float', after.includes('7240490fdb'), 'null body', after.endsWith('00537740'));
JAVASCRIPT
)
expected='3.0.5
{"n":3.1415927410125732}
double true float false null body true'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
