//! One listener for HTTPS and its connections.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::exchange::{Upgrade, exchange};
use super::site::Site;
use crate::amqp;
use crate::client_certificate::ClientCertificate;
use crate::listening;
use crate::mqtt;
use crate::service::Service;
use crate::sync::lock;
use crate::tls::Tls;
use crate::world::Shared;

const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Serves HTTPS until `stop` turns true, then gives open connections a moment to finish.
pub(crate) async fn serve(world: Shared, site: Site, listener: TcpListener, tls: Tls, stop: watch::Receiver<bool>) {
    let connection = |stream, peer, stop| connection(world.clone(), site.clone(), stream, peer, tls.clone(), stop);
    listening::serve(listener, stop, connection).await;
}

async fn connection(
    world: Shared,
    site: Site,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Tls,
    mut stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_TIME, tls.accept(site.service(), stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "TLS handshake timed out"),
    };
    let host_name = stream.get_ref().1.server_name().map(str::to_ascii_lowercase);
    let certificate = ClientCertificate::of(stream.get_ref().1.peer_certificates());
    let upgrade = Upgrade::default();
    let handler = {
        let (world, upgrade, certificate) = (world.clone(), upgrade.clone(), certificate.clone());
        service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
            if let Some(certificate) = &certificate {
                request.extensions_mut().insert(certificate.clone());
            }
            exchange(world.clone(), site.clone(), upgrade.clone(), request)
        })
    };
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), handler).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    return tracing::debug!(%peer, %error, "connection ended early");
                }
                break;
            }
            _ = stop.changed(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
    let upgrade = lock(&upgrade).take().filter(|_| !stopping);
    if let Some((service, upgrade)) = upgrade {
        match upgrade.await {
            Ok(upgraded) if service == Service::Device => {
                mqtt::accept_web_socket(world, upgraded, certificate, stop).await;
            }
            Ok(upgraded) => amqp::accept_web_socket(world, service, upgraded, host_name, certificate, stop).await,
            Err(error) => tracing::debug!(%peer, %error, "the connection could not be upgraded to a WebSocket"),
        }
    }
}
