//! Microsoft's own clients read back what each writing action wrote, and connect as devices with the keys, connection
//! strings and tokens that actions made.
//!
//! [`table`] has the calls. An action that writes and has neither a row there nor one in [`NO_CALL`] fails the test.

#[path = "../../host-harness/emulator/tests/common/node_clients.rs"]
mod node_clients;
#[path = "../../host-harness/emulator/tests/common/python.rs"]
mod python;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use azure_iot_emulator::{Credential, Emulator};
use connector_host::interface::action::{Call, Outcome};
use connector_host::interface::metadata::Effect;
use connector_tests::World;
use node_clients::{passed, run_node};
use python::{report, run_script, virtual_environment};
use serde_json::{Value, json};

/// The actions that write what none of the clients has a call for, with that call.
const NO_CALL: &[(&str, &str)] = &[];

/// What a mark begins with: `@ACTION/POINTER` stands for that part of the action's latest output, `@ca` for a
/// certificate.
const MARK: char = '@';
const KEYS: [&str; 2] =
    ["a2V5LW9uZS1rZXktb25lLWtleS1vbmUta2V5LW9uZS0=", "a2V5LXR3by1rZXktdHdvLWtleS10d28ta2V5LXR3by0="];
const THUMBPRINT: &str = "0123456789ABCDEF0123456789ABCDEF01234567";
const BLOBS: &str =
    "https://plant.blob.core.windows.net/registry?sp=rwd&sig=c2VjcmV0LXNpZ25hdHVyZS1vZi1hLWNvbnRhaW5lcg";
/// The longest pause before an action is resumed. The emulator's jobs end sooner than those of the hub.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// The largest number of calls in which an action must reach its end.
const MOST_CALLS: usize = 100;

/// One call of an action, and how clients see what it did.
struct Row {
    action: &'static str,
    input: Value,
    reads: Vec<Read>,
}

