"""Runs Microsoft's Event Hubs client for Python, unmodified, against an Event Hub-compatible endpoint over TLS and
compares everything that it receives with what was sent.

Environment:
  EVENT_HUB_CONNECTION_STRING  an Event Hub-compatible connection string, EntityPath included; its host need not be the
                               endpoint's: the client signs for it all the same
  EVENT_HUB_ENDPOINT           where the endpoint really is, for example sb://localhost:5671, or https://localhost:8443 for
                               WebSockets
  TRANSPORT_TYPE               Amqp, which is the default, or AmqpOverWebsocket
  PLAINTEXT_HOST               the endpoint without TLS, for example localhost:5672
  CA_FILE                      the PEM file of the certificate authority to trust
  CONSUMER_GROUP               a consumer group besides $Default
  SENT_JSONL                   what was sent: one JSON object a line, with partition, sequence, offset, enqueued (ms),
                               kind (data, multiple, value, sequence), body (base64, list of base64, or JSON),
                               contentType, contentEncoding, messageId, correlationId, properties, annotations
  DEVICE_URL, DEVICE_TOKEN     where and how a device sends a message over HTTPS

The last line is "N passed, M failed"; the exit status is 0 only when M is 0.
"""

import base64
import datetime
import json
import os
import sys
import threading
import time
import traceback
import urllib.request
import ssl

from azure.core.credentials import AzureSasCredential
from azure.eventhub import EventHubConsumerClient, EventHubSharedKeyCredential, TransportType
from azure.eventhub.amqp import AmqpMessageBodyType
from azure.eventhub.exceptions import AuthenticationError, EventHubError

from eventhub_client import (
    CONNECTION, FIELDS, GROUP, HOST, NAME, OPTIONS, PATIENCE, RECEIVED, TRANSPORT, client, equal, expect, plain, receive, text,
)

CHECKS = []

with open(os.environ["SENT_JSONL"], encoding="utf-8") as lines:
    SENT = [json.loads(line) for line in lines]
PARTITIONS = sorted({event["partition"] for event in SENT})
BY_PARTITION = {partition: [event for event in SENT if event["partition"] == partition] for partition in PARTITIONS}


def check(function):
    CHECKS.append(function)
    return function


def check_over_tcp(function):
    """What has nothing to do with the transport. Over WebSockets the client waits a second wherever nothing comes, so that
    all of it together would take minutes."""
    return check(function) if TRANSPORT is TransportType.Amqp else function


def compare(event, sent):
    where = "partition {} sequence {}:".format(sent["partition"], sent["sequence"])
    equal(event.sequence_number, sent["sequence"], where)
    equal(text(event.offset), sent["offset"], where)
    equal(round(event.enqueued_time.timestamp() * 1000), sent["enqueued"], where)
    if sent["kind"] in ("data", "multiple"):
        equal(event.body_type, AmqpMessageBodyType.DATA, where)
        wanted = [base64.b64decode(part) for part in (sent["body"] if sent["kind"] == "multiple" else [sent["body"]])]
        equal(list(event.body), wanted, where)
    elif sent["kind"] == "value":
        equal(event.body_type, AmqpMessageBodyType.VALUE, where)
        equal(plain(event.body), sent["body"], where)
    else:
        equal(event.body_type, AmqpMessageBodyType.SEQUENCE, where)
        equal(plain(list(event.body)), sent["body"], where)
    equal(event.content_type, sent["contentType"], where)
    equal(event.message_id, sent["messageId"], where)
    equal(event.correlation_id, sent["correlationId"], where)
    encoding = event.raw_amqp_message.properties and event.raw_amqp_message.properties.content_encoding
    equal(text(encoding), sent["contentEncoding"], where)
    equal(plain(event.properties or {}), sent["properties"], where)
    annotations = plain(event.raw_amqp_message.annotations or {})
    for name, value in sent["annotations"].items():
        equal(annotations.get(name), value, where)


