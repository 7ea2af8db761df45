//! TLS as the services offer it: which versions and cipher suites, by service and by the name that the client asks for.
//!
//! | endpoint | versions | source |
//! |---|---|---|
//! | IoT Hub, `HUB.azure-devices.net`, any other name or none | 1.2 | "TLS support in IoT Hub", 05/26/2026 |
//! | IoT Hub, `HUB.service.…` and `HUB.device.…` | 1.2 and 1.3 | the same |
//! | Device Provisioning Service | 1.2 | "TLS support in Azure IoT Hub Device Provisioning Service" |
//! | Event Hub-compatible endpoint | 1.2 and 1.3 | a portal setting of namespaces, by public reports; no list of suites found |
//!
//! The suites of IoT Hub are ECDHE with AES-128 or AES-256 in GCM or CBC; rustls supports only GCM. ChaCha20-Poly1305
//! is on no list. No list names the suites of TLS 1.3; here they use the same ciphers.
//!
//! Every endpoint asks for a client certificate and needs none: devices may prove with it who they are.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::Acceptor;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CipherSuite, DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use crate::service::Service;
use crate::sync;

/// How many handshakes [`crate::Emulator::tls_handshakes`] returns at most.
const MOST_HANDSHAKES: usize = 1_024;

/// Which cipher suites the emulator offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsSuites {
    /// The suites that the services document and that rustls supports: AES-256-GCM and AES-128-GCM.
    #[default]
    AsTheService,
    /// Only AES-128-GCM.
    Aes128Gcm,
    /// Only AES-256-GCM.
    Aes256Gcm,
    /// Only ChaCha20-Poly1305. No service lists this cipher suite as supported.
    ChaCha20Poly1305,
}

impl TlsSuites {
    fn has(self, suite: CipherSuite) -> bool {
        let (aes_128, aes_256) = match suite {
            CipherSuite::TLS13_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => (true, false),
            CipherSuite::TLS13_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => (false, true),
            _ => (false, false),
        };
        match self {
            Self::AsTheService => aes_128 || aes_256,
            Self::Aes128Gcm => aes_128,
            Self::Aes256Gcm => aes_256,
            Self::ChaCha20Poly1305 => !aes_128 && !aes_256,
        }
    }
}

/// A successful TLS handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsHandshake {
    /// The endpoint.
    pub service: Service,
    /// The name that the client asked for (SNI), in lower case.
    pub server_name: Option<String>,
    /// The version, such as `TLSv1_2`.
    pub version: String,
    /// The cipher suite, such as `TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384`.
    pub suite: String,
}

/// Makes the server's side of handshakes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tls {
    classic: Arc<ServerConfig>,
    newest: Arc<ServerConfig>,
    handshakes: Arc<Mutex<VecDeque<TlsHandshake>>>,
}

impl Tls {
    /// Makes the TLS settings from a certificate and its key.
    pub(crate) fn new(
        chain: &[CertificateDer<'static>],
        key: &PrivateKeyDer<'static>,
        suites: TlsSuites,
    ) -> Result<Self, rustls::Error> {
        let config = |versions: &[&'static SupportedProtocolVersion]| -> Result<Arc<ServerConfig>, rustls::Error> {
            let mut provider: CryptoProvider = rustls::crypto::ring::default_provider();
            provider.cipher_suites.retain(|suite| suites.has(suite.suite()));
            let provider = Arc::new(provider);
            let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(versions)?
                .with_client_cert_verifier(Arc::new(AnyClient(provider)))
                .with_single_cert(chain.to_vec(), key.clone_key())?;
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            Ok(Arc::new(config))
        };
        Ok(Self {
            classic: config(&[&rustls::version::TLS12])?,
            newest: config(&[&rustls::version::TLS12, &rustls::version::TLS13])?,
            handshakes: Arc::default(),
        })
    }

    /// Makes the server's side of a handshake.
    pub(crate) async fn accept<S>(&self, service: Service, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let server_name = start.client_hello().server_name().map(str::to_ascii_lowercase);
        let config = if has_tls_1_3(service, server_name.as_deref()) { &self.newest } else { &self.classic };
        let stream = start.into_stream(config.clone()).await?;
        let connection = stream.get_ref().1;
        let handshake = TlsHandshake {
            service,
            server_name,
            version: connection.protocol_version().map(|version| format!("{version:?}")).unwrap_or_default(),
            suite: connection.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default(),
        };
        let mut handshakes = sync::lock(&self.handshakes);
        if handshakes.len() == MOST_HANDSHAKES {
            handshakes.pop_front();
        }
        handshakes.push_back(handshake);
        drop(handshakes);
        Ok(stream)
    }

    /// The newest handshakes, oldest first.
    pub(crate) fn handshakes(&self) -> Vec<TlsHandshake> {
        sync::lock(&self.handshakes).iter().cloned().collect()
    }
}

/// Asks clients for a certificate and accepts each one whose key the client has, as the services do. Who issued the
/// certificate is checked when the client says which device it is.
#[derive(Debug)]
struct AnyClient(Arc<CryptoProvider>);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether the endpoint offers TLS 1.3 in addition to TLS 1.2.
fn has_tls_1_3(service: Service, server_name: Option<&str>) -> bool {
    match service {
        Service::EventHub => true,
        Service::Hub | Service::HubAmqp => server_name
            .and_then(|name| name.split('.').nth(1))
            .is_some_and(|label| matches!(label, "service" | "device")),
        Service::Dps | Service::Device => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides_about_the_version() {
        for (service, name, newest) in [
            (Service::Hub, Some("plant.azure-devices.net"), false),
            (Service::Hub, Some("plant.privatelink.azure-devices.net"), false),
            (Service::Hub, Some("localhost"), false),
            (Service::Hub, None, false),
            (Service::HubAmqp, None, false),
            (Service::Hub, Some("plant.service.azure-devices.net"), true),
            (Service::HubAmqp, Some("plant.service.privatelink.azure-devices.net"), true),
            (Service::HubAmqp, Some("plant.device.azure-devices.net"), true),
            (Service::Dps, Some("plant.service.azure-devices-provisioning.net"), false),
            (Service::EventHub, None, true),
        ] {
            assert_eq!(has_tls_1_3(service, name), newest, "{service:?} {name:?}");
        }
    }

    #[test]
    fn every_suite_of_rustls_belongs_to_one_choice() {
        for suite in rustls::crypto::ring::default_provider().cipher_suites {
            let suite = suite.suite();
            let choices = [TlsSuites::Aes128Gcm, TlsSuites::Aes256Gcm, TlsSuites::ChaCha20Poly1305];
            assert_eq!(choices.iter().filter(|choice| choice.has(suite)).count(), 1, "{suite:?}");
            assert_eq!(TlsSuites::AsTheService.has(suite), !TlsSuites::ChaCha20Poly1305.has(suite), "{suite:?}");
        }
    }
}
