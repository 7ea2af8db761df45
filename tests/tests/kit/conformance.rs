//! The conformance rules, on connectors that keep them and on connectors that break them: each flaw must be found by
//! the rule that it breaks, and by no other rule.

use std::collections::{BTreeMap, BTreeSet};

use connector_host::conformance::{self, Report, Rule, TestAccount, Verdict};
use connector_tests::{World, component};
use serde_json::json;

use crate::plugin::{account, flawed_wasm, host, tenant};

fn print(report: &Report) {
    for finding in report.failed() {
        println!("{}: {:#?}", finding.rule.id(), finding.evidence);
    }
}

fn broken(report: &Report) -> BTreeSet<Rule> {
    report.failed().map(|finding| finding.rule).collect()
}

fn local() -> TestAccount {
    TestAccount {
        tenant: tenant(|_| ()),
        connection: account("api.hostile.example.com", ""),
        configurations: BTreeMap::from([("numbers".to_owned(), json!({ "count": 8 }).to_string())]),
    }
}

/// Judges the plugin with these flaws. It must break exactly these rules.
async fn expect(flaws: &[&str], account: Option<&TestAccount>, rules: &[Rule]) {
    let report = conformance::judge(&host(), flawed_wasm(flaws), account).await;
    print(&report);
    assert_eq!(broken(&report), rules.iter().copied().collect(), "{flaws:?}");
    assert_eq!(report.passed(), rules.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_connector_keeps_every_rule() {
    expect(&[], Some(&local()), &[]).await;
    let report = conformance::judge(&host(), flawed_wasm(&[]), Some(&local())).await;
    let skipped: Vec<_> = report.findings.iter().filter(|finding| finding.verdict == Verdict::Skip).collect();
    assert!(skipped.is_empty(), "{skipped:?}");
    // Without an account, only the rules are judged that need no account.
    expect(&[], None, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_connector_keeps_every_rule() {
    let world = World::start().await.unwrap();
    let telemetry = world.emulator.telemetry();
    telemetry.send_all((0..40).map(|number| {
        azure_iot_emulator::TelemetryEvent::new(format!("press-{}", number % 4), json!({ "n": number }).to_string())
            .json()
    }));
    for id in ["press-1", "press-2", "press-3"] {
        world.done("create-device", json!({ "deviceId": id })).await.unwrap();
        let enrollment = json!({ "registrationId": id, "attestation": { "type": "symmetricKey" } });
        world.done("create-or-update-individual-enrollment", enrollment).await.unwrap();
    }
    let wasm = std::fs::read(component().unwrap()).unwrap();
    let account = TestAccount {
        tenant: world.tenant.clone(),
        connection: world.connection.clone(),
        configurations: BTreeMap::new(),
    };
    let report = conformance::judge(&host(), wasm, Some(&account)).await;
    print(&report);
    assert!(report.passed());
    for rule in [Rule::PollRepeats, Rule::PollPositions, Rule::PollStateless, Rule::PollEvents, Rule::Deadlines] {
        let finding = report.findings.iter().find(|finding| finding.rule == rule).unwrap();
        assert_eq!(finding.verdict, Verdict::Pass, "{finding:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flaws_of_a_descriptor_are_found() {
    let flaws = [
        "bad-identity",
        "random-describe",
        "bad-unsupported",
        "bad-egress",
        "open-secrets",
        "bad-permissions",
        "bad-samples",
        "bad-annotations",
        "bad-schemas",
        "bad-ids",
    ];
    let rules = [
        Rule::Identity,
        Rule::Deterministic,
        Rule::Operations,
        Rule::Egress,
        Rule::SecretsMarked,
        Rule::Permissions,
        Rule::Samples,
        Rule::Annotations,
        Rule::Schemas,
        Rule::Ids,
    ];
    expect(&flaws, None, &rules).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_are_found() {
    let flaws = [
        "validate-traps",
        "unknown-operation-traps",
        "unknown-source-traps",
        "malformed-input-traps",
        "cursor-traps",
        "migrate-traps",
        "unsupported-is-internal",
        "dry-run-acts",
        "bad-triggers",
    ];
    let rules = [
        Rule::ValidateAnswers,
        Rule::UnknownOperation,
        Rule::UnknownSource,
        Rule::MalformedInput,
        Rule::MalformedConfig,
        Rule::MalformedCursor,
        Rule::Migrate,
        Rule::Webhooks,
        Rule::DryRun,
        Rule::Batch,
        Rule::Operations,
    ];
    expect(&flaws, None, &rules).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn careless_answers_are_found() {
    let flaws = ["echoes-secrets", "bad-pointers", "errors-without-fields", "loses-items", "grants-nothing"];
    let rules = [Rule::SecretsKept, Rule::ValidateReports, Rule::ErrorsConsistent, Rule::Batch, Rule::Answers];
    expect(&flaws, None, &rules).await;
    let flaws = ["validate-is-silent", "no-permission-rows", "over-budget"];
    expect(&flaws, Some(&local()), &[Rule::ValidateReports, Rule::Report, Rule::PollBudget]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_that_lose_or_repeat_events_are_found() {
    let account = local();
    expect(
        &["random-events", "bad-events", "ignores-deadlines"],
        Some(&account),
        &[Rule::PollRepeats, Rule::PollPositions, Rule::PollStateless, Rule::PollEvents, Rule::Deadlines],
    )
    .await;
    expect(&["bad-positions"], Some(&account), &[Rule::PollPositions]).await;
    expect(&["keeps-positions"], Some(&account), &[Rule::PollStateless]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_loaded_is_found() {
    let judge = async |wasm: Vec<u8>| conformance::judge(&host(), wasm, None).await;
    let report = judge(flawed_wasm(&["describe-traps"])).await;
    assert_eq!(broken(&report), BTreeSet::from([Rule::Loads]));
    assert!(report.connector.is_none());
    let foreign = r#"(component (import "vendor:private/thing@1.0.0" (instance (export "f" (func)))))"#;
    let report = judge(wat::parse_str(foreign).unwrap()).await;
    assert_eq!(broken(&report), BTreeSet::from([Rule::Imports, Rule::Loads]));
    let report = judge(b"no component".to_vec()).await;
    assert_eq!(broken(&report), BTreeSet::from([Rule::Loads]));
}
