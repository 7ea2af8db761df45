#!/usr/bin/env bash
# dayjs reads a negative duration that it has written itself as a positive one.
# Expected: a duration may have a sign in front: XML Schema part 2, 3.2.6 (which .NET's and Java's writers follow), and ISO 8601-2. A
# half may be 0.5 or 0,5 (ISO 8601-1). A reader gives the same span, or says that it cannot read it.
# Seen: dayjs 1.11.23 writes -PT1H for -3600 seconds and reads it as 3600. iso8601-duration 2.1.4 takes it for one hour, too, and
# refuses half a day. For dayjs PT0,5S is no time at all. luxon 3.7.2, tinyduration 3.4.1 and isodate 0.7.2 (Python) keep the sign.
# A month is 30 days for luxon, 30 days and 10 hours for dayjs, and depends on the day of asking for iso8601-duration.
# Why it matters: an offset of a clock, a drift or a time left that has run out becomes its opposite: what ended an hour ago lives for
# one more, and a limit of half a second is none.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check isodate==0.7.2
npm install --silent --no-audit --no-fund --prefix "$work" dayjs@1.11.23 iso8601-duration@2.1.4 luxon@3.7.2 tinyduration@3.4.1 >/dev/null
cat >read.mjs <<'JAVASCRIPT'
import { readFileSync } from "node:fs";
import dayjs from "dayjs";
import plugin from "dayjs/plugin/duration.js";
import { parse, toSeconds } from "iso8601-duration";
import { Duration } from "luxon";
import * as tiny from "tinyduration";

dayjs.extend(plugin);
for (const name of ["dayjs", "iso8601-duration", "luxon", "tinyduration"]) console.log(name, JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version);
for (const seconds of [-3600, -0.5, 5400]) {
  const text = dayjs.duration(seconds, "seconds").toISOString();
  console.log("dayjs writes", seconds, "as", text, "and reads it as", dayjs.duration(text).asSeconds());
}
const tried = (read) => { try { return read(); } catch { return "refused"; } };
for (const text of ["-PT1H", "PT0.5S", "PT0,5S", "P0.5D", "P1M"]) {
  console.log(text, "dayjs", dayjs.duration(text).asSeconds(), "iso8601-duration", tried(() => toSeconds(parse(text), new Date(2024, 5, 15))),
    "luxon", Duration.fromISO(text).as("seconds"), "tinyduration", JSON.stringify(tiny.parse(text)));
}
JAVASCRIPT
cat >read.py <<'PYTHON'
import isodate

for text in ["-PT1H", "PT0,5S", "P0.5D"]:
    print(text, "isodate", isodate.parse_duration(text).total_seconds())
PYTHON
seen=$(node read.mjs; venv/bin/python read.py)
expected='dayjs 1.11.23
iso8601-duration 2.1.4
luxon 3.7.2
tinyduration 3.4.1
dayjs writes -3600 as -PT1H and reads it as 3600
dayjs writes -0.5 as -PT0.5S and reads it as 0.5
dayjs writes 5400 as PT1H30M and reads it as 5400
-PT1H dayjs 3600 iso8601-duration 3600 luxon -3600 tinyduration {"hours":1,"negative":true}
PT0.5S dayjs 0.5 iso8601-duration 0.5 luxon 0.5 tinyduration {"seconds":0.5}
PT0,5S dayjs 0 iso8601-duration 0.5 luxon 0.5 tinyduration {"seconds":0.5}
P0.5D dayjs 43200 iso8601-duration refused luxon 43200 tinyduration {"days":0.5}
P1M dayjs 2628000 iso8601-duration 2592000 luxon 2592000 tinyduration {"months":1}
-PT1H isodate -3600.0
PT0,5S isodate 0.5
P0.5D isodate 43200.0'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
