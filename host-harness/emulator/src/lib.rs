//! An emulator of Azure IoT Hub, its Event Hub-compatible endpoint and the Device Provisioning Service on loopback.
//!
//! It serves HTTPS, AMQP and MQTT over TLS, AMQP and MQTT also over WebSockets, with a certificate authority of its own. It checks shared
//! access signatures, permissions, ETags, API versions and limits as the services do. It answers with their status codes,
//! error bodies, headers and conditions, so that Microsoft's own SDKs work against it unchanged. Rules make it misbehave
//! ([`Faults`]); it records what changed ([`Journal`]) and what went over HTTP ([`Traffic`]), and simulates devices
//! ([`DeviceSide`], [`Simulator`], [`Machines`]).
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! use azure_iot_emulator::{Emulator, EmulatorOptions};
//!
//! let emulator = Emulator::start(EmulatorOptions::default()).await?;
//! let connection = emulator.hub_connection_string("connector").ok_or("no such policy")?;
//! assert!(connection.starts_with("HostName=localhost:"));
//! emulator.faults().add_text("POST /devices/query=429x3")?;
//! // … run a client that trusts `emulator.ca_pem()` …
//! for change in emulator.journal().snapshot(1..) {
//!     println!("{} {:?} {}", change.seq, change.kind, change.id);
//! }
//! emulator.shutdown().await;
//! # Ok(())
//! # })
//! # }
//! ```
//!
//! # Where the emulator had to choose
//!
//! The published material leaves some behaviour open. Each choice is documented where it is made; the ones that a
//! client is likeliest to notice are these:
//!
//! | question | choice | where |
//! |---|---|---|
//! | policy without the permission | 401, 401002, like a wrong key | `web::guard` |
//! | PUT without `If-Match` on an existing entity | 409, hub and DPS | `etag::Precondition::decide` |
//! | PUT with `If-Match` on a missing entity | 404 | same |
//! | keys of a symmetric-key enrollment | only in `attestationmechanism` | `dps::attestation` |
//! | DELETE without `If-Match` | unconditional, as the service descriptions call the header optional | `etag` |
//! | a bulk request in which an entry failed | hub: 400 with the result body; DPS: 200 | `hub_api::bulk`, `dps_api::enrollments` |
//! | a device that has not registered yet | `unassigned` inside its enrollment, 404 at `/registrations` | `dps::provisioning` |
//! | import and export jobs | go through their states, but move no data | `hub_api::blob_jobs` |
//! | a twin's ETag | changes with tags and desired properties, not with reported ones | `records::twin` |
//! | PUT of a twin without a section | the section becomes empty | `records::twin` |
//! | a redirect over a WebSocket | names the port of the hub's HTTPS API, where the WebSocket is | `amqp::attach` |
//! | a refused AMQP link | attached with source and target, then detached with the condition | `amqp::performatives` |
//! | a policy for the Event Hub-compatible endpoint | any with `ServiceConnect` | `amqp::claims` |
//! | a selector that cannot be read | `amqp:invalid-field` | `amqp::attach` |
//! | a partition that does not exist | `com.microsoft:argument-out-of-range`; 404 at `$management` | `amqp::attach`, `amqp::requests` |
//! | the same epoch again | the newer reader takes over | `event_hub::endpoint` |
//! | a client that is idle | cut off after twice the advertised time, `amqp:resource-limit-exceeded` | `amqp::timers` |
//! | what a fail-over leaves | nothing: empty partitions that count from 0 | [`Emulator::fail_over`] |
//! | a PUT at an API version that is older than a member | the member is cleared, see [`OlderPut`] | `versions` |
//! | a PUT with members that Device Registry writes | 400, 400004 | `versions::refuse_owned` |
//! | reserved words of the query language | those of Azure Digital Twins, `NIN` and `UNDEFINED` | `query` |
//! | feedback over HTTPS | the lock token is in `ETag` | `hub_api::messages` |
//! | a back end that uses the hub's name for devices, or a device that uses the name for back ends | 404; over AMQP 401 | `web::guard`, `amqp::claims` |
//! | acknowledgement and expiry of a message sent over HTTPS | ignored | `hub_api::messages` |
//! | a lock that a device holds over MQTT or AMQP | ends with the connection, not after a minute | `operations::receiving` |
//! | a device that is connected, but does not receive methods | 404103, as if it were offline | `sessions` |
//! | new keys or thumbprints of a connected device | end its connection | `hub::devices` |
//! | a device over AMQP | connected from its first link to its last; a token alone connects nothing | `amqp::device_links` |
//! | a device that connects again, or must not stay connected | its AMQP links are detached: stolen, unauthorized access, not found | same |
//! | a registration over AMQP | at the hub's AMQP endpoint, told apart by its address | `amqp::registrations` |
//! | the storage account for files | the hub's HTTPS port | `blob_api` |
//!
//! # Modules
//!
//! Imports point from the top of this table down, never up; a test (`tests/layers.rs`) checks it.
//!
//! | modules | what they are |
//! |---|---|
//! | `scenario` | reads the file of what the services contain and what happens to them |
//! | `simulator` | devices that send telemetry and react |
//! | `emulator`, `device_side`, `seeding` | the handles that tests and demonstrations hold |
//! | `well_known` | the listeners at ports that clients of devices cannot change |
//! | `server` | HTTPS listeners and exchanges |
//! | `amqp`, `mqtt`, `hub_api`, `dps_api`, `blob_api` | the endpoints: AMQP, MQTT, and the handlers of the HTTP APIs |
//! | `web` | what the HTTP APIs share: the guard, routes, bodies, answers |
//! | `operations` | operations on the whole state, shared by the endpoints and the devices in process: credentials, connections of devices, their messages and methods |
//! | `world` | the state of one emulator |
//! | `hub`, `dps`, `event_hub`, `service_bound`, `sessions`, `blobs` | parts of the state, each with its rules |
//! | `records`, `messages`, `journal`, `traffic`, `faults` | what the parts hold |
//! | all others | basics: errors, tokens, options, queries, pages, the clock, TLS |

