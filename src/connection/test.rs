//! Trying an account out: an ordered report, and a table of permissions. Nothing is changed by it.

use std::time::Duration;

use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::connection::{
    Check, CheckOutcome, Grant, PermissionFinding, Report,
};
use crate::bindings::workflow::connector::types::Connection;
use crate::connection::{Account, read};
use crate::error::{Error, ErrorCode, Result, Severity};
use crate::http::{Client, ProbeAnswer, Service};
use crate::manifest;
use crate::platform::Platform;
use crate::session::Session;

/// Tries the account out.
///
/// # Errors
/// `invalid-config` where the values cannot be used at all.
pub fn test(platform: &dyn Platform, connection: &Connection, deadline_ms: u64) -> Result<Report> {
    let started = platform.monotonic();
    let account = Account::open(connection)?;
    let session = Session::new(platform, &account, deadline_ms, false);
    let mut report = Report { checks: Vec::new(), permissions: Vec::new(), usable: Vec::new() };
    report.checks.push(parsed(connection, platform.monotonic().saturating_sub(started)));
    for client in session.clients() {
        try_service(platform, client, &mut report);
    }
    if account.dps.is_none() {
        skip_dps(&mut report);
    }
    #[cfg(feature = "amqp")]
    {
        super::event_hub_test::run(&session, &mut report);
        service_queues(&session, &mut report);
    }
    #[cfg(not(feature = "amqp"))]
    skip_event_hub(&mut report);
    report.usable = usable(&report.permissions);
    Ok(report)
}

fn parsed(connection: &Connection, took: Duration) -> Check {
    let (_, validation) = read(connection);
    let warnings: Vec<String> = validation
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Warning)
        .map(|problem| format!("{}: {}", problem.pointer, problem.message))
        .collect();
    let (outcome, message) = if warnings.is_empty() {
        (CheckOutcome::Pass, "The values can be used.".to_owned())
    } else {
        (CheckOutcome::Warn, warnings.join("; "))
    };
    let remedy = validation
        .problems
        .into_iter()
        .filter(|problem| problem.severity == Severity::Warning)
        .find_map(|problem| problem.fix);
    check("values", "The values are complete and well formed", outcome, message, remedy, took)
}

/// Reaches a service, authenticates, and asks for each permission.
fn try_service(platform: &dyn Platform, client: &Client, report: &mut Report) {
    let (prefix, permissions): (&str, &[Permission]) = match client.api().service {
        Service::IotHub => ("hub", &Permission::HUB),
        Service::Dps => ("dps", &Permission::DPS),
    };
    let host = &client.api().host;
    let policy = &client.api().key.policy;
    let started = platform.monotonic();
    let name = client.probe_name();
    let answers: Vec<(Permission, Result<ProbeAnswer>)> =
        permissions.iter().map(|permission| (*permission, probe(client, *permission, &name))).collect();
    let took = platform.monotonic().saturating_sub(started);

    let reached =
        answers.iter().any(|(_, answer)| matches!(answer, Ok(ProbeAnswer::Granted(_) | ProbeAnswer::Refused(_))));
    let failure = answers.iter().find_map(|(_, answer)| answer.as_ref().err());
    let title = format!("{host} answers over a trusted TLS connection");
    match failure {
        Some(error) if !reached => {
            let remedy = reach_remedy(error, client.api().service);
            report.checks.push(check(
                &format!("{prefix}-reach"),
                &title,
                CheckOutcome::Fail,
                describe(error),
                Some(remedy),
                took,
            ));
        }
        _ => report.checks.push(check(
            &format!("{prefix}-reach"),
            &title,
            CheckOutcome::Pass,
            format!("{host} answered."),
            None,
            took,
        )),
    }

    let accepted = answers.iter().any(|(_, answer)| matches!(answer, Ok(ProbeAnswer::Granted(_))));
    let title = format!("The key of the policy \"{policy}\" is accepted");
    let id = format!("{prefix}-authenticate");
    report.checks.push(if accepted {
        check(&id, &title, CheckOutcome::Pass, "A request that was signed with it was let through.".to_owned(), None, Duration::ZERO)
    } else if reached {
        let remedy = "In Shared access policies open the policy and copy Primary key anew; check that the policy's name is spelled as there, and that it has any permission.";
        check(&id, &title, CheckOutcome::Fail, "Every request that was signed with it was refused.".to_owned(), Some(remedy.to_owned()), Duration::ZERO)
    } else {
        check(&id, &title, CheckOutcome::Skipped, "The service could not be reached.".to_owned(), None, Duration::ZERO)
    });

    let findings: Vec<PermissionFinding> =
        answers.iter().map(|(permission, answer)| finding(*permission, answer, accepted, policy)).collect();
    report.checks.push(summary(&format!("{prefix}-permissions"), client.api().service, &findings, accepted));
    report.permissions.extend(findings);
}

