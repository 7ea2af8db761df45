//! Tests of the actions on many devices: chunks, the result of each device, and what happens when an answer is lost.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;
use crate::platform::{ExchangeError, ExchangeErrorKind};

const POST: &str = "POST hub/devices?";

fn key(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

fn many(count: usize) -> Vec<Value> {
    (0..count).map(|number| json!({ "deviceId": format!("d{number}") })).collect()
}

fn all_fine(platform: &FakePlatform) {
    platform.then_status(200, &[], r#"{"isSuccessful":true,"errors":[],"warnings":[]}"#);
}

fn lost(platform: &FakePlatform) {
    platform.then(|_, _| {
        Err(ExchangeError { kind: ExchangeErrorKind::Broken, sent: true, detail: "the connection broke".to_owned() })
    });
}

fn refused_in_part(platform: &FakePlatform, errors: &Value) {
    let body = json!({ "isSuccessful": false, "errors": errors, "warnings": [] });
    platform.then_status(400, &[("iothub-errorcode", "BulkRegistryOperationFailure")], &body.to_string());
}

fn page(outcome: Result<Outcome>) -> (Value, String) {
    match outcome {
        Ok(Outcome::Page(page)) => (serde_json::from_str(&page.output).expect("JSON"), page.token),
        other => panic!("not a page: {other:?}"),
    }
}

fn resume(platform: &FakePlatform, action: &str, token: &str) -> Result<Outcome> {
    crate::actions::resume(platform, &connection(), action, token, &call(false))
}

/// How many entries each request had.
fn sizes(platform: &FakePlatform) -> Vec<usize> {
    let sent = requests(platform);
    sent.iter().map(|it| it.body.as_ref().and_then(Value::as_array).map_or(0, Vec::len)).collect()
}

fn of<'o>(output: &'o Value, member: &str) -> Vec<&'o Value> {
    output["items"].as_array().expect("items").iter().map(|item| &item[member]).collect()
}

fn device(id: &str, etag: &str) -> Value {
    json!({
        "deviceId": id, "etag": etag, "status": "enabled", "statusReason": null,
        "authentication": { "type": "sas", "symmetricKey": { "primaryKey": key(200), "secondaryKey": key(201) } },
        "capabilities": { "iotEdge": false }, "deviceScope": "s",
    })
}

#[test]
fn devices_go_out_in_chunks_of_a_hundred() {
    let platform = platform();
    (0..3).for_each(|_| all_fine(&platform));
    let output = done(invoke(&platform, "create-devices", json!({ "devices": many(250) })));
    assert_eq!(sizes(&platform), [100, 100, 50]);
    assert_eq!((output["failed"].as_u64(), output["unknown"].as_u64()), (Some(0), Some(0)));
    assert_eq!(output["items"][249], json!({ "index": 249, "deviceId": "d249", "result": "ok", "changed": true }));
    let first = requests(&platform)[0].body.clone().expect("a body");
    let entry = json!({ "id": "d0", "importMode": "create", "status": "enabled", "authentication": { "type": "sas" } });
    assert_eq!(first[0], entry);
    assert_eq!(requests(&platform)[0].line, format!("{POST}{HUB}"));
}

#[test]
fn entries_have_all_that_the_input_states() {
    let platform = platform();
    all_fine(&platform);
    let devices = json!([
        {
            "deviceId": "a", "status": "disabled", "statusReason": "new", "primaryKey": key(1), "secondaryKey": key(2),
            "edge": true, "tags": { "site": "north" }, "desired": { "on": true, "$version": 3 },
        },
        { "deviceId": "b", "authentication": "selfSigned", "primaryThumbprint": "a".repeat(40), "deviceScope": "s" },
    ]);
    done(invoke(&platform, "create-devices", json!({ "devices": devices })));
    let expected = json!([
        {
            "id": "a", "importMode": "create", "status": "disabled", "statusReason": "new",
            "authentication": { "type": "sas", "symmetricKey": { "primaryKey": key(1), "secondaryKey": key(2) } },
            "capabilities": { "iotEdge": true }, "tags": { "site": "north" },
            "properties": { "desired": { "on": true } },
        },
        {
            "id": "b", "importMode": "create", "status": "enabled", "deviceScope": "s",
            "authentication": { "type": "selfSigned", "x509Thumbprint": { "primaryThumbprint": "a".repeat(40) } },
        },
    ]);
    assert_eq!(requests(&platform)[0].body.as_ref(), Some(&expected));
}

