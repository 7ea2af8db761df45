//! Tests of all actions at once, with what an adversary would bring: tokens and states of another make, ids that lead
//! elsewhere, numbers beyond every bound, and services that repeat the secrets that they were sent.

use serde_json::{Value, json};

use super::*;
use crate::actions::all;
use crate::actions::shared::Action;
use crate::bindings::exports::workflow::connector::metadata::Effect;
use crate::form::schema;
use crate::platform::{WireRequest, WireResponse};

/// A key, with a mark that no other text has.
const KEY: &str = "TWFya2VkU2VjcmV0TWFya2VkU2VjcmV0TWFya2VkU2U=";
/// The signature of a SAS token, and a function's key.
const SIGNATURE: &str = "TWFya2VkU2lnbmF0dXJlTWFya2Vk";
/// How each of them begins.
const MARKS: [&str; 2] = ["TWFya2VkU2Vjc", "TWFya2VkU2lnb"];

/// Members that stand in paths.
const MEMBERS: [&str; 8] = [
    "deviceId",
    "moduleId",
    "jobId",
    "parentDeviceId",
    "registrationId",
    "enrollmentGroupId",
    "componentName",
    "commandName",
];

/// A platform that answers every request in the same way.
fn answering(answer: fn(&WireRequest) -> (u16, String)) -> FakePlatform {
    let platform = platform();
    for _ in 0..64 {
        platform.then(move |request, _| {
            let (status, body) = answer(request);
            Ok(WireResponse { status, headers: vec![("etag".into(), "\"AA==\"".into())], body: body.into_bytes() })
        });
    }
    platform
}

/// A document that can stand for most things that are read.
fn thing(_: &WireRequest) -> (u16, String) {
    let keys = json!({ "primaryKey": KEY, "secondaryKey": KEY });
    let thing = json!({
        "deviceId": "press-17", "moduleId": "filter", "id": "x", "registrationId": "press-17", "enrollmentGroupId": "presses",
        "etag": "AA==", "status": "enabled", "deviceScope": "ms-azure-iot-edge://press-17-1",
        "capabilities": { "iotEdge": true },
        "authentication": { "type": "sas", "symmetricKey": keys },
        "attestation": { "type": "symmetricKey", "symmetricKey": keys },
        "properties": { "desired": {}, "reported": {} }, "content": {}, "priority": 1, "targetCondition": "*", "tags": {},
    });
    (200, thing.to_string())
}

/// A refusal that repeats all that was sent.
fn echo(request: &WireRequest) -> (u16, String) {
    if request.method.as_str() == "GET" {
        return thing(request);
    }
    let sent = String::from_utf8_lossy(request.body.as_deref().unwrap_or_default()).into_owned();
    let message = format!("ErrorCode:ArgumentInvalid;cannot take {sent}");
    (400, json!({ "errorCode": 400_004, "Message": message, "message": message, "trackingId": sent }).to_string())
}

fn sample(action: &dyn Action) -> Value {
    serde_json::from_str(&action.descriptor().operation.input_sample).expect("JSON")
}

fn input_schema(action: &dyn Action) -> Value {
    serde_json::from_str(&action.descriptor().operation.input_schema).expect("JSON")
}

/// Actions that open an AMQP connection, which the scripted platform lacks.
fn uses_amqp(action: &dyn Action) -> bool {
    matches!(action.id(), "send-cloud-to-device-message" | "send-cloud-to-device-message-and-wait")
}

fn shown(outcome: &Result<Outcome>) -> String {
    format!("{outcome:?}")
}

fn run(platform: &FakePlatform, action: &dyn Action, input: &Value, dry_run: bool) -> Result<Outcome> {
    crate::actions::invoke(platform, &connection(), action.id(), &input.to_string(), &call(dry_run))
}

fn resume(platform: &FakePlatform, action: &dyn Action, token: &str) -> Result<Outcome> {
    crate::actions::resume(platform, &connection(), action.id(), token, &call(false))
}

