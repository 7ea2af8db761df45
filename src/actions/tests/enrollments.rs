//! Tests of the actions on enrollment groups, on many enrollments, and of derived keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::*;
use crate::error::EffectState;

fn key(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

fn keys() -> Value {
    json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": key(1), "secondaryKey": key(2) } })
}

fn bare() -> Value {
    json!({ "type": "symmetricKey", "symmetricKey": {} })
}

fn tpm() -> Value {
    json!({ "type": "tpm", "tpm": { "endorsementKey": "AAAA" } })
}

/// A stored enrollment group, with a member that no version has today.
fn group(attestation: Value) -> Value {
    json!({
        "enrollmentGroupId": "Presses",
        "etag": "\"1\"",
        "attestation": attestation,
        "provisioningStatus": "enabled",
        "allocationPolicy": "hashed",
        "namespaceName": "plant",
        "createdDateTimeUtc": "2026-01-01T00:00:00Z",
        "lastUpdatedDateTimeUtc": "2026-01-01T00:00:00Z",
        "unheardOf": { "kept": true },
    })
}

/// The stored individual enrollment of this device.
fn stored(id: &str, etag: &str) -> Value {
    json!({ "registrationId": id, "etag": etag, "attestation": tpm(), "unheardOf": 1 })
}

fn lines(platform: &FakePlatform) -> Vec<String> {
    requests(platform).into_iter().map(|sent| sent.line).collect()
}

fn last_body(platform: &FakePlatform) -> Value {
    requests(platform).pop().expect("a request").body.expect("a body")
}

fn with_members(mut object: Value, members: &[(&str, Value)], without: &[&str]) -> Value {
    without.iter().for_each(|name| drop(object.as_object_mut().expect("an object").remove(*name)));
    members.iter().for_each(|(name, value)| object[*name] = value.clone());
    object
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

/// The results of a list, each as its id, its result and its error's code.
fn results(output: &Value) -> Vec<(String, String, String)> {
    let text = |item: &Value, name: &str| item[name].as_str().unwrap_or_default().to_owned();
    let id = |item: &Value| text(item, "registrationId") + &text(item, "enrollmentGroupId");
    let items = output["items"].as_array().expect("a list");
    items.iter().map(|item| (id(item), text(item, "result"), text(item, "code"))).collect()
}

fn triple(id: &str, result: &str, code: &str) -> (String, String, String) {
    (id.to_owned(), result.to_owned(), code.to_owned())
}

const FULL: &str = r#"{"isSuccessful":true}"#;
/// The members that are not written back.
const OWNED: [&str; 3] = ["etag", "createdDateTimeUtc", "lastUpdatedDateTimeUtc"];

#[test]
fn a_group_is_created_with_what_the_form_states() {
    let platform = platform();
    dps_refusal(&platform, 404_204);
    platform.then_status(200, &[], &group(bare()).to_string());
    let der = STANDARD.encode([0x30, 3, 1, 2, 3]);
    let input = json!({
        "enrollmentGroupId": "presses",
        "attestation": { "type": "x509", "x509": { "primaryCertificate": der } },
        "iotHubHostName": "plant.azure-devices.net",
        "initialTwin": { "tags": { "site": "north" }, "desired": { "interval": 30 } },
        "edge": true,
    });
    done(invoke(&platform, "create-or-update-enrollment-group", input));
    let body = json!({
        "enrollmentGroupId": "presses",
        "attestation": { "type": "x509", "x509": { "signingCertificates": { "primary": { "certificate": der } } } },
        "allocationPolicy": "static",
        "iotHubs": ["plant.azure-devices.net"],
        "initialTwin": { "tags": { "site": "north" }, "properties": { "desired": { "interval": 30 } } },
        "capabilities": { "iotEdge": true },
    });
    assert_eq!(
        requests(&platform),
        [
            sent(&format!("GET dps/enrollmentGroups/presses?{NEWEST_DPS}"), &[], None),
            sent(&format!("PUT dps/enrollmentGroups/presses?{NEWEST_DPS}"), &[], Some(body)),
        ]
    );
}

#[test]
fn a_group_keeps_what_a_change_does_not_name() {
    for (change, attestation) in [
        (json!({ "provisioningStatus": "disabled" }), keys()),
        (
            json!({ "provisioningStatus": "disabled", "attestation": { "type": "symmetricKey", "symmetricKey": { "secondaryKey": key(9) } } }),
            json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": key(1), "secondaryKey": key(9) } }),
        ),
    ] {
        let platform = platform();
        platform.then_status(200, &[], &group(bare()).to_string()).then_status(200, &[], &keys().to_string());
        platform.then_status(200, &[], &group(bare()).to_string());
        let input = with_members(change, &[("enrollmentGroupId", json!("presses"))], &[]);
        done(invoke(&platform, "create-or-update-enrollment-group", input));
        let body = with_members(group(attestation), &[("provisioningStatus", json!("disabled"))], &OWNED);
        assert_eq!(
            requests(&platform),
            [
                sent(&format!("GET dps/enrollmentGroups/presses?{NEWEST_DPS}"), &[], None),
                sent(&format!("POST dps/enrollmentGroups/presses/attestationmechanism?{DPS}"), &[], None),
                sent(&format!("PUT dps/enrollmentGroups/presses?{NEWEST_DPS}"), &[("if-match", "\"1\"")], Some(body)),
            ]
        );
    }
}

#[test]
fn an_older_service_is_not_given_a_groups_newer_members() {
    let refusal =
        r#"{"errorCode":400004,"trackingId":"t","message":"Unsupported API version 2026-11-01.","timestampUtc":"x"}"#;
    for (mode, requests_sent) in [("create", 1), ("createOrUpdate", 2)] {
        let platform = platform();
        platform.then_status(400, &[], refusal).then_status(200, &[], &group(tpm()).to_string());
        let input = json!({ "enrollmentGroupId": "presses", "mode": mode, "attestation": { "type": "symmetricKey" }, "namespaceName": "plant" });
        let error = fails(invoke(&platform, "create-or-update-enrollment-group", input));
        assert_eq!(
            (error.code(), error.record().fields[0].pointer.as_str()),
            (ErrorCode::Unsupported, "/namespaceName")
        );
        assert_eq!(requests(&platform).len(), requests_sent, "{mode}");
    }
}

#[test]
fn what_is_wrong_with_a_group_is_said_before_anything_is_sent() {
    for (input, expected) in [
        (json!({}), ("", "nothing-to-change")),
        (json!({ "attestation": { "type": "tpm" } }), ("/attestation/type", "not-allowed")),
        (json!({ "attestation": { "type": "x509", "x509": {} } }), ("/attestation/x509/primaryCertificate", "missing")),
        (json!({ "deviceId": "press-17" }), ("/deviceId", "unknown-field")),
        (json!({ "mode": "create", "edge": true }), ("/attestation", "missing")),
    ] {
        let input = with_members(input, &[("enrollmentGroupId", json!("presses"))], &[]);
        let found = problems(&platform(), "create-or-update-enrollment-group", input.clone());
        assert_eq!(found, pairs(&[expected]), "{input}");
    }
}

#[test]
fn reading_groups_and_attestations() {
    let attestations = [
        ("get-enrollment-group-attestation", "enrollmentGroupId", "enrollmentGroups"),
        ("get-individual-enrollment-attestation", "registrationId", "enrollments"),
    ];
    for (action, member, collection) in attestations {
        let platform = platform();
        platform.then_status(200, &[], &keys().to_string());
        assert_eq!(done(invoke(&platform, action, json!({ member: "a:b" }))), keys());
        let line = format!("POST dps/{collection}/a%3Ab/attestationmechanism?{DPS}");
        assert_eq!(requests(&platform), [sent(&line, &[], None)]);
    }
    let platform = platform();
    platform.then_status(200, &[], &group(keys()).to_string());
    let input = json!({ "enrollmentGroupId": "presses" });
    let output = done(invoke(&platform, "get-enrollment-group", input));
    assert_eq!(
        (&output["attestation"], &output["unheardOf"]),
        (&json!({ "type": "symmetricKey" }), &json!({ "kept": true }))
    );
    platform.then_status(200, &[], &group(bare()).to_string()).then_status(200, &[], &keys().to_string());
    let input = json!({ "enrollmentGroupId": "presses", "includeKeys": true });
    assert_eq!(done(invoke(&platform, "get-enrollment-group", input))["attestation"], keys());

    let platform = super::platform();
    platform.then_status(200, &[("x-ms-continuation", "next")], &json!([group(keys())]).to_string());
    platform.then_status(200, &[], "[]");
    let (output, token) = page(invoke(&platform, "query-enrollment-groups", json!({ "pageSize": 1 })));
    assert!(!output.to_string().contains(&key(1)));
    done(resume(&platform, "query-enrollment-groups", &token));
    let line = format!("POST dps/enrollmentGroups/query?{NEWEST_DPS}");
    let query = Some(json!({ "query": "SELECT * FROM enrollmentGroups" }));
    let size = ("x-ms-max-item-count", "1");
    assert_eq!(
        requests(&platform),
        [sent(&line, &[size], query.clone()), sent(&line, &[size, ("x-ms-continuation", "next")], query),]
    );
}

#[test]
fn deleting_a_group() {
    let platform = platform();
    platform.then_status(204, &[], "");
    let input = json!({ "enrollmentGroupId": "presses", "etag": "\"1\"" });
    let output = done(invoke(&platform, "delete-enrollment-group", input));
    assert_eq!(output, json!({ "enrollmentGroupId": "presses", "deleted": true }));
    let line = format!("DELETE dps/enrollmentGroups/presses?{DPS}");
    assert_eq!(requests(&platform), [sent(&line, &[("if-match", "\"1\"")], None)]);
}

/// The usual refusals, for each action on a group.
#[test]
fn refusals_are_typed() {
    for (action, more) in [
        ("get-enrollment-group", json!({})),
        ("get-enrollment-group-attestation", json!({})),
        ("delete-enrollment-group", json!({})),
        ("derive-device-key", json!({ "registrationId": "press-17" })),
        ("create-or-update-enrollment-group", json!({ "mode": "update", "edge": true })),
    ] {
        let input = with_members(more, &[("enrollmentGroupId", json!("presses"))], &[]);
        let platform = platform();
        dps_refusal(&platform, 404_204);
        assert_eq!(fails(invoke(&platform, action, input.clone())).code(), ErrorCode::NotFound, "{action}");
        platform.then_status(429, &[("retry-after", "600")], "");
        assert_eq!(fails(invoke(&platform, action, input.clone())).code(), ErrorCode::RateLimited, "{action}");
        if !action.starts_with("delete") {
            platform.then_status(200, &[], "[]");
            assert_eq!(fails(invoke(&platform, action, input)).code(), ErrorCode::Protocol, "{action}");
        }
    }
}

/// A write whose answer is lost is looked for before it counts as unknown.
#[test]
fn a_write_without_an_answer_is_looked_for() {
    let action = "create-or-update-enrollment-group";
    let input = json!({ "enrollmentGroupId": "presses", "provisioningStatus": "disabled" });
    let changed = |etag: &str, status: &str| {
        with_members(group(bare()), &[("etag", json!(etag)), ("provisioningStatus", json!(status))], &[])
    };
    for (after, found) in [
        (changed("\"2\"", "disabled"), true),
        // Nothing was written yet, or somebody else has changed it.
        (changed("\"1\"", "disabled"), false),
        (changed("\"2\"", "enabled"), false),
    ] {
        let platform = platform();
        platform.then_status(200, &[], &group(bare()).to_string()).then_status(200, &[], &keys().to_string());
        platform.then_status(500, &[], "");
        platform.then_status(200, &[], &after.to_string()).then_status(200, &[], &keys().to_string());
        let outcome = invoke(&platform, action, input.clone());
        if found {
            assert_eq!(done(outcome)["etag"], "\"2\"");
        } else {
            assert_eq!(fails(outcome).record().effect, EffectState::Unknown);
        }
    }
    // A new key is compared, too.
    for (stored, found) in [(key(7), true), (key(8), false)] {
        let platform = platform();
        platform.then_status(500, &[], "").then_status(200, &[], &group(bare()).to_string());
        let now = json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": stored, "secondaryKey": key(2) } });
        platform.then_status(200, &[], &now.to_string());
        let input = json!({ "enrollmentGroupId": "presses", "mode": "create", "attestation": { "type": "symmetricKey", "symmetricKey": { "primaryKey": key(7) } } });
        assert_eq!(invoke(&platform, action, input).is_ok(), found);
    }
}

#[test]
fn many_are_created_ten_at_a_time() {
    let platform = platform();
    platform.then_status(200, &[], FULL);
    let refused = json!({ "isSuccessful": false, "errors": [{ "registrationId": "P-12", "errorCode": 409_201, "errorStatus": "exists" }] });
    platform.then_status(200, &[], &refused.to_string());
    let entries: Vec<Value> =
        (1..=12).map(|n| json!({ "registrationId": format!("p-{n}"), "attestation": tpm(), "edge": true })).collect();
    let output = done(invoke(&platform, "create-individual-enrollments", json!({ "enrollments": entries })));
    let mut expected: Vec<_> = (1..=12).map(|n| triple(&format!("p-{n}"), "ok", "")).collect();
    expected[11] = triple("p-12", "failed", "conflict");
    assert_eq!(results(&output), expected);
    assert_eq!((&output["failed"], &output["unknown"]), (&json!(1), &json!(0)));
    assert_eq!(output["items"][11]["index"], 11);
    assert!(output["items"][11]["message"].as_str().is_some_and(|message| message.contains("exists")));
    let entry = |n: u32| json!({ "registrationId": format!("p-{n}"), "attestation": tpm(), "capabilities": { "iotEdge": true } });
    let body = |numbers: std::ops::RangeInclusive<u32>| json!({ "mode": "create", "enrollments": numbers.map(entry).collect::<Vec<_>>() });
    let line = format!("POST dps/enrollments?{DPS}");
    assert_eq!(requests(&platform), [sent(&line, &[], Some(body(1..=10))), sent(&line, &[], Some(body(11..=12)))]);
}

#[test]
fn what_needs_the_newest_version_is_sent_at_it() {
    let platform = platform();
    let refusal =
        r#"{"errorCode":400004,"trackingId":"t","message":"Unsupported API version 2026-11-01.","timestampUtc":"x"}"#;
    platform.then_status(200, &[], FULL);
    platform.then_status(400, &[], refusal).then_status(200, &[], FULL);
    let entry = |id: &str| json!({ "enrollmentGroupId": id, "attestation": { "type": "symmetricKey" } });
    let newer = |id: &str| with_members(entry(id), &[("namespaceName", json!("plant"))], &[]);
    let input = json!({ "enrollmentGroups": [entry("a"), newer("b"), newer("c"), entry("d"), newer("e")] });
    let output = done(invoke(&platform, "create-enrollment-groups", input));
    let refused = |id: &str| triple(id, "failed", "unsupported");
    assert_eq!(
        results(&output),
        [triple("a", "ok", ""), refused("b"), refused("c"), triple("d", "ok", ""), refused("e")],
        "an older service takes the others"
    );
    let message = output["items"][2]["message"].as_str().expect("a message");
    assert!(message.contains("/enrollmentGroups/2/namespaceName"), "{message}");
    let line = |version: &str| format!("POST dps/enrollmentGroups?{version}");
    assert_eq!(
        lines(&platform),
        [line(DPS), line(NEWEST_DPS), line(DPS)],
        "a version that was refused is not asked for again"
    );
}

#[test]
fn many_are_changed_as_one_is() {
    let platform = platform();
    let secret = json!({ "registrationId": "a", "etag": "\"1\"", "attestation": bare(), "unheardOf": 1 });
    platform.then_status(200, &[], &secret.to_string()).then_status(200, &[], &keys().to_string());
    dps_refusal(&platform, 404_201);
    platform.then_status(200, &[], &stored("c", "\"3\"").to_string());
    platform.then_status(200, &[], FULL);
    let entry = |id: &str| json!({ "registrationId": id, "provisioningStatus": "disabled" });
    let stated = with_members(entry("c"), &[("etag", json!("2"))], &[]);
    let input = json!({ "enrollments": [entry("a"), entry("b"), stated] });
    let output = done(invoke(&platform, "update-individual-enrollments", input));
    assert_eq!(results(&output), [triple("a", "ok", ""), triple("b", "failed", "not-found"), triple("c", "ok", "")]);
    let sent = requests(&platform).pop().expect("a request");
    assert_eq!(sent.line, format!("POST dps/enrollments?{NEWEST_DPS}"), "at the version that was read");
    let disabled = ("provisioningStatus", json!("disabled"));
    let a = with_members(secret, &[disabled.clone(), ("attestation", keys())], &[]);
    let c = with_members(stored("c", "\"2\""), &[disabled], &[]);
    assert_eq!(sent.body, Some(json!({ "mode": "updateIfMatchETag", "enrollments": [a, c] })));
}

#[test]
fn a_change_between_reading_and_writing_is_not_undone() {
    let raced = |id: &str| json!({ "isSuccessful": false, "errors": [{ "registrationId": id, "errorCode": 412_000, "errorStatus": "changed" }] });
    let platform = platform();
    for id in ["a", "b"] {
        platform.then_status(200, &[], &stored(id, "\"1\"").to_string());
    }
    platform.then_status(200, &[], &raced("b").to_string());
    platform.then_status(
        200,
        &[],
        &with_members(stored("b", "\"2\""), &[("deviceId", json!("theirs"))], &[]).to_string(),
    );
    platform.then_status(200, &[], FULL);
    let input =
        json!({ "enrollments": [{ "registrationId": "a", "edge": true }, { "registrationId": "b", "edge": true }] });
    let output = done(invoke(&platform, "update-individual-enrollments", input));
    assert_eq!(results(&output), [triple("a", "ok", ""), triple("b", "ok", "")]);
    let entries = last_body(&platform)["enrollments"].clone();
    assert_eq!((entries[0]["deviceId"].as_str(), entries.as_array().map(Vec::len)), (Some("theirs"), Some(1)));
    // A caller's own condition is not replaced by another one.
    let platform = super::platform();
    platform.then_status(200, &[], &stored("b", "\"2\"").to_string());
    platform.then_status(200, &[], &raced("b").to_string());
    let input = json!({ "enrollments": [{ "registrationId": "b", "edge": true, "etag": "1" }] });
    let output = done(invoke(&platform, "update-individual-enrollments", input));
    assert_eq!(results(&output), [triple("b", "failed", "precondition-failed")]);
    assert_eq!(requests(&platform).len(), 2);
}

#[test]
fn many_are_deleted() {
    let refused = json!({ "isSuccessful": false, "errors": [{ "enrollmentGroupId": "b", "errorCode": 404_204, "errorStatus": "gone" }] });
    for (choice, expected) in [("fail", triple("b", "failed", "not-found")), ("ignore", triple("b", "ok", ""))] {
        let platform = platform();
        platform.then_status(200, &[], &refused.to_string());
        let input = json!({ "enrollmentGroupIds": ["a", "b"], "ifMissing": choice });
        let output = done(invoke(&platform, "delete-enrollment-groups", input));
        assert_eq!(results(&output), [triple("a", "ok", ""), expected]);
        let entry = |id: &str| json!({ "enrollmentGroupId": id, "attestation": { "type": "none" } });
        let body = json!({ "mode": "delete", "enrollmentGroups": [entry("a"), entry("b")] });
        assert_eq!(requests(&platform), [sent(&format!("POST dps/enrollmentGroups?{DPS}"), &[], Some(body))]);
    }
}

/// No document says whether the service takes an entry to delete without its attestation.
#[test]
fn a_service_that_refuses_to_delete_many_deletes_each() {
    let platform = platform();
    (0..2).for_each(|_| dps_refusal(&platform, 400_004));
    platform.then_status(204, &[], "");
    dps_refusal(&platform, 400_004);
    dps_refusal(&platform, 404_201);
    let input = json!({ "registrationIds": ["a", "b"] });
    let output = done(invoke(&platform, "delete-individual-enrollments", input));
    assert_eq!(results(&output), [triple("a", "ok", ""), triple("b", "failed", "not-found")]);
    let post = format!("POST dps/enrollments?{DPS}");
    let delete = |id: &str| format!("DELETE dps/enrollments/{id}?{DPS}");
    assert_eq!(lines(&platform), [post.clone(), post.clone(), delete("a"), post, delete("b")]);
}

#[test]
fn an_entry_that_spoils_a_request_fails_alone() {
    let platform = platform();
    dps_refusal(&platform, 400_202);
    platform.then_status(200, &[], FULL);
    dps_refusal(&platform, 400_202);
    let entry = |id: &str| json!({ "registrationId": id, "attestation": tpm() });
    let input = json!({ "enrollments": [entry("a"), entry("-b")] });
    let output = done(invoke(&platform, "create-individual-enrollments", input));
    assert_eq!(results(&output), [triple("a", "ok", ""), triple("-b", "failed", "invalid-input")]);
    assert_eq!(requests(&platform).len(), 3);
}

#[test]
fn a_bulk_request_without_an_answer_is_looked_for() {
    let entry = |id: &str| json!({ "registrationId": id, "attestation": tpm() });
    // One was created, one exists otherwise, one is sent again.
    let platform = platform();
    platform.then_status(500, &[], "");
    platform.then_status(200, &[], &stored("a", "\"1\"").to_string());
    dps_refusal(&platform, 404_201);
    dps_refusal(&platform, 404_201);
    let refused = json!({ "isSuccessful": false, "errors": [{ "registrationId": "c", "errorCode": 409_201, "errorStatus": "exists" }] });
    platform.then_status(200, &[], &refused.to_string());
    let theirs = with_members(stored("c", "\"1\""), &[("attestation", bare())], &[]);
    platform.then_status(200, &[], &theirs.to_string());
    let input = json!({ "enrollments": [entry("a"), entry("b"), entry("c")] });
    let output = done(invoke(&platform, "create-individual-enrollments", input));
    assert_eq!(results(&output), [triple("a", "ok", ""), triple("b", "ok", ""), triple("c", "unknown", "conflict")]);
    let again: Vec<Value> =
        requests(&platform)[4].body.clone().expect("a body")["enrollments"].as_array().expect("a list").clone();
    assert_eq!(again, [entry("b"), entry("c")], "what was created is not sent again");

    // What was deleted by the lost request is gone at the next attempt.
    let platform = super::platform();
    platform.then_status(500, &[], "");
    let refused = json!({ "isSuccessful": false, "errors": [{ "registrationId": "a", "errorCode": 404_201, "errorStatus": "gone" }] });
    platform.then_status(200, &[], &refused.to_string());
    let output = done(invoke(&platform, "delete-individual-enrollments", json!({ "registrationIds": ["a"] })));
    assert_eq!(results(&output), [triple("a", "ok", "")]);

    // A changed one is recognized although it is read with a new ETag.
    let platform = super::platform();
    platform.then_status(200, &[], &stored("a", "\"1\"").to_string()).then_status(500, &[], "");
    let changed = with_members(stored("a", "\"2\""), &[("capabilities", json!({ "iotEdge": true }))], &[]);
    platform.then_status(200, &[], &changed.to_string());
    let input = json!({ "enrollments": [{ "registrationId": "a", "edge": true }] });
    let output = done(invoke(&platform, "update-individual-enrollments", input));
    assert_eq!(results(&output), [triple("a", "ok", "")]);

    // An answer that cannot be read is no answer.
    let platform = super::platform();
    for _ in 0..3 {
        platform.then_status(200, &[], "[]");
        dps_refusal(&platform, 404_201);
    }
    let output = done(invoke(&platform, "create-individual-enrollments", json!({ "enrollments": [entry("a")] })));
    assert_eq!(results(&output), [triple("a", "unknown", "protocol")]);
    assert_eq!(output["unknown"], 1);
}

#[test]
fn a_long_list_goes_on_where_it_stopped() {
    let platform = platform();
    // The service asks for a pause of more than half of the call's time.
    platform.then_status(503, &[("retry-after", "70")], "").then_status(200, &[], FULL);
    let ids: Vec<String> = (1..=22).map(|n| format!("p-{n}")).collect();
    let input = json!({ "registrationIds": ids, "ifMissing": "ignore" });
    let (output, token) = page(invoke(&platform, "delete-individual-enrollments", input));
    assert_eq!(results(&output).len(), 10);
    let kept: Value = serde_json::from_str(&token).expect("JSON");
    assert_eq!(kept["input"], json!({ "registrationIds": &ids[10..], "ifMissing": "ignore" }));
    // The service fails at the second request: the results of the first one are a page, and the rest waits.
    platform.then_status(200, &[], FULL).then_status(429, &[("retry-after", "600")], "");
    let (output, token) = page(resume(&platform, "delete-individual-enrollments", &token));
    let places: Vec<u64> =
        output["items"].as_array().expect("a list").iter().filter_map(|item| item["index"].as_u64()).collect();
    assert_eq!(places, (10..20).collect::<Vec<u64>>());
    platform.then_status(429, &[("retry-after", "600")], "");
    let error = fails(resume(&platform, "delete-individual-enrollments", &token));
    assert_eq!(error.code(), ErrorCode::RateLimited);
    platform.then_status(200, &[], FULL);
    let output = done(resume(&platform, "delete-individual-enrollments", &token));
    assert_eq!(results(&output), [triple("p-21", "ok", ""), triple("p-22", "ok", "")]);
    let foreign = token.replace("\"continuation\":20", "\"continuation\":\"20\"");
    assert_eq!(
        fails(resume(&platform, "delete-individual-enrollments", &foreign)).record().fields[0].code,
        "not-a-token"
    );
}

/// Each request has as many entries as it may: a long list costs no request more.
#[test]
fn ten_thousand_are_a_thousand_requests() {
    let platform = platform();
    let ids: Vec<String> = (0..10_000).map(|n| format!("press-{n}")).collect();
    for _ in 0..1_000 {
        platform.then_status(200, &[], FULL);
    }
    let mut outcome = invoke(&platform, "delete-individual-enrollments", json!({ "registrationIds": ids }));
    let mut results = 0;
    loop {
        match outcome {
            Ok(Outcome::Page(page)) => {
                let output: Value = serde_json::from_str(&page.output).expect("JSON");
                results += output["items"].as_array().expect("a list").len();
                outcome = resume(&platform, "delete-individual-enrollments", &page.token);
            }
            last => {
                results += done(last)["items"].as_array().expect("a list").len();
                break;
            }
        }
    }
    assert_eq!((results, requests(&platform).len()), (10_000, 1_000));
}

#[test]
fn what_is_wrong_with_an_entry_names_its_place() {
    let entry = |id: &str| json!({ "registrationId": id, "attestation": tpm() });
    let table = [
        (json!({ "enrollments": [] }), vec![("/enrollments", "too-few")]),
        (json!({ "enrollments": [entry("a"), entry("A")] }), vec![("/enrollments/1/registrationId", "duplicate")]),
        (json!({ "enrollments": [entry("a"), entry("b.")] }), vec![("/enrollments/1/registrationId", "characters")]),
        (
            json!({ "enrollments": [{ "registrationId": "a" }, { "registrationId": "b", "attestation": { "type": "symmetricKey", "symmetricKey": { "primaryKey": "AAAA" } }, "initialTwin": { "tags": { "a.b": 1 } } }] }),
            vec![
                ("/enrollments/0/attestation", "missing"),
                ("/enrollments/1/attestation/symmetricKey/primaryKey", "not-a-key"),
                ("/enrollments/1/initialTwin/tags/a.b", "characters"),
            ],
        ),
        (
            json!({ "enrollments": [with_members(entry("a"), &[("mode", json!("create"))], &[])] }),
            vec![("/enrollments/0/mode", "unknown-field")],
        ),
    ];
    for (input, expected) in table {
        assert_eq!(problems(&platform(), "create-individual-enrollments", input.clone()), pairs(&expected), "{input}");
    }
    let input = json!({ "enrollmentGroups": [{ "enrollmentGroupId": "a" }] });
    let expected = pairs(&[("/enrollmentGroups/0", "nothing-to-change")]);
    assert_eq!(problems(&platform(), "update-enrollment-groups", input), expected);
    // A rule that depends on the stored enrollment is the entry's own result.
    let platform = platform();
    platform.then_status(200, &[], &stored("a", "\"1\"").to_string());
    let input = json!({ "enrollments": [{ "registrationId": "a", "allocationPolicy": "custom" }] });
    let output = done(invoke(&platform, "update-individual-enrollments", input));
    assert_eq!(results(&output), [triple("a", "failed", "invalid-input")]);
}

#[test]
fn neither_a_plan_nor_a_result_has_a_key() {
    let url = "https://f.example/api/choose?code=c2VjcmV0LW9mLWZ1bmN0aW9u";
    let entry = json!({
        "enrollmentGroupId": "presses",
        "attestation": keys(),
        "allocationPolicy": "custom",
        "customAllocationDefinition": { "webhookUrl": url, "apiVersion": "1" },
    });
    let input = json!({ "enrollmentGroups": [entry] });
    let clean = |text: &str| {
        for secret in [&key(1), &key(2), "c2VjcmV0LW9mLWZ1bmN0aW9u"] {
            assert!(!text.contains(secret), "{text}");
        }
    };
    let platform = platform();
    let plan = dry_run(&platform, "create-enrollment-groups", input.clone());
    assert_eq!((&plan["method"], &plan["body"]["mode"]), (&json!("POST"), &json!("create")));
    clean(&plan.to_string());
    let said = format!("cannot use {url} with {} or {}", key(1), key(2));
    let refused = json!({ "isSuccessful": false, "errors": [{ "enrollmentGroupId": "presses", "errorCode": 400_004, "errorStatus": said }] });
    platform.then_status(200, &[], &refused.to_string());
    let output = done(invoke(&platform, "create-enrollment-groups", input.clone()));
    assert!(output.to_string().contains("cannot use https://f.example"), "{output}");
    clean(&output.to_string());
    let body = json!({ "errorCode": 400_004, "trackingId": "t", "message": said, "timestampUtc": "x" });
    platform.then_status(400, &[], &body.to_string());
    clean(&done(invoke(&platform, "create-enrollment-groups", input)).to_string());
}

#[test]
fn a_dry_run_of_many_ends_with_the_first_request() {
    let platform = platform();
    let entries: Vec<Value> = (1..=11).map(|n| json!({ "registrationId": format!("p-{n}"), "edge": true })).collect();
    // None of the first ten exists, so the eleventh is the first one that would be written.
    (0..10).for_each(|_| dps_refusal(&platform, 404_201));
    platform.then_status(200, &[], &stored("p-11", "\"1\"").to_string());
    let plan = dry_run(&platform, "update-individual-enrollments", json!({ "enrollments": entries }));
    assert_eq!(plan["body"]["enrollments"][0]["registrationId"], "p-11");
    assert!(lines(&platform).iter().all(|line| line.starts_with("GET")));
}

#[test]
fn a_devices_key_is_derived_from_its_groups() {
    let master = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";
    let attestation =
        json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": key(1), "secondaryKey": master } });
    let input = json!({ "enrollmentGroupId": "presses", "registrationId": "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6", "from": "secondaryKey" });
    let platform = platform();
    platform.then_status(200, &[], &attestation.to_string());
    let output = done(invoke(&platform, "derive-device-key", input.clone()));
    assert_eq!(
        output["deviceKey"], "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=",
        "the result in Microsoft's article"
    );
    let line = format!("POST dps/enrollmentGroups/presses/attestationmechanism?{DPS}");
    assert_eq!(requests(&platform), [sent(&line, &[], None)]);
    // The spelling of the id matters, unlike in all other uses.
    platform.then_status(200, &[], &attestation.to_string());
    let other = with_members(input.clone(), &[("registrationId", json!("SN-007-888-abc-mac-a1-b2-c3-d4-e5-f6"))], &[]);
    assert_ne!(done(invoke(&platform, "derive-device-key", other))["deviceKey"], output["deviceKey"]);

    platform.then_status(200, &[], &json!({ "type": "x509", "x509": {} }).to_string());
    let error = fails(invoke(&platform, "derive-device-key", input.clone()));
    assert_eq!(
        (error.code(), error.record().fields[0].pointer.as_str()),
        (ErrorCode::InvalidInput, "/enrollmentGroupId")
    );
    for broken in [bare(), json!({ "type": "symmetricKey", "symmetricKey": { "secondaryKey": "no base64!" } })] {
        platform.then_status(200, &[], &broken.to_string());
        assert_eq!(fails(invoke(&platform, "derive-device-key", input.clone())).code(), ErrorCode::Protocol);
    }
}
