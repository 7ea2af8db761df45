//! Automatic device configurations.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{ServiceError, invalid};
use crate::etag::{Precondition, Write};
use crate::hub::registry::Hub;
use crate::journal::ChangeKind;
use crate::query_page::parse_query;
use crate::records::configuration::{ConfigurationBody, Content, Texts, check_condition, not_found};
use crate::records::identity::module_key;
use crate::records::module::ModuleBody;
use crate::records::twin::{Change, PropertiesBody, TwinBody};
use crate::sync::lock;
use crate::versions::At;
use crate::web::answer::{json_response, no_content, ok};
use crate::web::request::{JsonBody, list_limit};
use crate::world::Shared;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct TestInput {
    target_condition: Option<String>,
    custom_metric_queries: Option<Texts>,
}

fn render(hub: &Hub, id: &str, status: StatusCode) -> Result<Response, ServiceError> {
    let configuration = hub.configurations.get(id).ok_or_else(|| not_found(id))?;
    Ok(json_response(status, Some(&configuration.etag), &configuration.to_json(&hub.devices)))
}

/// `GET /configurations`.
pub(crate) async fn list(State(world): State<Shared>, uri: Uri) -> Response {
    let hub = lock(&world.hub);
    let configurations = hub.configurations.iter().take(list_limit(&uri));
    ok(&configurations.map(|configuration| configuration.to_json(&hub.devices)).collect())
}

/// `GET /configurations/{id}`.
pub(crate) async fn get(State(world): State<Shared>, Path(id): Path<String>) -> Result<Response, ServiceError> {
    render(&lock(&world.hub), &id, StatusCode::OK)
}

/// `PUT /configurations/{id}`: 201 for a new configuration. The id and content cannot be changed.
pub(crate) async fn put(
    State(world): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ConfigurationBody>,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(&headers)?;
    let mut hub = lock(&world.hub);
    let status = match hub.put_configuration(&id, body, &precondition)? {
        Write::Create => StatusCode::CREATED,
        Write::Update => StatusCode::OK,
    };
    render(&hub, &id, status)
}

/// `DELETE /configurations/{id}`.
pub(crate) async fn delete(
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
pub(crate) async fn test_queries(JsonBody(input): JsonBody<TestInput>) -> Response {
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
pub(crate) async fn apply(
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
                _ => return Err(invalid(format!("'{path}' must be properties.desired or a path below it"))),
            }
        }
        writes.push((module, desired, change));
    }
    for (module, desired, change) in writes {
        if hub.modules.get(&module_key(&id, &module)).is_none() {
            let body = ModuleBody::default();
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
