//! The scenario file: what the emulated services contain from the start, and what happens to them later.
//!
//! `scenario.schema.json` is the description of the file that people read. The file is judged by it, so that this code
//! reads only what the description permits.

mod content;
mod error;
mod parts;
mod settings;
mod timeline;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde::Deserialize;
use serde_json::Value;

pub use self::error::ScenarioError;
use self::parts::{ConnectionPart, HubPart, MomentPart, ProvisioningPart, ServicesPart};
pub use self::timeline::Moment;
use crate::emulator::Emulator;
use crate::options::EmulatorOptions;

/// The description of the file.
const SCHEMA: &str = include_str!("scenario.schema.json");

/// What the services contain from the start, and what happens to them later, as a scenario file states it.
/// `docs/emulator.md` describes the file.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use azure_iot_emulator::{Emulator, EmulatorOptions, Scenario};
///
/// let scenario = Scenario::parse(r#"{"hub": {"partitions": 2, "devices": [{"deviceId": "press-1"}]}}"#)?;
/// let mut options = EmulatorOptions::default();
/// scenario.set_up(&mut options)?;
/// let emulator = Emulator::start(options).await?;
/// scenario.fill(&emulator).await?;
/// assert!(emulator.device_connection_string("press-1").is_some());
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scenario {
    hub: HubPart,
    provisioning: ProvisioningPart,
    services: ServicesPart,
    connection: ConnectionPart,
    timeline: Vec<MomentPart>,
}

impl Scenario {
    /// Reads the text of a scenario file.
    ///
    /// # Errors
    /// If it is not JSON. Also every part that its description does not permit, by its JSON pointer.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        // The parser's own message quotes no value.
        let value: Value = serde_json::from_str(text).map_err(ScenarioError::NotJson)?;
        let schema = serde_json::from_str(SCHEMA).map_err(ScenarioError::NotJson)?;
        let validator = jsonschema::draft202012::new(&schema)
            .map_err(|error| ScenarioError::NotPermitted(vec![error.masked().to_string()]))?;
        let problems: Vec<String> = validator.iter_errors(&value).map(|error| problem(&error)).collect();
        if !problems.is_empty() {
            return Err(ScenarioError::NotPermitted(problems));
        }
        let scenario: Self = serde_json::from_value(value).map_err(ScenarioError::NotJson)?;
        // A wrong rule must be known now, not at its time.
        scenario.timeline().map(|_| scenario)
    }

    /// Sets what must be known when the emulator starts.
    ///
    /// # Errors
    /// A value that is wrong, by its JSON pointer.
    pub fn set_up(&self, options: &mut EmulatorOptions) -> Result<(), ScenarioError> {
        self.hub.set_up(options)?;
        self.provisioning.set_up(options)?;
        self.services.set_up(options)
    }

    /// The ids of the devices.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.hub.devices.iter().map(|device| device.device_id.as_str())
    }

    /// The name of the hub's policy that the written connection uses, if the file states one.
    #[must_use]
    pub fn hub_policy(&self) -> Option<&str> {
        self.connection.hub_policy.as_deref()
    }

    /// The name of the provisioning service's policy that the written connection uses, if the file states one.
    #[must_use]
    pub fn provisioning_policy(&self) -> Option<&str> {
        self.connection.provisioning_policy.as_deref()
    }

    /// Creates what the services contain. The emulator must have been started with the options of [`Self::set_up`].
    ///
    /// # Errors
    /// What the services refuse, by its JSON pointer.
    pub async fn fill(&self, emulator: &Emulator) -> Result<(), ScenarioError> {
        self.hub.fill(emulator).await?;
        self.provisioning.fill(emulator).await
    }

    /// What happens later, in the order of time.
    ///
    /// # Errors
    /// If a rule or a time cannot be read.
    pub fn timeline(&self) -> Result<Vec<Moment>, ScenarioError> {
        timeline::in_order(&self.timeline)
    }
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
    use crate::event_hub::event::EventSource;

    /// The example of the documentation.
    const EXAMPLE: &str = include_str!("../../../../docs/emulator.example.json");

    fn refusal(text: &str) -> String {
        Scenario::parse(text).unwrap_err().to_string()
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
        for moment in scenario.timeline().unwrap() {
            moment.happen(&emulator).await.unwrap();
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
            Scenario::parse(text).unwrap().fill(&emulator).await.unwrap_err().to_string()
        };
        let said = fill(r#"{"hub": {"devices": [{"deviceId": "d"}, {"deviceId": "d"}]}}"#).await;
        assert!(said.starts_with("/hub/devices/1: ") && said.contains("already registered"), "{said}");
        let said = fill(&format!(r#"{{"provisioning": {{"registrations": [{{"registrationId": "{key}"}}]}}}}"#)).await;
        assert!(said.starts_with("/provisioning/registrations/0: "), "{said}");
    }
}
