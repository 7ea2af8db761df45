//! The credentials with which devices in process prove their identity.

use std::fmt;

use crate::token::derive_device_key;

/// How a device proves its identity to the provisioning service.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credential {
    /// The key of an individual enrollment, or the key derived from a group's key for this registration id; base64.
    SymmetricKey(String),
    /// A client certificate.
    X509 {
        /// The common name of the certificate's subject; it must be the registration id.
        subject: String,
        /// The certificate's SHA-1 or SHA-256 thumbprint, hexadecimal.
        thumbprint: String,
        /// The issuers of the certificate, each as a thumbprint or as the name in a CA reference.
        issuers: Vec<String>,
    },
    /// The endorsement key of a trusted platform module, base64. The emulator treats the module's challenge as passed.
    Tpm {
        /// The public endorsement key.
        endorsement_key: String,
    },
}

impl Credential {
    /// The credential of a device in an enrollment group with a symmetric key, derived from the group's key.
    ///
    /// Returns `None` when the key is not base64.
    pub fn derived(group_key: &str, registration_id: &str) -> Option<Self> {
        derive_device_key(group_key, registration_id).map(Self::SymmetricKey)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::SymmetricKey(_) => "SymmetricKey(redacted)",
            Self::X509 { .. } => "X509",
            Self::Tpm { .. } => "Tpm",
        })
    }
}