/// One probe. Whether a device may be spoken for is asked about a device that exists, if there is one: for another, the
/// service may refuse whoever asks.
fn probe(client: &Client, permission: Permission, name: &str) -> Result<ProbeAnswer> {
    let answer = client.probe(permission, name)?;
    if permission != Permission::DeviceConnect || !matches!(answer, ProbeAnswer::Refused(_)) {
        return Ok(answer);
    }
    let hub = crate::iothub::IotHub::new(client);
    let devices = hub.query("SELECT deviceId FROM devices", 1, None).map(|page| page.items).unwrap_or_default();
    match devices.first().and_then(|device| device.get("deviceId")?.as_str()) {
        Some(existing) => client.probe(permission, existing),
        None => Ok(ProbeAnswer::NoProbe),
    }
}

fn finding(
    permission: Permission,
    answer: &Result<ProbeAnswer>,
    key_accepted: bool,
    policy: &str,
) -> PermissionFinding {
    let (grant, evidence, remedy) = match answer {
        Ok(ProbeAnswer::Granted(status)) => {
            (Grant::Granted, format!("A request that needs it was let through (status {status})."), None)
        }
        Ok(ProbeAnswer::Refused(status)) if key_accepted => (
            Grant::Denied,
            format!("A request that needs it was refused (status {status}), while others were let through."),
            Some(permission.remedy(policy)),
        ),
        Ok(ProbeAnswer::Refused(_)) => (
            Grant::CannotBeProbed,
            "The key itself is not accepted.".to_owned(),
            Some("Mend the key first, then test again.".to_owned()),
        ),
        Ok(ProbeAnswer::NoProbe) if permission == Permission::DeviceConnect => (
            Grant::CannotBeProbed,
            "It can be told only for a device that exists, and none was found.".to_owned(),
            Some(format!("If it should be missing: {}", permission.remedy(policy))),
        ),
        Ok(ProbeAnswer::NoProbe) => (
            Grant::CannotBeProbed,
            "No request of the service's API that changes nothing needs it.".to_owned(),
            Some(format!("If it should be missing: {}", permission.remedy(policy))),
        ),
        Err(error) => (
            Grant::CannotBeProbed,
            format!("The service could not be asked: {}", error.record().message),
            Some("Test again later.".to_owned()),
        ),
    };
    PermissionFinding {
        permission: permission.id().to_owned(),
        grant,
        evidence,
        unlocks: manifest::unlocked_by(permission),
        remedy,
    }
}

fn summary(id: &str, service: Service, findings: &[PermissionFinding], accepted: bool) -> Check {
    let title = format!("The policy has the permissions that {} asks for", service.title());
    if !accepted {
        return check(
            id,
            &title,
            CheckOutcome::Skipped,
            "The key is not accepted, or the service could not be reached.".to_owned(),
            None,
            Duration::ZERO,
        );
    }
    let denied: Vec<&PermissionFinding> = findings.iter().filter(|finding| finding.grant == Grant::Denied).collect();
    if denied.is_empty() {
        return check(
            id,
            &title,
            CheckOutcome::Pass,
            "None of those that can be probed is missing.".to_owned(),
            None,
            Duration::ZERO,
        );
    }
    let names: Vec<&str> = denied.iter().map(|finding| finding.permission.as_str()).collect();
    // A policy with less is a choice as long as something still works.
    let blocked = denied.iter().map(|finding| finding.unlocks.len()).sum::<usize>();
    let remedy = denied.iter().filter_map(|finding| finding.remedy.clone()).collect::<Vec<_>>().join(" ");
    let message =
        format!("Missing: {}. {blocked} uses of them by triggers and actions will be refused.", names.join(", "));
    check(id, &title, CheckOutcome::Warn, message, Some(remedy), Duration::ZERO)
}

