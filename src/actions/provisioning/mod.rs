//! Actions on the enrollments and registrations of the Device Provisioning Service.

mod enrollment;
mod form;
mod many;

use crate::actions::shared::operations;

// The order is the one in which a person sees the actions.
operations! {
    create_or_update_individual_enrollment,
    get_individual_enrollment,
    get_individual_enrollment_attestation,
    query_individual_enrollments,
    delete_individual_enrollment,
    create_individual_enrollments,
    update_individual_enrollments,
    delete_individual_enrollments,
    create_or_update_enrollment_group,
    get_enrollment_group,
    get_enrollment_group_attestation,
    derive_device_key,
    query_enrollment_groups,
    delete_enrollment_group,
    create_enrollment_groups,
    update_enrollment_groups,
    delete_enrollment_groups,
    get_registration_state,
    query_registration_states,
    delete_registration_state,
}
