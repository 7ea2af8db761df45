//! The emulator as a whole: its listeners, and what a test or demonstration asks of it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::certificate::{CertificateError, Certificates};
use crate::device_side::DeviceSide;
use crate::dps::certificate_info::certificate_der;
use crate::error::ServiceError;
use crate::etag::Precondition;
use crate::event_hub::telemetry::Telemetry;
use crate::faults::Faults;
use crate::hub::registry::device_not_found;
use crate::journal::Journal;
use crate::messages::TelemetrySink;
use crate::names::HubName;
use crate::options::{EmulatorOptions, Policy, check_policies};
use crate::records::device::DeviceBody;
use crate::records::identity::Target;
use crate::records::twin_view::of_device;
use crate::server::Site;
use crate::service::Service;
use crate::service_bound::Queue;
use crate::sync::lock;
use crate::tls::{Tls, TlsHandshake};
use crate::traffic::Traffic;
use crate::versions::At;
use crate::well_known::{WellKnown, WellKnownPorts};
use crate::world::{Ports, Shared, World};
use crate::{amqp, blob_api, dps_api, hub_api, mqtt, names, server};

/// Why the emulator did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// The address is not a loopback address.
    #[error("the emulator listens on loopback only, and {0} is not a loopback address")]
    NotLoopback(IpAddr),
    /// A policy has no usable name or key.
    #[error("{0}")]
    Policy(String),
    /// A certificate in `device_authorities` cannot be read.
    #[error("entry {0} of device_authorities cannot be read; it must be an X.509 certificate in PEM")]
    DeviceAuthority(usize),
    /// The port could not be bound.
    #[error("could not listen on {address}: {source}")]
    Bind {
        /// The address that was tried.
        address: SocketAddr,
        /// The operating system's error.
        source: io::Error,
    },
    /// The certificate directory could not be read or written.
    #[error("the certificate directory cannot be used: {0}")]
    CertificateDir(io::Error),
    /// A certificate could not be made or read.
    #[error("the certificates could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The TLS settings were refused.
    #[error("the TLS settings were refused: {0}")]
    Tls(#[from] rustls::Error),
}

impl From<CertificateError> for EmulatorError {
    fn from(error: CertificateError) -> Self {
        match error {
            CertificateError::Directory(error) => Self::CertificateDir(error),
            CertificateError::Certificate(error) => Self::Certificate(error),
            CertificateError::Tls(error) => Self::Tls(error),
        }
    }
}

/// A running emulator. Dropping it stops it, too, but without waiting for open connections.
pub struct Emulator {
    pub(crate) world: Shared,
    ca_pem: String,
    stop: watch::Sender<bool>,
    listeners: Mutex<Vec<JoinHandle<()>>>,
    tls: Tls,
    well_known_ports: Option<WellKnownPorts>,
    /// Stops only the listeners of the Event Hub-compatible endpoint, because a fail-over replaces them.
    event_hub_stop: Mutex<watch::Sender<bool>>,
}

