//! The host's side of `wasi:sockets`: TCP connections to permitted hosts, and nothing else.
//!
//! It is an implementation of its own, since every check has to see the *name*: wasmtime's sees addresses, and looks
//! any name up, which by itself carries data out. What a guest may do:
//!
//! 1. look a name up, if an egress rule of protocol `tls` opens the host. Others are denied before any name server
//!    is asked;
//! 2. connect to an address that this call was given for such a name, on a port that the rules open for it.
//!
//! Within a call a name stands for the addresses of its first answer, so that a second answer changes nothing.
//! No background task works for a socket: between the calls of a warm instance its bytes stay in the kernel.

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

/// What the sockets of one instance are judged by, and what they use up.
pub(crate) struct Sockets {
    exchange: Arc<Exchange>,
    /// The names that this call asked for, and the addresses that it was given; none: no answer yet.
    pinned: BTreeMap<String, Option<Vec<IpAddr>>>,
    open: Arc<Semaphore>,
    /// How many sockets there may be.
    limit: usize,
    quota: Arc<Quota>,
}

/// What a socket holds of the bounds on sockets and on their buffers.
pub(super) struct Share {
    _open: OwnedSemaphorePermit,
    _buffers: [Reservation; 2],
}

/// What the sockets of one instance may still read and write in the call that is under way.
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

    /// Up to `wanted` bytes; none where all are used up.
    fn take_some(&self, wanted: usize) -> Option<usize> {
        let current = self.current();
        let granted = current.1.left().min(wanted as u64);
        current.take(granted.max(1)).then(|| usize::try_from(granted).unwrap_or(wanted))
    }

    /// Just `wanted` bytes to send, or none.
    fn take_all(&self, wanted: usize) -> bool {
        let current = self.current();
        let taken = current.take(wanted as u64);
        if taken {
            current.0.meter().socket_bytes(Way::Out, wanted as u64);
        }
        taken
    }

    /// Of what was taken to receive, so much came; the rest is given back.
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

    /// A new call begins: its own names and its own quota; the open sockets stay.
    pub(crate) fn begin_call(&mut self, limits: &Limits, exchange: Arc<Exchange>) {
        self.pinned.clear();
        *self.quota.current() = CallQuota(exchange.clone(), ByteBudget::new(limits.socket_bytes));
        self.exchange = exchange;
    }

    /// Whether there is a socket.
    pub(crate) fn are_open(&self) -> bool {
        self.open.available_permits() < permits(self.limit)
    }

    /// Room for one more socket; none where a limit is in the way.
    fn room(&self) -> Option<Share> {
        let Ok(open) = self.open.clone().try_acquire_owned() else {
            let limit = self.exchange.network.options.limits.sockets;
            self.exchange.exceed(LimitExceeded::new(LimitName::Sockets, limit.saturating_add(1), limit));
            return None;
        };
        Some(Share { _open: open, _buffers: self.exchange.reserve(stream::BUFFERS)? })
    }

    /// Room for one more name; false where there is none.
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

    /// Records a denial, and names it as the guest gets to see it.
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
        // The connection itself may lead to an address.
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

/// What a function of `wasi:sockets` works with.
pub(crate) struct SocketsView<'a> {
    pub(crate) sockets: &'a mut Sockets,
    pub(crate) table: &'a mut ResourceTable,
}

struct HasSockets;

impl HasData for HasSockets {
    type Data<'a> = SocketsView<'a>;
}

/// Links TCP, the look-up of names and the refusal of UDP.
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
