//! The connector's only error type: the interface's error record, with constructors that keep it consistent. Each text
//! goes through `shown`, because the text may quote a service.

use std::fmt;
use std::time::Duration;

use crate::bindings::workflow::connector::types::Error as Record;
pub use crate::bindings::workflow::connector::types::{
    EffectState, ErrorCode, FieldProblem, MissingPermission, Retry, ServiceFault, Severity,
};
use crate::quoted::{quoted, shown};
use crate::secret::HIDDEN;

/// The longest error code or tracking id of a service, in characters. An AMQP condition with a six-digit code must fit.
const LONGEST_CODE: usize = 256;

/// A shorter beginning of a secret is not looked for at the end of a text: it could be an ordinary word's, and opens
/// nothing.
const SHORTEST_CUT: usize = 6;

/// The result type of the connector's fallible functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A typed, actionable error. Its record is boxed, because it is large and errors are rare.
#[derive(Clone, Debug, PartialEq)]
pub struct Error(Box<Record>);

impl Error {
    /// An error that changed nothing, with the retry advice that its code usually has.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(Box::new(Record {
            code,
            message: shown(message),
            detail: None,
            fields: Vec::new(),
            item: None,
            retry: usual_retry(code),
            effect: EffectState::None,
            service: None,
            missing_permission: None,
        }))
    }

    /// Bad input, with every field that is wrong. `code` must be `invalid-input` or `invalid-config`.
    pub fn fields(code: ErrorCode, what: &str, fields: Vec<FieldProblem>) -> Self {
        let message = match fields.as_slice() {
            [one] => format!("{what}: {}", describe(one)),
            many => format!(
                "{what}: {} problems, the first: {}",
                many.len(),
                many.first().map(describe).unwrap_or_default()
            ),
        };
        fields.into_iter().fold(Self::new(code, message), Self::with_problem)
    }

    /// Bad input in one field.
    pub fn field(pointer: &str, code: &str, message: impl Into<String>) -> Self {
        let problem = problem(pointer, code, message);
        Self::fields(ErrorCode::InvalidInput, "The input does not fit", vec![problem])
    }

    /// Adds technical detail for a log.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(shown(detail));
        self
    }

    /// Chooses which error of two attempts to report: usually the first, because the second attempt may have failed
    /// only for lack of time. If the first error only states that the connection failed or timed out, and the second is
    /// a definite answer, the second is reported. The detail contains the other error. When the first error is
    /// reported, it advises a retry if either error does.
    #[must_use]
    pub fn followed_by(self, second: Self) -> Self {
        let is_definite = |error: &Self| !matches!(error.code(), ErrorCode::Unavailable | ErrorCode::Timeout);
        let passes = |error: &Self| matches!(error.record().retry, Retry::Backoff | Retry::After(_));
        if !is_definite(&self) && is_definite(&second) {
            let detail = format!("{}; before it: {}", second.detail(), self.0.message);
            return second.with_detail(detail);
        }
        let detail = format!("{}; after it: {}", self.detail(), second.0.message);
        let retry = if passes(&self) {
            self.0.retry
        } else if passes(&second) {
            second.0.retry
        } else {
            self.0.retry
        };
        self.with_detail(detail).with_retry(retry)
    }

    fn detail(&self) -> &str {
        self.0.detail.as_deref().unwrap_or(&self.0.message)
    }

    /// Replaces the retry advice.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// States what effect the failed call may have had.
    #[must_use]
    pub fn with_effect(mut self, effect: EffectState) -> Self {
        self.0.effect = effect;
        self
    }

    /// Replaces the secrets in all texts of the error: a service may repeat what it received. Long texts have been cut,
    /// so the beginning of a secret at a text's end is replaced as well.
    #[must_use]
    pub fn without(mut self, secrets: &[String]) -> Self {
        let hide = |text: &mut String| {
            for secret in secrets {
                if text.contains(secret.as_str()) {
                    *text = text.replace(secret.as_str(), HIDDEN);
                }
            }
            if let Some(length) = secrets.iter().filter_map(|secret| cut_at_the_end(text, secret)).min() {
                text.truncate(length);
                text.push_str(HIDDEN);
            }
        };
        hide(&mut self.0.message);
        self.0.detail.as_mut().into_iter().for_each(hide);
        for field in &mut self.0.fields {
            hide(&mut field.message);
            field.fix.as_mut().into_iter().for_each(hide);
        }
        if let Some(fault) = &mut self.0.service {
            fault.code.iter_mut().chain(&mut fault.tracking_id).for_each(hide);
        }
        self
    }

    /// Adds the service's own error.
    #[must_use]
    pub fn with_service(mut self, fault: ServiceFault) -> Self {
        let short = |text: Option<String>| text.and_then(|text| quoted(&text, LONGEST_CODE));
        self.0.service = Some(ServiceFault { code: short(fault.code), tracking_id: short(fault.tracking_id), ..fault });
        self
    }

    /// Names the permission that the caller lacks.
    #[must_use]
    pub fn with_missing_permission(mut self, missing: MissingPermission) -> Self {
        self.0.missing_permission = Some(MissingPermission { remedy: shown(missing.remedy), ..missing });
        self
    }

    /// Adds a field that must be changed.
    #[must_use]
    pub fn with_problem(mut self, problem: FieldProblem) -> Self {
        let FieldProblem { message, fix, .. } = problem;
        self.0.fields.push(FieldProblem { message: shown(message), fix: fix.map(shown), ..problem });
        self
    }

    /// States the index of the item in its batch.
    #[must_use]
    pub fn with_item(mut self, item: u32) -> Self {
        self.0.item = Some(item);
        self
    }

    /// The error's code.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// The interface's record of this error.
    pub fn record(&self) -> &Record {
        &self.0
    }

    /// The HTTP status that the service answered with, if it answered.
    pub fn status(&self) -> Option<u16> {
        self.0.service.as_ref().and_then(|fault| fault.status)
    }
}

