//! The hub over the wire: identities, twins, queries, methods, configurations.

mod common;

use std::time::Duration;

use azure_iot_emulator::{ChangeKind, DevicesOnline, EmulatorOptions, MethodReply, TelemetryMessage, TwinPart};
use common::{encode, hub, start, start_with, token};
use serde_json::{Value, json};

const QUERY: &str = "/devices/query";

#[tokio::test]
async fn an_identity_lives_and_dies() {
    let emulator = start().await;
    let client = hub(&emulator, "connector");
    let created = client.put("/devices/d1", json!({"deviceId": "d1", "statusReason": "new"})).await.expect(200);
    assert_eq!(created.body["authentication"]["type"], "sas");
    assert!(created.body["authentication"]["symmetricKey"]["primaryKey"].is_string());
    assert_eq!(created.body["connectionState"], "Disconnected");
    assert_eq!(created.body["lastActivityTime"], "0001-01-01T00:00:00Z");
    let etag = created.body["etag"].as_str().expect("etag").to_owned();
    assert_eq!(created.header("etag"), Some(format!("\"{etag}\"").as_str()));
    assert!(created.header("x-ms-request-id").is_some() && created.header("date").is_some());

    let conflict = client.put("/devices/d1", json!({"deviceId": "d1"})).await.expect(409);
    assert!(conflict.message().starts_with("ErrorCode:DeviceAlreadyExists;"));
    assert_eq!(conflict.header("iothub-errorcode"), Some("DeviceAlreadyExists"));
    assert!(conflict.body["ExceptionMessage"].as_str().expect("text").starts_with("Tracking ID:"));

    let disabled = json!({"deviceId": "d1", "status": "disabled"});
    client.put_if("/devices/d1", "\"wrong\"", disabled.clone()).await.expect(412);
    let updated = client.put_if("/devices/d1", &format!("\"{etag}\""), disabled.clone()).await.expect(200);
    assert_ne!(updated.body["etag"], json!(etag));
    assert_eq!(updated.body["generationId"], created.body["generationId"]);
    // An update without keys keeps the stored keys.
    assert_eq!(updated.body["authentication"], created.body["authentication"]);
    client.put_if("/devices/d1", "\"*\"", disabled).await.expect(200);
    client.put_if("/devices/none", "\"*\"", json!({"deviceId": "none"})).await.expect(404);

    client.call("DELETE", "/devices/d1", &[("if-match", &format!("\"{etag}\""))], None).await.expect(412);
    let deleted = client.call("DELETE", "/devices/d1", &[("if-match", "\"*\"")], None).await.expect(204);
    assert!(deleted.bytes.is_empty());
    let missing = client.get("/devices/d1").await.expect(404);
    assert!(missing.message().starts_with("ErrorCode:DeviceNotFound;"));
    let kinds: Vec<_> = emulator.journal().snapshot(..).into_iter().map(|change| change.kind).collect();
    use ChangeKind::{DeviceCreated, DeviceDeleted, DeviceUpdated};
    assert_eq!(kinds, [DeviceCreated, DeviceUpdated, DeviceUpdated, DeviceDeleted]);
    emulator.shutdown().await;
}

#[tokio::test]
async fn bad_identities_are_refused() {
    let emulator = start().await;
    let client = hub(&emulator, "connector");
    for (id, body) in [
        ("a", json!({"deviceId": "b"})),
        ("a", json!({})),
        ("a", json!({"deviceId": "a", "status": "sleeping"})),
        ("a", json!({"deviceId": "a", "statusReason": "x".repeat(129)})),
        ("a", json!({"deviceId": "a", "authentication": {"type": "selfSigned"}})),
        ("a", json!({"deviceId": "a", "authentication": {"symmetricKey": {"primaryKey": "?", "secondaryKey": "?"}}})),
        ("a", json!({"deviceId": "a", "authentication": {"symmetricKey": {"primaryKey": "AAAAAAAAAAAAAAAAAAAAAA=="}}})),
        ("a b", json!({"deviceId": "a b"})),
        ("ä", json!({"deviceId": "ä"})),
        ("a", json!([1])),
    ] {
        client.put(&format!("/devices/{}", encode(id)), body).await.expect(400);
    }
    let id = "d-1:.+%_#*?!(),=@;$'";
    let made = client.put(&format!("/devices/{}", encode(id)), json!({"deviceId": id})).await.expect(200);
    assert_eq!(made.body["deviceId"], id);
    client.get(&format!("/twins/{}", encode(id))).await.expect(200);
    client.get("/nothing").await.expect(404);
    client.patch("/devices/a", json!({})).await.expect(405);
}

