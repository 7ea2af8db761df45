//! The loop of every listener, which accepts connections until it is told to stop.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// Serves each connection by a task of its own until `stop` turns true, then gives the open ones a moment to finish.
pub(crate) async fn serve<F>(
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
    connection: impl Fn(TcpStream, SocketAddr, watch::Receiver<bool>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => drop(connections.spawn(connection(stream, peer, stop.clone()))),
                Err(error) => {
                    // The most likely cause is a lack of file descriptors: wait until some are closed.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = stop.changed() => break,
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(SHUTDOWN_TIME, finish).await;
}
