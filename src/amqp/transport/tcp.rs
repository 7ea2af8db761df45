//! TCP by the standard library, which on WASI is `wasi:sockets`.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use super::{Deadline, Transport, TransportError, TransportErrorKind, from_io};
use crate::amqp::error::Stage;

/// Addresses of a host that are tried, in the resolver's order.
const MOST_ADDRESSES: usize = 4;
/// An address that does not answer must leave time for the next one, but gets this much if there is as much.
const LEAST_FOR_AN_ADDRESS: Duration = Duration::from_secs(2);

/// A TCP connection.
#[derive(Debug)]
pub struct Tcp(TcpStream);

impl Tcp {
    /// Connects to the first address of `host` that answers.
    ///
    /// # Errors
    /// `Dns`, `Connect`, `Denied` or `Timeout`.
    pub fn connect(host: &str, port: u16, deadline: &Deadline) -> Result<Self, TransportError> {
        let addresses = resolve(host, deadline)?;
        let mut last = TransportError::new(TransportErrorKind::Dns, Stage::Resolve, "it has no address");
        let count = u32::try_from(addresses.len().min(MOST_ADDRESSES)).unwrap_or(1);
        for (address, others) in addresses.into_iter().zip((0..count).rev()) {
            let Some(left) = deadline.remaining() else { return Err(TransportError::timeout(Stage::Connect)) };
            let share = (left / (others + 1)).max(LEAST_FOR_AN_ADDRESS).min(left);
            match TcpStream::connect_timeout(&SocketAddr::new(address, port), share) {
                Ok(stream) => {
                    // Frames are written whole; waiting for more would only delay them. Where it cannot be set, they are late.
                    let _ = stream.set_nodelay(true);
                    return Ok(Self(stream));
                }
                Err(error) => last = from_io(&error, Stage::Connect),
            }
        }
        Err(last)
    }
}

impl Transport for Tcp {
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize, TransportError> {
        loop {
            let left = deadline.remaining().ok_or_else(|| TransportError::timeout(Stage::Message))?;
            self.0.set_read_timeout(Some(at_least(left))).map_err(|error| from_io(&error, Stage::Message))?;
            match self.0.read(buffer) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => return other.map_err(|error| from_io(&error, Stage::Message)),
            }
        }
    }

    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<usize, TransportError> {
        loop {
            let left = deadline.remaining().ok_or_else(|| TransportError::timeout(Stage::Write))?;
            self.0.set_write_timeout(Some(at_least(left))).map_err(|error| from_io(&error, Stage::Write))?;
            match self.0.write(bytes) {
                Ok(0) => return Err(TransportError::new(TransportErrorKind::Broken, Stage::Write, "nothing is taken")),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => return other.map_err(|error| from_io(&error, Stage::Write)),
            }
        }
    }
}

/// A time-out of less than the clock of a socket can tell would be none.
fn at_least(left: Duration) -> Duration {
    left.max(Duration::from_millis(1))
}

/// Natively the system's resolver, whose own time-out is the only one that it has.
#[cfg(not(target_family = "wasm"))]
fn resolve(host: &str, deadline: &Deadline) -> Result<Vec<IpAddr>, TransportError> {
    use std::net::ToSocketAddrs as _;

    if deadline.remaining().is_none() {
        return Err(TransportError::timeout(Stage::Resolve));
    }
    let found = (host, 0).to_socket_addrs();
    let found =
        found.map_err(|error| TransportError::new(TransportErrorKind::Dns, Stage::Resolve, error.to_string()))?;
    Ok(found.map(|address| address.ip()).collect())
}

/// WASI's look-up, since the standard library's waits without end.
#[cfg(target_family = "wasm")]
fn resolve(host: &str, deadline: &Deadline) -> Result<Vec<IpAddr>, TransportError> {
    use wasip2::clocks::monotonic_clock;
    use wasip2::io::poll::poll;
    use wasip2::sockets::instance_network::instance_network;
    use wasip2::sockets::ip_name_lookup::resolve_addresses;
    use wasip2::sockets::network::{ErrorCode, IpAddress};

    let failed = |code: ErrorCode| {
        let kind = if code == ErrorCode::AccessDenied { TransportErrorKind::Denied } else { TransportErrorKind::Dns };
        TransportError::new(kind, Stage::Resolve, format!("{code:?}"))
    };
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(vec![address]);
    }
    let left = deadline.remaining().ok_or_else(|| TransportError::timeout(Stage::Resolve))?;
    let timer = monotonic_clock::subscribe_duration(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
    let answers = resolve_addresses(&instance_network(), host).map_err(failed)?;
    let ready = answers.subscribe();
    let mut addresses = Vec::new();
    while addresses.len() < MOST_ADDRESSES {
        match answers.resolve_next_address() {
            Ok(Some(IpAddress::Ipv4((a, b, c, d)))) => addresses.push(IpAddr::from([a, b, c, d])),
            Ok(Some(IpAddress::Ipv6((a, b, c, d, e, f, g, h)))) => {
                addresses.push(IpAddr::from([a, b, c, d, e, f, g, h]));
            }
            Ok(None) => break,
            Err(ErrorCode::WouldBlock) => {
                poll(&[&ready, &timer]);
                if timer.ready() && !ready.ready() {
                    return Err(TransportError::timeout(Stage::Resolve));
                }
            }
            Err(code) => return Err(failed(code)),
        }
    }
    Ok(addresses)
}
