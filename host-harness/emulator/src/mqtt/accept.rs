//! How an MQTT connection begins, over TLS or over a WebSocket.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::upgrade::Upgraded;
use mqtt_proto::v3::{Connack, ConnectReturnCode, Packet};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::common::{Limits, fault};
use super::connect::{Admitted, Registrant, User, admit, code_for};
use super::device::Device;
use super::packets::{End, Packets, Stream};
use super::provisioning::Registration;
use crate::client_certificate::ClientCertificate;
use crate::listening;
use crate::operations::connections::DeviceLink;
use crate::service::Service;
use crate::tls::Tls;
use crate::web_socket;
use crate::world::Shared;

const HANDSHAKE_TIME: Duration = Duration::from_secs(30);

/// Serves MQTT until `stop` turns true, then closes the open connections.
pub(crate) async fn serve(world: Shared, listener: TcpListener, tls: Tls, stop: watch::Receiver<bool>) {
    let connection = |stream, peer, stop| accept(world.clone(), stream, peer, tls.clone(), stop);
    listening::serve(listener, stop, connection).await;
}

async fn accept(world: Shared, stream: TcpStream, peer: SocketAddr, tls: Tls, stop: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_TIME, tls.accept(Service::Device, stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "TLS handshake timed out"),
    };
    let certificate = ClientCertificate::of(stream.get_ref().1.peer_certificates());
    run(world, stream, certificate, stop).await;
}

/// Serves a WebSocket from its first byte to its last.
pub(crate) async fn accept_web_socket(
    world: Shared,
    upgraded: Upgraded,
    certificate: Option<ClientCertificate>,
    stop: watch::Receiver<bool>,
) {
    run(world, web_socket::stream(upgraded).await, certificate, stop).await;
}

async fn run(
    world: Shared,
    stream: impl Stream + 'static,
    certificate: Option<ClientCertificate>,
    stop: watch::Receiver<bool>,
) {
    let mut packets = Packets::new(stream);
    if let Err(end) = converse(&world, &mut packets, certificate, stop).await {
        tracing::debug!(%end, "MQTT connection ended");
    }
    packets.close().await;
}

async fn converse(
    world: &Shared,
    packets: &mut Packets,
    certificate: Option<ClientCertificate>,
    stop: watch::Receiver<bool>,
) -> Result<(), End> {
    fault(world, "CONNECT", "/").await?;
    let late = |_| End::refused("no CONNECT came in time");
    let first = tokio::time::timeout(HANDSHAKE_TIME, packets.read()).await.map_err(late)?;
    let connect = match first {
        Ok(Packet::Connect(connect)) => connect,
        Ok(other) => return Err(End::refused(format!("{:?} came before CONNECT", other.get_type()))),
        Err(End::Protocol(error)) => {
            if let Some(code) = code_for(&error) {
                packets.write(&Connack::new(false, code).into()).await?;
            }
            return Err(End::Protocol(error));
        }
        Err(end) => return Err(end),
    };
    let admitted = match admit(world, &connect, certificate.as_ref()) {
        Ok(admitted) => admitted,
        Err(code) => return refuse(packets, code).await,
    };
    let Admitted { user, deadline, proof } = admitted;
    let kept_as = match &user {
        User::Hub { target, .. } => target.key(),
        // A key that no device has, because device ids have no spaces.
        User::Dps { registration, .. } => format!("registration {registration}"),
    };
    let subscriptions = if connect.clean_session {
        world.sessions.keep_subscriptions(&kept_as, None);
        BTreeMap::new()
    } else {
        world.sessions.subscriptions(&kept_as)
    };
    let session_present = !subscriptions.is_empty();
    let kept_as = (!connect.clean_session).then_some(kept_as);
    let mut limits = Limits::new(&connect, deadline, world, stop);
    match user {
        User::Hub { target, model, .. } => {
            let Ok((link, received)) = DeviceLink::open(world, target) else {
                return refuse(packets, ConnectReturnCode::NotAuthorized).await;
            };
            packets.write(&Connack::new(session_present, ConnectReturnCode::Accepted).into()).await?;
            let mut device = Device::new(world.clone(), link, model, subscriptions, kept_as);
            let end = device.converse(packets, received, &mut limits).await;
            if let (Err(End::Closed | End::Broken(_)), Some(will)) = (&end, &connect.last_will) {
                device.leave_will(will);
            }
            end
        }
        User::Dps { registration, .. } => {
            packets.write(&Connack::new(session_present, ConnectReturnCode::Accepted).into()).await?;
            let proof = Registrant::proof(&proof).ok_or_else(|| End::refused("the device proved nothing"))?;
            let world = world.clone();
            Registration { world, registration, proof, subscriptions, kept_as }.converse(packets, &mut limits).await
        }
    }
}

async fn refuse(packets: &mut Packets, code: ConnectReturnCode) -> Result<(), End> {
    packets.write(&Connack::new(false, code).into()).await?;
    Err(End::refused(format!("CONNECT was refused: {code:?}")))
}
