"""An Event Hub with two partitions, or four, on Apache Qpid Proton: `$cbs`, `$management`, filters and owner levels.

Usage: eventhub_partition.py CERTIFICATE KEY SECRET [COUNT FILE]. Prints `PORT n`, then serves until its input ends. It
stands in for the service as far as a reader can see, and checks what the reader sends: signatures, audiences, fields and
filters.

With COUNT it has four partitions instead, with so many events each, and FILE gets what they say, one JSON object a line:
partition, sequence, offset, enqueued (ms), kind (data, value, sequence), body (base64, or JSON), contentType,
contentEncoding, messageId, correlationId, properties, annotations.
"""

import base64
import hashlib
import hmac
import json
import re
import socket
import sys
import threading
import time
import urllib.parse

from proton import UNDESCRIBED, Array, Condition, Data, Described, Message, int32, symbol, timestamp, ulong
from proton.handlers import MessagingHandler
from proton.reactor import Container

HOST, HUB = "localhost", "iothub-ehub-witness"
FILTER = "apache.org:selector-filter:string"
FIRST_TIME = 1_700_000_000_000


def event(number, **fields):
    message = Message(inferred=True, **fields)
    message.annotations = {
        symbol("x-opt-sequence-number"): number,
        symbol("x-opt-offset"): str(number * 1_000),
        symbol("x-opt-enqueued-time"): timestamp(FIRST_TIME + number * 1_000),
        symbol("x-opt-partition-key"): "press-1",
        symbol("iothub-connection-device-id"): "press-1",
        symbol("iothub-message-source"): "Telemetry",
    }
    return message


def partition_0():
    events = [event(n, body=b'{"n":%d}' % n, id="m%d" % n, content_type="application/json") for n in range(700)]
    # Larger than a frame, in all kinds of bodies.
    events.append(event(700, body=bytes(range(256)) * 1_000))
    events.append(event(701, body={"temperature": 21.5, "level": symbol("hot")}))
    events.append(event(702, body=["a", 1, True]))
    events[0].properties = {"level": "hot", "count": ulong(2**64 - 1), "since": timestamp(5)}
    return events


