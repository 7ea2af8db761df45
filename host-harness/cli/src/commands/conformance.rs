//! `conformance`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use connector_host::LoadError;
use connector_host::conformance::{self, Finding, TestAccount, Verdict};
use serde_json::Value;
use serde_json::value::RawValue;

use super::output::Output;
use super::session::{Linked, Session};
use super::{Done, Exit, files, usage};

#[derive(Debug, Args)]
pub(crate) struct ConformanceArguments {
    /// A file with the triggers' configurations, as a JSON object with the triggers' ids as keys: {"TRIGGER": {...}} (-
    /// is standard input). Only used with a connection. A trigger that is not in it is polled with {} or with its
    /// sample.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Checks the component. Fails if it breaks a rule. Without a connection nothing leaves the machine.
pub(crate) async fn run(session: &Session<'_>, output: &Output, arguments: ConformanceArguments) -> Done {
    let configurations = files::read_json(arguments.config.as_deref()).map_err(usage)?;
    let configurations: BTreeMap<String, Box<RawValue>> = serde_json::from_str(&configurations)
        .context("`--config` must be a JSON object of configurations with the triggers' ids as keys")
        .map_err(usage)?;
    let (_, wasm) = session.component()?;
    let host = session.host()?;
    // Compiles the component and says so, also where there is no account; judging then takes it from the cache.
    let loaded = session.load(&host, wasm.clone()).await;
    let account = if session.has_connection() {
        match loaded {
            Ok(connector) => {
                let Linked { tenant, connection, .. } = session.linked_to(connector)?;
                let configurations =
                    configurations.into_iter().map(|(id, config)| (id, config.get().to_owned())).collect();
                Some(TestAccount { tenant, connection, configurations })
            }
            // `conformance::judge` does not know the domains that the operator stated, so this error is reported here.
            Err(error @ LoadError::EgressRule { .. }) => return Err(Exit::Failed(error.into())),
            // `conformance::judge` loads the component too, and reports this error as a finding.
            Err(_) => None,
        }
    } else {
        None
    };
    let spinner = output.spinner("judging the connector");
    let report = conformance::judge(&host, wasm, account.as_ref()).await;
    drop(spinner);
    if output.is_json() {
        let mut document = serde_json::json!(report);
        document["passed"] = Value::Bool(report.passed());
        output.json(&document)?;
    } else {
        if let Some([id, version, interface]) = &report.connector {
            output.line(&format!("{id} {version}, interface {interface}"))?;
        }
        output.table(["", "Rule", "Evidence", "Why"], report.findings.iter().map(row).collect())?;
        let failed = report.failed().count();
        let said = if failed == 0 { "No rule is broken.".to_owned() } else { format!("{failed} rules are broken.") };
        output.heading(&said)?;
    }
    if report.passed() { Ok(()) } else { Err(Exit::Said) }
}

fn row(finding: &Finding) -> [String; 4] {
    let verdict = match finding.verdict {
        Verdict::Pass => "✓ pass",
        Verdict::Fail => "✗ fail",
        Verdict::Skip => "- skip",
    };
    [verdict.to_owned(), finding.rule.id().to_owned(), finding.evidence.join("\n"), finding.why.to_owned()]
}
