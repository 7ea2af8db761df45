//! TCP with `wasi:sockets` directly. The standard library uses it, too, but its `connect_timeout` reports a refused
//! connection as made (five times in eight, Rust 1.95 on wasmtime 48), and its name look-up has no time limit.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use wasip2::clocks::monotonic_clock;
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::ip_name_lookup::resolve_addresses;
use wasip2::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use wasip2::sockets::tcp::TcpSocket;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

use super::streams::{Streams, nanos, timer, wait_for};
use super::tcp::MOST_ADDRESSES;
use super::{Deadline, Transport, TransportError, TransportErrorKind};
use crate::amqp::stage::Stage;

/// A TCP connection. The fields' order matters: the streams must be dropped before their socket.
#[derive(Debug)]
pub struct Tcp {
    streams: Streams,
    _socket: TcpSocket,
}

impl Tcp {
    pub(super) fn open(address: SocketAddr, within: Duration) -> Result<Self, TransportError> {
        let failed = |code| from_code(code, Stage::Connect);
        let family = if address.is_ipv4() { IpAddressFamily::Ipv4 } else { IpAddressFamily::Ipv6 };
        let socket = create_tcp_socket(family).map_err(failed)?;
        socket.start_connect(&instance_network(), to_wasi(address)).map_err(failed)?;
        let timer = monotonic_clock::subscribe_duration(nanos(within));
        let (input, output) = loop {
            match socket.finish_connect() {
                Ok(streams) => break streams,
                Err(ErrorCode::WouldBlock) => wait_for(&socket.subscribe(), &timer, Stage::Connect)?,
                Err(code) => return Err(failed(code)),
            }
        };
        Ok(Self { streams: Streams::new(input, output), _socket: socket })
    }
}

impl Transport for Tcp {
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize, TransportError> {
        self.streams.read(buffer, deadline)
    }
    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<usize, TransportError> {
        self.streams.write(bytes, deadline)
    }
}

/// Looks a host up with WASI, within the deadline.
pub(super) fn resolve(host: &str, deadline: &Deadline) -> Result<Vec<IpAddr>, TransportError> {
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(vec![address]);
    }
    let failed = |code| from_code(code, Stage::Resolve);
    let timer = timer(deadline, Stage::Resolve)?;
    let answers = resolve_addresses(&instance_network(), host).map_err(failed)?;
    let mut addresses = Vec::new();
    while addresses.len() < MOST_ADDRESSES {
        match answers.resolve_next_address() {
            Ok(Some(IpAddress::Ipv4((a, b, c, d)))) => addresses.push(IpAddr::from([a, b, c, d])),
            Ok(Some(IpAddress::Ipv6((a, b, c, d, e, f, g, h)))) => {
                addresses.push(IpAddr::from([a, b, c, d, e, f, g, h]));
            }
            Ok(None) => break,
            Err(ErrorCode::WouldBlock) => wait_for(&answers.subscribe(), &timer, Stage::Resolve)?,
            Err(code) => return Err(failed(code)),
        }
    }
    Ok(addresses)
}

fn to_wasi(address: SocketAddr) -> IpSocketAddress {
    match address {
        SocketAddr::V4(address) => {
            let [a, b, c, d] = address.ip().octets();
            IpSocketAddress::Ipv4(Ipv4SocketAddress { port: address.port(), address: (a, b, c, d) })
        }
        SocketAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h] = address.ip().segments();
            IpSocketAddress::Ipv6(Ipv6SocketAddress {
                port: address.port(),
                flow_info: address.flowinfo(),
                address: (a, b, c, d, e, f, g, h),
                scope_id: address.scope_id(),
            })
        }
    }
}

fn from_code(code: ErrorCode, stage: Stage) -> TransportError {
    let kind = match code {
        ErrorCode::Timeout => return TransportError::timeout(stage),
        ErrorCode::AccessDenied => TransportErrorKind::Denied,
        _ if stage == Stage::Resolve => TransportErrorKind::Dns,
        _ => TransportErrorKind::Connect,
    };
    TransportError::new(kind, stage, code.name())
}
