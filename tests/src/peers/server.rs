//! Servers on loopback addresses that play the scripts of the table.
//!
//! They run on a thread of their own, so that all tasks and computing time of the caller's runtime belong to the host.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::amqp::{self, Said};
use super::http2;
use super::table::{Certificate, Peer, Probe, Protocol, Step};
use crate::process;

/// The longest time that a connection is played.
const LONGEST: Duration = Duration::from_secs(30);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a TLS close may take.
const GOODBYE: Duration = Duration::from_millis(200);
/// The largest request of a client, in bytes.
const LARGEST_REQUEST: usize = 1 << 20;
/// The receive buffer and the largest segment of a peer with small buffers, in bytes. They keep the client's buffers
/// small as well.
const SMALL_BUFFER: usize = 4 << 10;
const SMALL_SEGMENT: u32 = 536;
/// The largest number of open connections of one behaviour.
const MOST_CONNECTIONS: usize = 64;

/// The text before a token's signature.
const SIGNATURE: &str = "sig=";

/// A device identity in the form of the service.
const DEVICE: &str = r#"{"deviceId":"pump","generationId":"639000000000000000","etag":"MTIzNA==","connectionState":"Disconnected","status":"enabled","statusReason":null,"connectionStateUpdatedTime":"0001-01-01T00:00:00Z","statusUpdatedTime":"0001-01-01T00:00:00Z","lastActivityTime":"0001-01-01T00:00:00Z","cloudToDeviceMessageCount":0,"authentication":{"symmetricKey":{"primaryKey":null,"secondaryKey":null},"x509Thumbprint":{"primaryThumbprint":null,"secondaryThumbprint":null},"type":"sas"},"capabilities":{"iotEdge":false}}"#;

/// A runtime on a thread of its own.
pub struct Apart {
    handle: Handle,
    stop: Option<watch::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Apart {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system refuses another thread.
    pub fn start(name: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, mut stopped) = watch::channel(());
        let work = move || {
            runtime.block_on(async {
                let _ = stopped.changed().await;
            });
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self { handle, stop: Some(stop), thread: Some(thread) })
    }

    /// Runs a future on the thread, and waits for its result.
    ///
    /// # Errors
    /// Where the future panics.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        Ok(self.handle.spawn(work).await?)
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The service behind an AMQP peer.
#[derive(Clone, Debug)]
pub struct Backend {
    /// The port of the Event Hub-compatible endpoint.
    pub event_hub: u16,
    /// The port of the hub's own AMQP endpoint.
    pub hub_amqp: u16,
    /// The certificate authority of both endpoints, as PEM.
    pub ca: String,
}

/// The shared part of all servers.
pub struct Servers {
    thread: Apart,
    backend: Backend,
    client: TlsConnector,
    trusted: String,
    configurations: HashMap<(Certificate, Protocol), Arc<ServerConfig>>,
}

impl Servers {
    /// Starts the thread and makes the certificates.
    ///
    /// # Errors
    /// Where a certificate cannot be made.
    pub fn start(backend: Backend) -> Result<Self> {
        let mut configurations = HashMap::new();
        let mut trusted = Vec::new();
        for certificate in [Certificate::Good, Certificate::Unknown, Certificate::OtherName, Certificate::Expired] {
            let (chain, key, pem) = issue(certificate)?;
            if certificate != Certificate::Unknown {
                trusted.push(pem);
            }
            for protocol in [Protocol::Tls, Protocol::Http1, Protocol::Http2, Protocol::Amqp] {
                let provider = Arc::new(rustls::crypto::ring::default_provider());
                let mut configuration = ServerConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()?
                    .with_no_client_auth()
                    .with_single_cert(vec![chain.clone()], key.clone_key())?;
                configuration.alpn_protocols = match protocol {
                    Protocol::Http1 | Protocol::Tls => vec![b"http/1.1".to_vec()],
                    Protocol::Http2 => vec![b"h2".to_vec()],
                    Protocol::Amqp => Vec::new(),
                };
                configurations.insert((certificate, protocol), Arc::new(configuration));
            }
        }
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(backend.ca.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            thread: Apart::start("peers")?,
            client: TlsConnector::from(Arc::new(client)),
            trusted: trusted.concat(),
            backend,
            configurations,
        })
    }

