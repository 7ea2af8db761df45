//! How devices prove their identity.
//!
//! Symmetric keys appear only in the answer of `attestationmechanism`. GET, PUT and query leave the keys out, so that a
//! client that may only read enrollments cannot impersonate devices. A PUT without keys keeps the stored keys, or makes
//! new keys if there are none: a client that writes back what it has read must not change the keys. Certificates are
//! kept in the same way; answers contain only their descriptions.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::certificate_info;
use super::certificate_info::CertificateInfo;
use super::kind::Kind;
use crate::any_case::any_case;
use crate::error::{ErrorCode, ServiceError, invalid};
use crate::random;

const KEY_BYTES: usize = 64;

/// How devices prove their identity.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Attestation {
    #[serde(rename = "type", deserialize_with = "any_case")]
    pub(crate) kind: AttestationType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tpm: Option<Tpm>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) x509: Option<X509>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) symmetric_key: Option<SymmetricKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum AttestationType {
    None,
    Tpm,
    X509,
    SymmetricKey,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tpm {
    pub(crate) endorsement_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    storage_root_key: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct X509 {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_certificates: Option<Certificates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signing_certificates: Option<Certificates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca_references: Option<CaReferences>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Certificates {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) primary: Option<Certificate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secondary: Option<Certificate>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Certificate {
    #[serde(skip_serializing)]
    certificate: Option<String>,
    /// The certificate itself, by which what it has issued is checked.
    #[serde(skip)]
    pub(crate) der: Option<Vec<u8>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) info: Option<CertificateInfo>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CaReferences {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) primary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secondary: Option<String>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SymmetricKey {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) primary_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secondary_key: Option<String>,
}

impl fmt::Debug for SymmetricKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SymmetricKey(redacted)")
    }
}

impl Attestation {
    /// Checks an attestation and fills in what the client may leave out.
    pub(crate) fn complete(mut self, kind: Kind, existing: Option<&Attestation>) -> Result<Self, ServiceError> {
        let existing = existing.filter(|existing| existing.kind == self.kind);
        match self.kind {
            AttestationType::None => {
                return Err(invalid("the attestation type 'none' cannot be used for an enrollment"));
            }
            AttestationType::Tpm => {
                let tpm = self.tpm.as_ref().filter(|_| kind == Kind::Individual);
                let tpm = tpm.ok_or_else(|| invalid("TPM attestation needs a tpm member, and no group can have it"))?;
                if !STANDARD.decode(&tpm.endorsement_key).is_ok_and(|key| !key.is_empty()) {
                    return Err(ServiceError::new(
                        ErrorCode::INVALID_ENDORSEMENT_KEY,
                        "the endorsement key must be base64",
                    ));
                }
                (self.x509, self.symmetric_key) = (None, None);
            }
            AttestationType::X509 => {
                let mut x509 = self.x509.unwrap_or_default();
                let old = existing.and_then(|existing| existing.x509.clone()).unwrap_or_default();
                complete_certificates(&mut x509.client_certificates, old.client_certificates)?;
                complete_certificates(&mut x509.signing_certificates, old.signing_certificates)?;
                let own = match kind {
                    Kind::Individual => &x509.client_certificates,
                    Kind::Group => &x509.signing_certificates,
                };
                if own.is_none() && x509.ca_references.is_none() {
                    return Err(invalid(match kind {
                        Kind::Individual => "X.509 attestation of a device needs clientCertificates or caReferences",
                        Kind::Group => "X.509 attestation of a group needs signingCertificates or caReferences",
                    }));
                }
                self.x509 = Some(x509);
                (self.tpm, self.symmetric_key) = (None, None);
            }
            AttestationType::SymmetricKey => {
                let given = self.symmetric_key.unwrap_or_default();
                let given = SymmetricKey {
                    primary_key: given.primary_key.filter(|key| !key.is_empty()),
                    secondary_key: given.secondary_key.filter(|key| !key.is_empty()),
                };
                let old = existing.and_then(|existing| existing.symmetric_key.clone()).unwrap_or_default();
                for key in [&given.primary_key, &given.secondary_key].into_iter().flatten() {
                    if !STANDARD.decode(key).is_ok_and(|key| (16..=64).contains(&key.len())) {
                        return Err(invalid("a symmetric key must be 16 to 64 bytes in base64"));
                    }
                }
                let choose = |given: Option<String>, old: Option<String>| {
                    Some(given.or(old).unwrap_or_else(|| random::key(KEY_BYTES)))
                };
                self.symmetric_key = Some(SymmetricKey {
                    primary_key: choose(given.primary_key, old.primary_key),
                    secondary_key: choose(given.secondary_key, old.secondary_key),
                });
                (self.tpm, self.x509) = (None, None);
            }
        }
        Ok(self)
    }

    pub(crate) fn without_keys(&self) -> Self {
        Self { symmetric_key: self.symmetric_key.as_ref().map(|_| SymmetricKey::default()), ..self.clone() }
    }

    /// The symmetric keys; none for an attestation of another type.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.symmetric_key
            .iter()
            .flat_map(|keys| [&keys.primary_key, &keys.secondary_key])
            .flatten()
            .map(String::as_str)
    }
}

fn complete_certificates(given: &mut Option<Certificates>, old: Option<Certificates>) -> Result<(), ServiceError> {
    let Some(given) = given else { return Ok(()) };
    let old = old.unwrap_or_default();
    for (given, old) in [(&mut given.primary, old.primary), (&mut given.secondary, old.secondary)] {
        let Some(certificate) = given else { continue };
        (certificate.info, certificate.der) = match &certificate.certificate {
            Some(text) => {
                let der = certificate_info::certificate_der(text)?;
                (Some(certificate_info::describe(&der)?), Some(der))
            }
            // A client that writes back what it has read sends only the certificate's description.
            None => match old {
                Some(Certificate { info: Some(info), der, .. }) => (Some(info), der),
                _ => return Err(invalid("a certificate is missing")),
            },
        };
        certificate.certificate = None;
    }
    if given.primary.is_none() {
        return Err(invalid("the primary certificate is missing"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_made_kept_and_hidden() {
        let attestation =
            || Attestation { kind: AttestationType::SymmetricKey, tpm: None, x509: None, symmetric_key: None };
        let made = attestation().complete(Kind::Group, None).expect("attestation");
        assert_eq!(made.keys().count(), 2);
        let kept = attestation().complete(Kind::Group, Some(&made)).expect("attestation");
        assert!(made.keys().eq(kept.keys()));
        assert_eq!(json!(made.without_keys()), json!({"type": "symmetricKey", "symmetricKey": {}}));
        assert!(!format!("{made:?}").contains(made.keys().next().expect("key")));
    }
}
