//! Actions on the enrollments and registrations of the Device Provisioning Service.

use crate::actions::shared::operations;

// The order is the one in which a person sees the actions.
operations! {
    create_or_update_individual_enrollment,
    get_individual_enrollment,
    query_individual_enrollments,
    delete_individual_enrollment,
    get_registration_state,
    query_registration_states,
    delete_registration_state,
}