def refused(condition, function):
    try:
        function()
    except EventHubError as error:
        found = "{!r} {!r}".format(getattr(error, "error", None), error)
        expect(condition in found, found)
        return error
    raise AssertionError("was not refused with {}".format(condition))


@check
def the_event_hub_has_its_properties():
    with client() as consumer:
        equal(sorted(consumer.get_partition_ids()), [str(partition) for partition in PARTITIONS])
        properties = consumer.get_eventhub_properties()
        equal(properties["eventhub_name"], NAME)
        age = datetime.datetime.now(datetime.timezone.utc) - properties["created_at"]
        expect(abs(age.total_seconds()) < 3600, "created at {}".format(properties["created_at"]))


@check
def partitions_have_their_properties():
    with client() as consumer:
        for partition, events in BY_PARTITION.items():
            properties = consumer.get_partition_properties(str(partition))
            equal(properties["id"], str(partition))
            equal(properties["beginning_sequence_number"], events[0]["sequence"])
            equal(properties["last_enqueued_sequence_number"], events[-1]["sequence"])
            equal(properties["last_enqueued_offset"], events[-1]["offset"])
            equal(round(properties["last_enqueued_time_utc"].timestamp() * 1000), events[-1]["enqueued"])
            equal(properties["is_empty"], False)
        refused("Status code: 404", lambda: consumer.get_partition_properties("77"))


@check
def everything_arrives_in_order_and_unchanged():
    started = time.time()
    received = receive(len(SENT), starting_position="-1", max_batch_size=500)
    seconds = time.time() - started
    for partition, events in BY_PARTITION.items():
        equal(len(received.get(partition, [])), len(events), "partition {}:".format(partition))
        for event, sent in zip(received[partition], events):
            compare(event, sent)
    print("{} events in {:.1f} s: {:.0f} a second".format(len(SENT), seconds, len(SENT) / seconds))


@check_over_tcp
def another_group_reads_everything_at_the_same_time():
    results, failures = {}, []

    def read(group, owner_level):
        try:
            options = {"owner_level": owner_level} if owner_level is not None else {}
            received = receive(len(BY_PARTITION[1]), group, partition=1, starting_position="-1", **options)
            results[group, owner_level] = [event.sequence_number for event in received[1]]
        except Exception as error:  # pylint: disable=broad-except
            failures.append(error)

    readers = (("$Default", 5), (GROUP, None), (GROUP, None))
    workers = [threading.Thread(target=read, args=arguments) for arguments in readers]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    expect(not failures, failures)
    equal(len(results), 2)
    for numbers in results.values():
        equal(numbers, [event["sequence"] for event in BY_PARTITION[1]])


def starts_at(position, wanted, **options):
    received = receive(len(wanted), partition=0, starting_position=position, **options).get(0, [])
    equal([event.sequence_number for event in received], [event["sequence"] for event in wanted], position)
    for event, sent in zip(received, wanted):
        compare(event, sent)


@check
def reading_starts_at_an_offset():
    events = BY_PARTITION[0]
    starts_at(events[-21]["offset"], events[-20:])
    starts_at(events[-21]["offset"], events[-21:], starting_position_inclusive=True)


@check_over_tcp
def reading_starts_at_a_sequence_number():
    events = BY_PARTITION[0]
    starts_at(events[-21]["sequence"], events[-20:])
    starts_at(events[-21]["sequence"], events[-21:], starting_position_inclusive=True)


@check_over_tcp
def reading_starts_at_a_time():
    events = BY_PARTITION[0]
    at = events[-21]["enqueued"]
    moment = datetime.datetime.fromtimestamp(at / 1000, datetime.timezone.utc)
    starts_at(moment, [event for event in events if event["enqueued"] > at])
    starts_at(moment, [event for event in events if event["enqueued"] >= at], starting_position_inclusive=True)


