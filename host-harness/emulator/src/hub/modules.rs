//! How modules are created, changed and deleted.

use serde_json::{Value, json};

use super::registry::{Hub, module_not_found};
use crate::clock::now;
use crate::error::{ErrorCode, ServiceError};
use crate::etag;
use crate::etag::{Precondition, Write};
use crate::journal::ChangeKind;
use crate::records::identity::{check_id, module_key};
use crate::records::module::{Module, ModuleBody};
use crate::records::twin_view::of_module;
use crate::sessions::Ended;
use crate::versions::At;

const MAX_MODULES: usize = 50;

impl Hub {
    pub(crate) fn add_module(&mut self, device: &str, module: Module) {
        let key = module_key(device, &module.id);
        self.journal.append(
            ChangeKind::ModuleCreated,
            key.as_str(),
            Some(&module.etag),
            json!({ "authenticationType": module.authentication.kind }),
        );
        if let Some(device) = self.devices.get_mut(device) {
            device.modules.push(module.id.clone());
        }
        let (device, id) = (module.device.clone(), module.id.clone());
        self.modules.insert(&key, module);
        let twin = || self.modules.get(&key).and_then(|module| of_module(&self.devices, module));
        self.events.lifecycle(&device, Some(&id), true, || twin().unwrap_or_default());
    }

    /// Creates or updates a module, as PUT and the bulk operations do.
    pub(crate) fn put_module(
        &mut self,
        device: &str,
        id: &str,
        body: ModuleBody,
        precondition: &Precondition,
        at: At,
    ) -> Result<Write, ServiceError> {
        check_id("moduleId", id)?;
        let owner = self.device(device)?;
        let count = owner.modules.len();
        let key = module_key(device, id);
        let existing = self.modules.get(&key);
        let write = precondition.decide(
            existing.map(|module| module.etag.as_str()),
            || {
                ServiceError::new(
                    ErrorCode::MODULE_ALREADY_EXISTS,
                    format!("Module {id} already exists on device {device}"),
                )
            },
            || module_not_found(device, id),
        )?;
        let authentication =
            body.authentication.unwrap_or_default().complete(existing.map(|module| &module.authentication), at)?;
        let old_attributes = existing.and_then(|module| module.attributes.clone());
        let attributes = at.replace(at.has_attributes(), body.attributes, old_attributes);
        if write == Write::Create {
            if count >= MAX_MODULES {
                return Err(ServiceError::new(
                    ErrorCode::TOO_MANY_MODULES,
                    format!("a device may have no more than {MAX_MODULES} modules"),
                ));
            }
            let module = Module { attributes, ..Module::new(device, id, body.managed_by, authentication, now()) };
            self.add_module(device, module);
        } else if let Some(module) = self.modules.get_mut(&key) {
            module.managed_by = body.managed_by.or(module.managed_by.take());
            if module.authentication != authentication {
                self.sessions.end(&key, Ended::CredentialsChanged);
            }
            module.authentication = authentication;
            module.attributes = attributes;
            module.etag = etag::fresh();
            let detail = json!({ "authenticationType": module.authentication.kind });
            self.journal.append(ChangeKind::ModuleUpdated, key.as_str(), Some(&module.etag), detail);
        }
        Ok(write)
    }

    /// Deletes a module.
    pub(crate) fn delete_module(
        &mut self,
        device: &str,
        id: &str,
        precondition: &Precondition,
    ) -> Result<(), ServiceError> {
        precondition.check(&self.module(device, id)?.etag)?;
        let key = module_key(device, id);
        let removed = self.modules.remove(&key);
        let twin = || removed.as_ref().and_then(|module| of_module(&self.devices, module)).unwrap_or_default();
        self.events.lifecycle(device, Some(id), false, twin);
        self.device_mut(device)?.modules.retain(|module| module != id);
        self.sessions.end(&key, Ended::Deleted);
        self.journal.append(ChangeKind::ModuleDeleted, key, None, Value::Null);
        Ok(())
    }
}
