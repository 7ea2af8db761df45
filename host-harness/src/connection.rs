//! A linked account.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use zeroize::Zeroizing;

use crate::error::CallError;
use crate::secret::Secret;

/// The largest connection, in bytes: every call reads it.
pub(crate) const LARGEST_CONNECTION: usize = 64 << 10;

/// A linked account: which way of authorizing was chosen, and the values for it.
///
/// From JSON or TOML it reads as `{"authProfile": "...", "values": {...}}` (or `auth-profile`). It is never
/// written: the values hold secrets.
#[derive(Clone, Debug)]
pub struct Connection {
    auth_profile: String,
    values: Secret,
}

impl Connection {
    /// `values` is a JSON object that follows the schema of the profile.
    #[must_use]
    pub fn new(auth_profile: impl Into<String>, values: impl Into<Secret>) -> Self {
        Self { auth_profile: auth_profile.into(), values: values.into() }
    }

    /// Id of the chosen profile.
    #[must_use]
    pub fn auth_profile(&self) -> &str {
        &self.auth_profile
    }

    /// The values, a JSON object.
    #[must_use]
    pub fn values(&self) -> &Secret {
        &self.values
    }

    /// Whether a call may read it.
    pub(crate) fn check_size(&self) -> Result<(), CallError> {
        let size = self.auth_profile.len().saturating_add(self.values.expose().len());
        if size > LARGEST_CONNECTION {
            return Err(CallError::ConnectionTooLarge { size, limit: LARGEST_CONNECTION });
        }
        Ok(())
    }

    /// Every text in the values, and every number that can be a port, wherever it is.
    pub(crate) fn entered(&self) -> Entered {
        let mut entered = Entered::default();
        if let Ok(values) = serde_json::from_str(self.values.expose()) {
            entered.collect(values);
        }
        entered
    }
}

/// What a person entered.
#[derive(Default)]
pub(crate) struct Entered {
    pub(crate) texts: Vec<Zeroizing<String>>,
    /// Numbers, and texts that are nothing but a number.
    pub(crate) ports: BTreeSet<u16>,
}

impl Entered {
    fn collect(&mut self, value: Value) {
        match value {
            Value::String(text) => {
                if text.bytes().all(|b| b.is_ascii_digit()) {
                    self.ports.extend(text.parse::<u16>());
                }
                self.texts.push(Zeroizing::new(text));
            }
            Value::Number(number) => self.ports.extend(number.as_u64().and_then(|port| u16::try_from(port).ok())),
            Value::Array(items) => items.into_iter().for_each(|item| self.collect(item)),
            Value::Object(fields) => fields.into_iter().for_each(|(_, item)| self.collect(item)),
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
    use super::Connection;
    use crate::error::CallError;

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
            let entered = connection.entered();
            assert_eq!(entered.texts.len(), 4);
            assert_eq!(Vec::from_iter(entered.ports), [993, 8443]);
        }
    }

    #[test]
    fn a_connection_is_bounded() {
        let of = |bytes: usize| Connection::new("a", "x".repeat(bytes - 1));
        of(64 << 10).check_size().unwrap();
        let refused = of((64 << 10) + 1).check_size();
        assert!(matches!(refused, Err(CallError::ConnectionTooLarge { size: 65_537, limit: 65_536 })), "{refused:?}");
    }
}
