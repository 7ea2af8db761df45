"""Microsoft's device client for Python (azure-iot-device), unmodified, at the emulator by MQTT or MQTT over WebSockets.

The environment: DEVICE_PLAN is a JSON object with the CA (PEM text), the connection strings of a device and of a module,
the provisioning host, the id scope, and the devices to provision. The program says on each line what it saw; the test
that runs it plays the back end at the same time.
"""

import asyncio
import json
import os
import ssl
import sys
import tempfile
import urllib.parse
import urllib.request

from azure.iot.device import X509, Message, MethodResponse
from azure.iot.device.aio import IoTHubDeviceClient, IoTHubModuleClient, ProvisioningDeviceClient

PLAN = json.loads(os.environ["DEVICE_PLAN"])
OPTIONS = {"server_verification_cert": PLAN["ca"], "websockets": PLAN["webSockets"]}
PATIENCE = 40
passed, failed = 0, 0


def check(name, condition, detail=""):
    global passed, failed
    if condition:
        passed += 1
        print(f"ok {name}", flush=True)
    else:
        failed += 1
        print(f"FAILED {name}: {detail}", flush=True)


def from_thread(queue):
    """A handler that fills a queue of this loop: the client calls handlers in threads of its own."""
    loop = asyncio.get_running_loop()
    return lambda item: loop.call_soon_threadsafe(queue.put_nowait, item)


async def device():
    client = IoTHubDeviceClient.create_from_connection_string(PLAN["device"], **OPTIONS)
    messages, methods, patches = asyncio.Queue(), asyncio.Queue(), asyncio.Queue()
    client.on_message_received = from_thread(messages)
    client.on_method_request_received = from_thread(methods)
    client.on_twin_desired_properties_patch_received = from_thread(patches)
    await client.connect()
    check("connected", client.connected)

    message = Message('{"temperature": 21.5}')
    message.message_id = "python-1"
    message.correlation_id = "correlation-1"
    message.content_type = "application/json"
    message.content_encoding = "utf-8"
    message.custom_properties["a b"] = "c&d"
    await client.send_message(message)
    check("telemetry", True)

    twin = await client.get_twin()
    check("twin", twin["desired"]["speed"] == 3, twin)
    await client.patch_twin_reported_properties({"firmware": "1.2", "gone": None})
    twin = await client.get_twin()
    check("reported", twin["reported"]["firmware"] == "1.2", twin)

    # The back end waits for this property before it acts.
    await client.patch_twin_reported_properties({"ready": PLAN["webSockets"]})
    request = await asyncio.wait_for(methods.get(), PATIENCE)
    check("method", (request.name, request.payload) == ("reboot", {"delay": 5}), request.payload)
    await client.send_method_response(MethodResponse.create_from_method_request(request, 207, {"done": True}))
    patch = await asyncio.wait_for(patches.get(), PATIENCE)
    check("desired", patch.get("speed") == 4 and "$version" in patch, patch)
    got = await asyncio.wait_for(messages.get(), PATIENCE)
    check("message", got.data == b'"hello"' and got.message_id == "c2d-1", got.data)
    check("message properties", got.custom_properties == {"colour": "blue & red"}, got.custom_properties)

    storage = await client.get_storage_info_for_blob("logs/day 1.txt")
    host, container = storage["hostName"], storage["containerName"]
    blob = urllib.parse.quote(storage["blobName"])
    url = f"https://{host}/{container}/{blob}{storage['sasToken']}"
    context = ssl.create_default_context(cadata=PLAN["ca"])
    put = urllib.request.Request(url, b"a file", {"x-ms-blob-type": "BlockBlob"}, method="PUT")
    with urllib.request.urlopen(put, context=context) as answer:
        check("blob", answer.status == 201, answer.status)
    await client.notify_blob_upload_status(storage["correlationId"], True, 200, "fine")
    check("file", True)

    # A connection that drops is made anew, and its subscriptions still hold.
    await client.disconnect()
    await client.connect()
    twin = await client.get_twin()
    check("twin after a new connection", twin["desired"]["speed"] == 4, twin)
    await client.shutdown()


async def module():
    client = IoTHubModuleClient.create_from_connection_string(PLAN["module"], **OPTIONS)
    await client.connect()
    await client.send_message(Message("from a module"))
    twin = await client.get_twin()
    check("module", "desired" in twin, twin)
    await client.shutdown()


async def provision(name, entry):
    common = {"provisioning_host": PLAN["dpsHost"], "registration_id": entry["registration"], "id_scope": PLAN["scope"]}
    files = []
    if "certificate" in entry:
        for part in ("certificate", "key"):
            with tempfile.NamedTemporaryFile("w", suffix=".pem", delete=False) as file:
                file.write(entry[part])
                files.append(file.name)
        x509 = X509(cert_file=files[0], key_file=files[1])
        client = ProvisioningDeviceClient.create_from_x509_certificate(x509=x509, **common, **OPTIONS)
    else:
        client = ProvisioningDeviceClient.create_from_symmetric_key(
            symmetric_key=entry["symmetricKey"], **common, **OPTIONS
        )
    result = await client.register()
    state = result.registration_state
    check(f"registered with {name}", result.status == "assigned", result)
    if "certificate" in entry:
        device = IoTHubDeviceClient.create_from_x509_certificate(
            x509=x509, hostname=state.assigned_hub, device_id=state.device_id, **OPTIONS
        )
    else:
        device = IoTHubDeviceClient.create_from_symmetric_key(
            symmetric_key=entry["symmetricKey"], hostname=state.assigned_hub, device_id=state.device_id, **OPTIONS
        )
    await device.connect()
    await device.send_message(Message(f"from {entry['registration']}"))
    check(f"connected with {name}", device.connected)
    await device.shutdown()
    for file in files:
        os.unlink(file)


async def main():
    steps = [("device", device()), ("module", module())]
    steps += [(f"provisioning with {name}", provision(name, entry)) for name, entry in PLAN["provision"].items()]
    for name, step in steps:
        try:
            await asyncio.wait_for(step, 120)
        except Exception as error:  # the report names every failure
            check(name, False, repr(error))
    print(f"{passed} passed, {failed} failed", flush=True)


asyncio.run(main())
sys.exit(1 if failed else 0)
