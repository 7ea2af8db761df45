//! Tests of paged actions and their tokens.

use serde_json::json;

use super::*;

fn page(outcome: Result<Outcome>) -> (Value, String) {
    match outcome {
        Ok(Outcome::Page(page)) => (serde_json::from_str(&page.output).expect("JSON"), page.token),
        other => panic!("not a page: {other:?}"),
    }
}

fn resume(platform: &FakePlatform, action: &str, token: &str) -> Result<Outcome> {
    crate::actions::resume(platform, &connection(), action, token, &call(false))
}

#[test]
fn devices_by_condition_page_by_page() {
    let platform = platform();
    platform.then_status(200, &[("x-ms-continuation", "next")], "[{\"deviceId\":\"a\"}]");
    platform.then_status(200, &[], "[{\"deviceId\":\"b\"}]");
    let input = json!({ "condition": "tags.site = 'north'", "select": "summary", "pageSize": 1 });
    let (output, token) = page(invoke(&platform, "list-devices", input));
    assert_eq!(output, json!({ "items": [{ "deviceId": "a" }] }));
    let output = done(resume(&platform, "list-devices", &token));
    assert_eq!(output, json!({ "items": [{ "deviceId": "b" }] }));
    let query = "SELECT deviceId, etag, status, statusReason, connectionState, lastActivityTime, authenticationType, capabilities FROM devices WHERE (tags.site = 'north')";
    let line = format!("POST hub/devices/query?{HUB}");
    let size = ("x-ms-max-item-count", "1");
    assert_eq!(
        requests(&platform),
        [
            sent(&line, &[size], Some(json!({ "query": query }))),
            sent(&line, &[size, ("x-ms-continuation", "next")], Some(json!({ "query": query }))),
        ]
    );
}

#[test]
fn all_devices_with_their_twins() {
    let platform = platform();
    platform.then_status(200, &[], "[]");
    assert_eq!(done(invoke(&platform, "list-devices", json!({ "condition": null }))), json!({ "items": [] }));
    let expected = sent(
        &format!("POST hub/devices/query?{HUB}"),
        &[("x-ms-max-item-count", "100")],
        Some(json!({ "query": "SELECT * FROM devices" })),
    );
    assert_eq!(requests(&platform), [expected]);
}

#[test]
fn enrollments_without_their_keys() {
    let platform = platform();
    let enrollment = json!({ "registrationId": "a", "attestation": { "type": "symmetricKey", "symmetricKey": { "primaryKey": "k" } } });
    platform.then_status(200, &[("x-ms-continuation", "next")], &json!([enrollment]).to_string());
    platform.then_status(200, &[], "[]").then_status(200, &[], "[]");
    let (output, token) = page(invoke(&platform, "query-individual-enrollments", json!({})));
    assert_eq!(output, json!({ "items": [{ "registrationId": "a", "attestation": { "type": "symmetricKey" } }] }));
    done(resume(&platform, "query-individual-enrollments", &token));
    let own = json!({ "query": "SELECT * FROM enrollments WHERE deviceId = 'x'", "pageSize": 7 });
    done(invoke(&platform, "query-individual-enrollments", own));
    let line = format!("POST dps/enrollments/query?{NEWEST_DPS}");
    let all = Some(json!({ "query": "SELECT * FROM enrollments" }));
    assert_eq!(
        requests(&platform),
        [
            sent(&line, &[("x-ms-max-item-count", "100")], all.clone()),
            sent(&line, &[("x-ms-max-item-count", "100"), ("x-ms-continuation", "next")], all),
            sent(
                &line,
                &[("x-ms-max-item-count", "7")],
                Some(json!({ "query": "SELECT * FROM enrollments WHERE deviceId = 'x'" })),
            ),
        ]
    );
}

#[test]
fn registrations_of_a_group() {
    let platform = platform();
    platform.then_status(200, &[("x-ms-continuation", "next")], "[{\"registrationId\":\"a\"}]");
    platform.then_status(200, &[], "[]");
    let (_, token) = page(invoke(&platform, "query-registration-states", json!({ "enrollmentGroupId": "g:1" })));
    done(resume(&platform, "query-registration-states", &token));
    let line = format!("POST dps/registrations/g%3A1/query?{DPS}");
    let size = ("x-ms-max-item-count", "100");
    assert_eq!(
        requests(&platform),
        [sent(&line, &[size], None), sent(&line, &[size, ("x-ms-continuation", "next")], None)]
    );
}

#[test]
fn a_token_is_its_own_actions_and_nobody_elses() {
    let platform = platform();
    platform.then_status(200, &[("x-ms-continuation", "next")], "[]");
    let (_, token) = page(invoke(&platform, "list-devices", json!({ "pageSize": 5 })));
    platform.requests.borrow_mut().clear();
    let mut newer: Value = serde_json::from_str(&token).expect("JSON");
    newer["format"] = json!(2);
    let mut tampered: Value = serde_json::from_str(&token).expect("JSON");
    tampered["input"]["pageSize"] = json!(100_000);
    let mut more: Value = serde_json::from_str(&token).expect("JSON");
    more["more"] = json!(1);
    for (action, token) in [
        ("query-individual-enrollments", token.as_str()),
        ("list-devices", ""),
        ("list-devices", "{}"),
        ("list-devices", "next"),
        ("list-devices", "null"),
        ("list-devices", &newer.to_string()),
        ("list-devices", &tampered.to_string()),
        ("list-devices", &more.to_string()),
    ] {
        let error = fails(resume(&platform, action, token));
        assert_eq!(error.code(), ErrorCode::InvalidInput, "{token}");
        assert_eq!(error.record().fields[0].code, "not-a-token", "{token}");
    }
    assert!(requests(&platform).is_empty());
}

#[test]
fn a_continuation_that_is_no_header_is_refused() {
    let token = json!({ "format": 1, "action": "list-devices", "input": {}, "continuation": "a\r\nx: y" }).to_string();
    let platform = platform();
    assert_eq!(fails(resume(&platform, "list-devices", &token)).code(), ErrorCode::InvalidInput);
    assert!(requests(&platform).is_empty());
}