/// Requests that may change something: all but those that read, or ask by POST.
fn writes(platform: &FakePlatform) -> Vec<String> {
    let asks = ["/query?", "/attestationmechanism?", "/testQueries?"];
    let sent = platform.requests.borrow();
    let lines = sent.iter().filter(|it| it.method.as_str() != "GET").map(|it| it.path_with_query.clone());
    lines.filter(|path| !asks.iter().any(|ask| path.contains(ask))).collect()
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut planned = 0;
    for action in all().filter(|action| action.descriptor().effect != Effect::Read) {
        let platform = answering(thing);
        let mut input = sample(action);
        if action.id() == "custom-request" {
            input["method"] = "DELETE".into();
        }
        let outcome = run(&platform, action, &input, true);
        assert_eq!(writes(&platform), Vec::<String>::new(), "{}", action.id());
        match &outcome {
            Ok(Outcome::Planned(_)) => planned += 1,
            Ok(other) => panic!("{}: a dry run is no {other:?}", action.id()),
            Err(_) => {}
        }
        let plan = shown(&outcome);
        assert!(!MARKS.iter().any(|mark| plan.contains(mark)), "{}: {plan}", action.id());
    }
    assert!(planned > 40, "{planned}");
}

#[test]
fn an_id_that_is_a_step_is_refused() {
    let mut tried = 0;
    for action in all() {
        let schema = input_schema(action);
        for member in MEMBERS {
            // The device of an enrollment stands in no path.
            let is_other = member == "deviceId" && schema["properties"].get("registrationId").is_some();
            if schema["properties"].get(member).is_none() || is_other {
                continue;
            }
            for step in [".", ".."] {
                let platform = answering(thing);
                let mut input = sample(action);
                input[member] = step.into();
                let outcome = run(&platform, action, &input, false);
                assert!(
                    matches!(&outcome, Err(error) if error.code() == ErrorCode::InvalidInput),
                    "{}: {outcome:?}",
                    action.id()
                );
                let sent = requests(&platform);
                assert!(sent.iter().all(|sent| !sent.line.contains("/.")), "{}: {sent:?}", action.id());
                assert_eq!(writes(&platform), Vec::<String>::new(), "{}", action.id());
                tried += 1;
            }
        }
    }
    assert!(tried > 60, "{tried}");
    for action in ["create-devices", "delete-devices", "update-devices", "rotate-keys-of-devices"] {
        let input = json!({ "devices": [{ "deviceId": ".." }], "rotate": "both" });
        let error = fails(invoke(&platform(), action, input));
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{action}");
    }
}

/// A token is a text that others keep: it may be of another action, changed, or cut.
#[test]
fn a_token_of_another_make_is_refused_or_harmless() {
    let states = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1.5),
        json!(1e300),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("x"),
        json!("\r\nx: y"),
        json!([]),
        json!([[]]),
        json!({}),
        json!({ "first": -1 }),
        json!({ "first": u64::MAX, "jobId": "..", "sent": u64::MAX, "expires": u64::MAX, "looked": u64::MAX }),
    ];
    for action in all().filter(|action| !uses_amqp(*action)) {
        let other = if action.id() == "list-devices" { "list-jobs" } else { "list-devices" };
        for state in &states {
            let token = |of: &str, input: Value| {
                json!({ "format": 1, "action": of, "input": input, "continuation": state }).to_string()
            };
            let platform = platform();
            let error = fails(resume(&platform, action, &token(other, sample(action))));
            assert!(
                matches!(error.code(), ErrorCode::InvalidInput | ErrorCode::Unsupported),
                "{}: {error}",
                action.id()
            );
            let strange = token(action.id(), json!({ "unheardOf": 1 }));
            fails(resume(&platform, action, &strange));
            assert!(platform.requests.borrow().is_empty(), "{}", action.id());
            // Its own input with a state of another make: nothing may break.
            let platform = answering(thing);
            let _ = resume(&platform, action, &token(action.id(), sample(action)));
        }
        for text in ["", "null", "[]", "{}", "{", "\u{0}", &"[".repeat(10_000)] {
            let error = fails(resume(&platform(), action, text));
            assert!(
                matches!(error.code(), ErrorCode::InvalidInput | ErrorCode::Unsupported),
                "{}: {error}",
                action.id()
            );
        }
    }
}

