//! `wasi:http/outgoing-handler`, and the responses that a guest waits for.
//!
//! wasmtime gives each exchange two tasks of its own. Here an exchange is an errand of the call that waits for it, see
//! `egress/errands.rs`, so that no other thread has to be woken.

use bytes::Bytes;
use http::uri::Scheme;
use http::{HeaderMap, Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use tokio::sync::oneshot;
use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime::{StoreContextMut, format_err};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi_http::p2::bindings::http::types::{self, ErrorCode};
use wasmtime_wasi_http::p2::body::HostIncomingBody;
use wasmtime_wasi_http::p2::http_request_error;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::{Error, FieldMap, RequestOptions, WasiBody, WasiHttpView as _};

use super::state::State;
use crate::egress::Answer;

/// The resource `future-incoming-response`: a response that the guest waits for.
pub(crate) enum FutureResponse {
    /// Dropping the receiver ends the exchange.
    Pending(oneshot::Receiver<Answer>),
    Ready(Answer),
    Taken,
}

#[async_trait]
impl Pollable for FutureResponse {
    async fn ready(&mut self) {
        if let Self::Pending(answer) = self {
            *self = Self::Ready(answer.await.unwrap_or(Err(Error::ConnectionTerminated)));
        }
    }
}

type Store<'a> = StoreContextMut<'a, State>;
type Waiting = Resource<FutureResponse>;
type Response = Resource<HostIncomingResponse>;

/// The result of `future-incoming-response.get`.
type Got = Option<Result<Result<Response, ErrorCode>, ()>>;

/// Replaces wasmtime's resource, and the functions that have to do with it. The linker must allow shadowing.
pub(crate) fn replace(linker: &mut Linker<State>, types: &str, handler: &str) -> wasmtime::Result<()> {
    let mut http = linker.instance(types)?;
    let dropped = |mut store: StoreContextMut<'_, State>, rep| {
        store.data_mut().http().table.delete(Waiting::new_own(rep))?;
        Ok(())
    };
    http.resource("future-incoming-response", ResourceType::host::<FutureResponse>(), dropped)?;
    http.func_wrap("[method]future-incoming-response.subscribe", |mut store: Store<'_>, (future,): (Waiting,)| {
        let pollable: Resource<DynPollable> = subscribe(store.data_mut().http().table, future)?;
        Ok((pollable,))
    })?;
    http.func_wrap("[method]future-incoming-response.get", |mut store: Store<'_>, (future,): (Waiting,)| {
        store.data_mut().room_for_headers()?;
        Ok((get(store.data_mut(), &future)?,))
    })?;
    linker.instance(handler)?.func_wrap(
        "handle",
        |mut store: Store<'_>,
         (request, options): (Resource<HostOutgoingRequest>, Option<Resource<RequestOptions>>)| {
            Ok((handle(store.data_mut(), request, options)?,))
        },
    )
}

fn get(state: &mut State, future: &Waiting) -> wasmtime::Result<Got> {
    let http = state.http();
    let future = http.table.get_mut(future)?;
    let answer = match std::mem::replace(future, FutureResponse::Taken) {
        FutureResponse::Ready(answer) => answer,
        FutureResponse::Taken => return Ok(Some(Err(()))),
        pending @ FutureResponse::Pending(_) => {
            *future = pending;
            return Ok(None);
        }
    };
    let response = match answer {
        Ok(response) => response,
        Err(error) => return failure(state, error).map(|code| Some(Ok(Err(code)))),
    };
    let (parts, body) = response.into_parts();
    let headers = FieldMap::new_immutable(http.hooks, parts.headers);
    let body = Some(HostIncomingBody::new(body));
    let response = HostIncomingResponse { status: parts.status.as_u16(), headers, body };
    Ok(Some(Ok(Ok(http.table.push(response)?))))
}

/// The interface's code of an error. wasmtime has the table of the codes, but gives them only to a guest that asks.
fn failure(state: &mut State, error: Error) -> wasmtime::Result<ErrorCode> {
    let mut http = state.http();
    let failed = http.table.push(HostFutureIncomingResponse::Ready(Err(error)))?;
    let borrowed = Resource::new_borrow(failed.rep());
    let got: Got = types::HostFutureIncomingResponse::get(&mut http, borrowed)?;
    http.table.delete(failed)?;
    match got {
        Some(Ok(Err(code))) => Ok(code),
        _ => Err(format_err!("wasmtime has no code for an error")),
    }
}

/// Begins an exchange. A request consumes its options here: wasmtime's own `handle` leaves them in the table, where
/// nobody can drop them any more.
fn handle(
    state: &mut State,
    request: Resource<HostOutgoingRequest>,
    options: Option<Resource<RequestOptions>>,
) -> wasmtime::Result<Result<Waiting, ErrorCode>> {
    let table = state.http().table;
    let options = options.map(|options| table.delete(options)).transpose()?.unwrap_or_default();
    let request = table.delete(request)?;
    let request = match outgoing(request) {
        Ok(request) => request,
        Err(code) => return Ok(Err(code)),
    };
    let answer = state.exchange().begin(request, options);
    Ok(Ok(state.http().table.push(FutureResponse::Pending(answer))?))
}

/// The request in the form in which it is sent. The exchange judges its scheme and its destination.
fn outgoing(request: HostOutgoingRequest) -> Result<Request<WasiBody>, ErrorCode> {
    // Also checked where a guest finishes a body, which it need not do.
    let length =
        content_length(&request.headers).map_err(|reason| ErrorCode::InternalError(Some(reason.to_owned())))?;
    if request.body.is_none() && length.is_some_and(|length| length != 0) {
        return Err(ErrorCode::HttpRequestBodySize(Some(0)));
    }
    let method = match request.method {
        types::Method::Get => Method::GET,
        types::Method::Head => Method::HEAD,
        types::Method::Post => Method::POST,
        types::Method::Put => Method::PUT,
        types::Method::Delete => Method::DELETE,
        types::Method::Connect => Method::CONNECT,
        types::Method::Options => Method::OPTIONS,
        types::Method::Trace => Method::TRACE,
        types::Method::Patch => Method::PATCH,
        types::Method::Other(name) => {
            Method::from_bytes(name.as_bytes()).map_err(|_| ErrorCode::HttpRequestMethodInvalid)?
        }
    };
    let scheme = match request.scheme {
        None | Some(types::Scheme::Https) => Scheme::HTTPS,
        Some(types::Scheme::Http) => Scheme::HTTP,
        Some(types::Scheme::Other(name)) => Scheme::try_from(name.as_str())
            .ok()
            .filter(|scheme| *scheme == Scheme::HTTPS || *scheme == Scheme::HTTP)
            .ok_or(ErrorCode::HttpProtocolError)?,
    };
    let mut uri = Uri::builder().scheme(scheme).authority(request.authority.unwrap_or_default());
    if let Some(path) = request.path_with_query {
        uri = uri.path_and_query(path);
    }
    let uri = uri.build().map_err(http_request_error)?;
    let empty = || Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let mut outgoing = Request::new(request.body.unwrap_or_else(empty));
    *outgoing.method_mut() = method;
    *outgoing.uri_mut() = uri;
    *outgoing.headers_mut() = request.headers.into();
    Ok(outgoing)
}

/// The announced length of a body, which is digits alone (RFC 9110, section 8.6).
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, &'static str> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("multiple `content-length` header values");
    }
    let digits = value.to_str().ok().filter(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = digits.and_then(|digits| digits.parse().ok());
    length.map(Some).ok_or("an invalid `content-length` header value")
}
