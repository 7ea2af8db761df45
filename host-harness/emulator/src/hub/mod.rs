//! The IoT Hub service API.
//!
//! | permission | operations |
//! |---|---|
//! | RegistryRead | reading devices, modules, configurations, device statistics |
//! | RegistryWrite | changing them, bulk changes, applying configuration content, import and export |
//! | ServiceConnect | twins, digital twins, queries, methods, messages, scheduled jobs, service statistics |

mod bulk;
mod configurations;
mod devices;
mod digital_twins;
mod jobs;
mod messages;
mod methods;
mod modules;
mod statistics;
pub(crate) mod twins;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::MethodFilter;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;

use crate::auth::Access;
use crate::error::{ErrorCode, ServiceError, invalid};
use crate::event_hub::SystemEvents;
use crate::journal::Journal;
use crate::options::Permission::{RegistryRead, RegistryWrite, ServiceConnect};
use crate::paging::{self, Page};
use crate::query::{self, Query};
use crate::server::{JsonBody, Routes, Service, ok};
use crate::store::Store;
use crate::throttle::Throttle;
use crate::versions::At;
use crate::world::{Shared, lock};

pub(crate) use configurations::Configuration;
pub(crate) use devices::{
    Authentication, AuthenticationType, CapabilitiesBody, Device, DeviceBody, Issued, KeyPair, Status, ThumbprintBody,
};
use jobs::{BlobJob, DeviceJob, Job};
pub(crate) use messages::{Ack, CloudMessage, accept_telemetry, expire_messages, queue_message, take_messages};
pub(crate) use methods::{MethodTarget, check_target};
pub(crate) use modules::Module;

/// The hub's entities.
pub(crate) struct Hub {
    pub(crate) devices: Store<Device>,
    pub(crate) modules: Store<Module>,
    pub(crate) configurations: Store<Configuration>,
    jobs: Store<Job>,
    device_jobs: Store<DeviceJob>,
    blob_jobs: Store<BlobJob>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) events: SystemEvents,
}

impl Hub {
    pub(crate) fn new(journal: Arc<Journal>, events: SystemEvents) -> Self {
        Self {
            devices: Store::default(),
            modules: Store::default(),
            configurations: Store::default(),
            jobs: Store::default(),
            device_jobs: Store::default(),
            blob_jobs: Store::default(),
            journal,
            events,
        }
    }

    pub(crate) fn device(&self, id: &str) -> Result<&Device, ServiceError> {
        self.devices.get(id).ok_or_else(|| device_not_found(id))
    }

    pub(crate) fn device_mut(&mut self, id: &str) -> Result<&mut Device, ServiceError> {
        self.devices.get_mut(id).ok_or_else(|| device_not_found(id))
    }

    pub(crate) fn module(&self, device: &str, module: &str) -> Result<&Module, ServiceError> {
        self.device(device)?;
        self.modules.get(&module_key(device, module)).ok_or_else(|| module_not_found(device, module))
    }

    /// The keys that open the device's own endpoints.
    pub(crate) fn device_keys(&self, id: &str) -> Option<Vec<String>> {
        let keys = self.devices.get(id)?.authentication.symmetric_key.as_ref()?;
        Some(vec![keys.primary.clone(), keys.secondary.clone()])
    }
}

/// The store's key of a module. A device id holds no slash.
pub(crate) fn module_key(device: &str, module: &str) -> String {
    format!("{device}/{module}")
}

pub(crate) fn device_not_found(id: &str) -> ServiceError {
    ServiceError::new(ErrorCode::DEVICE_NOT_FOUND, format!("Device {id} not registered"))
}

fn module_not_found(device: &str, module: &str) -> ServiceError {
    ServiceError::new(ErrorCode::MODULE_NOT_FOUND, format!("Module {module} not found on device {device}"))
}

/// Device and module ids: at most 128 characters of this alphabet (quotas page of IoT Hub).
pub(crate) fn check_id(what: &str, id: &str) -> Result<(), ServiceError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-:.+%_#*?!(),=@;$'".contains(&byte);
    if id.is_empty() || id.len() > 128 {
        return Err(invalid(format!("{what} must have 1 to 128 characters, and '{id}' has {}", id.len())));
    }
    match id.bytes().find(|byte| !allowed(*byte)) {
        None => Ok(()),
        Some(_) => Err(invalid(format!(
            "{what} '{id}' may hold only ASCII letters, digits and - : . + % _ # * ? ! ( ) , = @ ; $ '"
        ))),
    }
}

