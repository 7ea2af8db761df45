//! Triggers on the log of events that a hub keeps.

mod device_connection_state;
mod device_lifecycle;
mod device_telemetry;
mod device_twin_change_events;
mod digital_twin_change_events;
mod engine;

use super::shared::Trigger;
pub use engine::link::{partitions, release};

/// The order here is the order in which a person sees the triggers.
pub static ALL: &[&dyn Trigger] = &[
    &device_telemetry::DEVICE_TELEMETRY,
    &device_connection_state::DEVICE_CONNECTION_STATE,
    &device_lifecycle::DEVICE_LIFECYCLE,
    &device_twin_change_events::DEVICE_TWIN_CHANGE_EVENTS,
    &digital_twin_change_events::DIGITAL_TWIN_CHANGE_EVENTS,
];
