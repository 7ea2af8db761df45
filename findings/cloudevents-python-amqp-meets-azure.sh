#!/usr/bin/env bash
# No event of the CloudEvents SDK for Python goes through Microsoft's AMQP clients in binary mode, in either direction.
# Expected: the SDK's module for AMQP names azure-servicebus among the libraries that its messages work with. CloudEvents's binding for AMQP
# has times as the AMQP type timestamp or as text.
# Seen (cloudevents 2.2.0, azure-servicebus 7.15.0, azure-eventhub 5.15.1): to_binary gives the time as an int, which is not a timestamp for
# any library. Both clients write an int with 32 bits, and refuse a time in milliseconds as invalid. Each event has a time, since the SDK
# adds one. In the other direction both clients give names and texts as bytes: from_amqp fails on the names, and then on the texts.
# Times before 1970 are rounded up to the next millisecond, later ones down. Structured mode works.
# Why it matters: what works in the tests of either library fails with the first event, when it is added to a batch. With a client that
# sends the int as a long, the reader sees a number for a time.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check cloudevents==2.2.0 azure-servicebus==7.15.0 azure-eventhub==5.15.1
seen=$(venv/bin/python - <<'PYTHON'
from datetime import datetime, timezone
from importlib.metadata import version

from azure.eventhub import EventData, EventDataBatch
from azure.eventhub._pyamqp import _decode, _encode
from azure.eventhub._pyamqp.message import Message
from azure.servicebus import ServiceBusMessage, ServiceBusMessageBatch
from cloudevents.core.bindings.amqp import AMQPMessage, from_amqp, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

for name in ["cloudevents", "azure-servicebus", "azure-eventhub"]:
    print(name, version(name))


def told(what, call):
    try:
        call()
        print(what, "fine")
    except Exception as error:
        print(what, f"{type(error).__name__}: {str(error)[:60]}")


def send(mode, message):
    of_bus = ServiceBusMessage(message.application_data, application_properties=message.application_properties)
    told(f"{mode}, Service Bus:", lambda: ServiceBusMessageBatch(10000).add_message(of_bus))
    of_hub = EventData(message.application_data)
    of_hub.properties = message.application_properties
    told(f"{mode}, Event Hubs:", lambda: EventDataBatch(10000).add(of_hub))


time = datetime(2024, 7, 1, 12, tzinfo=timezone.utc)
attributes = {"id": "1", "type": "reading", "source": "/meter", "datacontenttype": "application/json", "time": time}
event = CloudEvent(attributes, {"t": 21.5})
send("structured", to_structured(event, JSONFormat()))
send("binary", to_binary(event, JSONFormat()))
print("the time of 2024 is", to_binary(event, JSONFormat()).application_properties["cloudEvents_time"])
early = CloudEvent({**attributes, "time": datetime(1969, 12, 31, 23, 59, 59, 999500, tzinfo=timezone.utc)}, None)
print("half a millisecond before 1970 is", to_binary(early, JSONFormat()).application_properties["cloudEvents_time"])

wire = bytearray()
sent = {"specversion": "1.0", "id": "1", "type": "reading", "source": "/meter", "time": time}
_encode.encode_payload(wire, Message(application_properties={f"cloudEvents_{name}": value for name, value in sent.items()}, data=[b'{"t": 21.5}']))
found = EventData._from_message(_decode.decode_payload(memoryview(bytes(wire)))).properties
named = {name.decode(): value for name, value in found.items()}
plain = {name: value.decode() if isinstance(value, bytes) else value for name, value in named.items()}
for what, properties in [("as they come:", found), ("names as text:", named), ("all as text:", plain)]:
    told(what, lambda: from_amqp(AMQPMessage({"content-type": "application/json"}, properties, b'{"t": 21.5}'), JSONFormat()))
PYTHON
)
expected='cloudevents 2.2.0
azure-servicebus 7.15.0
azure-eventhub 5.15.1
structured, Service Bus: fine
structured, Event Hubs: fine
binary, Service Bus: ValueError: Value supplied for int invalid: 1719835200000
binary, Event Hubs: ValueError: Value supplied for int invalid: 1719835200000
the time of 2024 is 1719835200000
half a millisecond before 1970 is 0
as they come: TypeError: startswith first arg must be bytes or a tuple of bytes, not 
names as text: CloudEventValidationError: Failed to create CloudEvent due to the validation errors:: i
all as text: fine'
printf '%s\n' "$seen"
if [ "$seen" != "$expected" ]; then
    printf 'changed; it was:\n%s\n' "$expected"
    exit 1
fi
