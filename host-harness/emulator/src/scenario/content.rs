//! What the services contain from the start.

use serde_json::{Map, Value, json};

use super::error::{ScenarioError, refused};
use super::parts::{DevicePart, EntityPart, HubPart, ModulePart, ProvisioningPart, RegistrationPart};
use super::timeline::duration;
use crate::dps::credential::Credential;
use crate::dps::registration::RegistrationState;
use crate::emulator::Emulator;
use crate::error::ServiceError;

impl HubPart {
    /// Creates devices and configurations.
    ///
    /// # Errors
    /// What the hub refuses, by its JSON pointer.
    pub(super) async fn fill(&self, emulator: &Emulator) -> Result<(), ScenarioError> {
        for (index, device) in self.devices.iter().enumerate() {
            create(emulator, device).await.map_err(refused(format!("/hub/devices/{index}")))?;
            if let Some(time) = &device.silent_for {
                let pointer = format!("/hub/devices/{index}/silentFor");
                let silent = emulator.devices().be_silent_for(&device.device_id, duration(&pointer, time)?).await;
                silent.map_err(refused(pointer))?;
            }
        }
        for (index, body) in self.configurations.iter().enumerate() {
            let id = body["id"].as_str().unwrap_or_default();
            let made = emulator.add_configuration(id, body.clone());
            made.map_err(refused(format!("/hub/configurations/{index}")))?;
        }
        Ok(())
    }
}

impl ProvisioningPart {
    /// Creates enrollments, and registers devices.
    ///
    /// # Errors
    /// What the service refuses, by its JSON pointer.
    pub(super) async fn fill(&self, emulator: &Emulator) -> Result<(), ScenarioError> {
        for (index, body) in self.enrollment_groups.iter().enumerate() {
            let id = body["enrollmentGroupId"].as_str().unwrap_or_default();
            let made = emulator.create_enrollment_group(id, body.clone());
            made.map_err(refused(format!("/provisioning/enrollmentGroups/{index}")))?;
        }
        for (index, body) in self.enrollments.iter().enumerate() {
            let id = body["registrationId"].as_str().unwrap_or_default();
            let made = emulator.add_enrollment(id, body.clone());
            made.map_err(refused(format!("/provisioning/enrollments/{index}")))?;
        }
        for (index, registration) in self.registrations.iter().enumerate() {
            let pointer = format!("/provisioning/registrations/{index}");
            let credential = self.credential(registration).ok_or_else(|| {
                let problem = "its enrollment or enrollment group must be in the file, with a primaryKey in base64";
                ScenarioError::value(&pointer, problem)
            })?;
            let made = emulator.devices().provision(&registration.registration_id, credential).await;
            let RegistrationState { status, error_message, .. } = made.map_err(refused(pointer.clone()))?;
            if status != "assigned" {
                let problem = format!("the registration is `{status}`: {}", error_message.unwrap_or_default());
                return Err(ScenarioError::value(pointer, problem));
            }
        }
        Ok(())
    }

    fn credential(&self, registration: &RegistrationPart) -> Option<Credential> {
        let RegistrationPart { registration_id: id, enrollment_group_id: group } = registration;
        let key_of = |bodies: &[Value], member: &str, wanted: &str| {
            let body =
                bodies.iter().find(|body| body[member].as_str().is_some_and(|id| id.eq_ignore_ascii_case(wanted)));
            Some(body?.pointer("/attestation/symmetricKey/primaryKey")?.as_str()?.to_owned())
        };
        match group {
            Some(group) => Credential::derived(&key_of(&self.enrollment_groups, "enrollmentGroupId", group)?, id),
            None => key_of(&self.enrollments, "registrationId", id).map(Credential::SymmetricKey),
        }
    }
}

async fn create(emulator: &Emulator, device: &DevicePart) -> Result<(), ServiceError> {
    let DevicePart { device_id: id, status, edge, connected, silent_for: _, thumbprint, entity, modules } = device;
    let mut body = entity.identity();
    body["capabilities"] = json!({ "iotEdge": edge });
    if let Some(thumbprint) = thumbprint {
        body["authentication"] = json!({ "type": "selfSigned", "x509Thumbprint": { "primaryThumbprint": thumbprint } });
    }
    if let Some(status) = status {
        body["status"] = json!(status);
    }
    emulator.add_device(id, body)?;
    if let Some(twin) = entity.twin() {
        emulator.write_twin(id, None, twin)?;
    }
    if let Some(reported) = &entity.reported {
        emulator.devices().report(id, reported.clone()).await?;
    }
    for ModulePart { module_id, entity } in modules {
        emulator.add_module(id, module_id, entity.identity())?;
        if let Some(twin) = entity.twin() {
            emulator.write_twin(id, Some(module_id), twin)?;
        }
        if let Some(reported) = &entity.reported {
            emulator.devices().report_module(id, module_id, reported.clone()).await?;
        }
    }
    match connected {
        Some(true) => emulator.devices().connect(id).await,
        Some(false) => emulator.devices().disconnect(id).await,
        None => Ok(()),
    }
}

impl EntityPart {
    /// The identity as a PUT takes it.
    fn identity(&self) -> Value {
        match (&self.primary_key, &self.secondary_key) {
            (None, None) => json!({}),
            (primary, secondary) => {
                let (primary, secondary) =
                    (primary.as_ref().or(secondary.as_ref()), secondary.as_ref().or(primary.as_ref()));
                json!({ "authentication": {
                    "type": "sas",
                    "symmetricKey": { "primaryKey": primary, "secondaryKey": secondary },
                } })
            }
        }
    }

    /// Tags and desired properties as a PATCH takes them; `None` if there are none.
    fn twin(&self) -> Option<Value> {
        let mut body = Map::new();
        if let Some(tags) = &self.tags {
            body.insert("tags".to_owned(), tags.clone());
        }
        if let Some(desired) = &self.desired {
            body.insert("properties".to_owned(), json!({ "desired": desired }));
        }
        (!body.is_empty()).then_some(Value::Object(body))
    }
}
