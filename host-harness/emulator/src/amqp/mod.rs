//! The AMQP 1.0 side: the Event Hub-compatible endpoint, and the hub's own endpoint for services.
//!
//! | address | endpoint | what it is |
//! |---|---|---|
//! | `$cbs` | both | puts tokens |
//! | `{hub}/ConsumerGroups/{group}/Partitions/{id}` | Event Hub | events |
//! | `$management`, `{hub}/$management` | Event Hub | reads the properties of the Event Hub and its partitions |
//! | `/messages/devicebound` | IoT Hub | messages to devices |
//! | `/messages/serviceBound/feedback`, `…/filenotifications` | IoT Hub | what became of them; uploaded files |
//! | `/messages/events/…` | IoT Hub | answers with a redirect to the Event Hub-compatible endpoint |
//!
//! # Why not an acceptor from a library
//!
//! `fe2o3-amqp` has one, but it cannot be made to behave as the service does: its performatives leave out trailing null
//! fields, while Microsoft's Python client reads by position; it answers an attach before anybody can refuse it with a
//! condition of the service's, or redirect it; and it owns the socket, so that a frame cannot be cut in half. So this
//! module takes only its types and codec (`fe2o3-amqp-types`, `serde_amqp`), which decode what comes in, and drives one
//! small state machine per connection. The connector's own client is another implementation, so that the two check each
//! other; Microsoft's clients check both.

mod claims;
pub(crate) mod codec;
mod connection;
mod fragile;
mod nodes;
mod session;
pub(crate) mod web_socket;

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use connection::accept_web_socket;

use crate::server::Service;
use crate::tls::Tls;
use crate::world::Shared;

const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// Accepts connections until `stop` turns true, then closes the open ones.
pub(crate) async fn serve(
    world: Shared,
    service: Service,
    listener: TcpListener,
    tls: Option<Tls>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (world, tls, stop) = (world.clone(), tls.clone(), stop.clone());
                    connections.spawn(connection::accept(world, service, stream, peer, tls, stop));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: wait for some to be closed.
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
