//! The results of the checks, while they are made.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use super::report::{Finding, Report, Verdict};
use super::rules::Rule;
use crate::call::Connector;
use crate::error::CallError;
use crate::interface::connection::Validation;
use crate::interface::types::{EffectState, Error, ErrorCode, FieldProblem, Retry};

/// The largest number of breaches to report for one rule. A single defect often shows in many places.
const MOST_EVIDENCE: usize = 10;

/// The results of the checks of one rule.
#[derive(Default)]
struct Seen {
    kept: usize,
    breaches: Vec<String>,
    more: usize,
}

/// The results of the checks of all rules.
#[derive(Default)]
pub(super) struct Trial {
    seen: BTreeMap<Rule, Seen>,
    /// Ids of the permissions that the descriptor declares.
    pub(super) permissions: Vec<String>,
    /// The fields that `validate` fills in, of all profiles together.
    pub(super) normalized: BTreeSet<String>,
    /// The texts that must never appear in an answer.
    pub(super) secrets: Vec<String>,
}

impl Trial {
    pub(super) fn kept(&mut self, rule: Rule) {
        self.seen.entry(rule).or_default().kept += 1;
    }

    pub(super) fn breach(&mut self, rule: Rule, evidence: impl Into<String>) {
        let seen = self.seen.entry(rule).or_default();
        let mut evidence: String = evidence.into();
        // The evidence of a leak must not itself contain the secret.
        for secret in &self.secrets {
            evidence = evidence.replace(secret.as_str(), "(secret)");
        }
        if seen.breaches.len() < MOST_EVIDENCE {
            seen.breaches.push(evidence);
        } else {
            seen.more += 1;
        }
    }

    pub(super) fn check(&mut self, rule: Rule, kept: bool, evidence: impl FnOnce() -> String) {
        if kept { self.kept(rule) } else { self.breach(rule, evidence()) }
    }

    /// The checks that apply to every call. `rule` is broken if the call ended neither with an answer nor with an error
    /// of the connector's own. Returns none in that case, and also if the host refused the call.
    pub(super) fn settle<T: Serialize>(
        &mut self,
        rule: Rule,
        what: &str,
        called: Result<T, CallError>,
    ) -> Option<Result<T, Box<Error>>> {
        match called {
            Ok(answer) => {
                self.kept(Rule::Answers);
                self.look_for_secrets(what, &json!(answer));
                Some(Ok(answer))
            }
            Err(CallError::Connector(failure)) => {
                self.kept(Rule::Answers);
                self.look_for_secrets(what, &json!(failure.error));
                self.error(what, &failure.error);
                Some(Err(Box::new(failure.error)))
            }
            Err(CallError::Protocol { function, field, problem }) => {
                self.breach(Rule::Answers, format!("{what}: {function}: {field} {problem}"));
                None
            }
            // Here the host refused or ended the call, so the connector has broken no rule.
            Err(
                CallError::Egress(_)
                | CallError::ConnectionTooLarge { .. }
                | CallError::Busy { .. }
                | CallError::Cancelled,
            ) => None,
            Err(error) => {
                self.breach(rule, format!("{what}: {error}"));
                None
            }
        }
    }

    pub(super) fn look_for_secrets(&mut self, what: &str, answer: &Value) {
        if self.secrets.is_empty() {
            return;
        }
        // JSON escapes some characters, so the search looks at each unescaped text.
        let mut texts = Vec::new();
        collect_texts(answer, &mut texts);
        let leaked = texts.iter().any(|text| self.secrets.iter().any(|secret| text.contains(secret.as_str())));
        self.check(Rule::SecretsKept, !leaked, || format!("{what}: a secret of the connection is in the answer"));
    }

    /// Records which fields `validate` filled in.
    pub(super) fn derived(&mut self, validation: Option<&Validation>) {
        if let Some(Ok(Value::Object(fields))) = validation.map(|it| serde_json::from_str(&it.normalized)) {
            self.normalized.extend(fields.into_iter().map(|(name, _)| name));
        }
    }

