//! Automatic device configurations.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::twins::{Change, PropertiesBody, TwinBody, of_device};
use super::{Hub, Texts, list_limit, module_key, parse_query};
use crate::error::{ErrorCode, ServiceError, invalid};
use crate::etag::{self, Precondition, Write};
use crate::journal::{ChangeKind, rfc3339};
use crate::query;
use crate::server::{JsonBody, json_response, no_content, ok};
use crate::versions::At;
use crate::world::{Shared, lock, now};

const MAX_CONFIGURATIONS: usize = 100;

/// A stored configuration.
#[derive(Debug)]
pub(crate) struct Configuration {
    body: ConfigurationBody,
    created: OffsetDateTime,
    updated: OffsetDateTime,
    etag: String,
}

/// A configuration as clients send it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ConfigurationBody {
    id: Option<String>,
    schema_version: Option<String>,
    labels: Option<Texts>,
    content: Option<Content>,
    target_condition: Option<String>,
    priority: Option<i32>,
    metrics: Option<Metrics>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Content {
    #[serde(skip_serializing_if = "Option::is_none")]
    device_content: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modules_content: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    module_content: Option<Map<String, Value>>,
}

impl Content {
    fn is_empty(&self) -> bool {
        self.device_content.is_none() && self.modules_content.is_none() && self.module_content.is_none()
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Metrics {
    queries: Option<Texts>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TestInput {
    target_condition: Option<String>,
    custom_metric_queries: Option<Texts>,
}

impl Configuration {
    fn to_json(&self, hub: &Hub) -> Value {
        let body = &self.body;
        let condition = body.target_condition.clone().unwrap_or_default();
        let targeted = targets(hub, &condition);
        let suffix = if condition.is_empty() { String::new() } else { format!(" where {condition}") };
        let queries = body.metrics.as_ref().and_then(|metrics| metrics.queries.clone()).unwrap_or_default();
        let results: Map<String, Value> = queries
            .iter()
            .filter_map(|(name, text)| {
                let query = query::parse(text, None).ok()?;
                let count = hub.devices.iter().filter(|device| query.selects(&of_device(device))).count();
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
                // Content is not rolled out here, so nothing is applied yet.
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

/// How many devices the condition targets: none without one, all for `*`.
fn targets(hub: &Hub, condition: &str) -> usize {
    match condition.trim() {
        "" => 0,
        "*" => hub.devices.len(),
        text => query::parse_condition(text)
            .map_or(0, |condition| hub.devices.iter().filter(|device| condition.holds(&of_device(device))).count()),
    }
}

fn check_condition(text: &str) -> Result<(), ServiceError> {
    match text.trim() {
        "" | "*" => Ok(()),
        text => query::parse_condition(text).map(drop).map_err(|error| {
            ServiceError::new(
                ErrorCode::INVALID_TARGET_CONDITION,
                format!("the target condition is not valid: {error}"),
            )
        }),
    }
}

fn check(id: &str, body: &ConfigurationBody) -> Result<(), ServiceError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-+%_*!'".contains(&byte);
    if id.is_empty() || id.len() > 128 || !id.bytes().all(allowed) {
        return Err(invalid(
            "a configuration's id must have 1 to 128 lower-case letters, digits or any of - + % _ * ! '",
        ));
    }
    if body.id.as_deref().is_some_and(|body| body != id) {
        return Err(invalid("the id of the body is not the one of the path"));
    }
    check_condition(body.target_condition.as_deref().unwrap_or_default())?;
    for text in body.metrics.iter().flat_map(|metrics| metrics.queries.iter()).flat_map(Texts::values) {
        query::parse(text, None).map_err(|error| {
            ServiceError::new(ErrorCode::INVALID_METRICS_QUERY, format!("a metric's query is not valid: {error}"))
        })?;
    }
    Ok(())
}

fn not_found(id: &str) -> ServiceError {
    ServiceError::new(ErrorCode::CONFIGURATION_NOT_FOUND, format!("Configuration {id} not found"))
}

fn render(hub: &Hub, id: &str, status: StatusCode) -> Result<Response, ServiceError> {
    let configuration = hub.configurations.get(id).ok_or_else(|| not_found(id))?;
    Ok(json_response(status, Some(&configuration.etag), &configuration.to_json(hub)))
}

/// `GET /configurations`.
pub(super) async fn list(State(world): State<Shared>, uri: Uri) -> Response {
    let hub = lock(&world.hub);
    let configurations = hub.configurations.iter().take(list_limit(&uri));
    ok(&configurations.map(|configuration| configuration.to_json(&hub)).collect())
}

/// `GET /configurations/{id}`.
pub(super) async fn get(State(world): State<Shared>, Path(id): Path<String>) -> Result<Response, ServiceError> {
    render(&lock(&world.hub), &id, StatusCode::OK)
}

/// `PUT /configurations/{id}`: 201 for a new one. Id and content cannot be changed.
pub(super) async fn put(
    State(world): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(mut body): JsonBody<ConfigurationBody>,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(&headers)?;
    check(&id, &body)?;
    body.id = Some(id.clone());
    let mut hub = lock(&world.hub);
    let existing = hub.configurations.get(&id);
    let write = precondition.decide(
        existing.map(|configuration| configuration.etag.as_str()),
        || {
            ServiceError::new(
                ErrorCode::CONFIGURATION_ALREADY_EXISTS,
                format!("Configuration {id} already exists. Use an If-Match header to update it"),
            )
        },
        || not_found(&id),
    )?;
    let now = now();
    let mut created = now;
    if let Some(existing) = existing {
        created = existing.created;
        let old = existing.body.content.clone().unwrap_or_default();
        if body.content.as_ref().is_some_and(|content| !content.is_empty() && *content != old) {
            return Err(ServiceError::new(
                ErrorCode::IMMUTABLE_CONFIGURATION_CONTENT,
                "the content of a configuration cannot be changed",
            ));
        }
        body.content = Some(old);
    } else {
        if body.content.as_ref().is_none_or(Content::is_empty) {
            return Err(ServiceError::new(
                ErrorCode::INVALID_CONFIGURATION_CONTENT,
                "a configuration needs deviceContent, moduleContent or modulesContent",
            ));
        }
        if hub.configurations.len() >= MAX_CONFIGURATIONS {
            return Err(ServiceError::new(
                ErrorCode::CONFIGURATION_COUNT_EXCEEDED,
                format!("a hub may have no more than {MAX_CONFIGURATIONS} configurations"),
            ));
        }
    }
    let etag = etag::fresh();
    let (kind, status) = match write {
        Write::Create => (ChangeKind::ConfigurationCreated, StatusCode::CREATED),
        Write::Update => (ChangeKind::ConfigurationUpdated, StatusCode::OK),
    };
    let detail = json!({ "targetCondition": body.target_condition, "priority": body.priority });
    hub.journal.append(kind, id.as_str(), Some(&etag), detail);
    hub.configurations.insert(&id, Configuration { body, created, updated: now, etag });
    render(&hub, &id, status)
}

/// `DELETE /configurations/{id}`.
pub(super) async fn delete(
    State(world): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(&headers)?;
    let mut hub = lock(&world.hub);
    let configuration = hub.configurations.get(&id).ok_or_else(|| not_found(&id))?;
    precondition.check(&configuration.etag)?;
    hub.configurations.remove(&id);
    hub.journal.append(ChangeKind::ConfigurationDeleted, id, None, Value::Null);
    Ok(no_content())
}

/// `POST /configurations/testQueries`: what is wrong with a target condition and with metric queries.
pub(super) async fn test_queries(JsonBody(input): JsonBody<TestInput>) -> Response {
    let mut body = Map::new();
    if let Some(error) = input.target_condition.and_then(|text| check_condition(&text).err()) {
        body.insert("targetConditionError".to_owned(), json!(error.message()));
    }
    let errors: Map<String, Value> = input
        .custom_metric_queries
        .unwrap_or_default()
        .iter()
        .filter_map(|(name, text)| Some((name.clone(), json!(parse_query(text, None).err()?.message()))))
        .collect();
    body.insert("customMetricQueryErrors".to_owned(), Value::Object(errors));
    ok(&Value::Object(body))
}

/// `POST /devices/{id}/applyConfigurationContent`: sets the desired properties of the device's modules.
///
/// Content keys are `properties.desired`, or a path below it (`properties.desired.routes.x`).
pub(super) async fn apply(
    State(world): State<Shared>,
    Path(id): Path<String>,
    JsonBody(content): JsonBody<Content>,
) -> Result<Response, ServiceError> {
    let mut hub = lock(&world.hub);
    if !hub.device(&id)?.edge {
        return Err(invalid(format!("Device {id} is not an IoT Edge device")));
    }
    let mut writes = Vec::new();
    for (module, content) in content.modules_content.unwrap_or_default() {
        let Value::Object(content) = content else { return Err(invalid("a module's content must be an object")) };
        let mut desired = Map::new();
        let mut change = Change::Merge;
        for (path, value) in content {
            match path.strip_prefix("properties.desired") {
                Some("") => {
                    change = Change::Replace;
                    desired.extend(value.as_object().cloned().unwrap_or_default());
                }
                Some(rest) if rest.starts_with('.') => nest(&mut desired, rest.trim_start_matches('.'), value),
                _ => return Err(invalid(format!("'{path}' is not below properties.desired"))),
            }
        }
        writes.push((module, desired, change));
    }
    for (module, desired, change) in writes {
        if hub.modules.get(&module_key(&id, &module)).is_none() {
            let body = super::modules::ModuleBody::default();
            hub.put_module(&id, &module, body, &Precondition::None, At::INTERNAL)?;
        }
        // Replacing must not touch the tags.
        let tags = Value::Object(hub.twin_mut(&id, Some(&module))?.tags.clone());
        let body = TwinBody {
            tags: (change == Change::Replace).then_some(tags),
            properties: Some(PropertiesBody { desired: Some(Value::Object(desired)) }),
        };
        hub.write_twin(&id, Some(&module), body, change, &Precondition::None)?;
    }
    hub.journal.append(ChangeKind::ConfigurationApplied, id, None, Value::Null);
    Ok(no_content())
}

fn nest(object: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            object.insert(path.to_owned(), value);
        }
        Some((head, tail)) => {
            let entry = object.entry(head.to_owned()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(entry) = entry {
                nest(entry, tail, value);
            }
        }
    }
}
