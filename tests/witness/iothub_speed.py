"""Makes calls with Microsoft's IoT Hub service client for Python, unmodified, one after another, and prints the median
of their times in seconds.

Environment: HUB_CONNECTION_STRING and REQUESTS_CA_BUNDLE as for iothub_sdk.py; ACTION, get-device or update-twin; DEVICE;
WARM_UP calls that are made before; CALLS that are measured.
"""

import os
import statistics
import time

from azure.iot.hub import IoTHubRegistryManager
from azure.iot.hub.models import Twin

DEVICE = os.environ["DEVICE"]
hub = IoTHubRegistryManager.from_connection_string(os.environ["HUB_CONNECTION_STRING"])


def get_device(_number):
    if hub.get_device(DEVICE).device_id != DEVICE:
        raise ValueError("another device")


def update_twin(number):
    if hub.update_twin(DEVICE, Twin(tags={"line": number})).tags["line"] != number:
        raise ValueError("another twin")


call = {"get-device": get_device, "update-twin": update_twin}[os.environ["ACTION"]]
for number in range(int(os.environ["WARM_UP"])):
    call(number)
times = []
for number in range(int(os.environ["CALLS"])):
    begun = time.monotonic()
    call(number)
    times.append(time.monotonic() - begun)
print(statistics.median(times))
