//! Single HTTPS requests, each on a connection of its own.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;

use super::identity::{Identity, escaped};
use super::tls::{Tls, split};
use super::topics::API_VERSION;

/// The usual port of HTTPS.
pub(super) const PORT: u16 = 443;
/// The largest answer that is read, in bytes.
const LARGEST: usize = 1 << 20;

/// An answer that was read to its end.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// Fails if the status is no success. The error quotes what the service said.
    pub(super) fn successful(self, what: &str) -> Result<Self> {
        if self.status.is_success() {
            return Ok(self);
        }
        let said: String = String::from_utf8_lossy(&self.body).chars().take(500).collect();
        anyhow::bail!("{what}: the service answered {} {said}", self.status)
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Sends a request to `host`, which may contain a port. `target` is the path and query.
pub(super) async fn send(
    tls: &Tls,
    host: &str,
    method: Method,
    target: &str,
    headers: &[(&str, &str)],
    body: Bytes,
) -> Result<Answer> {
    let stream = tls.open(host, PORT).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(target).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = async {
        let (parts, body) = sender.send_request(request.body(Full::new(body))?).await?.into_parts();
        let body = Limited::new(body, LARGEST).collect().await.map_err(anyhow::Error::from_boxed)?.to_bytes();
        anyhow::Ok(Answer { status: parts.status, headers: parts.headers, body })
    };
    let answer = answer.await.with_context(|| format!("no answer from {host}"));
    connection.abort();
    answer
}

/// The hub's device API over HTTPS, as one device calls it.
pub(super) struct HubApi<'a> {
    pub(super) tls: &'a Tls,
    pub(super) identity: &'a Identity,
    /// The hub's name, with the port of HTTPS unless it is the usual one.
    pub(super) host: String,
}

impl<'a> HubApi<'a> {
    pub(super) fn new(tls: &'a Tls, identity: &'a Identity, port: u16) -> Self {
        let name = split(&identity.host, PORT).0;
        let host = if port == PORT { name.to_owned() } else { format!("{name}:{port}") };
        Self { tls, identity, host }
    }

    /// Sends a request. `path` begins behind the device's id, and `query` with `&` if it is not empty.
    pub(super) async fn ask(&self, method: Method, path: &str, query: &str, body: Option<&Value>) -> Result<Answer> {
        let target = format!("/devices/{}{path}?api-version={API_VERSION}{query}", escaped(&self.identity.device));
        let token = self.identity.token(&self.host)?;
        let mut headers: Vec<(&str, &str)> = Vec::new();
        headers.extend(token.as_deref().map(|token| ("authorization", token)));
        headers.extend(body.map(|_| ("content-type", "application/json; charset=utf-8")));
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        send(self.tls, &self.host, method, &target, &headers, body).await
    }
}
