//! Actions on the enrollments and registrations of the Device Provisioning Service.

mod create_or_update_individual_enrollment;
mod delete_individual_enrollment;
mod delete_registration_state;
mod get_individual_enrollment;
mod get_registration_state;
mod query_individual_enrollments;
mod query_registration_states;

use super::shared::Action;

/// The actions, in the order in which a person sees them.
pub static ALL: &[&dyn Action] = &[
    &create_or_update_individual_enrollment::CreateOrUpdateIndividualEnrollment,
    &get_individual_enrollment::GetIndividualEnrollment,
    &query_individual_enrollments::QueryIndividualEnrollments,
    &delete_individual_enrollment::DELETE_INDIVIDUAL_ENROLLMENT,
    &get_registration_state::GetRegistrationState,
    &query_registration_states::QueryRegistrationStates,
    &delete_registration_state::DELETE_REGISTRATION_STATE,
];
