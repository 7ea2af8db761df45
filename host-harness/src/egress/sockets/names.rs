//! `wasi:sockets/ip-name-lookup`, for permitted names only.

use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Waker};

use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress};
use wasmtime_wasi::p2::{DynPollable, Network, subscribe};

use super::SocketsView;
use super::bindings::wasi::sockets::ip_name_lookup::{Host, HostResolveAddressStream};
use super::lookup::{Lookup, State};
use crate::egress::shown::shown;
use crate::error::EgressDenied;
use crate::options::split_authority;

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
