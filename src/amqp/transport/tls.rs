//! TLS with rustls, over any other transport.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::io::Adapter;
use super::{Deadline, Roots, Tcp, Transport, TransportError, TransportErrorKind};
use crate::amqp::stage::Stage;

/// A TLS connection over `T`. The server has shown a trusted certificate for the requested host name.
#[derive(Debug)]
pub struct Tls<T> {
    tls: ClientConnection,
    inner: T,
}

impl Tls<Tcp> {
    /// Connects over TCP and performs the TLS handshake.
    ///
    /// # Errors
    /// As [`Tcp::connect`] and [`Tls::connect`].
    pub fn open(host: &str, port: u16, roots: Roots, deadline: &Deadline) -> Result<Self, TransportError> {
        Self::connect(Tcp::connect(host, port, deadline)?, host, roots, deadline)
    }
}

impl<T: Transport> Tls<T> {
    /// Performs the TLS handshake over `inner`.
    ///
    /// # Errors
    /// `Tls` where the handshake fails or the certificate is not trusted for `host`; `Broken` where the connection ends
    /// before the handshake does; `Timeout`; the errors of `inner`.
    pub fn connect(inner: T, host: &str, roots: Roots, deadline: &Deadline) -> Result<Self, TransportError> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| failed("the host is not a name that a certificate can have"))?;
        let config = config(roots)?;
        let tls = ClientConnection::new(Arc::new(config), name).map_err(|error| failed(error.to_string()))?;
        let mut this = Self { tls, inner };
        let at_tls = |error: TransportError| error.at(Stage::Tls);
        while this.tls.is_handshaking() {
            this.flush(deadline).map_err(at_tls)?;
            if this.tls.is_handshaking() && !this.fill(deadline).map_err(at_tls)? {
                // The server did not refuse anything: a broken connection may be retried.
                let detail = "the server hung up during the TLS handshake";
                return Err(TransportError::new(TransportErrorKind::Broken, Stage::Tls, detail));
            }
        }
        this.flush(deadline).map_err(at_tls)?;
        Ok(this)
    }

    /// Sends the bytes that TLS has prepared.
    fn flush(&mut self, deadline: &Deadline) -> Result<(), TransportError> {
        while self.tls.wants_write() {
            let mut adapter = Adapter::new(&mut self.inner, deadline);
            let written = self.tls.write_tls(&mut adapter);
            adapter.outcome(written)?;
        }
        Ok(())
    }

    /// Reads once from the transport below. Returns whether there were bytes.
    fn fill(&mut self, deadline: &Deadline) -> Result<bool, TransportError> {
        let mut adapter = Adapter::new(&mut self.inner, deadline);
        let read = self.tls.read_tls(&mut adapter);
        if adapter.outcome(read)? == 0 {
            return Ok(false);
        }
        if let Err(error) = self.tls.process_new_packets() {
            // Sends the alert that states the reason to the server. If the alert does not arrive, the error is still
            // reported here.
            let _ = self.flush(deadline);
            let kind = if self.tls.is_handshaking() { TransportErrorKind::Tls } else { TransportErrorKind::Broken };
            return Err(TransportError::new(kind, Stage::Message, error.to_string()));
        }
        Ok(true)
    }
}

impl<T: Transport> Transport for Tls<T> {
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize, TransportError> {
        loop {
            match self.tls.reader().read(buffer) {
                Ok(read) => return Ok(read),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Without TLS's own close message, an attacker may have ended the stream: it must not count as the
                // peer's end.
                Err(error) => {
                    return Err(TransportError::new(TransportErrorKind::Broken, Stage::Message, error.to_string()));
                }
            }
            self.flush(deadline)?;
            self.fill(deadline)?;
        }
    }

    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<usize, TransportError> {
        // Bytes that could not be sent before are sent first, so that they do not pile up.
        self.flush(deadline)?;
        let broken =
            |error: io::Error| TransportError::new(TransportErrorKind::Broken, Stage::Write, error.to_string());
        let written = self.tls.writer().write(bytes).map_err(broken)?;
        match self.flush(deadline) {
            // The bytes are in TLS's own buffer, and the next call sends them.
            Err(error) if error.kind == TransportErrorKind::Timeout && written > 0 => Ok(written),
            Err(error) => Err(error),
            Ok(()) if written == 0 => Err(TransportError::timeout(Stage::Write)),
            Ok(()) => Ok(written),
        }
    }
}

fn config(roots: Roots) -> Result<ClientConfig, TransportError> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::WebPki => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Roots::Pem(text) => {
            for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
                let certificate =
                    certificate.map_err(|error| failed(format!("the authority's PEM cannot be read: {error}")))?;
                store.add(certificate).map_err(|error| failed(format!("the authority cannot be used: {error}")))?;
            }
        }
    }
    if store.is_empty() {
        return Err(failed("the authority's PEM has no certificate"));
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(error.to_string()))?
        .with_root_certificates(store)
        .with_no_client_auth();
    // Session resumption is kept in the configuration, and this configuration is for one connection only.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// ring's cipher suites. In WebAssembly, AES-GCM is not ring's, and the suites are ordered by their cost without AES
/// instructions: a server that follows the client's preference takes the first one.
#[cfg(not(target_family = "wasm"))]
fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

#[cfg(target_family = "wasm")]
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.cipher_suites = super::gcm::without_aes_instructions(&provider.cipher_suites);
    provider
}

fn failed(detail: impl Into<String>) -> TransportError {
    TransportError::new(TransportErrorKind::Tls, Stage::Tls, detail)
}