def mixed(partition, number):
    """An event of the kind whose turn it is. JSON is written without spaces and in order, as the reader writes it."""
    reading = {"level": "grün", "n": number, "t": number % 800 / 10}
    text = json.dumps(reading, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
    fields = [
        {"body": text, "content_type": "application/json", "content_encoding": "utf-8"},
        {"body": b"reading %d" % number, "content_type": "text/plain", "content_encoding": "utf-8"},
        {"body": bytes((number * factor) % 256 for factor in range(number % 300)), "content_type": "application/octet-stream"},
        {"body": text[:15], "content_type": "application/json", "content_encoding": "utf-8"},
        {"body": text},
        {"body": reading},
        {"body": [number, "eins", None, [1.5, True]]},
    ][number % 7]
    if number % 700 == 350:
        fields = {"body": bytes(range(256)) * 600, "content_type": "application/octet-stream"}
    if number % 3 == 0:
        fields = {**fields, "id": "m%d" % number, "correlation_id": "c%d" % number}
    message = event(number, **fields)
    message.annotations[symbol("iothub-connection-device-id")] = "press-%d" % partition
    if number % 2:
        message.properties = {"größe": "groß", "count": ulong(2**64 - 1 - number), "since": timestamp(number)}
    return message


def described(partition, message):
    """What an event says."""
    positions = {symbol("x-opt-" + name) for name in ("sequence-number", "offset", "enqueued-time", "partition-key")}
    # Proton reads a missing symbol back as the text "None".
    media = lambda value: None if value in (None, "", "None") else value
    body = message.body
    kind = {bytes: "data", dict: "value", list: "sequence"}[type(body)]
    return {
        "partition": partition,
        "sequence": message.annotations[symbol("x-opt-sequence-number")],
        "offset": message.annotations[symbol("x-opt-offset")],
        "enqueued": message.annotations[symbol("x-opt-enqueued-time")],
        "kind": kind,
        "body": base64.b64encode(body).decode() if kind == "data" else body,
        "contentType": media(message.content_type),
        "contentEncoding": media(message.content_encoding),
        "messageId": message.id,
        "correlationId": message.correlation_id,
        "properties": message.properties or {},
        "annotations": {name: value for name, value in message.annotations.items() if name not in positions},
    }


def tracked(text):
    return text + " TrackingId:7f3a_G1, SystemTracker:witness, Timestamp:2026-01-01T00:00:00"


class Hub(MessagingHandler):
    def __init__(self, certificate, key, secret, count=None, file=None):
        super().__init__(prefetch=100, auto_settle=True)
        self.certificate, self.key, self.secret = certificate, key, secret
        self.partitions = {"0": partition_0(), "1": []}
        if count:
            self.partitions = {str(one): [mixed(one, n) for n in range(int(count))] for one in range(4)}
            with open(file, "w", encoding="utf-8") as lines:
                for partition, events in self.partitions.items():
                    lines.writelines(json.dumps(described(int(partition), one)) + "\n" for one in events)
        self.claims = set()
        self.replies = {}
        self.readers = {}

    def on_start(self, started):
        started.container.ssl.server.set_credentials(self.certificate, self.key, None)
        acceptor = started.container.listen("amqps://127.0.0.1:0")
        fd = acceptor._selectable.fileno()
        with socket.socket(fileno=socket.dup(fd)) as listening:
            print("PORT", listening.getsockname()[1], flush=True)

    def on_connection_opening(self, opening):
        # Small frames, and a time-out that the reader has to keep.
        opening.transport.max_frame_size = 16_384
        opening.transport.idle_timeout = 2.0

    def on_link_opening(self, opening):
        link = opening.link
        link.source.copy(link.remote_source)
        link.target.copy(link.remote_target)
        if link.is_receiver:
            return
        address = link.remote_source.address
        self.replies[(opening.connection, link.remote_target.address)] = link
        if address in ("$cbs", "$management"):
            return
        if opening.connection not in self.claims:
            return self.refuse(link, "amqp:unauthorized-access", tracked("No token was put."))
        match = re.fullmatch(r"amqps://([^/]+)/([^/]+)/ConsumerGroups/([^/]+)/Partitions/(.+)", address)
        if not match or match[1] != HOST or match[2] != HUB or match[4] not in self.partitions or match[3] != "$Default":
            return self.refuse(link, "amqp:not-found", tracked("The messaging entity could not be found."))
        self.begin_reading(link, match[4])

    def begin_reading(self, link, partition):
        filters = link.remote_source.filter
        filters.rewind()
        filters.next()
        described = filters.get_object()[symbol(FILTER)]
        if not isinstance(described, Described) or described.descriptor not in (ulong(0x468C00000004), symbol(FILTER)):
            return self.refuse(link, "amqp:invalid-field", "The filter is not described.")
        properties = link.remote_properties or {}
        level = properties.get(symbol("com.microsoft:epoch"))
        key = partition
        holder = self.readers.get(key)
        if holder and holder[1] is not None and (level is None or level < holder[1]):
            return self.refuse(link, "amqp:link:stolen", tracked("A receiver with a higher epoch '%s' already exists." % holder[1]))
        if holder and level is not None:
            self.refuse(holder[0], "amqp:link:stolen", tracked("New receiver with higher epoch of '%s' is created." % level))
        self.readers[key] = (link, level)
        match = re.fullmatch(r"amqp\.annotation\.(x-opt-[a-z-]+) (>=?) '(.*)'", described.value)
        if not match:
            return self.refuse(link, "com.microsoft:argument-error", "The filter is not a valid amqp filter.")
        name, inclusive, bound = match[1], match[2] == ">=", match[3]
        events = self.partitions[partition]
        if bound == "@latest":
            link.queue = []
            return
        bound = int(bound)
        if name == "x-opt-offset" and bound > len(events) * 1_000:
            return self.refuse(link, "com.microsoft:argument-error", tracked(
                "The supplied offset '%d' is invalid. The last offset in the system is '%d'" % (bound, len(events) * 1_000)))
        value = lambda one: int(one.annotations[symbol(name)])
        link.queue = [one for one in events if value(one) > bound or (inclusive and value(one) == bound)]

    @staticmethod
    def refuse(link, condition, text):
        link.queue = []
        link.condition = Condition(condition, text)
        # One that is being attached is attached first, as the standard has it.
        if link.state & link.LOCAL_ACTIVE:
            link.close()
        else:
            link.refused = True

    def on_link_opened(self, opened):
        if getattr(opened.link, "refused", False):
            opened.link.close()

    def on_sendable(self, sendable):
        link = sendable.link
        while link.credit > 0 and getattr(link, "queue", None):
            link.send(link.queue.pop(0))

    def on_disconnected(self, disconnected):
        self.claims.discard(disconnected.connection)

    def on_connection_closed(self, closed):
        self.readers = {key: held for key, held in self.readers.items() if held[0].connection != closed.connection}

    def on_link_closed(self, closed):
        self.readers = {key: held for key, held in self.readers.items() if held[0] != closed.link}

    def on_message(self, received):
        node = received.link.target.address
        request = received.message
        answer = Message(correlation_id=request.id)
        if node == "$cbs":
            status, text = self.put_token(received.connection, request)
        elif received.connection not in self.claims:
            status, text = 401, "Unauthorized"
        else:
            status, text, answer.body = self.read(request)
        answer.properties = {"status-code": int32(status), "status-description": text}
        self.replies[(received.connection, request.reply_to)].send(answer)

    def put_token(self, connection, request):
        asked = request.properties
        audience = "sb://%s/%s" % (HOST, HUB)
        if asked["operation"] != "put-token" or asked["type"] != "servicebus.windows.net:sastoken":
            return 400, "BadRequest"
        if asked["name"] != audience:
            return 404, tracked("The messaging entity '%s' could not be found." % asked["name"])
        scheme, _, rest = request.body.partition(" ")
        fields = dict(pair.split("=", 1) for pair in rest.split("&"))
        signed = ("%s\n%s" % (fields["sr"], fields["se"])).encode()
        # The key's text is the key: Event Hubs does not decode it.
        wanted = base64.b64encode(hmac.new(self.secret.encode(), signed, hashlib.sha256).digest()).decode()
        good = (
            scheme == "SharedAccessSignature"
            and urllib.parse.unquote(fields["sr"]) == audience
            and urllib.parse.unquote(fields["sig"]) == wanted
            and urllib.parse.unquote(fields["skn"]) == "service"
            and int(fields["se"]) > time.time()
        )
        if not good:
            return 401, tracked("InvalidSignature: The token has an invalid signature.")
        self.claims.add(connection)
        return 202, "Accepted"

    def read(self, request):
        asked = request.properties
        if asked["operation"] != "READ" or asked["name"] != HUB or "security_token" not in asked:
            return 400, "BadRequest", None
        if asked["type"] == "com.microsoft:eventhub":
            ids = Array(UNDESCRIBED, Data.STRING, *self.partitions)
            return 200, "OK", {"name": HUB, "created_at": timestamp(FIRST_TIME), "partition_count": int32(len(self.partitions)), "partition_ids": ids}
        events = self.partitions.get(asked["partition"])
        if events is None:
            return 404, tracked("The partition could not be found."), None
        return 200, "OK", {
            "name": HUB,
            "partition": asked["partition"],
            "begin_sequence_number": 0,
            "last_enqueued_sequence_number": len(events) - 1,
            "last_enqueued_offset": str((len(events) - 1) * 1_000) if events else "-1",
            "last_enqueued_time_utc": timestamp(FIRST_TIME + (len(events) - 1) * 1_000),
            "is_partition_empty": not events,
        }


def main():
    container = Container(Hub(*sys.argv[1:]))
    # The test ends this program by closing its input.
    threading.Thread(target=lambda: (sys.stdin.read(), container.stop()), daemon=True).start()
    container.run()


if __name__ == "__main__":
    main()