#[tokio::test]
async fn modules_belong_to_devices() {
    let emulator = start().await;
    let client = hub(&emulator, "connector");
    client.put("/devices/d/modules/m", json!({"moduleId": "m", "deviceId": "d"})).await.expect(404);
    client.put("/devices/d", json!({"deviceId": "d"})).await.expect(200);
    let body = json!({"moduleId": "m", "deviceId": "d", "managedBy": "me"});
    let made = client.put("/devices/d/modules/m", body.clone()).await.expect(201);
    client.put("/devices/d/modules/m", body.clone()).await.expect(409);
    client.put_if("/devices/d/modules/m", "*", body).await.expect(200);
    assert_eq!(made.body["managedBy"], "me");
    assert_eq!(client.get("/devices/d/modules").await.expect(200).body.as_array().expect("list").len(), 1);
    let patch = json!({"properties": {"desired": {"rate": 5}}});
    let twin = client.patch("/twins/d/modules/m", patch).await.expect(200);
    assert_eq!(twin.body["moduleId"], "m");
    let found = client.query(QUERY, "SELECT * FROM devices.modules WHERE moduleId = 'm'", 10, None).await.expect(200);
    assert_eq!(found.body[0]["properties"]["desired"]["rate"], 5);
    let method = json!({"methodName": "reset", "payload": 7});
    assert_eq!(client.post("/twins/d/modules/m/methods", method).await.expect(200).body["payload"], 7);
    client.delete("/devices/d/modules/m").await.expect(204);
    let gone = client.get("/twins/d/modules/m").await.expect(404);
    assert!(gone.message().starts_with("ErrorCode:ModuleNotFound;"));
    let edge = json!({"deviceId": "e", "capabilities": {"iotEdge": true}});
    client.put("/devices/e", edge).await.expect(200);
    assert_eq!(client.get("/devices/e/modules").await.body.as_array().expect("list").len(), 2);
    let content = json!({"modulesContent": {"$edgeAgent": {"properties.desired": {"schemaVersion": "1.1"}}}});
    client.post("/devices/e/applyConfigurationContent", content.clone()).await.expect(204);
    client.post("/devices/d/applyConfigurationContent", content).await.expect(400);
    let twin = client.get("/twins/e/modules/%24edgeAgent").await.expect(200);
    assert_eq!(twin.body["properties"]["desired"]["schemaVersion"], "1.1");
}

#[tokio::test]
async fn twins_merge_replace_and_guard() {
    let emulator = start().await;
    let client = hub(&emulator, "connector");
    client.put("/devices/d", json!({"deviceId": "d"})).await.expect(200);
    let first = client.get("/twins/d").await.expect(200);
    assert_eq!(first.body["etag"], "AAAAAAAAAAE=");
    assert_eq!(first.body["version"], 1);
    let patch = json!({"tags": {"site": "Kiel", "floor": {"n": 1, "wing": "a"}}, "properties": {"desired": {"t": 20}}});
    let patched = client.patch("/twins/d", patch).await.expect(200);
    assert_eq!(patched.body["properties"]["desired"]["$version"], 2);
    assert_eq!(patched.header("etag"), Some("\"AAAAAAAAAAI=\""));
    let stale = client.call("PATCH", "/twins/d", &[("if-match", "\"AAAAAAAAAAE=\"")], Some(json!({"tags": {}}))).await;
    assert!(stale.expect(412).message().starts_with("ErrorCode:PreconditionFailed;"));
    let patch = json!({"tags": {"floor": {"wing": null}}});
    let patched = client.patch("/twins/d", patch).await.expect(200);
    assert_eq!(patched.body["tags"], json!({"site": "Kiel", "floor": {"n": 1}}));
    emulator.devices().report("d", json!({"t": 19.5})).await.expect("report");
    let twin = client.get("/twins/d").await.expect(200);
    assert_eq!(twin.body["etag"], patched.body["etag"]);
    assert_eq!(twin.body["version"], 4);
    assert_eq!(twin.body["properties"]["reported"]["t"], 19.5);
    let replaced = client.put("/twins/d", json!({"tags": {"only": true}})).await.expect(200);
    assert_eq!(replaced.body["tags"], json!({"only": true}));
    assert!(replaced.body["properties"]["desired"].get("t").is_none());
    assert_eq!(replaced.body["properties"]["reported"]["t"], 19.5);
    client.patch("/twins/d", json!({"tags": {"a.b": 1}})).await.expect(400);
    client.patch("/twins/none", json!({"tags": {}})).await.expect(404);
    let parts: Vec<_> = emulator.journal().snapshot(2..=5).into_iter().map(|change| change.kind).collect();
    assert_eq!(
        parts,
        [TwinPart::Tags, TwinPart::Desired, TwinPart::Tags, TwinPart::Reported].map(ChangeKind::TwinUpdated)
    );
}

