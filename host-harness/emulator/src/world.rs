//! The state of the whole emulator: options, records, queues, observers.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, RwLock};

use time::OffsetDateTime;

use crate::blobs::Blobs;
use crate::clock::skewed;
use crate::dps::certificate_info::certificate_der;
use crate::dps::provisioning::Dps;
use crate::event_hub::endpoint::{EventHub, EventHubSettings};
use crate::event_hub::system::SystemEvents;
use crate::faults::Faults;
use crate::hub::registry::Hub;
use crate::journal::Journal;
use crate::messages::TelemetrySink;
use crate::names::{HubName, hub_names, is_loopback_name, without_port};
use crate::options::{EmulatorOptions, Policy};
use crate::paging::Pager;
use crate::service::Service;
use crate::service_bound::ServiceBound;
use crate::sessions::Sessions;
use crate::sync::lock;
use crate::throttle::Throttles;
use crate::traffic::Traffic;

pub(crate) type Shared = Arc<World>;

/// The names of a loopback host in tokens.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// The ports that the listeners are bound to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) hub: u16,
    pub(crate) dps: u16,
    pub(crate) hub_amqp: u16,
    pub(crate) mqtt: u16,
    /// The address at which devices reach the hub without naming a port.
    pub(crate) portless: Option<IpAddr>,
    pub(crate) event_hub: (u16, Option<u16>),
}

/// The state of one emulator. Locks are taken in the order `dps`, `hub`, `sessions`, `service_bound`, `event_hub`.
pub(crate) struct World {
    pub(crate) options: EmulatorOptions,
    pub(crate) hub_port: u16,
    pub(crate) dps_port: u16,
    pub(crate) hub_amqp_port: u16,
    pub(crate) mqtt_port: u16,
    /// The address at which devices reach the hub without naming a port.
    pub(crate) portless: Option<IpAddr>,
    /// The certificates of `EmulatorOptions::device_authorities`, DER.
    pub(crate) device_authorities: Vec<Vec<u8>>,
    event_hub_ports: Mutex<(u16, Option<u16>)>,
    pub(crate) event_hub: Arc<EventHub>,
    pub(crate) service_bound: ServiceBound,
    pub(crate) blobs: Blobs,
    pub(crate) system_events: SystemEvents,
    pub(crate) hub: Mutex<Hub>,
    pub(crate) dps: Mutex<Dps>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) traffic: Traffic,
    pub(crate) faults: Faults,
    pub(crate) throttles: Throttles,
    pub(crate) pager: Pager,
    pub(crate) sinks: RwLock<Vec<Arc<dyn TelemetrySink>>>,
}

impl World {
    pub(crate) fn new(options: EmulatorOptions, ports: Ports) -> Self {
        let journal = Arc::new(Journal::default());
        let event_hub = Arc::new(EventHub::new(EventHubSettings {
            hub_name: options.hub_name.clone(),
            name: options.event_hub_name.clone(),
            partitions: options.partitions,
            consumer_groups: options.consumer_groups.clone(),
            retention_events: options.retention_events,
            retention_time: options.retention_time,
        }));
        let sessions = Arc::new(Sessions::default());
        let routes = options.system_event_routes.clone();
        let system_events = SystemEvents::new(Arc::clone(&event_hub), &options.hub_name, routes);
        Self {
            hub_port: ports.hub,
            dps_port: ports.dps,
            hub_amqp_port: ports.hub_amqp,
            mqtt_port: ports.mqtt,
            portless: ports.portless,
            device_authorities: options
                .device_authorities
                .iter()
                .filter_map(|text| certificate_der(text).ok())
                .collect(),
            event_hub_ports: Mutex::new(ports.event_hub),
            event_hub,
            service_bound: ServiceBound::default(),
            blobs: Blobs::default(),
            system_events: system_events.clone(),
            hub: Mutex::new(Hub::new(Arc::clone(&journal), system_events, Arc::clone(&sessions))),
            dps: Mutex::new(Dps::new(Arc::clone(&journal))),
            sessions,
            traffic: Traffic::default(),
            faults: Faults::new(options.fault_seed),
            throttles: Throttles::new(options.throttles),
            pager: Pager::new(options.max_page_size),
            sinks: RwLock::default(),
            journal,
            options,
        }
    }

    /// The hub's host and port, `localhost:PORT`.
    pub(crate) fn hub_host(&self) -> String {
        format!("localhost:{}", self.hub_port)
    }

