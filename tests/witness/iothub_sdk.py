"""Runs Microsoft's IoT Hub service client, unmodified, against a hub and checks what it gets.

Environment:
  HUB_CONNECTION_STRING  a policy with RegistryRead, RegistryWrite and ServiceConnect
  REQUESTS_CA_BUNDLE     the PEM file of the certificate authority to trust
  WRITTEN_JSON           optional; a file that says what somebody else wrote. Then only that is read back:
                         {"devices": {id: subset}, "twins": {id: subset}, "modules": {"device/module": subset},
                          "configurations": {id: subset}, "absent": [device ids]}

The last line is "N passed, M failed"; the exit status is 0 only when M is 0.
"""

import json
import os
import sys
import time
import traceback
import uuid

from azure.iot.hub import (
    DigitalTwinClient,
    IoTHubConfigurationManager,
    IoTHubHttpRuntimeManager,
    IoTHubJobManager,
    IoTHubRegistryManager,
)
from azure.iot.hub.models import (
    AuthenticationMechanism,
    CloudToDeviceMethod,
    Configuration,
    ConfigurationContent,
    ConfigurationMetrics,
    ConfigurationQueriesTestInput,
    ExportImportDevice,
    JobProperties,
    JobRequest,
    PropertyContainer,
    QuerySpecification,
    SymmetricKey,
    Twin,
    TwinProperties,
)
from msrest.exceptions import HttpOperationError

CONNECTION = os.environ["HUB_CONNECTION_STRING"]
KEY_1 = "YWJjZGVmZ2hpamtsbW5vcA=="
KEY_2 = "cXJzdHV2d3h5ejAxMjM0NQ=="
THUMB_1 = "A" * 40
THUMB_2 = "B" * 64
DEVICE = "witness-1:.+%_#*?!(),=@;$'"
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def equal(actual, wanted):
    expect(actual == wanted, "got {!r}, wanted {!r}".format(actual, wanted))


def refused(status, function, *arguments, **named):
    try:
        function(*arguments, **named)
    except HttpOperationError as error:
        equal(error.response.status_code, status)
        body = error.response.json()
        expect("Message" in body and "iothub-errorcode" in error.response.headers, "no error form: {}".format(body))
        return body
    raise AssertionError("was not refused with {}".format(status))


def registry():
    return IoTHubRegistryManager.from_connection_string(CONNECTION)


def configurations():
    return IoTHubConfigurationManager.from_connection_string(CONNECTION)


def clean(hub):
    for device in hub.get_devices(1000):
        if device.device_id.startswith("witness-"):
            hub.delete_device(device.device_id)


@check
def create_device_with_sas(hub):
    device = hub.create_device_with_sas(DEVICE, KEY_1, KEY_2, "enabled", status_reason="made by the witness")
    equal(device.device_id, DEVICE)
    equal(device.status, "enabled")
    equal(device.status_reason, "made by the witness")
    equal(device.authentication.type, "sas")
    equal(device.authentication.symmetric_key.primary_key, KEY_1)
    equal(device.connection_state, "Disconnected")
    equal(device.cloud_to_device_message_count, 0)
    expect(device.etag and device.generation_id, "no etag or generation id")
    equal(device.last_activity_time.year, 1)


@check
def create_device_twice_is_refused(hub):
    body = refused(409, hub.create_device_with_sas, DEVICE, KEY_1, KEY_2, "enabled")
    expect(body["Message"].startswith("ErrorCode:DeviceAlreadyExists;"), body)


@check
def create_device_with_generated_keys(hub):
    device = hub.create_device_with_sas("witness-generated", None, None, "enabled")
    expect(device.authentication.symmetric_key.primary_key, "no key was generated")


@check
def create_device_with_x509(hub):
    device = hub.create_device_with_x509("witness-x509", THUMB_1, THUMB_2, "disabled")
    equal(device.authentication.type, "selfSigned")
    equal(device.authentication.x509_thumbprint.primary_thumbprint, THUMB_1)
    equal(device.authentication.x509_thumbprint.secondary_thumbprint, THUMB_2)