/// One call of Microsoft's clients, after all actions have run.
struct Read {
    clients: &'static [Client],
    call: &'static str,
    arguments: Value,
    expected: Expected,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Client {
    /// `azure-iot-hub` and `azure-eventhub` for Python.
    Python,
    /// `azure-iothub` and `azure-iot-device` for Node.js.
    Node,
    /// `azure-iot-provisioning-service` and `azure-iot-provisioning-device` for Node.js.
    Provisioning,
}

enum Expected {
    /// The answer holds this, and may hold more.
    Contains(Value),
    /// There is no such object.
    Missing,
}

fn row<const N: usize>(action: &'static str, input: Value, reads: [Read; N]) -> Row {
    Row { action, input, reads: reads.into() }
}

/// A call that the service clients for Python and Node.js both have.
fn both(call: &'static str, arguments: Value, expected: Value) -> Read {
    Read { clients: &[Client::Python, Client::Node], call, arguments, expected: Expected::Contains(expected) }
}

/// The object is there no longer.
fn gone(call: &'static str, arguments: Value) -> Read {
    Read { clients: &[Client::Python, Client::Node], call, arguments, expected: Expected::Missing }
}

fn python(call: &'static str, arguments: Value, expected: Value) -> Read {
    Read { clients: &[Client::Python], ..both(call, arguments, expected) }
}

fn node(call: &'static str, arguments: Value, expected: Value) -> Read {
    Read { clients: &[Client::Node], ..both(call, arguments, expected) }
}

fn provisioning(call: &'static str, arguments: Value, expected: Value) -> Read {
    Read { clients: &[Client::Provisioning], ..both(call, arguments, expected) }
}

fn unprovisioned(call: &'static str, arguments: Value) -> Read {
    Read { clients: &[Client::Provisioning], ..gone(call, arguments) }
}

fn keys() -> Value {
    json!({ "primaryKey": KEYS[0], "secondaryKey": KEYS[1] })
}

/// The keys in an action's output, in the form of an identity.
fn keys_of(output: &str) -> Value {
    let key = |name: &str| format!("{MARK}{output}/{name}");
    json!({ "authentication": { "symmetricKey": {
        "primaryKey": key("primaryKey"), "secondaryKey": key("secondaryKey")
    } } })
}

fn desired(properties: Value) -> Value {
    json!({ "properties": { "desired": properties } })
}

/// All calls, in the order in which they run.
fn table() -> Vec<Row> {
    let areas = [
        devices(),
        many_devices(),
        modules(),
        twins(),
        messages(),
        jobs(),
        configurations(),
        digital_twins(),
        enrollments(),
        statistics(),
    ];
    areas.into_iter().flatten().collect()
}

fn devices() -> Vec<Row> {
    vec![
        row(
            "create-device",
            json!({ "deviceId": "made", "edge": true, "status": "disabled", "statusReason": "Not installed yet",
                    "primaryKey": KEYS[0], "secondaryKey": KEYS[1] }),
            [
                both(
                    "get_device",
                    json!(["made"]),
                    json!({
                        "deviceId": "made", "etag": "@create-device/etag", "status": "disabled",
                        "statusReason": "Not installed yet", "capabilities": { "iotEdge": true },
                        "deviceScope": "@create-device/deviceScope",
                        "authentication": { "type": "sas", "symmetricKey": keys() }
                    }),
                ),
                both("get_modules", json!(["made"]), json!({ "$edgeAgent": {}, "$edgeHub": {} })),
            ],
        ),
        row("create-device", json!({ "deviceId": "changed" }), []),
        row(
            "update-device",
            json!({ "deviceId": "changed", "status": "disabled", "statusReason": "Lost", "primaryKey": KEYS[0] }),
            [both(
                "get_device",
                json!(["changed"]),
                json!({
                    "status": "disabled", "statusReason": "Lost",
                    "authentication": { "symmetricKey": {
                        "primaryKey": KEYS[0],
                        "secondaryKey": "@create-device/authentication/symmetricKey/secondaryKey"
                    } }
                }),
            )],
        ),
        row("create-device", json!({ "deviceId": "rotated" }), []),
        row(
            "rotate-device-keys",
            json!({ "deviceId": "rotated", "rotate": "both" }),
            [both("get_device", json!(["rotated"]), keys_of("rotate-device-keys"))],
        ),
        row(
            "create-device-connection-string",
            json!({ "deviceId": "rotated", "slot": "secondary" }),
            [
                node(
                    "send_as_device",
                    json!(["@create-device-connection-string/connectionString", "rotated: AMQP"]),
                    json!({}),
                ),
                node(
                    "send_as_device_by_https",
                    json!(["@create-device-connection-string/connectionString", "rotated: HTTPS"]),
                    json!({}),
                ),
            ],
        ),
        row(
            "create-device-sas-token",
            json!({ "deviceId": "rotated" }),
            [node("send_with_token", json!(["@create-device-sas-token/token", "rotated: token"]), json!({}))],
        ),
        row("create-device", json!({ "deviceId": "gone" }), []),
        row("delete-device", json!({ "deviceId": "gone" }), [gone("get_device", json!(["gone"]))]),
        row("create-device", json!({ "deviceId": "leaf" }), []),
        row("create-device", json!({ "deviceId": "gateway", "edge": true }), []),
        row(
            "set-device-parent",
            json!({ "deviceId": "leaf", "parentDeviceId": "gateway" }),
            [both(
                "get_device",
                json!(["leaf"]),
                json!({ "deviceScope": "@create-device/deviceScope", "parentScopes": ["@create-device/deviceScope"] }),
            )],
        ),
    ]
}

fn many_devices() -> Vec<Row> {
    let devices = |ids: &[&str]| Value::from_iter(ids.iter().map(|id| json!({ "deviceId": id })));
    vec![
        row(
            "create-devices",
            json!({ "devices": [
                { "deviceId": "many-1", "tags": { "site": "north" }, "desired": { "interval": { "s": 30 } } },
                { "deviceId": "many-2", "status": "disabled", "authentication": "selfSigned",
                  "primaryThumbprint": THUMBPRINT },
                { "deviceId": "many-3", "primaryKey": KEYS[0], "secondaryKey": KEYS[1] },
                { "deviceId": "many-4" }, { "deviceId": "many-5" }, { "deviceId": "many-6" }
            ] }),
            [
                both(
                    "get_twin",
                    json!(["many-1"]),
                    json!({ "tags": { "site": "north" }, "properties": { "desired": { "interval": { "s": 30 } } } }),
                ),
                both(
                    "get_device",
                    json!(["many-2"]),
                    json!({ "status": "disabled", "authentication": {
                        "type": "selfSigned", "x509Thumbprint": { "primaryThumbprint": THUMBPRINT }
                    } }),
                ),
                both("get_device", json!(["many-3"]), json!({ "authentication": { "symmetricKey": keys() } })),
            ],
        ),
        row(
            "update-devices",
            json!({ "devices": [{ "deviceId": "many-4", "statusReason": "Checked", "keys": "regenerateBoth",
                                  "tags": { "site": "south" }, "desired": { "on": true } }] }),
            [
                both("get_device", json!(["many-4"]), json!({ "status": "enabled", "statusReason": "Checked" })),
                both(
                    "get_twin",
                    json!(["many-4"]),
                    json!({ "tags": { "site": "south" }, "properties": { "desired": { "on": true } } }),
                ),
            ],
        ),
        row(
            "rotate-keys-of-devices",
            json!({ "devices": devices(&["many-1", "many-5"]), "rotate": "both" }),
            [
                both("get_device", json!(["many-1"]), keys_of("rotate-keys-of-devices/items/0")),
                both("get_device", json!(["many-5"]), keys_of("rotate-keys-of-devices/items/1")),
            ],
        ),
        row("delete-devices", json!({ "devices": devices(&["many-6"]) }), [gone("get_device", json!(["many-6"]))]),
    ]
}

fn modules() -> Vec<Row> {
    vec![
        row("create-device", json!({ "deviceId": "host" }), []),
        row(
            "create-module",
            json!({ "deviceId": "host", "moduleId": "axis", "managedBy": "operations",
                    "primaryKey": KEYS[0], "secondaryKey": KEYS[1] }),
            [both(
                "get_module",
                json!(["host", "axis"]),
                json!({ "deviceId": "host", "moduleId": "axis", "managedBy": "operations",
                        "etag": "@create-module/etag", "authentication": { "symmetricKey": keys() } }),
            )],
        ),
        row("create-module", json!({ "deviceId": "host", "moduleId": "pump" }), []),
        row(
            "update-module",
            json!({ "deviceId": "host", "moduleId": "pump", "managedBy": "night", "keys": "swap" }),
            [both(
                "get_module",
                json!(["host", "pump"]),
                json!({ "managedBy": "night", "authentication": { "symmetricKey": {
                    "primaryKey": "@create-module/authentication/symmetricKey/secondaryKey",
                    "secondaryKey": "@create-module/authentication/symmetricKey/primaryKey"
                } } }),
            )],
        ),
        row(
            "create-device-connection-string",
            json!({ "deviceId": "host", "moduleId": "pump" }),
            [node(
                "send_as_module",
                json!(["@create-device-connection-string/connectionString", "pump: AMQP"]),
                json!({}),
            )],
        ),
        row(
            "create-device-sas-token",
            json!({ "deviceId": "host", "moduleId": "axis", "slot": "secondary" }),
            [node("send_as_module_with_token", json!(["@create-device-sas-token/token", "axis: token"]), json!({}))],
        ),
        row("create-module", json!({ "deviceId": "host", "moduleId": "gone" }), []),
        row(
            "delete-module",
            json!({ "deviceId": "host", "moduleId": "gone" }),
            [gone("get_module", json!(["host", "gone"]))],
        ),
        row(
            "update-module-twin",
            json!({ "deviceId": "host", "moduleId": "axis", "tags": { "site": "south" }, "desired": { "limit": { "high": 9 } } }),
            [both(
                "get_module_twin",
                json!(["host", "axis"]),
                json!({ "etag": "@update-module-twin/etag", "tags": { "site": "south" },
                        "properties": { "desired": { "limit": { "high": 9 }, "$version": 2 } } }),
            )],
        ),
        row(
            "replace-module-twin",
            json!({ "deviceId": "host", "moduleId": "pump", "tags": {}, "desired": { "mode": "a" } }),
            [both("get_module_twin", json!(["host", "pump"]), desired(json!({ "mode": "a" })))],
        ),
    ]
}

fn twins() -> Vec<Row> {
    vec![
        row(
            "update-twin",
            json!({ "deviceId": "host", "tags": { "site": "north", "old": 1 }, "desired": { "rate": 5 } }),
            [],
        ),
        row(
            "update-twin",
            json!({ "deviceId": "host", "tags": { "old": null }, "desired": { "on": true } }),
            [both(
                "get_twin",
                json!(["host"]),
                json!({ "etag": "@update-twin/etag", "version": "@update-twin/version", "tags": { "site": "north" },
                    "properties": { "desired": { "rate": 5, "on": true, "$version": 3 } } }),
            )],
        ),
        row("update-twin", json!({ "deviceId": "leaf", "tags": { "old": 1 }, "desired": { "rate": 5 } }), []),
        row(
            "replace-twin",
            json!({ "deviceId": "leaf", "tags": { "site": "east" }, "desired": { "rate": 6 } }),
            [both(
                "get_twin",
                json!(["leaf"]),
                json!({ "etag": "@replace-twin/etag", "tags": { "site": "east" },
                    "properties": { "desired": { "rate": 6 } } }),
            )],
        ),
    ]
}

fn messages() -> Vec<Row> {
    let call = json!({ "in": [1, null, "x"] });
    let answer =
        |action: &str| json!({ "status": format!("@{action}/status"), "payload": format!("@{action}/payload") });
    vec![
        row("create-device-connection-string", json!({ "deviceId": "called" }), []),
        row(
            "send-cloud-to-device-message",
            json!({ "deviceId": "called", "body": { "command": "cool" }, "messageId": "c2d-1", "properties": { "level": "5" } }),
            [
                python("get_device", json!(["called"]), json!({ "cloudToDeviceMessageCount": 1 })),
                node(
                    "receive_as_device",
                    json!(["@create-device-connection-string/connectionString"]),
                    json!({ "messageId": "c2d-1", "body": r#"{"command":"cool"}"#, "properties": { "level": "5" } }),
                ),
            ],
        ),
        row("send-cloud-to-device-message", json!({ "deviceId": "away", "body": 1 }), []),
        row(
            "purge-cloud-to-device-messages",
            json!({ "deviceId": "away" }),
            [both("get_device", json!(["away"]), json!({ "cloudToDeviceMessageCount": 0 }))],
        ),
        row(
            "send-device-to-cloud-message",
            json!({ "deviceId": "called", "body": { "temperature": 81.5 }, "messageId": "d2c-1", "properties": { "level": "warning" } }),
            [python(
                "events_of",
                json!(["called", 1]),
                json!({ "d2c-1": { "body": r#"{"temperature":81.5}"#, "properties": { "level": "warning" } } }),
            )],
        ),
        // A method leaves nothing to read: the client makes the same call, and gets the same answer.
        row(
            "invoke-direct-method",
            json!({ "deviceId": "called", "methodName": "echo", "payload": call }),
            [python("invoke_method", json!(["called", "echo", call]), answer("invoke-direct-method"))],
        ),
        row(
            "invoke-module-direct-method",
            json!({ "deviceId": "host", "moduleId": "axis", "methodName": "echo", "payload": call }),
            [python(
                "invoke_module_method",
                json!(["host", "axis", "echo", call]),
                answer("invoke-module-direct-method"),
            )],
        ),
        row(
            "reach-device",
            json!({ "deviceId": "away", "methodName": "reboot", "whenOffline": "desiredProperty",
                    "desiredPath": "commands.reboot", "desiredValue": { "at": 3 } }),
            [both(
                "get_twin",
                json!(["away"]),
                json!({ "properties": { "desired": { "commands": { "reboot": { "at": 3 } } } } }),
            )],
        ),
    ]
}

fn jobs() -> Vec<Row> {
    let counts = |succeeded: u32, failed: u32| json!({ "deviceCount": succeeded + failed, "succeededCount": succeeded, "failedCount": failed });
    vec![
        row(
            "schedule-twin-update",
            json!({ "jobId": "someday", "condition": "tags.site = 'north'", "tags": { "job": true },
                    "startTime": "2099-01-01T00:00:00+01:00", "maxExecutionTimeSeconds": 90 }),
            [
                both(
                    "get_job",
                    json!(["someday"]),
                    json!({ "jobId": "someday", "type": "scheduleUpdateTwin", "status": "scheduled",
                            "queryCondition": "tags.site = 'north'", "maxExecutionTimeInSeconds": 90,
                            "updateTwin": { "etag": "*", "tags": { "job": true } } }),
                ),
                python("get_job", json!(["someday"]), json!({ "startTime": "2098-12-31T23:00:00.000Z" })),
                python("query_jobs", json!(["scheduleUpdateTwin", "scheduled"]), json!({ "someday": {} })),
            ],
        ),
        row(
            "schedule-twin-update",
            json!({ "jobId": "never", "condition": "*", "tags": { "job": true }, "startTime": "2099-01-01T00:00:00Z" }),
            [],
        ),
        row(
            "cancel-job",
            json!({ "jobId": "never" }),
            [both("get_job", json!(["never"]), json!({ "status": "cancelled" }))],
        ),
        row(
            "schedule-direct-method",
            json!({ "jobId": "restart", "deviceIds": ["called", "away"], "methodName": "reboot", "payload": { "delay": 5 },
                    "connectTimeoutSeconds": 1 }),
            [both(
                "get_job",
                json!(["restart"]),
                json!({ "type": "scheduleDeviceMethod", "status": "completed", "deviceJobStatistics": counts(1, 1),
                    "cloudToDeviceMethod": { "methodName": "reboot", "payload": { "delay": 5 } } }),
            )],
        ),
        row("wait-for-job", json!({ "jobId": "restart", "timeoutSeconds": 60 }), []),
        row(
            "invoke-method-by-query",
            json!({ "jobId": "asked", "condition": "deviceId = 'called'", "methodName": "list", "timeoutSeconds": 60 }),
            [both(
                "get_job",
                json!(["asked"]),
                json!({ "type": "scheduleDeviceMethod", "status": "completed", "deviceJobStatistics": counts(1, 0) }),
            )],
        ),
        row(
            "update-twins-by-query",
            json!({ "jobId": "patched", "deviceIds": ["called", "away"], "tags": { "site": "west" }, "desired": { "on": 1 } }),
            [
                both(
                    "get_job",
                    json!(["patched"]),
                    json!({ "type": "scheduleUpdateTwin", "status": "completed", "deviceJobStatistics": counts(2, 0) }),
                ),
                both(
                    "get_twin",
                    json!(["called"]),
                    json!({ "tags": { "site": "west" }, "properties": { "desired": { "on": 1 } } }),
                ),
                both("get_twin", json!(["away"]), json!({ "tags": { "site": "west" } })),
            ],
        ),
        row(
            "create-export-job",
            json!({ "outputBlobContainerUri": BLOBS, "excludeKeysInExport": true }),
            [both(
                "get_import_export_job",
                json!(["@create-export-job/jobId"]),
                json!({ "jobId": "@create-export-job/jobId", "type": "export", "status": "completed",
                    "excludeKeysInExport": true }),
            )],
        ),
        row("wait-for-import-export-job", json!({ "jobId": "@create-export-job/jobId" }), []),
        row(
            "create-import-job",
            json!({ "inputBlobContainerUri": "https://plant.blob.core.windows.net/in",
                    "outputBlobContainerUri": "https://plant.blob.core.windows.net/out",
                    "inputBlobName": "new.txt", "storageAuthenticationType": "identityBased" }),
            [both(
                "get_import_export_job",
                json!(["@create-import-job/jobId"]),
                json!({ "type": "import", "status": "completed", "inputBlobName": "new.txt",
                        "inputBlobContainerUri": "https://plant.blob.core.windows.net/in",
                        "storageAuthenticationType": "identityBased" }),
            )],
        ),
        row("wait-for-import-export-job", json!({ "jobId": "@create-import-job/jobId" }), []),
        row("create-export-job", json!({ "outputBlobContainerUri": BLOBS, "excludeKeysInExport": true }), []),
        row(
            "cancel-import-export-job",
            json!({ "jobId": "@create-export-job/jobId" }),
            [both("get_import_export_job", json!(["@create-export-job/jobId"]), json!({ "status": "cancelled" }))],
        ),
    ]
}

fn configurations() -> Vec<Row> {
    let content = json!({ "deviceContent": { "properties.desired.interval": { "seconds": 30 } } });
    let metrics = json!({ "queries": { "all": "SELECT deviceId FROM devices" } });
    let stored = |id: &str| {
        json!({
            "id": id, "content": content, "targetCondition": "tags.site='nowhere'", "priority": 10,
            "labels": { "team": "operations" }, "metrics": metrics, "etag": "@create-configuration/etag",
        })
    };
    let input = |id: &str| {
        json!({
            "configurationId": id, "content": content, "targetCondition": "tags.site='nowhere'", "priority": 10,
            "labels": { "team": "operations" }, "metrics": metrics["queries"],
        })
    };
    vec![
        row(
            "create-configuration",
            input("kept"),
            [
                both("get_configuration", json!(["kept"]), stored("kept")),
                both("get_configurations", json!([]), json!({ "kept": {} })),
            ],
        ),
        row("create-configuration", input("changed"), []),
        row(
            "update-configuration",
            json!({ "configurationId": "changed", "priority": 11, "labels": { "team": "night" } }),
            [both(
                "get_configuration",
                json!(["changed"]),
                json!({ "content": content, "targetCondition": "tags.site='nowhere'", "priority": 11,
                        "labels": { "team": "night" }, "etag": "@update-configuration/etag" }),
            )],
        ),
        row("create-configuration", input("gone"), []),
        row("delete-configuration", json!({ "configurationId": "gone" }), [gone("get_configuration", json!(["gone"]))]),
        row(
            "apply-configuration-to-device",
            json!({ "deviceId": "gateway", "modulesContent": {
                "filter": { "properties.desired": { "limit": { "high": 80 } } },
                "$edgeAgent": { "properties.desired.modules.filter": { "type": "docker" } }
            } }),
            [
                both("get_modules", json!(["gateway"]), json!({ "filter": {} })),
                both("get_module_twin", json!(["gateway", "filter"]), desired(json!({ "limit": { "high": 80 } }))),
                both(
                    "get_module_twin",
                    json!(["gateway", "$edgeAgent"]),
                    desired(json!({ "modules": { "filter": { "type": "docker" } } })),
                ),
            ],
        ),
        row(
            "custom-request",
            json!({ "method": "PUT", "path": "/devices/custom", "body": { "deviceId": "custom", "status": "disabled" } }),
            [both(
                "get_device",
                json!(["custom"]),
                json!({ "deviceId": "custom", "status": "disabled", "etag": "@custom-request/body/etag" }),
            )],
        ),
    ]
}

fn digital_twins() -> Vec<Row> {
    let payload = json!({ "delay": 3 });
    vec![
        row("create-device", json!({ "deviceId": "thermostat" }), []),
        row(
            "update-digital-twin",
            json!({ "deviceId": "thermostat", "patch": [
                { "op": "add", "path": "/target", "value": 21.5 },
                { "op": "add", "path": "/room1/target", "value": 22 }
            ] }),
            [
                both(
                    "get_digital_twin",
                    json!(["thermostat"]),
                    json!({ "$dtId": "thermostat", "$metadata": { "target": { "desiredValue": 21.5 } },
                            "room1": { "$metadata": { "target": { "desiredValue": 22 } } } }),
                ),
                both(
                    "get_twin",
                    json!(["thermostat"]),
                    desired(json!({ "target": 21.5, "room1": { "__t": "c", "target": 22 } })),
                ),
            ],
        ),
        // A command leaves nothing to read: the client makes the same call, and gets the same answer.
        row(
            "invoke-digital-twin-command",
            json!({ "deviceId": "called", "commandName": "reboot", "payload": payload }),
            [python(
                "invoke_command",
                json!(["called", "reboot", payload]),
                json!("@invoke-digital-twin-command/payload"),
            )],
        ),
        row(
            "invoke-component-command",
            json!({ "deviceId": "called", "componentName": "room1", "commandName": "reboot", "payload": payload }),
            [python(
                "invoke_component_command",
                json!(["called", "room1", "reboot", payload]),
                json!("@invoke-component-command/payload"),
            )],
        ),
        row("create-device", json!({ "deviceId": "waited" }), []),
        row(
            "send-cloud-to-device-message-and-wait",
            json!({ "deviceId": "waited", "body": 1, "expiresAfterSeconds": 1 }),
            // The message has left the queue when the action ends.
            [both("get_device", json!(["waited"]), json!({ "cloudToDeviceMessageCount": 0 }))],
        ),
    ]
}

fn enrollments() -> Vec<Row> {
    let attestation = json!({ "type": "symmetricKey", "symmetricKey": keys() });
    let fresh = json!({ "type": "symmetricKey" });
    let full = json!({
        "attestation": attestation, "provisioningStatus": "disabled", "edge": true, "allocationPolicy": "hashed",
        "reprovisionPolicy": { "updateHubAssignment": true, "migrateDeviceData": false },
        "initialTwin": { "tags": { "site": "north", "shelf": 3 }, "desired": { "interval": 30 } },
    });
    let stored = json!({
        "provisioningStatus": "disabled", "capabilities": { "iotEdge": true }, "allocationPolicy": "hashed",
        "reprovisionPolicy": { "updateHubAssignment": true, "migrateDeviceData": false },
        "initialTwin": { "tags": { "site": "north", "shelf": 3 }, "properties": { "desired": { "interval": 30 } } },
    });
    let with = |base: &Value, more: Value| {
        let mut all = base.as_object().cloned().unwrap_or_default();
        all.extend(more.as_object().cloned().unwrap_or_default());
        Value::from(all)
    };
    let disabled = || json!({ "provisioningStatus": "disabled" });
    let (single, group) = ("create-or-update-individual-enrollment", "create-or-update-enrollment-group");
    vec![
        row(
            single,
            with(&full, json!({ "registrationId": "loom", "deviceId": "The-Loom" })),
            [
                provisioning(
                    "get_enrollment",
                    json!(["loom"]),
                    with(
                        &stored,
                        json!({ "registrationId": "loom", "deviceId": "The-Loom", "etag": format!("@{single}/etag") }),
                    ),
                ),
                provisioning("get_enrollment_attestation", json!(["loom"]), attestation.clone()),
            ],
        ),
        row(
            single,
            json!({ "registrationId": "later", "attestation": fresh, "includeKeys": true }),
            [provisioning(
                "get_enrollment_attestation",
                json!(["later"]),
                json!({ "symmetricKey": format!("@{single}/attestation/symmetricKey") }),
            )],
        ),
        row(
            single,
            json!({ "registrationId": "later", "provisioningStatus": "disabled" }),
            [provisioning("get_enrollment", json!(["later"]), disabled())],
        ),
        row(single, json!({ "registrationId": "gone", "attestation": fresh }), []),
        row(
            "delete-individual-enrollment",
            json!({ "registrationId": "gone" }),
            [unprovisioned("get_enrollment", json!(["gone"]))],
        ),
        row(
            "create-individual-enrollments",
            json!({ "enrollments": [
                { "registrationId": "lot-1", "attestation": attestation, "deviceId": "Lot" },
                { "registrationId": "lot-2", "attestation": fresh }, { "registrationId": "lot-3", "attestation": fresh }
            ] }),
            [
                provisioning(
                    "get_enrollment",
                    json!(["lot-1"]),
                    json!({ "deviceId": "Lot", "provisioningStatus": "enabled" }),
                ),
                provisioning("get_enrollment_attestation", json!(["lot-1"]), attestation.clone()),
            ],
        ),
        row(
            "update-individual-enrollments",
            json!({ "enrollments": [{ "registrationId": "lot-2", "provisioningStatus": "disabled" }] }),
            [provisioning("get_enrollment", json!(["lot-2"]), disabled())],
        ),
        row(
            "delete-individual-enrollments",
            json!({ "registrationIds": ["lot-3"] }),
            [unprovisioned("get_enrollment", json!(["lot-3"]))],
        ),
        row(
            group,
            with(&full, json!({ "enrollmentGroupId": "looms", "provisioningStatus": "enabled" })),
            [
                provisioning(
                    "get_enrollment_group",
                    json!(["looms"]),
                    with(
                        &stored,
                        json!({ "enrollmentGroupId": "looms", "provisioningStatus": "enabled", "etag": format!("@{group}/etag") }),
                    ),
                ),
                provisioning("get_enrollment_group_attestation", json!(["looms"]), attestation.clone()),
            ],
        ),
        row(
            "derive-device-key",
            json!({ "enrollmentGroupId": "looms", "registrationId": "derived-1" }),
            [provisioning(
                "register",
                json!(["derived-1", "@derive-device-key/deviceKey", "derived-1: AMQP"]),
                json!({ "status": "assigned", "registrationId": "derived-1", "deviceId": "derived-1" }),
            )],
        ),
        row(
            group,
            json!({ "enrollmentGroupId": "signed", "attestation": { "type": "x509", "x509": { "primaryCertificate": "@ca" } } }),
            [provisioning(
                "get_enrollment_group",
                json!(["signed"]),
                json!({ "attestation": {
                "type": "x509",
                "x509": format!("@{group}/attestation/x509")
            } }),
            )],
        ),
        row(group, json!({ "enrollmentGroupId": "gone", "attestation": fresh }), []),
        row(
            "delete-enrollment-group",
            json!({ "enrollmentGroupId": "gone" }),
            [unprovisioned("get_enrollment_group", json!(["gone"]))],
        ),
        row(
            "create-enrollment-groups",
            json!({ "enrollmentGroups": [
                { "enrollmentGroupId": "lots-1", "attestation": attestation },
                { "enrollmentGroupId": "lots-2", "attestation": fresh }, { "enrollmentGroupId": "lots-3", "attestation": fresh }
            ] }),
            [provisioning("get_enrollment_group_attestation", json!(["lots-1"]), attestation.clone())],
        ),
        row(
            "update-enrollment-groups",
            json!({ "enrollmentGroups": [{ "enrollmentGroupId": "lots-2", "provisioningStatus": "disabled" }] }),
            [provisioning("get_enrollment_group", json!(["lots-2"]), disabled())],
        ),
        row(
            "delete-enrollment-groups",
            json!({ "enrollmentGroupIds": ["lots-3"] }),
            [unprovisioned("get_enrollment_group", json!(["lots-3"]))],
        ),
        row(
            "get-registration-state",
            json!({ "registrationId": "seeded-1" }),
            [provisioning(
                "get_registration_state",
                json!(["seeded-1"]),
                json!({ "etag": "@get-registration-state/etag", "status": "assigned", "deviceId": "seeded-1" }),
            )],
        ),
        row(
            "delete-registration-state",
            json!({ "registrationId": "seeded-2" }),
            [unprovisioned("get_registration_state", json!(["seeded-2"]))],
        ),
    ]
}

/// The last rows: what they count does not change any more.
fn statistics() -> Vec<Row> {
    let counts = ["totalDeviceCount", "enabledDeviceCount", "disabledDeviceCount"];
    let counts = counts.map(|name| (name.to_owned(), Value::from(format!("@get-registry-statistics/{name}"))));
    vec![
        row(
            "get-registry-statistics",
            json!({}),
            [both("get_registry_statistics", json!([]), Value::from_iter(counts))],
        ),
        row(
            "get-service-statistics",
            json!({}),
            [python(
                "get_service_statistics",
                json!([]),
                json!({ "connectedDeviceCount": "@get-service-statistics/connectedDeviceCount" }),
            )],
        ),
    ]
}

/// Calls an action to its end, and returns its output. The items of all pages are one list.
async fn run_action(world: &World, row: &Row, input: &Value) -> Result<Value> {
    let account = world.account();
    let mut outcome = account.invoke(row.action, &input.to_string(), &Call::default()).await;
    let mut earlier = Vec::new();
    for _ in 0..MOST_CALLS {
        let token = match outcome? {
            Outcome::Done(output) => {
                let mut output: Value = serde_json::from_str(&output)?;
                if let Some(items) = output.get_mut("items").and_then(Value::as_array_mut) {
                    items.splice(0..0, earlier);
                    let failed: Vec<_> =
                        items.iter().filter(|it| it["result"].is_string() && it["result"] != "ok").collect();
                    ensure!(failed.is_empty(), "{failed:?}");
                }
                return Ok(output);
            }
            Outcome::Page(page) => {
                let mut output: Value = serde_json::from_str(&page.output)?;
                earlier.append(output["items"].as_array_mut().context("a page without items")?);
                page.token
            }
            Outcome::Pending(pending) => {
                tokio::time::sleep(Duration::from_millis(pending.after_ms).min(LONGEST_PAUSE)).await;
                pending.token
            }
            other => bail!("it answered {other:?}"),
        };
        outcome = account.resume(row.action, &token, &Call::default()).await;
    }
    bail!("the end is not reached in {MOST_CALLS} calls")
}

/// Replaces marks by what they stand for.
fn resolve(value: &Value, outputs: &BTreeMap<&str, Value>) -> Result<Value> {
    Ok(match value {
        Value::String(text) => match text.strip_prefix(MARK) {
            None => value.clone(),
            Some(mark) => {
                let (action, pointer) = mark.split_at(mark.find('/').unwrap_or(mark.len()));
                let found = outputs.get(action).and_then(|output| output.pointer(pointer));
                found.with_context(|| format!("{text} is not there: {:?}", outputs.get(action)))?.clone()
            }
        },
        Value::Array(items) => items.iter().map(|item| resolve(item, outputs)).collect::<Result<_>>()?,
        Value::Object(members) => {
            let resolved = members.iter().map(|(name, member)| Ok((name.clone(), resolve(member, outputs)?)));
            Value::Object(resolved.collect::<Result<_>>()?)
        }
        _ => value.clone(),
    })
}

/// The clients' calls, each with its client, in the form of the scripts.
type Plan = Vec<(Client, Value)>;

/// Runs all rows, and returns what the clients have to see.
async fn write(world: &World) -> Result<Plan> {
    let mut outputs = BTreeMap::from([("ca", Value::from(world.emulator.ca_pem()))]);
    let mut plan = Vec::new();
    for row in &table() {
        let input = resolve(&row.input, &outputs)?;
        let output = run_action(world, row, &input).await.with_context(|| format!("{} {input}", row.action))?;
        outputs.insert(row.action, output);
        for read in &row.reads {
            let arguments = resolve(&read.arguments, &outputs)?;
            let mut entry = json!({
                "name": format!("{}: {} {arguments}", row.action, read.call), "call": read.call, "arguments": arguments,
            });
            match &read.expected {
                Expected::Contains(part) => entry["expected"] = resolve(part, &outputs)?,
                Expected::Missing => entry["refused"] = 404.into(),
            }
            plan.extend(read.clients.iter().map(|client| (*client, entry.clone())));
        }
    }
    Ok(plan)
}

/// Creates the objects that no row can: a device that is offline, and registrations.
async fn prepare(world: &World) -> Result<()> {
    for id in ["called", "away"] {
        world.done("create-device", json!({ "deviceId": id })).await?;
    }
    world.emulator.devices().disconnect("away").await?;
    let attestation = json!({ "type": "symmetricKey", "symmetricKey": keys() });
    world.emulator.create_enrollment_group("seeds", json!({ "attestation": attestation }))?;
    for id in ["seeded-1", "seeded-2"] {
        world.emulator.devices().provision(id, Credential::derived(KEYS[0], id).context("a key")?).await?;
    }
    Ok(())
}

/// What devices sent whose clients had nothing but what an action made.
fn sent(emulator: &Emulator) -> BTreeSet<String> {
    let telemetry = emulator.telemetry();
    let events = (0..telemetry.partition_count()).flat_map(|partition| telemetry.events(partition));
    events.map(|(_, _, event)| format!("{} {:?} {:?}", event.device_id, event.module_id, event.body)).collect()
}

#[test]
fn each_writing_action_has_a_row() -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let connector = runtime.block_on(connector_tests::connector())?;
    let tried: BTreeSet<&str> = table().iter().filter(|row| !row.reads.is_empty()).map(|row| row.action).collect();
    let without: BTreeSet<&str> = NO_CALL.iter().map(|(action, _)| *action).collect();
    ensure!(tried.is_disjoint(&without), "a client has a call, and has none");
    let writing = connector.descriptor().actions.iter().filter(|action| action.effect != Effect::Read);
    let writing: BTreeSet<&str> = writing.map(|action| action.operation.id.as_str()).collect();
    let missing: Vec<_> = writing.iter().filter(|id| !tried.contains(*id) && !without.contains(*id)).collect();
    ensure!(missing.is_empty(), "no client reads back what these actions write: add rows to `table` for {missing:?}");
    ensure!(without.is_subset(&writing), "`NO_CALL` names an action that does not write");
    Ok(())
}

/// The clients see what the actions wrote, and devices can use what they made.
#[tokio::test(flavor = "multi_thread")]
async fn microsofts_clients_read_back_what_actions_wrote() -> Result<()> {
    let interpreter = tokio::task::spawn_blocking(virtual_environment).await?;
    let world = World::start().await?;
    prepare(&world).await?;
    let plan = write(&world).await?;

    let folder = tempfile::tempdir()?;
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, world.emulator.ca_pem())?;
    let file = |client: Client| -> Result<(String, usize)> {
        let path = folder.path().join(format!("plan-{}.json", client as u8));
        let part: Vec<&Value> = plan.iter().filter(|(of, _)| *of == client).map(|(_, entry)| entry).collect();
        std::fs::write(&path, serde_json::to_string(&part)?)?;
        Ok((path.to_string_lossy().into_owned(), part.len()))
    };

    let policy = "a policy";
    let hub = world.emulator.hub_connection_string("connector").context(policy)?;
    let (path, count) = file(Client::Python)?;
    let environment = vec![
        ("HUB_CONNECTION_STRING", hub.clone()),
        ("REQUESTS_CA_BUNDLE", ca.to_string_lossy().into_owned()),
        ("CA_FILE", ca.to_string_lossy().into_owned()),
        ("PLAN_JSON", path),
        ("EVENT_HUB_CONNECTION_STRING", world.emulator.event_hub_connection_string("service").context(policy)?),
        ("EVENT_HUB_ENDPOINT", format!("sb://{}", world.emulator.event_hub_host())),
        ("CONSUMER_GROUP", "$Default".to_owned()),
    ];
    report(&run_script(&interpreter, "readback.py", environment).await, &format!("{count} passed, 0 failed"));

    // The clients use the well-known ports, which lead to the hub in the first run, and to provisioning in the second.
    let dps = world.emulator.dps_connection_string("connector").context(policy)?;
    let environment = |path: String| {
        vec![
            ("PLAN_JSON", path),
            ("HUB_CONNECTION_STRING", on_well_known_ports(&hub)),
            ("DPS_CONNECTION_STRING", on_well_known_ports(&dps)),
            ("ID_SCOPE", world.emulator.id_scope().to_owned()),
        ]
    };
    let amqp = world.emulator.hub_amqp_host();
    for (client, https) in
        [(Client::Node, world.emulator.hub_host()), (Client::Provisioning, world.emulator.dps_host())]
    {
        let ports = [(443, https.as_str()), (5671, amqp.as_str())];
        passed(&run_node(&world.emulator, "readback.js", &ports, environment(file(client)?.0)).await);
    }

    let sent = sent(&world.emulator);
    for (_, entry) in
        plan.iter().filter(|(_, entry)| entry["call"].as_str().is_some_and(|call| call.starts_with("send_")))
    {
        let text =
            entry["arguments"].as_array().and_then(|all| all.last()).and_then(Value::as_str).context("a text")?;
        ensure!(sent.iter().any(|event| event.contains(text)), "nothing came for {entry}: {sent:?}");
    }
    world.emulator.shutdown().await;
    Ok(())
}

/// A connection string with the host of a client that uses the well-known ports.
fn on_well_known_ports(connection: &str) -> String {
    let fields = connection.split(';').map(|field| match field.split_once('=') {
        Some(("HostName", _)) => "HostName=localhost".to_owned(),
        _ => field.to_owned(),
    });
    fields.collect::<Vec<_>>().join(";")
}
