//! One listener for AMQP.

use tokio::net::TcpListener;
use tokio::sync::watch;

use super::accept;
use crate::listening;
use crate::service::Service;
use crate::tls::Tls;
use crate::world::Shared;

/// Serves AMQP until `stop` turns true, then closes the open connections.
pub(crate) async fn serve(
    world: Shared,
    service: Service,
    listener: TcpListener,
    tls: Option<Tls>,
    stop: watch::Receiver<bool>,
) {
    let connection = |stream, peer, stop| accept::accept(world.clone(), service, stream, peer, tls.clone(), stop);
    listening::serve(listener, stop, connection).await;
}
