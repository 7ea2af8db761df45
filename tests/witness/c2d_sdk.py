"""Runs Microsoft's IoT Hub service client, unmodified, and sends messages to a device over AMQP on localhost:5671, the
one port that the client knows.

Environment:
  HUB_KEY_NAME, HUB_KEY  a policy with ServiceConnect
  CA_FILE                the PEM file of the certificate authority to trust

The device `press-17` has to exist, `press-18` must not. The last line is "N passed, M failed".
"""

import os
import sys
import time
import traceback

import certifi

# The client's AMQP library takes its trusted authorities from here and from nowhere else.
certifi.where = lambda: os.environ["CA_FILE"]

from azure.iot.hub import IoTHubRegistryManager  # noqa: E402  pylint: disable=wrong-import-position

CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def manager(key=None):
    return IoTHubRegistryManager.from_connection_string(
        "HostName=localhost;SharedAccessKeyName={};SharedAccessKey={}".format(
            os.environ["HUB_KEY_NAME"], key or os.environ["HUB_KEY"]
        )
    )


@check
def messages_are_queued():
    registry = manager()
    registry.send_c2d_message("press-17", "plain")
    registry.send_c2d_message(
        "press-17",
        '{"n": 2}',
        properties={
            "contentType": "application/json",
            "contentEncoding": "utf-8",
            "correlationId": "correlation-2",
            "messageId": "id-2",
            "expiryTimeUtc": int((time.time() + 590) * 1000),
            "iothub-ack": "full",
            "colour": "blue",
        },
    )
    for number in range(10):
        registry.send_c2d_message("press-17", "message {}".format(number))


@check
def an_unknown_device_is_refused():
    try:
        manager().send_c2d_message("press-18", "nobody")
    except Exception as error:  # pylint: disable=broad-except
        print("refused: {!r}".format(error))
        return
    raise AssertionError("was not refused")


@check
def a_wrong_key_is_refused():
    try:
        manager("d3Jvbmcga2V5").send_c2d_message("press-17", "nothing")
    except Exception as error:  # pylint: disable=broad-except
        print("refused: {!r}".format(error))
        return
    raise AssertionError("was not refused")


def main():
    failed = 0
    for function in CHECKS:
        try:
            function()
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print("FAILED {}".format(function.__name__))
            traceback.print_exc(file=sys.stdout)
        else:
            print("passed {}".format(function.__name__))
        sys.stdout.flush()
    print("{} passed, {} failed".format(len(CHECKS) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
