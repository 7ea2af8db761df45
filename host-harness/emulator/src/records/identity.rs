//! What devices and modules have in common: ids, keys, authentication.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::any_case::any_case;
use crate::error::{ServiceError, invalid};
use crate::random;
use crate::versions::At;

/// A device, or a module on it. In a path its parameters are `id` and, for a module, `module`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Target {
    #[serde(rename = "id")]
    pub(crate) device: String,
    #[serde(default)]
    pub(crate) module: Option<String>,
}

impl Target {
    /// A device or, with a module id, a module.
    pub(crate) fn new(device: impl Into<String>, module: Option<&str>) -> Self {
        Self { device: device.into(), module: module.map(str::to_owned) }
    }

    /// The key of the target's record and of its session.
    pub(crate) fn key(&self) -> String {
        self.module.as_ref().map_or_else(|| self.device.clone(), |module| module_key(&self.device, module))
    }
}

/// Whether a device may connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Status {
    #[default]
    Enabled,
    Disabled,
}

/// How a device or module proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authentication {
    pub(crate) kind: AuthenticationType,
    pub(crate) symmetric_key: Option<KeyPair>,
    pub(crate) thumbprints: ThumbprintBody,
    pub(crate) issued: Issued,
}

/// The members by which the hub checks certificates that Device Registry issues. The emulator stores and returns them
/// unread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Issued {
    policy_resource_id: Option<String>,
    x509_ca_validation: Option<Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum AuthenticationType {
    Sas,
    SelfSigned,
    CertificateAuthority,
    None,
}

/// Two keys, base64. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct KeyPair {
    pub(crate) primary: String,
    pub(crate) secondary: String,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyPair(redacted)")
    }
}

impl KeyPair {
    pub(crate) fn generate(bytes: usize) -> Self {
        Self { primary: random::key(bytes), secondary: random::key(bytes) }
    }
}

/// The authentication member of devices, modules and bulk entries.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct AuthenticationBody {
    #[serde(rename = "type", deserialize_with = "any_case")]
    pub(crate) kind: Option<AuthenticationType>,
    pub(crate) symmetric_key: Option<KeyPairBody>,
    pub(crate) x509_thumbprint: Option<ThumbprintBody>,
    policy_resource_id: Option<String>,
    x509_ca_validation: Option<Value>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct KeyPairBody {
    pub(crate) primary_key: Option<String>,
    pub(crate) secondary_key: Option<String>,
}

impl fmt::Debug for KeyPairBody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyPairBody(redacted)")
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ThumbprintBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) primary_thumbprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secondary_thumbprint: Option<String>,
}

impl AuthenticationBody {
    /// Checks the member and fills in what is missing: the type follows from the given values, keys come from
    /// `existing` or are new. An empty text counts as missing, because the Node.js client sends empty keys for a new
    /// device.
    pub(crate) fn complete(self, existing: Option<&Authentication>, at: At) -> Result<Authentication, ServiceError> {
        let old = existing.map(|existing| existing.issued.clone()).unwrap_or_default();
        let issued = Issued {
            policy_resource_id: at.replace(at.has_registry(), self.policy_resource_id, old.policy_resource_id),
            x509_ca_validation: at.replace(at.has_registry(), self.x509_ca_validation, old.x509_ca_validation),
        };
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let thumbprints = self.x509_thumbprint.unwrap_or_default();
        let thumbprints = ThumbprintBody {
            primary_thumbprint: given(thumbprints.primary_thumbprint),
            secondary_thumbprint: given(thumbprints.secondary_thumbprint),
        };
        for thumbprint in [&thumbprints.primary_thumbprint, &thumbprints.secondary_thumbprint].into_iter().flatten() {
            let hex = thumbprint.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !hex || !matches!(thumbprint.len(), 40 | 64) {
                return Err(invalid("a thumbprint must be a SHA-1 or SHA-256 digest in hexadecimal"));
            }
        }
        let has_thumbprint = thumbprints != ThumbprintBody::default();
        let kind =
            self.kind.unwrap_or(if has_thumbprint { AuthenticationType::SelfSigned } else { AuthenticationType::Sas });
        if kind == AuthenticationType::SelfSigned && !has_thumbprint {
            return Err(invalid("authentication type selfSigned needs a thumbprint"));
        }
        let keys = self.symmetric_key.unwrap_or_default();
        let symmetric_key = match kind {
            AuthenticationType::Sas => Some(match (given(keys.primary_key), given(keys.secondary_key)) {
                (Some(primary), Some(secondary)) => {
                    check_key(&primary)?;
                    check_key(&secondary)?;
                    KeyPair { primary, secondary }
                }
                (None, None) => existing
                    .and_then(|existing| existing.symmetric_key.clone())
                    .unwrap_or_else(|| KeyPair::generate(32)),
                _ => return Err(invalid("a symmetric key needs both primaryKey and secondaryKey, or neither")),
            }),
            _ => None,
        };
        Ok(Authentication { kind, symmetric_key, thumbprints, issued })
    }
}