@check
def create_device_with_certificate_authority(hub):
    device = hub.create_device_with_certificate_authority("witness-ca", "enabled")
    equal(device.authentication.type, "certificateAuthority")


@check
def create_edge_device(hub):
    device = hub.create_device_with_sas("witness-edge", KEY_1, KEY_2, "enabled", iot_edge=True)
    expect(device.capabilities.iot_edge, "not an edge device")
    expect(device.device_scope.startswith("ms-azure-iot-edge://witness-edge-"), device.device_scope)
    equal(sorted(module.module_id for module in hub.get_modules("witness-edge")), ["$edgeAgent", "$edgeHub"])


@check
def get_device(hub):
    equal(hub.get_device(DEVICE).device_id, DEVICE)
    refused(404, hub.get_device, "witness-none")


@check
def update_device_with_sas(hub):
    device = hub.get_device(DEVICE)
    updated = hub.update_device_with_sas(DEVICE, device.etag, KEY_2, KEY_1, "disabled", status_reason="asleep")
    equal(updated.status, "disabled")
    equal(updated.authentication.symmetric_key.primary_key, KEY_2)
    expect(updated.etag != device.etag, "the etag stayed")
    refused(412, hub.update_device_with_sas, DEVICE, device.etag, KEY_1, KEY_2, "enabled")
    forced = hub.update_device_with_sas(DEVICE, "*", KEY_1, KEY_2, "enabled")
    equal(forced.status, "enabled")
    equal(forced.status_reason, None)


@check
def update_device_with_x509(hub):
    etag = hub.get_device("witness-x509").etag
    device = hub.update_device_with_x509("witness-x509", etag, THUMB_2, THUMB_1, "enabled")
    equal(device.authentication.x509_thumbprint.primary_thumbprint, THUMB_2)


@check
def update_device_with_certificate_authority(hub):
    etag = hub.get_device("witness-ca").etag
    equal(hub.update_device_with_certificate_authority("witness-ca", etag, "disabled").status, "disabled")


@check
def get_devices(hub):
    ids = {device.device_id for device in hub.get_devices()}
    expect({DEVICE, "witness-x509", "witness-ca", "witness-edge"} <= ids, ids)
    equal(len(hub.get_devices(2)), 2)


@check
def modules_with_sas(hub):
    module = hub.create_module_with_sas(DEVICE, "m-sas", "witness", KEY_1, KEY_2)
    equal((module.device_id, module.module_id, module.managed_by), (DEVICE, "m-sas", "witness"))
    refused(409, hub.create_module_with_sas, DEVICE, "m-sas", "witness", KEY_1, KEY_2)
    module = hub.update_module_with_sas(DEVICE, "m-sas", "other", module.etag, KEY_2, KEY_1)
    equal(module.authentication.symmetric_key.primary_key, KEY_2)
    equal(module.managed_by, "other")


@check
def modules_with_x509(hub):
    module = hub.create_module_with_x509(DEVICE, "m-x509", "witness", THUMB_1, THUMB_2)
    equal(module.authentication.type, "selfSigned")
    module = hub.update_module_with_x509(DEVICE, "m-x509", "witness", module.etag, THUMB_2, THUMB_1)
    equal(module.authentication.x509_thumbprint.primary_thumbprint, THUMB_2)


@check
def modules_with_certificate_authority(hub):
    module = hub.create_module_with_certificate_authority(DEVICE, "m-ca", "witness")
    equal(module.authentication.type, "certificateAuthority")
    module = hub.update_module_with_certificate_authority(DEVICE, "m-ca", "witness", module.etag)
    equal(module.module_id, "m-ca")


@check
def get_modules(hub):
    equal(hub.get_module(DEVICE, "m-sas").module_id, "m-sas")
    equal(sorted(module.module_id for module in hub.get_modules(DEVICE)), ["m-ca", "m-sas", "m-x509"])
    refused(404, hub.get_module, DEVICE, "none")


