//! Listeners at the ports that clients of devices cannot change: 443, 5671 and 8883 of one loopback address.
//!
//! Port 443 serves the HTTPS APIs of the hub and of the provisioning service, told apart by their paths, and both
//! WebSocket paths.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::server::Site;
use crate::service::Service;
use crate::tls::Tls;
use crate::world::Shared;
use crate::{amqp, mqtt, server};

/// Which of the ports are the emulator's. The others were taken, or the program may not bind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WellKnownPorts {
    /// The address.
    pub address: IpAddr,
    /// Port 443.
    pub https: bool,
    /// Port 5671.
    pub amqp: bool,
    /// Port 8883.
    pub mqtt: bool,
}

impl WellKnownPorts {
    /// The ports that are not the emulator's.
    pub fn missing(&self) -> Vec<u16> {
        let ports = [(443, self.https), (5671, self.amqp), (8883, self.mqtt)];
        ports.into_iter().filter(|(_, bound)| !bound).map(|(port, _)| port).collect()
    }
}

/// The bound listeners.
pub(crate) struct WellKnown {
    address: IpAddr,
    https: Option<TcpListener>,
    amqp: Option<TcpListener>,
    mqtt: Option<TcpListener>,
}

impl WellKnown {
    /// Binds those of the ports that are free.
    pub(crate) async fn bind(address: IpAddr) -> Self {
        let bind = async |port| match TcpListener::bind(SocketAddr::new(address, port)).await {
            Ok(listener) => Some(listener),
            Err(error) => {
                tracing::warn!(%address, port, %error, "a port for clients of devices cannot be used");
                None
            }
        };
        Self { address, https: bind(443).await, amqp: bind(5671).await, mqtt: bind(8883).await }
    }

    pub(crate) fn ports(&self) -> WellKnownPorts {
        let Self { address, https, amqp, mqtt } = self;
        WellKnownPorts { address: *address, https: https.is_some(), amqp: amqp.is_some(), mqtt: mqtt.is_some() }
    }

    pub(crate) fn serve(
        self,
        world: &Shared,
        tls: &Tls,
        (hub, dps): (Router, Router),
        stop: &watch::Receiver<bool>,
    ) -> Vec<JoinHandle<()>> {
        let (world, tls, stop) = (|| world.clone(), || tls.clone(), || stop.clone());
        let https = self.https.map(|it| tokio::spawn(server::serve(world(), Site::both(hub, dps), it, tls(), stop())));
        let service = Service::HubAmqp;
        let amqp = self.amqp.map(|it| tokio::spawn(amqp::serve(world(), service, it, Some(tls()), stop())));
        let mqtt = self.mqtt.map(|it| tokio::spawn(mqtt::serve(world(), it, tls(), stop())));
        [https, amqp, mqtt].into_iter().flatten().collect()
    }
}
