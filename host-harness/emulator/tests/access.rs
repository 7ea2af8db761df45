//! Who may do what: signatures, resources, expiry, permissions, API versions.

mod common;

use azure_iot_emulator::{Emulator, EmulatorError, EmulatorOptions, Policy, Service};
use common::{Client, dps, hub, policy_token, start, start_with, token};
use serde_json::json;

#[tokio::test]
async fn only_good_tokens_open_the_hub() {
    let emulator = start().await;
    let host = emulator.hub_host();
    let policy = emulator.hub_policy("iothubowner").expect("policy");
    let path = "/devices/d";
    let open = |token: String| hub(&emulator, "service").authorize(token);
    for good in [
        policy_token(&host, policy, 60),
        token(&host, &policy.secondary_key, Some("iothubowner"), 60),
        token(&host.to_uppercase(), &policy.primary_key, Some("iothubowner"), 60),
        token(&format!("{host}/devices"), &policy.primary_key, Some("iothubowner"), 60),
        token(&format!("{host}/devices/d"), &policy.primary_key, Some("iothubowner"), 60),
        // The token has expired, but by less than the five minutes by which clocks may differ.
        policy_token(&host, policy, -200),
    ] {
        open(good).get(path).await.expect(404);
    }
    let stranger = Policy::generate("iothubowner", [], 32);
    for bad in [
        policy_token(&host, policy, -400),
        policy_token(&host, &stranger, 60),
        token(&host, &policy.primary_key, Some("unknown"), 60),
        token(&host, &policy.primary_key, None, 60),
        token("plant.azure-devices.net", &policy.primary_key, Some("iothubowner"), 60),
        token(&format!("{host}/dev"), &policy.primary_key, Some("iothubowner"), 60),
        token(&format!("{host}/devices/e"), &policy.primary_key, Some("iothubowner"), 60),
        token(&emulator.dps_host(), &policy.primary_key, Some("iothubowner"), 60),
        "Bearer abc".to_owned(),
        String::new(),
    ] {
        let refused = open(bad.clone()).get(path).await;
        assert_eq!(refused.status, 401, "{bad}");
        assert_eq!(refused.header("iothub-errorcode"), Some("IotHubUnauthorizedAccess"));
        assert_eq!(refused.message(), "ErrorCode:IotHubUnauthorizedAccess;Unauthorized");
        assert!(refused.body["ExceptionMessage"].as_str().is_some_and(|text| text.contains("-G:0-TimeStamp:")));
    }
    Client::new(&emulator, host, None).get(path).await.expect(401);
}

#[tokio::test]
async fn every_operation_has_its_permission() {
    let emulator = start().await;
    hub(&emulator, "connector").put("/devices/d", json!({"deviceId": "d"})).await.expect(200);
    let body = || Some(json!({"query": "SELECT * FROM devices"}));
    for (policy, method, path, body, status) in [
        ("registryRead", "GET", "/devices/d", None, 200),
        ("registryRead", "PUT", "/devices/d", Some(json!({"deviceId": "d"})), 401),
        ("registryRead", "GET", "/twins/d", None, 401),
        ("registryReadWrite", "DELETE", "/devices/none", None, 404),
        ("registryReadWrite", "POST", "/devices/query", body(), 401),
        ("service", "POST", "/devices/query", body(), 200),
        ("service", "GET", "/devices/d", None, 401),
        ("service", "POST", "/devices", Some(json!([])), 401),
        ("service", "GET", "/statistics/service", None, 200),
        ("service", "GET", "/statistics/devices", None, 401),
        ("device", "GET", "/twins/d", None, 401),
        ("iothubowner", "POST", "/twins/d/methods", Some(json!({"methodName": "m"})), 200),
    ] {
        let answer = hub(&emulator, policy).call(method, path, &[], body).await;
        assert_eq!(answer.status, status, "{policy} {method} {path}");
    }
    for (policy, method, path, status) in [
        ("connector-triggers", "GET", "/enrollments/e", 404),
        ("connector-triggers", "POST", "/enrollments/e/attestationmechanism", 401),
        ("connector-triggers", "DELETE", "/enrollments/e", 401),
        ("connector-triggers", "GET", "/registrations/e", 404),
        ("connector-triggers", "DELETE", "/registrations/e", 401),
        ("connector-triggers", "POST", "/registrations/g/query", 404),
        ("connector", "DELETE", "/enrollmentGroups/e", 404),
        ("provisioningserviceowner", "DELETE", "/registrations/e", 404),
    ] {
        let answer = dps(&emulator, policy).call(method, path, &[], None).await;
        assert_eq!(answer.status, status, "{policy} {method} {path}");
        let code = answer.body["errorCode"].as_u64().expect("a number");
        assert_eq!(code / 1000, u64::from(status));
        assert!(answer.header("x-ms-error-code").is_some() && answer.body["trackingId"].is_string());
        assert!(answer.body["message"].is_string() && answer.body["timestampUtc"].is_string());
    }
}