    /// Checks each member of an error, and whether the members agree.
    pub(super) fn error(&mut self, what: &str, error: &Error) {
        let mut judge = |kept: bool, problem: &str| {
            self.check(Rule::ErrorsConsistent, kept, || format!("{what}: {problem}"));
        };
        judge(!error.message.trim().is_empty(), "the error has no message");
        judge(error.retry != Retry::After(0), "the error allows a repetition after 0 ms");
        judge(error.code != ErrorCode::Cancelled, "the error code is `cancelled`, which only the host may use");
        if matches!(error.code, ErrorCode::InvalidInput | ErrorCode::InvalidConfig) {
            judge(!error.fields.is_empty(), "the error calls an input invalid, but names no field");
            judge(
                !matches!(error.retry, Retry::After(_) | Retry::Backoff),
                "the error calls an input invalid, but says to repeat the call",
            );
            judge(
                error.effect == EffectState::None,
                "the error calls an input invalid, but says that something may have been done",
            );
        }
        let permission = error.missing_permission.as_ref();
        judge(
            permission.is_none() || error.code == ErrorCode::PermissionDenied,
            "the error names a missing permission, but its code is not `permission-denied`",
        );
        if let Some(missing) = permission {
            let declared = self.permissions.contains(&missing.permission);
            let what = format!("{what}: the missing permission {:?} is not declared", missing.permission);
            self.check(Rule::ErrorsConsistent, declared, || what);
        }
        for field in &error.fields {
            self.field(Rule::ErrorsConsistent, what, field);
        }
    }

    pub(super) fn field(&mut self, rule: Rule, what: &str, field: &FieldProblem) {
        let FieldProblem { pointer, code, message, .. } = field;
        self.check(rule, is_pointer(pointer), || format!("{what}: {pointer:?} is not a JSON Pointer"));
        self.check(rule, is_kebab(code), || format!("{what}: the problem's code {code:?} is not kebab-case"));
        self.check(rule, !message.trim().is_empty(), || format!("{what}: the problem has no message"));
    }

    pub(super) fn report(mut self, connector: Option<&Connector>) -> Report {
        let findings = Rule::ALL.iter().map(|rule| {
            let Seen { kept, breaches, more } = self.seen.remove(rule).unwrap_or_default();
            let (verdict, evidence) = match (breaches.is_empty(), kept) {
                (true, 0) => (Verdict::Skip, vec!["nothing to check".to_owned()]),
                (true, kept) => (Verdict::Pass, vec![format!("{kept} checks")]),
                (false, _) => {
                    let rest = (more > 0).then(|| format!("and {more} more"));
                    (Verdict::Fail, breaches.into_iter().chain(rest).collect())
                }
            };
            Finding { rule: *rule, why: rule.why(), verdict, evidence }
        });
        let findings = findings.collect();
        let connector = connector.map(|connector| {
            let descriptor = connector.descriptor();
            let version = connector.interface_version().to_string();
            [descriptor.id.clone(), descriptor.version.clone(), version]
        });
        Report { connector, findings }
    }
}

fn collect_texts<'a>(value: &'a Value, texts: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect_texts(item, texts)),
        Value::Object(members) => members.iter().for_each(|(name, item)| {
            texts.push(name);
            collect_texts(item, texts);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether a text is kebab-case: lower-case words of letters and digits, joined by single hyphens, with a letter first.
pub(super) fn is_kebab(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .split('-')
            .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()))
}

/// Whether a text is a JSON Pointer (RFC 6901).
pub(super) fn is_pointer(text: &str) -> bool {
    (text.is_empty() || text.starts_with('/'))
        && text.split('~').skip(1).all(|after| after.starts_with('0') || after.starts_with('1'))
}

#[cfg(test)]
mod tests {
    use super::{is_kebab, is_pointer};

    #[test]
    fn knows_ids_and_pointers() {
        for text in ["a", "a-b2", "abc-def-0"] {
            assert!(is_kebab(text), "{text}");
        }
        for text in ["", "A", "a--b", "-a", "a-", "a_b", "2a", "ä"] {
            assert!(!is_kebab(text), "{text}");
        }
        for text in ["", "/", "/a/0", "/a~1b~0"] {
            assert!(is_pointer(text), "{text}");
        }
        for text in ["a", "$.a", "#/a", "/a~", "/a~2"] {
            assert!(!is_pointer(text), "{text}");
        }
    }
}
