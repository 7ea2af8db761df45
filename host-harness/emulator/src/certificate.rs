//! The emulator's own certificate authority and the leaf certificate that its listeners present.
//!
//! Clients trust the authority (`ca_pem`), so that they verify TLS as they do in production. With a
//! certificate directory the authority stays the same between runs; each start makes a new leaf.

use std::path::Path;
use std::{fs, io};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use time::{Duration, OffsetDateTime};

use crate::tls::{Tls, TlsSuites};

const CA_FILE: &str = "emulator-ca.pem";
const CA_KEY_FILE: &str = "emulator-ca-key.pem";
const CA_LIFETIME: Duration = Duration::days(3650);

// Apple's and some OpenSSL-based clients refuse leaves of more than 825 days.
const LEAF_LIFETIME: Duration = Duration::days(397);

// The clocks of clients in containers and virtual machines may be behind.
const BACKDATE: Duration = Duration::days(1);

/// Why certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// The certificate directory could not be read or written.
    #[error("the certificate directory cannot be used: {0}")]
    Directory(io::Error),
    /// A certificate could not be made or read.
    #[error("the certificates could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS settings were refused.
    #[error("the TLS settings were refused: {0}")]
    Tls(#[from] rustls::Error),
}

/// The authority's certificate and the TLS settings of both listeners.
pub(crate) struct Certificates {
    pub(crate) ca_pem: String,
    pub(crate) tls: Tls,
}

impl Certificates {
    /// Loads or makes the authority and issues a leaf for `localhost`, `127.0.0.1`, `::1` and these names.
    pub(crate) fn issue(
        directory: Option<&Path>,
        names: impl IntoIterator<Item = String>,
        suites: TlsSuites,
    ) -> Result<Self, CertificateError> {
        let (ca_pem, ca_key) = match directory {
            Some(directory) => match load_authority(directory)? {
                Some(authority) => authority,
                None => {
                    let authority = new_authority()?;
                    save_authority(directory, &authority.0, &authority.1)?;
                    authority
                }
            },
            None => new_authority()?,
        };
        let ca_params = authority_params();
        let issuer = Issuer::from_params(&ca_params, ca_key);
        let leaf_key = KeyPair::generate()?;
        let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(own.into_iter().chain(names).collect::<Vec<_>>())?;
        params.distinguished_name = name("localhost");
        params.not_before = OffsetDateTime::now_utc() - BACKDATE;
        params.not_after = OffsetDateTime::now_utc() + LEAF_LIFETIME;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&leaf_key, &issuer)?;
        let chain = vec![CertificateDer::from(leaf.der().to_vec())];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let tls = Tls::new(&chain, &key, suites)?;
        Ok(Self { ca_pem, tls })
    }
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("Azure IoT emulator CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.not_before = OffsetDateTime::now_utc() - BACKDATE;
    params.not_after = OffsetDateTime::now_utc() + CA_LIFETIME;
    params
}

fn new_authority() -> Result<(String, KeyPair), CertificateError> {
    let key = KeyPair::generate()?;
    let certificate = authority_params().self_signed(&key)?;
    Ok((certificate.pem(), key))
}

fn load_authority(directory: &Path) -> Result<Option<(String, KeyPair)>, CertificateError> {
    let read = |file: &str| match fs::read_to_string(directory.join(file)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CertificateError::Directory(error)),
    };
    match (read(CA_FILE)?, read(CA_KEY_FILE)?) {
        (Some(certificate), Some(key)) => Ok(Some((certificate, KeyPair::from_pem(&key)?))),
        _ => Ok(None),
    }
}

fn save_authority(directory: &Path, certificate: &str, key: &KeyPair) -> Result<(), CertificateError> {
    fs::create_dir_all(directory).map_err(CertificateError::Directory)?;
    write_private(&directory.join(CA_KEY_FILE), &key.serialize_pem()).map_err(CertificateError::Directory)?;
    fs::write(directory.join(CA_FILE), certificate).map_err(CertificateError::Directory)
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)?.write_all(text.as_bytes())
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name.push(DnType::OrganizationName, "Azure IoT emulator");
    name
}