@check
def get_twin(hub):
    twin = hub.get_twin(DEVICE)
    equal((twin.device_id, twin.version, twin.status), (DEVICE, 1, "enabled"))
    equal(twin.authentication_type, "sas")
    equal(twin.properties.desired["$version"], 1)
    expect(twin.properties.reported["$metadata"]["$lastUpdated"], "no metadata")
    equal(twin.device_etag, hub.get_device(DEVICE).etag)


@check
def update_twin(hub):
    before = hub.get_twin(DEVICE)
    patch = Twin(tags={"site": {"town": "Kiel", "floor": 3}}, properties=TwinProperties(desired={"rate": 5, "on": True}))
    after = hub.update_twin(DEVICE, patch, before.etag)
    equal(after.tags, {"site": {"town": "Kiel", "floor": 3}})
    equal((after.properties.desired["rate"], after.properties.desired["$version"]), (5, 2))
    expect(after.etag != before.etag and after.version > before.version, "etag or version stayed")
    refused(412, hub.update_twin, DEVICE, patch, before.etag)
    after = hub.update_twin(DEVICE, Twin(tags={"site": {"floor": None}}))
    equal(after.tags, {"site": {"town": "Kiel"}})
    # What was read can be written back.
    hub.update_twin(DEVICE, after, after.etag)
    refused(400, hub.update_twin, DEVICE, Twin(tags={"a.b": 1}))
    refused(404, hub.update_twin, "witness-none", patch)


@check
def replace_twin(hub):
    twin = hub.replace_twin(DEVICE, Twin(tags={"town": "Bonn"}, properties=TwinProperties(desired={"t": 20.5})))
    equal(twin.tags, {"town": "Bonn"})
    expect("rate" not in twin.properties.desired, "a desired property outlived the replacement")
    equal(twin.properties.desired["t"], 20.5)


@check
def module_twins(hub):
    twin = hub.get_module_twin(DEVICE, "m-sas")
    equal((twin.device_id, twin.module_id), (DEVICE, "m-sas"))
    patch = Twin(properties=TwinProperties(desired={"level": 1}))
    twin = hub.update_module_twin(DEVICE, "m-sas", patch, twin.etag)
    equal(twin.properties.desired["level"], 1)
    twin = hub.replace_module_twin(DEVICE, "m-sas", Twin(properties=TwinProperties(desired={"mode": "a"})))
    expect("level" not in twin.properties.desired, "a desired property outlived the replacement")


@check
def query(hub):
    text = "SELECT * FROM devices WHERE startswith(deviceId, 'witness-')"
    result = hub.query_iot_hub(QuerySpecification(query=text))
    equal((result.type, result.continuation_token), ("Twin", None))
    ids = [twin.device_id for twin in result.items]
    seen, token = [], None
    for _ in range(20):
        page = hub.query_iot_hub(QuerySpecification(query=text), token, 2)
        expect(len(page.items) <= 2, "the page is too large")
        seen += [twin.device_id for twin in page.items]
        token = page.continuation_token
        if token is None:
            break
    equal(seen, ids)
    result = hub.query_iot_hub(QuerySpecification(query="SELECT * FROM devices WHERE tags.town = 'Bonn'"))
    equal([twin.device_id for twin in result.items], [DEVICE])
    modules = hub.query_iot_hub(QuerySpecification(query="SELECT * FROM devices.modules WHERE moduleId = 'm-sas'"))
    equal([(twin.device_id, twin.module_id) for twin in modules.items], [(DEVICE, "m-sas")])
    raw = hub.query_iot_hub(QuerySpecification(query="SELECT COUNT() AS n FROM devices WHERE deviceId = '{}'".format(
        DEVICE.replace("\\", "\\\\").replace("'", "\\'"))))
    equal(raw.type, "Raw")
    refused(400, hub.query_iot_hub, QuerySpecification(query="SELECT FROM"))
    refused(400, hub.query_iot_hub, QuerySpecification(query=text), "nonsense")


