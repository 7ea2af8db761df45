//! The listeners and what happens to every exchange before and after its handler: body limits, faults, the form of
//! errors, common headers, the traffic record.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::handler::Handler;
use axum::http::{HeaderMap, HeaderValue, Response as HttpResponse, StatusCode, Uri, header, uri};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, on};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_service::Service as _;

use crate::amqp::{self, web_socket};
use crate::auth::{Access, Operation, guard};
use crate::error::{ErrorCode, ServiceError, invalid};
use crate::etag;
use crate::faults::{FaultAction, Refusal};
use crate::random;
use crate::throttle::Throttle;
use crate::tls::Tls;
use crate::traffic::{Exchange, printable};
use crate::world::{Shared, lock, skewed};

/// Which API an exchange belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// The IoT Hub service API.
    Hub,
    /// The DPS service API.
    Dps,
    /// What devices call: telemetry at the hub, registration at DPS.
    Device,
    /// The Event Hub-compatible endpoint, over AMQP.
    EventHub,
    /// The hub's own endpoint for services, over AMQP.
    HubAmqp,
}

impl Service {
    /// Whether it speaks AMQP instead of HTTP.
    pub fn is_amqp(self) -> bool {
        matches!(self, Self::EventHub | Self::HubAmqp)
    }
}

/// A request extension: how many seconds the service's clock is off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockOffset(pub(crate) i64);

// The largest legitimate body is a bulk request of 100 devices with full twins: about 8 MB.
const MAX_REQUEST_BODY: usize = 16 << 20;
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
const SHUTDOWN_TIME: Duration = Duration::from_secs(2);

/// Accepts connections until `stop` turns true, then gives the open ones a moment to finish.
pub(crate) async fn serve(
    world: Shared,
    service: Service,
    listener: TcpListener,
    tls: Tls,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let (world, tls, router, stop) = (world.clone(), tls.clone(), router.clone(), stop.clone());
                    connections.spawn(connection(world, service, stream, peer, tls, router, stop));
                }
                Err(error) => {
                    // Out of file descriptors, most likely: wait for some to be closed.
                    tracing::warn!(%error, "could not accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = stop.changed() => break,
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(SHUTDOWN_TIME, finish).await;
}

async fn connection(
    world: Shared,
    service: Service,
    stream: tokio::net::TcpStream,
    peer: SocketAddr,
    tls: Tls,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_TIME, tls.accept(service, stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
        Err(_) => return tracing::debug!(%peer, "TLS handshake timed out"),
    };
    let spoken = stream.get_ref().1.server_name().map(str::to_ascii_lowercase);
    let upgrade = Upgrade::default();
    let handler = {
        let (world, upgrade) = (world.clone(), upgrade.clone());
        service_fn(move |request| exchange(world.clone(), service, router.clone(), upgrade.clone(), request))
    };
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), handler).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    return tracing::debug!(%peer, %error, "connection ended early");
                }
                break;
            }
            _ = stop.changed(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
    let upgrade = lock(&upgrade).take().filter(|_| !stopping);
    if let Some((service, upgrade)) = upgrade {
        match upgrade.await {
            Ok(upgraded) => amqp::accept_web_socket(world, service, upgraded, spoken, stop).await,
            Err(error) => tracing::debug!(%peer, %error, "the connection became no WebSocket"),
        }
    }
}

/// What a connection is to become when its last exchange is over.
type Upgrade = Arc<Mutex<Option<(Service, OnUpgrade)>>>;

/// Ends the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault rule dropped the connection")]
struct Dropped;

