//! The recorder of HTTP exchanges, for contract tests. Off until [`Traffic::record`] turns it on.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::http::{HeaderMap, header};
use bytes::Bytes;

use crate::service::Service;
use crate::sync::lock;

/// One exchange. Bodies are recorded as sent, before TLS encrypts them, and may contain device keys; `Debug` leaves
/// bodies out.
#[derive(Clone)]
#[non_exhaustive]
pub struct Exchange {
    /// Which API was called.
    pub service: Service,
    /// The HTTP method.
    pub method: String,
    /// The path, still percent-encoded.
    pub path: String,
    /// The query, without the question mark; empty when there is none.
    pub query: String,
    /// Request headers in order; the value of `authorization` is replaced.
    pub request_headers: Vec<(String, String)>,
    /// Request body.
    pub request_body: Bytes,
    /// Response status; `None` when a fault dropped the connection instead.
    pub status: Option<u16>,
    /// Response headers in order.
    pub response_headers: Vec<(String, String)>,
    /// Response body, before a fault truncated or stalled it.
    pub response_body: Bytes,
}

impl fmt::Debug for Exchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Exchange")
            .field("service", &self.service)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("query", &self.query)
            .field("request_bytes", &self.request_body.len())
            .field("status", &self.status)
            .field("response_bytes", &self.response_body.len())
            .finish_non_exhaustive()
    }
}

/// Records exchanges while it is on.
#[derive(Debug, Default)]
pub struct Traffic {
    on: AtomicBool,
    exchanges: Mutex<Vec<Exchange>>,
    amqp_closed: AtomicU64,
}

impl Traffic {
    /// Turns recording on or off. Recorded exchanges stay.
    pub fn record(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Whether exchanges are being recorded.
    pub fn is_recording(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Everything recorded so far, oldest first.
    pub fn exchanges(&self) -> Vec<Exchange> {
        lock(&self.exchanges).clone()
    }

    /// Returns everything recorded so far and removes it.
    pub fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut *lock(&self.exchanges))
    }

    /// How many AMQP connections were closed by their clients with `close`.
    pub fn amqp_connections_closed(&self) -> u64 {
        self.amqp_closed.load(Ordering::Relaxed)
    }

    pub(crate) fn amqp_closed(&self) {
        self.amqp_closed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn push(&self, exchange: Exchange) {
        lock(&self.exchanges).push(exchange);
    }
}

/// Header names and values as text, the credentials left out.
pub(crate) fn printable(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            let value = if *name == header::AUTHORIZATION {
                "(redacted)".to_owned()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            };
            (name.as_str().to_owned(), value)
        })
        .collect()
}