impl Emulator {
    /// Starts both services.
    ///
    /// # Errors
    /// When the address is not loopback or a port is taken, a policy is unusable, or the certificates cannot be made.
    pub async fn start(options: EmulatorOptions) -> Result<Self, EmulatorError> {
        if !options.listen.is_loopback() {
            return Err(EmulatorError::NotLoopback(options.listen));
        }
        if let Some(address) = options.device_address.filter(|address| !address.is_loopback()) {
            return Err(EmulatorError::NotLoopback(address));
        }
        if let Some(entry) = options.device_authorities.iter().position(|text| certificate_der(text).is_err()) {
            return Err(EmulatorError::DeviceAuthority(entry));
        }
        check_policies(&options.hub_policies).map_err(EmulatorError::Policy)?;
        check_policies(&options.dps_policies).map_err(EmulatorError::Policy)?;
        let Certificates { ca_pem, tls } = {
            let names = names::hub_names(&options.hub_name, options.gateway).into_iter().map(|(name, _)| name);
            let names = names.chain(options.device_address.map(|address| address.to_string()));
            Certificates::issue(options.certificate_dir.as_deref(), names, options.tls_suites)?
        };
        let (hub_listener, hub_port) = bind(options.listen, options.hub_port).await?;
        let (dps_listener, dps_port) = bind(options.listen, options.dps_port).await?;
        let (hub_amqp_listener, hub_amqp_port) = bind(options.listen, options.hub_amqp_port).await?;
        let (mqtt_listener, mqtt_port) = bind(options.listen, options.mqtt_port).await?;
        let event_hub =
            EventHubListeners::bind(options.listen, options.event_hub_port, options.event_hub_plaintext_port).await?;
        let well_known = match options.device_address {
            Some(address) => Some(WellKnown::bind(address).await),
            None => None,
        };
        let well_known_ports = well_known.as_ref().map(WellKnown::ports);
        let ports = Ports {
            hub: hub_port,
            dps: dps_port,
            hub_amqp: hub_amqp_port,
            mqtt: mqtt_port,
            portless: well_known_ports.filter(|ports| ports.https || ports.mqtt).map(|ports| ports.address),
            event_hub: event_hub.ports(),
        };
        let world = Arc::new(World::new(options, ports));
        let (stop, stopped) = watch::channel(false);
        let hub = hub_api::routes(&world).merge(blob_api::routes(&world));
        let dps = dps_api::routes(&world);
        let listeners = [(Service::Hub, hub_listener, hub.clone()), (Service::Dps, dps_listener, dps.clone())].map(
            |(service, listener, router)| {
                let site = Site::one(service, router);
                tokio::spawn(server::serve(world.clone(), site, listener, tls.clone(), stopped.clone()))
            },
        );
        let hub_amqp =
            amqp::serve(world.clone(), Service::HubAmqp, hub_amqp_listener, Some(tls.clone()), stopped.clone());
        let mut listeners = Vec::from(listeners);
        listeners.push(tokio::spawn(hub_amqp));
        listeners.push(tokio::spawn(mqtt::serve(world.clone(), mqtt_listener, tls.clone(), stopped.clone())));
        let well_known = well_known.map(|it| it.serve(&world, &tls, (hub, dps), &stopped));
        listeners.extend(well_known.into_iter().flatten());
        let (event_hub_stop, event_hub_stopped) = watch::channel(false);
        listeners.extend(event_hub.serve(&world, &tls, &event_hub_stopped));
        let (listeners, event_hub_stop) = (Mutex::new(listeners), Mutex::new(event_hub_stop));
        Ok(Self { world, ca_pem, stop, listeners, tls, well_known_ports, event_hub_stop })
    }

    /// The hub's host and port, `localhost:PORT`.
    pub fn hub_host(&self) -> String {
        self.world.hub_host()
    }

    /// The hub's host and port by one of its Azure names, such as `plant.service.azure-devices.net:PORT`. `None` when
    /// the hub has no such name. The client's resolver must resolve the name to loopback.
    pub fn hub_host_by(&self, name: HubName) -> Option<String> {
        self.world.name_of_hub(name).map(|host| format!("{host}:{}", self.world.hub_port))
    }

    /// Like [`Self::hub_host_by`], but for the hub's own AMQP endpoint.
    pub fn hub_amqp_host_by(&self, name: HubName) -> Option<String> {
        self.world.name_of_hub(name).map(|host| format!("{host}:{}", self.world.hub_amqp_port))
    }

    /// The provisioning service's host and port, `localhost:PORT`.
    pub fn dps_host(&self) -> String {
        self.world.dps_host()
    }

    /// The host and port of the hub's own AMQP endpoint, `localhost:PORT`.
    pub fn hub_amqp_host(&self) -> String {
        self.world.hub_amqp_host()
    }

    /// The host and port at which devices use MQTT, `localhost:PORT`, of the hub and of the provisioning service.
    pub fn mqtt_host(&self) -> String {
        self.world.mqtt_host()
    }

    /// Which of the ports 443, 5671 and 8883 are the emulator's at [`EmulatorOptions::device_address`].
    pub fn well_known_ports(&self) -> Option<WellKnownPorts> {
        self.well_known_ports
    }

    /// The connection string of a device with a symmetric key, as the portal shows it. Contains the primary key. `None`
    /// when there is no such device or it has no key. Its host is that of [`EmulatorOptions::device_address`], or else
    /// that of MQTT.
    pub fn device_connection_string(&self, device_id: &str) -> Option<String> {
        self.device_string(&Target::new(device_id, None))
    }

