#!/usr/bin/env bash
# A tracker without a fix is in the Gulf of Guinea for nmea-simple.
# Expected: in NMEA 0183 a field is empty where nothing is known. A receiver that sees no satellites sends its sentences without
# a position; a reader gives null, or nothing.
# Seen (nmea-simple 3.3.0): each empty field of a number is 0: latitude 0, longitude 0, altitude 0, speed 0, course 0, and a dilution of
# precision of 0, which is better than perfect. That there was no fix is in another field, under another name in each kind of sentence.
# gps 0.9.0 gives null for all of them.
# Why it matters: each parked truck jumps to 0/0 when it enters a tunnel, and the distance, the fence and the speed with it. A filter
# on the precision keeps these positions as the best ones.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --prefix "$work" nmea-simple@3.3.0 gps@0.9.0 >/dev/null
cat >read.js <<'JAVASCRIPT'
const { parseNmeaSentence } = require("nmea-simple");
const GPS = require("gps");
const read = (GPS.default || GPS.GPS || GPS).Parse;
console.log("nmea-simple", require("nmea-simple/package.json").version);
const sum = (text) => [...text].reduce((sum, letter) => sum ^ letter.charCodeAt(0), 0).toString(16).toUpperCase().padStart(2, "0");
for (const text of ["GPRMC,120000.00,V,,,,,,,010724,,", "GPGGA,120000.00,,,,,0,00,,,M,,M,,", "GPGLL,,,,,120000.00,V,", "GPGSA,A,1,,,,,,,,,,,,,,,"]) {
  const line = `$${text}*${sum(text)}`;
  const one = parseNmeaSentence(line);
  const two = read(line);
  const told = (of, names) => names.filter((name) => name in of).map((name) => `${name} ${JSON.stringify(of[name])}`).join(", ");
  console.log(text);
  console.log("  nmea-simple:", told(one, ["latitude", "longitude", "altitudeMeters", "speedKnots", "trackTrue", "horizontalDilution", "HDOP", "status", "fixType", "fixMode"]));
  console.log("  gps:", told(two, ["lat", "lon", "alt", "speed", "track", "hdop", "status", "quality", "fix"]));
}
JAVASCRIPT
seen=$(node read.js)
expected='nmea-simple 3.3.0
GPRMC,120000.00,V,,,,,,,010724,,
  nmea-simple: latitude 0, longitude 0, speedKnots 0, trackTrue 0, status "warning"
  gps: lat null, lon null, speed null, track null, status "void"
GPGGA,120000.00,,,,,0,00,,,M,,M,,
  nmea-simple: latitude 0, longitude 0, altitudeMeters 0, horizontalDilution 0, fixType "none"
  gps: lat null, lon null, alt null, hdop null, quality null
GPGLL,,,,,120000.00,V,
  nmea-simple: latitude 0, longitude 0, status "invalid"
  gps: lat null, lon null, status "void"
GPGSA,A,1,,,,,,,,,,,,,,,
  nmea-simple: HDOP 0, fixMode "none"
  gps: hdop null, fix null'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
