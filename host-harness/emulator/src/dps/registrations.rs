//! Registration records.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use super::Dps;
use super::model::{Kind, key, page_response};
use crate::device_side::RegistrationState;
use crate::error::{ErrorCode, ServiceError};
use crate::etag::Precondition;
use crate::journal::ChangeKind;
use crate::server::{json_response, no_content};
use crate::world::{Shared, lock};

/// A registration record and where it comes from.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) state: RegistrationState,
    /// The group through which the device registered, in lower case; none for an individual enrollment.
    pub(super) group: Option<String>,
    /// The operation that made the record what it is.
    pub(super) operation: String,
}

impl Dps {
    pub(super) fn registration(&self, id: &str) -> Result<&Registration, ServiceError> {
        self.registrations
            .get(&key(id))
            .ok_or_else(|| ServiceError::new(ErrorCode::REGISTRATION_NOT_FOUND, format!("Registration {id} not found")))
    }

    /// Removes the records of an enrollment that goes away.
    pub(super) fn forget_registrations(&mut self, kind: Kind, enrollment: &str) {
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

    fn remove_registration(&mut self, id: &str) {
        if let Some(registration) = self.registrations.remove(id) {
            let RegistrationState { registration_id, etag, .. } = registration.state;
            self.journal.append(ChangeKind::RegistrationDeleted, registration_id, Some(&etag), Value::Null);
        }
    }
}

/// `GET /registrations/{id}`: 404202 for a device that has not registered yet.
pub(super) async fn get(State(world): State<Shared>, Path(id): Path<String>) -> Result<Response, ServiceError> {
    let dps = lock(&world.dps);
    let state = &dps.registration(&id)?.state;
    Ok(json_response(StatusCode::OK, Some(&state.etag), &json!(state)))
}

/// `DELETE /registrations/{id}`. The device identity in the hub stays.
pub(super) async fn delete(
    State(world): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(&headers)?;
    let mut dps = lock(&world.dps);
    precondition.check(&dps.registration(&id)?.state.etag)?;
    dps.remove_registration(&key(&id));
    Ok(no_content())
}

/// `POST /registrations/{group}/query`: the records of a group's devices. There is no body.
pub(super) async fn query(
    State(world): State<Shared>,
    Path(group): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let group = key(&group);
    let request = world.pager.request(&headers, &format!("registrations {group}"))?;
    let dps = lock(&world.dps);
    dps.enrollment(Kind::Group, &group)?;
    let records = dps
        .registrations
        .after(request.after)
        .filter(|(_, registration)| registration.group.as_deref() == Some(group.as_str()))
        .map(|(sequence, registration)| (sequence, json!(registration.state)));
    let page = world.pager.page(&request, records);
    Ok(page_response(page, request.size, "DeviceRegistration"))
}
