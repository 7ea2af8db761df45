"""Reads events of one partition with Microsoft's Event Hubs client for Python, unmodified, and prints as JSON what that
took: events, seconds of wall clock, seconds of CPU time of this process.

Environment: EVENT_HUB_CONNECTION_STRING, EVENT_HUB_ENDPOINT and CA_FILE as for eventhub_sdk.py; PARTITION; WARM_UP events
that are read before the clocks start; EVENTS that are read by then; PREFETCH, the link's credit.
"""

import json
import os
import sys
import threading
import time

from azure.eventhub import EventHubConsumerClient, TransportType

WARM_UP = int(os.environ["WARM_UP"])
EVENTS = int(os.environ["EVENTS"])
PREFETCH = int(os.environ["PREFETCH"])
PATIENCE = 300

state = {"seen": 0, "begun": None}
ended = threading.Event()


def on_batch(_context, events):
    if ended.is_set():
        return
    # What an engine would at least look at.
    for event in events:
        if event.sequence_number is None or not event.body_as_str():
            raise ValueError("an event without number or body")
    state["seen"] += len(events)
    now = (state["seen"], time.monotonic(), time.process_time())
    if state["begun"] is None:
        if state["seen"] >= WARM_UP:
            state["begun"] = now
    elif state["seen"] >= WARM_UP + EVENTS:
        state["done"] = now
        ended.set()


def on_error(_context, error):
    state["error"] = error
    ended.set()


client = EventHubConsumerClient.from_connection_string(
    os.environ["EVENT_HUB_CONNECTION_STRING"],
    "$Default",
    custom_endpoint_address=os.environ["EVENT_HUB_ENDPOINT"],
    connection_verify=os.environ["CA_FILE"],
    transport_type=TransportType.Amqp,
    retry_total=0,
)
worker = threading.Thread(
    target=client.receive_batch,
    args=(on_batch,),
    kwargs={
        "on_error": on_error,
        "partition_id": os.environ["PARTITION"],
        "starting_position": "-1",
        "max_batch_size": PREFETCH,
        "prefetch": PREFETCH,
    },
    daemon=True,
)
worker.start()
if not ended.wait(PATIENCE) or "error" in state:
    sys.exit("after {} events: {!r}".format(state["seen"], state.get("error", "the time was up")))
begun, done = state["begun"], state["done"]
print(json.dumps({"events": done[0] - begun[0], "wall": done[1] - begun[1], "cpu": done[2] - begun[2]}), flush=True)
client.close()