@check
def bulk(hub):
    def entry(name, mode, **more):
        return ExportImportDevice(id="witness-bulk-" + name, import_mode=mode, **more)

    keys = AuthenticationMechanism(type="sas", symmetric_key=SymmetricKey(primary_key=KEY_1, secondary_key=KEY_2))
    result = hub.bulk_create_or_update_devices([
        entry("a", "create", status="enabled", authentication=keys, tags={"n": 1},
              properties=PropertyContainer(desired={"t": 1})),
        entry("b", "create", status="disabled", authentication=keys),
    ])
    expect(result.is_successful and not result.errors, result)
    twin = hub.get_twin("witness-bulk-a")
    equal((twin.tags, twin.properties.desired["t"]), ({"n": 1}, 1))
    result = hub.bulk_create_or_update_devices([
        entry("a", "create", authentication=keys),
        entry("b", "update", status="enabled", authentication=keys),
    ])
    equal((result.is_successful, len(result.errors)), (False, 1))
    equal((result.errors[0].device_id, result.errors[0].error_code), ("witness-bulk-a", "DeviceAlreadyExists"))
    equal(hub.get_device("witness-bulk-b").status, "enabled")
    etag = hub.get_twin("witness-bulk-a").etag
    result = hub.bulk_create_or_update_devices([entry("a", "updateTwinIfMatchETag", twin_etag=etag, tags={"n": 2})])
    expect(result.is_successful, result)
    equal(hub.get_twin("witness-bulk-a").tags, {"n": 2})
    result = hub.bulk_create_or_update_devices([entry("a", "delete"), entry("b", "delete")])
    expect(result.is_successful, result)
    refused(404, hub.get_device, "witness-bulk-a")


@check
def statistics(hub):
    counts = hub.get_device_registry_statistics()
    equal(counts.total_device_count, counts.enabled_device_count + counts.disabled_device_count)
    expect(counts.total_device_count >= 5, counts)
    expect(hub.get_service_statistics().connected_device_count >= 0, "no count")


@check
def methods(hub):
    call = CloudToDeviceMethod(method_name="echo", payload={"in": [1, None, "x"]}, response_timeout_in_seconds=10)
    result = hub.invoke_device_method(DEVICE, call)
    equal((result.status, result.payload), (200, {"in": [1, None, "x"]}))
    result = hub.invoke_device_module_method(DEVICE, "m-sas", CloudToDeviceMethod(method_name="echo", payload="text"))
    equal((result.status, result.payload), (200, "text"))
    body = refused(404, hub.invoke_device_method, "witness-none", call)
    expect("DeviceNotFound" in body["Message"], body)
    hub.update_device_with_certificate_authority("witness-ca", "*", "disabled")
    body = refused(404, hub.invoke_device_method, "witness-ca", call)
    equal(json.loads(body["Message"])["errorCode"], 404103)


@check
def configuration_life(hub):
    manager = configurations()
    content = ConfigurationContent(device_content={"properties.desired.rate": {"value": 5}})
    wanted = Configuration(
        id="witness-c1", content=content, labels={"who": "witness"}, target_condition="tags.town='Bonn'", priority=7,
        metrics=ConfigurationMetrics(queries={"all": "SELECT deviceId FROM devices"}))
    made = manager.create_configuration(wanted)
    equal((made.id, made.priority, made.labels), ("witness-c1", 7, {"who": "witness"}))
    equal(made.system_metrics.results["targetedCount"], 1)
    refused(409, manager.create_configuration, wanted)
    wanted.priority = 9
    updated = manager.update_configuration(wanted, made.etag)
    equal(updated.priority, 9)
    refused(412, manager.update_configuration, wanted, made.etag)
    equal(manager.get_configuration("witness-c1").etag, updated.etag)
    expect("witness-c1" in [found.id for found in manager.get_configurations(10)], "not in the list")
    manager.delete_configuration("witness-c1", updated.etag)
    refused(404, manager.get_configuration, "witness-c1")


