//! The look-up of one name.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::time::timeout_at;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

use crate::egress::connect_error::ConnectError;
use crate::egress::exchange::Exchange;
use crate::limits::from_now;

type Found = Result<Vec<IpAddr>, ErrorCode>;

/// The look-up of one name.
pub struct Lookup {
    pub(super) host: String,
    /// The call to which the look-up belongs. A later call must not use its answer.
    pub(super) exchange: Arc<Exchange>,
    pub(super) state: State,
    /// How many addresses the guest has got.
    pub(super) next: usize,
}

pub(super) enum State {
    Asking(Pin<Box<dyn Future<Output = Found> + Send>>),
    Answered(Found),
}

impl Lookup {
    pub(super) fn new(host: String, exchange: Arc<Exchange>) -> Self {
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

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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
