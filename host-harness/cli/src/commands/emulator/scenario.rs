//! The scenario file: what the emulated services contain from the start, and what happens to them later.
//!
//! `scenario.schema.json` is the description of the file that people read. The file is judged by it, so that this code
//! reads only what the description permits.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use azure_iot_emulator::{
    Credential, Emulator, EmulatorOptions, EventSource, FaultRule, Permission, Policy, RegistrationState, ServiceError,
};
use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::files;

/// The description of the file.
const SCHEMA: &str = include_str!("scenario.schema.json");

/// The size of new keys in bytes, as each service makes them.
const HUB_KEY: usize = 32;
const PROVISIONING_KEY: usize = 64;

/// A scenario file.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Scenario {
    hub: HubPart,
    provisioning: ProvisioningPart,
    pub(super) connection: ConnectionPart,
    timeline: Vec<MomentPart>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HubPart {
    name: Option<String>,
    policies: Vec<PolicyPart>,
    partitions: Option<u16>,
    consumer_groups: Vec<String>,
    retention: RetentionPart,
    system_events: Vec<String>,
    telemetry_routed_away: Option<bool>,
    feedback_wait: Option<String>,
    device_authorities: Vec<String>,
    devices: Vec<DevicePart>,
    configurations: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ProvisioningPart {
    id_scope: Option<String>,
    policies: Vec<PolicyPart>,
    enrollment_groups: Vec<Value>,
    enrollments: Vec<Value>,
    registrations: Vec<RegistrationPart>,
}

/// The names of the policies that the written connection uses.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ConnectionPart {
    pub(super) hub_policy: Option<String>,
    pub(super) provisioning_policy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RetentionPart {
    hours: Option<f64>,
    events: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PolicyPart {
    name: String,
    permissions: Vec<String>,
    primary_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DevicePart {
    device_id: String,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    edge: bool,
    connected: Option<bool>,
    thumbprint: Option<String>,
    #[serde(flatten)]
    entity: EntityPart,
    #[serde(default)]
    modules: Vec<ModulePart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModulePart {
    module_id: String,
    #[serde(flatten)]
    entity: EntityPart,
}

/// What devices and modules share.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntityPart {
    primary_key: Option<String>,
    secondary_key: Option<String>,
    tags: Option<Value>,
    desired: Option<Value>,
    reported: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegistrationPart {
    registration_id: String,
    enrollment_group_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MomentPart {
    after: String,
    #[serde(flatten)]
    happening: BTreeMap<String, Value>,
}

/// Something that happens to the services.
#[derive(Debug)]
pub(super) enum Happening {
    Fault(FaultRule),
    ClearFaults,
    FailOver,
    Connect(String),
    Disconnect(String),
}

impl std::fmt::Debug for PolicyPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicyPart").field("name", &self.name).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for DevicePart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DevicePart").field("device_id", &self.device_id).finish_non_exhaustive()
    }
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// If it cannot be read or is not JSON. Also every part that its description does not permit, by its JSON pointer.
    pub(super) fn read(path: &Path) -> Result<Self> {
        Self::parse(&files::read_text(path)?).with_context(|| format!("the scenario {} is wrong", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        // The parser's own message quotes no value.
        let value: Value = serde_json::from_str(text).context("it is not JSON")?;
        let schema = serde_json::from_str(SCHEMA).context("the description of scenarios is not JSON")?;
        let validator = jsonschema::draft202012::new(&schema).map_err(|error| anyhow!("{}", error.masked()))?;
        let problems: Vec<String> = validator.iter_errors(&value).map(|error| problem(&error)).collect();
        if !problems.is_empty() {
            bail!("{}", problems.join("; "));
        }
        let scenario: Self = serde_json::from_value(value)?;
        // A wrong rule must be known now, not at its time.
        scenario.timeline().map(|_| scenario)
    }

    /// Sets what must be known when the emulator starts.
    pub(super) fn set_up(&self, options: &mut EmulatorOptions) -> Result<()> {
        let HubPart { name, policies, partitions, consumer_groups, retention, system_events, .. } = &self.hub;
        if let Some(name) = name {
            options.hub_name.clone_from(name);
        }
        add_policies(&mut options.hub_policies, policies, HUB_KEY)?;
        options.partitions = partitions.unwrap_or(options.partitions);
        options.consumer_groups.extend_from_slice(consumer_groups);
        options.device_authorities.extend_from_slice(&self.hub.device_authorities);
        options.retention_events = retention.events.or(options.retention_events);
        if let Some(hours) = retention.hours {
            let kept = Duration::try_from_secs_f64(hours * 3600.0);
            options.retention_time = Some(kept.context("/hub/retention/hours is too large")?);
        }
        for source in system_events {
            options.system_event_routes.insert(source.parse::<EventSource>().map_err(anyhow::Error::msg)?);
        }
        options.telemetry_routed_away = self.hub.telemetry_routed_away.unwrap_or(options.telemetry_routed_away);
        if let Some(wait) = &self.hub.feedback_wait {
            options.amqp.feedback_wait = duration(wait)?;
        }
        if let Some(scope) = &self.provisioning.id_scope {
            options.id_scope.clone_from(scope);
        }
        add_policies(&mut options.dps_policies, &self.provisioning.policies, PROVISIONING_KEY)
    }

    /// The ids of the devices.
    pub(super) fn devices(&self) -> impl Iterator<Item = &str> {
        self.hub.devices.iter().map(|device| device.device_id.as_str())
    }

    /// Creates what the services contain.
    ///
    /// # Errors
    /// What the services refuse, by its JSON pointer.
    pub(super) async fn fill(&self, emulator: &Emulator) -> Result<()> {
        let refused = |pointer: String| move |error: ServiceError| anyhow!("{pointer}: {}", error.message());
        for (index, device) in self.hub.devices.iter().enumerate() {
            create(emulator, device).await.map_err(refused(format!("/hub/devices/{index}")))?;
        }
        for (index, body) in self.hub.configurations.iter().enumerate() {
            let id = body["id"].as_str().unwrap_or_default();
            let made = emulator.add_configuration(id, body.clone());
            made.map_err(refused(format!("/hub/configurations/{index}")))?;
        }
        for (index, body) in self.provisioning.enrollment_groups.iter().enumerate() {
            let id = body["enrollmentGroupId"].as_str().unwrap_or_default();
            let made = emulator.create_enrollment_group(id, body.clone());
            made.map_err(refused(format!("/provisioning/enrollmentGroups/{index}")))?;
        }
        for (index, body) in self.provisioning.enrollments.iter().enumerate() {
            let id = body["registrationId"].as_str().unwrap_or_default();
            let made = emulator.add_enrollment(id, body.clone());
            made.map_err(refused(format!("/provisioning/enrollments/{index}")))?;
        }
        for (index, registration) in self.provisioning.registrations.iter().enumerate() {
            let pointer = format!("/provisioning/registrations/{index}");
            let credential = self.credential(registration).with_context(|| {
                format!(
                    "{pointer}: its enrollment or enrollment group must be in the file, with a primaryKey in base64"
                )
            })?;
            let made = emulator.devices().provision(&registration.registration_id, credential).await;
            let RegistrationState { status, error_message, .. } = made.map_err(refused(pointer.clone()))?;
            if status != "assigned" {
                bail!("{pointer}: the registration is `{status}`: {}", error_message.unwrap_or_default());
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
            Some(group) => {
                Credential::derived(&key_of(&self.provisioning.enrollment_groups, "enrollmentGroupId", group)?, id)
            }
            None => key_of(&self.provisioning.enrollments, "registrationId", id).map(Credential::SymmetricKey),
        }
    }

    /// What happens later, in the order of time.
    ///
    /// # Errors
    /// If a rule or a time cannot be read.
    pub(super) fn timeline(&self) -> Result<Vec<(Duration, Happening)>> {
        let mut moments = Vec::new();
        for (index, moment) in self.timeline.iter().enumerate() {
            let after = duration(&moment.after)?;
            for (what, value) in &moment.happening {
                let text = value.as_str().unwrap_or_default();
                let happening = match what.as_str() {
                    "fault" => Happening::Fault(
                        text.parse().with_context(|| format!("/timeline/{index}/fault cannot be read"))?,
                    ),
                    "clearFaults" => Happening::ClearFaults,
                    "failOver" => Happening::FailOver,
                    "connect" => Happening::Connect(text.to_owned()),
                    "disconnect" => Happening::Disconnect(text.to_owned()),
                    other => bail!("/timeline/{index}/{other} is not known"),
                };
                moments.push((after, happening));
            }
        }
        moments.sort_by_key(|(after, _)| *after);
        Ok(moments)
    }
}

impl Happening {
    /// Lets it happen. Returns what to say about it.
    ///
    /// # Errors
    /// If no port is free for the moved endpoint, or the hub does not know the device.
    pub(super) async fn happen(self, emulator: &Emulator) -> Result<String> {
        let refused = |error: ServiceError| anyhow!("{}", error.message().to_owned());
        Ok(match self {
            Self::Fault(rule) => {
                let text = format!("a fault rule for {} is on", rule.path);
                emulator.faults().add(rule);
                text
            }
            Self::ClearFaults => {
                emulator.faults().clear();
                "all fault rules are off".to_owned()
            }
            Self::FailOver => {
                emulator.fail_over().await?;
                let (host, name) = (emulator.event_hub_host(), emulator.event_hub_name());
                format!("the Event Hub-compatible endpoint has moved to amqps://{host}/{name}")
            }
            Self::Connect(device) => {
                emulator.devices().connect(&device).await.map_err(refused)?;
                format!("{device} is connected")
            }
            Self::Disconnect(device) => {
                emulator.devices().disconnect(&device).await.map_err(refused)?;
                format!("{device} is disconnected")
            }
        })
    }
}

async fn create(emulator: &Emulator, device: &DevicePart) -> Result<(), ServiceError> {
    let DevicePart { device_id: id, status, edge, connected, thumbprint, entity, modules } = device;
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

fn add_policies(all: &mut Vec<Policy>, added: &[PolicyPart], key_bytes: usize) -> Result<()> {
    for part in added {
        let permissions = part.permissions.iter().map(|name| permission(name)).collect::<Result<Vec<_>>>()?;
        let mut policy = Policy::generate(part.name.as_str(), permissions, key_bytes);
        if let Some(key) = &part.primary_key {
            policy.primary_key.clone_from(key);
        }
        all.retain(|usual| usual.name != policy.name);
        all.push(policy);
    }
    Ok(())
}

fn permission(name: &str) -> Result<Permission> {
    Ok(match name {
        "registryRead" => Permission::RegistryRead,
        "registryWrite" => Permission::RegistryWrite,
        "serviceConnect" => Permission::ServiceConnect,
        "deviceConnect" => Permission::DeviceConnect,
        "serviceConfig" => Permission::ServiceConfig,
        "enrollmentRead" => Permission::EnrollmentRead,
        "enrollmentWrite" => Permission::EnrollmentWrite,
        "registrationStatusRead" => Permission::RegistrationStatusRead,
        "registrationStatusWrite" => Permission::RegistrationStatusWrite,
        other => bail!("the permission `{other}` is not known"),
    })
}

/// Reads a time such as `10s`.
fn duration(text: &str) -> Result<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => bail!("`{text}` is no time such as 500ms, 10s, 2m or 1h"),
    };
    let number: u64 = number.parse().with_context(|| format!("`{text}` is too long"))?;
    Ok(Duration::from_millis(number.checked_mul(milliseconds).with_context(|| format!("`{text}` is too long"))?))
}

/// What is wrong, and where. No value is quoted, because it may be a key.
fn problem(error: &ValidationError<'_>) -> String {
    let at = error.instance_path();
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => {
            let unknown: Vec<_> =
                unexpected.iter().map(|name| format!("{at}/{name}: this member is not known")).collect();
            unknown.join("; ")
        }
        ValidationErrorKind::Enum { options } => format!("{at}: must be one of {options}"),
        _ => format!("{}: {}", if at.as_str().is_empty() { "/" } else { at.as_str() }, error.masked()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the documentation.
    const EXAMPLE: &str = include_str!("../../../../../docs/emulator.example.json");

    fn refusal(text: &str) -> String {
        format!("{:#}", Scenario::parse(text).unwrap_err())
    }

    #[tokio::test]
    async fn the_example_of_the_documentation_can_be_used() {
        let scenario = Scenario::parse(EXAMPLE).unwrap();
        let mut options = EmulatorOptions::default();
        scenario.set_up(&mut options).unwrap();
        assert!(options.consumer_groups.iter().any(|group| group == "workflow"));
        assert!(options.system_event_routes.contains(&EventSource::TwinChange));
        let emulator = Emulator::start(options).await.unwrap();
        scenario.fill(&emulator).await.unwrap();
        assert_eq!(emulator.twin("press-1").unwrap()["tags"]["site"], "north");
        assert_eq!(emulator.twin("grouped-1").unwrap()["deviceId"], "grouped-1");
        assert!(emulator.hub_policy("reader").is_some());
        for (_, happening) in scenario.timeline().unwrap() {
            happening.happen(&emulator).await.unwrap();
        }
    }

    #[test]
    fn a_wrong_member_is_named_by_its_pointer() {
        for (text, wanted) in [
            (r#"{"hub": {"partition": 4}}"#, "/hub/partition: this member is not known"),
            (
                r#"{"hub": {"devices": [{"deviceId": "d", "modules": [{"moduleId": "m", "edge": true}]}]}}"#,
                "/hub/devices/0/modules/0/edge",
            ),
            (r#"{"hub": {"policies": [{"name": "p", "permissions": [], "key": "x"}]}}"#, "/hub/policies/0/key"),
            (
                r#"{"hub": {"policies": [{"name": "p", "permissions": ["enrollmentRead"]}]}}"#,
                "/hub/policies/0/permissions/0: must be one of",
            ),
            (r#"{"hub": {"partitions": 33}}"#, "/hub/partitions"),
            (r#"{"timeline": [{"after": "10 s", "clearFaults": true}]}"#, "/timeline/0/after"),
            (r#"{"timeline": [{"after": "10s"}]}"#, "/timeline/0"),
            (r#"{"timeline": [{"after": "10s", "fault": "GET /x"}]}"#, "/timeline/0/fault"),
            ("{", "not JSON"),
        ] {
            let said = refusal(text);
            assert!(said.contains(wanted), "{text}: {said}");
        }
    }

    #[test]
    fn a_wrong_key_is_not_quoted() {
        let said = refusal(r#"{"hub": {"devices": [{"deviceId": "d", "primaryKey": {"secret": "hunter2"}}]}}"#);
        assert!(said.contains("/hub/devices/0/primaryKey") && !said.contains("hunter2"), "{said}");
    }

    #[tokio::test]
    async fn what_a_service_refuses_is_named_by_its_pointer() {
        let key = "a2V5LW9uZS1rZXktb25lLWtleS1vbmUta2V5LW9uZS0=";
        let fill = async |text: &str| {
            let emulator = Emulator::start(EmulatorOptions::default()).await.unwrap();
            format!("{:#}", Scenario::parse(text).unwrap().fill(&emulator).await.unwrap_err())
        };
        let said = fill(r#"{"hub": {"devices": [{"deviceId": "d"}, {"deviceId": "d"}]}}"#).await;
        assert!(said.starts_with("/hub/devices/1: ") && said.contains("already registered"), "{said}");
        let said = fill(&format!(r#"{{"provisioning": {{"registrations": [{{"registrationId": "{key}"}}]}}}}"#)).await;
        assert!(said.starts_with("/provisioning/registrations/0: "), "{said}");
    }

    #[test]
    fn reads_times() {
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("2m").unwrap(), Duration::from_secs(120));
        assert!(duration("99999999999999999999h").is_err() && duration("5d").is_err());
    }
}
