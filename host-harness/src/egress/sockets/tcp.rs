//! `wasi:sockets/tcp`: a guest can connect, but cannot listen for connections.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::task::{Context, Waker};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::time::timeout_at;
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, Network, subscribe};

use super::SocketsView;
use super::bindings::wasi::sockets::tcp::{Host, HostTcpSocket, ShutdownType};
use super::bindings::wasi::sockets::tcp_create_socket;
use super::quota::BUFFERS;
use super::socket::{Stage, TcpSocket};
use super::stream::Connected;
use crate::error::EgressDenied;
use crate::limits::{LimitExceeded, LimitName, from_now};

/// The result of a function of WASI.
type Answer<T> = wasmtime::Result<Result<T, ErrorCode>>;

impl tcp_create_socket::Host for SocketsView<'_> {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> Answer<Resource<TcpSocket>> {
        if !self.sockets.exchange.allowed.opens_sockets() {
            let denied = EgressDenied::socket("a TCP socket, which no egress rule opens for this connection");
            return Ok(Err(self.sockets.deny(denied)));
        }
        let Some(share) = self.sockets.room(BUFFERS) else {
            return Ok(Err(ErrorCode::NewSocketLimit));
        };
        let socket = match family {
            IpAddressFamily::Ipv4 => tokio::net::TcpSocket::new_v4(),
            IpAddressFamily::Ipv6 => tokio::net::TcpSocket::new_v6(),
        };
        let socket = match socket {
            Ok(socket) => socket,
            Err(error) => return Ok(Err(error.into())),
        };
        Ok(Ok(self.table.push(TcpSocket { family, stage: Stage::New(socket, share) })?))
    }
}

impl Host for SocketsView<'_> {}

impl SocketsView<'_> {
    /// Refuses binding and listening: a guest has no address of its own.
    fn refuse_to_listen<T>(&mut self, this: &Resource<TcpSocket>) -> Answer<T> {
        self.table.get(this)?;
        Ok(Err(self.sockets.deny(EgressDenied::socket("a port to listen on"))))
    }

    fn option<T>(
        &mut self,
        this: &Resource<TcpSocket>,
        apply: impl FnOnce(&SockRef<'_>) -> io::Result<T>,
    ) -> Answer<T> {
        let socket = self.table.get(this)?;
        Ok(socket.options().and_then(|options| apply(&options).map_err(ErrorCode::from)))
    }
}

/// Checks an address by the rules of WASI, before any permission is checked.
fn check_shape(family: IpAddressFamily, address: SocketAddr) -> Result<(), ErrorCode> {
    let ip = address.ip();
    let fits = match (family, ip) {
        (IpAddressFamily::Ipv4, IpAddr::V4(_)) => true,
        // IPv4-mapped and IPv4-compatible addresses are refused, so that there is only one way to write an address.
        (IpAddressFamily::Ipv6, IpAddr::V6(ip)) => ip == Ipv6Addr::LOCALHOST || ip.to_ipv4().is_none(),
        _ => false,
    };
    let unicast = !ip.is_unspecified() && !ip.is_multicast() && ip != IpAddr::V4(Ipv4Addr::BROADCAST);
    if fits && unicast && address.port() != 0 { Ok(()) } else { Err(ErrorCode::InvalidArgument) }
}