#[tokio::test]
async fn the_api_version_is_asked_for() {
    let emulator = start().await;
    let hub = hub(&emulator, "iothubowner");
    for version in ["2020-09-30", "2021-04-12", "2024-03-31", "2026-11-01-preview"] {
        hub.get(&format!("/devices?api-version={version}")).await.expect(200);
    }
    for bad in ["/devices?x=1", "/devices?api-version=", "/devices?api-version=2016-02-03"] {
        assert!(hub.get(bad).await.expect(400).message().starts_with("ErrorCode:InvalidProtocolVersion;"));
    }
    let dps = dps(&emulator, "connector");
    for version in ["2019-03-31", "2021-10-01", "2026-11-01"] {
        dps.get(&format!("/enrollments/e?api-version={version}")).await.expect(404);
    }
    let refused = dps.get("/enrollments/e?api-version=2021-04-12").await.expect(400);
    assert_eq!(refused.body["errorCode"], 400_004);
    assert_eq!(refused.body["message"], "Unsupported API version 2021-04-12.");
}

#[tokio::test]
async fn it_stays_on_this_machine() {
    let options = EmulatorOptions { listen: "0.0.0.0".parse().expect("address"), ..EmulatorOptions::default() };
    assert!(matches!(Emulator::start(options).await, Err(EmulatorError::NotLoopback(_))));
    let broken = Policy { primary_key: "?".to_owned(), ..Policy::generate("p", [], 32) };
    let options = EmulatorOptions { hub_policies: vec![broken], ..EmulatorOptions::default() };
    assert!(matches!(Emulator::start(options).await, Err(EmulatorError::Policy(_))));
}

#[tokio::test]
async fn the_authority_outlives_a_run() {
    let directory = std::env::temp_dir().join(format!("azure-iot-emulator-{}", std::process::id()));
    let options = || EmulatorOptions { certificate_dir: Some(directory.clone()), ..EmulatorOptions::default() };
    let first = start_with(options()).await;
    let ca = first.ca_pem().to_owned();
    first.shutdown().await;
    let second = start_with(options()).await;
    assert_eq!(second.ca_pem(), ca);
    hub(&second, "iothubowner").get("/devices").await.expect(200);
    second.shutdown().await;
    std::fs::remove_dir_all(&directory).expect("clean up");
}

#[tokio::test]
async fn nothing_recorded_or_printed_holds_a_key() {
    let emulator = start().await;
    emulator.traffic().record(true);
    let client = hub(&emulator, "iothubowner");
    client.put("/devices/d", json!({"deviceId": "d"})).await.expect(200);
    let exchange = emulator.traffic().exchanges().remove(0);
    assert_eq!((exchange.service, exchange.method.as_str(), exchange.status), (Service::Hub, "PUT", Some(200)));
    assert_eq!(exchange.query, "api-version=2021-04-12");
    let header = exchange.request_headers.iter().find(|(name, _)| name == "authorization");
    assert_eq!(header.map(|(_, value)| value.as_str()), Some("(redacted)"));
    let policy = emulator.hub_policy("iothubowner").expect("policy");
    assert!(!format!("{policy:?}").contains(&policy.primary_key));
    let device: serde_json::Value = serde_json::from_slice(&exchange.response_body).expect("JSON");
    let key = device["authentication"]["symmetricKey"]["primaryKey"].as_str().expect("key");
    let journal = serde_json::to_string(&emulator.journal().snapshot(..)).expect("JSON");
    assert!(!journal.contains(key));
}

/// A malformed request must only lead to an error in the service's form.
#[tokio::test]
async fn nonsense_gets_an_error_in_the_service_form() {
    let emulator = start().await;
    let client = hub(&emulator, "iothubowner");
    for path in ["/devices/%ff", "/devices/a/b/c/d", "/", "//", "/devices/%00", "/twins/%2e%2e", "/devices/query"] {
        let answer = client.get(&format!("{path}?api-version=2021-04-12")).await;
        assert!((400..500).contains(&answer.status), "{path} {}", answer.status);
        assert!(answer.body["Message"].is_string(), "{path}: {:?}", String::from_utf8_lossy(&answer.bytes));
    }
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    for query in ["ä = 'ü", "SELECT * FROM devices WHERE a = 1e999999", "SELECT \u{0}", &deep, &"(".repeat(100_000)] {
        client.query("/devices/query", query, 1, None).await.expect(400);
    }
    for header in [
        "SharedAccessSignature",
        "SharedAccessSignature sr=&sig=&se=&skn=",
        "SharedAccessSignature sr=%&sig=%zz&se=99999999999999999999",
    ] {
        hub(&emulator, "service").authorize(header).get("/devices").await.expect(401);
    }
    let dps = dps(&emulator, "connector");
    for path in ["/enrollments/%ff", "/nothing", "/0ne00000000/registrations/x/register"] {
        let answer = dps.get(&format!("{path}?api-version=2021-10-01")).await;
        assert!(answer.body["errorCode"].is_number(), "{path}: {:?}", String::from_utf8_lossy(&answer.bytes));
    }
}
