#!/usr/bin/env bash
# Azure Event Hubs for Python reads the performatives of its peer by position, and fails where trailing nulls are left out.
# AMQP 1.0 part 1, 1.4: "trailing null values" of a composite type's list "can be omitted", and most implementations do so.
# Expected: it talks to any server of AMQP 1.0 with $cbs and $management, such as one of rhea's.
# Seen: the connection is opened and authenticated as far as the first answer that is shorter than the client's table, then
# "list index out of range". It names neither frame nor field, and counts as an error worth a retry.
set -euo pipefail
work=$(mktemp -d)
trap 'kill "$(jobs -p)" 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check azure-eventhub==5.15.1
npm install --silent --no-audit --no-fund --prefix "$work" rhea@3.0.5 >/dev/null
cat >"$work/server.js" <<'JAVASCRIPT'
const container = require("rhea").create_container();
container.sasl_server_mechanisms.enable_anonymous();
container.on("connection_open", () => console.error("opened"));
container.on("message", ({ message: request, connection }) => {
  const reply = connection.find_sender(() => true);
  reply.send({ correlation_id: request.message_id, application_properties: { "status-code": 200 } });
});
const server = container.listen({ port: 0, host: "127.0.0.1" });
server.on("listening", () => console.log(server.address().port));
JAVASCRIPT
cat >"$work/client.py" <<'PYTHON'
import sys
from azure.eventhub import EventHubConsumerClient, __version__

connection = "Endpoint=sb://127.0.0.1:{};SharedAccessKeyName=n;SharedAccessKey=a2V5;UseDevelopmentEmulator=true;EntityPath=hub"
client = EventHubConsumerClient.from_connection_string(connection.format(sys.argv[1]), "$Default", retry_total=0)
print(__version__)
try:
    print(client.get_eventhub_properties())
except Exception as error:
    print(type(error).__name__, str(error).splitlines()[0])
PYTHON
NODE_PATH="$work/node_modules" node "$work/server.js" >"$work/port" 2>"$work/log" &
until [ -s "$work/port" ]; do sleep 0.1; done
seen=$("$work/venv/bin/python" "$work/client.py" "$(cat "$work/port")"; sort -u "$work/log")
expected='5.15.1
EventHubError list index out of range
opened'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
