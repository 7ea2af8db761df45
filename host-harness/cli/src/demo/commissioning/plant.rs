//! The simulated plant: a system that enrolls devices through the connector, and the devices themselves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_iot_emulator::{Credential, DeviceSide, Emulator, MethodReply};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;

use super::super::DemoError;
use super::super::actions::{Actions, Caller, Request};
use super::super::clock::Clock;
use super::fleet::{Attestation, Change, Failure, Fleet, FleetDevice};

/// The simulated time by which a device with the failure `late` registers later than planned.
const LATE: Duration = Duration::from_secs(1);
/// The simulated time between the deletion of an enrollment and its second creation.
const REENROLL_GAP: Duration = Duration::from_millis(600);
/// The simulated time between the change of an enrollment and the device's next registration.
const REACTION: Duration = Duration::from_millis(200);
/// A hub that the provisioning service is not linked to.
const RETIRED_HUB: &str = "retired-hub.azure-devices.net";
/// The largest number of devices that are enrolled at the same time before the run.
const PREPARED_AT_ONCE: usize = 8;

/// The direct method by which a device tests itself.
pub(super) const SELF_TEST: &str = "selfTest";

/// The actions that the plant calls.
pub(super) const ACTIONS: [&str; 3] = [CREATE, DELETE, FORGET];

const CREATE: &str = "create-or-update-individual-enrollment";
const DELETE: &str = "delete-individual-enrollment";
const FORGET: &str = "delete-registration-state";

/// What has happened in the plant so far.
#[derive(Debug, Default)]
pub(super) struct PlantLog {
    pub(super) enrolled: AtomicUsize,
    pub(super) registered: AtomicUsize,
    pub(super) refused: AtomicUsize,
    pub(super) left: AtomicUsize,
    mishaps: Mutex<Vec<String>>,
}

