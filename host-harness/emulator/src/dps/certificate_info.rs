//! The description of a certificate, which DPS returns instead of the certificate.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::clock::rfc3339;
use crate::error::{ServiceError, invalid};
use crate::random::encode_hex;

/// A certificate's description; thumbprints and serial number are upper-case hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CertificateInfo {
    pub(crate) subject_name: String,
    pub(crate) sha1_thumbprint: String,
    pub(crate) sha256_thumbprint: String,
    pub(crate) issuer_name: String,
    not_before_utc: String,
    not_after_utc: String,
    serial_number: String,
    version: u32,
}

fn unreadable() -> ServiceError {
    invalid("the certificate could not be read; it must be X.509 in PEM or base64")
}

/// The DER of a certificate given in PEM, or in base64 without the PEM lines.
pub(crate) fn certificate_der(certificate: &str) -> Result<Vec<u8>, ServiceError> {
    if certificate.contains("-----BEGIN") {
        Ok(parse_x509_pem(certificate.as_bytes()).map_err(|_| unreadable())?.1.contents)
    } else {
        STANDARD.decode(certificate.split_whitespace().collect::<String>()).map_err(|_| unreadable())
    }
}

/// Describes a certificate given in DER.
pub(crate) fn describe(der: &[u8]) -> Result<CertificateInfo, ServiceError> {
    let (_, parsed) = X509Certificate::from_der(der).map_err(|_| unreadable())?;
    let validity = parsed.validity();
    Ok(CertificateInfo {
        subject_name: parsed.subject().to_string(),
        sha1_thumbprint: encode_hex(&Sha1::digest(der)).to_uppercase(),
        sha256_thumbprint: encode_hex(&Sha256::digest(der)).to_uppercase(),
        issuer_name: parsed.issuer().to_string(),
        not_before_utc: rfc3339(validity.not_before.to_datetime()),
        not_after_utc: rfc3339(validity.not_after.to_datetime()),
        serial_number: encode_hex(parsed.raw_serial()).to_uppercase(),
        version: parsed.version().0 + 1,
    })
}