impl From<Error> for Record {
    /// An error about invalid input or configuration must name a field. If it names none, the whole value is named.
    fn from(error: Error) -> Self {
        let mut record = *error.0;
        let invalid = matches!(record.code, ErrorCode::InvalidInput | ErrorCode::InvalidConfig);
        if invalid && record.fields.is_empty() {
            record.fields.push(problem("", "unusable", record.message.clone()));
        }
        record
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.code, self.0.message)
    }
}

impl std::error::Error for Error {}

/// Where a text ends with the beginning of a secret, with or without a mark that it was cut.
fn cut_at_the_end(text: &str, secret: &str) -> Option<usize> {
    let text = text.trim_end_matches(['…', '.']);
    let ends = secret.char_indices().map(|(at, _)| at).filter(|at| *at >= SHORTEST_CUT);
    ends.rev().find_map(|end| text.strip_suffix(secret.get(..end)?).map(str::len))
}

/// The name of a code in the interface, such as `not-found`.
pub fn name_of(code: ErrorCode) -> String {
    let text = format!("{code:?}");
    let mut name = String::new();
    for letter in text.rsplit("::").next().unwrap_or_default().chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Reports the problems of an input together.
///
/// # Errors
/// `invalid-input` if there are any.
pub fn settle(problems: Vec<FieldProblem>) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::fields(ErrorCode::InvalidInput, "The input does not fit", problems))
}

/// A field problem of severity `error`.
pub fn problem(pointer: &str, code: &str, message: impl Into<String>) -> FieldProblem {
    FieldProblem {
        pointer: pointer.to_owned(),
        code: code.to_owned(),
        message: message.into(),
        fix: None,
        severity: Severity::Error,
    }
}

/// A duration as the interface's retry advice, rounded up to milliseconds so that no caller retries too early.
pub fn retry_after(wait: Duration) -> Retry {
    Retry::After(u64::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u64::MAX))
}

