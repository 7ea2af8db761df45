//! Queries over twins and jobs.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{ErrorCode, ServiceError, invalid};
use crate::paging;
use crate::query_page::{parse_query, row_start, select};
use crate::records::twin_view;
use crate::sync::lock;
use crate::versions::At;
use crate::web::answer::ok;
use crate::web::request::JsonBody;
use crate::world::Shared;

#[derive(Deserialize)]
pub(super) struct QuerySpecification {
    query: Option<String>,
}

/// `POST /devices/query`.
pub(crate) async fn run(
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
                let mut twin = twin_view::of_device(device);
                twin_view::add_attributes(&mut twin, device.attributes.as_ref(), at);
                (n, twin)
            });
            (select(&world.pager, &query, &request, twins), "Twin")
        }
        "devices.modules" => {
            let twins = hub.modules.after(row_start(&query, request.after));
            let twins = twins.filter_map(|(n, module)| {
                let mut twin = twin_view::of_module(&hub.devices, module)?;
                twin_view::add_attributes(&mut twin, module.attributes.as_ref(), at);
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
                "the collection must be one of devices, devices.modules, devices.jobs, not '{other}'"
            )));
        }
    };
    drop(hub);
    let mut response = ok(&Value::Array(page.items));
    let item_type = if query.is_whole() { item_type } else { "Raw" };
    paging::write_headers(response.headers_mut(), item_type, page.continuation.as_deref());
    Ok(response)
}
