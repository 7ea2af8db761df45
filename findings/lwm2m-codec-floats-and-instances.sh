#!/usr/bin/env bash
# 21.5 degrees in eight bytes are 2.8359375 for lwm2m-codec, and the voltages of the standard's own example are control characters.
# Expected: OMA LwM2M 1.0, 6.4.3 and appendix C: a float has 4 or 8 bytes, and the length is in the message. A resource may have several
# instances; the example of object 3 in 6.4.3.1 has the voltages 3800 and 5000 and the currents 125 and 900 in them.
# Seen (lwm2m-codec 0.1.1): of 8 bytes the first 4 are read as a float of 4. Instances are read as text whatever their type is, and
# written as digits of text: 3800 leaves as "3800", where the standard has 0ed8. Whole numbers from 128 to 255 and from 32768 to 65535
# are refused on writing, those between and above are not. Single integers and floats of 4 bytes are right.
# Why it matters: two sensors with one firmware each differ by the width of their floats, and one of them reports a fraction. There is
# no error, and the value looks like a temperature.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --prefix "$work" lwm2m-codec@0.1.1 >/dev/null
cat >read.js <<'JAVASCRIPT'
const { encode, decode } = require("lwm2m-codec");
console.log(require("lwm2m-codec/package.json").version);
for (const value of [21.5, -5.25, 100000.5]) {
  const four = Buffer.from("e4164400000000", "hex");
  four.writeFloatBE(value, 3);
  const eight = Buffer.from("e81644080000000000000000", "hex");
  eight.writeDoubleBE(value, 4);
  console.log(value, "in 4 bytes:", decode("tlv", "/3303/0", four).sensorValue, "in 8 bytes:", decode("tlv", "/3303/0", eight).sensorValue);
}
const example = Buffer.from("860641000141010588070842000ed842011388870841007d42010384c10964c10a0f", "hex");
console.log(JSON.stringify(decode("tlv", "/3/0", example)).replace(/[^ -~]/g, "?"));
console.log("voltages written:", encode("tlv", "/3/0", { 7: { 0: 3800, 1: 5000 } }).toString("hex"));
const tried = (value) => { try { return encode("tlv", "/3/0", { 9: value }).toString("hex"); } catch { return "refused"; } };
for (const value of [127, 128, 255, 256, 32767, 32768, 65535, 65536]) console.log("level", value, tried(value));
JAVASCRIPT
seen=$(node read.js)
expected='0.1.1
21.5 in 4 bytes: 21.5 in 8 bytes: 2.8359375
-5.25 in 4 bytes: -5.25 in 8 bytes: -2.328125
100000.5 in 4 bytes: 100000.5 in 8 bytes: 7.762943267822266
{"availPwrSrc":{"0":"\u0001","1":"\u0005"},"pwrSrcVoltage":{"0":"\u000e?","1":"\u0013?"},"pwrSrcCurrent":{"0":"}","1":"\u0003?"},"battLevel":100,"memFree":15}
voltages written: 08000f88070c440033383030440135303030
level 127 0300c1097f
level 128 refused
level 255 refused
level 256 0400c2090100
level 32767 0400c2097fff
level 32768 refused
level 65535 refused
level 65536 0600c40900010000'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
