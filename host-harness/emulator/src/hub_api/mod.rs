//! The IoT Hub service API, and what devices call over HTTPS.
//!
//! | permission | operations |
//! |---|---|
//! | RegistryRead | reading devices, modules, configurations, device statistics |
//! | RegistryWrite | changing devices, modules, configurations; bulk changes, applying configuration content, import and export |
//! | DeviceConnect, or the device's own key | what devices call: telemetry, messages to the device, files |
//! | ServiceConnect | twins, digital twins, queries, methods, messages, scheduled jobs, service statistics |

mod blob_jobs;
mod bulk;
mod configurations;
mod device_messages;
mod devices;
mod digital_twins;
mod event_batch;
mod files;
mod jobs;
mod messages;
mod methods;
mod modules;
mod query;
mod statistics;
mod twins;

use axum::Router;
use axum::routing::MethodFilter;

use crate::options::Permission::{RegistryRead, RegistryWrite, ServiceConnect};
use crate::service::Service;
use crate::throttle::Throttle;
use crate::web::guard::Access;
use crate::web::routes::Routes;
use crate::world::Shared;

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
    let device = Access::Device;
    use Throttle::{Configuration, Job, Message, Method, Query, Registry, Telemetry, TwinRead, TwinWrite};
    Routes::new(world, Service::Hub)
        .on(GET, "/devices", read, Registry, devices::list)
        .on(POST, "/devices", write, Registry, bulk::run)
        .on(POST, "/devices/query", service, Query, query::run)
        .on(GET, "/devices/{id}", read, Registry, devices::get)
        .on(PUT, "/devices/{id}", write, Registry, devices::put)
        .on(DELETE, "/devices/{id}", write, Registry, devices::delete)
        .on(DELETE, "/devices/{id}/commands", service, Message, messages::purge)
        .on(POST, "/devices/{id}/applyConfigurationContent", write, Configuration, configurations::apply)
        .on(POST, "/devices/{id}/messages/deviceBound", service, Message, messages::send)
        .on(POST, "/devices/{id}/messages/events", device, Telemetry, device_messages::send)
        .on(GET, "/devices/{id}/messages/deviceBound", device, Message, device_messages::receive)
        .on(DELETE, "/devices/{id}/messages/deviceBound/{token}", device, Message, device_messages::complete)
        .on(POST, "/devices/{id}/messages/deviceBound/{token}/abandon", device, Message, device_messages::abandon)
        .on(POST, "/devices/{id}/files", device, Message, files::begin)
        .on(POST, "/devices/{id}/files/notifications", device, Message, files::end)
        .on(POST, "/devices/{id}/files/notifications/{correlation}", device, Message, files::end_by_path)
        .on(GET, "/devices/{id}/modules", read, Registry, modules::list)
        .on(GET, "/devices/{id}/modules/{module}", read, Registry, modules::get)
        .on(PUT, "/devices/{id}/modules/{module}", write, Registry, modules::put)
        .on(DELETE, "/devices/{id}/modules/{module}", write, Registry, modules::delete)
        .on(GET, "/twins/{id}", service, TwinRead, twins::get)
        .on(PUT, "/twins/{id}", service, TwinWrite, twins::put)
        .on(PATCH, "/twins/{id}", service, TwinWrite, twins::patch)
        .on(POST, "/twins/{id}/methods", service, Method, methods::invoke)
        .on(GET, "/twins/{id}/modules/{module}", service, TwinRead, twins::get)
        .on(PUT, "/twins/{id}/modules/{module}", service, TwinWrite, twins::put)
        .on(PATCH, "/twins/{id}/modules/{module}", service, TwinWrite, twins::patch)
        .on(POST, "/twins/{id}/modules/{module}/methods", service, Method, methods::invoke)
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
        .on(POST, "/jobs/create", write, Job, blob_jobs::create)
        .on(GET, "/jobs", write, Job, blob_jobs::list)
        .on(GET, "/jobs/{id}", write, Job, blob_jobs::get)
        .on(DELETE, "/jobs/{id}", write, Job, blob_jobs::cancel)
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
            digital_twins::command,
        )
        .finish()
}
