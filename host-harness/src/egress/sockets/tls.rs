//! `workflow:connector-host/tls`: TLS connections to permitted servers. The host looks the name up, connects, and
//! verifies the certificate, so the guest sends no plain text anywhere else.

use std::net::IpAddr;
use std::task::{Context, Waker};

use rustls::pki_types::ServerName;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, subscribe};

use super::SocketsView;
use super::quota::TLS_BUFFERS;
use super::tls_bindings::workflow::connector_host::tls::{Error, ErrorCode, Host, HostConnection, Stage as Waiting};
use super::tls_connection::{Connection, Failure, Reason, Request, Stage, Step};
use super::tls_session::Secured;
use crate::egress::policy::Destination;
use crate::egress::shown::shown;
use crate::egress::trust;
use crate::error::EgressDenied;
use crate::interface::metadata::EgressProtocol;
use crate::options::split_authority;

/// The longest text with certificates that is read, in bytes.
const LONGEST_PEM: usize = 1 << 20;

/// The result of a function of the interface.
type Answer<T> = wasmtime::Result<Result<T, Error>>;

impl Host for SocketsView<'_> {}

impl HostConnection for SocketsView<'_> {
    fn open(&mut self, host: String, port: u16, roots: Option<String>) -> Answer<Resource<Connection>> {
        match self.request(&host, port, roots.as_deref()) {
            Ok(request) => Ok(Ok(self.table.push(Connection::open(request))?)),
            Err(error) => Ok(Err(error)),
        }
    }

    fn stage(&mut self, this: Resource<Connection>) -> wasmtime::Result<Waiting> {
        Ok(match self.table.get(&this)?.progress.step() {
            Step::Address => Waiting::Address,
            Step::Tcp => Waiting::Tcp,
            Step::Handshake => Waiting::Handshake,
        })
    }

    fn subscribe(&mut self, this: Resource<Connection>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, this)
    }

    fn finish(
        &mut self,
        this: Resource<Connection>,
    ) -> Answer<Option<(Resource<DynInputStream>, Resource<DynOutputStream>)>> {
        let connection = self.table.get_mut(&this)?;
        if connection.poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            return Ok(Ok(None));
        }
        let result = match std::mem::replace(&mut connection.stage, Stage::Failed) {
            Stage::Settled(result) => *result,
            other => {
                connection.stage = other;
                return Ok(Err(error(ErrorCode::InvalidState, "the result was returned before")));
            }
        };
        let opened = match result {
            Ok(opened) => opened,
            Err(failure) => return Ok(Err(failure.into())),
        };
        // Within a call, only the first answer for a name is used.
        if std::sync::Arc::ptr_eq(&connection.exchange, &self.sockets.exchange) {
            let pinned = self.sockets.pinned.entry(connection.host.clone()).or_default();
            pinned.get_or_insert(opened.addresses);
        }
        let secured = Secured::new(opened.session);
        let (receiver, sender) = secured.streams();
        connection.stage = Stage::Open(secured);
        let input: DynInputStream = Box::new(receiver);
        let output: DynOutputStream = Box::new(sender);
        Ok(Ok(Some((self.table.push_child(input, &this)?, self.table.push_child(output, &this)?))))
    }

    fn drop(&mut self, this: Resource<Connection>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl SocketsView<'_> {
    /// Checks all that can be checked without the network.
    fn request(&mut self, host: &str, port: u16, roots: Option<&str>) -> Result<Request, Error> {
        let named = match host.parse::<IpAddr>() {
            Ok(address) => Some(address.to_string()),
            Err(_) => split_authority(host).and_then(|(host, port)| port.is_none().then_some(host)),
        };
        let Some(host) = named else {
            // Text that is not a host name could also carry data out.
            return Err(self.refused(EgressDenied::socket(&format!("the name `{}`", shown(host)))));
        };
        let destination = Destination { protocol: EgressProtocol::Tls, host: host.clone(), port };
        self.sockets.exchange.allowed.check(&destination).map_err(|denied| self.refused(denied))?;
        let invalid = |message: &str| error(ErrorCode::InvalidArgument, message);
        let name = ServerName::try_from(host.clone())
            .map_err(|_| invalid("the host is not a name that a certificate can have"))?;
        if roots.is_some_and(|pem| pem.len() > LONGEST_PEM) {
            return Err(invalid("the authority's PEM is too long"));
        }
        let config = trust::for_guest(&self.sockets.exchange.network.roots, roots)
            .map_err(|reason| invalid(&format!("the authority's PEM cannot be used: {reason}")))?;
        let over = || error(ErrorCode::Limit, "a limit of the host on connections was reached");
        if !self.sockets.pin(&host) {
            return Err(over());
        }
        let share = self.sockets.room(TLS_BUFFERS).ok_or_else(over)?;
        let pinned = self.sockets.pinned.get(&host).cloned().flatten();
        let (exchange, quota) = (self.sockets.exchange.clone(), self.sockets.quota.clone());
        Ok(Request { host, port, pinned, name, config, exchange, quota, share })
    }

    /// Records a denial, and returns the error for the guest.
    fn refused(&self, denied: EgressDenied) -> Error {
        self.sockets.deny(denied);
        error(ErrorCode::AccessDenied, "no egress rule permits the server")
    }
}

fn error(code: ErrorCode, message: &str) -> Error {
    Error { code, message: message.to_owned() }
}

impl From<Failure> for Error {
    fn from(Failure { reason, message }: Failure) -> Self {
        let code = match reason {
            Reason::Denied => ErrorCode::AccessDenied,
            Reason::Unresolvable => ErrorCode::NameUnresolvable,
            Reason::Unreachable => ErrorCode::Unreachable,
            Reason::Certificate => ErrorCode::Certificate,
            Reason::Name => ErrorCode::CertificateName,
            Reason::Handshake => ErrorCode::Handshake,
            Reason::Broken => ErrorCode::Broken,
            Reason::Timeout => ErrorCode::Timeout,
            Reason::Limit => ErrorCode::Limit,
        };
        Self { code, message }
    }
}
