#!/usr/bin/env bash
# Each date of a BACnet controller is a month too late in node-bacnet, and each date that it writes is a month too early.
# Expected: ASHRAE 135, 20.2.12: a date is the year less 1900, the month with 1 for January, the day and the day of the week.
# 1 July 2024, a Monday, is 7c 07 01 01.
# Seen (node-bacnet 0.2.4, and bacstack 0.0.1-beta.14 from which it came): the month on the wire is JavaScript's, which begins at 0. July is
# read as August, and December as January of the next year. Written, July is June, and January is the month 0, which BACnet does not
# have. Both ends of one library agree, so nothing shows in its own tests. @bacnet-js/client 3.3.2 and bacpypes3 0.0.110
# (Python) are right.
# Why it matters: a trend log, a schedule or an alarm read from a building is dated a month ahead without an error; a holiday that a
# workflow sets happens a month early; and timeSync sets the clocks of a whole network back by a month.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check bacpypes3==0.0.110
npm install --silent --no-audit --no-fund --prefix "$work" node-bacnet@0.2.4 bacstack@0.0.1-beta.14 @bacnet-js/client@3.3.2 >/dev/null
cat >dates.js <<'JAVASCRIPT'
const path = require("path");
const day = (date) => `${date.getFullYear()}-${String(date.getMonth() + 1).padStart(2, "0")}-${String(date.getDate()).padStart(2, "0")}`;
const tag = 10;
for (const [name, file] of [["node-bacnet", "lib/asn1.js"], ["bacstack", "lib/asn1.js"], ["@bacnet-js/client", "dist/lib/asn1.js"]]) {
  const codec = require(path.join(process.cwd(), "node_modules", name, file));
  const read = (hex) => day(codec.bacappDecodeApplicationData(Buffer.from("a4" + hex, "hex"), 0, 5, 0, 0).value);
  const written = (value) => {
    const target = { buffer: Buffer.alloc(16), offset: 0 };
    codec.bacappEncodeApplicationData(target, { type: tag, value });
    return target.buffer.toString("hex", 1, target.offset);
  };
  console.log(name, "reads 7c070101 as", read("7c070101") + ",", "7c0c1f02 as", read("7c0c1f02") + ";", "writes 2024-07-01 as", written(new Date(2024, 6, 1)) + ",", "2024-01-31 as", written(new Date(2024, 0, 31)));
}
const target = { buffer: Buffer.alloc(16), offset: 0 };
require("node-bacnet/lib/services/time-sync").encode(target, new Date(2024, 6, 1, 12));
console.log("timeSync of 2024-07-01 12:00:", target.buffer.toString("hex", 0, target.offset));
JAVASCRIPT
cat >dates.py <<'PYTHON'
from bacpypes3.primitivedata import Date

print("bacpypes3 writes 2024-07-01 as", bytes(Date("2024-07-01").encode().tagList[0].tag_data).hex())
PYTHON
seen=$(node dates.js; venv/bin/python dates.py)
expected='node-bacnet reads 7c070101 as 2024-08-01, 7c0c1f02 as 2025-01-31; writes 2024-07-01 as 7c060101, 2024-01-31 as 7c001f03
bacstack reads 7c070101 as 2024-08-01, 7c0c1f02 as 2025-01-31; writes 2024-07-01 as 7c060101, 2024-01-31 as 7c001f03
@bacnet-js/client reads 7c070101 as 2024-07-01, 7c0c1f02 as 2024-12-31; writes 2024-07-01 as 7c070101, 2024-01-31 as 7c011f03
timeSync of 2024-07-01 12:00: a47c060101b40c000000
bacpypes3 writes 2024-07-01 as 7c070101'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
