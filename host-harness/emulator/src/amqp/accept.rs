//! How an AMQP connection begins, over TLS or over a WebSocket, and the fault rules that apply at that moment.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::BytesMut;
use hyper::upgrade::Upgraded;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::connection::{Connection, End, HANDSHAKE_TIME, Transport, Wakers};
use super::fragile::Fragile;
use crate::client_certificate::ClientCertificate;
use crate::faults::FaultAction;
use crate::service::Service;
use crate::tls::Tls;
use crate::web_socket::stream;
use crate::world::Shared;

/// Serves a TCP connection from its first byte to its last.
pub(super) async fn accept(
    world: Shared,
    service: Service,
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
    stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let Some(stream) = begin(&world, service, stream).await else { return };
    let mut host_name = None;
    let mut certificate = None;
    let stream: Box<dyn Transport> = match tls {
        Some(tls) => match tokio::time::timeout(HANDSHAKE_TIME, tls.accept(service, stream)).await {
            Ok(Ok(stream)) => {
                host_name = stream.get_ref().1.server_name().map(str::to_ascii_lowercase);
                certificate = ClientCertificate::of(stream.get_ref().1.peer_certificates());
                Box::new(stream)
            }
            Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => return tracing::debug!(%peer, "TLS handshake timed out"),
        },
        None => Box::new(stream),
    };
    let client = Client { host_name, certificate, web_socket: false };
    serve(world, service, stream, client, stop).await;
}

/// Serves a WebSocket from its first byte to its last; `host_name` is the name (SNI) in the client's handshake, and
/// `certificate` the certificate that it presented there.
pub(crate) async fn accept_web_socket(
    world: Shared,
    service: Service,
    upgraded: Upgraded,
    host_name: Option<String>,
    certificate: Option<ClientCertificate>,
    stop: watch::Receiver<bool>,
) {
    let stream = stream(upgraded).await;
    let Some(stream) = begin(&world, service, stream).await else { return };
    let client = Client { host_name, certificate, web_socket: true };
    serve(world, service, Box::new(stream), client, stop).await;
}

/// Applies the fault rules for new connections (`CONNECT`). Returns `None` when a rule refuses the connection.
pub(super) async fn begin<S>(world: &Shared, service: Service, stream: S) -> Option<Fragile<S>> {
    let mut stream = Fragile::new(stream);
    for action in world.faults.pick(service, "CONNECT", "/") {
        match action {
            FaultAction::Latency(duration) => tokio::time::sleep(duration).await,
            FaultAction::Cut(bytes) => stream.breaks_after(bytes as usize),
            _ => return None,
        }
    }
    Some(stream)
}

/// What is known of a client before its first frame.
struct Client {
    host_name: Option<String>,
    certificate: Option<ClientCertificate>,
    web_socket: bool,
}

async fn serve(
    world: Shared,
    service: Service,
    stream: Box<dyn Transport>,
    client: Client,
    stop: watch::Receiver<bool>,
) {
    let (lost_tx, lost) = mpsc::unbounded_channel();
    let mut connection = Connection {
        stream,
        inbound: BytesMut::with_capacity(8 << 10),
        out: BytesMut::new(),
        wake: Wakers {
            lost,
            events: world.event_hub.subscribe(),
            notices: world.service_bound.subscribe(),
            generation: world.event_hub.generations(),
            stop,
        },
        lost_tx,
        service,
        host_name: client.host_name,
        certificate: client.certificate,
        web_socket: client.web_socket,
        opened: false,
        max_frame_size: 512,
        heartbeat: None,
        claims: Vec::new(),
        registrant: None,
        devices: HashMap::new(),
        dies_with_claims: false,
        sessions: HashMap::new(),
        more: false,
        last_read: Instant::now(),
        last_write: Instant::now(),
        without_link: Instant::now(),
        half_at: None,
        cut_after: None,
        stalled: false,
        world,
    };
    let end = connection.converse().await;
    tracing::debug!(?service, ?end, "connection ended");
    if end == Err(End::Flush) {
        connection.linger().await;
    }
}
