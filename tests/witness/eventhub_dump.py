"""Reads an Event Hub-compatible endpoint from its oldest event to its newest with Microsoft's client for Python, and writes
what each event says to a file.

Environment: as eventhub_sdk.py, but for SENT_JSONL and the device's, and
  EVENTS                       how many events there are
  RECEIVED_JSONL               the file to write: one JSON object a line, by partition and in order, with partition,
                               sequence, offset, enqueued (ms), kind (data, value, sequence), body (base64, or JSON),
                               contentType, contentEncoding, messageId, correlationId, properties, annotations

The last line is "N events written".
"""

import base64
import json
import os

from azure.eventhub.amqp import AmqpMessageBodyType

from eventhub_client import plain, receive, text

POSITIONS = {"x-opt-sequence-number", "x-opt-offset", "x-opt-enqueued-time", "x-opt-partition-key"}


def described(partition, event):
    if event.body_type == AmqpMessageBodyType.DATA:
        kind, body = "data", base64.b64encode(b"".join(event.body)).decode()
    elif event.body_type == AmqpMessageBodyType.VALUE:
        kind, body = "value", plain(event.body)
    else:
        # Of several lists, their items one after the other.
        kind, body = "sequence", [item for section in event.body for item in plain(section)]
    message = event.raw_amqp_message
    annotations = plain(message.annotations or {})
    return {
        "partition": partition,
        "sequence": event.sequence_number,
        "offset": text(event.offset),
        "enqueued": round(event.enqueued_time.timestamp() * 1000),
        "kind": kind,
        "body": body,
        "contentType": event.content_type,
        "contentEncoding": text(message.properties and message.properties.content_encoding),
        "messageId": event.message_id,
        "correlationId": event.correlation_id,
        "properties": plain(event.properties or {}),
        "annotations": {name: value for name, value in annotations.items() if name not in POSITIONS},
    }


def main():
    received = receive(int(os.environ["EVENTS"]), starting_position="-1", max_batch_size=500)
    written = 0
    with open(os.environ["RECEIVED_JSONL"], "w", encoding="utf-8") as lines:
        for partition, events in sorted(received.items()):
            for event in events:
                lines.write(json.dumps(described(partition, event)) + "\n")
                written += 1
    print("{} events written".format(written))


if __name__ == "__main__":
    main()
