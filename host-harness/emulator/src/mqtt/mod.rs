//! The MQTT 3.1.1 endpoint, at which devices use the hub and register with the provisioning service.
//!
//! One port serves both services; the user name of CONNECT says which one is meant. The same endpoint is behind the
//! WebSocket path `/$iothub/websocket` of the HTTPS ports, with the sub-protocol `mqtt`.
//!
//! | topic | direction | what it is |
//! |---|---|---|
//! | `devices/{id}[/modules/{id}]/messages/events/{properties}` | from the device | telemetry |
//! | `devices/{id}/messages/devicebound/{properties}` | to the device | messages; the acknowledgement completes them |
//! | `$iothub/methods/POST/{name}/?$rid={rid}` | to the device | direct methods |
//! | `$iothub/methods/res/{status}/?$rid={rid}` | from the device | their answers |
//! | `$iothub/twin/GET/?$rid={rid}` | from the device | reads the twin |
//! | `$iothub/twin/PATCH/properties/reported/?$rid={rid}` | from the device | writes reported properties |
//! | `$iothub/twin/res/{status}/?$rid={rid}` | to the device | the answer to either |
//! | `$iothub/twin/PATCH/properties/desired/?$version={n}` | to the device | desired properties changed |
//! | `$dps/registrations/PUT/iotdps-register/?$rid={rid}` | from the device | registers |
//! | `$dps/registrations/GET/iotdps-get-operationstatus/?$rid={rid}&operationId={id}` | from the device | asks for the outcome |
//! | `$dps/registrations/res/{status}/?$rid={rid}[&retry-after={s}]` | to the device | the answer to either |
//!
//! Sources: "Communicate with your IoT hub using the MQTT protocol" and "Communicate with DPS using the MQTT protocol".
//! As at the service, a topic that is not in this table and QoS 2 end the connection. A session without `clean session`
//! keeps its subscriptions when its connection ends, on which Microsoft's clients depend.
//!
//! # Why not a broker
//!
//! The hub is no broker: no message goes from one client to another, and each topic is a call. A broker's crate would
//! own the listeners and the sessions, and neither may be another's: the port is shared with WebSockets, and sessions
//! belong to device identities. The codec is `mqtt-proto`.

mod accept;
mod common;
mod connect;
mod device;
mod packets;
mod properties;
mod provisioning;
mod topics;

pub(crate) use accept::{accept_web_socket, serve};
