//! The host's side of `wasi:sockets`: TCP connections to permitted hosts, and nothing else.
//!
//! This is an implementation of our own, because every check needs the *name*. The implementation of wasmtime sees only
//! addresses, and looks up any name, which already carries data out. A guest may do two things:
//!
//! 1. look up a name, if an egress rule of protocol `tls` permits the host. Other names are denied before a name server
//!    is asked;
//! 2. connect to an address that such a name resolved to in this call, on a port that the rules permit for the name.
//!
//! A component that imports `workflow:connector-host/tls` leaves TLS to the host: `tls.rs`. It names a server, and the
//! same rules, limits and addresses apply.
//!
//! Within a call, only the first answer for a name is used, so that a different second answer has no effect. No
//! background task works for a socket: between the calls of a warm instance, received bytes stay in the kernel.

#[allow(missing_docs, reason = "generated from the definitions of WASI, which are documented")]
mod bindings;
mod lookup;
mod names;
mod quota;
mod socket;
mod state;
mod stream;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod tls_bindings;
mod tls_connection;
mod tls_session;
#[cfg(test)]
mod tls_tests;

use wasmtime::component::{HasData, Linker};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily};

use bindings::wasi::sockets as wasi;
pub(crate) use state::{Sockets, SocketsView};
use tls_bindings::workflow::connector_host as own;

use crate::error::EgressDenied;

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

/// Links TLS by the host.
pub(crate) fn add_tls_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> SocketsView<'_>,
) -> wasmtime::Result<()> {
    own::tls::add_to_linker::<T, HasSockets>(linker, view)
}

impl wasi::udp_create_socket::Host for SocketsView<'_> {
    fn create_udp_socket(
        &mut self,
        _family: IpAddressFamily,
    ) -> wasmtime::Result<Result<wasmtime::component::Resource<wasmtime_wasi::p2::UdpSocket>, ErrorCode>> {
        Ok(Err(self.sockets.deny(EgressDenied::socket("a UDP socket"))))
    }
}
