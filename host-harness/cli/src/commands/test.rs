//! `test`.

use connector_host::interface::connection::{CheckOutcome, Grant, PermissionFinding};

use super::output::Output;
use super::session::{Linked, Session};
use super::{Done, Exit};

/// Tests the account. Fails if one of the checks fails.
pub(crate) async fn run(session: &Session<'_>, output: &Output) -> Done {
    let Linked { connector, tenant, connection } = session.linked().await?;
    let report = {
        let _spinner = output.spinner("trying the account out");
        connector.account(&tenant, &connection).test().await?
    };
    let failed = report.checks.iter().any(|check| check.outcome == CheckOutcome::Fail);
    if output.is_json() {
        output.json(&report)?;
    } else {
        let checks = report.checks.into_iter();
        output.table(
            ["", "Check", "Found", "What to do", "Took"],
            checks
                .map(|check| {
                    let outcome = match check.outcome {
                        CheckOutcome::Pass => "✓ pass",
                        CheckOutcome::Warn => "! warn",
                        CheckOutcome::Fail => "✗ fail",
                        CheckOutcome::Skipped => "- skipped",
                    };
                    [
                        outcome.to_owned(),
                        check.title,
                        check.message,
                        check.remedy.unwrap_or_default(),
                        format!("{} ms", check.elapsed_ms),
                    ]
                })
                .collect(),
        )?;
        output.heading("Permissions")?;
        permissions(output, report.permissions)?;
        output.heading(&match report.usable.as_slice() {
            [] => "Nothing can be used yet.".to_owned(),
            usable => format!("Can be used: {}", usable.join(", ")),
        })?;
    }
    if failed { Err(Exit::Said) } else { Ok(()) }
}

/// Prints the table of permissions.
pub(crate) fn permissions(output: &Output, findings: Vec<PermissionFinding>) -> Done {
    let rows = findings.into_iter().map(|finding| {
        let grant = match finding.grant {
            Grant::Granted => "✓ granted",
            Grant::Denied => "✗ denied",
            Grant::CannotBeProbed => "? cannot be probed",
        };
        [
            finding.permission,
            grant.to_owned(),
            finding.evidence,
            finding.unlocks.join(" "),
            finding.remedy.unwrap_or_default(),
        ]
    });
    output.table(["Permission", "", "How it was found out", "Unlocks", "What to change"], rows.collect())
}