#[test]
fn each_device_has_its_own_result() {
    for (keep, results, changed) in [
        ("fail", ["ok", "failed", "failed", "failed"], [json!(true), json!(null)]),
        ("keep", ["ok", "ok", "failed", "failed"], [json!(true), json!(false)]),
    ] {
        let platform = platform();
        refused_in_part(
            &platform,
            &json!([
                { "deviceId": "d1", "errorCode": "DeviceAlreadyExists", "errorStatus": "exists" },
                { "deviceId": "d2", "errorCode": 429_001, "errorStatus": "slow down" },
                { "deviceId": "d3", "errorCode": "NeverHeardOf" },
            ]),
        );
        let output = done(invoke(&platform, "create-devices", json!({ "devices": many(4), "ifExists": keep })));
        assert_eq!(of(&output, "result"), results);
        assert_eq!(of(&output, "changed")[..2], [&changed[0], &changed[1]]);
        assert_eq!(output["items"][2]["code"], "rate-limited");
        assert_eq!(output["items"][2]["serviceCode"], "429001");
        assert_eq!(
            (&output["items"][3]["code"], &output["items"][3]["serviceCode"]),
            (&json!("protocol"), &json!("NeverHeardOf"))
        );
        if keep == "fail" {
            let refused = json!({
                "index": 1, "deviceId": "d1", "result": "failed", "code": "conflict",
                "serviceCode": "DeviceAlreadyExists", "message": "exists",
            });
            assert_eq!(output["items"][1], refused);
        }
    }
}

#[test]
fn a_lost_answer_leaves_only_its_own_chunk_unknown() {
    let platform = platform();
    all_fine(&platform);
    lost(&platform);
    let (output, token) = page(invoke(&platform, "create-devices", json!({ "devices": many(250) })));
    assert_eq!(output["items"].as_array().map(Vec::len), Some(200));
    assert_eq!((output["failed"].as_u64(), output["unknown"].as_u64()), (Some(0), Some(100)));
    assert_eq!(output["items"][100]["result"], "unknown");
    assert!(!token.contains("\"d199\"") && token.contains("\"d200\""), "only what is left is in the token");
    all_fine(&platform);
    let output = done(resume(&platform, "create-devices", &token));
    assert_eq!(output["items"].as_array().map(Vec::len), Some(50));
    assert_eq!((&output["items"][0]["index"], &output["items"][0]["deviceId"]), (&json!(200), &json!("d200")));
    assert_eq!(sizes(&platform), [100, 100, 50], "nothing is sent twice");
}

#[test]
fn a_change_that_may_be_repeated_is_repeated() {
    for (action, input) in [
        ("create-devices", json!({ "devices": many(3), "ifExists": "keep" })),
        ("delete-devices", json!({ "devices": many(3), "ifMissing": "ignore" })),
        ("update-devices", json!({ "devices": [{ "deviceId": "d0", "tags": { "a": 1 } }] })),
    ] {
        let platform = platform();
        lost(&platform);
        all_fine(&platform);
        let output = done(invoke(&platform, action, input));
        assert_eq!((output["failed"].as_u64(), output["unknown"].as_u64()), (Some(0), Some(0)), "{action}");
        assert_eq!(requests(&platform).len(), 2, "{action}");
    }
    for (action, input) in [
        ("create-devices", json!({ "devices": many(3) })),
        ("delete-devices", json!({ "devices": many(3) })),
        ("delete-devices", json!({ "devices": [{ "deviceId": "d0", "etag": "AA==" }], "ifMissing": "ignore" })),
        ("update-devices", json!({ "devices": [{ "deviceId": "d0", "tags": { "a": 1 }, "twinEtag": "AA==" }] })),
    ] {
        let platform = platform();
        lost(&platform);
        let output = done(invoke(&platform, action, input));
        assert!(of(&output, "result").iter().all(|result| *result == "unknown"), "{action}");
        assert_eq!(requests(&platform).len(), 1, "{action}");
    }
}