@check
def configuration_queries(hub):
    answer = configurations().test_configuration_queries(ConfigurationQueriesTestInput(
        target_condition="tags.town =", custom_metric_queries={"bad": "SELECT", "good": "SELECT * FROM devices"}))
    expect(answer.target_condition_error, "the mistake was not found")
    equal(list(answer.custom_metric_query_errors), ["bad"])


@check
def configuration_on_edge(hub):
    content = ConfigurationContent(modules_content={"$edgeAgent": {"properties.desired": {"schemaVersion": "1.1"}}})
    configurations().apply_configuration_on_edge_device("witness-edge", content)
    equal(hub.get_module_twin("witness-edge", "$edgeAgent").properties.desired["schemaVersion"], "1.1")


@check
def feedback(hub):
    manager = IoTHubHttpRuntimeManager.from_connection_string(CONNECTION)
    equal(manager.receive_feedback_notification(), None)
    refused(412, manager.complete_feedback_notification, "none")
    refused(412, manager.abandon_feedback_notification, "none")


def wait_for(read, *final):
    for _ in range(100):
        job = read()
        if job.status in final:
            return job
        time.sleep(0.1)
    raise AssertionError("the job stayed {}".format(job.status))


@check
def scheduled_twin_job(hub):
    manager = IoTHubJobManager.from_connection_string(CONNECTION)
    job_id = "witness-" + uuid.uuid4().hex
    request = JobRequest(
        job_id=job_id, type="scheduleUpdateTwin", query_condition="tags.town = 'Bonn'",
        update_twin=Twin(etag="*", tags={"job": job_id}), max_execution_time_in_seconds=60)
    made = manager.create_scheduled_job(job_id, request)
    equal((made.job_id, made.type), (job_id, "scheduleUpdateTwin"))
    done = wait_for(lambda: manager.get_scheduled_job(job_id), "completed")
    counts = done.device_job_statistics
    equal((counts.device_count, counts.succeeded_count, counts.failed_count), (1, 1, 0))
    equal(hub.get_twin(DEVICE).tags["job"], job_id)
    refused(409, manager.create_scheduled_job, job_id, request)
    jobs = manager.query_scheduled_jobs("scheduleUpdateTwin", "completed")
    expect(job_id in [job["jobId"] for job in jobs.items], "not in the list")
    parts = hub.query_iot_hub(QuerySpecification(query="SELECT * FROM devices.jobs WHERE jobId = '{}'".format(job_id)))
    equal((parts.type, len(parts.items)), ("DeviceJob", 1))


@check
def scheduled_method_job(hub):
    manager = IoTHubJobManager.from_connection_string(CONNECTION)
    job_id = "witness-" + uuid.uuid4().hex
    request = JobRequest(
        job_id=job_id, type="scheduleDeviceMethod", query_condition="deviceId IN ['witness-ca', 'witness-x509']",
        cloud_to_device_method=CloudToDeviceMethod(method_name="echo", payload=1), max_execution_time_in_seconds=60)
    manager.create_scheduled_job(job_id, request)
    counts = wait_for(lambda: manager.get_scheduled_job(job_id), "completed").device_job_statistics
    equal((counts.succeeded_count, counts.failed_count), (1, 1))
    refused(400, manager.cancel_scheduled_job, job_id)
    refused(404, manager.get_scheduled_job, "none")


@check
def cancel_scheduled_job(hub):
    manager = IoTHubJobManager.from_connection_string(CONNECTION)
    job_id = "witness-" + uuid.uuid4().hex
    manager.create_scheduled_job(job_id, JobRequest(
        job_id=job_id, type="scheduleUpdateTwin", query_condition="*", start_time="2999-01-01T00:00:00Z",
        update_twin=Twin(etag="*", tags={"never": True})))
    equal(manager.get_scheduled_job(job_id).status, "scheduled")
    equal(manager.cancel_scheduled_job(job_id).status, "cancelled")


