//! The DPS service API, and the registration API that devices call.

mod device_api;
mod enrollments;
mod registrations;

use axum::Router;
use axum::routing::MethodFilter;

use enrollments::{Group, Individual};

use crate::options::Permission::{EnrollmentRead, EnrollmentWrite, RegistrationStatusRead, RegistrationStatusWrite};
use crate::service::Service;
use crate::throttle::Throttle;
use crate::web::guard::Access;
use crate::web::routes::Routes;
use crate::world::Shared;

/// The routes of the service API and of the devices' registration API.
pub(crate) fn routes(world: &Shared) -> Router {
    const GET: MethodFilter = MethodFilter::GET;
    const PUT: MethodFilter = MethodFilter::PUT;
    const POST: MethodFilter = MethodFilter::POST;
    const DELETE: MethodFilter = MethodFilter::DELETE;
    const DPS: Throttle = Throttle::Dps;
    let read = Access::Policy(EnrollmentRead);
    let write = Access::Policy(EnrollmentWrite);
    let status = Access::Policy(RegistrationStatusRead);
    let device = Access::Attested;
    Routes::new(world, Service::Dps)
        .on(POST, "/enrollments", write, DPS, enrollments::bulk::<Individual>)
        .on(POST, "/enrollments/query", read, DPS, enrollments::query::<Individual>)
        .on(GET, "/enrollments/{id}", read, DPS, enrollments::get::<Individual>)
        .on(PUT, "/enrollments/{id}", write, DPS, enrollments::put::<Individual>)
        .on(DELETE, "/enrollments/{id}", write, DPS, enrollments::delete::<Individual>)
        .on(POST, "/enrollments/{id}/attestationmechanism", write, DPS, enrollments::attestation::<Individual>)
        .on(POST, "/enrollmentGroups", write, DPS, enrollments::bulk::<Group>)
        .on(POST, "/enrollmentGroups/query", read, DPS, enrollments::query::<Group>)
        .on(GET, "/enrollmentGroups/{id}", read, DPS, enrollments::get::<Group>)
        .on(PUT, "/enrollmentGroups/{id}", write, DPS, enrollments::put::<Group>)
        .on(DELETE, "/enrollmentGroups/{id}", write, DPS, enrollments::delete::<Group>)
        .on(POST, "/enrollmentGroups/{id}/attestationmechanism", write, DPS, enrollments::attestation::<Group>)
        .on(GET, "/registrations/{id}", status, DPS, registrations::get)
        .on(DELETE, "/registrations/{id}", Access::Policy(RegistrationStatusWrite), DPS, registrations::delete)
        .on(POST, "/registrations/{id}/query", status, DPS, registrations::query)
        .on(PUT, "/{scope}/registrations/{id}/register", device, DPS, device_api::put)
        .on(POST, "/{scope}/registrations/{id}", device, DPS, device_api::lookup)
        .on(GET, "/{scope}/registrations/{id}/operations/{operation}", device, DPS, device_api::operation)
        .finish()
}