#[tokio::test]
async fn pages_are_stable_while_entities_come_and_go() {
    let emulator = start().await;
    let client = hub(&emulator, "connector");
    for n in 0..10 {
        client.put(&format!("/devices/d{n}"), json!({"deviceId": format!("d{n}")})).await.expect(200);
    }
    let query = "SELECT * FROM devices";
    let mut seen: Vec<String> = Vec::new();
    let mut token: Option<String> = None;
    for step in 0.. {
        let page = client.query(QUERY, query, 3, token.as_deref()).await.expect(200);
        assert_eq!(page.header("x-ms-item-type"), Some("Twin"));
        for twin in page.body.as_array().expect("page") {
            seen.push(twin["deviceId"].as_str().expect("id").to_owned());
        }
        token = page.header("x-ms-continuation").map(str::to_owned);
        if step == 0 {
            // Between two pages, delete a device that was delivered and one that was not, and add one that sorts first
            // by name.
            client.delete("/devices/d1").await.expect(204);
            client.delete("/devices/d5").await.expect(204);
            client.put("/devices/a", json!({"deviceId": "a"})).await.expect(200);
        }
        if token.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["d0", "d1", "d2", "d3", "d4", "d6", "d7", "d8", "d9", "a"]);

    let page = client.query(QUERY, query, 3, None).await.expect(200);
    let token = page.header("x-ms-continuation").expect("token").to_owned();
    client.query(QUERY, "SELECT deviceId FROM devices", 3, Some(&token)).await.expect(400);
    client.query(QUERY, query, 3, Some("bm9uc2Vuc2U")).await.expect(400);
    let raw = client.query(QUERY, "SELECT COUNT() AS n FROM devices WHERE startswith(deviceId, 'd')", 5, None).await;
    assert_eq!(raw.header("x-ms-item-type"), Some("Raw"));
    assert_eq!(raw.body, json!([{"n": 8}]));
    let wrong = client.query(QUERY, "SELECT * FROM devices WHERE deviceId == 1", 5, None).await.expect(400);
    assert!(wrong.message().contains("position"), "{}", wrong.message());
    client.query(QUERY, "SELECT * FROM nowhere", 5, None).await.expect(400);
    client.post(QUERY, json!({})).await.expect(400);
    let top = client.query(QUERY, "SELECT TOP 4 deviceId FROM devices", 3, None).await.expect(200);
    let rest = client.query(QUERY, "SELECT TOP 4 deviceId FROM devices", 3, top.header("x-ms-continuation")).await;
    assert_eq!((top.body.as_array().map(Vec::len), rest.body.as_array().map(Vec::len)), (Some(3), Some(1)));
    assert_eq!(client.get("/devices?top=2&api-version=2021-04-12").await.body.as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn methods_reach_devices_or_say_why_not() {
    let options = EmulatorOptions { devices_online: DevicesOnline::Registered, ..EmulatorOptions::default() };
    let emulator = start_with(options).await;
    let client = hub(&emulator, "service");
    let registry = hub(&emulator, "registryReadWrite");
    registry.put("/devices/d", json!({"deviceId": "d"})).await.expect(200);
    let call = |extra: Value| {
        let mut body = json!({"methodName": "reboot", "payload": {"in": 5}});
        body.as_object_mut().expect("object").extend(extra.as_object().expect("object").clone());
        body
    };
    let offline = client.post("/twins/d/methods", call(json!({}))).await.expect(404);
    let nested: Value = serde_json::from_str(&offline.message()).expect("an object in a string");
    assert_eq!(nested["errorCode"], 404_103);
    assert!(nested["trackingId"].is_string() && nested["timestampUtc"].is_string());
    assert_eq!(offline.header("iothub-errorcode"), Some("DeviceNotOnline"));
    client.post("/twins/none/methods", call(json!({}))).await.expect(404);

    let devices = emulator.devices();
    let late = devices.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        late.on_method("d", |call| async move { MethodReply::answer(201, json!([call.method, call.payload])) });
    });
    let answer = client.post("/twins/d/methods", call(json!({"connectTimeoutInSeconds": 5}))).await.expect(200);
    assert_eq!(answer.body, json!({"status": 201, "payload": ["reboot", {"in": 5}]}));

    devices.on_method("d", |_| async { MethodReply::Silence });
    let silent = client.post("/twins/d/methods", call(json!({"responseTimeoutInSeconds": 1}))).await.expect(504);
    let nested: Value = serde_json::from_str(&silent.message()).expect("an object in a string");
    assert_eq!(nested["errorCode"], 504_101);
    devices.on_method("d", |_| MethodReply::delayed(Duration::from_millis(50), 200, json!(null)));
    client.post("/twins/d/methods", call(json!({}))).await.expect(200);
    devices.disconnect("d").await.expect("disconnect");
    client.post("/twins/d/methods", call(json!({}))).await.expect(404);

    client.post("/twins/d/methods", call(json!({"payload": "x".repeat(129 << 10)}))).await.expect(413);
    client.post("/twins/d/methods", json!({"payload": 1})).await.expect(400);
    let outcomes =
        emulator.journal().snapshot(..).into_iter().filter(|change| change.kind == ChangeKind::MethodInvoked);
    assert_eq!(outcomes.count(), 5);
}

