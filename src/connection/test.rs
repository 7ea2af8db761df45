//! The connection test: it returns an ordered report and a table of permissions, and changes nothing.

use std::time::Duration;

use crate::account::{Account, read};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::connection::{
    Check, CheckOutcome, Grant, PermissionFinding, Report,
};
use crate::bindings::workflow::connector::types::Connection;
use crate::error::{Error, ErrorCode, Result, Severity};
use crate::http::{Client, NETWORK_REFUSES_LIKE_THAT, ProbeAnswer, Service};
use crate::manifest;
use crate::platform::Platform;
use crate::quoted::shown;
use crate::session::Session;

/// Tests the account and its permissions.
///
/// # Errors
/// `invalid-config` if the connection's values cannot be used at all.
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

/// Connects to a service, authenticates, and tests each permission.
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
        answers.iter().any(|(_, answer)| matches!(answer, Ok(ProbeAnswer::Granted | ProbeAnswer::Refused(_))));
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

    let key = KeyState::of(&answers);
    let title = format!("The key of the policy \"{policy}\" is accepted");
    let id = format!("{prefix}-authenticate");
    let at_once = Duration::ZERO;
    report.checks.push(match &key {
        KeyState::Accepted => {
            let message = "The service accepted a request that was signed with this key.".to_owned();
            check(&id, &title, CheckOutcome::Pass, message, None, at_once)
        }
        KeyState::Refused => {
            let message = format!(
                "The service refused every request that was signed with this key. {NETWORK_REFUSES_LIKE_THAT} Checks \
                 that need the key were skipped."
            );
            check(&id, &title, CheckOutcome::Fail, message, Some(key_remedy(client.api().service, policy)), at_once)
        }
        KeyState::Unknown(why) => check(&id, &title, CheckOutcome::Skipped, not_judged(why), None, at_once),
    });

    let findings: Vec<PermissionFinding> =
        answers.iter().map(|(permission, answer)| finding(*permission, answer, &key, policy)).collect();
    report.checks.push(summary(&format!("{prefix}-permissions"), client.api().service, &findings, &key));
    report.permissions.extend(findings);
}

/// What the probe requests show about the key.
enum KeyState {
    /// The service accepted a request that was signed with the key.
    Accepted,
    /// The service refused every request that it answered.
    Refused,
    /// The service answered no request. The text states why.
    Unknown(String),
}

impl KeyState {
    fn of(answers: &[(Permission, Result<ProbeAnswer>)]) -> Self {
        let any =
            |wanted: fn(&ProbeAnswer) -> bool| answers.iter().any(|(_, answer)| answer.as_ref().is_ok_and(wanted));
        if any(|answer| *answer == ProbeAnswer::Granted) {
            Self::Accepted
        } else if any(|answer| matches!(answer, ProbeAnswer::Refused(_))) {
            Self::Refused
        } else {
            let error = answers.iter().find_map(|(_, answer)| answer.as_ref().err());
            Self::Unknown(error.map_or_else(|| "nothing was asked".to_owned(), |error| error.record().message.clone()))
        }
    }
}

/// The steps to take, in this order, when a key is refused.
pub(super) fn key_remedy(service: Service, policy: &str) -> String {
    let place = match service {
        Service::IotHub => "the IoT Hub",
        Service::Dps => "the Device Provisioning Service",
    };
    format!(
        "1. In the Azure portal open {place}, then Shared access policies, then the policy \"{policy}\": the policy's name in the \
         connection must be the same, and the key must be the Primary key shown there. Copy the whole key again. \
         2. If both are the same, look at the policy's permissions: it needs at least one. \
         3. If it has some, open Networking: public network access has to be on, and an IP filter has to let the engine's \
         address in. \
         4. Test again: the checks that were not judged need this key."
    )
}

fn not_judged(why: &str) -> String {
    format!("Not judged, because {why}")
}

/// Why requests that are signed with the hub's key are skipped; none if the key was not refused.
#[cfg(feature = "amqp")]
pub(super) fn hub_key_is_refused(report: &Report) -> Option<String> {
    let refused = |check: &&Check| check.id == "hub-authenticate" && check.outcome == CheckOutcome::Fail;
    report.checks.iter().find(refused).map(|_| not_judged("the hub does not accept the key: see above."))
}

/// Sends one probe request. The permission to act in a device's name is tested with an existing device, if there is
/// one: for a device that does not exist, the service may refuse every caller.
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

