//! Why no connection to a host was opened, from the look-up of its name to the HTTP handshake: [`ConnectError`].

use std::io;

use super::ledger::Excess;
use crate::error::EgressDenied;

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("the name cannot be resolved: {0}")]
    Dns(String),
    #[error("{0}")]
    Prohibited(Box<EgressDenied>),
    #[error("the connection was refused")]
    Refused,
    #[error("the host cannot be reached: {0}")]
    Unreachable(io::Error),
    #[error("the connection could not be opened within the time allowed")]
    TimedOut,
    #[error("more than {0} new connections in one second, which is the tenant's limit")]
    TooMany(u32),
    #[error("the server's certificate is not accepted: {0}")]
    Certificate(rustls::CertificateError),
    #[error("the server ended the TLS handshake with the alert {0:?}")]
    Alert(rustls::AlertDescription),
    #[error("more than {0} name look-ups in one second, which is the tenant's limit")]
    TooManyLookups(u32),
    #[error("{0} name look-ups are running, which is the host's limit, and none of them ended in time")]
    NoLookup(usize),
    #[error("the TLS handshake failed: {0}")]
    Tls(io::Error),
    #[error("{0} connections are open, and none of them is idle")]
    NoSlot(usize),
    #[error("{0}")]
    Excess(Excess),
    #[error("the HTTP handshake failed: {0}")]
    Http(hyper::Error),
}
