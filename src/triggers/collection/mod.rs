//! Triggers on records of a service that keeps no log of their changes.

mod engine;
mod enrollments;
#[cfg(test)]
mod tests;
mod twins;

use crate::triggers::shared::operations;

// The order is the one in which a person sees the triggers.
operations! {
    individual_enrollment_changed,
    enrollment_group_changed,
    registration_status_changed,
    service_configuration_changed,
    device_registry_changed,
    device_silent,
    device_twin_changed,
    twin_value_changed,
    query_result_changed,
    job_finished,
}