#[tokio::test]
async fn bulk_entries_stand_alone() {
    let emulator = start().await;
    let client = hub(&emulator, "connector");
    let entries = json!([
        {"id": "a", "importMode": "create", "tags": {"x": 1}, "properties": {"desired": {"t": 1}}},
        {"id": "b", "importMode": "create", "status": "disabled"},
    ]);
    let answer = client.post("/devices", entries).await.expect(200);
    assert_eq!(answer.body, json!({"isSuccessful": true, "errors": [], "warnings": []}));
    assert_eq!(client.get("/twins/a").await.body["tags"]["x"], 1);
    let entries = json!([
        {"id": "a", "importMode": "create"},
        {"id": "b", "importMode": "updateIfMatchETag", "eTag": "wrong"},
        {"id": "b", "importMode": "delete"},
        {"id": "c", "importMode": "delete"},
        {"id": "a", "moduleId": "m", "importMode": "create"},
        {"id": "e", "importMode": "create", "tags": {"a.b": 1}},
    ]);
    let answer = client.post("/devices", entries).await.expect(400);
    let codes: Vec<_> = answer.body["errors"].as_array().expect("errors").iter().map(|it| &it["errorCode"]).collect();
    assert_eq!(
        codes,
        [
            "DeviceAlreadyExists",
            "PreconditionFailed",
            "DeviceDefinedMultipleTimes",
            "DeviceNotFound",
            "ArgumentInvalid"
        ]
    );
    client.get("/devices/a/modules/m").await.expect(200);
    client.get("/devices/e").await.expect(404);
    let entries = json!([{"id": "a", "importMode": "updateTwin", "tags": {"x": null, "y": 2}}]);
    client.post("/devices", entries).await.expect(200);
    assert_eq!(client.get("/twins/a").await.body["tags"], json!({"y": 2}));
    let many: Vec<_> = (0..101).map(|n| json!({"id": format!("n{n}"), "importMode": "create"})).collect();
    client.post("/devices", json!(many)).await.expect(413);
}

#[tokio::test]
async fn a_leaf_shares_the_scope_of_its_parent() {
    let emulator = start().await;
    let client = hub(&emulator, "connector");
    let edge = |id: &str| json!({"deviceId": id, "capabilities": {"iotEdge": true}});
    let parent = client.put("/devices/parent", edge("parent")).await.expect(200).body["deviceScope"].clone();
    let nested = client.put("/devices/nested", edge("nested")).await.expect(200).body["deviceScope"].clone();
    let mut leaf = json!({"deviceId": "leaf", "deviceScope": parent});
    let made = client.put("/devices/leaf", leaf.clone()).await.expect(200);
    assert_eq!(made.body["parentScopes"], json!([parent]));
    let mut below = edge("nested");
    below["parentScopes"] = json!([parent]);
    assert_eq!(client.put_if("/devices/nested", "*", below.clone()).await.expect(200).body["deviceScope"], nested);
    below["deviceScope"] = parent.clone();
    client.put_if("/devices/nested", "*", below).await.expect(400);
    let children = format!(
        "SELECT deviceId FROM devices WHERE ARRAY_CONTAINS(parentScopes, '{}')",
        parent.as_str().expect("a scope")
    );
    let found = client.query("/devices/query", &children, 10, None).await.expect(200);
    assert_eq!(found.body.as_array().map(Vec::len), Some(2));
    leaf["deviceScope"] = json!("");
    let freed = client.put_if("/devices/leaf", "*", leaf).await.expect(200);
    assert!(freed.body.get("parentScopes").is_none() && freed.body.get("deviceScope").is_none());
}

