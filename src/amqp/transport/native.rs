//! TCP with the standard library.

use std::io::{Error, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use super::{Deadline, Transport, TransportError, TransportErrorKind};
use crate::amqp::stage::Stage;

/// A TCP connection.
#[derive(Debug)]
pub struct Tcp(TcpStream);

impl Tcp {
    pub(super) fn open(address: SocketAddr, within: Duration) -> Result<Self, TransportError> {
        let stream = TcpStream::connect_timeout(&address, within).map_err(|error| from_io(&error, Stage::Connect))?;
        // Frames are written whole, so waiting for more bytes would only delay them. If the option cannot be set,
        // frames only arrive later.
        let _ = stream.set_nodelay(true);
        Ok(Self(stream))
    }
}

impl Transport for Tcp {
    fn read(&mut self, buffer: &mut [u8], deadline: &Deadline) -> Result<usize, TransportError> {
        loop {
            let left = deadline.remaining().ok_or_else(|| TransportError::timeout(Stage::Message))?;
            self.0.set_read_timeout(Some(at_least(left))).map_err(|error| from_io(&error, Stage::Message))?;
            match self.0.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other.map_err(|error| from_io(&error, Stage::Message)),
            }
        }
    }

    fn write(&mut self, bytes: &[u8], deadline: &Deadline) -> Result<usize, TransportError> {
        loop {
            let left = deadline.remaining().ok_or_else(|| TransportError::timeout(Stage::Write))?;
            self.0.set_write_timeout(Some(at_least(left))).map_err(|error| from_io(&error, Stage::Write))?;
            match self.0.write(bytes) {
                Ok(0) => return Err(TransportError::new(TransportErrorKind::Broken, Stage::Write, "no byte is taken")),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => return other.map_err(|error| from_io(&error, Stage::Write)),
            }
        }
    }
}

/// Looks a host up with the system's resolver, which cannot be given a deadline: only its own time-out ends it.
pub(super) fn resolve(host: &str, deadline: &Deadline) -> Result<Vec<IpAddr>, TransportError> {
    if deadline.remaining().is_none() {
        return Err(TransportError::timeout(Stage::Resolve));
    }
    let failed = |error: Error| TransportError::new(TransportErrorKind::Dns, Stage::Resolve, error.to_string());
    Ok((host, 0).to_socket_addrs().map_err(failed)?.map(|address| address.ip()).collect())
}

/// The time left, but at least 1 ms: a socket would round a shorter time-out down to zero, which means none.
fn at_least(left: Duration) -> Duration {
    left.max(Duration::from_millis(1))
}

fn from_io(error: &Error, stage: Stage) -> TransportError {
    let kind = match error.kind() {
        // The error kind for a time-out depends on the operating system.
        ErrorKind::WouldBlock | ErrorKind::TimedOut => return TransportError::timeout(stage),
        ErrorKind::PermissionDenied => TransportErrorKind::Denied,
        _ if stage == Stage::Connect => TransportErrorKind::Connect,
        _ => TransportErrorKind::Broken,
    };
    TransportError::new(kind, stage, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;
    use crate::platform::fake::FakePlatform;
    use crate::platform::{ExchangeError, ExchangeLimits, Platform, WireRequest, WireResponse};

    /// A platform with the real time; its other functions are not used.
    struct Real(Instant, FakePlatform);

    impl Platform for Real {
        fn unix_time(&self) -> Duration {
            self.1.unix_time()
        }
        fn monotonic(&self) -> Duration {
            self.0.elapsed()
        }
        fn sleep(&self, duration: Duration) {
            std::thread::sleep(duration);
        }
        fn random(&self) -> u64 {
            self.1.random()
        }
        fn secure_random(&self, bytes: &mut [u8]) {
            self.1.secure_random(bytes);
        }
        fn exchange(&self, request: &WireRequest, limits: &ExchangeLimits) -> Result<WireResponse, ExchangeError> {
            self.1.exchange(request, limits)
        }
    }

    #[test]
    fn waits_end_at_their_deadlines() {
        let real = Real(Instant::now(), FakePlatform::default());
        let within = |ms| Deadline::at(&real, real.monotonic() + Duration::from_millis(ms));
        // The server accepts connections and sends nothing.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mut tcp = Tcp::connect("127.0.0.1", port, &within(2_000)).expect("connected");

        let begun = real.monotonic();
        let error = tcp.read(&mut [0; 16], &within(80)).expect_err("silence");
        assert_eq!((error.kind, error.stage), (TransportErrorKind::Timeout, Stage::Message));
        let deadline = within(80);
        let bytes = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = tcp.write(&bytes, &deadline) {
                break error;
            }
        };
        assert_eq!((error.kind, error.stage), (TransportErrorKind::Timeout, Stage::Write));
        assert!(real.monotonic() - begun < Duration::from_millis(1_500));
        assert_eq!(tcp.read(&mut [0; 16], &within(0)).expect_err("over").kind, TransportErrorKind::Timeout);

        drop(listener);
        let error = Tcp::connect("127.0.0.1", port, &within(2_000)).expect_err("nobody listens");
        assert_eq!((error.kind, error.stage), (TransportErrorKind::Connect, Stage::Connect));
    }
}
