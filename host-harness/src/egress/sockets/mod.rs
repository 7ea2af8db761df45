//! The host's side of `wasi:sockets`: TCP connections to permitted hosts, and nothing else.
//!
//! This is an implementation of our own, because every check needs the *name*. The implementation of wasmtime sees only
//! addresses, and looks up any name, which already carries data out. A guest may do two things:
//!
//! 1. look up a name, if an egress rule of protocol `tls` permits the host. Other names are denied before a name server
//!    is asked;
//! 2. connect to an address that such a name resolved to in this call, on a port that the rules permit for the name.
//!
//! Within a call, only the first answer for a name is used, so that a different second answer has no effect. No
//! background task works for a socket: between the calls of a warm instance, received bytes stay in the kernel.

mod names;
mod stream;
mod tcp;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::component::{HasData, Linker, ResourceTable};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily};

use super::exchange::Exchange;
use super::policy::Destination;
use crate::error::EgressDenied;
use crate::interface::metadata::EgressProtocol;
use crate::limits::{ByteBudget, LimitExceeded, LimitName, Limits, Reservation, permits};
use crate::operators::telemetry::Way;

#[allow(missing_docs, reason = "generated from the definitions of WASI, which are documented")]
mod bindings {
    wasmtime::component::bindgen!({
        inline: "
            package host:sockets;
            world sockets {
                import wasi:sockets/tcp@0.2.12;
                import wasi:sockets/tcp-create-socket@0.2.12;
                import wasi:sockets/udp-create-socket@0.2.12;
                import wasi:sockets/ip-name-lookup@0.2.12;
            }
        ",
        path: "../wit",
        world: "host:sockets/sockets",
        imports: { default: trappable },
        require_store_data_send: true,
        with: {
            "wasi:io": wasmtime_wasi::p2::bindings::io,
            "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
            "wasi:sockets/network": wasmtime_wasi::p2::bindings::sockets::network,
            "wasi:sockets/udp": wasmtime_wasi::p2::bindings::sockets::udp,
            "wasi:sockets/tcp.tcp-socket": super::tcp::TcpSocket,
            "wasi:sockets/ip-name-lookup.resolve-address-stream": super::names::Lookup,
        },
    });
}

use bindings::wasi::sockets as wasi;

/// The sockets of one instance, with the rules for them and the limits on them.
pub(crate) struct Sockets {
    exchange: Arc<Exchange>,
    /// The names that this call looked up, with the addresses that the call was given. None if there is no answer yet.
    pinned: BTreeMap<String, Option<Vec<IpAddr>>>,
    open: Arc<Semaphore>,
    /// The largest number of open sockets.
    limit: usize,
    quota: Arc<Quota>,
}

/// A socket's share of the limits on sockets and on their buffers.
pub(super) struct Share {
    _open: OwnedSemaphorePermit,
    _buffers: [Reservation; 2],
}

/// The bytes that the sockets of one instance may still read and write in the current call.
struct Quota(Mutex<CallQuota>);

struct CallQuota(Arc<Exchange>, ByteBudget);

impl CallQuota {
    fn take(&self, bytes: u64) -> bool {
        let Self(exchange, budget) = self;
        let taken = budget.take(bytes);
        if !taken {
            let limit = budget.limit();
            let wanted = (limit - budget.left()).saturating_add(bytes);
            exchange.exceed(LimitExceeded::new(LimitName::SocketBytes, wanted, limit));
        }
        taken
    }
}

impl Quota {
    fn current(&self) -> MutexGuard<'_, CallQuota> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up to `wanted` bytes. None if all are used up.
    fn take_some(&self, wanted: usize) -> Option<usize> {
        let current = self.current();
        let granted = current.1.left().min(wanted as u64);
        current.take(granted.max(1)).then(|| usize::try_from(granted).unwrap_or(wanted))
    }

    /// Takes exactly `wanted` bytes for sending. Returns false, and takes nothing, if fewer are left.
    fn take_all(&self, wanted: usize) -> bool {
        let current = self.current();
        let taken = current.take(wanted as u64);
        if taken {
            current.0.meter().socket_bytes(Way::Out, wanted as u64);
        }
        taken
    }

    /// Of the `granted` bytes, `read` were received. The others are returned.
    fn received(&self, granted: usize, read: usize) {
        let CallQuota(exchange, budget) = &*self.current();
        budget.give_back((granted - read) as u64);
        exchange.meter().socket_bytes(Way::In, read as u64);
    }
}

impl Sockets {
    pub(crate) fn new(limits: &Limits, exchange: Arc<Exchange>) -> Self {
        let quota = Arc::new(Quota(Mutex::new(CallQuota(exchange.clone(), ByteBudget::new(limits.socket_bytes)))));
        let open = Arc::new(Semaphore::new(permits(limits.sockets)));
        Self { exchange, pinned: BTreeMap::new(), open, limit: limits.sockets, quota }
    }

    /// Begins a new call with no names and a full quota. Open sockets stay open.
    pub(crate) fn begin_call(&mut self, limits: &Limits, exchange: Arc<Exchange>) {
        self.pinned.clear();
        *self.quota.current() = CallQuota(exchange.clone(), ByteBudget::new(limits.socket_bytes));
        self.exchange = exchange;
    }

    /// Whether any socket is open.
    pub(crate) fn are_open(&self) -> bool {
        self.open.available_permits() < permits(self.limit)
    }

    /// Reserves one more socket. None if a limit does not permit it.
    fn room(&self) -> Option<Share> {
        let Ok(open) = self.open.clone().try_acquire_owned() else {
            let limit = self.exchange.network.options.limits.sockets;
            self.exchange.exceed(LimitExceeded::new(LimitName::Sockets, limit.saturating_add(1), limit));
            return None;
        };
        Some(Share { _open: open, _buffers: self.exchange.reserve(stream::BUFFERS)? })
    }

    /// Reserves one more name. Returns false if the limit is reached.
    fn pin(&mut self, name: &str) -> bool {
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
    fn deny(&self, denied: EgressDenied) -> ErrorCode {
        self.exchange.deny(denied);
        ErrorCode::AccessDenied
    }

    fn check_connect(&self, address: SocketAddr) -> Result<(), EgressDenied> {
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

struct HasSockets;

impl HasData for HasSockets {
    type Data<'a> = SocketsView<'a>;
}

/// Links TCP, name look-up, and UDP, which is always refused.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> SocketsView<'_>,
) -> wasmtime::Result<()> {
    wasi::tcp::add_to_linker::<T, HasSockets>(linker, view)?;
    wasi::tcp_create_socket::add_to_linker::<T, HasSockets>(linker, view)?;
    wasi::udp_create_socket::add_to_linker::<T, HasSockets>(linker, view)?;
    wasi::ip_name_lookup::add_to_linker::<T, HasSockets>(linker, view)
}

impl wasi::udp_create_socket::Host for SocketsView<'_> {
    fn create_udp_socket(
        &mut self,
        _family: IpAddressFamily,
    ) -> wasmtime::Result<Result<wasmtime::component::Resource<wasmtime_wasi::p2::UdpSocket>, ErrorCode>> {
        Ok(Err(self.sockets.deny(EgressDenied::socket("a UDP socket"))))
    }
}