@check
def export_job(hub):
    manager = IoTHubJobManager.from_connection_string(CONNECTION)
    made = manager.create_import_export_job(JobProperties(
        type="export", output_blob_container_uri="https://example.invalid/c?sig=x", exclude_keys_in_export=True))
    done = wait_for(lambda: manager.get_import_export_job(made.job_id), "completed")
    equal((done.progress, done.exclude_keys_in_export), (100, True))
    expect(made.job_id in [job.job_id for job in manager.get_import_export_jobs()], "not in the list")
    manager.cancel_import_export_job(made.job_id)


@check
def digital_twins(hub):
    client = DigitalTwinClient.from_connection_string(CONNECTION)
    equal(client.get_digital_twin(DEVICE)["$dtId"], DEVICE)
    client.update_digital_twin(DEVICE, [
        {"op": "add", "path": "/target", "value": 21.5},
        {"op": "add", "path": "/thermostat1/target", "value": 22},
    ])
    desired = hub.get_twin(DEVICE).properties.desired
    equal((desired["target"], desired["thermostat1"]), (21.5, {"__t": "c", "target": 22}))
    equal(client.get_digital_twin(DEVICE)["$metadata"]["target"]["desiredValue"], 21.5)
    equal(client.invoke_command(DEVICE, "reboot", {"delay": 3}, 5, 10), {"delay": 3})
    equal(client.invoke_component_command(DEVICE, "thermostat1", "report", {"since": 1}, 5, 10), {"since": 1})


@check
def delete_module(hub):
    etag = hub.get_module(DEVICE, "m-sas").etag
    refused(412, hub.delete_module, DEVICE, "m-sas", "wrong")
    hub.delete_module(DEVICE, "m-sas", etag)
    hub.delete_module(DEVICE, "m-x509")
    equal([module.module_id for module in hub.get_modules(DEVICE)], ["m-ca"])


@check
def delete_device(hub):
    refused(412, hub.delete_device, DEVICE, "wrong")
    hub.delete_device(DEVICE, hub.get_device(DEVICE).etag)
    refused(404, hub.get_device, DEVICE)
    refused(404, hub.delete_device, DEVICE)


def contains(actual, wanted, path):
    """Objects may hold more than was written; everything else must be equal."""
    if isinstance(wanted, dict) and isinstance(actual, dict):
        for key, value in wanted.items():
            expect(key in actual, "{}.{} is missing".format(path, key))
            contains(actual[key], value, path + "." + key)
    else:
        expect(actual == wanted, "{}: got {!r}, wanted {!r}".format(path, actual, wanted))


def read_back(written):
    readers = {
        "devices": lambda hub, name: hub.get_device(name),
        "twins": lambda hub, name: hub.get_twin(name),
        "modules": lambda hub, name: hub.get_module(*name.split("/", 1)),
        "configurations": lambda hub, name: configurations().get_configuration(name),
    }
    checks = []
    for section, reader in readers.items():
        for name, wanted in written.get(section, {}).items():
            def one(hub, section=section, name=name, wanted=wanted, reader=reader):
                contains(reader(hub, name).serialize(keep_readonly=True), wanted, section + "/" + name)
            one.__name__ = "{} {}".format(section, name)
            checks.append(one)
    for name in written.get("absent", []):
        def gone(hub, name=name):
            refused(404, hub.get_device, name)
        gone.__name__ = "absent {}".format(name)
        checks.append(gone)
    return checks


def main():
    hub = registry()
    checks = CHECKS
    if os.environ.get("WRITTEN_JSON"):
        with open(os.environ["WRITTEN_JSON"], encoding="utf-8") as file:
            checks = read_back(json.load(file))
    else:
        clean(hub)
    passed, failed = 0, 0
    for function in checks:
        try:
            function(hub)
            passed += 1
            print("ok      {}".format(function.__name__))
        except Exception:  # Every kind of failure counts as one.
            failed += 1
            print("FAILED  {}".format(function.__name__))
            traceback.print_exc(file=sys.stdout)
    if checks is CHECKS:
        clean(hub)
    print("{} passed, {} failed".format(passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
