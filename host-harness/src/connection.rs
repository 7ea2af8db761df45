//! A linked account.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// The largest connection, in bytes. It is bounded because every call reads it.
pub(crate) const LARGEST_CONNECTION: usize = 64 << 10;

/// A linked account: the chosen way to authorize, and the values for it.
///
/// It can be deserialized from JSON or TOML as `{"authProfile": "...", "values": {...}}` (or `auth-profile`). It cannot
/// be serialized, because the values contain secrets. Cheap to clone: clones share the values.
#[derive(Clone, Debug)]
pub struct Connection {
    auth_profile: Arc<str>,
    values: Arc<Secret>,
}

impl Connection {
    /// `values` is a JSON object that follows the schema of the profile.
    #[must_use]
    pub fn new(auth_profile: impl Into<String>, values: impl Into<Secret>) -> Self {
        Self { auth_profile: auth_profile.into().into(), values: Arc::new(values.into()) }
    }

    /// The id of the chosen profile.
    #[must_use]
    pub fn auth_profile(&self) -> &str {
        &self.auth_profile
    }

    /// The values, a JSON object.
    #[must_use]
    pub fn values(&self) -> &Secret {
        &self.values
    }

    /// The number of bytes that a call reads: profile and values.
    pub(crate) fn size(&self) -> usize {
        self.auth_profile.len().saturating_add(self.values.expose().len())
    }

    /// Every text in the values, and every number that can be a port, at any depth. `form` holds the annotations of the
    /// chosen profile's fields.
    pub(crate) fn entered(&self, form: &Form) -> Entered {
        let mut entered = Entered::default();
        let values: serde_json::Map<String, Value> = serde_json::from_str(self.values.expose()).unwrap_or_default();
        for (field, value) in values {
            let part = form.part(&field);
            entered.collect(value, &Arc::from(field), part);
        }
        entered
    }
}

/// The annotations of the top-level fields in a profile's schema.
#[derive(Debug, Default)]
pub(crate) struct Form {
    hosts: BTreeSet<String>,
    secrets: BTreeSet<String>,
}

impl Form {
    /// Reads `x-host` and `writeOnly`. A text that is not a valid schema has no annotations.
    pub(crate) fn read(schema: &str) -> Self {
        let schema: Value = serde_json::from_str(schema).unwrap_or_default();
        let marked = |annotation: &str| {
            let fields = schema["properties"].as_object().into_iter().flatten();
            fields.filter(|(_, field)| field[annotation] == true).map(|(name, _)| name.clone()).collect()
        };
        Self { hosts: marked("x-host"), secrets: marked("writeOnly") }
    }

    fn part(&self, field: &str) -> Part {
        match () {
            () if self.secrets.contains(field) => Part::Secret,
            () if self.hosts.contains(field) => Part::Host,
            () => Part::Other,
        }
    }
}

/// The kind of value that a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A host, whose domain may be left out.
    Host,
    /// A secret. It allows only a host that is written out in it.
    Secret,
    /// Any other value.
    Other,
}

/// The values that a person entered.
#[derive(Default)]
pub(crate) struct Entered {
    pub(crate) texts: Vec<EnteredText>,
    /// Numbers, and texts that consist only of a number.
    pub(crate) ports: BTreeSet<u16>,
}

/// A text, and the top-level field that contains it.
pub(crate) struct EnteredText {
    pub(crate) text: Zeroizing<String>,
    pub(crate) field: Arc<str>,
    pub(crate) part: Part,
}

impl Entered {
    fn collect(&mut self, value: Value, field: &Arc<str>, part: Part) {
        match value {
            Value::String(text) => {
                if text.bytes().all(|b| b.is_ascii_digit()) {
                    self.ports.extend(text.parse::<u16>());
                }
                self.texts.push(EnteredText { text: Zeroizing::new(text), field: field.clone(), part });
            }
            Value::Number(number) => self.ports.extend(number.as_u64().and_then(|port| u16::try_from(port).ok())),
            Value::Array(items) => items.into_iter().for_each(|item| self.collect(item, field, part)),
            Value::Object(fields) => fields.into_iter().for_each(|(_, item)| self.collect(item, field, part)),
            Value::Null | Value::Bool(_) => {}
        }
    }
}

impl<'de> Deserialize<'de> for Connection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Plain {
            #[serde(alias = "auth-profile", alias = "auth_profile")]
            auth_profile: String,
            values: serde_json::Map<String, Value>,
        }

        let Plain { auth_profile, values } = Plain::deserialize(deserializer)?;
        let values = serde_json::to_string(&values).map_err(serde::de::Error::custom)?;
        Ok(Self::new(auth_profile, values))
    }
}

#[cfg(test)]
mod tests {
    use super::{Connection, Form, Part};

    #[test]
    fn reads_both_spellings_and_does_not_print() {
        for key in ["authProfile", "auth-profile"] {
            let text = format!(
                r#"{{"{key}":"sas","values":{{"key":"hunter2","list":["a"],"port":8443,"ports":["993","+1",70000,-1,1.5]}}}}"#
            );
            let connection: Connection = serde_json::from_str(&text).unwrap();
            assert_eq!(connection.auth_profile(), "sas");
            assert!(connection.values().expose().contains("hunter2"));
            assert!(!format!("{connection:?}").contains("hunter2"));
            let entered = connection.entered(&Form::default());
            assert_eq!(entered.texts.len(), 4);
            assert_eq!(Vec::from_iter(entered.ports), [993, 8443]);
        }
    }

    #[test]
    fn the_schema_says_which_fields_are_hosts() {
        let form = Form::read(
            r#"{"properties":{"hub":{"x-host":true},"more":{"x-host":true},"policy":{"x-host":"yes"},
                "key":{"writeOnly":true},"both":{"writeOnly":true,"x-host":true}}}"#,
        );
        let values = r#"{"hub":"h","more":["m",{"n":"o"}],"policy":"p","key":"k","both":"b"}"#;
        let connection = Connection::new("a", values.to_owned());
        let entered = connection.entered(&form);
        let found: Vec<_> = entered.texts.iter().map(|it| (&*it.field, it.text.as_str(), it.part)).collect();
        let expected = [
            ("both", "b", Part::Secret),
            ("hub", "h", Part::Host),
            ("key", "k", Part::Secret),
            ("more", "m", Part::Host),
            ("more", "o", Part::Host),
            ("policy", "p", Part::Other),
        ];
        assert_eq!(found, expected);
        // A text that is not a schema marks no field.
        for schema in ["", "[]", "null", r#"{"properties":[1]}"#, r#"{"properties":{"hub":true}}"#] {
            assert!(connection.entered(&Form::read(schema)).texts.iter().all(|text| text.part == Part::Other));
        }
    }
}