async fn exchange(
    world: Shared,
    listener: Service,
    mut router: Router,
    upgrade: Upgrade,
    mut request: HttpRequest,
) -> Result<Response, Dropped> {
    let web_socket = web_socket::service_at(request.uri().path()).filter(|_| listener == Service::Hub);
    let on_upgrade = web_socket.map(|service| (service, hyper::upgrade::on(&mut request)));
    let (mut parts, body) = request.into_parts();
    let service = classify(&world, listener, parts.uri.path());
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
        (None, Ok(_)) if on_upgrade.is_some() => match web_socket::agree(&parts) {
            Ok(response) => {
                *lock(&upgrade) = on_upgrade;
                // A body of any length would belong to what follows.
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

type HttpRequest = hyper::Request<Incoming>;

/// How much of the body goes out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delivery {
    Whole,
    Truncated,
    Stalled,
}

impl Delivery {
    fn body(self, body: Bytes) -> Body {
        let half = stream::iter([Ok(body.slice(..body.len() / 2))]);
        match self {
            Self::Whole => Body::from(body),
            Self::Truncated => {
                // A little later, so that the half really leaves before the connection goes.
                let end = stream::once(async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Err(Dropped)
                });
                Body::from_stream(half.chain(end))
            }
            Self::Stalled => Body::from_stream(half.chain(stream::pending::<Result<Bytes, Dropped>>())),
        }
    }
}

fn parts_with_length(
    mut parts: axum::http::response::Parts,
    body: &Bytes,
    delivery: Delivery,
) -> axum::http::response::Parts {
    // The router has set the length of the body before the faults.
    parts.headers.remove(header::CONTENT_LENGTH);
    if delivery != Delivery::Whole {
        // The promise that the body then breaks.
        let length = HeaderValue::from(body.len().max(2));
        parts.headers.insert(header::CONTENT_LENGTH, length);
    }
    parts
}

fn faulty_status(actions: &[FaultAction]) -> Option<Response> {
    actions.iter().find_map(|action| {
        if let FaultAction::Refuse(refusal) = action {
            return Some(refused(refusal));
        }
        let FaultAction::Status { status, code, retry_after_secs, body } = action else { return None };
        if let Some(body) = body {
            let mut response = Response::new(Body::from(body.clone()));
            *response.status_mut() = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            if let Some(seconds) = retry_after_secs {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            }
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
            return Some(response);
        }
        let code = code.and_then(ErrorCode::from_number).unwrap_or_else(|| ErrorCode::for_status(*status));
        let error = ServiceError::new(code, "The service cannot carry out the operation now")
            .with_status(*status)
            .with_retry_after(*retry_after_secs);
        Some(error.into_response())
    })
}

fn refused(refusal: &Refusal) -> Response {
    let (content_type, body, code) = refusal.render();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(code) = code.and_then(|code| HeaderValue::from_str(code).ok()) {
        headers.insert("iothub-errorcode", code);
    }
    if let Some(seconds) = refusal.retry_after_secs {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn wrong_etag(headers: &mut HeaderMap, body: Bytes) -> Bytes {
    let wrong = format!("wrong-{}", random::hex(4));
    if let Some(value) = etag::header_value(&wrong) {
        headers.insert(header::ETAG, value);
    }
    match serde_json::from_slice::<Value>(&body) {
        Ok(Value::Object(mut object)) if object.contains_key("etag") => {
            object.insert("etag".to_owned(), Value::String(wrong));
            Value::Object(object).to_string().into()
        }
        _ => body,
    }
}

/// Gives errors the form of the service and every answer the common headers.
fn finish(response: Response, service: Service, offset: i64) -> Response {
    let now = skewed(offset);
    let error = response.extensions().get::<ServiceError>().cloned().or_else(|| {
        // Answers of the framework itself: no route, no such method on it, a path that is not UTF-8.
        let plain = !response.headers().contains_key(header::CONTENT_TYPE)
            || response
                .headers()
                .get(header::CONTENT_TYPE)
                .is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
        match response.status() {
            StatusCode::METHOD_NOT_ALLOWED => {
                Some(ServiceError::new(ErrorCode::METHOD_NOT_ALLOWED, "the method is not allowed on this path"))
            }
            status if status.is_client_error() && plain => {
                Some(ServiceError::new(ErrorCode::for_status(status.as_u16()), "the request is not valid"))
            }
            _ => None,
        }
    });
    let mut response = error.map_or(response, |error| error.render(service, now));
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&random::uuid()) {
        headers.entry("x-ms-request-id").or_insert(id);
    }
    if let Ok(date) = HeaderValue::from_str(&http_date(now)) {
        headers.insert(header::DATE, date);
    }
    response
}

fn http_date(time: OffsetDateTime) -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    time.format(FORMAT).unwrap_or_default()
}

fn classify(world: &Shared, listener: Service, path: &str) -> Service {
    let mut segments = path.split('/').skip(1);
    let first = segments.next().unwrap_or_default();
    let device = match listener {
        Service::Dps => first.eq_ignore_ascii_case(&world.options.id_scope),
        _ => first.eq_ignore_ascii_case("devices") && path.to_ascii_lowercase().ends_with("/messages/events"),
    };
    if device { Service::Device } else { listener }
}

/// Paths are case-insensitive at the services (the Node.js SDK writes `/enrollmentgroups`); ids are not, so only the
/// places of literals are folded.
fn fold_case(uri: Uri) -> Uri {
    const LITERALS: &[&str] = &[
        "devices",
        "twins",
        "modules",
        "methods",
        "messages",
        "events",
        "deviceBound",
        "commands",
        "query",
        "configurations",
        "testQueries",
        "applyConfigurationContent",
        "statistics",
        "service",
        "serviceBound",
        "feedback",
        "abandon",
        "jobs",
        "v2",
        "create",
        "cancel",
        "digitaltwins",
        "components",
        "enrollments",
        "enrollmentGroups",
        "registrations",
        "attestationmechanism",
        "register",
        "operations",
        "keys",
    ];
    let fold = |segment: &str| {
        LITERALS
            .iter()
            .find(|literal| literal.eq_ignore_ascii_case(segment))
            .map_or_else(|| segment.to_owned(), |literal| (*literal).to_owned())
    };
    let mut segments: Vec<String> = uri.path().split('/').skip(1).map(str::to_owned).collect();
    let first = segments.first().map(|first| fold(first)).unwrap_or_default();
    let segments_count = segments.len();
    let is_literal = |index: usize| match first.as_str() {
        "messages" => index != 3,
        "statistics" => true,
        "jobs" => index == 0 || (index == 1 && segments_count > 2) || index == 3,
        "devices" | "twins" | "configurations" | "enrollments" | "enrollmentGroups" | "registrations"
        | "digitaltwins" => {
            index.is_multiple_of(2) || (first == "devices" && index == 3 && fold_is_messages(uri.path()))
        }
        // The device API begins with the id scope.
        _ => index % 2 == 1,
    };
    for (index, segment) in segments.iter_mut().enumerate() {
        if is_literal(index) {
            *segment = fold(segment);
        }
    }
    let path = format!("/{}", segments.join("/"));
    if path == uri.path() {
        return uri;
    }
    let text = uri.query().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
    let mut parts = uri.clone().into_parts();
    match text.parse::<uri::PathAndQuery>() {
        Ok(folded) => {
            parts.path_and_query = Some(folded);
            Uri::from_parts(parts).unwrap_or(uri)
        }
        Err(_) => uri,
    }
}

fn fold_is_messages(path: &str) -> bool {
    path.split('/').nth(3).is_some_and(|segment| segment.eq_ignore_ascii_case("messages"))
}

const JSON: &str = "application/json; charset=utf-8";

/// A table of routes in which every line also says who may call it and which throttle it counts against.
pub(crate) struct Routes {
    world: Shared,
    service: Service,
    router: Router<Shared>,
}

impl Routes {
    pub(crate) fn new(world: &Shared, service: Service) -> Self {
        Self { world: Arc::clone(world), service, router: Router::new() }
    }

    /// Adds one operation.
    pub(crate) fn on<H, T>(
        mut self,
        method: MethodFilter,
        path: &str,
        access: Access,
        throttle: Throttle,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Shared>,
        T: 'static,
    {
        let operation = Operation { service: self.service, access, throttle };
        let guarded = on(method, handler).route_layer(from_fn_with_state((self.world.clone(), operation), guard));
        self.router = self.router.route(path, guarded);
        self
    }

    pub(crate) fn finish(self) -> Router {
        self.router
            .fallback(|| async { ServiceError::new(ErrorCode::NOT_FOUND, "there is no such resource") })
            .with_state(self.world)
    }
}

/// A request body read as JSON, whatever its content type says (clients differ).
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ServiceError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let bytes = Bytes::from_request(request, state).await.map_err(|_| invalid("the body could not be read"))?;
        parse_json(&bytes).map(Self)
    }
}

