//! A socket of a guest, from its creation to its connection.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::net::TcpStream;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily};

use super::quota::Share;
use super::stream::Connected;

/// A socket of a guest.
pub struct TcpSocket {
    pub(super) family: IpAddressFamily,
    pub(super) stage: Stage,
}

pub(super) enum Stage {
    New(tokio::net::TcpSocket, Share),
    Connecting(Connecting, Share),
    /// Connected or failed, and the guest has not asked for the result yet.
    Settled(Result<TcpStream, ErrorCode>, Share),
    Connected(Arc<Connected>),
    Failed(ErrorCode),
}

pub(super) type Connecting = Pin<Box<dyn Future<Output = Result<TcpStream, ErrorCode>> + Send>>;

impl TcpSocket {
    /// The socket, to read or set its options.
    pub(super) fn options(&self) -> Result<SockRef<'_>, ErrorCode> {
        match &self.stage {
            Stage::New(socket, _) => Ok(SockRef::from(socket)),
            Stage::Settled(Ok(stream), _) => Ok(SockRef::from(stream)),
            Stage::Connected(connected) => Ok(SockRef::from(&connected.tcp)),
            Stage::Connecting(..) => Err(ErrorCode::InvalidState),
            Stage::Settled(Err(code), _) | Stage::Failed(code) => Err(*code),
        }
    }

    pub(super) fn connected(&self) -> Result<&Arc<Connected>, ErrorCode> {
        match &self.stage {
            Stage::Connected(connected) => Ok(connected),
            Stage::Failed(code) => Err(*code),
            _ => Err(ErrorCode::InvalidState),
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Stage::Connecting(connecting, _) = &mut self.stage {
            let Poll::Ready(result) = connecting.as_mut().poll(cx) else { return Poll::Pending };
            if let Stage::Connecting(_, share) = std::mem::replace(&mut self.stage, Stage::Failed(ErrorCode::Unknown)) {
                self.stage = Stage::Settled(result, share);
            }
        }
        Poll::Ready(())
    }
}

#[async_trait]
impl Pollable for TcpSocket {
    async fn ready(&mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }
}
