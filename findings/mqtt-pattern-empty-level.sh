#!/usr/bin/env bash
# A wildcard of mqtt-pattern does not match an empty level, and so leaves out device messages that have no properties.
# Expected: MQTT 3.1.1, 4.7.1.3 and 4.7.3: a level may be empty, and "+" stands for one level whatever it holds; "+/+" matches
# "/finance". IoT Hub's topic of telemetry without properties ends in a slash, thus in an empty level.
# Seen (mqtt-pattern 2.1.1): "+" matches each level that has a letter, and no empty one, at the start, in the middle or at the end.
# mqtt-match 3.0.0 and mqtt-wildcard 3.0.9 (JavaScript) and paho-mqtt 2.1.0 (Python) match them all.
# Why it matters: a router that reads the device and the properties from the topic sees the messages of devices that set a property,
# and none of the others. The broker has delivered them, since its own matching follows the standard; they vanish in the client.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check paho-mqtt==2.1.0
npm install --silent --no-audit --no-fund --prefix "$work" mqtt-pattern@2.1.1 mqtt-match@3.0.0 mqtt-wildcard@3.0.9 >/dev/null
cat >match.mjs <<'JAVASCRIPT'
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
const require = createRequire(process.cwd() + "/");
const pattern = require("mqtt-pattern");
const plain = async (name) => { const found = await import(name); return found.default?.default ?? found.default ?? found; };
const match = await plain("mqtt-match");
const wildcard = await plain("mqtt-wildcard");
const paho = "import sys; from paho.mqtt.client import topic_matches_sub; print(topic_matches_sub(*sys.argv[1:]))";
for (const [filter, topic] of [
  ["devices/+/messages/events/+", "devices/d1/messages/events/alert=1"],
  ["devices/+/messages/events/+", "devices/d1/messages/events/"],
  ["+/+", "/finance"],
  ["plant/+/line", "plant//line"],
]) {
  const python = execFileSync("venv/bin/python", ["-c", paho, filter, topic], { encoding: "utf8" }).trim().toLowerCase();
  console.log(`${filter} ${topic}: mqtt-pattern ${pattern.matches(filter, topic)}, mqtt-match ${match(filter, topic)}, mqtt-wildcard ${wildcard(topic, filter) !== null}, paho ${python}`);
}
const named = "devices/+device/messages/events/+properties";
for (const topic of ["devices/d1/messages/events/alert=1", "devices/d1/messages/events/"]) console.log("exec", topic, JSON.stringify(pattern.exec(named, topic)));
JAVASCRIPT
seen=$(node match.mjs)
expected='devices/+/messages/events/+ devices/d1/messages/events/alert=1: mqtt-pattern true, mqtt-match true, mqtt-wildcard true, paho true
devices/+/messages/events/+ devices/d1/messages/events/: mqtt-pattern false, mqtt-match true, mqtt-wildcard true, paho true
+/+ /finance: mqtt-pattern false, mqtt-match true, mqtt-wildcard true, paho true
plant/+/line plant//line: mqtt-pattern false, mqtt-match true, mqtt-wildcard true, paho true
exec devices/d1/messages/events/alert=1 {"device":"d1","properties":"alert=1"}
exec devices/d1/messages/events/ null'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
