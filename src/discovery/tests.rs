//! Dropdowns and schemas against a scripted platform.

use serde_json::{Value, json};

use super::choices::Source;
use super::{options, resolve_schema};
use crate::bindings::exports::workflow::connector::discovery::{Choice, Choices, ChoicesRequest, Direction};
use crate::bindings::workflow::connector::types::Connection;
use crate::error::{Error, ErrorCode, Result};
use crate::form::fields;
use crate::form::schema::{ANNOTATIONS, KEYWORDS, check};
use crate::manifest::operations;
use crate::manifest::tests::walk;
use crate::platform::fake::FakePlatform;

fn platform() -> FakePlatform {
    FakePlatform::at(1_800_000_000)
}

fn connection() -> Connection {
    let key = "c2VjcmV0IGtleSBvZiB0aGUgdGVzdA==";
    let values = json!({
        "iotHubName": "discovery.azure-devices.net",
        "sharedAccessKeyName": "service",
        "sharedAccessKey": key,
        "dpsHostName": "discovery.azure-devices-provisioning.net",
        "dpsSharedAccessKeyName": "service",
        "dpsSharedAccessKey": key,
    });
    Connection { auth_profile: "shared-access-key".into(), values: values.to_string() }
}

fn request(source: &str, search: &str, limit: u32) -> ChoicesRequest {
    ChoicesRequest {
        source: source.into(),
        context: "{}".into(),
        search: (!search.is_empty()).then(|| search.to_owned()),
        page: None,
        limit,
    }
}

fn offer(platform: &FakePlatform, request: &ChoicesRequest) -> Result<Choices> {
    options(platform, &connection(), request, 30_000)
}

fn values(choices: &Choices) -> Vec<&str> {
    choices.items.iter().map(|choice| choice.value.as_str()).collect()
}

/// The path, the query text, the page size and the continuation token of each request.
fn sent(platform: &FakePlatform) -> Vec<(String, String, String, String)> {
    let requests = platform.requests.borrow();
    requests
        .iter()
        .map(|request| {
            let header = |name: &str| {
                request
                    .headers
                    .iter()
                    .find(|(known, _)| known == name)
                    .map(|(_, value)| value.clone())
                    .unwrap_or_default()
            };
            let body: Value =
                request.body.as_deref().map(|body| serde_json::from_slice(body).expect("JSON")).unwrap_or_default();
            let path = request.path_with_query.split('?').next().unwrap_or_default().to_owned();
            let query = body["query"].as_str().unwrap_or_default().to_owned();
            (path, query, header("x-ms-max-item-count"), header("x-ms-continuation"))
        })
        .collect()
}

fn expected(path: &str, query: &str, size: &str, continuation: &str) -> (String, String, String, String) {
    (path.to_owned(), query.to_owned(), size.to_owned(), continuation.to_owned())
}

const DEVICES: &str = "SELECT deviceId, status, connectionState FROM devices";

#[test]
fn devices_are_searched_by_the_hub() {
    let platform = platform();
    let page = json!([{ "deviceId": "press-1", "status": "enabled", "connectionState": "Connected" }, { "deviceId": "press-2" }, { "odd": 1 }, 5]);
    platform.then_status(200, &[("x-ms-continuation", "next")], &page.to_string());
    let choices = offer(&platform, &request("devices", " press-", 2)).expect("choices");
    let first = Choice { value: "press-1".into(), label: "press-1".into(), hint: Some("enabled, Connected".into()) };
    assert_eq!(choices.items[0], first);
    assert_eq!((values(&choices), choices.items[1].hint.as_deref()), (vec!["press-1", "press-2"], None));
}

