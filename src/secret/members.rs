//! Which members of a document are secret, in all services: the keys of devices, modules and enrollments, and the URLs
//! that open something.

use serde_json::Value;

use super::{HIDDEN, without_secrets};

/// The containers of an import or export job. Their URLs have a SAS token.
pub const CONTAINERS: [&str; 2] = ["inputBlobContainerUri", "outputBlobContainerUri"];
/// The member whose members are the keys of a device, a module or an enrollment.
const KEYS: &str = "symmetricKey";
/// Members that are secret wherever they stand.
const SECRETS: [&str; 6] = [
    "primaryKey",
    "secondaryKey",
    "sharedAccessKey",
    "connectionString",
    "primaryConnectionString",
    "secondaryConnectionString",
];
/// A shorter secret is not struck out of texts, because it could be part of an ordinary word.
const SHORTEST: usize = 4;
/// The function of a custom allocation. Its URL may have the function's key.
const WEBHOOK: &str = "webhookUrl";

/// Hides the secrets of a document that is shown and logged. Case does not matter: a caller's own request may write a
/// name in any case, and the services read it.
pub fn hide(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let is = |secret: &str| name.eq_ignore_ascii_case(secret);
                if is(KEYS) {
                    hide_keys(value);
                } else if SECRETS.into_iter().any(is) {
                    hide_whole(value);
                } else if (is(WEBHOOK) || CONTAINERS.into_iter().any(is)) && !value.is_null() {
                    hide_url(value);
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

/// The secret texts of a document, which [`hide`] hides, the longest first. They are struck out of errors, because a
/// service may repeat what it was sent.
pub fn found(document: &Value) -> Vec<String> {
    let mut hidden = document.clone();
    hide(&mut hidden);
    let mut all = Vec::new();
    collect(document, &hidden, &mut all);
    all.retain(|secret| secret.len() >= SHORTEST);
    longest_first(&mut all);
    all
}

/// Sorts secrets by their length, so that one that is part of another is struck out after it.
pub fn longest_first(secrets: &mut [String]) {
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
}

/// Adds the texts that a document has and its hidden form lacks.
fn collect(document: &Value, hidden: &Value, all: &mut Vec<String>) {
    match (document, hidden) {
        (Value::Object(members), hidden) => {
            let rest = |name: &str| hidden.get(name).unwrap_or(&Value::Null);
            members.iter().for_each(|(name, value)| collect(value, rest(name), all));
        }
        (Value::Array(items), hidden) => {
            let rest = |at: usize| hidden.get(at).unwrap_or(&Value::Null);
            items.iter().enumerate().for_each(|(at, value)| collect(value, rest(at), all));
        }
        (Value::String(text), Value::String(left)) if text == left => {}
        // Of a URL, the host and the path stay.
        (Value::String(text), Value::String(left)) if left != HIDDEN => {
            let parts = text.split(['?', '&', '=', '#', '@', '/']).filter(|part| !left.contains(part));
            all.extend(parts.map(str::to_owned));
        }
        (Value::String(text), _) => all.push(text.clone()),
        _ => {}
    }
}

/// Hides the secret parts of a URL; all of a value that is no text.
pub fn hide_url(value: &mut Value) {
    match value.as_str() {
        Some(url) => *value = without_secrets(url).into(),
        None => *value = HIDDEN.into(),
    }
}

/// The keys in the member `symmetricKey` of an authentication or an attestation.
pub fn keys_of(parent: Option<&Value>) -> impl Iterator<Item = &str> {
    let keys = parent.and_then(|parent| parent.get(KEYS)).and_then(Value::as_object);
    keys.into_iter().flat_map(|keys| keys.values()).filter_map(Value::as_str)
}

fn hide_keys(value: &mut Value) {
    match value {
        Value::Object(keys) => keys.values_mut().for_each(hide_whole),
        other => hide_whole(other),
    }
}

fn hide_whole(value: &mut Value) {
    if !value.is_null() {
        *value = HIDDEN.into();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        let mut document = json!([{
            "authentication": { "SymmetricKey": { "primaryKey": "one", "secondaryKey": null }, "type": "sas" },
            "attestation": { "symmetricKey": "two" }, "PrimaryKey": ["three"], "deep": { "connectionString": "four" },
            "outputBlobContainerUri": "https://a.example/c?sig=five", "webhookUrl": { "code": "six" },
            "symmetricKey": null,
        }]);
        hide(&mut document);
        let expected = json!([{
            "authentication": { "SymmetricKey": { "primaryKey": HIDDEN, "secondaryKey": null }, "type": "sas" },
            "attestation": { "symmetricKey": HIDDEN }, "PrimaryKey": HIDDEN, "deep": { "connectionString": HIDDEN },
            "outputBlobContainerUri": "https://a.example/c?sig=(secret)", "webhookUrl": HIDDEN,
            "symmetricKey": null,
        }]);
        assert_eq!(document, expected);
    }

    #[test]
    fn what_is_hidden_is_found() {
        let document = json!([
            { "SymmetricKey": { "primaryKey": "first key", "secondaryKey": null }, "connectionString": ["second"] },
            { "webhookUrl": "https://f.example/api?code=third&x=1", "status": "enabled", "primaryKey": 4 },
        ]);
        assert_eq!(found(&document), ["first key", "second", "third"]);
        assert_eq!(found(&json!("text")), Vec::<String>::new());
    }

    #[test]
    fn keys_are_found() {
        let parent = json!({ "symmetricKey": { "primaryKey": "one", "secondaryKey": null, "third": 3 } });
        assert_eq!(keys_of(Some(&parent)).collect::<Vec<_>>(), ["one"]);
        assert_eq!(keys_of(None).count() + keys_of(Some(&json!({ "symmetricKey": "one" }))).count(), 0);
    }
}
