//! Bulk operations on enrollments: their modes, and the refusals in their results.

use serde_json::Value;

use super::Kind;
use super::secrets::secrets;
use crate::error::{EffectState, Error, ErrorCode, Retry, ServiceFault};
use crate::http::meaning;
use crate::quoted::quoted;

/// The most enrollments of one bulk request ("Bulk device operation with maximum of 10 items", API description).
pub const LARGEST_BULK: usize = 10;
/// The longest sentence of the service about one enrollment that is passed on, in characters.
const LONGEST_SENTENCE: usize = 512;

/// What a bulk request does with its enrollments. The service's mode `update` replaces an enrollment in any case, so it
/// could undo somebody else's change: it is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkMode {
    /// Creates enrollments; one that exists is refused.
    Create,
    /// Replaces enrollments whose ETag is still the one that they state.
    UpdateIfMatchEtag,
    /// Deletes enrollments.
    Delete,
}

impl BulkMode {
    /// The value of `mode`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::UpdateIfMatchEtag => "updateIfMatchETag",
            Self::Delete => "delete",
        }
    }
}

/// The enrollments that the service refused, each with the reason. The service has carried out the others.
#[derive(Debug)]
pub struct Refusals(Vec<(String, Error)>);

impl Refusals {
    /// Reads the result of a bulk request; none if it does not tell which enrollments were refused.
    pub(super) fn read(kind: Kind, result: &Value, sent: &[&Value]) -> Option<Self> {
        let id_of = |entry: &Value| entry.get(kind.id_member()).and_then(Value::as_str).map(str::to_ascii_lowercase);
        let successful = result.get("isSuccessful").and_then(Value::as_bool)?;
        let listed = result.get("errors").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let mut refusals = Vec::new();
        for entry in listed {
            let id = id_of(entry)?;
            let own = sent.iter().find(|enrollment| id_of(enrollment).as_ref() == Some(&id))?;
            refusals.push((id, refusal(kind, entry).without(&secrets(own))));
        }
        (successful == refusals.is_empty()).then_some(Self(refusals))
    }

    /// Takes the reason why the enrollment with this id was refused; none if it was not refused.
    pub fn take(&mut self, id: &str) -> Option<Error> {
        let at = self.0.iter().position(|(refused, _)| refused.eq_ignore_ascii_case(id))?;
        Some(self.0.swap_remove(at).1)
    }
}

/// The error of one enrollment: `errorCode` has six digits, of which the first three are a status.
fn refusal(kind: Kind, entry: &Value) -> Error {
    let number = entry.get("errorCode").and_then(Value::as_u64).unwrap_or_default();
    let code = meaning(&number.to_string()).unwrap_or(match number / 1_000 {
        404 => ErrorCode::NotFound,
        409 => ErrorCode::Conflict,
        412 => ErrorCode::PreconditionFailed,
        429 => ErrorCode::RateLimited,
        408 | 504 => ErrorCode::Timeout,
        500..=599 => ErrorCode::Unavailable,
        _ => ErrorCode::InvalidInput,
    });
    let noun = kind.noun();
    let words = match code {
        ErrorCode::NotFound => format!("There is no such {noun}."),
        ErrorCode::Conflict => format!("There is such an {noun} already, or it is being changed."),
        ErrorCode::PreconditionFailed => format!("The {noun} was changed since it was read."),
        ErrorCode::RateLimited => "The Device Provisioning Service asks to slow down.".to_owned(),
        _ => format!("The Device Provisioning Service does not accept the {noun}."),
    };
    let said = entry.get("errorStatus").and_then(Value::as_str).and_then(|text| quoted(text, LONGEST_SENTENCE));
    let said = said.map(|said| format!(" It says: {said}")).unwrap_or_default();
    let fault = ServiceFault { status: None, code: Some(number.to_string()), tracking_id: None };
    let error = Error::new(code, format!("{words} ({number}){said}")).with_service(fault);
    // The service does not say whether it began with an enrollment at which it failed.
    match code {
        ErrorCode::Timeout | ErrorCode::Unavailable => {
            error.with_effect(EffectState::Unknown).with_retry(Retry::Backoff)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_result_tells_which_were_refused() {
        let key = "c2VjcmV0IG9mIHRoZSBncm91cCE=";
        let first = json!({ "enrollmentGroupId": "Presses", "attestation": { "symmetricKey": { "primaryKey": key } } });
        let second = json!({ "enrollmentGroupId": "looms" });
        let read = |result: Value| Refusals::read(Kind::Group, &result, &[&first, &second]);
        let entry = |id: &str, code: u64| json!({ "enrollmentGroupId": id, "errorCode": code, "errorStatus": format!("not with {key}") });
        let mut found =
            read(json!({ "isSuccessful": false, "errors": [entry("PRESSES", 409_202)] })).expect("a result");
        let error = found.take("presses").expect("refused");
        assert_eq!(error.code(), ErrorCode::Conflict);
        assert!(!error.to_string().contains(key) && error.to_string().contains("409202"), "{error}");
        assert!(found.take("looms").is_none());
        for result in [json!({ "isSuccessful": true }), json!({ "isSuccessful": true, "errors": [] })] {
            assert!(read(result).expect("a result").take("presses").is_none());
        }
        for unclear in [
            json!({}),
            json!([]),
            json!({ "isSuccessful": false }),
            json!({ "isSuccessful": true, "errors": [entry("looms", 404_204)] }),
            json!({ "isSuccessful": false, "errors": [entry("strangers", 404_204)] }),
            json!({ "isSuccessful": false, "errors": [{ "errorCode": 404_204 }] }),
        ] {
            assert!(read(unclear.clone()).is_none(), "{unclear}");
        }
    }

    #[test]
    fn a_code_of_six_digits_means_what_its_status_does() {
        for (number, code, effect) in [
            (404_204, ErrorCode::NotFound, EffectState::None),
            (409_999, ErrorCode::Conflict, EffectState::None),
            (412_000, ErrorCode::PreconditionFailed, EffectState::None),
            (429_001, ErrorCode::RateLimited, EffectState::None),
            (400_204, ErrorCode::InvalidInput, EffectState::None),
            (500_999, ErrorCode::Unavailable, EffectState::Unknown),
            (29, ErrorCode::InvalidInput, EffectState::None),
        ] {
            let error = refusal(Kind::Individual, &json!({ "errorCode": number }));
            assert_eq!((error.code(), error.record().effect), (code, effect), "{number}");
        }
    }
}