/// Each number of each input, far outside its bounds and at them.
#[test]
fn numbers_beyond_the_bounds_break_nothing() {
    let mut tried = 0;
    for action in all().filter(|action| !uses_amqp(*action)) {
        let schema = input_schema(action);
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            if field["type"] != "integer" {
                continue;
            }
            let bounds = [field.get("minimum"), field.get("maximum")].into_iter().flatten().cloned();
            let beyond = [json!(-1), json!(0), json!(i64::MIN), json!(u64::MAX), json!(1e300), json!(1.5)];
            for number in bounds.chain(beyond) {
                let mut input = sample(action);
                input[name] = number.clone();
                let fits = schema::check(&schema, &input).is_empty();
                let platform = answering(thing);
                let outcome = run(&platform, action, &input, false);
                if !fits {
                    assert_eq!(fails(outcome).code(), ErrorCode::InvalidInput, "{} {name} {number}", action.id());
                    assert!(platform.requests.borrow().is_empty(), "{}", action.id());
                }
                tried += 1;
            }
        }
    }
    assert!(tried > 100, "{tried}");
}

#[test]
fn a_service_that_repeats_secrets_does_not_spread_them() {
    let keys = json!({ "primaryKey": KEY, "secondaryKey": KEY });
    let attestation = json!({ "type": "symmetricKey", "symmetricKey": keys });
    let webhook =
        json!({ "webhookUrl": format!("https://f.example/api?code={SIGNATURE}"), "apiVersion": "2019-03-31" });
    let container = format!("https://store.blob.example/c?sv=1&sig={SIGNATURE}");
    let group = |id: &str| json!({ "enrollmentGroupId": id, "attestation": attestation, "allocationPolicy": "custom", "customAllocationDefinition": webhook });
    let single = |id: &str| json!({ "registrationId": id, "attestation": attestation, "allocationPolicy": "custom", "customAllocationDefinition": webhook });
    let device = |id: &str| json!({ "deviceId": id, "primaryKey": KEY, "secondaryKey": KEY });
    let table = [
        ("create-device", device("a")),
        ("create-module", json!({ "deviceId": "a", "moduleId": "m", "primaryKey": KEY, "secondaryKey": KEY })),
        ("create-devices", json!({ "devices": [device("a"), device("b")] })),
        ("create-or-update-enrollment-group", group("g")),
        ("create-or-update-individual-enrollment", single("r")),
        ("create-enrollment-groups", json!({ "enrollmentGroups": [group("g"), group("h")] })),
        ("create-individual-enrollments", json!({ "enrollments": [single("r"), single("s")] })),
        ("update-individual-enrollments", json!({ "enrollments": [single("r")] })),
        ("create-export-job", json!({ "outputBlobContainerUri": container, "excludeKeysInExport": true })),
        ("create-import-job", json!({ "inputBlobContainerUri": container, "outputBlobContainerUri": container })),
        (
            "custom-request",
            json!({ "method": "PUT", "path": "/devices/a", "body": { "authentication": { "SymmetricKey": keys }, "primaryKey": KEY } }),
        ),
    ];
    for (action, input) in table {
        let outcome = invoke(&answering(echo), action, input.clone());
        let text = shown(&outcome);
        assert!(!text.contains("The input does not fit"), "{action}: {text}");
        assert!(!MARKS.iter().any(|mark| text.contains(mark)), "{action}: {text}");
        let plan = super::super::invoke(&answering(thing), &connection(), action, &input.to_string(), &call(true));
        let text = shown(&plan);
        assert!(!MARKS.iter().any(|mark| text.contains(mark)), "{action}: {text}");
    }
}

