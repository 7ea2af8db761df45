//! The Device Provisioning Service: the service API, and the registration API that devices call.

mod certificate_info;
mod device_api;
mod enrollment_groups;
mod enrollments;
mod model;
mod registrations;

use std::sync::Arc;

use axum::Router;
use axum::routing::MethodFilter;

use crate::auth::Access;
use crate::journal::Journal;
use crate::options::Permission::{EnrollmentRead, EnrollmentWrite, RegistrationStatusRead, RegistrationStatusWrite};
use crate::server::{Routes, Service};
use crate::store::Store;
use crate::throttle::Throttle;
use crate::world::Shared;

pub(crate) use device_api::{Proof, register};
use model::Enrollment;
pub(crate) use model::create_group;
use registrations::Registration;

/// The provisioning service's entities, by their ids in lower case (ids are case-insensitive here).
pub(crate) struct Dps {
    enrollments: Store<Enrollment>,
    groups: Store<Enrollment>,
    registrations: Store<Registration>,
    journal: Arc<Journal>,
}

impl Dps {
    pub(crate) fn new(journal: Arc<Journal>) -> Self {
        Self { enrollments: Store::default(), groups: Store::default(), registrations: Store::default(), journal }
    }
}

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
        .on(POST, "/enrollments", write, DPS, enrollments::bulk)
        .on(POST, "/enrollments/query", read, DPS, enrollments::query)
        .on(GET, "/enrollments/{id}", read, DPS, enrollments::get)
        .on(PUT, "/enrollments/{id}", write, DPS, enrollments::put)
        .on(DELETE, "/enrollments/{id}", write, DPS, enrollments::delete)
        .on(POST, "/enrollments/{id}/attestationmechanism", write, DPS, enrollments::attestation)
        .on(POST, "/enrollmentGroups", write, DPS, enrollment_groups::bulk)
        .on(POST, "/enrollmentGroups/query", read, DPS, enrollment_groups::query)
        .on(GET, "/enrollmentGroups/{id}", read, DPS, enrollment_groups::get)
        .on(PUT, "/enrollmentGroups/{id}", write, DPS, enrollment_groups::put)
        .on(DELETE, "/enrollmentGroups/{id}", write, DPS, enrollment_groups::delete)
        .on(POST, "/enrollmentGroups/{id}/attestationmechanism", write, DPS, enrollment_groups::attestation)
        .on(GET, "/registrations/{id}", status, DPS, registrations::get)
        .on(DELETE, "/registrations/{id}", Access::Policy(RegistrationStatusWrite), DPS, registrations::delete)
        .on(POST, "/registrations/{id}/query", status, DPS, registrations::query)
        .on(PUT, "/{scope}/registrations/{id}/register", device, DPS, device_api::put)
        .on(POST, "/{scope}/registrations/{id}", device, DPS, device_api::lookup)
        .on(GET, "/{scope}/registrations/{id}/operations/{operation}", device, DPS, device_api::operation)
        .finish()
}