    /// The certificate authorities that accounts with a peer trust, as PEM.
    pub fn trusted(&self) -> &str {
        &self.trusted
    }

    /// The computing time of the servers' thread so far.
    ///
    /// # Errors
    /// None while the thread runs.
    pub async fn computed(&self) -> Result<Duration> {
        self.thread.run(async { process::thread_computed() }).await
    }

    /// Begins to play a behaviour on a port of its own.
    ///
    /// # Errors
    /// Where no port is free.
    pub async fn play(&self, peer: &Peer) -> Result<Playing> {
        let configuration = self.configurations.get(&(peer.certificate, peer.protocol));
        let configuration = configuration.filter(|_| !peer.raw).cloned();
        let stage = Arc::new(Stage {
            acceptor: configuration.map(TlsAcceptor::from),
            steps: peer.steps.clone(),
            protocol: peer.protocol,
            probe: Mutex::new(Probe::GetDevice),
            client: self.client.clone(),
            backend: self.backend.clone(),
            connections: AtomicUsize::new(0),
            troubles: Mutex::default(),
            signatures: Mutex::default(),
        });
        let (over, ended) = watch::channel(false);
        let listener = self.thread.run(listen(peer.small_buffers)).await??;
        let port = listener.local_addr()?.port();
        self.thread.handle.spawn(accept(listener, stage.clone(), ended));
        Ok(Playing { port, stage, over })
    }
}

/// A behaviour that is being played.
pub struct Playing {
    /// The peer's port.
    pub port: u16,
    stage: Arc<Stage>,
    over: watch::Sender<bool>,
}

impl Playing {
    /// Sets the call that is made next.
    pub fn expect(&self, probe: Probe) {
        *lock(&self.stage.probe) = probe;
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.stage.connections.load(Ordering::SeqCst)
    }

    /// Mistakes of the table that were found.
    pub fn troubles(&self) -> Vec<String> {
        lock(&self.stage.troubles).clone()
    }

    /// The signatures of tokens that clients sent.
    pub fn signatures(&self) -> BTreeSet<String> {
        lock(&self.stage.signatures).clone()
    }

    /// Ends the peer and all of its connections.
    pub fn end(&self) {
        self.over.send_replace(true);
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        self.end();
    }
}

struct Stage {
    acceptor: Option<TlsAcceptor>,
    steps: Vec<Step>,
    protocol: Protocol,
    probe: Mutex<Probe>,
    client: TlsConnector,
    backend: Backend,
    connections: AtomicUsize,
    troubles: Mutex<Vec<String>>,
    /// The signatures of tokens that clients sent.
    signatures: Mutex<BTreeSet<String>>,
}

impl Stage {
    /// Keeps the signatures in these bytes of a client. Returns the last signature.
    fn note_signatures(&self, sent: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(sent);
        let mut last = None;
        for (at, mark) in text.match_indices(SIGNATURE) {
            let rest = text.get(at + mark.len()..).unwrap_or_default();
            let signature: String =
                rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "%+/=".contains(*c)).collect();
            if signature.len() > 20 {
                lock(&self.signatures).insert(signature.clone());
                last = Some(signature);
            }
        }
        last
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A certificate, its key, and the certificate authority that signed it, as PEM.
fn issue(certificate: Certificate) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>, String)> {
    let name = if certificate == Certificate::OtherName { "other.example" } else { "localhost" };
    let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()])?;
    let now = OffsetDateTime::now_utc();
    let day = time::Duration::DAY;
    parameters.not_before = now - day * 2;
    parameters.not_after = if certificate == Certificate::Expired { now - day } else { now + day };
    let key = rcgen::KeyPair::generate()?;
    let issued = parameters.self_signed(&key)?;
    let der = PrivateKeyDer::try_from(key.serialize_der()).map_err(anyhow::Error::msg)?;
    Ok((issued.der().clone(), der, issued.pem()))
}

