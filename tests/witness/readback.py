"""Microsoft's service client for Python, unmodified, reads back what somebody else wrote.

Environment:
  HUB_CONNECTION_STRING       a policy with all permissions
  REQUESTS_CA_BUNDLE          the PEM file of the certificate authority to trust
  PLAN_JSON                   a file with a list of {"name", "call", "arguments", "expected"} or, instead of `expected`,
                              {"refused": the status of the refusal}. Objects may hold more than is expected.
  EVENT_HUB_CONNECTION_STRING, EVENT_HUB_ENDPOINT, CA_FILE, CONSUMER_GROUP  see eventhub_sdk.py

The last line is "N passed, M failed".
"""

import json
import os
import sys
import traceback

from azure.iot.hub import DigitalTwinClient, IoTHubConfigurationManager, IoTHubJobManager, IoTHubRegistryManager
from azure.iot.hub.models import CloudToDeviceMethod
from msrest.exceptions import HttpOperationError

from eventhub_client import receive, text

CONNECTION = os.environ["HUB_CONNECTION_STRING"]
REGISTRY = IoTHubRegistryManager.from_connection_string(CONNECTION)
JOBS = IoTHubJobManager.from_connection_string(CONNECTION)
CONFIGURATIONS = IoTHubConfigurationManager.from_connection_string(CONNECTION)
DIGITAL_TWINS = DigitalTwinClient.from_connection_string(CONNECTION)


def plain(model):
    return model if isinstance(model, dict) else model.serialize(keep_readonly=True)


def by(name, models):
    return {item[name]: item for item in map(plain, models)}


def method(name, payload):
    return CloudToDeviceMethod(method_name=name, payload=payload, response_timeout_in_seconds=10)


def events_of(device, wanted):
    """The events of a device, by their message ids."""
    found = {}
    for events in receive(wanted, starting_position="-1").values():
        for event in events:
            if text(event.system_properties.get(b"iothub-connection-device-id")) == device:
                properties = {text(name): text(value) for name, value in event.properties.items()}
                found[text(event.message_id)] = {"body": event.body_as_str(), "properties": properties}
    return found


CALLS = {
    "get_device": lambda device: plain(REGISTRY.get_device(device)),
    "get_module": lambda device, module: plain(REGISTRY.get_module(device, module)),
    "get_modules": lambda device: by("moduleId", REGISTRY.get_modules(device)),
    "get_twin": lambda device: plain(REGISTRY.get_twin(device)),
    "get_module_twin": lambda device, module: plain(REGISTRY.get_module_twin(device, module)),
    "get_registry_statistics": lambda: plain(REGISTRY.get_device_registry_statistics()),
    "get_service_statistics": lambda: plain(REGISTRY.get_service_statistics()),
    "invoke_method": lambda device, *call: plain(REGISTRY.invoke_device_method(device, method(*call))),
    "invoke_module_method": lambda device, module, *call: plain(
        REGISTRY.invoke_device_module_method(device, module, method(*call))
    ),
    "get_job": lambda job: plain(JOBS.get_scheduled_job(job)),
    "query_jobs": lambda kind, status: by("jobId", JOBS.query_scheduled_jobs(kind, status).items),
    "get_import_export_job": lambda job: plain(JOBS.get_import_export_job(job)),
    "get_import_export_jobs": lambda: by("jobId", JOBS.get_import_export_jobs()),
    "get_configuration": lambda name: plain(CONFIGURATIONS.get_configuration(name)),
    "get_configurations": lambda: by("id", CONFIGURATIONS.get_configurations(100)),
    "get_digital_twin": lambda device: plain(DIGITAL_TWINS.get_digital_twin(device)),
    "invoke_command": lambda device, name, payload: DIGITAL_TWINS.invoke_command(device, name, payload, 5, 10),
    "invoke_component_command": lambda device, component, name, payload: DIGITAL_TWINS.invoke_component_command(
        device, component, name, payload, 5, 10
    ),
    "events_of": events_of,
}


def contains(actual, wanted, path):
    """Objects may hold more than is wanted; everything else must be equal."""
    if isinstance(wanted, dict) and isinstance(actual, dict):
        for key, value in wanted.items():
            if key not in actual:
                raise AssertionError("{}.{} is missing in {!r}".format(path, key, actual))
            contains(actual[key], value, path + "." + key)
    elif actual != wanted:
        raise AssertionError("{}: got {!r}, wanted {!r}".format(path, actual, wanted))


def check(read):
    call = CALLS[read["call"]]
    if "refused" in read:
        try:
            call(*read["arguments"])
        except HttpOperationError as error:
            return contains(error.response.status_code, read["refused"], "status")
        raise AssertionError("was not refused")
    return contains(call(*read["arguments"]), read["expected"], read["call"])


def main():
    with open(os.environ["PLAN_JSON"], encoding="utf-8") as file:
        plan = json.load(file)
    failed = 0
    for read in plan:
        try:
            check(read)
            print("ok      {}".format(read["name"]))
        except Exception:  # Every kind of failure counts as one.
            failed += 1
            print("FAILED  {}".format(read["name"]))
            traceback.print_exc(file=sys.stdout)
    print("{} passed, {} failed".format(len(plan) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
