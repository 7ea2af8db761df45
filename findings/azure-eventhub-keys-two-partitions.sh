#!/usr/bin/env bash
# One partition key leads to two partitions, depending on the language of the sender.
# Expected: the buffered producers choose the partition of a key themselves, as the service does. The events of a device that are sent
# with its name as the key are in one partition, in order, whoever sends them.
# Seen (azure-eventhub 5.15.1 for Python, @azure/event-hubs 6.0.4 for JavaScript): both make the same hash of an ASCII key, a number of
# 16 bits with a sign. For the remainder, Python rounds down and JavaScript towards zero; both then drop the sign. With 2 partitions this
# is the same; with 4 partitions a quarter of the keys go elsewhere, with 32 about half. For keys with other letters even the
# hash differs: Python hashes code points, JavaScript the bytes of UTF-8.
# Why it matters: events of one device from two programs, or before and after a program is rewritten, are in two partitions, where
# nothing keeps their order. Nothing fails: a consumer that keeps state per partition has two halves of a device.
# The producers call these two functions; they are called here without a connection.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check azure-eventhub==5.15.1
npm install --silent --no-audit --no-fund --prefix "$work" @azure/event-hubs@6.0.4 >/dev/null
cat >choose.py <<'PYTHON'
import json
from azure.eventhub import __version__
from azure.eventhub._buffered_producer._partition_resolver import PartitionResolver, generate_hash_code

print("Python", __version__)
keys = [f"device-{n}" for n in range(1000)] + [f"gerät-{n}" for n in range(1000)]
counts = [2, 4, 10, 32]
found = {key: [generate_hash_code(key)] + [PartitionResolver(list(range(n))).get_partition_id_by_partition_key(key) for n in counts] for key in keys}
with open("python.json", "w") as file:
    json.dump({"counts": counts, "found": found}, file)
PYTHON
cat >choose.js <<'JAVASCRIPT'
const package = "./node_modules/@azure/event-hubs/";
const { hashPartitionKey, mapPartitionKeyToId } = require(package + "dist/commonjs/impl/partitionKeyToIdMapper.js");
console.log("JavaScript", require(package + "package.json").version);
const { counts, found } = require("./python.json");
for (const key of ["device-1", "device-4"]) {
  console.log(key, "of 32: Python", found[key][4] + ", JavaScript", mapPartitionKeyToId(key, 32) + ", hash", found[key][0], hashPartitionKey(key));
}
for (const kind of ["device-", "gerät-"]) {
  const keys = Object.keys(found).filter((key) => key.startsWith(kind));
  const same = (test) => `${keys.filter(test).length} of ${keys.length}`;
  console.log(kind, "the same hash:", same((key) => hashPartitionKey(key) === found[key][0]));
  counts.forEach((count, n) => console.log(kind, "the same of", count, "partitions:", same((key) => mapPartitionKeyToId(key, count) === found[key][n + 1])));
}
JAVASCRIPT
seen=$(venv/bin/python choose.py; node choose.js)
expected='Python 5.15.1
JavaScript 6.0.4
device-1 of 32: Python 4, JavaScript 4, hash 26788 26788
device-4 of 32: Python 26, JavaScript 6, hash -15526 -15526
device- the same hash: 1000 of 1000
device- the same of 2 partitions: 1000 of 1000
device- the same of 4 partitions: 760 of 1000
device- the same of 10 partitions: 615 of 1000
device- the same of 32 partitions: 528 of 1000
gerät- the same hash: 0 of 1000
gerät- the same of 2 partitions: 517 of 1000
gerät- the same of 4 partitions: 253 of 1000
gerät- the same of 10 partitions: 112 of 1000
gerät- the same of 32 partitions: 36 of 1000'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
