//! TLS against rustls' own server, in memory: which certificates are trusted, and that every wait ends.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::peer::{Peer, deadline, options, platform};
use crate::amqp::client::Client;
use crate::amqp::link::LinkOptions;
use crate::amqp::stage::Stage;
use crate::amqp::transport::{Deadline, Roots, Tls, Transport, TransportError, TransportErrorKind};
use crate::platform::Platform as _;
use crate::platform::fake::FakePlatform;

/// A server that speaks TLS on behalf of a peer.
#[derive(Clone)]
struct Server {
    tls: Rc<RefCell<ServerConnection>>,
    peer: Peer,
    /// Bytes for the client that the client has not read yet.
    out: Rc<RefCell<Vec<u8>>>,
    silent: bool,
    /// After how many bytes the server closes the connection.
    hangs_up: Option<usize>,
    platform: Rc<FakePlatform>,
}

/// A certificate authority as PEM, and a server whose certificate for `name` that authority has issued.
fn server(platform: &Rc<FakePlatform>, name: &str) -> (String, Server) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let pem = params.self_signed(&key).expect("an authority").pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate");
    let tls = ServerConnection::new(Arc::new(config)).expect("a server");
    let server = Server {
        tls: Rc::new(RefCell::new(tls)),
        peer: Peer::good(platform),
        out: Rc::default(),
        silent: false,
        hangs_up: None,
        platform: platform.clone(),
    };
    (pem, server)
}

impl Server {
    /// Passes on the bytes that the peer sends.
    fn pump(&mut self, deadline: &Deadline) {
        let mut tls = self.tls.borrow_mut();
        let mut piece = [0; 4096];
        if !tls.is_handshaking() {
            let pending = !self.peer.state.borrow_mut().out.is_empty();
            if pending {
                let count = self.peer.read(&mut piece, deadline).expect("pending");
                std::io::Write::write_all(&mut tls.writer(), &piece[..count]).expect("taken");
            }
        }
        while tls.wants_write() {
            tls.write_tls(&mut *self.out.borrow_mut()).expect("memory");
        }
    }
}

impl Transport for Server {
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize, TransportError> {
        self.pump(deadline);
        if self.hangs_up == Some(0) {
            return Ok(0);
        }
        let mut out = self.out.borrow_mut();
        let count = out.len().min(buffer.len()).min(777).min(self.hangs_up.unwrap_or(usize::MAX));
        if count == 0 || self.silent {
            self.platform.now.set(self.platform.now.get().max(deadline.moment()));
            return Err(TransportError::timeout(Stage::Message));
        }
        buffer[..count].copy_from_slice(&out[..count]);
        out.drain(..count);
        self.hangs_up = self.hangs_up.map(|left| left - count);
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<usize, TransportError> {
        let mut rest = bytes;
        let mut tls = self.tls.borrow_mut();
        while !rest.is_empty() {
            tls.read_tls(&mut rest).expect("memory");
            // An alert from the client is an error here, which this test does not need.
            let _ = tls.process_new_packets();
        }
        let mut plain = Vec::new();
        let _ = std::io::Read::read_to_end(&mut tls.reader(), &mut plain);
        drop(tls);
        let mut rest = plain.as_slice();
        while !rest.is_empty() {
            let count = self.peer.write(rest, deadline)?;
            rest = &rest[count..];
        }
        Ok(bytes.len())
    }
}

const HOST: &str = "ns.servicebus.windows.net";

fn connect(platform: &FakePlatform, server: &Server, host: &str, roots: Roots) -> Result<(), TransportError> {
    Tls::connect(server.clone(), host, roots, &deadline(platform, 5)).map(drop)
}

#[test]
fn a_whole_conversation_over_tls() {
    let platform = platform();
    let (pem, server) = server(&platform, HOST);
    let tls = Tls::connect(server.clone(), HOST, Roots::Pem(&pem), &deadline(&platform, 5)).expect("trusted");
    let mut client = Client::open(&*platform, tls, options(), &deadline(&platform, 5)).expect("open");
    let link = client.attach(&LinkOptions::receiver("r", "a"), 5, &deadline(&platform, 5)).expect("attached");
    assert_eq!(client.receive(link, Duration::MAX, &deadline(&platform, 2)).expect("no error"), None);
    client.close(&deadline(&platform, 5));
}

#[test]
fn certificates_are_checked() {
    let platform = platform();
    let (pem, good) = server(&platform, HOST);
    connect(&platform, &good, HOST, Roots::Pem(&pem)).expect("trusted");

    let refused = |server: &Server, host: &str, roots: Roots| {
        let error = connect(&platform, server, host, roots).expect_err("refused");
        assert_eq!((error.kind, error.stage), (TransportErrorKind::Tls, Stage::Tls), "{error}");
        error.detail
    };
    let (_, other) = server(&platform, HOST);
    let detail = refused(&other, HOST, Roots::Pem(&pem));
    assert!(detail.contains("UnknownIssuer") || detail.contains("BadSignature"), "{detail}");
    let (pem, other) = server(&platform, "other.servicebus.windows.net");
    assert!(refused(&other, HOST, Roots::Pem(&pem)).contains("not valid for name"));
    let (_, other) = server(&platform, HOST);
    assert!(refused(&other, HOST, Roots::WebPki).contains("UnknownIssuer"));
    refused(&other, "not a name", Roots::WebPki);
    refused(&other, HOST, Roots::Pem("no certificate in here"));
    refused(&other, HOST, Roots::Pem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
}

/// A connection that breaks does not count as a refusal, so a caller may retry.
#[test]
fn a_server_that_hangs_up_in_the_handshake_has_refused_nothing() {
    let platform = platform();
    for bytes in [0, 1, 100, 600] {
        let (pem, mut server) = server(&platform, HOST);
        server.hangs_up = Some(bytes);
        let error = connect(&platform, &server, HOST, Roots::Pem(&pem)).expect_err("it hung up");
        assert_eq!((error.kind, error.stage), (TransportErrorKind::Broken, Stage::Tls), "{bytes}: {error}");
    }
}

#[test]
fn a_handshake_that_never_ends_ends_at_the_deadline() {
    let platform = platform();
    let (pem, mut server) = server(&platform, HOST);
    server.silent = true;
    let begun = platform.monotonic();
    let error = connect(&platform, &server, HOST, Roots::Pem(&pem)).expect_err("silent");
    assert_eq!((error.kind, error.stage), (TransportErrorKind::Timeout, Stage::Tls));
    assert_eq!((platform.monotonic() - begun).as_secs(), 5);
}
