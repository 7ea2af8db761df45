//! Triggers on the log of events that a hub keeps.

mod engine;

use crate::triggers::shared::operations;
pub use engine::link::{partitions, release};

// The order is the one in which a person sees the triggers.
operations! {
    device_telemetry,
    device_connection_state_events,
    device_lifecycle_events,
    device_twin_change_events,
    digital_twin_change_events,
}
