//! Tests of the actions on device identities.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;

fn key(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

fn device() -> Value {
    json!({
        "deviceId": "d#1",
        "etag": "MQ==",
        "status": "enabled",
        "statusReason": null,
        "connectionState": "Connected",
        "authentication": {
            "type": "sas",
            "symmetricKey": { "primaryKey": key(200), "secondaryKey": key(201) },
            "x509Thumbprint": { "primaryThumbprint": null, "secondaryThumbprint": null },
        },
        "capabilities": { "iotEdge": false, "unheardOf": 1 },
        "deviceScope": "ms-azure-iot-edge://x",
        "unheardOf": { "kept": true },
    })
}

/// `base` with changes; a change to null removes the member.
fn with(mut base: Value, changes: &[(&str, Value)]) -> Value {
    for (pointer, value) in changes {
        *base.pointer_mut(pointer).expect(pointer) = value.clone();
        let name = pointer.trim_start_matches('/');
        if let (true, Some(members)) = (value.is_null(), base.as_object_mut()) {
            members.remove(name).expect(name);
        }
    }
    base
}

const GET: &str = "GET hub/devices/d%231?";
const PUT: &str = "PUT hub/devices/d%231?";

#[test]
fn updating_changes_what_was_asked_and_nothing_else() {
    let primary = "/authentication/symmetricKey/primaryKey";
    let secondary = "/authentication/symmetricKey/secondaryKey";
    let table = [
        (json!({ "status": "disabled" }), vec![("/status", json!("disabled"))]),
        (json!({ "statusReason": "lost" }), vec![("/statusReason", json!("lost"))]),
        (json!({ "statusReason": "" }), vec![("/statusReason", json!(null))]),
        (json!({ "edge": true }), vec![("/capabilities/iotEdge", json!(true))]),
        (json!({ "keys": "regeneratePrimary" }), vec![(primary, json!(key(1)))]),
        (json!({ "keys": "regenerateSecondary" }), vec![(secondary, json!(key(1)))]),
        (json!({ "keys": "swap" }), vec![(primary, json!(key(201))), (secondary, json!(key(200)))]),
        (json!({ "primaryKey": key(9) }), vec![(primary, json!(key(9)))]),
        (
            json!({ "keys": "keep", "primaryKey": key(8), "secondaryKey": key(9), "status": "enabled" }),
            vec![(primary, json!(key(8))), (secondary, json!(key(9)))],
        ),
    ];
    for (mut input, changes) in table {
        let platform = platform();
        platform.then_status(200, &[("etag", "\"MQ==\"")], &device().to_string());
        platform.then_status(200, &[], &json!({ "deviceId": "d#1", "etag": "Mg==", "status": "enabled" }).to_string());
        input["deviceId"] = json!("d#1");
        let output = done(invoke(&platform, "update-device", input));
        assert_eq!(output["etag"], "Mg==");
        assert_eq!(
            requests(&platform),
            [
                sent(&format!("{GET}{NEWEST_HUB}"), &[], None),
                sent(&format!("{PUT}{NEWEST_HUB}"), &[("if-match", "\"MQ==\"")], Some(with(device(), &changes))),
            ]
        );
    }
}

#[test]
fn thumbprints_go_with_a_self_signed_certificate() {
    let own = with(device(), &[("/authentication", json!({ "type": "selfSigned", "x509Thumbprint": {} }))]);
    let platform = platform();
    platform.then_status(200, &[], &own.to_string()).then_status(200, &[], &own.to_string());
    let thumbprint = "a".repeat(40);
    done(invoke(&platform, "update-device", json!({ "deviceId": "d#1", "secondaryThumbprint": thumbprint })));
    let body = requests(&platform)[1].body.clone().expect("a body");
    let expected = json!({ "type": "selfSigned", "x509Thumbprint": { "secondaryThumbprint": thumbprint } });
    assert_eq!(body["authentication"], expected);

    for (device, input, at) in [
        (&own, json!({ "keys": "swap" }), "/keys"),
        (&own, json!({ "primaryKey": key(1) }), "/primaryKey"),
        (&own, json!({ "secondaryKey": key(1) }), "/secondaryKey"),
        (&device(), json!({ "primaryThumbprint": "b".repeat(64) }), "/primaryThumbprint"),
    ] {
        let platform = super::platform();
        platform.then_status(200, &[], &device.to_string());
        let mut input = input;
        input["deviceId"] = json!("d#1");
        let error = fails(invoke(&platform, "update-device", input));
        assert_eq!((error.code(), error.record().fields[0].pointer.as_str()), (ErrorCode::InvalidInput, at));
        assert_eq!(requests(&platform).len(), 1, "nothing is written");
    }
}

#[test]
fn updating_says_what_is_wrong_before_it_reads() {
    let table: [(Value, &[(&str, &str)]); 6] = [
        (json!({ "deviceId": "d1" }), &[("", "nothing-to-change")]),
        (json!({ "deviceId": "d1", "keys": "keep" }), &[("", "nothing-to-change")]),
        (json!({ "deviceId": "d1", "status": null }), &[("", "nothing-to-change")]),
        (json!({ "deviceId": "d1", "primaryKey": "AAAA" }), &[("/primaryKey", "not-a-key")]),
        (json!({ "deviceId": "d1", "keys": "swap", "secondaryKey": key(1) }), &[("/secondaryKey", "not-allowed")]),
        (
            json!({ "deviceId": "d1", "status": "off", "primaryThumbprint": "xyz", "etag": "a\"b" }),
            &[("/primaryThumbprint", "characters"), ("/status", "not-allowed")],
        ),
    ];
    for (input, expected) in table {
        assert_eq!(problems(&platform(), "update-device", input.clone()), pairs(expected), "{input}");
    }
    let odd_etag = json!({ "deviceId": "d1", "status": "enabled", "etag": "a\"b" });
    assert_eq!(problems(&platform(), "update-device", odd_etag), pairs(&[("/etag", "characters")]));
}

#[test]
fn updating_tries_again_where_others_were_faster() {
    let platform = platform();
    for etag in ["MQ==", "Mg=="] {
        platform.then_status(200, &[], &with(device(), &[("/etag", json!(etag))]).to_string());
        refusal(&platform, 412, "PreconditionFailed");
    }
    let last = with(device(), &[("/etag", json!("Mw==")), ("/status", json!("disabled"))]);
    platform.then_status(200, &[], &last.to_string()).then_status(200, &[], "{\"deviceId\":\"d#1\"}");
    done(invoke(&platform, "update-device", json!({ "deviceId": "d#1", "keys": "regeneratePrimary" })));
    let sent = requests(&platform);
    assert_eq!(sent.len(), 6);
    let written = sent[5].body.clone().expect("a body");
    assert_eq!(sent[5].headers, [("if-match".to_owned(), "\"Mw==\"".to_owned())]);
    assert_eq!(written["status"], "disabled", "what the others wrote survives");
    assert_eq!(written["authentication"]["symmetricKey"]["primaryKey"], key(3), "each attempt makes its own key");

    let platform = super::platform();
    for _ in 0..3 {
        platform.then_status(200, &[], &device().to_string());
        refusal(&platform, 412, "PreconditionFailed");
    }
    let error = fails(invoke(&platform, "update-device", json!({ "deviceId": "d#1", "status": "disabled" })));
    assert_eq!(error.code(), ErrorCode::PreconditionFailed);
    assert_eq!(requests(&platform).len(), 6);
}

#[test]
fn the_callers_own_etag_is_not_tried_again() {
    let platform = platform();
    platform.then_status(200, &[], &device().to_string());
    refusal(&platform, 412, "PreconditionFailed");
    let input = json!({ "deviceId": "d#1", "status": "disabled", "etag": "\"OLD=\"" });
    assert_eq!(fails(invoke(&platform, "update-device", input)).code(), ErrorCode::PreconditionFailed);
    let sent = requests(&platform);
    assert_eq!(sent[1].headers, [("if-match".to_owned(), "\"OLD=\"".to_owned())]);
    assert_eq!(sent.len(), 2);

    let platform = super::platform();
    platform.then_status(200, &[], &device().to_string()).then_status(200, &[], "{}");
    done(invoke(&platform, "update-device", json!({ "deviceId": "d#1", "status": "disabled", "etag": "*" })));
    assert_eq!(requests(&platform)[1].headers, [("if-match".to_owned(), "\"*\"".to_owned())]);
}

#[test]
fn strange_answers_do_no_harm() {
    for answer in [
        json!({ "deviceId": "d#1", "etag": "MQ==", "authentication": 5, "capabilities": [1] }),
        json!({ "etag": "MQ==", "authentication": null }),
    ] {
        let platform = platform();
        platform.then_status(200, &[], &answer.to_string()).then_status(200, &[], "{}");
        done(invoke(
            &platform,
            "update-device",
            json!({ "deviceId": "d#1", "edge": true, "primaryKey": key(1), "secondaryKey": key(2) }),
        ));
        let body = requests(&platform)[1].body.clone().expect("a body");
        assert_eq!(body["capabilities"], json!({ "iotEdge": true }));
    }
    let platform = platform();
    platform.then_status(200, &[], "{\"etag\":\"MQ==\"}");
    let error = fails(invoke(&platform, "update-device", json!({ "deviceId": "d#1", "keys": "swap" })));
    assert_eq!(error.code(), ErrorCode::Protocol, "there are no keys to swap");
    let platform = super::platform();
    platform.then_status(200, &[], "{}");
    let error = fails(invoke(&platform, "update-device", json!({ "deviceId": "d#1", "edge": true })));
    assert_eq!(error.code(), ErrorCode::Protocol, "there is no ETag");
}

#[test]
fn a_device_that_is_not_there_cannot_be_updated() {
    let platform = platform();
    refusal(&platform, 404, "DeviceNotFound");
    let error = fails(invoke(&platform, "update-device", json!({ "deviceId": "d#1", "edge": true })));
    assert_eq!(error.code(), ErrorCode::NotFound);
}

#[test]
fn a_dry_run_shows_the_change_without_the_keys() {
    let platform = platform();
    platform.then_status(200, &[], &device().to_string());
    let plan = dry_run(&platform, "update-device", json!({ "deviceId": "d#1", "keys": "swap" }));
    assert_eq!((plan["method"].as_str(), plan["headers"]["if-match"].as_str()), (Some("PUT"), Some("\"MQ==\"")));
    assert_eq!(plan["url"], format!("https://actions.azure-devices.net/devices/d%231?{NEWEST_HUB}"));
    let keys = json!({ "primaryKey": "(secret)", "secondaryKey": "(secret)" });
    assert_eq!(plan["body"]["authentication"]["symmetricKey"], keys);
    assert!(!plan.to_string().contains(&key(200)) && !plan.to_string().contains(&key(201)));
    assert_eq!(requests(&platform).len(), 1, "only read");
}

#[test]
fn deleting() {
    let platform = platform();
    platform.then_status(204, &[], "").then_status(204, &[], "");
    let output = done(invoke(&platform, "delete-device", json!({ "deviceId": "d#1" })));
    assert_eq!(output, json!({ "deviceId": "d#1", "deleted": true }));
    done(invoke(&platform, "delete-device", json!({ "deviceId": "d#1", "etag": "MQ==" })));
    assert_eq!(
        requests(&platform),
        [
            sent(&format!("DELETE hub/devices/d%231?{HUB}"), &[("if-match", "\"*\"")], None),
            sent(&format!("DELETE hub/devices/d%231?{HUB}"), &[("if-match", "\"MQ==\"")], None),
        ]
    );
}

#[test]
fn deleting_what_is_not_there() {
    let platform = platform();
    refusal(&platform, 404, "DeviceNotFound");
    assert_eq!(fails(invoke(&platform, "delete-device", json!({ "deviceId": "d1" }))).code(), ErrorCode::NotFound);
    refusal(&platform, 404, "DeviceNotFound");
    let output = done(invoke(&platform, "delete-device", json!({ "deviceId": "d1", "ifMissing": "ignore" })));
    assert_eq!(output, json!({ "deviceId": "d1", "deleted": false }));
    refusal(&platform, 412, "PreconditionFailed");
    let input = json!({ "deviceId": "d1", "ifMissing": "ignore", "etag": "MQ==" });
    assert_eq!(fails(invoke(&platform, "delete-device", input)).code(), ErrorCode::PreconditionFailed);
    let plan = dry_run(&platform, "delete-device", json!({ "deviceId": "d1" }));
    assert_eq!((plan["method"].as_str(), plan["body"].is_null()), (Some("DELETE"), true));
}

#[test]
fn creating_hides_its_keys_in_a_plan() {
    let input = json!({ "deviceId": "d1", "primaryKey": key(1), "secondaryKey": key(2) });
    let plan = dry_run(&platform(), "create-device", input);
    assert_eq!(plan["body"]["authentication"]["symmetricKey"]["primaryKey"], "(secret)");
}