    /// The host of a device's connection string: an address without a port, or that of MQTT.
    pub(crate) fn device_host(&self) -> String {
        self.portless_host().unwrap_or_else(|| self.mqtt_host())
    }

    fn portless_host(&self) -> Option<String> {
        self.portless.map(|address| SocketAddr::new(address, 443).to_string().trim_end_matches(":443").to_owned())
    }

    /// The name under which the hub is linked to the provisioning service.
    pub(crate) fn hub_link(&self) -> String {
        self.options.hub_link.clone().or_else(|| self.portless_host()).unwrap_or_else(|| self.hub_host())
    }

    /// The provisioning service's host and port, `localhost:PORT`.
    pub(crate) fn dps_host(&self) -> String {
        format!("localhost:{}", self.dps_port)
    }

    /// The host and port of the hub's AMQP endpoint, `localhost:PORT`.
    pub(crate) fn hub_amqp_host(&self) -> String {
        format!("localhost:{}", self.hub_amqp_port)
    }

    /// The host and port of the hub's and the provisioning service's MQTT endpoint, `localhost:PORT`.
    pub(crate) fn mqtt_host(&self) -> String {
        format!("localhost:{}", self.mqtt_port)
    }

    /// The ports of the Event Hub-compatible endpoint: with TLS, and without.
    pub(crate) fn event_hub_ports(&self) -> (u16, Option<u16>) {
        *lock(&self.event_hub_ports)
    }

    /// Stores the endpoint's new ports after a fail-over.
    pub(crate) fn set_event_hub_ports(&self, ports: (u16, Option<u16>)) {
        *lock(&self.event_hub_ports) = ports;
    }

    /// The hosts with which a token's resource may begin, when the client has connected to `host`, as it writes it in
    /// HTTP's `Host`. A client on port 443 leaves the port out there and in the resource.
    pub(crate) fn authorities(&self, service: Service, host: Option<&str>) -> Vec<String> {
        let host_name = host.map(without_port);
        let has_no_port = host.is_some_and(|host| host_name.as_deref() == Some(&host.to_ascii_lowercase()));
        let port = if service == Service::Dps { self.dps_port } else { self.hub_port };
        match host_name.filter(|host_name| service != Service::Dps && self.hub_name_at(host_name).is_some()) {
            Some(host_name) => vec![format!("{host_name}:{port}"), host_name],
            None => {
                let own = LOOPBACK.map(|host| format!("{host}:{port}"));
                let bare = LOOPBACK.iter().filter(|_| has_no_port).map(|host| (*host).to_owned());
                let portless = self.portless_host().map(|host| [format!("{host}:443"), host]);
                own.into_iter().chain(bare).chain(portless.into_iter().flatten()).collect()
            }
        }
    }

    /// Whether a device may call the hub by this name, with or without a port: a loopback name or address, or one of the
    /// hub's Azure names for devices. A port must be one of the emulator's or of the service's.
    pub(crate) fn is_device_authority(&self, authority: &str) -> bool {
        let name = without_port(authority);
        let port = authority[name.len()..].strip_prefix(':').map(str::parse::<u16>);
        let ports = [self.hub_port, self.hub_amqp_port, self.mqtt_port, 443, 5671, 8883];
        port.is_none_or(|port| port.is_ok_and(|port| ports.contains(&port)))
            && (is_loopback_name(&name) || self.hub_name_at(&name).is_some_and(|kind| kind != HubName::Service))
    }

    /// The kind of the hub's Azure name that `host` is; `None` for a loopback name. `host` must be in lower case,
    /// without a port.
    pub(crate) fn hub_name_at(&self, host: &str) -> Option<HubName> {
        let names = hub_names(&self.options.hub_name, self.options.gateway);
        names.into_iter().find(|(name, _)| name == host).map(|(_, kind)| kind)
    }

    /// The hub's Azure name of this kind, if the hub has one.
    pub(crate) fn name_of_hub(&self, name: HubName) -> Option<String> {
        let names = hub_names(&self.options.hub_name, self.options.gateway);
        names.into_iter().find(|(_, kind)| *kind == name).map(|(host, _)| host)
    }

    /// The time by which the services decide whether a token has expired.
    pub(crate) fn token_time(&self) -> OffsetDateTime {
        skewed(self.options.clock_ahead)
    }

    pub(crate) fn policy(&self, service: Service, name: &str) -> Option<&Policy> {
        let policies = if service == Service::Dps { &self.options.dps_policies } else { &self.options.hub_policies };
        policies.iter().find(|policy| policy.name == name)
    }
}