/// A generation id: ticks of 100 ns since the year 1, as the service uses them.
fn generation(now: OffsetDateTime) -> String {
    (now.unix_timestamp_nanos() / 100 + 621_355_968_000_000_000).to_string()
}

/// The hub's routes.
pub(crate) fn routes(world: &Shared) -> Router {
    const GET: MethodFilter = MethodFilter::GET;
    const PUT: MethodFilter = MethodFilter::PUT;
    const POST: MethodFilter = MethodFilter::POST;
    const PATCH: MethodFilter = MethodFilter::PATCH;
    const DELETE: MethodFilter = MethodFilter::DELETE;
    let read = Access::Policy(RegistryRead);
    let write = Access::Policy(RegistryWrite);
    let service = Access::Policy(ServiceConnect);
    use Throttle::{Configuration, Job, Message, Method, Query, Registry, Telemetry, TwinRead, TwinWrite};
    Routes::new(world, Service::Hub)
        .on(GET, "/devices", read, Registry, devices::list)
        .on(POST, "/devices", write, Registry, bulk::run)
        .on(POST, "/devices/query", service, Query, run_query)
        .on(GET, "/devices/{id}", read, Registry, devices::get)
        .on(PUT, "/devices/{id}", write, Registry, devices::put)
        .on(DELETE, "/devices/{id}", write, Registry, devices::delete)
        .on(DELETE, "/devices/{id}/commands", service, Message, messages::purge)
        .on(POST, "/devices/{id}/applyConfigurationContent", write, Configuration, configurations::apply)
        .on(POST, "/devices/{id}/messages/deviceBound", service, Message, messages::send)
        .on(POST, "/devices/{id}/messages/events", Access::Device, Telemetry, messages::receive)
        .on(DELETE, "/devices/{id}/messages/deviceBound/{token}", Access::Device, Message, messages::complete)
        .on(GET, "/devices/{id}/modules", read, Registry, modules::list)
        .on(GET, "/devices/{id}/modules/{module}", read, Registry, modules::get)
        .on(PUT, "/devices/{id}/modules/{module}", write, Registry, modules::put)
        .on(DELETE, "/devices/{id}/modules/{module}", write, Registry, modules::delete)
        .on(GET, "/twins/{id}", service, TwinRead, twins::get)
        .on(PUT, "/twins/{id}", service, TwinWrite, twins::put)
        .on(PATCH, "/twins/{id}", service, TwinWrite, twins::patch)
        .on(POST, "/twins/{id}/methods", service, Method, methods::invoke)
        .on(GET, "/twins/{id}/modules/{module}", service, TwinRead, twins::get_module)
        .on(PUT, "/twins/{id}/modules/{module}", service, TwinWrite, twins::put_module)
        .on(PATCH, "/twins/{id}/modules/{module}", service, TwinWrite, twins::patch_module)
        .on(POST, "/twins/{id}/modules/{module}/methods", service, Method, methods::invoke_module)
        .on(GET, "/configurations", read, Configuration, configurations::list)
        .on(POST, "/configurations/testQueries", read, Configuration, configurations::test_queries)
        .on(GET, "/configurations/{id}", read, Configuration, configurations::get)
        .on(PUT, "/configurations/{id}", write, Configuration, configurations::put)
        .on(DELETE, "/configurations/{id}", write, Configuration, configurations::delete)
        .on(GET, "/statistics/devices", read, Registry, statistics::devices)
        .on(GET, "/statistics/service", service, Registry, statistics::service)
        .on(GET, "/messages/serviceBound/feedback", service, Message, messages::feedback)
        .on(DELETE, "/messages/serviceBound/feedback/{token}", service, Message, messages::complete_feedback)
        .on(POST, "/messages/serviceBound/feedback/{token}/abandon", service, Message, messages::abandon_feedback)
        .on(POST, "/jobs/create", write, Job, jobs::create_blob_job)
        .on(GET, "/jobs", write, Job, jobs::list_blob_jobs)
        .on(GET, "/jobs/{id}", write, Job, jobs::get_blob_job)
        .on(DELETE, "/jobs/{id}", write, Job, jobs::cancel_blob_job)
        .on(GET, "/jobs/v2/query", service, Job, jobs::list)
        .on(PUT, "/jobs/v2/{id}", service, Job, jobs::put)
        .on(GET, "/jobs/v2/{id}", service, Job, jobs::get)
        .on(POST, "/jobs/v2/{id}/cancel", service, Job, jobs::cancel)
        .on(GET, "/digitaltwins/{id}", service, TwinRead, digital_twins::get)
        .on(PATCH, "/digitaltwins/{id}", service, TwinWrite, digital_twins::patch)
        .on(POST, "/digitaltwins/{id}/commands/{command}", service, Method, digital_twins::command)
        .on(
            POST,
            "/digitaltwins/{id}/components/{component}/commands/{command}",
            service,
            Method,
            digital_twins::component_command,
        )
        .finish()
}