#[test]
fn the_page_goes_on_where_it_ended() {
    let platform = platform();
    platform.then_status(
        200,
        &[("x-ms-continuation", "next")],
        &json!([{ "deviceId": "a1" }, { "deviceId": "a2" }]).to_string(),
    );
    platform.then_status(200, &[], &json!([{ "deviceId": "a3" }]).to_string());
    let mut asked = request("devices", "a", 2);
    let choices = offer(&platform, &asked).expect("choices");
    assert_eq!(values(&choices), ["a1", "a2"]);
    asked.page = choices.next;
    let choices = offer(&platform, &asked).expect("choices");
    assert_eq!((values(&choices), choices.next.as_deref()), (vec!["a3"], None));
    let query = format!("{DEVICES} WHERE STARTSWITH(deviceId, 'a')");
    assert_eq!(
        sent(&platform),
        [expected("/devices/query", &query, "2", ""), expected("/devices/query", &query, "2", "next")]
    );
}

#[test]
fn an_apostrophe_is_escaped_in_a_query() {
    let platform = platform();
    let page = json!([{ "deviceId": "o'neil" }]);
    platform.then_status(200, &[], &page.to_string()).then_status(200, &[], "[]");
    assert_eq!(values(&offer(&platform, &request("devices", "o'n", 0)).expect("choices")), ["o'neil"]);
    assert_eq!(values(&offer(&platform, &request("devices", "'", 0)).expect("choices")), Vec::<&str>::new());
    let query = |literal: &str| format!("{DEVICES} WHERE STARTSWITH(deviceId, {literal})");
    assert_eq!(
        sent(&platform),
        [
            expected("/devices/query", &query(r"'o\'n'"), "50", ""),
            expected("/devices/query", &query(r"'\''"), "50", "")
        ]
    );
}

/// An id that the hub has accepted can be found even if it has characters that no document allows, and no character
/// ends the text literal in a query.
#[test]
fn ids_that_no_document_allows_are_found() {
    for (search, start) in [("a b", "a"), ("ä", ""), ("x') OR (true", r"x\')"), ("x\\'", "x"), ("q\"", "q"), ("\n", "")]
    {
        let platform = platform();
        let id = format!("{search}!").trim().to_owned();
        platform.then_status(200, &[], &json!([{ "deviceId": id }, { "deviceId": "other" }]).to_string());
        let choices = offer(&platform, &request("devices", search, 0)).expect("choices");
        let all_are_asked_for = start.is_empty();
        let query = if all_are_asked_for {
            DEVICES.to_owned()
        } else {
            format!("{DEVICES} WHERE STARTSWITH(deviceId, '{start}')")
        };
        let size = if search.trim().is_empty() { "50" } else { "1000" };
        assert_eq!(sent(&platform), [expected("/devices/query", &query, size, "")], "{search:?}");
        assert!(values(&choices).contains(&id.as_str()), "{search:?}");
    }
}

#[test]
fn limits_are_kept() {
    for (limit, size) in [(0, "50"), (7, "7"), (1000, "1000"), (u32::MAX, "1000")] {
        let platform = platform();
        platform.then_status(200, &[], "[]");
        offer(&platform, &request("devices", "", limit)).expect("choices");
        assert_eq!(sent(&platform), [expected("/devices/query", DEVICES, size, "")]);
    }
}

#[test]
fn enrollments_are_searched_here_in_any_case() {
    let platform = platform();
    let enrollment = |id: &str| json!({ "registrationId": id, "provisioningStatus": "enabled", "attestation": { "type": "tpm" }, "registrationState": { "status": "assigned" } });
    let first = json!([enrollment("Press-1"), enrollment("lathe-1"), enrollment("press-2"), enrollment("big-press")]);
    platform.then_status(200, &[("x-ms-continuation", "next")], &first.to_string());
    let mut asked = request("enrollments", "PRESS", 2);
    let choices = offer(&platform, &asked).expect("choices");
    assert_eq!(values(&choices), ["Press-1", "press-2"]);
    assert_eq!(choices.items[0].hint.as_deref(), Some("enabled, tpm, assigned"));
    // The third entry is on the same page, so that page is requested again.
    asked.page = choices.next;
    platform.then_status(200, &[("x-ms-continuation", "next")], &first.to_string());
    platform.then_status(200, &[], &json!([enrollment("other"), enrollment("press-9")]).to_string());
    let choices = offer(&platform, &asked).expect("choices");
    assert_eq!((values(&choices), choices.next.as_deref()), (vec!["big-press", "press-9"], None));
    let query = "SELECT * FROM enrollments";
    assert_eq!(
        sent(&platform),
        [
            expected("/enrollments/query", query, "1000", ""),
            expected("/enrollments/query", query, "1000", ""),
            expected("/enrollments/query", query, "1000", "next"),
        ]
    );
}

