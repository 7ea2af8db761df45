//! Servers that a plugin may try to reach. They record all connections.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use connector_host::{Limits, Tenant, TenantOptions, TrustRoots};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

#[derive(Default)]
struct Record {
    ever: AtomicUsize,
    open: AtomicUsize,
    heads: Mutex<Vec<String>>,
    /// The JSON text of `/items`, and its ETag.
    items: Mutex<(String, String)>,
}

impl Record {
    async fn all_closed(&self) {
        let begun = Instant::now();
        while self.open.load(Ordering::SeqCst) > 0 {
            assert!(begun.elapsed() < Duration::from_secs(60), "connections are still open");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A server that accepts connections and sends nothing.
pub struct Silent {
    pub port: u16,
    record: Arc<Record>,
}

impl Silent {
    pub async fn start() -> Self {
        let (port, record) = serve(|mut tcp, _| async move {
            let mut buffer = [0; 1024];
            while let Ok(1..) = tcp.read(&mut buffer).await {}
        })
        .await;
        Self { port, record }
    }

    pub fn connections(&self) -> usize {
        self.record.ever.load(Ordering::SeqCst)
    }

    /// Waits until the server has accepted a connection. The client can be connected earlier.
    pub async fn connected(&self) {
        while self.connections() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn all_closed(&self) {
        self.record.all_closed().await;
    }
}

/// An HTTPS server: `/ok`, `/redirect/URL`, `/stall` (sends one byte of ten), `/endless`, `/items` (returns the text
/// that a test has set).
pub struct Web {
    pub port: u16,
    record: Arc<Record>,
    ca: String,
}

impl Web {
    pub async fn start() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        let ca = certificate.pem();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (port, record) = serve(move |tcp, record| {
            let acceptor = acceptor.clone();
            async move {
                if let Ok(tls) = acceptor.accept(tcp).await {
                    let _ = answer_all(tls, &record).await;
                }
            }
        })
        .await;
        Self { port, record, ca }
    }

    pub fn authority(&self) -> String {
        format!("localhost:{}", self.port)
    }

    pub fn connections(&self) -> usize {
        self.record.ever.load(Ordering::SeqCst)
    }

    /// The heads of all requests, unchanged.
    pub fn heads(&self) -> Vec<String> {
        self.record.heads.lock().unwrap().clone()
    }

    /// Sets the answer of `/items`.
    #[allow(dead_code, reason = "for the tests of the example")]
    pub fn put_items(&self, json: &str, etag: &str) {
        *self.record.items.lock().unwrap() = (json.to_owned(), etag.to_owned());
    }

    /// Waits until all connections are closed. Keep-alive connections close with their tenant's pool, connections of
    /// cut-off calls close at once.
    pub async fn all_closed(&self) {
        self.record.all_closed().await;
    }

    /// A tenant whose operator permits this server.
    pub fn tenant(&self, change: impl FnOnce(&mut Limits)) -> Tenant {
        self.tenant_of(|options| change(&mut options.limits))
    }

    pub fn tenant_of(&self, change: impl FnOnce(&mut TenantOptions)) -> Tenant {
        let mut options = TenantOptions::default();
        options.name = "hostile".to_owned();
        options.trust_roots = TrustRoots::Only(self.ca.clone());
        options.allow_hosts = vec!["localhost".parse().unwrap()];
        options.allow_private_networks = true;
        change(&mut options);
        Tenant::new(options).unwrap()
    }
}

async fn serve<F, W>(work: W) -> (u16, Arc<Record>)
where
    W: Fn(TcpStream, Arc<Record>) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    // The listener uses the first address of the name. On another address, a client would only connect at its second
    // attempt.
    let listener = TcpListener::bind("localhost:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let record = Arc::new(Record::default());
    let kept = record.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            record.ever.fetch_add(1, Ordering::SeqCst);
            record.open.fetch_add(1, Ordering::SeqCst);
            let (work, record) = (work(tcp, record.clone()), record.clone());
            tokio::spawn(async move {
                work.await;
                record.open.fetch_sub(1, Ordering::SeqCst);
            });
        }
    });
    (port, kept)
}

async fn answer_all(mut stream: tokio_rustls::server::TlsStream<TcpStream>, record: &Record) -> std::io::Result<()> {
    let mut received = Vec::new();
    loop {
        while !received.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            if stream.read_buf(&mut received).await? == 0 {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&received).into_owned();
        received.clear();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let is_upload = head.starts_with("POST") && path != "/items";
        let (items, etag) = record.items.lock().unwrap().clone();
        let unchanged = !etag.is_empty() && head.contains(&format!("if-none-match: {etag}\r\n"));
        let is_allowed = !path.starts_with("/items") || head.contains("authorization: Bearer right\r\n");
        record.heads.lock().unwrap().push(head);
        if is_upload {
            // The server reads until the client closes the connection.
            while stream.read_buf(&mut received).await? > 0 {
                received.clear();
            }
            return Ok(());
        }
        let answer = match path.split_at_checked(1).map(|(_, path)| path) {
            Some(path) if path.starts_with("items") => match (is_allowed, unchanged) {
                (false, _) => "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_owned(),
                (true, true) => "HTTP/1.1 304 Not Modified\r\n\r\n".to_owned(),
                (true, false) => {
                    format!("HTTP/1.1 200 OK\r\netag: {etag}\r\ncontent-length: {}\r\n\r\n{items}", items.len())
                }
            },
            Some("stall") => "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx".to_owned(),
            Some("endless") => "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n".to_owned(),
            Some(path) if path.starts_with("redirect/") => {
                format!("HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", &path["redirect/".len()..])
            }
            _ => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
        if path == "/endless" {
            loop {
                stream.write_all(&[b'x'; 1024]).await?;
            }
        }
    }
}