#[derive(Deserialize)]
struct QuerySpecification {
    query: Option<String>,
}

/// `POST /devices/query`.
async fn run_query(
    State(world): State<Shared>,
    at: At,
    headers: HeaderMap,
    JsonBody(specification): JsonBody<QuerySpecification>,
) -> Result<Response, ServiceError> {
    let text = specification
        .query
        .ok_or_else(|| ServiceError::new(ErrorCode::ARGUMENT_NULL, "the query specification has no query"))?;
    let query = parse_query(&text, None)?;
    let request = world.pager.request(&headers, &format!("hub {text}"))?;
    let hub = lock(&world.hub);
    let (page, item_type) = match query.source.as_str() {
        "devices" => {
            let twins = hub.devices.after(row_start(&query, request.after)).map(|(n, device)| {
                let mut twin = twins::of_device(device);
                twins::add_attributes(&mut twin, device.attributes.as_ref(), at);
                (n, twin)
            });
            (select(&world.pager, &query, &request, twins), "Twin")
        }
        "devices.modules" => {
            let twins = hub.modules.after(row_start(&query, request.after));
            let twins = twins.filter_map(|(n, module)| {
                let mut twin = twins::of_module(&hub, module)?;
                twins::add_attributes(&mut twin, module.attributes.as_ref(), at);
                Some((n, twin))
            });
            (select(&world.pager, &query, &request, twins), "Twin")
        }
        "devices.jobs" => {
            let jobs = hub.device_jobs.after(row_start(&query, request.after));
            let jobs = jobs.map(|(n, job)| (n, job.to_json()));
            (select(&world.pager, &query, &request, jobs), "DeviceJob")
        }
        other => {
            return Err(invalid(format!(
                "there is no collection '{other}'; there are devices, devices.modules and devices.jobs"
            )));
        }
    };
    drop(hub);
    let mut response = ok(&Value::Array(page.items));
    let item_type = if query.is_whole() { item_type } else { "Raw" };
    paging::write_headers(response.headers_mut(), item_type, page.continuation.as_deref());
    Ok(response)
}

/// Reads a query, or answers 400004 with what is wrong and where.
pub(crate) fn parse_query(text: &str, default_source: Option<&str>) -> Result<Query, ServiceError> {
    query::parse(text, default_source).map_err(|error| invalid(format!("the query is not valid: {error}")))
}

/// Where the scan of a query's page has to begin: aggregates see everything on every page.
pub(crate) fn row_start(query: &Query, after: u64) -> u64 {
    if query.is_row_by_row() && query.top().is_none() { after } else { 0 }
}

/// Selects, projects and pages documents, given from [`row_start`] on.
pub(crate) fn select(
    pager: &paging::Pager,
    query: &Query,
    request: &paging::PageRequest,
    documents: impl Iterator<Item = (u64, Value)>,
) -> Page<Value> {
    let selected = documents.filter(|(_, document)| query.selects(document));
    if query.is_row_by_row() {
        let limit = query.top().unwrap_or(usize::MAX);
        let rows = selected.take(limit).filter(|(sequence, _)| *sequence > request.after);
        return pager.page(request, rows.map(|(sequence, document)| (sequence, query.project(document))));
    }
    let rows = query.aggregate(selected.map(|(_, document)| document));
    let rows = (1..).zip(rows).take(query.top().unwrap_or(usize::MAX));
    pager.page(request, rows.filter(|(sequence, _)| *sequence > request.after))
}

/// How many entities a list without pages may return: `top` from 1 to 1000, anything else is 1000.
fn list_limit(uri: &axum::http::Uri) -> usize {
    crate::server::query_parameter(uri, "top")
        .and_then(|top| top.parse::<usize>().ok())
        .filter(|top| (1..=1000).contains(top))
        .unwrap_or(1000)
}

/// String maps of configurations.
type Texts = BTreeMap<String, String>;