#[test]
fn a_custom_request_stays_on_its_host() {
    for path in [
        "//evil.example/a",
        "/\\evil.example",
        "/a/%2e%2e/b/..",
        "/a/./b",
        "/a?x=1",
        "/a\tb",
        "/a\r\nHost: evil.example",
        "/a/\u{2028}/..",
        "http://evil.example/",
        "/..",
        "/%2e%2e/..",
    ] {
        let platform = answering(thing);
        let input = json!({ "method": "DELETE", "path": path });
        assert_eq!(fails(invoke(&platform, "custom-request", input)).code(), ErrorCode::InvalidInput, "{path:?}");
        assert!(platform.requests.borrow().is_empty(), "{path:?}");
    }
    for (path, expected) in [
        ("/%2e%2e/devices", "/%252e%252e/devices"),
        ("/a;b&c=d#e@evil.example:1", "/a%3Bb%26c%3Dd%23e%40evil.example%3A1"),
        ("/…", "/%E2%80%A6"),
    ] {
        let platform = answering(thing);
        done(invoke(&platform, "custom-request", json!({ "method": "GET", "path": path })));
        let sent = requests(&platform);
        assert_eq!(sent[0].line, format!("GET hub{expected}?{HUB}"), "{path:?}");
    }
    let platform = answering(thing);
    let query = json!({ "a&b=c#": "d&api-version=1\r\nx: y", "é": "/?" });
    done(invoke(&platform, "custom-request", json!({ "method": "GET", "path": "/a", "query": query })));
    let line = requests(&platform)[0].line.clone();
    assert_eq!(line, format!("GET hub/a?a%26b%3Dc%23=d%26api-version%3D1%0D%0Ax%3A%20y&%C3%A9=%2F%3F&{HUB}"));
    for method in ["CONNECT", "TRACE", "OPTIONS", "HEAD", "get", "GET /x HTTP/1.1\r\n", ""] {
        let found = problems(&super::platform(), "custom-request", json!({ "method": method, "path": "/a" }));
        assert_eq!(found[0].0, "/method", "{method:?}");
    }
    for (name, value) in
        [("continuation", "a\nb"), ("continuation", "a\u{0}"), ("etag", "a\r\nx: y"), ("apiVersion", "2021-04-12&x=1")]
    {
        let platform = answering(thing);
        let mut input = json!({ "method": "PUT", "path": "/a", "body": {} });
        input[name] = value.into();
        assert_eq!(fails(invoke(&platform, "custom-request", input)).code(), ErrorCode::InvalidInput, "{name}");
        assert!(platform.requests.borrow().is_empty(), "{name}");
    }
}

/// Each item of a batch may have pages of its own, and its token resumes that item alone.
#[test]
fn a_batch_of_actions_with_pages() {
    let ids: Vec<String> = (1..=12).map(|n| format!("p-{n}")).collect();
    let inputs = [
        json!({ "registrationIds": ids }),
        json!({ "registrationIds": ["a", "A"] }),
        json!({ "registrationIds": ["b"] }),
    ];
    let inputs = inputs.map(|input| input.to_string());
    let platform = platform();
    let full = r#"{"isSuccessful":true}"#;
    platform.then_status(200, &[], full).then_status(429, &[("retry-after", "600")], "").then_status(200, &[], full);
    let results =
        crate::actions::invoke_batch(&platform, &connection(), "delete-individual-enrollments", &inputs, &call(false));
    let results = results.expect("results");
    let Ok(Outcome::Page(page)) = &results[0] else { panic!("{results:?}") };
    assert_eq!(results[1].as_ref().expect_err("a duplicate").record().item, Some(1));
    assert!(matches!(&results[2], Ok(Outcome::Done(_))), "{results:?}");
    platform.then_status(200, &[], full);
    let last = done(crate::actions::resume(
        &platform,
        &connection(),
        "delete-individual-enrollments",
        &page.token,
        &call(false),
    ));
    assert_eq!((&last["items"][0]["index"], &last["items"][0]["registrationId"]), (&json!(10), &json!("p-11")));
    // A dry run plans each item.
    let planned =
        crate::actions::invoke_batch(&platform, &connection(), "delete-individual-enrollments", &inputs, &call(true));
    let planned = planned.expect("results");
    assert!(matches!((&planned[0], &planned[2]), (Ok(Outcome::Planned(_)), Ok(Outcome::Planned(_)))), "{planned:?}");
}
