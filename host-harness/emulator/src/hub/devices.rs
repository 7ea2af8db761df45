//! How devices are created, changed and deleted.

use std::collections::VecDeque;

use super::registry::{Hub, device_not_found};
use crate::clock::now;
use crate::error::{ErrorCode, ServiceError, invalid};
use crate::etag::{Precondition, Write};
use crate::journal::ChangeKind;
use crate::records::device::{Device, DeviceBody, edge_scope};
use crate::records::identity::{Status, check_id, generation, module_key};
use crate::records::module::Module;
use crate::records::twin::Twin;
use crate::records::twin_view::of_device;
use crate::sessions::Ended;
use crate::versions::{At, refuse_owned};
use crate::{etag, random};

impl Hub {
    /// Creates or updates a device, as PUT and the bulk operations do.
    pub(crate) fn put_device(
        &mut self,
        id: &str,
        body: DeviceBody,
        precondition: &Precondition,
        at: At,
    ) -> Result<Write, ServiceError> {
        check_id("deviceId", id)?;
        refuse_owned(&[
            ("adrDeviceProperties", body.adr_device_properties.is_some()),
            ("deviceResourceId", body.device_resource_id.is_some()),
            ("armSyncStatus", body.arm_sync_status.is_some()),
        ])?;
        if body.status_reason.as_ref().is_some_and(|reason| reason.chars().count() > 128) {
            return Err(invalid("statusReason must have no more than 128 characters"));
        }
        let existing = self.devices.get(id);
        let write = precondition.decide(
            existing.map(|device| device.etag.as_str()),
            || {
                ServiceError::new(
                    ErrorCode::DEVICE_ALREADY_EXISTS,
                    "A device with the same ID is already registered. Use an If-Match header to update it",
                )
            },
            || device_not_found(id),
        )?;
        let authentication =
            body.authentication.unwrap_or_default().complete(existing.map(|device| &device.authentication), at)?;
        let old_attributes = existing.and_then(|device| device.attributes.clone());
        let attributes = at.replace(at.has_attributes(), body.attributes, old_attributes);
        let now = now();
        let edge = body.capabilities.and_then(|capabilities| capabilities.iot_edge);
        if write == Write::Create {
            let edge = edge.unwrap_or(false);
            self.devices.insert(
                id,
                Device {
                    id: id.to_owned(),
                    generation: generation(now),
                    created: now,
                    uuid: random::uuid(),
                    etag: etag::fresh(),
                    attributes,
                    status: body.status.unwrap_or_default(),
                    status_reason: body.status_reason,
                    status_updated: None,
                    connected: false,
                    connection_updated: None,
                    last_activity: None,
                    authentication,
                    edge,
                    scope: body.device_scope.or_else(|| edge.then(|| edge_scope(id, now))),
                    parent_scopes: body.parent_scopes.unwrap_or_default(),
                    modules: Vec::new(),
                    queue: VecDeque::new(),
                    twin: Twin::new(now),
                },
            );
            self.journal_device(ChangeKind::DeviceCreated, id);
            if let Some(device) = self.devices.get(id) {
                self.events.lifecycle(id, None, true, || of_device(device));
            }
            if edge {
                for module in ["$edgeAgent", "$edgeHub"] {
                    self.add_module(id, Module::system(id, module, now));
                }
            }
            return Ok(write);
        }
        let device = self.device_mut(id)?;
        let status = body.status.unwrap_or_default();
        if status != device.status {
            device.status_updated = Some(now);
        }
        device.status = status;
        device.status_reason = body.status_reason;
        let has_new_credentials = device.authentication != authentication;
        device.authentication = authentication;
        device.attributes = attributes;
        device.edge = edge.unwrap_or(device.edge);
        if device.edge && device.scope.is_none() {
            device.scope = Some(edge_scope(id, now));
        }
        device.scope = body.device_scope.or(device.scope.take());
        device.parent_scopes = body.parent_scopes.unwrap_or(std::mem::take(&mut device.parent_scopes));
        device.etag = etag::fresh();
        if status == Status::Disabled && device.connected {
            device.connected = false;
            device.connection_updated = Some(now);
            self.events.connection(id, None, false);
        }
        if status == Status::Disabled {
            self.sessions.end(id, Ended::Disabled);
        } else if has_new_credentials {
            self.sessions.end(id, Ended::CredentialsChanged);
        }
        self.journal_device(ChangeKind::DeviceUpdated, id);
        Ok(write)
    }

    /// Deletes a device with its modules.
    pub(crate) fn delete_device(&mut self, id: &str, precondition: &Precondition) -> Result<(), ServiceError> {
        precondition.check(&self.device(id)?.etag)?;
        if let Some(device) = self.devices.remove(id) {
            for module in &device.modules {
                self.modules.remove(&module_key(id, module));
            }
            self.journal.append(ChangeKind::DeviceDeleted, id, Some(&device.etag), device.summary());
            self.events.lifecycle(id, None, false, || of_device(&device));
            self.sessions.end(id, Ended::Deleted);
        }
        Ok(())
    }

    fn journal_device(&self, kind: ChangeKind, id: &str) {
        if let Some(device) = self.devices.get(id) {
            self.journal.append(kind, id, Some(&device.etag), device.summary());
        }
    }
}
