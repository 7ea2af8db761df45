//! `connection.test` against policies with more and with fewer permissions: the report must be right, and the test must
//! change nothing.

use anyhow::Result;
use azure_iot_emulator::{EmulatorOptions, Permission, Policy};
use connector_host::interface::connection::{CheckOutcome, Grant, Report};
use connector_host::interface::types::{ErrorCode, Retry};
use connector_host::{Connection, Tenant, TenantOptions, TrustRoots};
use connector_tests::{World, link, values};
use serde_json::json;

async fn report(world: &World, connection: &Connection) -> Result<Report> {
    let before = world.emulator.journal().last();
    let report = world.connector.account(&world.tenant, connection).test().await?;
    assert_eq!(world.emulator.journal().last(), before, "a test changes nothing");
    Ok(report)
}

fn grants(report: &Report, grant: Grant) -> Vec<&str> {
    report
        .permissions
        .iter()
        .filter(|finding| finding.grant == grant)
        .map(|finding| finding.permission.as_str())
        .collect()
}

fn outcome(report: &Report, id: &str) -> CheckOutcome {
    report.checks.iter().find(|check| check.id == id).unwrap_or_else(|| panic!("no check {id}")).outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_account_is_found_to_hold_all_that_can_be_probed() -> Result<()> {
    let world = World::start().await?;
    let report = report(&world, &world.connection).await?;
    assert_eq!(grants(&report, Grant::CannotBeProbed), ["service-config"]);
    assert_eq!(grants(&report, Grant::Denied), [""; 0]);
    assert_eq!(grants(&report, Grant::Granted).len(), 8);
    let descriptor = world.connector.descriptor();
    assert_eq!(report.usable.len(), descriptor.triggers.len() + descriptor.actions.len(), "everything is usable");
    for id in [
        "values",
        "hub-reach",
        "hub-authenticate",
        "hub-permissions",
        "dps-reach",
        "dps-authenticate",
        "dps-permissions",
        "event-hub",
        "service-queues",
    ] {
        assert_eq!(outcome(&report, id), CheckOutcome::Pass, "{id}");
    }
    // With a device in the hub, the check of the device permission must have the same result.
    world.done("create-device", json!({ "deviceId": "d1" })).await?;
    let report = self::report(&world, &world.connection).await?;
    assert!(grants(&report, Grant::Granted).contains(&"device-connect"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_with_what_it_blocks_and_where_to_mend_it() -> Result<()> {
    let mut options = EmulatorOptions::default();
    options.hub_policies.push(Policy::generate("readers", [Permission::RegistryRead, Permission::ServiceConnect], 32));
    options.dps_policies.push(Policy::generate("watchers", [Permission::EnrollmentRead], 32));
    let world = World::with(options).await?;
    world.done("create-device", json!({ "deviceId": "d1" })).await?;
    let report = report(&world, &world.linked_by("readers", "watchers")?).await?;
    let mut denied = grants(&report, Grant::Denied);
    denied.sort_unstable();
    assert_eq!(
        denied,
        [
            "device-connect",
            "enrollment-write",
            "registration-status-read",
            "registration-status-write",
            "registry-write"
        ]
    );
    assert_eq!(outcome(&report, "hub-permissions"), CheckOutcome::Warn);
    let write = report.permissions.iter().find(|finding| finding.permission == "registry-write").expect("a row for it");
    assert!(write.unlocks.iter().any(|id| id == "create-device"));
    let remedy = write.remedy.as_deref().unwrap_or_default();
    assert!(
        remedy.contains("Registry Write") && remedy.contains("readers") && remedy.contains("Shared access policies"),
        "{remedy}"
    );
    assert!(report.usable.iter().any(|id| id == "get-device"));
    assert!(report.usable.iter().any(|id| id == "individual-enrollment-changed"));
    assert!(!report.usable.iter().any(|id| id == "create-device" || id == "registration-status-changed"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_device_a_refusal_to_speak_as_one_proves_nothing() -> Result<()> {
    let world = World::start().await?;
    let report = report(&world, &world.linked_by("registryReadWrite", "connector-triggers")?).await?;
    assert!(grants(&report, Grant::CannotBeProbed).contains(&"device-connect"));
    assert!(grants(&report, Grant::Denied).contains(&"service-connect"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_from_a_missing_permission() -> Result<()> {
    let world = World::start().await?;
    let mut wrong = values(&world.emulator, "connector", "connector")?;
    wrong["sharedAccessKey"] = "d3Jvbmcga2V5LCB3cm9uZyBrZXksIHdyb25nIQ==".into();
    let connection = link(wrong);
    let report = report(&world, &connection).await?;
    assert_eq!(outcome(&report, "hub-authenticate"), CheckOutcome::Fail);
    assert_eq!(outcome(&report, "hub-permissions"), CheckOutcome::Skipped);
    assert_eq!(outcome(&report, "dps-authenticate"), CheckOutcome::Pass);
    assert_eq!(grants(&report, Grant::Denied), [""; 0], "a rejected key says nothing about permissions");

    let call = connector_host::interface::action::Call::default();
    let invoke = |connection: Connection| {
        let (connector, tenant, call) = (world.connector.clone(), world.tenant.clone(), call.clone());
        async move { connector.account(&tenant, &connection).invoke("create-device", r#"{"deviceId":"d1"}"#, &call).await }
    };
    let error = invoke(connection).await.expect_err("the key is wrong").connector().cloned().expect("typed");
    assert_eq!((error.code, error.retry), (ErrorCode::AuthFailed, Retry::AfterReauthentication));

    let error = invoke(world.linked_by("service", "connector")?)
        .await
        .expect_err("it may not")
        .connector()
        .cloned()
        .expect("typed");
    assert_eq!((error.code, error.retry), (ErrorCode::PermissionDenied, Retry::AfterReconfiguration));
    assert_eq!(error.missing_permission.expect("named").permission, "registry-write");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_provisioning_service_the_hub_still_works() -> Result<()> {
    let world = World::start().await?;
    let mut only_hub = values(&world.emulator, "connector", "connector")?;
    only_hub.as_object_mut().expect("an object").retain(|name, _| !name.starts_with("dps"));
    let report = report(&world, &link(only_hub)).await?;
    assert_eq!(outcome(&report, "dps-reach"), CheckOutcome::Skipped);
    assert!(report.usable.iter().any(|id| id == "get-device"));
    assert!(!report.usable.iter().any(|id| id == "individual-enrollment-changed"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reached_or_trusted_is_a_failed_check() -> Result<()> {
    let world = World::start().await?;
    // A host that trusts only public certificate authorities does not trust the emulator.
    let mut options = TenantOptions::default();
    options.trust_roots = TrustRoots::Public;
    options.allow_hosts = vec!["localhost".parse()?];
    options.allow_private_networks = true;
    let tenant = Tenant::new(options)?;
    let report = world.connector.account(&tenant, &world.connection).test().await?;
    let reach = report.checks.iter().find(|check| check.id == "hub-reach").expect("the check");
    assert_eq!(reach.outcome, CheckOutcome::Fail);
    assert!(reach.message.contains("certificate"), "{}", reach.message);

    let nobody = world.emulator.hub_host();
    let connection = world.connection.clone();
    world.emulator.shutdown().await;
    let report = world
        .connector
        .account(&world.tenant.with_deadline(std::time::Duration::from_secs(15)), &connection)
        .test()
        .await?;
    let reach = report.checks.iter().find(|check| check.id == "hub-reach").expect("the check");
    assert_eq!(reach.outcome, CheckOutcome::Fail);
    assert!(reach.message.contains(&nobody), "{}", reach.message);
    assert!(reach.remedy.is_some());
    Ok(())
}