#[tokio::test]
async fn configurations_are_immutable_inside() {
    let emulator = start().await;
    let client = hub(&emulator, "connector");
    client.put("/devices/d", json!({"deviceId": "d"})).await.expect(200);
    client.patch("/twins/d", json!({"tags": {"site": "Kiel"}})).await.expect(200);
    let content = json!({"deviceContent": {"properties.desired.t": 20}});
    let body = json!({"id": "c1", "content": content, "targetCondition": "tags.site='Kiel'", "priority": 5,
        "metrics": {"queries": {"all": "SELECT deviceId FROM devices"}}});
    let made = client.put("/configurations/c1", body.clone()).await.expect(201);
    assert_eq!(made.body["systemMetrics"]["results"]["targetedCount"], 1);
    assert_eq!(made.body["metrics"]["results"]["all"], 1);
    client.put("/configurations/c1", body.clone()).await.expect(409);
    let mut changed = body.clone();
    changed["content"] = json!({"deviceContent": {"properties.desired.t": 30}});
    client.put_if("/configurations/c1", "*", changed).await.expect(400);
    client.put_if("/configurations/c1", made.body["etag"].as_str().expect("etag"), body).await.expect(200);
    client.put("/configurations/c2", json!({"content": content, "targetCondition": "tags."})).await.expect(400);
    client.put("/configurations/C3", json!({"content": content})).await.expect(400);
    let test = json!({"targetCondition": "tags.site = ", "customMetricQueries": {"a": "SELECT", "b": "SELECT * FROM devices"}});
    let result = client.post("/configurations/testQueries", test).await.expect(200);
    assert!(result.body["targetConditionError"].is_string());
    assert_eq!(result.body["customMetricQueryErrors"].as_object().map(|errors| errors.len()), Some(1));
    assert_eq!(client.get("/configurations").await.expect(200).body.as_array().map(Vec::len), Some(1));
    client.delete("/configurations/c1").await.expect(204);
    client.get("/configurations/c1").await.expect(404);
}

#[tokio::test]
async fn statistics_messages_and_telemetry() {
    let emulator = start().await;
    let client = hub(&emulator, "connector");
    let device = client.put("/devices/d", json!({"deviceId": "d"})).await.expect(200);
    client.put("/devices/e", json!({"deviceId": "e", "status": "disabled"})).await.expect(200);
    let counts = client.get("/statistics/devices").await.expect(200).body;
    assert_eq!(counts, json!({"totalDeviceCount": 2, "enabledDeviceCount": 1, "disabledDeviceCount": 1}));
    emulator.devices().connect("d").await.expect("connect");
    assert_eq!(client.get("/statistics/service").await.expect(200).body, json!({"connectedDeviceCount": 1}));
    assert_eq!(client.get("/twins/d").await.body["connectionState"], "Connected");
    assert_eq!(emulator.devices().connect("e").await.expect_err("disabled").code().number(), 403_012);

    for _ in 0..50 {
        client.post("/devices/d/messages/devicebound", json!("hello")).await.expect(204);
    }
    client.post("/devices/d/messages/devicebound", json!("hello")).await.expect(403);
    assert_eq!(client.get("/devices/d").await.body["cloudToDeviceMessageCount"], 50);
    let purged = client.delete("/devices/d/commands").await.expect(200).body;
    assert_eq!(purged, json!({"totalMessagesPurged": 50, "deviceId": "d"}));
    client.get("/messages/servicebound/feedback").await.expect(204);

    let key = device.body["authentication"]["symmetricKey"]["secondaryKey"].as_str().expect("key");
    let resource = format!("{}/devices/d", emulator.hub_host());
    let device = hub(&emulator, "service").authorize(token(&resource, key, None, 60));
    device.post("/devices/d/messages/events", json!({"t": 20})).await.expect(204);
    device.post("/devices/e/messages/events", json!({"t": 20})).await.expect(401);
    device.get("/devices/d").await.expect(401);
    hub(&emulator, "device").post("/devices/d/messages/events", json!({"t": 21})).await.expect(204);
    hub(&emulator, "service").post("/devices/d/messages/events", json!({"t": 21})).await.expect(401);
    let message = TelemetryMessage::json("d", &json!({"t": 22}));
    emulator.devices().send_telemetry(message).await.expect("telemetry");
    let sent = emulator.journal().snapshot(..).into_iter().filter(|it| it.kind == ChangeKind::TelemetryReceived);
    assert_eq!(
        sent.map(|change| change.detail["body"].clone()).collect::<Vec<_>>(),
        ["{\"t\":20}", "{\"t\":21}", "{\"t\":22}"]
    );
}