#[test]
fn throttling_ends_the_call_and_keeps_the_results() {
    let platform = platform();
    all_fine(&platform);
    platform.then_status(429, &[("retry-after", "600")], r#"{"Message":"ErrorCode:ThrottlingException;slow"}"#);
    let (output, token) = page(invoke(&platform, "create-devices", json!({ "devices": many(150) })));
    assert_eq!(output["items"].as_array().map(Vec::len), Some(100));
    platform.then_status(429, &[("retry-after", "600")], r#"{"Message":"ErrorCode:ThrottlingException;slow"}"#);
    let error = fails(resume(&platform, "create-devices", &token));
    assert_eq!(error.code(), ErrorCode::RateLimited, "the call has no result, so the engine waits");
    all_fine(&platform);
    assert_eq!(done(resume(&platform, "create-devices", &token))["items"].as_array().map(Vec::len), Some(50));
}

#[test]
fn a_call_ends_in_time() {
    let platform = platform();
    all_fine(&platform);
    let short = Call { deadline_ms: 1_500, ..call(false) };
    let input = json!({ "devices": many(101) }).to_string();
    let (output, token) = page(crate::actions::invoke(&platform, &connection(), "create-devices", &input, &short));
    assert_eq!(output["items"].as_array().map(Vec::len), Some(100));
    all_fine(&platform);
    done(resume(&platform, "create-devices", &token));
    // A page has at most 1,000 results.
    let platform = super::platform();
    (0..10).for_each(|_| all_fine(&platform));
    let (output, _) = page(invoke(&platform, "create-devices", json!({ "devices": many(1_050) })));
    assert_eq!(output["items"].as_array().map(Vec::len), Some(1_000));
}

#[test]
fn one_entry_that_the_hub_refuses_does_not_keep_the_others_back() {
    let platform = platform();
    for _ in 0..32 {
        platform.then(|request, _| {
            let entries: Value = serde_json::from_slice(request.body.as_deref().expect("a body")).expect("JSON");
            let bad = entries.as_array().expect("a list").iter().any(|entry| entry["id"] == "d77");
            let (status, body) = if bad {
                (400, r#"{"Message":"ErrorCode:DeserializationError;what is this"}"#)
            } else {
                (200, r#"{"isSuccessful":true,"errors":[],"warnings":[]}"#)
            };
            Ok(crate::platform::WireResponse { status, headers: Vec::new(), body: body.into() })
        });
    }
    let output = done(invoke(&platform, "create-devices", json!({ "devices": many(100) })));
    assert_eq!((output["failed"].as_u64(), output["unknown"].as_u64()), (Some(1), Some(0)));
    assert_eq!(output["items"][77]["result"], "failed");
    assert!(sizes(&platform).len() < 16, "{:?}", sizes(&platform));
}

#[test]
fn an_answer_that_names_no_device_settles_nothing() {
    for body in [
        json!({ "isSuccessful": false, "errors": [{ "errorCode": "ServerError" }], "warnings": [] }),
        json!({ "isSuccessful": false, "errors": [] }),
        json!({ "isSuccessful": false, "errors": [{ "deviceId": "someone-else", "errorCode": "ServerError" }] }),
    ] {
        let platform = platform();
        platform.then_status(400, &[], &body.to_string());
        let output = done(invoke(&platform, "create-devices", json!({ "devices": many(2) })));
        assert_eq!(output["unknown"].as_u64(), Some(2), "{body}");
    }
    for garbage in ["[]", "<html>", "no JSON", "7"] {
        let platform = platform();
        platform.then_status(200, &[], garbage);
        let output = done(invoke(&platform, "delete-devices", json!({ "devices": many(2) })));
        assert_eq!(output["unknown"].as_u64(), Some(2), "{garbage}");
        assert_eq!(requests(&platform).len(), 1, "{garbage}");
    }
    let platform = platform();
    let warning =
        json!([{ "deviceId": "d1", "warningCode": "DeviceRegisteredWithoutTwin", "warningStatus": "no twin" }]);
    platform.then_status(200, &[], &json!({ "isSuccessful": true, "errors": [], "warnings": warning }).to_string());
    let output = done(invoke(&platform, "create-devices", json!({ "devices": many(2) })));
    assert_eq!((&output["items"][1]["result"], &output["items"][1]["warning"]), (&json!("ok"), &json!("no twin")));
}

#[test]
fn the_whole_request_refused_is_the_calls_error() {
    let platform = platform();
    refusal(&platform, 500, "ServerError");
    let output = done(invoke(&platform, "create-devices", json!({ "devices": many(2) })));
    assert_eq!(output["unknown"].as_u64(), Some(2), "the hub may have carried it out");
    let platform = super::platform();
    platform.then_status(503, &[("retry-after", "900")], "");
    let error = fails(invoke(&platform, "create-devices", json!({ "devices": many(2) })));
    assert_eq!(error.code(), ErrorCode::Unavailable);
}

#[test]
fn identities_are_read_before_they_are_changed_and_twins_are_not() {
    let platform = platform();
    platform.then_status(200, &[], &device("a", "MQ==").to_string());
    refusal(&platform, 404, "DeviceNotFound");
    all_fine(&platform);
    all_fine(&platform);
    let devices = json!([
        { "deviceId": "a", "status": "disabled", "tags": { "site": "north" } },
        { "deviceId": "b", "tags": { "site": null }, "twinEtag": "\"BB==\"" },
        { "deviceId": "gone", "edge": true },
    ]);
    let output = done(invoke(&platform, "update-devices", json!({ "devices": devices })));
    assert_eq!(of(&output, "result"), ["ok", "ok", "failed"]);
    assert_eq!(output["items"][2]["code"], "not-found");
    let sent = requests(&platform);
    let lines: Vec<&str> = sent.iter().map(|it| it.line.split('?').next().expect("a path")).collect();
    assert_eq!(lines, ["GET hub/devices/a", "GET hub/devices/gone", "POST hub/devices", "POST hub/devices"]);
    assert_eq!(
        sent[2].body,
        Some(json!([
            {
                "id": "a", "importMode": "updateIfMatchETag", "eTag": "MQ==", "status": "disabled",
                "authentication": device("a", "")["authentication"], "capabilities": { "iotEdge": false },
                "deviceScope": "s",
            },
            { "id": "b", "importMode": "updateTwinIfMatchETag", "twinETag": "BB==", "tags": { "site": null } },
        ]))
    );
    assert_eq!(sent[3].body, Some(json!([{ "id": "a", "importMode": "updateTwin", "tags": { "site": "north" } }])));
}

#[test]
fn a_stale_etag_is_refused_without_a_write() {
    let platform = platform();
    platform.then_status(200, &[], &device("a", "Mg==").to_string());
    let devices = json!([{ "deviceId": "a", "status": "disabled", "etag": "MQ==" }]);
    let output = done(invoke(&platform, "update-devices", json!({ "devices": devices })));
    assert_eq!(output["items"][0]["code"], "precondition-failed");
    assert_eq!(requests(&platform).len(), 1);
}

#[test]
fn what_a_bulk_request_cannot_carry_is_written_alone() {
    let platform = platform();
    let mut linked = device("a", "MQ==");
    linked["attributes"] = json!({ "line": "3" });
    platform.then_status(200, &[], &linked.to_string());
    platform.then_status(200, &[], &device("b", "MQ==").to_string());
    all_fine(&platform);
    platform.then_status(200, &[], "{}");
    let devices = json!([{ "deviceId": "a", "status": "disabled" }, { "deviceId": "b", "status": "disabled" }]);
    let output = done(invoke(&platform, "update-devices", json!({ "devices": devices })));
    assert_eq!(of(&output, "result"), ["ok", "ok"]);
    let sent = requests(&platform);
    assert_eq!(sent[3].line, format!("PUT hub/devices/a?{NEWEST_HUB}"));
    assert_eq!(sent[3].body.as_ref().map(|body| &body["attributes"]), Some(&json!({ "line": "3" })));
}

#[test]
fn keys_of_many_devices() {
    let platform = platform();
    platform.then_status(200, &[], &device("a", "MQ==").to_string());
    let mut other = device("x", "MQ==");
    other["authentication"] = json!({ "type": "selfSigned", "x509Thumbprint": {} });
    platform.then_status(200, &[], &other.to_string());
    all_fine(&platform);
    let devices = json!([{ "deviceId": "a" }, { "deviceId": "x" }]);
    let output =
        done(invoke(&platform, "rotate-keys-of-devices", json!({ "devices": devices, "rotate": "secondary" })));
    let rotated = json!({
        "index": 0, "deviceId": "a", "result": "ok", "changed": true,
        "primaryKey": key(200), "secondaryKey": key(1),
    });
    assert_eq!(output["items"][0], rotated);
    assert_eq!(
        (&output["items"][1]["result"], &output["items"][1]["code"]),
        (&json!("failed"), &json!("invalid-input"))
    );
    let body = requests(&platform)[2].body.clone().expect("a body");
    assert_eq!(body.as_array().map(Vec::len), Some(1));
    assert_eq!(body[0]["authentication"]["symmetricKey"], json!({ "primaryKey": key(200), "secondaryKey": key(1) }));
}

/// After a lost answer the new keys are found at the device, or the result says that nobody knows.
#[test]
fn a_lost_answer_about_keys_is_looked_up() {
    for made in [true, false] {
        let platform = platform();
        platform.then_status(200, &[], &device("a", "MQ==").to_string());
        lost(&platform);
        let mut after = device("a", if made { "Mg==" } else { "MQ==" });
        if made {
            after["authentication"]["symmetricKey"]["primaryKey"] = json!(key(1));
        }
        platform.then_status(200, &[], &after.to_string());
        let input = json!({ "devices": [{ "deviceId": "a" }], "rotate": "primary" });
        let output = done(invoke(&platform, "rotate-keys-of-devices", input));
        assert_eq!(output["items"][0]["result"], if made { "ok" } else { "unknown" });
        assert_eq!(output["items"][0].get("primaryKey").is_some(), made);
    }
}

#[test]
fn deleting_many() {
    let platform = platform();
    let missing = json!([{ "deviceId": "b", "errorCode": "DeviceNotFound", "errorStatus": "gone" }]);
    refused_in_part(&platform, &missing);
    refused_in_part(&platform, &missing);
    let devices = json!([{ "deviceId": "a", "etag": "\"AA==\"" }, { "deviceId": "b" }, { "deviceId": "." }]);
    let output = done(invoke(&platform, "delete-devices", json!({ "devices": devices })));
    assert_eq!(of(&output, "result"), ["ok", "failed", "ok"]);
    let output = done(invoke(&platform, "delete-devices", json!({ "devices": devices, "ifMissing": "ignore" })));
    assert_eq!(of(&output, "changed"), [&json!(true), &json!(false), &json!(true)]);
    let expected = json!([
        { "id": "a", "importMode": "deleteIfMatchETag", "eTag": "AA==" },
        { "id": "b", "importMode": "delete" },
        { "id": ".", "importMode": "delete" },
    ]);
    assert_eq!(requests(&platform)[0].body, Some(expected));
}

#[test]
fn what_is_wrong_is_said_of_each_device_before_anything_is_sent() {
    let table = [
        (
            "create-devices",
            json!([{ "deviceId": "a" }, { "deviceId": "a" }]),
            vec![("/devices/1/deviceId", "duplicate")],
        ),
        (
            "create-devices",
            json!([{ "deviceId": "a" }, { "deviceId": "." }]),
            vec![("/devices/1/deviceId", "not-addressable")],
        ),
        (
            "create-devices",
            json!([{ "deviceId": "a", "primaryKey": key(1) }]),
            vec![("/devices/0/secondaryKey", "missing")],
        ),
        (
            "create-devices",
            json!([{ "deviceId": "a", "authentication": "certificateAuthority", "primaryKey": key(1), "primaryThumbprint": "a".repeat(40) }]),
            vec![("/devices/0/primaryKey", "not-allowed"), ("/devices/0/primaryThumbprint", "not-allowed")],
        ),
        (
            "create-devices",
            json!([{ "deviceId": "a", "tags": { "a.b": 1 } }]),
            vec![("/devices/0/tags/a.b", "characters")],
        ),
        ("update-devices", json!([{ "deviceId": "a" }]), vec![("/devices/0", "nothing-to-change")]),
        (
            "update-devices",
            json!([{ "deviceId": "a", "tags": {}, "etag": "AA==" }]),
            vec![("/devices/0/etag", "not-allowed")],
        ),
        (
            "update-devices",
            json!([{ "deviceId": "a", "edge": true, "twinEtag": "a\"b" }]),
            vec![("/devices/0/twinEtag", "characters"), ("/devices/0/twinEtag", "not-allowed")],
        ),
        ("delete-devices", json!([]), vec![("/devices", "too-few")]),
        ("delete-devices", json!([{ "deviceId": "a b" }]), vec![("/devices/0/deviceId", "characters")]),
    ];
    for (action, devices, expected) in table {
        let input = json!({ "devices": devices });
        assert_eq!(problems(&platform(), action, input.clone()), pairs(&expected), "{action} {input}");
    }
}

#[test]
fn a_dry_run_shows_the_first_request_without_keys() {
    let devices = json!([{ "deviceId": "a", "primaryKey": key(7), "secondaryKey": key(8) }]);
    let plan = dry_run(&platform(), "create-devices", json!({ "devices": devices }));
    assert_eq!(plan["method"], "POST");
    assert_eq!(plan["body"][0]["authentication"]["symmetricKey"]["primaryKey"], "(secret)");
    let platform = platform();
    platform.then_status(200, &[], &device("a", "MQ==").to_string());
    let plan =
        dry_run(&platform, "rotate-keys-of-devices", json!({ "devices": [{ "deviceId": "a" }], "rotate": "both" }));
    assert!(!plan.to_string().contains(&key(1)), "{plan}");
}

#[test]
fn a_token_of_another_shape_is_refused() {
    for state in [json!("1"), json!({}), json!({ "first": 1 }), json!(-1), json!(1.5), json!(u64::MAX)] {
        let token =
            json!({ "format": 1, "action": "create-devices", "input": { "devices": many(1) }, "continuation": state });
        let platform = platform();
        let error = fails(resume(&platform, "create-devices", &token.to_string()));
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{token}");
        assert!(requests(&platform).is_empty());
    }
}

/// A service that quotes an entry must not bring its keys into the output.
#[test]
fn messages_hold_no_keys() {
    let platform = platform();
    let said = format!("the key {} is weak", key(7));
    refused_in_part(&platform, &json!([{ "deviceId": "a", "errorCode": "ArgumentInvalid", "errorStatus": said }]));
    let devices = json!([{ "deviceId": "a", "primaryKey": key(7), "secondaryKey": key(8) }]);
    let output = done(invoke(&platform, "create-devices", json!({ "devices": devices })));
    assert_eq!(output["items"][0]["message"], "the key (secret) is weak");
}