async fn listen(small_buffers: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(SocketProtocol::TCP))?;
    if small_buffers {
        // Connections inherit both socket options from the listener.
        socket.set_recv_buffer_size(SMALL_BUFFER)?;
        socket.set_tcp_mss(SMALL_SEGMENT)?;
    }
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(1024)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

async fn accept(listener: TcpListener, stage: Arc<Stage>, mut ended: watch::Receiver<bool>) {
    let mut playing = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if playing.len() < MOST_CONNECTIONS => {
                let Ok((stream, _)) = accepted else { return };
                stage.connections.fetch_add(1, Ordering::SeqCst);
                let (stage, mut ended) = (stage.clone(), ended.clone());
                playing.spawn(async move {
                    let over = async { drop(ended.wait_for(|ended| *ended).await) };
                    tokio::select! {
                        () = over => {}
                        _ = tokio::time::timeout(LONGEST, play(stream, &stage)) => {}
                    }
                });
            }
            Some(_) = playing.join_next(), if !playing.is_empty() => {}
            _ = ended.changed() => return,
        }
    }
}

async fn play(stream: TcpStream, stage: &Stage) {
    let _ = stream.set_nodelay(true);
    let wire = match &stage.acceptor {
        None => Wire::Plain(stream),
        Some(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Wire::Tls(Box::new(stream)),
            _ => return,
        },
    };
    let mut player = Player { wire, stage, read: Vec::new(), stream: 1, backend: None, held: None, token: None };
    match player.all(&stage.steps).await {
        // After the last step, a connection is closed properly.
        Ok(()) => drop(tokio::time::timeout(GOODBYE, player.wire.shut_down()).await),
        Err(Trouble::Over) => {}
        Err(Trouble::Table(error)) => {
            let mut troubles = lock(&stage.troubles);
            if troubles.len() < 4 {
                troubles.push(format!("{error:#}"));
            }
        }
    }
}

/// Why a script stops.
enum Trouble {
    /// The client or the script has ended the connection.
    Over,
    /// The table asks for an impossible step.
    Table(anyhow::Error),
}

impl From<io::Error> for Trouble {
    fn from(_: io::Error) -> Self {
        Self::Over
    }
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        Self::Table(error)
    }
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::server::TlsStream<TcpStream>>),
}

impl Wire {
    async fn read(&mut self, into: &mut Vec<u8>) -> Result<(), Trouble> {
        let read = match self {
            Self::Plain(stream) => stream.read_buf(into).await?,
            Self::Tls(stream) => stream.read_buf(into).await?,
        };
        if read == 0 { Err(Trouble::Over) } else { Ok(()) }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes).await?,
            Self::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await?;
            }
        }
        Ok(())
    }

    async fn shut_down(&mut self) -> Result<(), Trouble> {
        match self {
            Self::Plain(stream) => stream.shutdown().await?,
            Self::Tls(stream) => stream.shutdown().await?,
        }
        Ok(())
    }

    fn tcp(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_mut().0,
        }
    }
}

/// A connection to the service, and the received bytes that were not processed yet.
struct Service {
    stream: Box<tokio_rustls::client::TlsStream<TcpStream>>,
    said: Vec<u8>,
}

struct Player<'s> {
    wire: Wire,
    stage: &'s Stage,
    /// Bytes from the client that were not processed yet.
    read: Vec<u8>,
    /// The stream of the last HTTP/2 request.
    stream: u32,
    backend: Option<Service>,
    /// The AMQP unit that is held back.
    held: Option<Said>,
    /// The signature of the client's last token.
    token: Option<String>,
}

