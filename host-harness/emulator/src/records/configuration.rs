//! Automatic device configurations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::device::Device;
use super::twin_view::of_device;
use crate::clock::rfc3339;
use crate::error::{ErrorCode, ServiceError, invalid};
use crate::query;
use crate::store::Store;

/// A stored configuration.
#[derive(Debug)]
pub(crate) struct Configuration {
    pub(crate) body: ConfigurationBody,
    pub(crate) created: OffsetDateTime,
    pub(crate) updated: OffsetDateTime,
    pub(crate) etag: String,
}

/// A configuration as clients send it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ConfigurationBody {
    pub(crate) id: Option<String>,
    pub(crate) schema_version: Option<String>,
    pub(crate) labels: Option<Texts>,
    pub(crate) content: Option<Content>,
    pub(crate) target_condition: Option<String>,
    pub(crate) priority: Option<i32>,
    pub(crate) metrics: Option<Metrics>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Content {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) device_content: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) modules_content: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) module_content: Option<Map<String, Value>>,
}

impl Content {
    pub(crate) fn is_empty(&self) -> bool {
        self.device_content.is_none() && self.modules_content.is_none() && self.module_content.is_none()
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Metrics {
    pub(crate) queries: Option<Texts>,
}

impl Configuration {
    pub(crate) fn to_json(&self, devices: &Store<Device>) -> Value {
        let body = &self.body;
        let condition = body.target_condition.clone().unwrap_or_default();
        let targeted = targets(devices, &condition);
        let suffix = if condition.is_empty() { String::new() } else { format!(" where {condition}") };
        let queries = body.metrics.as_ref().and_then(|metrics| metrics.queries.clone()).unwrap_or_default();
        let results: Map<String, Value> = queries
            .iter()
            .filter_map(|(name, text)| {
                let query = query::parse(text, None).ok()?;
                let count = devices.iter().filter(|device| query.selects(&of_device(device))).count();
                Some((name.clone(), json!(count)))
            })
            .collect();
        json!({
            "id": body.id,
            "schemaVersion": body.schema_version.as_deref().unwrap_or("1.0"),
            "labels": body.labels.clone().unwrap_or_default(),
            "content": body.content.clone().unwrap_or_default(),
            "targetCondition": condition,
            "createdTimeUtc": rfc3339(self.created),
            "lastUpdatedTimeUtc": rfc3339(self.updated),
            "priority": body.priority.unwrap_or(0),
            "systemMetrics": {
                // The emulator does not roll out content, so the applied count is 0.
                "results": { "targetedCount": targeted, "appliedCount": 0 },
                "queries": {
                    "targetedCount": format!("select deviceId from devices{suffix}"),
                    "appliedCount": format!(
                        "select deviceId from devices where configurations.[[{}]].status = 'Applied'",
                        body.id.as_deref().unwrap_or_default()
                    ),
                },
            },
            "metrics": { "results": results, "queries": queries },
            "etag": self.etag,
        })
    }
}

/// How many devices the condition targets: none for an empty condition, all for `*`. Modules are not counted.
fn targets(devices: &Store<Device>, condition: &str) -> usize {
    match condition.trim() {
        text if for_modules(text).is_some() => 0,
        "" => 0,
        "*" => devices.len(),
        text => query::parse_condition(text)
            .map_or(0, |condition| devices.iter().filter(|device| condition.holds(&of_device(device))).count()),
    }
}

/// The condition behind `from devices.modules where`, with which a condition for modules begins ("Automatic device and
/// module management"). Any other condition is for devices.
fn for_modules(text: &str) -> Option<&str> {
    let mut rest = text.trim();
    for word in ["from", "devices.modules", "where"] {
        let (head, tail) = rest.split_at_checked(word.len())?;
        let ends = tail.starts_with(char::is_whitespace);
        rest = (head.eq_ignore_ascii_case(word) && ends).then(|| tail.trim_start())?;
    }
    Some(rest)
}

pub(crate) fn check_condition(text: &str) -> Result<(), ServiceError> {
    match for_modules(text).unwrap_or(text).trim() {
        "" | "*" => Ok(()),
        text => query::parse_condition(text).map(drop).map_err(|error| {
            ServiceError::new(
                ErrorCode::INVALID_TARGET_CONDITION,
                format!("the target condition is not valid: {error}"),
            )
        }),
    }
}

pub(crate) fn check(id: &str, body: &ConfigurationBody) -> Result<(), ServiceError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-+%_*!'".contains(&byte);
    if id.is_empty() || id.len() > 128 || !id.bytes().all(allowed) {
        return Err(invalid(
            "a configuration's id must have 1 to 128 lower-case letters, digits or any of - + % _ * ! '",
        ));
    }
    if body.id.as_deref().is_some_and(|body| body != id) {
        return Err(invalid("the id of the body must equal the id of the path"));
    }
    check_condition(body.target_condition.as_deref().unwrap_or_default())?;
    for text in body.metrics.iter().flat_map(|metrics| metrics.queries.iter()).flat_map(Texts::values) {
        query::parse(text, None).map_err(|error| {
            ServiceError::new(ErrorCode::INVALID_METRICS_QUERY, format!("a metric's query is not valid: {error}"))
        })?;
    }
    Ok(())
}

pub(crate) fn not_found(id: &str) -> ServiceError {
    ServiceError::new(ErrorCode::CONFIGURATION_NOT_FOUND, format!("Configuration {id} not found"))
}

/// String maps of configurations.
pub(crate) type Texts = BTreeMap<String, String>;
