"""Runs Microsoft's IoT Hub service client and its AMQP library, unmodified, against a hub's AMQP endpoint on
localhost:5671, the one port that the client knows: messages to a device, and the redirect of readers, as the IoT
extension of the Azure CLI follows it.

Environment:
  HUB_KEY_NAME, HUB_KEY  a policy with ServiceConnect
  CA_FILE                the PEM file of the certificate authority to trust

The device `press-17` has to exist, `press-18` must not. The last line is "N passed, M failed".
"""

import base64
import hashlib
import hmac
import os
import sys
import time
import traceback
import urllib.parse

import certifi

# The client's AMQP library takes its trusted authorities from here and from nowhere else.
certifi.where = lambda: os.environ["CA_FILE"]

import uamqp  # noqa: E402  pylint: disable=wrong-import-position
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


def sasl_plain():
    expiry = str(int(time.time()) + 600)
    resource = urllib.parse.quote_plus("localhost/messages/events")
    key = base64.b64decode(os.environ["HUB_KEY"])
    signature = base64.b64encode(hmac.HMAC(key, (resource + "\n" + expiry).encode(), hashlib.sha256).digest())
    token = "SharedAccessSignature sr={}&sig={}&se={}&skn={}".format(
        resource, urllib.parse.quote_plus(signature), expiry, os.environ["HUB_KEY_NAME"]
    )
    user = "{}@sas.root.localhost".format(os.environ["HUB_KEY_NAME"])
    return uamqp.authentication.SASLPlain("localhost", user, token, port=5671)


@check
def readers_are_redirected():
    source = "amqps://localhost/messages/events/$management"
    client = uamqp.ReceiveClient(source, auth=sasl_plain(), timeout=30000)
    try:
        client.receive_message_batch(max_batch_size=1)
    except uamqp.errors.LinkRedirect as redirect:
        wanted = os.environ["EVENT_HUB_ADDRESS"] + "/$management"
        found = redirect.address.decode("utf-8")
        if found != wanted or redirect.hostname.decode("utf-8") != "localhost":
            raise AssertionError("redirected to {} at {}".format(found, redirect.hostname)) from redirect
        if "{}:{}/".format("localhost", redirect.port) not in wanted:
            raise AssertionError("redirected to port {}".format(redirect.port)) from redirect
        return
    finally:
        client.close()
    raise AssertionError("was not redirected")


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
