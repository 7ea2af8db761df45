"""Microsoft's Event Hubs client for Python, unmodified, pointed at an endpoint by the environment: what the scripts beside
this one have in common. eventhub_sdk.py says what the variables are.
"""

import os
import threading
import time

from azure.eventhub import EventHubConsumerClient, TransportType

CONNECTION = os.environ["EVENT_HUB_CONNECTION_STRING"]
FIELDS = dict(field.split("=", 1) for field in CONNECTION.split(";"))
HOST = FIELDS["Endpoint"].split("//")[1].strip("/")
NAME = FIELDS["EntityPath"]
# AMQP on a port of its own, or over WebSockets.
TRANSPORT = TransportType[os.environ.get("TRANSPORT_TYPE", "Amqp")]
OPTIONS = {
    "custom_endpoint_address": os.environ["EVENT_HUB_ENDPOINT"],
    "connection_verify": os.environ["CA_FILE"],
    "transport_type": TRANSPORT,
    "retry_total": 0,
}
GROUP = os.environ["CONSUMER_GROUP"]
PATIENCE = 120
RECEIVED = [0]


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def equal(actual, wanted, what=""):
    expect(actual == wanted, "{} got {!r}, wanted {!r}".format(what, actual, wanted))


def client(group="$Default", **options):
    return EventHubConsumerClient.from_connection_string(CONNECTION, group, **{**OPTIONS, **options})


def text(value):
    return value.decode("utf-8") if isinstance(value, bytes) else value


def plain(value):
    """What JSON would have made of an AMQP value."""
    if isinstance(value, dict):
        return {text(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return text(value)


def receive(wanted, group="$Default", partition=None, make=None, batch=True, **options):
    """Receives until as many events have come as are wanted, and a moment longer, to notice too many."""
    received, errors, done = {}, [], threading.Event()
    lock = threading.Lock()

    def on_batch(context, events):
        with lock:
            received.setdefault(int(context.partition_id), []).extend(events)
            RECEIVED[0] += len(events)
            if sum(map(len, received.values())) >= wanted:
                done.set()

    def on_event(context, event):
        on_batch(context, [event] if event else [])

    def on_error(context, error):
        errors.append(error)
        done.set()

    consumer = make() if make else client(group)
    if partition is not None:
        options["partition_id"] = str(partition)
    method, callback = (consumer.receive_batch, on_batch) if batch else (consumer.receive, on_event)
    worker = threading.Thread(target=method, args=(callback,), kwargs={"on_error": on_error, **options}, daemon=True)
    worker.start()
    finished = done.wait(PATIENCE)
    if not errors and wanted < 100:
        time.sleep(0.3)
    consumer.close()
    worker.join(PATIENCE)
    if errors:
        raise errors[0]
    expect(finished, "only {} of {} events came".format(sum(map(len, received.values())), wanted))
    return received