    /// Creates a device with new symmetric keys, and returns its connection string.
    ///
    /// # Errors
    /// The same errors as the service's PUT: 409 when the device exists, 400 when the id is not valid.
    pub fn create_device(&self, device_id: &str) -> Result<String, ServiceError> {
        lock(&self.world.hub).put_device(device_id, DeviceBody::default(), &Precondition::None, At::INTERNAL)?;
        self.device_connection_string(device_id).ok_or_else(|| device_not_found(device_id))
    }

    /// The connection string of a module with a symmetric key, as the portal shows it. Contains the primary key.
    pub fn module_connection_string(&self, device_id: &str, module_id: &str) -> Option<String> {
        self.device_string(&Target::new(device_id, Some(module_id)))
    }

    fn device_string(&self, target: &Target) -> Option<String> {
        let keys = lock(&self.world.hub).keys_of(target)?;
        let module = target.module.as_ref().map(|module| format!(";ModuleId={module}")).unwrap_or_default();
        let (host, key) = (self.world.device_host(), keys.first()?);
        Some(format!("HostName={host};DeviceId={}{module};SharedAccessKey={key}", target.device))
    }

    /// The host and port of the Event Hub-compatible endpoint, `localhost:PORT`. A fail-over changes the port.
    pub fn event_hub_host(&self) -> String {
        format!("localhost:{}", self.world.event_hub_ports().0)
    }

    /// The host and port of the Event Hub-compatible endpoint without TLS, if the options have one.
    pub fn event_hub_plaintext_host(&self) -> Option<String> {
        self.world.event_hub_ports().1.map(|port| format!("localhost:{port}"))
    }

    /// The Event Hub-compatible name. A fail-over changes it.
    pub fn event_hub_name(&self) -> String {
        self.world.event_hub.name()
    }

    /// The Event Hub-compatible connection string of a hub policy, as the portal shows it. Contains the primary key.
    pub fn event_hub_connection_string(&self, policy: &str) -> Option<String> {
        self.hub_policy(policy).map(|policy| {
            format!(
                "Endpoint=sb://{}/;SharedAccessKeyName={};SharedAccessKey={};EntityPath={}",
                self.event_hub_host(),
                policy.name,
                policy.primary_key,
                self.event_hub_name()
            )
        })
    }

    /// Puts events directly into the partitions.
    pub fn telemetry(&self) -> Telemetry {
        Telemetry::new(self.world.event_hub.clone())
    }

    /// Moves the Event Hub-compatible endpoint, as a fail-over of the hub to another region does: another name, other
    /// ports, every reader disconnected. The new partitions are empty and count from 0, so that earlier positions are
    /// no longer valid.
    ///
    /// # Errors
    /// When no port can be bound. The old endpoint then stays.
    pub async fn fail_over(&self) -> Result<(), EmulatorError> {
        let plaintext = self.world.event_hub_ports().1.map(|_| 0);
        let moved = EventHubListeners::bind(self.world.options.listen, 0, plaintext).await?;
        self.world.set_event_hub_ports(moved.ports());
        self.world.event_hub.fail_over();
        let (stop, stopped) = watch::channel(false);
        lock(&self.event_hub_stop).send_replace(true);
        *lock(&self.event_hub_stop) = stop;
        lock(&self.listeners).extend(moved.serve(&self.world, &self.tls, &stopped));
        Ok(())
    }

    /// The newest successful TLS handshakes, oldest first, at most 1,024.
    pub fn tls_handshakes(&self) -> Vec<TlsHandshake> {
        self.tls.handshakes()
    }

    /// The provisioning service's id scope.
    pub fn id_scope(&self) -> &str {
        &self.world.options.id_scope
    }

    /// The certificate authority that clients must trust, in PEM form.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A shared access policy of the hub.
    pub fn hub_policy(&self, name: &str) -> Option<&Policy> {
        self.world.policy(Service::Hub, name)
    }

    /// A shared access policy of the provisioning service.
    pub fn dps_policy(&self, name: &str) -> Option<&Policy> {
        self.world.policy(Service::Dps, name)
    }

    /// The connection string of a hub policy, as the portal shows it. Contains the primary key.
    pub fn hub_connection_string(&self, policy: &str) -> Option<String> {
        self.hub_policy(policy).map(|policy| connection_string(&self.hub_host(), policy))
    }

