//! Error responses that are easily misread, through the built component: an object counts as deleted only if the
//! service says so, only a missing permission is reported as one, and an action of a device that may have happened is
//! not reported as undone.

#[path = "../../host-harness/emulator/tests/common/mod.rs"]
mod common;

use anyhow::Result;
use azure_iot_emulator::EmulatorOptions;
use connector_host::interface::connection::{CheckOutcome, Grant};
use connector_host::interface::trigger::{Payload, Start};
use connector_host::interface::types::{EffectState, ErrorCode, Retry};
use connector_tests::{World, link, values};
use serde_json::{Value, json};

/// Responses with status 404 that do not say that the object is missing: codes by number and by name in each form, an
/// unknown code, and responses of gateways.
const NOT_GONE: [&str; 11] = [
    "404/IotHubFailingOver",
    "404/404012:string",
    "404/404012:object",
    "404/404012:flat",
    "404/IotHubFailingOver:header",
    "404/FeatureNotSupported",
    "404/404101:string",
    "404/404999:text",
    "404:bare",
    "404:page",
    "404:document",
];

fn changes(events: &[connector_host::interface::trigger::Event]) -> Vec<String> {
    let change = |event: &connector_host::interface::trigger::Event| match &event.data {
        Payload::Json(text) => {
            let data: Value = serde_json::from_str(text).expect("JSON");
            data["change"].as_str().unwrap_or_default().to_owned()
        }
        other => panic!("not JSON: {other:?}"),
    };
    events.iter().map(change).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_not_called_deleted_while_the_hub_fails_over() -> Result<()> {
    let world = World::start().await?;
    world.done("create-device", json!({ "deviceId": "d1" })).await?;
    let input = json!({ "deviceId": "d1", "ifMissing": "ignore" });
    for rule in NOT_GONE {
        world.emulator.faults().add_text(&format!("hub:DELETE /devices/d1={rule}"))?;
        let error = world.refused("delete-device", input.clone()).await?;
        assert!(matches!(error.code, ErrorCode::Unavailable | ErrorCode::Protocol), "{rule}: {error:?}");
        assert_eq!((error.retry, error.effect), (Retry::Backoff, EffectState::None), "{rule}");
        if !rule.ends_with(":header") && !rule.ends_with(":bare") {
            assert!(error.message.contains("cannot carry out the operation now"), "{rule}: {}", error.message);
        }
        world.emulator.faults().clear();
        world.done("get-device", json!({ "deviceId": "d1" })).await?;
    }
    // A fail-over that ends within the call is not noticed, and neither is a fail-over that hides the response of a
    // successful first attempt.
    world.emulator.faults().add_text("hub:DELETE /devices/d1=404/IotHubFailingOverx2")?;
    assert_eq!(world.done("delete-device", input.clone()).await?["deleted"], true);
    assert_eq!(world.done("delete-device", input).await?["deleted"], false);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_twin_that_cannot_be_asked_for_is_neither_deleted_nor_created_again() -> Result<()> {
    const TWINS: &str = "device-twin-changed";
    let world = World::start().await?;
    for id in ["d1", "d2"] {
        world.done("create-device", json!({ "deviceId": id })).await?;
    }
    let config = json!({ "changes": ["created", "updated", "deleted"] });
    let (_, mut cursor) = world.drain(TWINS, config.clone(), Start::Now, None).await?;
    for rule in NOT_GONE {
        // The query returns no device, as it does while a hub's index is behind. The trigger must then look the device
        // up by its id.
        world.emulator.faults().add(empty_page());
        world.emulator.faults().add_text(&format!("hub:GET /twins/*={rule}"))?;
        let fired = world.emulator.faults().fired();
        let polled = world.poll(TWINS, config.clone(), Start::Now, Some(cursor.clone())).await;
        assert!(world.emulator.faults().fired() >= fired + 2, "{rule}: the device was not looked up by its id");
        match polled {
            Ok(page) => assert_eq!(changes(&page.events), [""; 0], "{rule}"),
            Err(error) => {
                let error = error.connector().cloned().expect("typed");
                assert_eq!(error.retry, Retry::Backoff, "{rule}: {error:?}");
            }
        }
        world.emulator.faults().clear();
        let (events, next) = world.drain(TWINS, config.clone(), Start::Now, Some(cursor)).await?;
        assert_eq!(changes(&events), [""; 0], "{rule}");
        cursor = next;
    }
    // A device that was really deleted is reported.
    world.done("delete-device", json!({ "deviceId": "d2" })).await?;
    let (events, _) = world.drain(TWINS, config, Start::Now, Some(cursor)).await?;
    assert_eq!(changes(&events), ["deleted"]);
    Ok(())
}

fn empty_page() -> azure_iot_emulator::FaultRule {
    let body = Some("[]".to_owned());
    let action = azure_iot_emulator::FaultAction::Status { status: 200, code: None, retry_after_secs: None, body };
    azure_iot_emulator::FaultRule::new("/devices/query", action).times(1)
}

#[tokio::test(flavor = "multi_thread")]
async fn enrollments_and_registrations_are_not_gone_by_a_gateways_word() -> Result<()> {
    let world = World::with(EmulatorOptions::default()).await?;
    let client = common::dps(&world.emulator, "connector");
    for id in ["e1", "e2"] {
        let body = json!({ "registrationId": id, "attestation": { "type": "symmetricKey", "symmetricKey": {} } });
        client.put(&format!("/enrollments/{id}"), body).await.expect(200);
    }
    const TRIGGER: &str = "individual-enrollment-changed";
    let (_, mut cursor) = world.drain(TRIGGER, json!({}), Start::Now, None).await?;
    for rule in ["404/404999:flat", "404:page", "404:document"] {
        let body = Some("[]".to_owned());
        let action = azure_iot_emulator::FaultAction::Status { status: 200, code: None, retry_after_secs: None, body };
        world.emulator.faults().add(azure_iot_emulator::FaultRule::new("/enrollments/query", action).times(1));
        world.emulator.faults().add_text(&format!("dps:GET /enrollments/*={rule}"))?;
        world.emulator.faults().add_text(&format!("dps:DELETE /*={rule}"))?;
        match world.poll(TRIGGER, json!({}), Start::Now, Some(cursor.clone())).await {
            Ok(page) => assert_eq!(changes(&page.events), [""; 0], "{rule}"),
            Err(error) => assert_eq!(error.connector().expect("typed").retry, Retry::Backoff, "{rule}"),
        }
        for action in ["delete-individual-enrollment", "delete-registration-state"] {
            let input = json!({ "registrationId": "e1", "ifMissing": "ignore" });
            let error = world.refused(action, input).await?;
            assert_eq!((error.retry, error.effect), (Retry::Backoff, EffectState::None), "{action} {rule}: {error:?}");
        }
        // An update that cannot read the enrollment must not create a new one.
        let input = json!({
            "registrationId": "e1", "mode": "createOrUpdate", "attestation": { "type": "symmetricKey" }
        });
        let before = world.emulator.journal().last();
        let error = world.refused("create-or-update-individual-enrollment", input).await?;
        assert_ne!(error.code, ErrorCode::NotFound, "{rule}");
        assert_eq!(world.emulator.journal().last(), before, "{rule}: nothing was written");
        world.emulator.faults().clear();
        let (events, next) = world.drain(TRIGGER, json!({}), Start::Now, Some(cursor)).await?;
        assert_eq!(changes(&events), [""; 0], "{rule}");
        cursor = next;
    }
    for rule in ["404/404201:flat", "404/EnrollmentNotFound", "404/404250:flat"] {
        world.emulator.faults().add_text(&format!("dps:DELETE /enrollments/*={rule}x1"))?;
        let input = json!({ "registrationId": "e1", "ifMissing": "ignore" });
        assert_eq!(world.done("delete-individual-enrollment", input).await?["deleted"], false, "{rule}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_permission_is_blamed_for_what_is_none_and_no_caller_for_a_lost_connection() -> Result<()> {
    use ErrorCode as Code;
    let world = World::start().await?;
    world.done("create-device", json!({ "deviceId": "d1" })).await?;
    let cases = [
        ("403/403000", Code::Unavailable, Retry::AfterReconfiguration, EffectState::None),
        ("403/403005", Code::QuotaExceeded, Retry::Backoff, EffectState::None),
        ("403/DeviceMaximumQueueSizeExceeded", Code::QuotaExceeded, Retry::Backoff, EffectState::None),
        ("403/403008:string", Code::Unavailable, Retry::AfterReconfiguration, EffectState::None),
        ("403/KeyEncryptionKeyRevoked", Code::Unavailable, Retry::AfterReconfiguration, EffectState::None),
        ("403/403100:flat", Code::QuotaExceeded, Retry::AfterReconfiguration, EffectState::None),
        ("403/403800:object", Code::RateLimited, Retry::Backoff, EffectState::None),
        ("403:page", Code::Unavailable, Retry::AfterReconfiguration, EffectState::None),
        ("403:bare", Code::Unavailable, Retry::AfterReconfiguration, EffectState::None),
        ("400/400027:string", Code::Unavailable, Retry::Backoff, EffectState::Unknown),
        ("400/ConnectionForcefullyClosedOnNewConnection", Code::Unavailable, Retry::Backoff, EffectState::Unknown),
        ("400/400029", Code::Unavailable, Retry::Backoff, EffectState::Unknown),
        ("400/400030", Code::Unavailable, Retry::Backoff, EffectState::None),
        ("404/DeviceConnectionClosedRemotely", Code::DeviceOffline, Retry::Backoff, EffectState::Unknown),
        ("404/404104:string", Code::DeviceOffline, Retry::Backoff, EffectState::Unknown),
        ("404/404103:string", Code::DeviceOffline, Retry::Backoff, EffectState::None),
        ("504/504101:string", Code::Timeout, Retry::Backoff, EffectState::Unknown),
    ];
    for (rule, code, retry, effect) in cases {
        world.emulator.faults().clear();
        world.emulator.faults().add_text(&format!("hub:POST /twins/d1/methods={rule}"))?;
        let asked = world.emulator.faults().fired();
        let error = world.refused("invoke-direct-method", json!({ "deviceId": "d1", "methodName": "stop" })).await?;
        assert_eq!((error.code, error.retry, error.effect), (code, retry, effect), "{rule}: {}", error.message);
        assert!(error.missing_permission.is_none(), "{rule}");
        if !rule.ends_with(":bare") {
            assert!(error.message.contains("cannot carry out the operation now"), "{rule}: {}", error.message);
        }
        if effect == EffectState::Unknown {
            assert_eq!(world.emulator.faults().fired() - asked, 1, "{rule}: a method is not called twice");
        }
    }
    Ok(())
}

/// An AMQP error condition is judged by the numeric code that comes with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_a_device_is_refused_by_the_code_of_its_condition() -> Result<()> {
    let world = World::start().await?;
    world.done("create-device", json!({ "deviceId": "d1" })).await?;
    let cases = [
        ("reject:amqp:not-found/404001", ErrorCode::NotFound),
        ("reject:amqp:not-found/404012", ErrorCode::Unavailable),
        ("reject:amqp:not-found/404999", ErrorCode::Unavailable),
        ("reject:amqp:not-allowed/403011", ErrorCode::Unavailable),
        ("reject:com.microsoft:iot-hub-not-found-error", ErrorCode::AuthFailed),
    ];
    for (rule, code) in cases {
        world.emulator.faults().add_text(&format!("hub-amqp:SEND /={rule}x1"))?;
        let input = json!({ "deviceId": "d1", "body": "x" });
        let error = world.refused("send-cloud-to-device-message", input).await?;
        if code == ErrorCode::AuthFailed {
            assert_ne!(error.code, ErrorCode::NotFound, "{rule}: {error:?}");
        } else {
            assert_eq!(error.code, code, "{rule}: {error:?}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_of_a_wrong_key_says_once_what_to_do_and_judges_nothing_by_it() -> Result<()> {
    let world = World::start().await?;
    let mut wrong = values(&world.emulator, "connector", "connector")?;
    wrong["sharedAccessKey"] = "d3Jvbmcga2V5LCB3cm9uZyBrZXksIHdyb25nIQ==".into();
    let report = world.connector.account(&world.tenant, &link(wrong)).test().await?;
    let failed: Vec<&str> = report
        .checks
        .iter()
        .filter(|check| check.outcome == CheckOutcome::Fail)
        .map(|check| check.id.as_str())
        .collect();
    assert_eq!(failed, ["hub-authenticate"], "there must be only one failure");
    let key = report.checks.iter().find(|check| check.id == "hub-authenticate").expect("the check");
    let remedy = key.remedy.as_deref().unwrap_or_default();
    for words in ["1. ", "Shared access policies", "2. ", "3. ", "Networking", "IP filter", "4. Test again"] {
        assert!(remedy.contains(words), "{words}: {remedy}");
    }
    for id in ["hub-permissions", "event-hub", "service-queues"] {
        let check = report.checks.iter().find(|check| check.id == id).expect("the check");
        assert_eq!((check.outcome, check.remedy.as_deref()), (CheckOutcome::Skipped, None), "{id}");
        assert!(check.message.starts_with("Not judged, because"), "{id}: {}", check.message);
    }
    for finding in report.permissions.iter().filter(|finding| finding.permission.starts_with("registry")) {
        assert_eq!(finding.grant, Grant::CannotBeProbed);
        assert!(finding.evidence.starts_with("Not judged, because"), "{}", finding.evidence);
    }
    for finding in report.permissions.iter().filter(|finding| finding.grant == Grant::Granted) {
        assert!(!finding.evidence.contains("status"), "{}", finding.evidence);
    }
    Ok(())
}

/// A gateway's web page or a hub that fails over proves neither that a permission exists nor that it is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_that_the_service_did_not_judge_proves_nothing() -> Result<()> {
    let world = World::start().await?;
    for rule in ["404/IotHubFailingOver", "404:page", "403:page", "400:page"] {
        world.emulator.faults().clear();
        world.emulator.faults().add_text(&format!("hub:GET /twins/*={rule}"))?;
        let report = world.account().test().await?;
        let finding = |id: &str| report.permissions.iter().find(|finding| finding.permission == id).expect("a row");
        assert_eq!(finding("service-connect").grant, Grant::CannotBeProbed, "{rule}");
        assert_eq!(finding("registry-read").grant, Grant::Granted, "{rule}");
    }
    Ok(())
}