impl PlantLog {
    /// The steps that failed, in words.
    pub(super) fn mishaps(&self) -> Vec<String> {
        self.mishaps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn mishap(&self, text: String) {
        self.mishaps.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

/// The plant.
#[derive(Clone)]
pub(super) struct Plant {
    devices: Vec<Arc<Unit>>,
    tools: Tools,
}

/// The tools that all devices share.
#[derive(Clone)]
struct Tools {
    side: DeviceSide,
    actions: Arc<Actions>,
    log: Arc<PlantLog>,
}

/// A row of the fleet file, and the keys of its device.
struct Unit {
    row: FleetDevice,
    keys: Keys,
}

enum Keys {
    Symmetric { primary: String, secondary: String },
    X509 { pem: String, thumbprint: String },
    Tpm { endorsement: String },
    Group { key: String },
}

#[derive(Clone, Debug)]
enum Step {
    Enroll,
    Register,
    Change(Change),
    Leave,
}

impl Plant {
    /// Makes keys and certificates, and the enrollment groups in the emulator.
    pub(super) fn new(fleet: &Fleet, seed: u64, emulator: &Emulator, actions: Arc<Actions>) -> Result<Self, DemoError> {
        let mut groups: BTreeMap<&str, Vec<&FleetDevice>> = BTreeMap::new();
        for device in &fleet.devices {
            if let Some(group) = device.group() {
                groups.entry(group).or_default().push(device);
            }
        }
        for (group, members) in groups {
            let key = |name| secret(seed, group, name);
            let body = json!({
                "attestation": {
                    "type": "symmetricKey",
                    "symmetricKey": { "primaryKey": key("primary"), "secondaryKey": key("secondary") },
                },
                "initialTwin": {
                    "tags": common(members.iter().map(|device| &device.tags)),
                    "properties": { "desired": common(members.iter().map(|device| &device.desired)) },
                },
            });
            emulator.create_enrollment_group(group, body).map_err(|error| DemoError::Plant(error.to_string()))?;
        }
        let devices = fleet.devices.iter().map(|row| Unit::new(row, seed).map(Arc::new)).collect::<Result<_, _>>()?;
        let tools = Tools { side: emulator.devices(), actions, log: Arc::default() };
        Ok(Self { devices, tools })
    }

    pub(super) fn log(&self) -> &Arc<PlantLog> {
        &self.tools.log
    }

    /// Enrolls and registers the devices that exist before the run, by their times in the fleet file.
    pub(super) async fn prepare(&self) {
        let mut running = JoinSet::new();
        for unit in self.devices.iter().filter(|unit| unit.row.group().is_none() && unit.row.enroll_at.is_zero()) {
            let (unit, tools) = (unit.clone(), self.tools.clone());
            if running.len() >= PREPARED_AT_ONCE {
                running.join_next().await;
            }
            running.spawn(async move {
                if unit.enroll(&tools).await && unit.row.register_at == Some(Duration::ZERO) {
                    unit.register(&tools).await;
                }
            });
        }
        while running.join_next().await.is_some() {}
    }

    /// Runs all later steps of all devices.
    pub(super) async fn run(&self, clock: &Clock) {
        let mut running = JoinSet::new();
        for unit in &self.devices {
            running.spawn(unit.clone().live(self.tools.clone(), clock.clone()));
        }
        while running.join_next().await.is_some() {}
    }
}

impl Unit {
    fn new(row: &FleetDevice, seed: u64) -> Result<Self, DemoError> {
        let id = &row.registration_id;
        let keys = match &row.attestation {
            Attestation::SymmetricKey => {
                Keys::Symmetric { primary: secret(seed, id, "primary"), secondary: secret(seed, id, "secondary") }
            }
            Attestation::X509 => certificate(id).map_err(|error| DemoError::Plant(error.to_string()))?,
            Attestation::Tpm => Keys::Tpm { endorsement: secret(seed, id, "endorsement") },
            Attestation::Group(group) => Keys::Group { key: secret(seed, group, "primary") },
        };
        Ok(Self { row: row.clone(), keys })
    }

    /// Runs the device's steps, from the enrollment to leaving.
    async fn live(self: Arc<Self>, tools: Tools, clock: Clock) {
        for (at, step) in self.steps() {
            clock.until(at).await;
            match step {
                Step::Enroll => {
                    if !self.enroll(&tools).await {
                        return;
                    }
                }
                Step::Register => self.register(&tools).await,
                Step::Change(change) => self.change(&change, &tools, &clock).await,
                Step::Leave => self.leave(&tools).await,
            }
        }
    }

    /// The steps that are still to come when the run begins.
    fn steps(&self) -> Vec<(Duration, Step)> {
        let row = &self.row;
        let late = if row.failure == Failure::Late { LATE } else { Duration::ZERO };
        let mut steps = Vec::new();
        if row.group().is_none() && !row.enroll_at.is_zero() {
            steps.push((row.enroll_at, Step::Enroll));
        }
        let prepared = row.group().is_none() && row.enroll_at.is_zero() && row.register_at == Some(Duration::ZERO);
        if let Some(at) = row.register_at.filter(|_| !prepared) {
            steps.push((at + late, Step::Register));
        }
        if let Some((at, change)) = &row.change {
            steps.push((*at, Step::Change(change.clone())));
        }
        if let Some(at) = row.leave_at {
            steps.push((at, Step::Leave));
        }
        steps
    }

    /// Creates the enrollment. Returns whether the enrollment exists now.
    async fn enroll(&self, tools: &Tools) -> bool {
        let row = &self.row;
        let attestation = match &self.keys {
            Keys::Symmetric { primary, secondary } => {
                json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": primary, "secondaryKey": secondary } })
            }
            Keys::X509 { pem, .. } => json!({ "type": "x509", "x509": { "primaryCertificate": pem } }),
            Keys::Tpm { endorsement } => json!({ "type": "tpm", "tpm": { "endorsementKey": endorsement } }),
            Keys::Group { .. } => return true,
        };
        let mut input = json!({
            "registrationId": row.registration_id,
            "mode": "create",
            "deviceId": row.device_id,
            "attestation": attestation,
            "initialTwin": { "tags": row.tags, "desired": row.desired },
        });
        match row.failure {
            Failure::DisabledEnrollment => input["provisioningStatus"] = "disabled".into(),
            Failure::Unreachable => input["iotHubHostName"] = RETIRED_HUB.into(),
            _ => {}
        }
        let done = self.act(tools, CREATE, &input).await;
        if done {
            tools.log.enrolled.fetch_add(1, Ordering::Relaxed);
        }
        done
    }

    /// The device registers, and begins to work if a hub was assigned to it.
    async fn register(&self, tools: &Tools) {
        let row = &self.row;
        let Some(credential) = self.credential() else {
            return tools.log.mishap(format!("{} has no usable key", row.registration_id));
        };
        let state = match tools.side.provision(&row.registration_id, credential).await {
            Ok(state) => state,
            Err(_) if row.failure == Failure::WrongKey => {
                tools.log.refused.fetch_add(1, Ordering::Relaxed);
                return;
            }
            Err(error) => return tools.log.mishap(format!("{} could not register: {error}", row.registration_id)),
        };
        tools.log.registered.fetch_add(1, Ordering::Relaxed);
        if let (Some(device_id), "assigned") = (state.device_id, state.status) {
            let answer = json!({ "selfTest": "passed", "registrationId": row.registration_id });
            tools.side.on_method(&device_id, move |_| {
                let answer = answer.clone();
                async move { MethodReply::delayed(Duration::from_millis(10), 200, answer).await }
            });
            // Reporting fails if the workflow has disabled the device.
            let _ = tools.side.report(&device_id, json!({ "firmware": "1.4.2", "temperature": 21.5 })).await;
        }
    }

    fn credential(&self) -> Option<Credential> {
        let id = &self.row.registration_id;
        let right = self.row.failure != Failure::WrongKey;
        let wrong = || STANDARD.encode(Sha256::digest(format!("not the key of {id}")));
        Some(match &self.keys {
            Keys::Symmetric { primary, .. } => Credential::SymmetricKey(if right { primary.clone() } else { wrong() }),
            Keys::X509 { thumbprint, .. } => Credential::X509 {
                subject: id.clone(),
                thumbprint: if right { thumbprint.clone() } else { "00".repeat(32) },
                issuers: Vec::new(),
            },
            Keys::Tpm { endorsement } => {
                Credential::Tpm { endorsement_key: if right { endorsement.clone() } else { wrong() } }
            }
            Keys::Group { key } => Credential::derived(&if right { key.clone() } else { wrong() }, id)?,
        })
    }

    async fn change(&self, change: &Change, tools: &Tools, clock: &Clock) {
        let row = &self.row;
        let id = row.registration_id.as_str();
        match change {
            Change::Disable => {
                let input = json!({ "registrationId": id, "mode": "update", "provisioningStatus": "disabled" });
                if !self.act(tools, CREATE, &input).await || row.register_at.is_none() {
                    return;
                }
                clock.until(clock.now() + REACTION).await;
            }
            Change::Retag(line) => {
                let mut tags = row.tags.clone();
                tags.insert("line".to_owned(), line.as_str().into());
                let input = json!({ "registrationId": id, "mode": "update", "initialTwin": { "tags": tags } });
                self.act(tools, CREATE, &input).await;
                return;
            }
            Change::Reenroll => {
                if !self.act(tools, DELETE, &json!({ "registrationId": id })).await {
                    return;
                }
                clock.until(clock.now() + REENROLL_GAP).await;
                if !self.enroll(tools).await || row.register_at.is_none() {
                    return;
                }
                clock.until(clock.now() + REACTION).await;
            }
            Change::Reregister => {}
        }
        self.register(tools).await;
    }

    /// Deletes the enrollment or, for a device of a group, the registration.
    async fn leave(&self, tools: &Tools) {
        let action = if self.row.group().is_some() { FORGET } else { DELETE };
        // A device of a group that was refused has no registration, so a missing one is ignored.
        let input = json!({ "registrationId": self.row.registration_id, "ifMissing": "ignore" });
        if self.act(tools, action, &input).await {
            tools.log.left.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn act(&self, tools: &Tools, action: &'static str, input: &Value) -> bool {
        let key = format!("{action} {}", self.row.registration_id);
        match tools.actions.invoke(&Request::new(Caller::Plant, action, input, &key)).await {
            Ok(_) => true,
            Err(failed) => {
                tools.log.mishap(format!("{} {action}: {failed}", self.row.registration_id));
                false
            }
        }
    }
}

/// A key that is always the same for the same seed. That is safe only because this is a simulation.
fn secret(seed: u64, id: &str, name: &str) -> String {
    STANDARD.encode(Sha256::digest(format!("{seed} {name} {id}")))
}

fn certificate(id: &str) -> Result<Keys, rcgen::Error> {
    let key = rcgen::KeyPair::generate()?;
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, id);
    let certificate = parameters.self_signed(&key)?;
    let thumbprint = Sha256::digest(certificate.der()).iter().map(|byte| format!("{byte:02X}")).collect();
    Ok(Keys::X509 { pem: certificate.pem(), thumbprint })
}

/// The entries that are the same for all members of a group.
fn common<'a>(mut members: impl Iterator<Item = &'a Map<String, Value>>) -> Map<String, Value> {
    let mut common = members.next().cloned().unwrap_or_default();
    for other in members {
        common.retain(|name, value| other.get(name) == Some(value));
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_begins_with_what_its_devices_share() {
        let maps = [json!({ "site": "north", "line": 1, "hall": 1 }), json!({ "site": "north", "line": 2 })];
        let shared = common(maps.iter().filter_map(Value::as_object));
        assert_eq!(json!(shared), json!({ "site": "north" }));
    }

    #[test]
    fn keys_repeat_with_the_seed() {
        assert_eq!(secret(1, "a", "primary"), secret(1, "a", "primary"));
        assert_ne!(secret(1, "a", "primary"), secret(2, "a", "primary"));
    }
}
