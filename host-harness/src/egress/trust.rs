//! The certificate authorities that one tenant trusts, and the TLS settings of the connections that guests open.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::TenantError;
use crate::options::TrustRoots;

/// The authorities that the operator trusts for a tenant.
pub(super) fn roots(trust: &TrustRoots) -> Result<RootCertStore, TenantError> {
    let (public, pem) = match trust {
        TrustRoots::Public => (true, None),
        TrustRoots::Only(pem) => (false, Some(pem)),
        TrustRoots::PublicAnd(pem) => (true, Some(pem)),
    };
    let mut roots = RootCertStore::empty();
    if public {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(pem) = pem {
        add(&mut roots, pem).map_err(TenantError::TrustRoots)?;
    }
    Ok(roots)
}

/// Adds the certificates of a PEM text, at least one.
fn add(roots: &mut RootCertStore, pem: &str) -> Result<(), String> {
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
        count += 1;
    }
    if count == 0 { Err("they contain no certificate".to_owned()) } else { Ok(()) }
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The settings for one connection of a guest. If it names authorities of its own (`pem`), the server's certificate
/// needs an issuer among these and one among the tenant's: a guest can narrow down what the operator trusts, and cannot
/// extend it.
///
/// # Errors
///
/// What is wrong with `pem`, or with the tenant's authorities.
pub(super) fn for_guest(trusted: &Arc<RootCertStore>, pem: Option<&str>) -> Result<ClientConfig, String> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match pem {
        None => builder.with_root_certificates(trusted.clone()),
        Some(pem) => {
            let mut own = RootCertStore::empty();
            add(&mut own, pem)?;
            let verifier = |roots: Arc<RootCertStore>| {
                WebPkiServerVerifier::builder_with_provider(roots, provider.clone()).build()
            };
            let both = Both {
                tenant: verifier(trusted.clone()).map_err(|error| error.to_string())?,
                guest: verifier(Arc::new(own)).map_err(|error| error.to_string())?,
            };
            builder.dangerous().with_custom_certificate_verifier(Arc::new(both))
        }
    };
    let mut config = builder.with_no_client_auth();
    // Sessions are remembered in the settings, and these are for one connection.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Accepts what two verifiers accept.
#[derive(Debug)]
struct Both {
    tenant: Arc<WebPkiServerVerifier>,
    guest: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for Both {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.guest.verify_server_cert(certificate, intermediates, name, ocsp, now)?;
        self.tenant.verify_server_cert(certificate, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tenant.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.tenant.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.tenant.supported_verify_schemes()
    }
}