# Over WebSockets nobody can say how long after its start the client reads from all partitions.
@check_over_tcp
def reading_starts_now():
    ready = threading.Event()

    def send():
        ready.wait(PATIENCE)
        time.sleep(1.5)
        for number in range(3):
            request = urllib.request.Request(
                os.environ["DEVICE_URL"],
                data=json.dumps({"number": number}).encode(),
                headers={
                    "Authorization": os.environ["DEVICE_TOKEN"],
                    "Content-Type": "application/json",
                    "iothub-app-colour": "blue",
                },
            )
            context = ssl.create_default_context(cafile=os.environ["CA_FILE"])
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
            )
            equal(opener.open(request).status, 204)

    sender = threading.Thread(target=send)
    sender.start()
    ready.set()
    received = receive(3, group=GROUP, starting_position="@latest", batch=False)
    sender.join()
    events = [event for events in received.values() for event in events]
    equal([event.body_as_json()["number"] for event in events], [0, 1, 2])
    for event in events:
        properties = plain(event.system_properties)
        equal(properties["iothub-connection-device-id"], "https-device")
        equal(properties["iothub-message-source"], "Telemetry")
        method = json.loads(properties["iothub-connection-auth-method"])
        equal(method, {"scope": "device", "type": "sas", "issuer": "iothub", "acceptingIpFilterRule": None})
        expect(properties["iothub-connection-auth-generation-id"] not in (None, "0"), properties)
        expect(isinstance(properties["iothub-enqueuedtime"], int), properties)
        equal(event.content_type, "application/json")
        equal(plain(event.properties)["colour"], "blue")


@check
def runtime_metrics_come_with_the_events():
    last = BY_PARTITION[2][-1]
    received = receive(5, partition=2, starting_position=BY_PARTITION[2][-6]["offset"],
                       track_last_enqueued_event_properties=True)[2]
    for event in received:
        metrics = event._last_enqueued_event_properties or {}
        metrics = metrics or plain(event.raw_amqp_message.delivery_annotations)
        number = metrics.get("sequence_number", metrics.get("last_enqueued_sequence_number"))
        expect(number is not None and number >= last["sequence"], metrics)


@check
def a_higher_owner_level_takes_over():
    outcome, started = {}, threading.Event()

    def first():
        lost = threading.Event()
        consumer = client()

        def on_error(_, error):
            outcome["error"] = error
            lost.set()

        worker = threading.Thread(
            target=consumer.receive_batch,
            args=(lambda context, events: started.set(),),
            kwargs={"partition_id": "3", "owner_level": 10, "starting_position": "-1", "on_error": on_error},
            daemon=True,
        )
        worker.start()
        outcome["lost"] = lost.wait(PATIENCE)
        consumer.close()
        worker.join(PATIENCE)

    holder = threading.Thread(target=first)
    holder.start()
    expect(started.wait(PATIENCE), "the first reader did not start")
    # Lower levels and none are refused while the holder reads.
    refused("amqp:link:stolen", lambda: receive(1, partition=3, starting_position="-1", owner_level=9))
    refused("amqp:link:stolen", lambda: receive(1, partition=3, starting_position="-1"))
    received = receive(10, partition=3, starting_position="-1", owner_level=11)
    expect(len(received[3]) >= 10, "the second reader got nothing")
    holder.join(PATIENCE)
    expect(outcome["lost"], "the first reader was not notified")
    expect("amqp:link:stolen" in str(outcome["error"]), repr(outcome["error"]))


@check_over_tcp
def a_sixth_reader_is_too_many():
    consumers = []
    try:
        for _ in range(5):
            consumer, ready = client(GROUP), threading.Event()
            consumers.append(consumer)
            threading.Thread(
                target=consumer.receive_batch,
                args=(lambda context, events, ready=ready: ready.set(),),
                kwargs={"partition_id": "1", "starting_position": "-1"},
                daemon=True,
            ).start()
            expect(ready.wait(PATIENCE), "a reader did not start")
        refused("maximum number of allowed receivers", lambda: receive(1, GROUP, partition=1, starting_position="-1"))
    finally:
        for consumer in consumers:
            consumer.close()


