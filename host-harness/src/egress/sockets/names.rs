//! `wasi:sockets/ip-name-lookup`, for permitted names only.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::time::timeout_at;
use wasmtime::component::Resource;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress};
use wasmtime_wasi::p2::{DynPollable, Network, Pollable, subscribe};

use super::SocketsView;
use super::bindings::wasi::sockets::ip_name_lookup::{Host, HostResolveAddressStream};
use crate::egress::connector::ConnectError;
use crate::egress::exchange::Exchange;
use crate::egress::policy::shown;
use crate::error::EgressDenied;
use crate::limits::from_now;
use crate::options::split_authority;

type Found = Result<Vec<IpAddr>, ErrorCode>;

/// The look-up of one name.
pub struct Lookup {
    host: String,
    /// The call to which the look-up belongs. A later call must not use its answer.
    exchange: Arc<Exchange>,
    state: State,
    next: usize,
}

enum State {
    Asking(Pin<Box<dyn Future<Output = Found> + Send>>),
    Answered(Found),
}

impl Lookup {
    fn new(host: String, exchange: Arc<Exchange>) -> Self {
        let until = from_now(exchange.network.options.limits.connect_timeout);
        let until = until.min(exchange.deadline);
        let (asked, asking) = (host.clone(), exchange.clone());
        let state = State::Asking(Box::pin(async move {
            let resolver = &asking.network.resolver;
            match timeout_at(until, resolver.resolve(&asked, None, &asked, asking.asking(until))).await {
                Ok(Ok(found)) => Ok(found),
                Ok(Err(ConnectError::Prohibited(denied))) => {
                    asking.deny(*denied);
                    Err(ErrorCode::AccessDenied)
                }
                Ok(Err(error)) if asking.over(&error) => Err(ErrorCode::TemporaryResolverFailure),
                Ok(Err(_)) => Err(ErrorCode::NameUnresolvable),
                Err(_) => Err(ErrorCode::TemporaryResolverFailure),
            }
        }));
        Self { host, exchange, state, next: 0 }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let State::Asking(asking) = &mut self.state {
            match asking.as_mut().poll(cx) {
                Poll::Ready(found) => self.state = State::Answered(found),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    }
}

#[async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }
}

impl Host for SocketsView<'_> {
    fn resolve_addresses(
        &mut self,
        network: Resource<Network>,
        name: String,
    ) -> wasmtime::Result<Result<Resource<Lookup>, ErrorCode>> {
        self.table.get(&network)?;
        let host = match name.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => match split_authority(&name) {
                Some((host, None)) => host,
                // Text that is not a host name could also carry data out.
                _ => return Ok(Err(self.sockets.deny(EgressDenied::socket(&format!("the name `{}`", shown(&name)))))),
            },
        };
        if let Err(denied) = self.sockets.exchange.allowed.check_name(&host) {
            return Ok(Err(self.sockets.deny(denied)));
        }
        if !self.sockets.pin(&host) {
            return Ok(Err(ErrorCode::TemporaryResolverFailure));
        }
        let mut lookup = Lookup::new(host, self.sockets.exchange.clone());
        if let Some(Some(pinned)) = self.sockets.pinned.get(&lookup.host) {
            lookup.state = State::Answered(Ok(pinned.clone()));
        }
        Ok(Ok(self.table.push(lookup)?))
    }
}

impl HostResolveAddressStream for SocketsView<'_> {
    fn resolve_next_address(
        &mut self,
        this: Resource<Lookup>,
    ) -> wasmtime::Result<Result<Option<IpAddress>, ErrorCode>> {
        let lookup = self.table.get_mut(&this)?;
        if !Arc::ptr_eq(&lookup.exchange, &self.sockets.exchange) {
            return Ok(Err(ErrorCode::TemporaryResolverFailure));
        }
        if lookup.poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            return Ok(Err(ErrorCode::WouldBlock));
        }
        let State::Answered(Ok(found)) = &lookup.state else {
            let State::Answered(Err(code)) = lookup.state else { return Ok(Err(ErrorCode::WouldBlock)) };
            return Ok(Err(code));
        };
        // Within a call, only the first answer for a name is used.
        let pinned = self.sockets.pinned.entry(lookup.host.clone()).or_default().get_or_insert_with(|| found.clone());
        let address = pinned.get(lookup.next).copied();
        lookup.next += 1;
        Ok(Ok(address.map(IpAddress::from)))
    }

    fn subscribe(&mut self, this: Resource<Lookup>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, this)
    }

    fn drop(&mut self, this: Resource<Lookup>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}
