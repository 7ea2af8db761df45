//! One exchange: body limit, faults, handler, common headers, traffic record.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, Response as HttpResponse};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tower_service::Service as _;

use super::finish::finish;
use super::misbehaviour::{Delivery, Dropped, faulty_status, parts_with_length, wrong_etag};
use super::paths::fold_case;
use super::site::Site;
use crate::blobs::CONTAINER;
use crate::error::{ErrorCode, ServiceError};
use crate::faults::FaultAction;
use crate::service::Service;
use crate::sync::lock;
use crate::traffic::{Exchange, printable};
use crate::web::guard::ClockOffset;
use crate::web_socket;
use crate::world::Shared;

// The largest legitimate body is a bulk request of 100 devices with full twins: about 8 MB.
const MAX_REQUEST_BODY: usize = 16 << 20;

/// The AMQP or MQTT endpoint that a connection leads to after its last exchange, when it was upgraded to a WebSocket.
pub(crate) type Upgrade = Arc<Mutex<Option<(Service, OnUpgrade)>>>;

type HttpRequest = hyper::Request<Incoming>;

pub(crate) async fn exchange(
    world: Shared,
    site: Site,
    upgrade: Upgrade,
    mut request: HttpRequest,
) -> Result<Response, Dropped> {
    let (listener, mut router) = site.at(&world, request.uri().path());
    let web_socket = web_socket::service_at(request.uri().path())
        .filter(|service| listener == Service::Hub || *service == Service::HubAmqp);
    let on_upgrade = web_socket.map(|service| (service, hyper::upgrade::on(&mut request)));
    let (mut parts, body) = request.into_parts();
    let service = classify(&world, listener, &parts.method, parts.uri.path());
    let body = Limited::new(body, MAX_REQUEST_BODY).collect().await.map(|body| body.to_bytes());
    let actions = world.faults.pick(service, parts.method.as_str(), parts.uri.path());
    let offset = actions.iter().find_map(|action| match action {
        FaultAction::ClockSkew(seconds) => Some(*seconds),
        _ => None,
    });
    let offset = offset.unwrap_or(0).saturating_add(world.options.clock_ahead);
    let mut record = world.traffic.is_recording().then(|| Exchange {
        service,
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        request_headers: printable(&parts.headers),
        request_body: body.as_ref().map(Bytes::clone).unwrap_or_default(),
        status: None,
        response_headers: Vec::new(),
        response_body: Bytes::new(),
    });
    for action in &actions {
        if let FaultAction::Latency(duration) = action {
            tokio::time::sleep(*duration).await;
        }
    }
    let drop_connection = |record: Option<Exchange>| {
        if let Some(record) = record {
            world.traffic.push(record);
        }
        Err(Dropped)
    };
    if actions.contains(&FaultAction::DropConnection) {
        return drop_connection(record);
    }
    let mut response = match (faulty_status(&actions), body) {
        (Some(response), _) => response,
        (None, Err(_)) => {
            ServiceError::new(ErrorCode::MESSAGE_TOO_LARGE, "the request body is too large").into_response()
        }
        (None, Ok(_)) if let Some((service, on_upgrade)) = on_upgrade => match web_socket::agree(&parts, service) {
            Ok((response, service)) => {
                *lock(&upgrade) = Some((service, on_upgrade));
                // The record has no body, because the bytes after the headers belong to the WebSocket.
                record.into_iter().for_each(|record| world.traffic.push(Exchange { status: Some(101), ..record }));
                return Ok(response);
            }
            Err(error) => error.into_response(),
        },
        (None, Ok(body)) => {
            parts.uri = fold_case(parts.uri);
            parts.extensions.insert(ClockOffset(offset));
            match router.call(Request::from_parts(parts, Body::from(body))).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
    };
    if actions.contains(&FaultAction::DropAfterEffect) {
        return drop_connection(record);
    }
    response = finish(response, if service == Service::Device { listener } else { service }, offset);
    let (mut parts, body) = response.into_parts();
    let mut body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let mut delivery = Delivery::Whole;
    for action in &actions {
        match action {
            FaultAction::Garbage => body = Bytes::from_static(b"<html><body>Bad Gateway \xff\xfe</body>"),
            FaultAction::Oversize(bytes) => body = [vec![b' '; *bytes], body.to_vec()].concat().into(),
            FaultAction::WrongEtag => body = wrong_etag(&mut parts.headers, body),
            FaultAction::TruncateBody => delivery = Delivery::Truncated,
            FaultAction::StallBody => delivery = Delivery::Stalled,
            _ => {}
        }
    }
    parts = parts_with_length(parts, &body, delivery);
    if let Some(record) = &mut record {
        record.status = Some(parts.status.as_u16());
        record.response_headers = printable(&parts.headers);
        record.response_body = body.clone();
    }
    record.into_iter().for_each(|record| world.traffic.push(record));
    Ok(HttpResponse::from_parts(parts, delivery.body(body)))
}

fn classify(world: &Shared, listener: Service, method: &Method, path: &str) -> Service {
    let lower = path.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split('/').skip(1).collect();
    let device = match (listener, parts.as_slice()) {
        (Service::Dps, [first, ..]) => first.eq_ignore_ascii_case(&world.options.id_scope),
        (_, ["devices", _, "files", ..] | [CONTAINER, ..]) => true,
        (_, ["devices", .., "messages", "events"]) => true,
        // The same path with POST is what back ends call.
        (_, ["devices", _, "messages", "devicebound"]) => method == Method::GET,
        (_, ["devices", _, "messages", "devicebound", _, ..]) => true,
        _ => false,
    };
    if device { Service::Device } else { listener }
}