/// Reads a body as JSON; 400006 with the place of the mistake.
pub(crate) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ServiceError> {
    serde_json::from_slice(bytes).map_err(|error| {
        ServiceError::new(ErrorCode::FORMAT_ERROR, format!("the request body is not what it should be: {error}"))
    })
}

/// An answer with a JSON body and, where the entity has one, its ETag.
pub(crate) fn json_response(status: StatusCode, etag: Option<&str>, body: &Value) -> Response {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    if let Some(value) = etag.and_then(etag::header_value) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// An answer with status 200 and a JSON body.
pub(crate) fn ok(body: &Value) -> Response {
    json_response(StatusCode::OK, None, body)
}

/// An answer with status 204.
pub(crate) fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// A query parameter, percent-decoded.
pub(crate) fn query_parameter(uri: &Uri, name: &str) -> Option<String> {
    uri.query()?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        key.eq_ignore_ascii_case(name).then(|| percent_decode_str(value).decode_utf8_lossy().into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_literals_are_folded() {
        let fold = |path: &str| fold_case(path.parse().expect("uri")).to_string();
        assert_eq!(fold("/enrollmentgroups/QUERY?api-version=1"), "/enrollmentGroups/QUERY?api-version=1");
        assert_eq!(fold("/Devices/Twins/Modules/Query"), "/devices/Twins/modules/Query");
        assert_eq!(fold("/devices/a/messages/devicebound"), "/devices/a/messages/deviceBound");
        assert_eq!(fold("/0neABC/Registrations/r/Register"), "/0neABC/registrations/r/register");
        assert_eq!(fold("/messages/servicebound/feedback/Abandon"), "/messages/serviceBound/feedback/Abandon");
    }

    #[test]
    fn dates_are_imf_fixdates() {
        assert_eq!(http_date(OffsetDateTime::UNIX_EPOCH), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