#[test]
fn a_search_ends_after_some_pages_and_can_go_on() {
    let platform = platform();
    for page in 1..=6 {
        platform.then_status(200, &[("x-ms-continuation", &format!("p{page}"))], "[{\"enrollmentGroupId\":\"g\"}]");
    }
    let mut asked = request("enrollment-groups", "none", 10);
    let choices = offer(&platform, &asked).expect("choices");
    assert!(choices.items.is_empty());
    asked.page = choices.next;
    assert_eq!(sent(&platform).len(), 5);
    platform.answers.borrow_mut().clear();
    platform.then_status(200, &[], "[]");
    assert!(offer(&platform, &asked).expect("choices").next.is_none());
    assert_eq!(sent(&platform)[5], expected("/enrollmentGroups/query", "SELECT * FROM enrollmentGroups", "1000", "p5"));
}

#[test]
fn configurations_have_no_pages_of_their_own() {
    let platform = platform();
    let all = json!([{ "id": "a", "targetCondition": "*" }, { "id": "b", "targetCondition": "" }, { "id": "c" }]);
    platform.then_status(200, &[], &all.to_string()).then_status(200, &[], &all.to_string());
    let mut asked = request("configurations", "", 2);
    let choices = offer(&platform, &asked).expect("choices");
    assert_eq!((values(&choices), choices.items[0].hint.as_deref()), (vec!["a", "b"], Some("*")));
    assert_eq!(choices.items[1].hint, None);
    asked.page = choices.next;
    let choices = offer(&platform, &asked).expect("choices");
    assert_eq!((values(&choices), choices.next.as_deref()), (vec!["c"], None));
}

fn refused(request: &ChoicesRequest) -> Error {
    let platform = platform();
    let error = offer(&platform, request).expect_err("refused");
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    assert!(platform.requests.borrow().is_empty());
    error
}

#[test]
fn what_is_not_understood_is_refused() {
    let error = refused(&request("hubs", "", 0));
    assert!(error.to_string().contains("devices, enrollments, enrollment-groups, configurations"), "{error}");
    let mut odd = request("devices", "", 0);
    odd.context = "[]".into();
    assert_eq!(refused(&odd).record().fields[0].pointer, "/context");

    let platform = platform();
    platform.then_status(200, &[("x-ms-continuation", "next")], "[{\"deviceId\":\"a\"}]");
    let token = offer(&platform, &request("devices", "a", 1)).expect("choices").next;
    for (source, search) in [("enrollments", "a"), ("devices", "b"), ("devices", "")] {
        let mut other = request(source, search, 1);
        other.page = token.clone();
        assert_eq!(refused(&other).record().fields[0].pointer, "/page");
    }
    for token in ["", "null", "{}", "next"] {
        let mut other = request("devices", "a", 1);
        other.page = Some(token.into());
        assert_eq!(refused(&other).record().fields[0].code, "not-a-token");
    }
}

fn twin() -> Value {
    json!({
        "deviceId": "press-17",
        "etag": "AAAAAAAAAAE=",
        "tags": { "site": "north", "place": { "hall": 3, "row": null }, "odd/na~me": true },
        "properties": {
            "desired": { "interval": 30, "list": [{ "a": 1 }, { "a": 2.5 }], "mixed": [1, "x"], "none": [], "$metadata": { "$lastUpdated": "x", "interval": {} }, "$version": 2 },
            "reported": { "firmware": "4.1", "$metadata": { "$lastUpdated": "x" }, "$version": 3 },
        },
    })
}