#[tokio::test]
async fn a_job_fails_as_a_whole_by_a_fault_rule_alone() {
    let emulator = start().await;
    let client = hub(&emulator, "iothubowner");
    client.put("/devices/d1", json!({ "deviceId": "d1" })).await.expect(200);
    let twin = json!({
        "jobId": "j1", "type": "scheduleUpdateTwin", "queryCondition": "*",
        "updateTwin": { "etag": "*", "tags": { "a": 1 } },
    });
    let ended = async |path: &str, member: &str| {
        loop {
            let job = client.get(path).await.expect(200).body;
            if job.get(member).is_some() {
                break job;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    emulator.faults().add_text("hub:RUN /jobs/v2/j1=500x1").unwrap();
    // A rule without a method is for requests.
    emulator.faults().add_text("* /jobs/v2/j2=latency:1").unwrap();
    client.put("/jobs/v2/j1", twin.clone()).await.expect(200);
    let failed = ended("/jobs/v2/j1", "endTime").await;
    assert_eq!((failed["status"].as_str(), failed["failureReason"].is_string()), (Some("failed"), true), "{failed}");
    assert_eq!(failed["deviceJobStatistics"]["deviceCount"], 0);
    assert!(client.get("/twins/d1").await.expect(200).body["tags"].get("a").is_none());
    client.call("POST", "/jobs/v2/j1/cancel", &[], None).await.expect(400);
    let mut second = twin;
    second["jobId"] = json!("j2");
    client.put("/jobs/v2/j2", second).await.expect(200);
    assert_eq!(ended("/jobs/v2/j2", "endTime").await["status"], "completed");

    emulator.faults().add_text("hub:RUN /jobs/*=500x1").unwrap();
    let export = json!({ "type": "export", "outputBlobContainerUri": "https://plant.blob.core.windows.net/registry" });
    let id = client.post("/jobs/create", export).await.expect(200).body["jobId"].as_str().unwrap().to_owned();
    let failed = ended(&format!("/jobs/{id}"), "endTimeUtc").await;
    assert_eq!((failed["status"].as_str(), failed["failureReason"].is_string()), (Some("failed"), true), "{failed}");
}

#[tokio::test]
async fn scheduled_jobs_run_or_are_cancelled() {
    let emulator = start().await;
    let client = hub(&emulator, "connector");
    for n in 0..25 {
        let id = format!("d{n:02}");
        client.put(&format!("/devices/{id}"), json!({ "deviceId": id })).await.expect(200);
    }
    let twin = json!({"type": "scheduleUpdateTwin", "queryCondition": "startswith(deviceId, 'd1')",
        "updateTwin": {"etag": "*", "tags": {"batch": 7}}});
    client.put("/jobs/v2/j1", twin.clone()).await.expect(200);
    client.put("/jobs/v2/j1", twin.clone()).await.expect(409);
    let mut finished = Value::Null;
    for _ in 0..100 {
        finished = client.get("/jobs/v2/j1").await.expect(200).body;
        if finished["status"] == "completed" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(finished["deviceJobStatistics"]["succeededCount"], 10);
    assert!(finished["endTime"].is_string());
    let parts = client.query(QUERY, "SELECT * FROM devices.jobs WHERE jobId = 'j1'", 4, None).await.expect(200);
    assert_eq!(parts.header("x-ms-item-type"), Some("DeviceJob"));
    assert!(parts.header("x-ms-continuation").is_some());
    let found = client.query(QUERY, "SELECT COUNT() AS n FROM devices WHERE tags.batch = 7", 4, None).await;
    assert_eq!(found.body, json!([{"n": 10}]));

    let mut later = twin.clone();
    later["startTime"] = json!("2999-01-01T00:00:00Z");
    assert_eq!(client.put("/jobs/v2/j2", later).await.expect(200).body["status"], "scheduled");
    assert_eq!(client.call("POST", "/jobs/v2/j2/cancel", &[], None).await.expect(200).body["status"], "cancelled");
    client.call("POST", "/jobs/v2/j2/cancel", &[], None).await.expect(400);
    let list = client.get("/jobs/v2/query?api-version=2021-04-12&jobStatus=cancelled").await.expect(200);
    assert_eq!(
        (list.body["items"][0]["jobId"].as_str(), list.body["type"].as_str()),
        (Some("j2"), Some("jobResponse"))
    );
    for bad in [
        json!({"type": "scheduleUpdateTwin", "updateTwin": {"tags": {}}}),
        json!({"type": "scheduleDeviceMethod"}),
        json!({"type": "sing"}),
        json!({"type": "scheduleUpdateTwin", "updateTwin": {"etag": "*"}, "queryCondition": "tags."}),
        json!({"type": "scheduleUpdateTwin", "updateTwin": {"etag": "*"}, "startTime": "tomorrow"}),
    ] {
        client.put("/jobs/v2/bad", bad).await.expect(400);
    }
    hub(&emulator, "registryReadWrite").put("/jobs/v2/j3", twin).await.expect(401);
}

#[tokio::test]
async fn digital_twins_are_another_view() {
    let emulator = start().await;
    let client = hub(&emulator, "connector");
    client.put("/devices/d", json!({"deviceId": "d"})).await.expect(200);
    emulator.devices().report("d", json!({"temperature": 20})).await.expect("report");
    let twin = client.get("/digitaltwins/d").await.expect(200);
    assert_eq!((&twin.body["$dtId"], &twin.body["temperature"]), (&json!("d"), &json!(20)));
    let patch = json!([{"op": "add", "path": "/target", "value": 21}]);
    let stale = [("if-match", "\"old\"")];
    client.call("PATCH", "/digitaltwins/d", &stale, Some(patch.clone())).await.expect(412);
    let patched = client.patch("/digitaltwins/d", patch).await.expect(202);
    assert!(patched.header("etag").is_some() && patched.header("location").is_some());
    // A component has metadata of its own, also before the device has reported it.
    let patch = json!([{"op": "add", "path": "/room/target", "value": 22}]);
    client.patch("/digitaltwins/d", patch).await.expect(202);
    emulator.devices().report("d", json!({"pump": {"__t": "c", "speed": 3}})).await.expect("report");
    let twin = client.get("/digitaltwins/d").await.expect(200).body;
    let target = json!({"desiredValue": 22, "desiredVersion": 3});
    assert_eq!(twin["room"], json!({"$metadata": {"target": target}}));
    assert_eq!((&twin["pump"]["speed"], &twin["pump"]["__t"]), (&json!(3), &json!(null)));
    assert!(twin["pump"]["$metadata"]["speed"]["lastUpdateTime"].is_string(), "{twin}");
    assert_eq!((&twin["$metadata"]["room"], &twin["$metadata"]["target"]["desiredValue"]), (&json!(null), &json!(21)));
    for bad in [
        json!([{"op": "test", "path": "/a", "value": 1}]),
        json!([{"op": "add", "path": "/a/b/c", "value": 1}]),
        json!([{"op": "add", "path": "/a", "value": 1}, {"op": "add", "path": "/a/b", "value": 1}]),
    ] {
        client.patch("/digitaltwins/d", bad).await.expect(400);
    }
    emulator.devices().on_method("d", |call| async move { MethodReply::answer(202, json!(call.method)) });
    let answer = client.post("/digitaltwins/d/components/pump/commands/start", json!({})).await.expect(200);
    assert_eq!(
        (answer.body, answer.headers["x-ms-command-statuscode"].to_str().expect("text")),
        (json!("pump*start"), "202")
    );
    let query = "?api-version=2020-09-30&responseTimeoutInSeconds=x";
    client.post(&format!("/digitaltwins/d/commands/start{query}"), json!({})).await.expect(400);
}
