//! Misbehaviour on demand, as a client sees it.

mod common;

use std::time::{Duration, Instant};

use azure_iot_emulator::{EmulatorOptions, FaultAction, FaultRule, Service};
use common::{dps, hub, start, start_with};
use serde_json::json;

#[tokio::test]
async fn a_status_fault_speaks_the_service_form() {
    let emulator = start().await;
    emulator.faults().add_text("POST /devices/query=429+7x2").expect("rule");
    emulator.faults().add_text("dps:* /enrollments/*=503").expect("rule");
    let client = hub(&emulator, "service");
    for _ in 0..2 {
        let answer = client.query("/devices/query", "SELECT * FROM devices", 5, None).await.expect(429);
        assert_eq!(answer.header("retry-after"), Some("7"));
        assert!(answer.message().starts_with("ErrorCode:ThrottlingException;"));
    }
    client.query("/devices/query", "SELECT * FROM devices", 5, None).await.expect(200);
    let answer = dps(&emulator, "connector").get("/enrollments/e").await.expect(503);
    assert_eq!(answer.body["errorCode"], 503_001);
    assert_eq!(emulator.faults().fired(), 3);
    emulator.faults().clear();
    dps(&emulator, "connector").get("/enrollments/e").await.expect(404);
}

/// Any code, in every form in which the services are known to send codes, and in the forms of gateways.
#[tokio::test]
async fn a_refusal_has_the_form_that_the_rule_says() {
    let emulator = start().await;
    let client = hub(&emulator, "connector");
    let ask = async |rule: &str| {
        emulator.faults().add_text(&format!("GET /devices/d={rule}x1")).expect("rule");
        client.get("/devices/d").await.expect(404)
    };
    assert!(ask("404/IotHubFailingOver").await.message().starts_with("ErrorCode:IotHubFailingOver;"));
    assert!(ask("404/404012:text").await.message().starts_with("ErrorCode:404012;"));
    assert_eq!(ask("404/404012:object").await.body["Message"]["errorCode"], 404_012);
    assert!(ask("404/404012:string").await.message().starts_with(r#"{"errorCode":404012,"#));
    assert_eq!(ask("404/QueryStoreClusterNotFound:flat").await.body["errorCode"], "QueryStoreClusterNotFound");
    let header = ask("404/IotHubFailingOver:header").await;
    assert_eq!((header.header("iothub-errorcode"), header.bytes.len()), (Some("IotHubFailingOver"), 0));
    let bare = ask("404:bare").await;
    assert_eq!((bare.header("iothub-errorcode"), bare.bytes.len()), (None, 0));
    assert!(ask("404:page").await.bytes.starts_with(b"<html>"));
    assert_eq!(ask("404:document").await.body["statusCode"], 404);
}

#[tokio::test]
async fn connections_break_at_every_point() {
    let emulator = start().await;
    emulator.traffic().record(true);
    let client = hub(&emulator, "connector");
    let faults = emulator.faults();
    let put = |id: &'static str| client.try_call("PUT", "/devices/d", &[], Some(json!({"deviceId": id})));
    faults.add(FaultRule::new("/devices/d", FaultAction::DropConnection).times(1));
    assert!(put("d").await.is_err());
    assert_eq!(emulator.journal().last(), 0, "the request was not carried out");
    faults.add(FaultRule::new("/devices/d", FaultAction::DropAfterEffect).times(1));
    assert!(put("d").await.is_err());
    assert_eq!(emulator.journal().last(), 1, "the request was carried out");
    faults.add(FaultRule::new("/devices/d", FaultAction::TruncateBody).times(1));
    assert!(client.try_call("GET", "/devices/d", &[], None).await.is_err());
    faults.add(FaultRule::new("/devices/d", FaultAction::StallBody).times(1));
    let stalled = client.try_call("GET", "/devices/d", &[], None);
    assert!(tokio::time::timeout(Duration::from_millis(300), stalled).await.is_err());
    let statuses: Vec<_> = emulator.traffic().take().into_iter().map(|exchange| exchange.status).collect();
    assert_eq!(statuses, [None, None, Some(200), Some(200)]);
    client.get("/devices/d").await.expect(200);
    emulator.shutdown().await;
}

#[tokio::test]
async fn bodies_lie() {
    let emulator = start().await;
    let client = hub(&emulator, "connector");
    let made = client.put("/devices/d", json!({"deviceId": "d"})).await.expect(200);
    let faults = emulator.faults();
    faults.add(FaultRule::new("/devices/*", FaultAction::Garbage).times(1).method("GET").service(Service::Hub));
    let garbage = client.get("/devices/d").await.expect(200);
    assert!(garbage.body.is_null() && !garbage.bytes.is_empty());
    faults.add(FaultRule::new("/devices/*", FaultAction::Oversize(3 << 20)).times(1));
    let large = client.get("/devices/d").await.expect(200);
    assert!(large.bytes.len() > 3 << 20);
    assert_eq!(large.body["deviceId"], "d");
    faults.add(FaultRule::new("/devices/*", FaultAction::WrongEtag).times(1));
    let wrong = client.get("/devices/d").await.expect(200);
    assert_ne!(wrong.header("etag"), made.header("etag"));
    assert_ne!(wrong.body["etag"], made.body["etag"]);
    let body = Some("<oops/>".to_owned());
    let action = FaultAction::Status { status: 502, code: None, retry_after_secs: None, body };
    faults.add(FaultRule::new("/devices/*", action).times(1));
    assert_eq!(client.get("/devices/d").await.expect(502).bytes, b"<oops/>");
}

#[tokio::test]
async fn clocks_and_latency() {
    let emulator = start().await;
    let client = hub(&emulator, "connector");
    // The token is valid for an hour and accepted for five minutes more, so a skew of 4,000 seconds makes it expire.
    emulator.faults().add_text("GET /devices=skew:4000x1").expect("rule");
    let early = client.get("/devices").await.expect(401);
    let now = client.get("/devices").await.expect(200);
    assert_ne!(early.header("date"), now.header("date"));
    emulator.faults().add_text("GET /devices=latency:200x1").expect("rule");
    let start = Instant::now();
    client.get("/devices").await.expect(200);
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn throttles_can_be_enforced() {
    let emulator = start_with(EmulatorOptions { throttles: true, ..EmulatorOptions::default() }).await;
    let client = hub(&emulator, "service");
    for _ in 0..20 {
        client.query("/devices/query", "SELECT * FROM devices", 5, None).await.expect(200);
    }
    let answer = client.query("/devices/query", "SELECT * FROM devices", 5, None).await.expect(429);
    // 3 seconds, minus the time that has passed meanwhile.
    let wait = answer.header("retry-after").and_then(|seconds| seconds.parse::<u64>().ok());
    assert!(wait.is_some_and(|seconds| (1..=3).contains(&seconds)), "{wait:?}");
    client.get("/statistics/service").await.expect(200);
}