impl Player<'_> {
    fn all<'a>(&'a mut self, steps: &'a [Step]) -> Pin<Box<dyn Future<Output = Result<(), Trouble>> + Send + 'a>> {
        Box::pin(async move {
            for step in steps {
                self.one(step).await?;
            }
            Ok(())
        })
    }

    async fn one(&mut self, step: &Step) -> Result<(), Trouble> {
        match step {
            Step::Request if self.stage.protocol == Protocol::Http2 => self.http2_request(true).await,
            Step::Head if self.stage.protocol == Protocol::Http2 => self.http2_request(false).await,
            Step::Request => self.http1_request(true).await,
            Step::Head => self.http1_request(false).await,
            Step::Good => self.good().await,
            Step::Echo => {
                let token = self.token.clone().unwrap_or_default();
                let body =
                    format!(r#"{{"Message":"ErrorCode:ArgumentInvalid;SharedAccessSignature sig={token}&se=1"}}"#);
                let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: ";
                self.wire.write(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes()).await
            }
            Step::Send(bytes) => self.wire.write(&bytes.to_vec()).await,
            Step::SendPlain(bytes) => Ok(self.wire.tcp().write_all(&bytes.to_vec()).await?),
            Step::H2(frame) => self.wire.write(&frame.to_vec(self.stream)).await,
            Step::Read(bytes) => {
                while self.read.len() < *bytes {
                    self.wire.read(&mut self.read).await?;
                }
                self.read.drain(..bytes);
                Ok(())
            }
            Step::Sleep(milliseconds) => {
                tokio::time::sleep(Duration::from_millis(*milliseconds)).await;
                Ok(())
            }
            Step::Repeat { times, steps } => {
                for _ in 0..*times {
                    self.all(steps).await?;
                    // Reads and writes that never wait must not keep other tasks from running.
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            Step::Until(unit, count) => self.until(*unit, *count).await,
            Step::Forward => {
                let bytes = self.held.as_ref().context("nothing is held back")?.bytes.clone();
                self.wire.write(&bytes).await
            }
            Step::Alter(edit) => {
                let bytes = edit.apply(self.held.as_ref().context("nothing is held back")?, self.token.as_deref())?;
                self.wire.write(&bytes).await
            }
            Step::Amqp(composite) => {
                let bytes = composite.to_vec(self.held.as_ref(), self.token.as_deref())?;
                self.wire.write(&bytes).await
            }
            Step::Pass => self.converse(None).await,
            Step::Silence => loop {
                self.read.clear();
                self.wire.read(&mut self.read).await?;
            },
            Step::Hold => std::future::pending().await,
            Step::HalfClose => self.wire.shut_down().await,
            Step::Close => {
                self.wire.shut_down().await?;
                Err(Trouble::Over)
            }
            Step::Cut => {
                self.wire.tcp().shutdown().await?;
                Err(Trouble::Over)
            }
            Step::Reset => {
                self.wire.tcp().set_zero_linger()?;
                Err(Trouble::Over)
            }
        }
    }

    // The steps of HTTP.

    async fn http1_request(&mut self, with_body: bool) -> Result<(), Trouble> {
        let end = loop {
            let end = self.read.windows(4).position(|four| four == b"\r\n\r\n");
            match end {
                Some(end) => break end + 4,
                None if self.read.len() > LARGEST_REQUEST => return Err(Trouble::Over),
                None => self.wire.read(&mut self.read).await?,
            }
        };
        self.token = self.stage.note_signatures(&self.read[..end]);
        let head = String::from_utf8_lossy(&self.read[..end]).to_ascii_lowercase();
        self.read.drain(..end);
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        let length = length.unwrap_or(0).min(LARGEST_REQUEST);
        while with_body && self.read.len() < length {
            self.wire.read(&mut self.read).await?;
        }
        if with_body {
            self.read.drain(..length);
        }
        Ok(())
    }

    async fn http2_request(&mut self, with_body: bool) -> Result<(), Trouble> {
        if self.read.is_empty() {
            self.wire.read(&mut self.read).await?;
        }
        while self.read.starts_with(b"P") && self.read.len() < http2::PREFACE.len() {
            self.wire.read(&mut self.read).await?;
        }
        if self.read.starts_with(http2::PREFACE) {
            self.read.drain(..http2::PREFACE.len());
            self.wire.write(&http2::frame(http2::Kind::Settings as u8, 0, 0, 0, &[])).await?;
        }
        let mut asked = None;
        loop {
            let Some(frame) = http2::next_frame(&mut self.read) else {
                if self.read.len() > LARGEST_REQUEST {
                    return Err(Trouble::Over);
                }
                self.wire.read(&mut self.read).await?;
                continue;
            };
            let is = |kind: http2::Kind| frame.kind == kind as u8;
            if is(http2::Kind::Settings) && frame.flags & http2::ACK == 0 {
                self.wire.write(&http2::frame(http2::Kind::Settings as u8, http2::ACK, 0, 0, &[])).await?;
            }
            if is(http2::Kind::Headers) {
                self.stream = frame.stream;
                asked = Some(frame.stream);
            }
            let ends = frame.flags & http2::END_STREAM != 0 && (is(http2::Kind::Data) || is(http2::Kind::Headers));
            if asked.is_some_and(|asked| !with_body || (ends && frame.stream == asked)) {
                return Ok(());
            }
        }
    }

    async fn good(&mut self) -> Result<(), Trouble> {
        let probe = *lock(&self.stage.probe);
        let body = match probe {
            Probe::Poll => "[]",
            Probe::Upload => "",
            _ => DEVICE,
        };
        let answer = match self.stage.protocol {
            Protocol::Http2 => http2::answer(self.stream, body),
            _ if body.is_empty() => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
            _ => {
                let length = body.len();
                format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
                    .into()
            }
        };
        self.wire.write(&answer).await
    }

    // The steps of AMQP.

    async fn until(&mut self, unit: amqp::Unit, count: usize) -> Result<(), Trouble> {
        // The earlier held-back unit is dropped. The script has sent it, or it is never sent.
        self.held = None;
        self.converse(Some((unit, count))).await
    }

    /// Passes bytes between the client and the service, until the service is about to send this unit for the given
    /// number of times. That unit is held back.
    async fn converse(&mut self, until: Option<(amqp::Unit, usize)>) -> Result<(), Trouble> {
        let mut service = match self.backend.take() {
            Some(service) => service,
            None => self.connect().await?,
        };
        let mut seen = 0;
        loop {
            if !self.read.is_empty() {
                let token = self.stage.note_signatures(&self.read);
                self.token = token.or(self.token.take());
                service.stream.write_all(&self.read).await?;
                service.stream.flush().await?;
                self.read.clear();
            }
            while let Some(said) = amqp::next_unit(&mut service.said) {
                if let Some((unit, count)) = until
                    && said.unit == unit
                {
                    seen += 1;
                    if seen == count {
                        self.held = Some(said);
                        self.backend = Some(service);
                        return Ok(());
                    }
                }

                self.wire.write(&said.bytes).await?;
            }
            let Player { wire, read, .. } = self;
            tokio::select! {
                read = wire.read(read) => read?,
                said = service.stream.read_buf(&mut service.said) => if said? == 0 { return Err(Trouble::Over) },
            }
        }
    }

    async fn connect(&self) -> Result<Service, Trouble> {
        let port = match *lock(&self.stage.probe) {
            Probe::Message | Probe::Feedback => self.stage.backend.hub_amqp,
            _ => self.stage.backend.event_hub,
        };
        let tcp = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").context("a name")?;
        let stream = Box::new(self.stage.client.connect(name, tcp).await?);
        Ok(Service { stream, said: Vec::new() })
    }
}
