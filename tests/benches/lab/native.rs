//! Native clients with the TLS library of the connector.

use std::sync::Arc;

use anyhow::{Result, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// TLS that trusts the emulator's certificate authority.
///
/// # Errors
/// Where the authority is no certificate.
pub fn tls(authority_pem: &str) -> Result<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority_pem.as_bytes())?)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Connects to a host and port of the emulator.
///
/// # Errors
/// Where the connection or its handshake fails.
pub async fn connect(authority_pem: &str, host: &str) -> Result<TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(host).await?;
    tcp.set_nodelay(true)?;
    let connector = TlsConnector::from(Arc::new(tls(authority_pem)?));
    Ok(connector.connect(ServerName::try_from("localhost")?, tcp).await?)
}

/// The lean client: one connection that is kept open, a token that was signed beforehand, no retries, no checks. The
/// answer is read as JSON.
pub struct Lean {
    host: String,
    token: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Lean {
    /// Connects.
    ///
    /// # Errors
    /// Where the connection fails.
    pub async fn connect(authority_pem: &str, host: &str, token: &str) -> Result<Self> {
        let stream = connect(authority_pem, host).await?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self { host: host.to_owned(), token: token.to_owned(), sender })
    }

    /// Sends a request, and returns the answer and where its list continues.
    ///
    /// # Errors
    /// Where the answer is not a success.
    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        continuation: Option<&str>,
        body: Option<&Value>,
    ) -> Result<(Value, Option<String>)> {
        self.sender.ready().await?;
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        request = request.header("authorization", &self.token).header("x-ms-max-item-count", "1000");
        if let Some(continuation) = continuation {
            request = request.header("x-ms-continuation", continuation);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let response = self.sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
        let status = response.status();
        let next = response.headers().get("x-ms-continuation").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let bytes = response.into_body().collect().await?.to_bytes();
        ensure!(status.is_success(), "{path}: {status}");
        Ok((serde_json::from_slice(&bytes)?, next))
    }
}

/// The client for many requests at a time: the connection pool of `hyper-util`, which `reqwest` is built on, with
/// `hyper-rustls`.
#[derive(Clone)]
pub struct Pool {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    host: String,
    token: String,
}

impl Pool {
    /// A pool without connections.
    ///
    /// # Errors
    /// Where the authority is no certificate.
    pub fn new(authority_pem: &str, host: &str, token: &str) -> Result<Self> {
        let mut http = HttpConnector::new();
        http.set_nodelay(true);
        http.enforce_http(false);
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls(authority_pem)?).https_only();
        let connector = connector.enable_http1().wrap_connector(http);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, host: host.to_owned(), token: token.to_owned() })
    }

    /// Gets a document.
    ///
    /// # Errors
    /// Where the answer is not a success.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let request = Request::get(format!("https://{}{path}", self.host)).header("authorization", &self.token);
        let response = self.client.request(request.body(Full::default())?).await?;
        ensure!(response.status().is_success(), "{path}: {}", response.status());
        Ok(serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?)
    }
}