fn resolve(platform: &FakePlatform, operation: &str, partial: &str) -> Result<Value> {
    resolve_schema(platform, &connection(), operation, Direction::Output, partial, 30_000)
        .map(|text| serde_json::from_str(&text).expect("JSON"))
}

fn understood(schema: &Value) -> bool {
    schema.as_object().is_some_and(|schema| {
        schema.keys().all(|name| KEYWORDS.contains(&name.as_str()) || ANNOTATIONS.contains(&name.as_str()))
            && schema.get("properties").and_then(Value::as_object).is_none_or(|inner| inner.values().all(understood))
            && schema.get("items").is_none_or(understood)
    })
}

#[test]
fn the_twin_of_the_chosen_device_gives_the_schema() {
    for operation in ["get-twin", "update-twin"] {
        let platform = platform();
        platform.then_status(200, &[], &twin().to_string());
        let schema = resolve(&platform, operation, "{\"deviceId\":\"press-17\"}").expect("a schema");
        assert_eq!(sent(&platform), [expected("/twins/press-17", "", "", "")]);
        assert_eq!(
            schema["properties"]["tags"]["properties"],
            json!({
                "site": { "type": "string" },
                "place": { "type": "object", "properties": { "hall": { "type": "number" }, "row": {} }, "additionalProperties": true },
                "odd/na~me": { "type": "boolean" },
            })
        );
        let number =
            json!({ "type": "object", "properties": { "a": { "type": "number" } }, "additionalProperties": true });
        assert_eq!(
            schema["properties"]["properties"]["properties"]["desired"]["properties"],
            json!({
                "interval": { "type": "number" },
                "list": { "type": "array", "items": number },
                "mixed": { "type": "array" },
                "none": { "type": "array" },
                "$metadata": { "type": "object", "additionalProperties": true },
                "$version": { "type": "integer" },
            })
        );
        assert_eq!(schema["properties"]["tags"]["title"], "Tags", "what was known stays");
        assert!(understood(&schema));
        assert_eq!(check(&schema, &twin()), []);
        assert_eq!(check(&schema, &fields::twin_sample()), [], "another device's twin still fits");
    }
}

#[test]
fn an_event_has_the_twin_within() {
    let platform = platform();
    platform.then_status(200, &[], &json!([twin()]).to_string());
    let partial = "{\"condition\":\"tags.site = 'north'\"}";
    let schema = resolve(&platform, "device-twin-changed", partial).expect("a schema");
    let query = "SELECT * FROM devices WHERE (tags.site = 'north')";
    assert_eq!(sent(&platform), [expected("/devices/query", query, "1", "")]);
    let reported = &schema["properties"]["twin"]["properties"]["properties"]["properties"]["reported"];
    assert_eq!(reported["properties"]["firmware"], json!({ "type": "string" }));
    let event = json!({ "change": "updated", "deviceId": "press-17", "twin": twin() });
    assert_eq!(check(&schema, &event), []);
}

#[test]
fn without_a_device_the_schema_is_the_declared_one() {
    let declared = operations().find(|operation| operation.id == "get-twin").expect("an operation").output_schema;
    let declared: Value = serde_json::from_str(&declared).expect("JSON");
    let platform = platform();
    platform.then_status(200, &[], "[]");
    assert_eq!(resolve(&platform, "get-twin", "").expect("a schema"), declared);
    platform.then_status(404, &[("iothub-errorcode", "DeviceNotFound")], "");
    assert_eq!(resolve(&platform, "get-twin", "{\"deviceId\":\"gone\"}").expect("a schema"), declared);
    assert_eq!(resolve(&platform, "get-twin", "{\"deviceId\":\"half typed\"}").expect("a schema"), declared);
    assert_eq!(sent(&platform).len(), 2);
    for strange in ["[5]", "[null]", "[{\"tags\":[],\"properties\":\"x\"}]"] {
        platform.then_status(200, &[], strange);
        assert_eq!(resolve(&platform, "get-twin", "{}").expect("a schema"), declared, "{strange}");
    }
}

