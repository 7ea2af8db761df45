//! Digital twins, which are another view of device twins, and their commands, which are direct methods.
//!
//! A component's property is a member of an object that carries the marker `"__t": "c"` in the device twin; the
//! method of a component's command is `component*command` (IoT Plug and Play conventions).

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::{ServiceError, invalid};
use crate::etag;
use crate::etag::Precondition;
use crate::operations::methods::call;
use crate::records::identity::Target;
use crate::records::method::MethodBody;
use crate::records::twin::{Change, PropertiesBody, TwinBody};
use crate::records::twin_view::of_device;
use crate::sync::lock;
use crate::web::answer::{json_response, no_content, ok};
use crate::web::request::{JsonBody, parse_json, query_parameter};
use crate::world::Shared;

const MARKER: &str = "__t";

#[derive(Debug, Deserialize)]
pub(super) struct PatchOperation {
    op: String,
    path: String,
    #[serde(default)]
    value: Value,
}

/// `GET /digitaltwins/{id}`. Devices here have no model, so the model id is empty.
pub(crate) async fn get(State(world): State<Shared>, Path(id): Path<String>) -> Result<Response, ServiceError> {
    let hub = lock(&world.hub);
    let device = hub.device(&id)?;
    let twin = of_device(device);
    let (reported, desired) = (&twin["properties"]["reported"], &twin["properties"]["desired"]);
    let (mut object, mut metadata) = view(reported, desired, &reported["$metadata"], &desired["$version"]);
    object.insert("$dtId".to_owned(), json!(id));
    metadata.insert("$model".to_owned(), json!(""));
    object.insert("$metadata".to_owned(), Value::Object(metadata));
    Ok(json_response(StatusCode::OK, Some(&device.twin.etag()), &Value::Object(object)))
}

/// The members of a digital twin or of a component, and what is said about its properties. A component has metadata of
/// its own ("Manage IoT Plug and Play digital twins").
fn view(reported: &Value, desired: &Value, times: &Value, version: &Value) -> (Map<String, Value>, Map<String, Value>) {
    let (mut object, mut metadata) = (Map::new(), Map::new());
    let names = [reported, desired].into_iter().filter_map(Value::as_object).flat_map(Map::keys);
    for name in names.filter(|name| !name.starts_with('$') && *name != MARKER) {
        if [reported, desired].iter().any(|of| of[name].get(MARKER).is_some()) {
            let (mut component, about) = view(&reported[name], &desired[name], &times[name], version);
            component.insert("$metadata".to_owned(), Value::Object(about));
            object.insert(name.clone(), Value::Object(component));
            continue;
        }
        if let Some(value) = reported.get(name) {
            object.insert(name.clone(), value.clone());
        }
        let mut about = Map::new();
        if let Some(time) = times[name].get("$lastUpdated") {
            about.insert("lastUpdateTime".to_owned(), time.clone());
        }
        if let Some(value) = desired.get(name) {
            about.insert("desiredValue".to_owned(), value.clone());
            about.insert("desiredVersion".to_owned(), version.clone());
        }
        metadata.insert(name.clone(), Value::Object(about));
    }
    (object, metadata)
}

/// `PATCH /digitaltwins/{id}`: a JSON patch of desired properties, `/property` or `/component/property`.
pub(crate) async fn patch(
    State(world): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
    JsonBody(operations): JsonBody<Vec<PatchOperation>>,
) -> Result<Response, ServiceError> {
    let precondition = Precondition::from_headers(&headers)?;
    let mut desired = Map::new();
    for PatchOperation { op, path, value } in operations {
        let value = match op.as_str() {
            "add" | "replace" => value,
            "remove" => Value::Null,
            other => return Err(invalid(format!("the operation must be one of add, replace, remove, not '{other}'"))),
        };
        let path = path.replace("~1", "/").replace("~0", "~");
        match *path.split('/').collect::<Vec<_>>() {
            ["", property] => {
                desired.insert(property.to_owned(), value);
            }
            ["", component, property] => {
                let entry = desired.entry(component.to_owned()).or_insert_with(|| json!({ MARKER: "c" }));
                let Value::Object(entry) = entry else {
                    return Err(invalid(format!("'{component}' is a property and a component in one patch")));
                };
                entry.insert(property.to_owned(), value);
            }
            _ => return Err(invalid(format!("'{path}' must be /property or /component/property"))),
        }
    }
    let properties = Some(PropertiesBody { desired: Some(Value::Object(desired)) });
    let mut hub = lock(&world.hub);
    hub.write_twin(&id, None, TwinBody { tags: None, properties }, Change::Merge, &precondition)?;
    let etag = hub.device(&id)?.twin.etag();
    let mut response = no_content();
    *response.status_mut() = StatusCode::ACCEPTED;
    let location = format!("https://{}/digitaltwins/{id}", world.hub_host());
    for (name, value) in
        [(header::ETAG, etag::header_value(&etag)), (header::LOCATION, HeaderValue::from_str(&location).ok())]
    {
        value.map(|value| response.headers_mut().insert(name, value));
    }
    Ok(response)
}

/// The path of a command: of the device itself, or of one of its components.
#[derive(Debug, Deserialize)]
pub(super) struct CommandPath {
    id: String,
    component: Option<String>,
    command: String,
}

/// `POST /digitaltwins/{id}/commands/{command}` and
/// `POST /digitaltwins/{id}/components/{component}/commands/{command}`.
pub(super) async fn command(
    State(world): State<Shared>,
    Path(CommandPath { id, component, command }): Path<CommandPath>,
    uri: Uri,
    payload: Bytes,
) -> Result<Response, ServiceError> {
    let seconds = |name: &str| {
        query_parameter(&uri, name)
            .map(|text| text.parse::<u64>().map_err(|_| invalid(format!("{name} must be a number of seconds"))))
            .transpose()
    };
    let method = component.map_or_else(|| command.clone(), |component| format!("{component}*{command}"));
    let body = MethodBody {
        method_name: Some(method),
        payload: if payload.is_empty() { Value::Null } else { parse_json(&payload)? },
        response_timeout_in_seconds: seconds("responseTimeoutInSeconds")?,
        connect_timeout_in_seconds: seconds("connectTimeoutInSeconds")?,
    };
    let (status, payload) = call(&world, Target { device: id, module: None }, body).await?;
    let mut response = ok(&payload);
    response.headers_mut().insert("x-ms-command-statuscode", HeaderValue::from(status));
    Ok(response)
}
