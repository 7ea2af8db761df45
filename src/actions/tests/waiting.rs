//! Tests of the action that sends a message and waits for its end. How it reads the queue is tested beside it.

use serde_json::{Value, json};

use super::*;
use crate::error::EffectState;

const ACTION: &str = "send-cloud-to-device-message-and-wait";

fn state(expires_in: u64, waiting: Option<u64>, looks: u32) -> Value {
    let now = NOW * 1000;
    json!({
        "messageId": "m1", "sent": now - 8_000, "expires": now + expires_in, "waiting": waiting, "looks": looks,
        "looked": now - 8_000,
    })
}

fn token(state: &Value) -> String {
    let input = json!({ "deviceId": "d#1", "body": 1 });
    json!({ "format": 1, "action": ACTION, "input": input, "continuation": state }).to_string()
}

fn resume(platform: &FakePlatform, token: &str) -> Result<Outcome> {
    super::super::resume(platform, &connection(), ACTION, token, &call(false))
}

#[test]
fn while_the_message_waits_only_the_twin_is_read() {
    let platform = platform();
    platform.then_status(200, &[], r#"{"deviceId":"d#1","cloudToDeviceMessageCount":2}"#);
    let outcome = resume(&platform, &token(&state(60_000, None, 0)));
    let Ok(Outcome::Pending(pending)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(pending.after_ms, 5_000);
    let next: Value = serde_json::from_str(&pending.token).expect("JSON");
    assert_eq!(next["continuation"], state(60_000, Some(2), 0));
    assert_eq!(requests(&platform), [sent(&format!("GET hub/twins/d%231?{HUB}"), &[], None)]);
}

#[test]
fn after_the_last_look_the_outcome_is_unknown() {
    let platform = platform();
    let mut over = state(0, Some(0), 5);
    over["expires"] = json!(NOW * 1000 - 1);
    let output = done(resume(&platform, &token(&over)));
    assert_eq!((&output["outcome"], &output["messageId"]), (&json!("unknown"), &json!("m1")));
    assert!(output["reason"].as_str().is_some_and(|reason| reason.contains("another reader")));
    assert!(requests(&platform).is_empty());
}

#[test]
fn a_failure_while_waiting_says_that_the_message_was_sent() {
    let platform = platform();
    refusal(&platform, 403, "IotHubQuotaExceeded");
    let error = fails(resume(&platform, &token(&state(60_000, None, 0))));
    assert_eq!((error.code(), error.record().effect), (ErrorCode::QuotaExceeded, EffectState::Applied));
}

#[test]
fn a_state_of_another_making_is_refused() {
    let mut more = state(1, None, 0);
    more["more"] = json!(1);
    for state in [json!({}), json!("x"), more, json!({ "messageId": 1 })] {
        let error = fails(resume(&platform(), &token(&state)));
        assert_eq!((error.code(), error.record().fields[0].code.as_str()), (ErrorCode::InvalidInput, "not-a-token"));
    }
}

#[test]
fn a_dry_run_shows_the_message() {
    let platform = platform();
    let plan = dry_run(&platform, ACTION, json!({ "deviceId": "d#1", "body": 1, "messageId": "m1" }));
    assert_eq!(plan["method"], "TRANSFER");
    assert_eq!(plan["headers"]["iothub-ack"], "full");
    assert_eq!(plan["headers"]["absolute-expiry-time"], (NOW + 3600) * 1000);
    let bad = json!({ "deviceId": "d", "moduleId": "..", "body": 1 });
    assert_eq!(problems(&platform, ACTION, bad), pairs(&[("/moduleId", "not-addressable")]));
}
