//! How twins are read and written.

use serde_json::Value;

use super::registry::{Hub, device_not_found, module_not_found};
use crate::clock::now;
use crate::error::ServiceError;
use crate::etag::Precondition;
use crate::event_hub::system::TwinNotification;
use crate::journal::{ChangeKind, Journal, TwinPart};
use crate::records::identity::{Target, module_key};
use crate::records::twin::{Change, Twin, TwinBody};
use crate::records::twin_view::{add_attributes, of_device, of_module};
use crate::sessions::ToDevice;
use crate::versions::At;

impl Hub {
    /// The twin of a device or, with a module id, of a module.
    pub(crate) fn twin_mut(&mut self, device: &str, module: Option<&str>) -> Result<&mut Twin, ServiceError> {
        match module {
            None => Ok(&mut self.device_mut(device)?.twin),
            Some(module) => {
                self.module(device, module)?;
                let missing = || module_not_found(device, module);
                Ok(&mut self.modules.get_mut(&module_key(device, module)).ok_or_else(missing)?.twin)
            }
        }
    }

    /// Writes tags and desired properties.
    pub(crate) fn write_twin(
        &mut self,
        device: &str,
        module: Option<&str>,
        body: TwinBody,
        change: Change,
        precondition: &Precondition,
    ) -> Result<(), ServiceError> {
        let twin = self.twin_mut(device, module)?;
        precondition.check(&twin.etag())?;
        let changes = twin.write(body, change, now())?;
        self.note(device, module, change == Change::Replace, changes);
        Ok(())
    }

    /// Writes reported properties. Returns their new version.
    pub(crate) fn report(&mut self, device: &str, module: Option<&str>, patch: Value) -> Result<u64, ServiceError> {
        let twin = self.twin_mut(device, module)?;
        let patch = twin.report(patch, now())?;
        let version = twin.reported.version;
        self.note(device, module, false, vec![(TwinPart::Reported, patch)]);
        Ok(version)
    }

    /// Resets a device's twin to the given tags and desired properties, without reported properties.
    pub(crate) fn reset_twin(&mut self, device: &str, initial: TwinBody) -> Result<(), ServiceError> {
        self.write_twin(device, None, initial, Change::Replace, &Precondition::None)?;
        let twin = self.twin_mut(device, None)?;
        twin.forget_reported(now());
        self.note(device, None, true, vec![(TwinPart::Reported, Value::Null)]);
        Ok(())
    }

    /// Reports what changed in a twin to the journal and, where a route says so, to the built-in endpoint.
    fn note(&mut self, device: &str, module: Option<&str>, replaced: bool, changes: Vec<(TwinPart, Value)>) {
        let events = self.events.clone();
        let journal_log = self.journal.clone();
        let sessions = self.sessions.clone();
        let Ok(twin) = self.twin_mut(device, module) else { return };
        if !changes.is_empty() {
            events.twin(&TwinNotification {
                device,
                module,
                version: twin.version,
                replaced,
                changes: &changes,
                section_version: &|part| match part {
                    TwinPart::Tags => None,
                    TwinPart::Desired => Some(twin.desired.version),
                    TwinPart::Reported => Some(twin.reported.version),
                },
            });
        }
        let etag = twin.etag();
        let version = twin.desired.version;
        for (_, patch) in changes.iter().filter(|(part, _)| *part == TwinPart::Desired) {
            let notice = ToDevice::Desired { version, patch: patch.clone() };
            sessions.notify(&Target::new(device, module).key(), notice);
        }
        journal(&journal_log, device, module, &etag, changes);
    }

    pub(crate) fn twin_json(
        &self,
        device: &str,
        module: Option<&str>,
        at: At,
    ) -> Result<(String, Value), ServiceError> {
        match module {
            None => {
                let device = self.device(device)?;
                let mut twin = of_device(device);
                add_attributes(&mut twin, device.attributes.as_ref(), at);
                Ok((device.twin.etag(), twin))
            }
            Some(module) => {
                let found = self.module(device, module)?;
                let mut twin = of_module(&self.devices, found).ok_or_else(|| device_not_found(device))?;
                add_attributes(&mut twin, found.attributes.as_ref(), at);
                Ok((found.twin.etag(), twin))
            }
        }
    }
}

fn journal(journal: &Journal, device: &str, module: Option<&str>, etag: &str, changes: Vec<(TwinPart, Value)>) {
    let id = module.map_or_else(|| device.to_owned(), |module| module_key(device, module));
    for (part, patch) in changes {
        journal.append(ChangeKind::TwinUpdated(part), id.as_str(), Some(etag), patch);
    }
}