#[test]
fn what_is_not_dynamic_is_refused() {
    let ask = |operation: &str, direction, partial: &str| {
        let platform = platform();
        let error =
            resolve_schema(&platform, &connection(), operation, direction, partial, 30_000).expect_err("refused");
        assert!(platform.requests.borrow().is_empty());
        error.code()
    };
    assert_eq!(ask("get-twins", Direction::Output, "{}"), ErrorCode::NotFound);
    assert_eq!(ask("get-device", Direction::Output, "{}"), ErrorCode::Unsupported);
    assert_eq!(ask("get-twin", Direction::Input, "{}"), ErrorCode::Unsupported);
    assert_eq!(ask("get-twin", Direction::Output, "[]"), ErrorCode::InvalidInput);
}

#[test]
fn every_dynamic_operation_can_be_resolved() {
    for operation in operations().filter(|operation| operation.dynamic_output) {
        // The schemas of events come over AMQP. The tests of the component resolve them (tests/tests/schemas/mod.rs).
        if operation.output_schema.contains("\"bodyEncoding\"") {
            continue;
        }
        let platform = platform();
        platform.then_status(200, &[], &json!([twin()]).to_string());
        let schema = resolve(&platform, &operation.id, "{}").expect("a schema");
        assert_ne!(schema.to_string(), operation.output_schema, "{}", operation.id);
    }
    assert!(operations().all(|operation| !operation.dynamic_input));
}

#[test]
fn the_sources_of_all_choices_are_known() {
    let sources = Source::ALL.map(Source::id);
    for operation in operations() {
        for schema in [&operation.input_schema, &operation.output_schema] {
            walk(&serde_json::from_str(schema).expect("JSON"), "", &mut |schema, at| {
                if let Some(source) = schema.get("x-options") {
                    assert!(source.as_str().is_some_and(|source| sources.contains(&source)), "{}{at}", operation.id);
                }
            });
        }
    }
}

#[test]
fn modules_are_those_of_the_device_in_the_form() {
    let platform = platform();
    platform.then_status(200, &[], &json!([{ "moduleId": "gauge", "connectionState": "Connected" }, {}]).to_string());
    let mut asked = request("modules", "", 0);
    assert_eq!(values(&offer(&platform, &asked).expect("choices")), Vec::<&str>::new());
    asked.context = json!({ "deviceId": "not a device" }).to_string();
    assert_eq!(values(&offer(&platform, &asked).expect("choices")), Vec::<&str>::new());
    assert!(platform.requests.borrow().is_empty(), "the form names no device");
    asked.context = json!({ "deviceId": "press-1" }).to_string();
    assert_eq!(values(&offer(&platform, &asked).expect("choices")), ["gauge"]);
    assert_eq!(sent(&platform), [expected("/devices/press-1/modules", "", "", "")]);
}

#[test]
fn paths_are_those_that_twins_have() {
    let platform = platform();
    let twins = json!([
        { "tags": { "site": "north", "a/b": { "~": 1 } }, "properties": { "desired": { "$version": 1, "empty": {} } } },
        { "tags": { "site": "south" }, "properties": { "reported": { "$metadata": {}, "battery": 0.5 } } },
        7
    ]);
    platform.then_status(200, &[], &twins.to_string());
    let choices = offer(&platform, &request("twin-paths", "", 0)).expect("choices");
    assert_eq!(
        values(&choices),
        ["/properties/desired/empty", "/properties/reported/battery", "/tags/a~1b/~0", "/tags/site"]
    );
    platform.then_status(200, &[], &twins.to_string());
    assert_eq!(values(&offer(&platform, &request("twin-paths", "SITE", 0)).expect("choices")), ["/tags/site"]);
}