    /// The connection string of a DPS policy, as the portal shows it. Contains the primary key.
    pub fn dps_connection_string(&self, policy: &str) -> Option<String> {
        self.dps_policy(policy).map(|policy| connection_string(&self.dps_host(), policy))
    }

    /// The fault rules.
    pub fn faults(&self) -> &Faults {
        &self.world.faults
    }

    /// The record of all changes.
    pub fn journal(&self) -> &Journal {
        &self.world.journal
    }

    /// The record of HTTP exchanges.
    pub fn traffic(&self) -> &Traffic {
        &self.world.traffic
    }

    /// Acts in the place of devices.
    pub fn devices(&self) -> DeviceSide {
        DeviceSide::new(self.world.clone())
    }

    /// A device's twin as the service shows it; `None` when the device does not exist. For tests that check what a
    /// client did without asking that client.
    pub fn twin(&self, device_id: &str) -> Option<serde_json::Value> {
        lock(&self.world.hub).devices.get(device_id).map(of_device)
    }

    /// A file that a device has uploaded, by the blob's name; `None` when there is none.
    pub fn uploaded_file(&self, device_id: &str, blob_name: &str) -> Option<bytes::Bytes> {
        self.world.blobs.read(&format!("{device_id}/{blob_name}"))
    }

    /// How many feedback records no reader has completed, including records that are locked for a reader.
    pub fn feedback_left(&self) -> usize {
        self.world.service_bound.left().0
    }

    /// How many notices of uploaded files no reader has completed, including notices that are locked for a reader.
    pub fn file_notices_left(&self) -> usize {
        self.world.service_bound.left().1
    }

    /// Puts a message with this body into the queue of feedback. The body may be one that no hub would write.
    pub fn give_feedback(&self, body: impl Into<String>) {
        self.world.service_bound.give(Queue::Feedback, body.into());
    }

    /// Puts a message with this body into the queue of notices of uploaded files.
    pub fn give_file_notice(&self, body: impl Into<String>) {
        self.world.service_bound.give(Queue::Files, body.into());
    }

    /// Adds a receiver of everything that devices send from now on.
    pub fn add_telemetry_sink(&self, sink: Arc<dyn TelemetrySink>) {
        self.world.sinks.write().unwrap_or_else(PoisonError::into_inner).push(sink);
    }

    /// Stops listening, gives open exchanges two seconds to finish, and closes their connections.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        lock(&self.event_hub_stop).send_replace(true);
        let listeners = std::mem::take(self.listeners.get_mut().unwrap_or_else(PoisonError::into_inner));
        for listener in listeners {
            let _ = listener.await;
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        for listener in lock(&self.listeners).iter() {
            listener.abort();
        }
    }
}

/// The bound listeners of the Event Hub-compatible endpoint.
struct EventHubListeners {
    tls: (TcpListener, u16),
    plaintext: Option<(TcpListener, u16)>,
}

impl EventHubListeners {
    async fn bind(address: IpAddr, port: u16, plaintext: Option<u16>) -> Result<Self, EmulatorError> {
        let tls = bind(address, port).await?;
        let plaintext = match plaintext {
            Some(port) => Some(bind(address, port).await?),
            None => None,
        };
        Ok(Self { tls, plaintext })
    }

    fn ports(&self) -> (u16, Option<u16>) {
        (self.tls.1, self.plaintext.as_ref().map(|(_, port)| *port))
    }

    fn serve(self, world: &Shared, tls: &Tls, stopped: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
        let serve =
            |listener, tls| tokio::spawn(amqp::serve(world.clone(), Service::EventHub, listener, tls, stopped.clone()));
        let mut tasks = vec![serve(self.tls.0, Some(tls.clone()))];
        tasks.extend(self.plaintext.map(|(listener, _)| serve(listener, None)));
        tasks
    }
}

async fn bind(address: IpAddr, port: u16) -> Result<(TcpListener, u16), EmulatorError> {
    let address = SocketAddr::new(address, port);
    let failed = |source| EmulatorError::Bind { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let port = listener.local_addr().map_err(failed)?.port();
    Ok((listener, port))
}

fn connection_string(host: &str, policy: &Policy) -> String {
    format!("HostName={host};SharedAccessKeyName={};SharedAccessKey={}", policy.name, policy.primary_key)
}
