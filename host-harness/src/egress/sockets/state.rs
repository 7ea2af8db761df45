//! What the functions of `wasi:sockets` work on: [`Sockets`], the sockets of one instance.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

use super::quota::{Quota, Share};
use crate::egress::exchange::Exchange;
use crate::egress::policy::Destination;
use crate::error::EgressDenied;
use crate::interface::metadata::EgressProtocol;
use crate::limits::{LimitExceeded, LimitName, Limits, permits};

/// The sockets of one instance, with the rules for them and the limits on them.
pub(crate) struct Sockets {
    pub(super) exchange: Arc<Exchange>,
    /// The names that this call looked up, with the addresses that the call was given. None if there is no answer yet.
    pub(super) pinned: BTreeMap<String, Option<Vec<IpAddr>>>,
    open: Arc<Semaphore>,
    /// The largest number of open sockets.
    limit: usize,
    pub(super) quota: Arc<Quota>,
}

impl Sockets {
    pub(crate) fn new(limits: &Limits, exchange: Arc<Exchange>) -> Self {
        let quota = Arc::new(Quota::new(limits, exchange.clone()));
        let open = Arc::new(Semaphore::new(permits(limits.sockets)));
        Self { exchange, pinned: BTreeMap::new(), open, limit: limits.sockets, quota }
    }

    /// Begins a new call with no names and a full quota. Open sockets stay open.
    pub(crate) fn begin_call(&mut self, limits: &Limits, exchange: Arc<Exchange>) {
        self.pinned.clear();
        self.quota.begin_call(limits, exchange.clone());
        self.exchange = exchange;
    }

    /// Whether any socket is open.
    pub(crate) fn are_open(&self) -> bool {
        self.open.available_permits() < permits(self.limit)
    }

    /// Reserves one more socket with buffers of this size, in bytes. None if a limit does not permit it.
    pub(super) fn room(&self, buffers: u64) -> Option<Share> {
        let Ok(open) = self.open.clone().try_acquire_owned() else {
            let limit = self.exchange.network.options.limits.sockets;
            self.exchange.exceed(LimitExceeded::new(LimitName::Sockets, limit.saturating_add(1), limit));
            return None;
        };
        Share::new(open, &self.exchange, buffers)
    }

    /// Reserves one more name. Returns false if the limit is reached.
    pub(super) fn pin(&mut self, name: &str) -> bool {
        let limit = self.exchange.network.options.limits.socket_names;
        let room = self.pinned.contains_key(name) || self.pinned.len() < limit;
        if room {
            self.pinned.entry(name.to_owned()).or_default();
        } else {
            self.exchange.exceed(LimitExceeded::new(LimitName::SocketNames, limit.saturating_add(1), limit));
        }
        room
    }

    /// Records a denial, and returns the error code for the guest.
    pub(super) fn deny(&self, denied: EgressDenied) -> ErrorCode {
        self.exchange.deny(denied);
        ErrorCode::AccessDenied
    }

    pub(super) fn check_connect(&self, address: SocketAddr) -> Result<(), EgressDenied> {
        let allowed = &self.exchange.allowed;
        let check = |host: &str| {
            allowed.check(&Destination { protocol: EgressProtocol::Tls, host: host.to_owned(), port: address.port() })
        };
        let ip = address.ip();
        let mut denied = None;
        let leads_there = |addresses: &Option<Vec<IpAddr>>| addresses.as_ref().is_some_and(|it| it.contains(&ip));
        for (name, _) in self.pinned.iter().filter(|(_, addresses)| leads_there(addresses)) {
            match check(name) {
                Ok(()) => return Ok(()),
                Err(because) => denied = Some(because),
            }
        }
        // The connection may name an IP address instead of a host.
        if check(&ip.to_string()).is_ok() {
            return if self.exchange.network.resolver.permits(ip) {
                Ok(())
            } else {
                Err(EgressDenied::address(address.to_string(), &[ip]))
            };
        }
        Err(denied.unwrap_or_else(|| EgressDenied::unresolved(address)))
    }
}

/// The state on which the functions of `wasi:sockets` work.
pub(crate) struct SocketsView<'a> {
    pub(crate) sockets: &'a mut Sockets,
    pub(crate) table: &'a mut ResourceTable,
}
