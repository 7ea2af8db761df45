//! All enrollments and registrations, and how they change.

use std::sync::Arc;

use serde_json::{Value, json};

use super::enrollment::{AllocationPolicy, Enrollment, EnrollmentBody};
use super::kind::{Kind, check_id, key};
use super::registration::{Registration, RegistrationState};
use crate::clock::{now, rfc3339};
use crate::error::{ErrorCode, ServiceError, invalid};
use crate::etag;
use crate::etag::{Precondition, Write};
use crate::journal::{ChangeKind, Journal};
use crate::records::identity;
use crate::records::twin::{Change, Twin};
use crate::store::Store;
use crate::versions::At;

/// The provisioning service's entities. The keys are ids in lower case, because DPS ids are case-insensitive.
pub(crate) struct Dps {
    pub(crate) enrollments: Store<Enrollment>,
    pub(crate) groups: Store<Enrollment>,
    pub(crate) registrations: Store<Registration>,
    pub(crate) journal: Arc<Journal>,
}

impl Dps {
    pub(crate) fn new(journal: Arc<Journal>) -> Self {
        Self { enrollments: Store::default(), groups: Store::default(), registrations: Store::default(), journal }
    }

    pub(crate) fn store(&self, kind: Kind) -> &Store<Enrollment> {
        match kind {
            Kind::Individual => &self.enrollments,
            Kind::Group => &self.groups,
        }
    }

    fn store_mut(&mut self, kind: Kind) -> &mut Store<Enrollment> {
        match kind {
            Kind::Individual => &mut self.enrollments,
            Kind::Group => &mut self.groups,
        }
    }

    pub(crate) fn enrollment(&self, kind: Kind, id: &str) -> Result<&Enrollment, ServiceError> {
        self.store(kind).get(&key(id)).ok_or_else(|| kind.missing(id))
    }

    /// The enrollment as the service writes it.
    pub(crate) fn to_json(&self, kind: Kind, enrollment: &Enrollment, at: At) -> Value {
        let mut object = json!(enrollment.body);
        if let (false, Some(members)) = (at.has_certificates(), object.as_object_mut()) {
            let newer = ["namespaceName", "certificateAuthorityName", "certificatePolicyName"];
            members.retain(|name, _| !newer.contains(&name.as_str()));
        }
        object[kind.id_member()] = json!(enrollment.id);
        object["attestation"] = json!(enrollment.attestation.without_keys());
        object["etag"] = json!(enrollment.etag);
        object["createdDateTimeUtc"] = json!(rfc3339(enrollment.created));
        object["lastUpdatedDateTimeUtc"] = json!(rfc3339(enrollment.updated));
        if kind == Kind::Individual {
            object["registrationState"] = match self.registrations.get(&key(&enrollment.id)) {
                Some(registration) => json!(registration.state),
                // DPS shows this state for a device that has not registered yet.
                None => json!({
                    "registrationId": enrollment.id,
                    "createdDateTimeUtc": rfc3339(enrollment.created),
                    "status": "unassigned",
                    "lastUpdatedDateTimeUtc": rfc3339(enrollment.created),
                }),
            };
        }
        object
    }

