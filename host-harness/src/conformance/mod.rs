//! Checks whether a component obeys the rules of the connector interface. Works for every connector, from an engine's
//! point of view.
//!
//! Without an account, no check uses the network: the connector is judged by its descriptor and by its answers to
//! malformed and unknown values. With an account, its triggers are polled as well; nothing is changed at the service.
//!
//! ```no_run
//! use connector_host::conformance;
//! use connector_host::{Host, HostOptions};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let host = Host::new(HostOptions::default())?;
//! let report = conformance::judge(&host, std::fs::read("connector.wasm")?, None).await;
//! for finding in report.failed() {
//!     println!("{}: {:?}", finding.rule.id(), finding.evidence);
//! }
//! # Ok(())
//! # }
//! ```

mod descriptor;
mod malformed;
mod polls;
mod report;
mod rules;
mod trial;

pub use self::report::{Finding, Report, TestAccount, Verdict};
pub use self::rules::Rule;
use self::trial::Trial;
use crate::error::{CallError, LoadError};
use crate::loading::Host;

/// Checks a component against all rules.
///
/// # Panics
///
/// If called outside of a tokio runtime.
pub async fn judge(host: &Host, wasm: Vec<u8>, account: Option<&TestAccount>) -> Report {
    let mut trial = Trial::default();
    descriptor::imports(&wasm, &mut trial);
    let connector = match host.load(wasm).await {
        Ok(connector) => connector,
        Err(error) => {
            trial.breach(Rule::Loads, with_causes(&error));
            if let LoadError::Describe(CallError::Protocol { field, problem, .. }) = &error {
                trial.breach(Rule::Answers, format!("metadata.describe: {field} {problem}"));
            }
            if let LoadError::EgressRule { .. } = &error {
                trial.breach(Rule::Egress, error.to_string());
            }
            return trial.report(None);
        }
    };
    trial.kept(Rule::Loads);
    trial.permissions = connector.descriptor().permissions.iter().map(|permission| permission.id.clone()).collect();
    descriptor::judge(&connector, &mut trial).await;
    malformed::judge(&connector, &mut trial).await;
    descriptor::egress(connector.descriptor(), &mut trial);
    if let Some(account) = account {
        polls::judge(&connector, account, &mut trial).await;
    }
    trial.report(Some(&connector))
}

/// An error and its causes, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