fn finding(permission: Permission, answer: &Result<ProbeAnswer>, key: &KeyState, policy: &str) -> PermissionFinding {
    let (grant, evidence, remedy) = match answer {
        Ok(ProbeAnswer::Granted) => {
            (Grant::Granted, "The service accepted a request that needs this permission.".to_owned(), None)
        }
        Ok(ProbeAnswer::Refused(status)) if matches!(key, KeyState::Accepted) => (
            Grant::Denied,
            format!("The service refused a request that needs this permission (status {status}), but accepted others."),
            Some(permission.remedy(policy)),
        ),
        // Only the check of the key itself states what to do.
        Ok(_) if matches!(key, KeyState::Refused) => {
            (Grant::CannotBeProbed, not_judged("the key of the policy is not accepted."), None)
        }
        Ok(ProbeAnswer::Refused(_)) => {
            (Grant::CannotBeProbed, not_judged("the service did not answer all requests."), None)
        }
        Ok(ProbeAnswer::NoProbe) if permission == Permission::DeviceConnect => (
            Grant::CannotBeProbed,
            "This permission can be tested only with an existing device, and none was found.".to_owned(),
            Some(format!("If the permission is missing: {}", permission.remedy(policy))),
        ),
        Ok(ProbeAnswer::NoProbe) => (
            Grant::CannotBeProbed,
            "Every request that needs this permission changes something, so the permission was not tested.".to_owned(),
            Some(format!("If the permission is missing: {}", permission.remedy(policy))),
        ),
        Err(error) => (
            Grant::CannotBeProbed,
            not_judged(&error.record().message),
            matches!(key, KeyState::Accepted).then(|| "Test again later.".to_owned()),
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

fn summary(id: &str, service: Service, findings: &[PermissionFinding], key: &KeyState) -> Check {
    let title = format!("The policy has the permissions that {} asks for", service.title());
    let unjudged = match key {
        KeyState::Accepted => None,
        KeyState::Refused => Some(not_judged("the key of the policy is not accepted.")),
        KeyState::Unknown(why) => Some(not_judged(why)),
    };
    if let Some(message) = unjudged {
        return check(id, &title, CheckOutcome::Skipped, message, None, Duration::ZERO);
    }
    let denied: Vec<&PermissionFinding> = findings.iter().filter(|finding| finding.grant == Grant::Denied).collect();
    if denied.is_empty() {
        return check(
            id,
            &title,
            CheckOutcome::Pass,
            "None of the permissions that can be tested is missing.".to_owned(),
            None,
            Duration::ZERO,
        );
    }
    let names: Vec<&str> = denied.iter().map(|finding| finding.permission.as_str()).collect();
    // A policy with fewer permissions may be intended, so a missing permission is a warning, not a failure.
    let blocked = denied.iter().map(|finding| finding.unlocks.len()).sum::<usize>();
    let remedy = denied.iter().filter_map(|finding| finding.remedy.clone()).collect::<Vec<_>>().join(" ");
    let message = format!(
        "Missing: {}. {blocked} uses of these permissions by triggers and actions will be refused.",
        names.join(", ")
    );
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

/// Tests the hub's queues for back ends by attaching to them. No message is taken or locked.
#[cfg(feature = "amqp")]
fn service_queues(session: &Session, report: &mut Report) {
    let title = "Feedback on messages and notifications of files can be read";
    if let Some(message) = hub_key_is_refused(report) {
        report.checks.push(check("service-queues", title, CheckOutcome::Skipped, message, None, Duration::ZERO));
        return;
    }
    let started = session.platform().monotonic();
    let tried = crate::session::service_endpoint::try_queues(session);
    let took = session.platform().monotonic().saturating_sub(started);
    report.checks.push(match tried {
        Ok(()) => check("service-queues", title, CheckOutcome::Pass, "A reader could attach to both queues.".to_owned(), None, took),
        Err(error) => {
            let (outcome, remedy) = match error.code() {
                ErrorCode::PermissionDenied => {
                    (CheckOutcome::Fail, Permission::ServiceConnect.remedy(&session.account().hub.key.policy))
                }
                ErrorCode::AuthFailed | ErrorCode::AuthExpired => {
                    (CheckOutcome::Fail, key_remedy(Service::IotHub, &session.account().hub.key.policy))
                }
                // On a hub of the Basic tier this is expected, so it is only a warning.
                _ => (
                    CheckOutcome::Warn,
                    "Check that the engine lets the connector reach the hub on port 5671. Hubs of the Basic tier do not have these queues: on such a hub, the triggers that read the queues do not work, but all other triggers do.".to_owned(),
                ),
            };
            check("service-queues", title, outcome, describe(&error), Some(remedy), took)
        }
    });
}

/// Skips the check in a build without AMQP, where no trigger reads from the endpoint.
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

/// The operations that can be used: none of their permissions is known to be missing, and the service that grants the
/// permissions is linked.
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

/// The text of an error, for the message of a check.
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

/// One check of the report.
pub(super) fn check(
    id: &str,
    title: &str,
    outcome: CheckOutcome,
    message: String,
    remedy: Option<String>,
    took: Duration,
) -> Check {
    let elapsed_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    Check {
        id: id.to_owned(),
        title: shown(title),
        outcome,
        message: shown(message),
        remedy: remedy.map(shown),
        elapsed_ms,
    }
}