    pub(crate) fn put(
        &mut self,
        kind: Kind,
        id: &str,
        mut body: EnrollmentBody,
        precondition: &Precondition,
        at: At,
    ) -> Result<(), ServiceError> {
        check_id(kind, id)?;
        let member = match kind {
            Kind::Individual => &body.registration_id,
            Kind::Group => &body.enrollment_group_id,
        };
        if !member.as_ref().is_some_and(|member| member.eq_ignore_ascii_case(id)) {
            return Err(ServiceError::new(
                kind.bad_id(),
                format!("{} of the body must equal the id of the path, '{id}'", kind.id_member()),
            ));
        }
        if body.allocation_policy == AllocationPolicy::Custom && body.custom_allocation_definition.is_none() {
            return Err(invalid("the allocation policy 'custom' needs a customAllocationDefinition"));
        }
        if kind == Kind::Group {
            (body.device_id, body.optional_device_information) = (None, None);
        } else if let Some(device_id) = &body.device_id {
            identity::check_id("deviceId", device_id)?;
        }
        if let Some(twin) = body.initial_twin.clone() {
            // A twin that exceeds the hub's limits is refused here, because it would make every registration fail.
            Twin::new(now()).write(twin.into_twin(), Change::Merge, now())?;
        }
        let existing = self.store(kind).get(&key(id));
        let old = existing.map(|existing| existing.body.certificates.clone());
        body.certificates = at.replace(at.has_certificates(), Some(body.certificates), old).unwrap_or_default();
        body.certificates.check()?;
        let write = precondition.decide(
            existing.map(|existing| existing.etag.as_str()),
            || kind.conflict(id),
            || kind.missing(id),
        )?;
        let attestation = match (body.attestation.take(), existing) {
            (Some(attestation), _) => attestation.complete(kind, existing.map(|existing| &existing.attestation))?,
            (None, _) => return Err(invalid("the enrollment has no attestation")),
        };
        let now = now();
        let enrollment = Enrollment {
            id: existing.map_or_else(|| id.to_owned(), |existing| existing.id.clone()),
            created: existing.map_or(now, |existing| existing.created),
            body,
            attestation,
            updated: now,
            etag: etag::fresh_quoted(),
        };
        let [created, updated, _] = kind.changes();
        let change = if write == Write::Create { created } else { updated };
        let detail = self.to_json(kind, &enrollment, At::INTERNAL);
        self.journal.append(change, enrollment.id.as_str(), Some(&enrollment.etag), detail);
        self.store_mut(kind).insert(&key(id), enrollment);
        Ok(())
    }

    /// Creates an enrollment without HTTP, to prepare a simulation.
    pub(crate) fn create(&mut self, kind: Kind, id: &str, body: Value) -> Result<(), ServiceError> {
        let mut body: EnrollmentBody = serde_json::from_value(body).map_err(|error| invalid(error.to_string()))?;
        match kind {
            Kind::Individual => body.registration_id = Some(id.to_owned()),
            Kind::Group => body.enrollment_group_id = Some(id.to_owned()),
        }
        self.put(kind, id, body, &Precondition::None, At::INTERNAL)
    }

    /// Deletes an enrollment and the registration records that were made by it.
    pub(crate) fn delete(&mut self, kind: Kind, id: &str, precondition: &Precondition) -> Result<(), ServiceError> {
        precondition.check(&self.enrollment(kind, id)?.etag)?;
        let Some(enrollment) = self.store_mut(kind).remove(&key(id)) else { return Ok(()) };
        self.forget_registrations(kind, &key(id));
        let [_, _, deleted] = kind.changes();
        self.journal.append(deleted, enrollment.id, Some(&enrollment.etag), Value::Null);
        Ok(())
    }

    pub(crate) fn registration(&self, id: &str) -> Result<&Registration, ServiceError> {
        self.registrations
            .get(&key(id))
            .ok_or_else(|| ServiceError::new(ErrorCode::REGISTRATION_NOT_FOUND, format!("Registration {id} not found")))
    }

    /// Removes the registration records of a deleted enrollment.
    pub(crate) fn forget_registrations(&mut self, kind: Kind, enrollment: &str) {
        let gone: Vec<String> = match kind {
            Kind::Individual => vec![enrollment.to_owned()],
            Kind::Group => {
                let of_group = |registration: &&Registration| registration.group.as_deref() == Some(enrollment);
                self.registrations.iter().filter(of_group).map(|it| key(&it.state.registration_id)).collect()
            }
        };
        for id in gone {
            self.remove_registration(&id);
        }
    }

    pub(crate) fn remove_registration(&mut self, id: &str) {
        if let Some(registration) = self.registrations.remove(id) {
            let RegistrationState { registration_id, etag, .. } = registration.state;
            self.journal.append(ChangeKind::RegistrationDeleted, registration_id, Some(&etag), Value::Null);
        }
    }
}