mod amqp;
mod any_case;
mod blob_api;
mod blobs;
mod certificate;
mod client_certificate;
mod clock;
mod device_side;
mod dps;
mod dps_api;
mod emulator;
mod error;
mod etag;
mod event_hub;
mod faults;
mod hub;
mod hub_api;
mod journal;
mod listening;
mod messages;
mod mqtt;
mod names;
mod operations;
mod options;
mod paging;
mod query;
mod query_page;
mod random;
mod records;
mod scenario;
mod seeding;
mod server;
mod service;
mod service_bound;
mod sessions;
mod simulator;
mod store;
mod sync;
mod throttle;
mod tls;
mod token;
mod traffic;
mod versions;
mod web;
mod web_socket;
mod well_known;
mod world;

pub use device_side::DeviceSide;
pub use dps::credential::Credential;
pub use dps::registration::RegistrationState;
pub use emulator::{Emulator, EmulatorError};
pub use error::{ErrorCode, ServiceError};
pub use event_hub::event::{EventBody, EventSource, TelemetryEvent};
pub use event_hub::log::EventPosition;
pub use event_hub::telemetry::{PartitionProperties, Telemetry};
pub use faults::{FaultAction, FaultRule, FaultSyntaxError, Faults, Refusal, RefusalForm};
pub use journal::{Change, ChangeKind, Journal, TwinPart};
pub use messages::{DeviceMessage, TelemetryMessage, TelemetrySink};
pub use names::{GatewayVersion, HubName};
pub use options::{AmqpOptions, DeviceRegistry, DevicesOnline, EmulatorOptions, PasswordLogin, Permission, Policy};
pub use scenario::{Moment, Scenario, ScenarioError};
pub use service::Service;
pub use service_bound::FileUpload;
pub use sessions::{MethodCall, MethodReply};
pub use simulator::{
    MachineLink, MachineOptions, MachinePlan, MachineState, Machines, PayloadKind, START_COOLING, SimulatedEvents,
    Simulator, SimulatorOptions,
};
pub use tls::{TlsHandshake, TlsSuites};
pub use traffic::{Exchange, Traffic};
pub use versions::{DpsApi, HubApi, OlderPut};
pub use well_known::WellKnownPorts;
