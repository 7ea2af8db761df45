//! Triggers on records of a service that keeps no log of their changes.

mod device_twin_changed;
mod engine;
mod individual_enrollment_changed;
mod registration_status_changed;
mod service_configuration_changed;

use super::shared::Trigger;

/// The order here is the order in which a person sees the triggers.
pub static ALL: &[&dyn Trigger] = &[
    &individual_enrollment_changed::IndividualEnrollmentChanged,
    &registration_status_changed::RegistrationStatusChanged,
    &service_configuration_changed::ServiceConfigurationChanged,
    &device_twin_changed::DeviceTwinChanged,
];