fn describe(problem: &FieldProblem) -> String {
    if problem.pointer.is_empty() {
        problem.message.clone()
    } else {
        format!("{}: {}", problem.pointer, problem.message)
    }
}

fn usual_retry(code: ErrorCode) -> Retry {
    match code {
        ErrorCode::AuthFailed | ErrorCode::AuthExpired => Retry::AfterReauthentication,
        ErrorCode::InvalidConfig | ErrorCode::PermissionDenied | ErrorCode::ConsumerConflict => {
            Retry::AfterReconfiguration
        }
        ErrorCode::Timeout
        | ErrorCode::RateLimited
        | ErrorCode::QuotaExceeded
        | ErrorCode::Unavailable
        | ErrorCode::DeviceOffline => Retry::Backoff,
        ErrorCode::InvalidInput
        | ErrorCode::NotFound
        | ErrorCode::Conflict
        | ErrorCode::PreconditionFailed
        | ErrorCode::PositionLost
        | ErrorCode::PayloadTooLarge
        | ErrorCode::Unsupported
        | ErrorCode::Cancelled
        | ErrorCode::Protocol
        | ErrorCode::Internal => Retry::Never,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_struck_out_of_all_texts() {
        let secrets = ["c2VjcmV0LXNlY3JldA==".to_owned()];
        let fault = |text: &str| ServiceFault { status: None, code: Some(text.into()), tracking_id: Some(text.into()) };
        for (said, left) in [
            ("got c2VjcmV0LXNlY3JldA== twice", "got (secret) twice"),
            ("got c2VjcmV0LXN", "got (secret)"),
            ("got c2VjcmV0LXNlY3JldA==, c2VjcmV0LXN…", "got (secret), (secret)"),
            ("got c2Vjc", "got c2Vjc"),
        ] {
            let problem = FieldProblem { fix: Some(said.into()), ..problem("/a", "x", said) };
            let error = Error::new(ErrorCode::InvalidInput, said).with_detail(said).with_service(fault(said));
            let record = error.with_problem(problem).without(&secrets).record().clone();
            let service = record.service.expect("a fault");
            let field = record.fields[0].clone();
            let texts = [
                Some(record.message),
                record.detail,
                service.code,
                service.tracking_id,
                Some(field.message),
                field.fix,
            ];
            assert!(texts.iter().all(|text| text.as_deref() == Some(left)), "{texts:?}");
        }
    }

    #[test]
    fn a_code_has_its_name_of_the_interface() {
        for (code, name) in [
            (ErrorCode::NotFound, "not-found"),
            (ErrorCode::PreconditionFailed, "precondition-failed"),
            (ErrorCode::Timeout, "timeout"),
            (ErrorCode::PayloadTooLarge, "payload-too-large"),
        ] {
            assert_eq!(name_of(code), name);
        }
    }

    /// A second attempt that fails for lack of time must not hide why the first attempt failed.
    #[test]
    fn of_two_errors_the_first_is_reported() {
        let first = || Error::new(ErrorCode::Unavailable, "the connection was closed");
        let second = || Error::new(ErrorCode::Timeout, "waiting for the address of the host");
        let both = first().followed_by(second());
        assert_eq!(
            (both.code(), both.record().message.as_str()),
            (ErrorCode::Unavailable, "the connection was closed")
        );
        let detail = both.record().detail.clone().expect("the other one");
        assert!(detail.contains("waiting for the address of the host"), "{detail}");
        // A refused token is a definite answer; the failure before it may have been the network's.
        let refused = || Error::new(ErrorCode::AuthFailed, "the key was refused");
        let both = first().followed_by(refused());
        assert_eq!((both.code(), both.record().retry), (ErrorCode::AuthFailed, Retry::AfterReauthentication));
        assert!(both.record().detail.as_deref().is_some_and(|detail| detail.contains("the connection was closed")));
        // Where a retry may help, the error advises it.
        let both = refused().followed_by(second());
        assert_eq!((both.code(), both.record().retry), (ErrorCode::AuthFailed, Retry::Backoff));
    }
}