/// Twins and events are described by different rules.
#[test]
fn nulls_lists_and_the_hubs_metadata_have_rules_of_their_own() {
    let platform = platform();
    let twin = json!({
        "tags": { "none": null, "nulls": [null], "some": [1, null], "$own": { "a": 1 } },
        "properties": {
            "desired": { "nested": { "$version": 1, "$metadata": { "x": 1 }, "list": [{ "$version": 2 }] }, "$version": "odd", "$metadata": 5 },
        },
    });
    platform.then_status(200, &[], &twin.to_string()).then_status(200, &[], &json!([twin]).to_string());
    let schema = resolve(&platform, "get-twin", "{\"deviceId\":\"press-17\"}").expect("a schema");
    let open = |members: Value| json!({ "type": "object", "properties": members, "additionalProperties": true });
    assert_eq!(
        schema["properties"]["tags"]["properties"],
        json!({
            "none": {},
            "nulls": { "type": "array", "items": {} },
            "some": { "type": "array" },
            "$own": open(json!({ "a": { "type": "number" } })),
        })
    );
    assert_eq!(
        schema["properties"]["properties"]["properties"]["desired"]["properties"],
        json!({
            "nested": open(json!({
                "$version": { "type": "integer" },
                "$metadata": { "type": "object", "additionalProperties": true },
                "list": { "type": "array", "items": open(json!({ "$version": { "type": "integer" } })) },
            })),
            "$version": { "type": "string" },
            "$metadata": { "type": "number" },
        })
    );
    assert_eq!(
        values(&offer(&platform, &request("twin-paths", "", 0)).expect("choices")),
        ["/properties/desired/nested/list", "/tags/none", "/tags/nulls", "/tags/some"]
    );
}

/// A twin has as many members as its size allows, so all of them are described.
#[test]
fn a_wide_twin_is_described_whole() {
    let tags: serde_json::Map<String, Value> = (0..300).map(|n| (format!("t{n}"), json!({ "x": n }))).collect();
    let twin = json!({ "tags": tags });
    let platform = platform();
    platform.then_status(200, &[], &twin.to_string()).then_status(200, &[], &json!([twin]).to_string());
    let schema = resolve(&platform, "get-twin", "{\"deviceId\":\"press-17\"}").expect("a schema");
    assert_eq!(schema["properties"]["tags"]["properties"].as_object().map(serde_json::Map::len), Some(300));
    let choices = offer(&platform, &request("twin-paths", "", 400)).expect("choices");
    assert_eq!(choices.items.len(), 300);
}

#[test]
fn jobs_and_the_methods_that_they_called() {
    let jobs = json!({ "items": [
        { "jobId": "a", "type": "scheduleDeviceMethod", "status": "completed", "cloudToDeviceMethod": { "methodName": "reboot" } },
        { "jobId": "b", "type": "scheduleDeviceMethod", "cloudToDeviceMethod": { "methodName": "reboot" } },
        { "jobId": "c", "type": "scheduleUpdateTwin" },
        5
    ] });
    let platform = platform();
    platform.then_status(200, &[], &jobs.to_string()).then_status(200, &[], &jobs.to_string());
    platform.then_status(200, &[], &json!([{ "jobId": "e", "type": "export", "status": "running" }]).to_string());
    let choices = offer(&platform, &request("jobs", "", 0)).expect("choices");
    assert_eq!(values(&choices), ["a", "b", "c"]);
    assert_eq!(choices.items[0].hint.as_deref(), Some("scheduleDeviceMethod, completed"));
    assert_eq!(values(&offer(&platform, &request("method-names", "", 0)).expect("choices")), ["reboot"]);
    assert_eq!(values(&offer(&platform, &request("import-export-jobs", "", 0)).expect("choices")), ["e"]);
}
