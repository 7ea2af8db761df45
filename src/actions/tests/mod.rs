//! Tests of the actions against a scripted platform: the requests, the outcomes and the errors.

mod bulk;
mod configurations;
mod cost;
mod custom;
mod devices;
mod digital_twins;
mod enrollments;
mod identities;
mod jobs;
#[cfg(feature = "amqp")]
mod messages;
mod paged;
mod provisioning;
mod queries;
mod twins;
mod versions;
#[cfg(feature = "amqp")]
mod waiting;

use serde_json::{Value, json};

use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::workflow::connector::types::Connection;
use crate::error::{Error, ErrorCode, Result};
use crate::platform::fake::FakePlatform;

const NOW: u64 = 1_800_000_000;

fn platform() -> FakePlatform {
    FakePlatform::at(NOW)
}

/// An account with both services.
fn connection() -> Connection {
    let key = "c2VjcmV0IGtleSBvZiB0aGUgdGVzdA==";
    let values = json!({
        "iotHubName": "actions.azure-devices.net",
        "sharedAccessKeyName": "service",
        "sharedAccessKey": key,
        "dpsHostName": "actions.azure-devices-provisioning.net",
        "dpsSharedAccessKeyName": "service",
        "dpsSharedAccessKey": key,
    });
    Connection { auth_profile: "shared-access-key".into(), values: values.to_string() }
}

fn call(dry_run: bool) -> Call {
    Call { idempotency_key: None, attempt: 1, deadline_ms: 120_000, dry_run }
}

fn invoke(platform: &FakePlatform, action: &str, input: Value) -> Result<Outcome> {
    super::invoke(platform, &connection(), action, &input.to_string(), &call(false))
}

fn dry_run(platform: &FakePlatform, action: &str, input: Value) -> Value {
    match super::invoke(platform, &connection(), action, &input.to_string(), &call(true)) {
        Ok(Outcome::Planned(plan)) => serde_json::from_str(&plan).expect("JSON"),
        other => panic!("not a plan: {other:?}"),
    }
}

fn done(outcome: Result<Outcome>) -> Value {
    match outcome {
        Ok(Outcome::Done(output)) => serde_json::from_str(&output).expect("JSON"),
        other => panic!("not done: {other:?}"),
    }
}

fn fails(outcome: Result<Outcome>) -> Error {
    match outcome {
        Err(error) => error,
        other => panic!("did not fail: {other:?}"),
    }
}

/// The pointers and codes of an input's problems. The action must not have sent a request.
fn problems(platform: &FakePlatform, action: &str, input: Value) -> Vec<(String, String)> {
    let error = fails(invoke(platform, action, input));
    assert_eq!(error.code(), ErrorCode::InvalidInput, "{error}");
    assert!(platform.requests.borrow().is_empty(), "nothing is sent");
    error.record().fields.iter().map(|problem| (problem.pointer.clone(), problem.code.clone())).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(pointer, code)| ((*pointer).to_owned(), (*code).to_owned())).collect()
}

/// The parts of a request that tests compare: method, path, some headers, and the body.
#[derive(Debug, PartialEq)]
struct Sent {
    line: String,
    headers: Vec<(String, String)>,
    body: Option<Value>,
}

fn sent(line: &str, headers: &[(&str, &str)], body: Option<Value>) -> Sent {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sent { line: line.to_owned(), headers, body }
}

/// All requests so far.
fn requests(platform: &FakePlatform) -> Vec<Sent> {
    let requests = platform.requests.borrow();
    requests
        .iter()
        .map(|request| Sent {
            line: format!("{} {}{}", request.method.as_str(), host(&request.authority), request.path_with_query),
            headers: request
                .headers
                .iter()
                .filter(|(name, _)| !matches!(name.as_ref(), "accept" | "user-agent" | "content-type"))
                .map(|(name, value)| (name.to_string(), value.clone()))
                .collect(),
            body: request.body.as_deref().map(|body| serde_json::from_slice(body).expect("JSON")),
        })
        .collect()
}

fn host(authority: &str) -> &'static str {
    match authority {
        "actions.azure-devices.net" => "hub",
        "actions.azure-devices-provisioning.net" => "dps",
        other => panic!("unknown host {other}"),
    }
}

const HUB: &str = "api-version=2021-04-12";
const DPS: &str = "api-version=2021-10-01";
/// The API versions at which identities and enrollments are read first.
const NEWEST_HUB: &str = "api-version=2026-11-01-preview";
const NEWEST_DPS: &str = "api-version=2026-11-01";

/// Lets the next answer be an error as IoT Hub words it.
fn refusal(platform: &FakePlatform, status: u16, name: &str) {
    platform.then_status(
        status,
        &[("iothub-errorcode", name)],
        &json!({ "Message": format!("ErrorCode:{name};no") }).to_string(),
    );
}

/// Lets the next answer be an error as the provisioning service words it.
fn dps_refusal(platform: &FakePlatform, number: u32) {
    let body = json!({ "errorCode": number, "trackingId": "t", "message": "no", "timestampUtc": "x" }).to_string();
    platform.then_status(u16::try_from(number / 1000).expect("a status"), &[], &body);
}

#[test]
fn an_unknown_action_is_not_found() {
    let error = fails(invoke(&platform(), "no-such-action", json!({})));
    assert_eq!(error.code(), ErrorCode::NotFound);
    let error = fails(super::resume(&platform(), &connection(), "get-device", "{}", &call(false)));
    assert_eq!(error.code(), ErrorCode::Unsupported);
}

#[test]
fn an_account_without_a_provisioning_service_says_so() {
    let values = json!({ "iotHubName": "actions.azure-devices.net", "sharedAccessKeyName": "service", "sharedAccessKey": "c2VjcmV0IGtleSBvZiB0aGUgdGVzdA==" });
    let connection = Connection { auth_profile: "shared-access-key".into(), values: values.to_string() };
    let input = json!({ "registrationId": "press-17" }).to_string();
    let error = fails(super::invoke(&platform(), &connection, "get-individual-enrollment", &input, &call(false)));
    assert_eq!(error.code(), ErrorCode::InvalidConfig);
    assert_eq!(error.record().fields[0].pointer, "/dpsHostName");
}

#[test]
fn a_batch_answers_each_item_in_its_place() {
    let platform = platform();
    platform.then_status(204, &[], "");
    refusal(&platform, 404, "DeviceNotFound");
    let inputs = ["{\"deviceId\":\"a\"}", "{\"deviceId\":\"b\"}", "{\"deviceId\":1}"].map(str::to_owned);
    let results =
        super::invoke_batch(&platform, &connection(), "delete-device", &inputs, &call(false)).expect("results");
    assert_eq!(results.len(), 3);
    assert!(results[0].is_ok());
    let codes: Vec<_> = results[1..]
        .iter()
        .map(|result| result.as_ref().expect_err("an error"))
        .map(|e| (e.code(), e.record().item))
        .collect();
    assert_eq!(codes, [(ErrorCode::NotFound, Some(1)), (ErrorCode::InvalidInput, Some(2))]);
    assert_eq!(requests(&platform).len(), 2);

    let late = Call { deadline_ms: 0, ..call(false) };
    let results = super::invoke_batch(&platform, &connection(), "delete-device", &inputs[..1], &late).expect("results");
    assert_eq!(results[0].as_ref().expect_err("no time").code(), ErrorCode::Timeout);
}
