//! A plain HTTPS client, so that no SDK stands between a test and the wire.
#![allow(dead_code, reason = "every test binary uses another part of it")]

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use azure_iot_emulator::{Emulator, EmulatorOptions, Policy};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Request};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.bytes));
        self
    }

    /// The message of an IoT Hub error.
    pub fn message(&self) -> String {
        self.body["Message"].as_str().unwrap_or_default().to_owned()
    }
}

/// A client of one host.
pub struct Client {
    pub host: String,
    pub authorization: Option<String>,
    tls: TlsConnector,
}

pub async fn start() -> Emulator {
    start_with(EmulatorOptions::default()).await
}

pub async fn start_with(options: EmulatorOptions) -> Emulator {
    Emulator::start(options).await.expect("the emulator starts")
}

pub fn hub(emulator: &Emulator, policy: &str) -> Client {
    let policy = emulator.hub_policy(policy).expect("policy");
    Client::new(emulator, emulator.hub_host(), Some(policy_token(&emulator.hub_host(), policy, 3600)))
}

pub fn dps(emulator: &Emulator, policy: &str) -> Client {
    let policy = emulator.dps_policy(policy).expect("policy");
    Client::new(emulator, emulator.dps_host(), Some(policy_token(&emulator.dps_host(), policy, 3600)))
}

pub fn policy_token(resource: &str, policy: &Policy, lifetime: i64) -> String {
    token(resource, &policy.primary_key, Some(&policy.name), lifetime)
}

/// A shared access signature for `lifetime` seconds from now on.
pub fn token(resource: &str, key: &str, policy: Option<&str>, lifetime: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("clock").as_secs() as i64;
    let expiry = now + lifetime;
    let resource = encode(resource);
    let key = STANDARD.decode(key).expect("key");
    let mac = Hmac::<Sha256>::new_from_slice(&key).expect("key").chain_update(format!("{resource}\n{expiry}"));
    let signature = encode(&STANDARD.encode(mac.finalize().into_bytes()));
    let policy = policy.map(|policy| format!("&skn={policy}")).unwrap_or_default();
    format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}{policy}")
}

pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A TLS connector that trusts the emulator's certificate authority.
pub fn tls_connector(emulator: &Emulator) -> TlsConnector {
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(emulator.ca_pem().as_bytes()).expect("CA");
    roots.add(ca).expect("CA");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

impl Client {
    pub fn new(emulator: &Emulator, host: String, authorization: Option<String>) -> Self {
        Self { host, authorization, tls: tls_connector(emulator) }
    }

    pub fn authorize(mut self, authorization: impl Into<String>) -> Self {
        self.authorization = Some(authorization.into());
        self
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], None).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call("PUT", path, &[], Some(body)).await
    }

    pub async fn put_if(&self, path: &str, etag: &str, body: Value) -> Answer {
        self.call("PUT", path, &[("if-match", etag)], Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call("PATCH", path, &[], Some(body)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, &[], Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], None).await
    }

    pub async fn query(&self, path: &str, query: &str, size: usize, token: Option<&str>) -> Answer {
        let size = size.to_string();
        let mut headers = vec![("x-ms-max-item-count", size.as_str())];
        headers.extend(token.map(|token| ("x-ms-continuation", token)));
        self.call("POST", path, &headers, Some(serde_json::json!({ "query": query }))).await
    }

    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        self.try_call(method, path, headers, body).await.expect("an answer")
    }

    /// Sends one request on a connection of its own. The API version is added unless the path has a query.
    pub async fn try_call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let (name, port) = self.host.rsplit_once(':').ok_or("a host without a port")?;
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).await?;
        let stream = self.tls.connect(ServerName::try_from(name.to_owned())?, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let version = if path.contains("/registrations/") && path.starts_with("/0ne") {
            "2021-06-01"
        } else if path.starts_with("/enrollment") || path.starts_with("/registrations") {
            "2021-10-01"
        } else {
            "2021-04-12"
        };
        let uri = if path.contains('?') { path.to_owned() } else { format!("{path}?api-version={version}") };
        let mut request = Request::builder().method(method).uri(uri).header("host", &self.host);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json; charset=utf-8");
        }
        let bytes = body.map(|body| body.to_string()).unwrap_or_default();
        let response = sender.send_request(request.body(Full::<bytes::Bytes>::from(bytes.into_bytes()))?).await?;
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await?.to_bytes().to_vec();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, bytes, body })
    }
}
