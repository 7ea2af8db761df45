//! Hides the secrets of an enrollment.
//!
//! The service returns the URL of a custom allocation's function unchanged, including the function's key. A person who
//! reads the enrollment sees the URL without the key. When an enrollment is written back, the document is the one that
//! was read.

use serde_json::Value;

use super::Kind;
use crate::secret::{hide_url, keys_of, longest_first};

/// A shorter secret is not struck out of texts, because it could be part of an ordinary word.
const SHORTEST: usize = 4;

/// An enrollment in the form that is shown: without the device's keys unless they were asked for, and without the
/// secrets in its function's URL.
pub fn shown(mut enrollment: Value, with_keys: bool) -> Value {
    if !with_keys && let Some(attestation) = enrollment.get_mut("attestation").and_then(Value::as_object_mut) {
        attestation.remove("symmetricKey");
    }
    if let Some(url) = enrollment.pointer_mut("/customAllocationDefinition/webhookUrl") {
        hide_url(url);
    }
    enrollment
}

/// The secrets of an enrollment, or of the enrollments of a bulk request, the longest first. They are struck out of
/// errors, because the service may quote what it was sent.
pub fn secrets(sent: &Value) -> Vec<String> {
    let lists = [Kind::Individual, Kind::Group].map(|kind| sent.get(kind.collection()).and_then(Value::as_array));
    let mut all: Vec<String> =
        lists.into_iter().flatten().flatten().chain(std::iter::once(sent)).flat_map(secrets_of).collect();
    longest_first(&mut all);
    all
}

fn secrets_of(enrollment: &Value) -> Vec<String> {
    let keys = keys_of(enrollment.get("attestation")).map(str::to_owned);
    let url = enrollment.pointer("/customAllocationDefinition/webhookUrl").and_then(Value::as_str).unwrap_or_default();
    let (url, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let values = query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value).to_owned());
    let caller = base.split_once('@').map(|(before, _)| before.rsplit('/').next().unwrap_or_default().to_owned());
    let mut all: Vec<String> = keys.chain(values).chain(caller).chain([fragment.to_owned()]).collect();
    all.retain(|secret| secret.len() >= SHORTEST);
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::secret::{HIDDEN, without_secrets};

    #[test]
    fn a_url_keeps_what_is_no_secret() {
        for (url, shown) in [
            ("https://f.example/api/choose?code=c2VjcmV0", "https://f.example/api/choose?code=(secret)"),
            ("https://f.example/?a=1&code=x==&b=&c", "https://f.example/?a=(secret)&code=(secret)&b=&(secret)"),
            ("https://user:pass@f.example:444/p", "https://(secret)@f.example:444/p"),
            ("https://f.example/p#token=abc", "https://f.example/p#(secret)"),
            ("https://f.example?code=x", "https://f.example?code=(secret)"),
            ("https://f.example/p?code=a?b#c", "https://f.example/p?code=(secret)#(secret)"),
            ("https://f.example/a@b", "https://f.example/a@b"),
            ("https://f.example/api/choose", "https://f.example/api/choose"),
            ("no url?code=x", "no url?code=(secret)"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(url), shown);
            assert_eq!(without_secrets(shown), shown, "what is shown is shown alike again");
        }
    }

    #[test]
    fn an_enrollment_is_shown_without_what_opens_something() {
        let enrollment = json!({
            "attestation": { "type": "symmetricKey", "symmetricKey": { "primaryKey": "p" } },
            "customAllocationDefinition": { "webhookUrl": "https://f.example/?code=hidden", "apiVersion": "1" },
        });
        let url = json!({ "webhookUrl": "https://f.example/?code=(secret)", "apiVersion": "1" });
        assert_eq!(
            shown(enrollment.clone(), false),
            json!({ "attestation": { "type": "symmetricKey" }, "customAllocationDefinition": url })
        );
        let with_keys = shown(enrollment, true);
        assert_eq!(with_keys["attestation"]["symmetricKey"]["primaryKey"], "p");
        assert_eq!(with_keys["customAllocationDefinition"], url, "the keys of the device were asked for, not this one");
        let strange = shown(json!({ "customAllocationDefinition": { "webhookUrl": ["code=hidden"] } }), true);
        assert_eq!(strange["customAllocationDefinition"]["webhookUrl"], HIDDEN);
        for other in [json!({}), json!({ "customAllocationDefinition": null }), json!([])] {
            assert_eq!(shown(other.clone(), false), other);
        }
    }

    #[test]
    fn all_secrets_are_known() {
        let enrollment = json!({
            "attestation": { "symmetricKey": { "primaryKey": "first key", "secondaryKey": "second" } },
            "customAllocationDefinition": { "webhookUrl": "https://me:pass@f.example/p?code=abcde&x=1&bare#frag" },
        });
        assert_eq!(secrets(&enrollment), ["first key", "me:pass", "second", "abcde", "bare", "frag"]);
        assert_eq!(secrets(&json!({})), Vec::<String>::new());
        let group = json!({ "attestation": { "symmetricKey": { "primaryKey": "of a group" } } });
        assert_eq!(secrets(&json!({ "enrollments": [enrollment], "mode": "create" })).len(), 6);
        assert_eq!(secrets(&json!({ "enrollmentGroups": [group], "mode": "create" })), ["of a group"]);
    }
}
