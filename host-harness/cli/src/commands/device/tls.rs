//! TLS connections to the hub, the provisioning service and blob storage.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long a connection may take until its TLS handshake is done.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a device trusts, and its client certificate if it has one.
#[derive(Clone)]
pub(super) struct Tls(TlsConnector);

impl Tls {
    /// Trusts the public authorities and those in the file `roots`. `certificate` names the files of the device's
    /// certificate chain and of its private key.
    ///
    /// # Errors
    /// If a file cannot be read or used.
    pub(super) fn new(roots: Option<&Path>, certificate: Option<(&Path, &Path)>) -> Result<Self> {
        let mut trusted = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() };
        if let Some(path) = roots {
            for root in certificates(path)? {
                trusted.add(root).with_context(|| format!("a certificate in {} cannot be trusted", path.display()))?;
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trusted);
        let config = match certificate {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let private = PrivateKeyDer::from_pem_file(key)
                    .with_context(|| format!("{} has no private key in PEM form", key.display()))?;
                builder.with_client_auth_cert(certificates(chain)?, private).with_context(|| {
                    format!("{} and {} do not belong together, or cannot be used", chain.display(), key.display())
                })?
            }
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Opens a connection to `host`, which may contain a port.
    pub(super) async fn open(&self, host: &str, default_port: u16) -> Result<TlsStream<TcpStream>> {
        let (name, port) = split(host, default_port);
        let server = ServerName::try_from(name.to_owned()).with_context(|| format!("`{name}` is no host name"))?;
        let opening = async {
            let stream = TcpStream::connect((name, port)).await.context("no connection")?;
            // Packets of MQTT are small, and a device waits for the answer of each.
            stream.set_nodelay(true)?;
            self.0.connect(server, stream).await.context("the TLS handshake failed")
        };
        let opened = timeout(PATIENCE, opening).await.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
        opened.with_context(|| format!("{name}:{port} cannot be reached"))
    }
}

/// The certificates in a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).with_context(|| format!("{} cannot be read", path.display()))?.collect();
    let found = found.with_context(|| format!("{} is not in PEM form", path.display()))?;
    anyhow::ensure!(!found.is_empty(), "{} has no certificate in PEM form", path.display());
    Ok(found)
}

/// The name and the port of a host.
pub(super) fn split(host: &str, default_port: u16) -> (&str, u16) {
    let with_port = host.rsplit_once(':').and_then(|(name, port)| Some((name, port.parse().ok()?)));
    with_port.unwrap_or((host, default_port))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_host_may_have_a_port() {
        assert_eq!(split("localhost:8883", 443), ("localhost", 8883));
        assert_eq!(split("plant.azure-devices.net", 443), ("plant.azure-devices.net", 443));
    }
}