fn check_key(key: &str) -> Result<(), ServiceError> {
    match STANDARD.decode(key) {
        Ok(bytes) if (16..=64).contains(&bytes.len()) => Ok(()),
        _ => Err(invalid("a symmetric key must be 16 to 64 bytes in base64")),
    }
}

impl From<Authentication> for AuthenticationBody {
    fn from(authentication: Authentication) -> Self {
        Self {
            kind: Some(authentication.kind),
            symmetric_key: authentication
                .symmetric_key
                .map(|keys| KeyPairBody { primary_key: Some(keys.primary), secondary_key: Some(keys.secondary) }),
            x509_thumbprint: Some(authentication.thumbprints),
            policy_resource_id: authentication.issued.policy_resource_id,
            x509_ca_validation: authentication.issued.x509_ca_validation,
        }
    }
}

impl Authentication {
    /// The member as the service writes it; only the members that the type has.
    pub(crate) fn to_json(&self, at: At) -> Value {
        let mut object = Map::new();
        object.insert("type".to_owned(), json!(self.kind));
        if at.has_registry() {
            if let Some(id) = &self.issued.policy_resource_id {
                object.insert("policyResourceId".to_owned(), json!(id));
            }
            if let Some(validation) = &self.issued.x509_ca_validation {
                object.insert("x509CaValidation".to_owned(), validation.clone());
            }
        }
        if let Some(keys) = &self.symmetric_key {
            let keys = json!({ "primaryKey": keys.primary, "secondaryKey": keys.secondary });
            object.insert("symmetricKey".to_owned(), keys);
        }
        if self.kind == AuthenticationType::SelfSigned {
            object.insert("x509Thumbprint".to_owned(), json!(self.thumbprints));
        }
        Value::Object(object)
    }
}

pub(crate) fn connection_state(connected: bool) -> &'static str {
    if connected { "Connected" } else { "Disconnected" }
}

/// The key of a module in the store. It is unique, because a device id contains no slash.
pub(crate) fn module_key(device: &str, module: &str) -> String {
    format!("{device}/{module}")
}

/// Checks a device or module id: at most 128 characters of the alphabet below (quotas page of IoT Hub).
pub(crate) fn check_id(what: &str, id: &str) -> Result<(), ServiceError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-:.+%_#*?!(),=@;$'".contains(&byte);
    if id.is_empty() || id.len() > 128 {
        return Err(invalid(format!("{what} must have 1 to 128 characters, and '{id}' has {}", id.len())));
    }
    match id.bytes().find(|byte| !allowed(*byte)) {
        None => Ok(()),
        Some(_) => Err(invalid(format!(
            "{what} '{id}' may hold only ASCII letters, digits and - : . + % _ # * ? ! ( ) , = @ ; $ '"
        ))),
    }
}

/// A generation id: ticks of 100 ns since the year 1, as the service uses them.
pub(crate) fn generation(now: OffsetDateTime) -> String {
    (now.unix_timestamp_nanos() / 100 + 621_355_968_000_000_000).to_string()
}