@check
def an_unknown_consumer_group_is_not_found():
    refused("amqp:not-found", lambda: receive(1, "no-such-group", partition=0, starting_position="-1"))


@check_over_tcp
def an_unknown_event_hub_is_refused():
    other = CONNECTION.replace("EntityPath=" + NAME, "EntityPath=no-such-hub")
    make = lambda: EventHubConsumerClient.from_connection_string(other, "$Default", **OPTIONS)
    refused("could not be found", lambda: receive(1, partition=0, make=make, starting_position="-1"))


@check_over_tcp
def an_offset_beyond_the_end_is_refused():
    refused("is invalid. The last offset", lambda: receive(1, partition=0, starting_position="99999999999"))


@check
def a_wrong_key_is_refused():
    credential = EventHubSharedKeyCredential(FIELDS["SharedAccessKeyName"], "d3Jvbmcga2V5")
    make = lambda: EventHubConsumerClient(HOST, NAME, "$Default", credential, **OPTIONS)
    try:
        receive(1, partition=0, make=make, starting_position="-1")
    except AuthenticationError:
        return
    raise AssertionError("was not refused")


@check_over_tcp
def the_endpoint_without_tls_is_the_same():
    connection = "Endpoint=sb://{};SharedAccessKeyName={};SharedAccessKey={};UseDevelopmentEmulator=true;EntityPath={}"
    connection = connection.format(
        os.environ["PLAINTEXT_HOST"], FIELDS["SharedAccessKeyName"], FIELDS["SharedAccessKey"], NAME
    )
    make = lambda: EventHubConsumerClient.from_connection_string(connection, "$Default", retry_total=0)
    events = BY_PARTITION[0]
    received = receive(5, partition=0, make=make, starting_position=events[-6]["offset"])
    equal([event.sequence_number for event in received[0]], [event["sequence"] for event in events[-5:]])


# Over WebSockets uamqp 1.6.11 does not get as far as the link for management, and does not say why.
@check_over_tcp
def the_older_transport_in_c_reads_the_same():
    # A second implementation of the protocol by Microsoft: uamqp.
    make = lambda: client(uamqp_transport=True)
    events = BY_PARTITION[2][-2000:]
    received = receive(len(events), partition=2, make=make, starting_position=events[0]["sequence"] - 1)
    # What the device has sent meanwhile may come after them.
    received = received[2][: len(events)]
    equal([event.sequence_number for event in received], [event["sequence"] for event in events])
    for event, sent in zip(received, events):
        if sent["kind"] in ("data", "multiple"):
            body = sent["body"] if sent["kind"] == "multiple" else [sent["body"]]
            equal(b"".join(event.body), b"".join(base64.b64decode(part) for part in body))
    with make() as consumer:
        equal(sorted(consumer.get_partition_ids()), [str(partition) for partition in PARTITIONS])


@check
def a_ready_made_token_opens_the_event_hub():
    credential = EventHubSharedKeyCredential(FIELDS["SharedAccessKeyName"], FIELDS["SharedAccessKey"])
    token = credential.get_token("sb://{}/{}".format(HOST, NAME)).token
    make = lambda: EventHubConsumerClient(HOST, NAME, "$Default", AzureSasCredential(token), **OPTIONS)
    events = BY_PARTITION[0]
    received = receive(5, partition=0, make=make, starting_position=events[-6]["offset"])
    equal([event.sequence_number for event in received[0]], [event["sequence"] for event in events[-5:]])


def main():
    failed = 0
    for function in CHECKS:
        started = time.time()
        try:
            function()
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print("FAILED {}".format(function.__name__))
            traceback.print_exc(file=sys.stdout)
        else:
            print("passed {} ({:.1f} s)".format(function.__name__, time.time() - started))
        sys.stdout.flush()
    print("received {} events in all".format(RECEIVED[0]))
    print("{} passed, {} failed".format(len(CHECKS) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
