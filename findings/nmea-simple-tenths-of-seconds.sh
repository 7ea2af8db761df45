#!/usr/bin/env bash
# Ten positions a second have one time for nmea-simple, or ten times, depending on the number of digits.
# Expected: in NMEA 0183 the time is hhmmss with any number of digits behind the point. 12:00:00.9 is the same in all kinds of
# sentences, and is what 12:00:00.900 is.
# Seen (nmea-simple 3.3.0): in RMC, the one kind that has time, date and position, digits are read where there are just two. One,
# three or four are dropped, and all positions of a second have its beginning for a time. GGA and GLL, read by the same package,
# keep them. gps 0.9.0 keeps them in RMC as well. @signalk/nmea0183-signalk 3.20.1 keeps them in RMC and drops them in GGA.
# Why it matters: receivers with 5 or 10 positions a second write one or three digits. Points with one time are dropped as repeated
# by whoever takes device and time for a key, and speeds made from them are divisions by zero.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
npm install --silent --no-audit --no-fund --prefix "$work" nmea-simple@3.3.0 gps@0.9.0 @signalk/nmea0183-signalk@3.20.1 >/dev/null
cat >read.js <<'JAVASCRIPT'
const { parseNmeaSentence } = require("nmea-simple");
const GPS = require("gps");
const read = (GPS.default || GPS.GPS || GPS).Parse;
const SignalK = require("@signalk/nmea0183-signalk");
const signalk = new (SignalK.default || SignalK)();
console.log("nmea-simple", require("nmea-simple/package.json").version);
const sum = (text) => [...text].reduce((sum, letter) => sum ^ letter.charCodeAt(0), 0).toString(16).toUpperCase().padStart(2, "0");
const clock = (time) => new Date(time).toISOString().slice(11, 23);
for (const time of ["120000", "120000.90", "120000.9", "120000.900", "120000.9000"]) {
  const line = (text) => `$${text}*${sum(text)}`;
  const rmc = line(`GPRMC,${time},A,4807.038,N,01131.000,E,000.5,054.7,010724,,`);
  const gga = line(`GPGGA,${time},4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,`);
  console.log(time, "RMC", clock(parseNmeaSentence(rmc).datetime), "GGA", clock(parseNmeaSentence(gga).time),
    "| gps: RMC", clock(read(rmc).time), "| signalk: RMC", clock(signalk.parse(rmc).updates[0].timestamp), "GGA", clock(signalk.parse(gga).updates[0].timestamp));
}
JAVASCRIPT
seen=$(node read.js)
expected='nmea-simple 3.3.0
120000 RMC 12:00:00.000 GGA 12:00:00.000 | gps: RMC 12:00:00.000 | signalk: RMC 12:00:00.000 GGA 12:00:00.000
120000.90 RMC 12:00:00.900 GGA 12:00:00.900 | gps: RMC 12:00:00.900 | signalk: RMC 12:00:00.900 GGA 12:00:00.000
120000.9 RMC 12:00:00.000 GGA 12:00:00.900 | gps: RMC 12:00:00.900 | signalk: RMC 12:00:00.900 GGA 12:00:00.000
120000.900 RMC 12:00:00.000 GGA 12:00:00.900 | gps: RMC 12:00:00.900 | signalk: RMC 12:00:00.900 GGA 12:00:00.000
120000.9000 RMC 12:00:00.000 GGA 12:00:00.900 | gps: RMC 12:00:00.900 | signalk: RMC 12:00:00.900 GGA 12:00:00.000'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
