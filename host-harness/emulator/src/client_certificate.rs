//! The certificates with which a client proves who it is in TLS.

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::random::encode_hex;

/// The certificates that a client presented, its own first. TLS has proved that the client has the key of the first;
/// who issued it is checked here.
#[derive(Clone)]
pub(crate) struct ClientCertificate {
    chain: Vec<CertificateDer<'static>>,
}

impl ClientCertificate {
    /// The certificates of a TLS connection; `None` when the client presented none.
    pub(crate) fn of(presented: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        let chain: Vec<_> = presented?.iter().map(|certificate| certificate.clone().into_owned()).collect();
        (!chain.is_empty()).then_some(Self { chain })
    }

    /// The common name of the subject.
    pub(crate) fn common_name(&self) -> Option<String> {
        let (_, certificate) = X509Certificate::from_der(self.chain.first()?).ok()?;
        let name = certificate.subject().iter_common_name().next()?;
        name.as_str().ok().map(str::to_owned)
    }

    /// The SHA-256 thumbprint in upper-case hexadecimal.
    pub(crate) fn sha256_thumbprint(&self) -> String {
        let digest = self.chain.first().map(Sha256::digest).unwrap_or_default();
        encode_hex(&digest).to_uppercase()
    }

    /// Whether the SHA-1 or SHA-256 thumbprint is this one.
    pub(crate) fn has_thumbprint(&self, thumbprint: &str) -> bool {
        let sha1 = self.chain.first().map(Sha1::digest).unwrap_or_default();
        self.sha256_thumbprint().eq_ignore_ascii_case(thumbprint) || encode_hex(&sha1).eq_ignore_ascii_case(thumbprint)
    }

    /// Whether the certificate leads to this authority, directly or through the other certificates that the client
    /// presented, and is valid now.
    pub(crate) fn is_issued_by(&self, authority: &[u8]) -> bool {
        let Some((own, others)) = self.chain.split_first() else { return false };
        let mut roots = RootCertStore::empty();
        if roots.add(CertificateDer::from(authority.to_vec())).is_err() {
            return false;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .is_ok_and(|verifier| verifier.verify_client_cert(own, others, UnixTime::now()).is_ok())
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ClientCertificate({})", self.sha256_thumbprint())
    }
}
