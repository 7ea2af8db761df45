//! A stream that breaks after a given number of bytes, even in the middle of a TLS record or of a WebSocket message.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(super) struct Fragile<S> {
    stream: S,
    /// The number of bytes that can still be written; `None` means no limit.
    left: Option<usize>,
}

impl<S> Fragile<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, left: None }
    }

    /// Lets the stream write this many more bytes; every later write fails.
    pub(super) fn breaks_after(&mut self, bytes: usize) {
        self.left = Some(bytes);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Fragile<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Fragile<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let most = self.left.unwrap_or(bytes.len()).min(bytes.len());
        if most == 0 && !bytes.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let written = std::task::ready!(Pin::new(&mut self.stream).poll_write(context, &bytes[..most]))?;
        self.left = self.left.map(|left| left - written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn it_breaks_after_the_given_bytes() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut client = TcpStream::connect(listener.local_addr()?).await?;
        let mut stream = Fragile::new(listener.accept().await?.0);
        stream.write_all(b"whole").await?;
        stream.breaks_after(3);
        assert!(stream.write_all(b"halves").await.is_err());
        drop(stream);
        let mut received = Vec::new();
        client.read_to_end(&mut received).await?;
        assert_eq!(received, b"wholehal");
        Ok(())
    }
}