fn skip_dps(report: &mut Report) {
    let message = "The account has no Device Provisioning Service: triggers and actions on enrollments and registrations are not available.";
    let remedy = "Edit the connection: enter the DPS service endpoint, a policy name and its key.";
    report.checks.push(check(
        "dps-reach",
        "A Device Provisioning Service is linked",
        CheckOutcome::Skipped,
        message.to_owned(),
        Some(remedy.to_owned()),
        Duration::ZERO,
    ));
    report.permissions.extend(Permission::DPS.iter().map(|permission| PermissionFinding {
        permission: permission.id().to_owned(),
        grant: Grant::CannotBeProbed,
        evidence: "The account has no Device Provisioning Service.".to_owned(),
        unlocks: manifest::unlocked_by(*permission),
        remedy: Some(remedy.to_owned()),
    }));
}

/// Attaches to the hub's queues for services: nothing is taken, and nothing is locked.
#[cfg(feature = "amqp")]
fn service_queues(session: &Session, report: &mut Report) {
    let started = session.platform().monotonic();
    let tried = super::service_endpoint::try_queues(session);
    let took = session.platform().monotonic().saturating_sub(started);
    let title = "Feedback on messages and notifications of files can be read";
    report.checks.push(match tried {
        Ok(()) => check("service-queues", title, CheckOutcome::Pass, "A reader could attach to both queues.".to_owned(), None, took),
        Err(error) => {
            let (outcome, remedy) = match error.code() {
                ErrorCode::AuthFailed | ErrorCode::PermissionDenied => {
                    (CheckOutcome::Fail, Permission::ServiceConnect.remedy(&session.account().hub.key.policy))
                }
                // A hub of the Basic tier is as it should be.
                _ => (
                    CheckOutcome::Warn,
                    "Check that the engine lets the connector reach the hub on port 5671. Hubs of the Basic tier have no such queues: there, the triggers on them do not work, and all others do.".to_owned(),
                ),
            };
            check("service-queues", title, outcome, describe(&error), Some(remedy), took)
        }
    });
}

/// A build without AMQP has no trigger that reads from it.
#[cfg(not(feature = "amqp"))]
fn skip_event_hub(report: &mut Report) {
    let message = "This build of the connector was made without AMQP: it has no trigger that reads from it.";
    report.checks.push(check(
        "event-hub",
        "The Event Hub-compatible endpoint",
        CheckOutcome::Skipped,
        message.to_owned(),
        None,
        Duration::ZERO,
    ));
}

/// Operations none of whose permissions is known to be missing; without the service that grants them, none.
fn usable(findings: &[PermissionFinding]) -> Vec<String> {
    let missing = |id: &String| {
        findings.iter().any(|finding| {
            let unasked = finding.grant == Grant::CannotBeProbed
                && finding.permission != Permission::ServiceConfig.id()
                && finding.permission != Permission::DeviceConnect.id();
            finding.permission == *id && (finding.grant == Grant::Denied || unasked)
        })
    };
    manifest::operations()
        .filter(|operation| !operation.permissions.iter().any(missing))
        .map(|operation| operation.id)
        .collect()
}

/// An error as the message of a check.
pub(super) fn describe(error: &Error) -> String {
    let record = error.record();
    record.detail.as_ref().map_or_else(|| record.message.clone(), |detail| format!("{} ({detail})", record.message))
}

fn reach_remedy(error: &Error, service: Service) -> String {
    match error.code() {
        ErrorCode::Timeout => {
            "Check that no firewall or IP filter of the service keeps the engine out, then test again.".to_owned()
        }
        ErrorCode::RateLimited | ErrorCode::QuotaExceeded => {
            "The service is throttling: wait a minute, then test again.".to_owned()
        }
        _ => format!(
            "Check the host name against Overview in the Azure portal, that {} exists, and that the engine may connect to it.",
            service.title()
        ),
    }
}

/// A step of a report.
pub(super) fn check(
    id: &str,
    title: &str,
    outcome: CheckOutcome,
    message: String,
    remedy: Option<String>,
    took: Duration,
) -> Check {
    let elapsed_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    Check { id: id.to_owned(), title: title.to_owned(), outcome, message, remedy, elapsed_ms }
}
