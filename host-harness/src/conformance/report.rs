//! What is judged, and the result.

use std::collections::BTreeMap;

use serde::Serialize;

use super::rules::Rule;
use crate::connection::Connection;
use crate::tenant::Tenant;

/// An account for the checks that poll triggers.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers construct this struct, and it has no default value")]
pub struct TestAccount {
    /// The tenant whose limits and network rights apply to the calls.
    pub tenant: Tenant,
    /// The account.
    pub connection: Connection,
    /// Configurations as JSON texts, by the id of their trigger. A trigger without a configuration is polled with `{}`
    /// if its schema allows that, otherwise with its sample.
    pub configurations: BTreeMap<String, String>,
}

/// Whether a rule is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::exhaustive_enums, reason = "there is no fourth case: a rule is kept, is broken, or was not checked")]
pub enum Verdict {
    /// Every check of the rule passed.
    Pass,
    /// At least one check of the rule failed.
    Fail,
    /// The rule was not checked: there was nothing to check, or no account was given.
    Skip,
}

/// The result for one rule.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// The reason for the rule.
    pub why: &'static str,
    /// Whether the rule is kept.
    pub verdict: Verdict,
    /// Each breach, or the number of checks. Contains no secret of the account.
    pub evidence: Vec<String>,
}

/// The result for a component.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Report {
    /// The connector's id, version and interface version, as it declares them; none if it could not be loaded.
    pub connector: Option<[String; 3]>,
    /// One finding for each rule, in the order of [`Rule::ALL`].
    pub findings: Vec<Finding>,
}

impl Report {
    /// The findings for rules that are broken.
    pub fn failed(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.verdict == Verdict::Fail)
    }

    /// Whether no rule was broken.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.failed().next().is_none()
    }
}