impl HostTcpSocket for SocketsView<'_> {
    fn start_bind(
        &mut self,
        this: Resource<TcpSocket>,
        _network: Resource<Network>,
        _address: IpSocketAddress,
    ) -> Answer<()> {
        self.refuse_to_listen(&this)
    }

    fn finish_bind(&mut self, this: Resource<TcpSocket>) -> Answer<()> {
        self.table.get(&this)?;
        Ok(Err(ErrorCode::NotInProgress))
    }

    fn start_connect(
        &mut self,
        this: Resource<TcpSocket>,
        network: Resource<Network>,
        address: IpSocketAddress,
    ) -> Answer<()> {
        self.table.get(&network)?;
        let address = SocketAddr::from(address);
        let socket = self.table.get_mut(&this)?;
        match &socket.stage {
            Stage::New(..) => {}
            Stage::Connecting(..) | Stage::Settled(..) => return Ok(Err(ErrorCode::ConcurrencyConflict)),
            Stage::Connected(_) | Stage::Failed(_) => return Ok(Err(ErrorCode::InvalidState)),
        }
        if let Err(code) = check_shape(socket.family, address) {
            return Ok(Err(code));
        }
        if let Err(denied) = self.sockets.check_connect(address) {
            let code = self.sockets.deny(denied);
            socket.stage = Stage::Failed(code);
            return Ok(Err(code));
        }
        let exchange = &self.sockets.exchange;
        let until = exchange.deadline.min(from_now(exchange.network.options.limits.connect_timeout));
        let stage = std::mem::replace(&mut socket.stage, Stage::Failed(ErrorCode::Unknown));
        if let Stage::New(new, share) = stage {
            let exchange = exchange.clone();
            let connecting = Box::pin(async move {
                let connects = &exchange.network.connects;
                if !connects.turn(until).await {
                    let limit = connects.per_second();
                    let name = LimitName::ConnectionsPerSecond;
                    exchange.exceed(LimitExceeded::new(name, limit.saturating_add(1), limit));
                    return Err(ErrorCode::NewSocketLimit);
                }
                let stream = timeout_at(until, new.connect(address)).await.map_err(|_| ErrorCode::Timeout)??;
                // WASI has no option for it, and guests send whole messages, which should not be delayed.
                let _ = stream.set_nodelay(true);
                Ok(stream)
            });
            socket.stage = Stage::Connecting(connecting, share);
        }
        Ok(Ok(()))
    }

    fn finish_connect(
        &mut self,
        this: Resource<TcpSocket>,
    ) -> Answer<(Resource<DynInputStream>, Resource<DynOutputStream>)> {
        let quota = self.sockets.quota.clone();
        let socket = self.table.get_mut(&this)?;
        if !matches!(socket.stage, Stage::Connecting(..) | Stage::Settled(..)) {
            return Ok(Err(ErrorCode::NotInProgress));
        }
        if socket.poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            return Ok(Err(ErrorCode::WouldBlock));
        }
        let stage = std::mem::replace(&mut socket.stage, Stage::Failed(ErrorCode::Unknown));
        let (stream, share) = match stage {
            Stage::Settled(Ok(stream), share) => (stream, share),
            Stage::Settled(Err(code), _) => {
                socket.stage = Stage::Failed(code);
                return Ok(Err(code));
            }
            other => {
                socket.stage = other;
                return Ok(Err(ErrorCode::NotInProgress));
            }
        };
        let connected = Connected::new(stream, quota, share);
        let (receiver, sender) = connected.streams();
        socket.stage = Stage::Connected(connected);
        let input: DynInputStream = Box::new(receiver);
        let output: DynOutputStream = Box::new(sender);
        Ok(Ok((self.table.push_child(input, &this)?, self.table.push_child(output, &this)?)))
    }

    fn start_listen(&mut self, this: Resource<TcpSocket>) -> Answer<()> {
        self.refuse_to_listen(&this)
    }

    fn finish_listen(&mut self, this: Resource<TcpSocket>) -> Answer<()> {
        self.table.get(&this)?;
        Ok(Err(ErrorCode::NotInProgress))
    }

    fn accept(
        &mut self,
        this: Resource<TcpSocket>,
    ) -> Answer<(Resource<TcpSocket>, Resource<DynInputStream>, Resource<DynOutputStream>)> {
        self.table.get(&this)?;
        Ok(Err(ErrorCode::InvalidState))
    }

    fn local_address(&mut self, this: Resource<TcpSocket>) -> Answer<IpSocketAddress> {
        let connected = self.table.get(&this)?.connected();
        Ok(connected.and_then(|it| Ok(it.tcp.local_addr()?.into())))
    }

    fn remote_address(&mut self, this: Resource<TcpSocket>) -> Answer<IpSocketAddress> {
        let connected = self.table.get(&this)?.connected();
        Ok(connected.and_then(|it| Ok(it.tcp.peer_addr()?.into())))
    }

    fn is_listening(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<bool> {
        self.table.get(&this)?;
        Ok(false)
    }

    fn address_family(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<IpAddressFamily> {
        Ok(self.table.get(&this)?.family)
    }

    fn set_listen_backlog_size(&mut self, this: Resource<TcpSocket>, _value: u64) -> Answer<()> {
        self.table.get(&this)?;
        Ok(Err(ErrorCode::NotSupported))
    }

    fn keep_alive_enabled(&mut self, this: Resource<TcpSocket>) -> Answer<bool> {
        self.option(&this, |socket| socket.keepalive())
    }

    fn set_keep_alive_enabled(&mut self, this: Resource<TcpSocket>, value: bool) -> Answer<()> {
        self.option(&this, |socket| socket.set_keepalive(value))
    }

    fn keep_alive_idle_time(&mut self, this: Resource<TcpSocket>) -> Answer<u64> {
        self.option(&this, |socket| socket.tcp_keepalive_time().map(nanoseconds))
    }

    fn set_keep_alive_idle_time(&mut self, this: Resource<TcpSocket>, value: u64) -> Answer<()> {
        self.keep_alive(&this, value, TcpKeepalive::with_time)
    }

    fn keep_alive_interval(&mut self, this: Resource<TcpSocket>) -> Answer<u64> {
        self.option(&this, |socket| socket.tcp_keepalive_interval().map(nanoseconds))
    }

    fn set_keep_alive_interval(&mut self, this: Resource<TcpSocket>, value: u64) -> Answer<()> {
        self.keep_alive(&this, value, TcpKeepalive::with_interval)
    }

    fn keep_alive_count(&mut self, this: Resource<TcpSocket>) -> Answer<u32> {
        self.option(&this, |socket| socket.tcp_keepalive_retries())
    }

    fn set_keep_alive_count(&mut self, this: Resource<TcpSocket>, value: u32) -> Answer<()> {
        if value == 0 {
            return Ok(Err(ErrorCode::InvalidArgument));
        }
        self.option(&this, |socket| socket.set_tcp_keepalive(&TcpKeepalive::new().with_retries(value.min(127))))
    }

    fn hop_limit(&mut self, this: Resource<TcpSocket>) -> Answer<u8> {
        let family = self.table.get(&this)?.family;
        self.option(&this, |socket| match family {
            IpAddressFamily::Ipv4 => socket.ttl_v4(),
            IpAddressFamily::Ipv6 => socket.unicast_hops_v6(),
        })
        .map(|answer| answer.map(|hops| u8::try_from(hops).unwrap_or(u8::MAX)))
    }

    fn set_hop_limit(&mut self, this: Resource<TcpSocket>, value: u8) -> Answer<()> {
        if value == 0 {
            return Ok(Err(ErrorCode::InvalidArgument));
        }
        let family = self.table.get(&this)?.family;
        self.option(&this, |socket| match family {
            IpAddressFamily::Ipv4 => socket.set_ttl_v4(value.into()),
            IpAddressFamily::Ipv6 => socket.set_unicast_hops_v6(value.into()),
        })
    }

    fn receive_buffer_size(&mut self, this: Resource<TcpSocket>) -> Answer<u64> {
        self.option(&this, |socket| socket.recv_buffer_size().map(|size| size as u64))
    }

    fn set_receive_buffer_size(&mut self, this: Resource<TcpSocket>, value: u64) -> Answer<()> {
        match buffer_size(value) {
            Some(size) => self.option(&this, |socket| socket.set_recv_buffer_size(size)),
            None => Ok(Err(ErrorCode::InvalidArgument)),
        }
    }

    fn send_buffer_size(&mut self, this: Resource<TcpSocket>) -> Answer<u64> {
        self.option(&this, |socket| socket.send_buffer_size().map(|size| size as u64))
    }

    fn set_send_buffer_size(&mut self, this: Resource<TcpSocket>, value: u64) -> Answer<()> {
        match buffer_size(value) {
            Some(size) => self.option(&this, |socket| socket.set_send_buffer_size(size)),
            None => Ok(Err(ErrorCode::InvalidArgument)),
        }
    }

    fn subscribe(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(self.table, this)
    }

    fn shutdown(&mut self, this: Resource<TcpSocket>, how: ShutdownType) -> Answer<()> {
        let connected = self.table.get(&this)?.connected();
        Ok(connected.map(|it| {
            it.shutdown(match how {
                ShutdownType::Receive => Shutdown::Read,
                ShutdownType::Send => Shutdown::Write,
                ShutdownType::Both => Shutdown::Both,
            });
        }))
    }

    fn drop(&mut self, this: Resource<TcpSocket>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl SocketsView<'_> {
    fn keep_alive(
        &mut self,
        this: &Resource<TcpSocket>,
        nanoseconds: u64,
        with: impl FnOnce(TcpKeepalive, Duration) -> TcpKeepalive,
    ) -> Answer<()> {
        if nanoseconds == 0 {
            return Ok(Err(ErrorCode::InvalidArgument));
        }
        // Whole seconds, at most the largest value that the kernel accepts.
        let seconds = nanoseconds.div_ceil(1_000_000_000).clamp(1, 32_767);
        let keep_alive = with(TcpKeepalive::new(), Duration::from_secs(seconds));
        self.option(this, |socket| {
            // Setting a time also enables keep-alive, which is a separate option in WASI. So its previous state is
            // restored.
            let enabled = socket.keepalive()?;
            socket.set_tcp_keepalive(&keep_alive)?;
            socket.set_keepalive(enabled)
        })
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The buffer size that a guest asks for, bounded. None for 0, which WASI forbids.
fn buffer_size(wanted: u64) -> Option<usize> {
    const LARGEST: u64 = 1 << 20;
    (wanted > 0).then(|| usize::try_from(wanted.min(LARGEST)).unwrap_or(1 << 20))
}
