//! The platform on WASI 0.2.
//!
//! One exchange waits for three things at the same time: the answer, room in the body's stream, and the deadline. If it
//! waited for the stream alone, a refused connection would not be noticed; if it waited for the answer alone, a large
//! body would never be sent.

use std::time::Duration;

use wasip2::clocks::{monotonic_clock, wall_clock};
use wasip2::http::outgoing_handler;
use wasip2::http::types::Method as WasiMethod;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingResponse, OutgoingBody, OutgoingRequest,
    RequestOptions, Scheme,
};
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{OutputStream, StreamError};

use super::{ExchangeError, ExchangeErrorKind, ExchangeLimits, Method, Platform, WireRequest, WireResponse};

/// WASI's clocks, randomness and HTTP.
#[derive(Clone, Copy, Debug, Default)]
pub struct WasiPlatform;

/// The largest piece of a body that the host returns at once, in bytes.
const READ_PIECE: u64 = 64 * 1024;
/// The most memory that is reserved for a body before it has arrived, in bytes, because a server may announce any
/// length.
const RESERVE_AT_MOST: usize = 1024 * 1024;

impl Platform for WasiPlatform {
    fn unix_time(&self) -> Duration {
        let now = wall_clock::now();
        Duration::new(now.seconds, now.nanoseconds.min(999_999_999))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(monotonic_clock::now())
    }

    fn sleep(&self, duration: Duration) {
        monotonic_clock::subscribe_duration(nanos(duration)).block();
    }

    fn random(&self) -> u64 {
        wasip2::random::insecure::get_insecure_random_u64()
    }

    fn secure_random(&self, bytes: &mut [u8]) {
        let drawn = wasip2::random::random::get_random_bytes(bytes.len() as u64);
        for (byte, drawn) in bytes.iter_mut().zip(drawn) {
            *byte = drawn;
        }
    }

    fn exchange(&self, request: &WireRequest, limits: &ExchangeLimits) -> Result<WireResponse, ExchangeError> {
        let deadline = monotonic_clock::subscribe_duration(nanos(limits.total));
        let (outgoing, options) = prepare(request, limits)?;
        let body = outgoing.body().map_err(|()| local("the request's body was taken twice"))?;
        let answer = outgoing_handler::handle(outgoing, Some(options)).map_err(|code| failure(&code))?;
        send_body(body, request.body.as_deref().unwrap_or_default(), &answer, &deadline)?;
        let response = wait(&answer, &deadline)?;
        receive(response, limits, &deadline)
    }
}

fn prepare(request: &WireRequest, limits: &ExchangeLimits) -> Result<(OutgoingRequest, RequestOptions), ExchangeError> {
    let mut headers: Vec<(String, Vec<u8>)> = Vec::with_capacity(request.headers.len() + 2);
    headers.push(("authorization".to_owned(), request.authorization.expose().as_bytes().to_vec()));
    if let Some(body) = &request.body {
        headers.push(("content-length".to_owned(), body.len().to_string().into_bytes()));
    } else if matches!(request.method, Method::Post | Method::Put | Method::Patch) {
        headers.push(("content-length".to_owned(), b"0".to_vec()));
    }
    headers.extend(request.headers.iter().map(|(name, value)| (name.clone().into_owned(), value.as_bytes().to_vec())));
    let fields = Fields::from_list(&headers).map_err(|error| local(&format!("a header was refused: {error:?}")))?;
    let outgoing = OutgoingRequest::new(fields);
    let method = match request.method {
        Method::Get => WasiMethod::Get,
        Method::Put => WasiMethod::Put,
        Method::Post => WasiMethod::Post,
        Method::Patch => WasiMethod::Patch,
        Method::Delete => WasiMethod::Delete,
    };
    let set = outgoing.set_method(&method).is_ok()
        && outgoing.set_scheme(Some(&Scheme::Https)).is_ok()
        && outgoing.set_authority(Some(&request.authority)).is_ok()
        && outgoing.set_path_with_query(Some(&request.path_with_query)).is_ok();
    if !set {
        return Err(local("the host or the path is not valid in a request"));
    }
    let options = RequestOptions::new();
    // A host that does not support these options returns an error. The deadline below applies anyway.
    let _ = options.set_connect_timeout(Some(nanos(limits.connect)));
    let _ = options.set_first_byte_timeout(Some(nanos(limits.first_byte)));
    let _ = options.set_between_bytes_timeout(Some(nanos(limits.total)));
    Ok((outgoing, options))
}

fn send_body(
    body: OutgoingBody,
    bytes: &[u8],
    answer: &FutureIncomingResponse,
    deadline: &Pollable,
) -> Result<(), ExchangeError> {
    if !bytes.is_empty() {
        let stream = body.write().map_err(|()| local("the body's stream was taken twice"))?;
        let written = write_all(&stream, bytes, answer, deadline);
        drop(stream);
        match written {
            Ok(Written::All) => {}
            // The service answered before it had read the whole body (with a refusal, for example). Its answer is the
            // result.
            Ok(Written::AnsweredEarly) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    OutgoingBody::finish(body, None).map_err(|code| failure(&code))
}

enum Written {
    All,
    AnsweredEarly,
}

fn write_all(
    stream: &OutputStream,
    mut rest: &[u8],
    answer: &FutureIncomingResponse,
    deadline: &Pollable,
) -> Result<Written, ExchangeError> {
    let room = stream.subscribe();
    let answered = answer.subscribe();
    while !rest.is_empty() {
        if answered.ready() {
            return Ok(Written::AnsweredEarly);
        }
        match stream.check_write() {
            Ok(0) => {
                poll(&[&room, &answered, deadline]);
                if deadline.ready() {
                    return Err(timeout("sending the request", true));
                }
            }
            Ok(most) => {
                let (now, later) = rest.split_at(rest.len().min(usize::try_from(most).unwrap_or(usize::MAX)));
                if stream.write(now).is_err() {
                    return broken_or_answered(&answered, deadline);
                }
                rest = later;
            }
            Err(_) => return broken_or_answered(&answered, deadline),
        }
    }
    if stream.flush().is_err() {
        return broken_or_answered(&answered, deadline);
    }
    Ok(Written::All)
}

/// If the stream closes during a write, the answer's future states the cause.
fn broken_or_answered(answered: &Pollable, deadline: &Pollable) -> Result<Written, ExchangeError> {
    poll(&[answered, deadline]);
    if answered.ready() { Ok(Written::AnsweredEarly) } else { Err(timeout("the cause of a broken connection", true)) }
}

fn wait(answer: &FutureIncomingResponse, deadline: &Pollable) -> Result<IncomingResponse, ExchangeError> {
    let ready = answer.subscribe();
    loop {
        if let Some(result) = answer.get() {
            return match result {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(code)) => Err(failure(&code)),
                Err(()) => Err(local("the answer was taken twice")),
            };
        }
        poll(&[&ready, deadline]);
        if deadline.ready() && !ready.ready() {
            return Err(timeout("an answer", true));
        }
    }
}

fn receive(
    response: IncomingResponse,
    limits: &ExchangeLimits,
    deadline: &Pollable,
) -> Result<WireResponse, ExchangeError> {
    let status = response.status();
    let headers: Vec<(String, String)> = response
        .headers()
        .entries()
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_ascii_lowercase(), String::from_utf8(value).ok()?)))
        .collect();
    let announced =
        headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limits.body_bytes) {
        return Err(too_large(limits.body_bytes));
    }
    let incoming = response.consume().map_err(|()| local("the answer's body was taken twice"))?;
    let body = read_body(&incoming, announced, limits, deadline)?;
    Ok(WireResponse { status, headers, body })
}

fn read_body(
    incoming: &IncomingBody,
    announced: Option<usize>,
    limits: &ExchangeLimits,
    deadline: &Pollable,
) -> Result<Vec<u8>, ExchangeError> {
    let stream = incoming.stream().map_err(|()| local("the body's stream was taken twice"))?;
    let more = stream.subscribe();
    let mut body = Vec::with_capacity(announced.unwrap_or(0).min(RESERVE_AT_MOST));
    loop {
        match stream.read(READ_PIECE) {
            Ok(piece) if piece.is_empty() => {
                poll(&[&more, deadline]);
                if deadline.ready() && !more.ready() {
                    return Err(timeout("the rest of an answer", true));
                }
            }
            Ok(piece) => {
                if body.len() + piece.len() > limits.body_bytes {
                    return Err(too_large(limits.body_bytes));
                }
                body.extend_from_slice(&piece);
            }
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(error)) => {
                let cause = wasip2::http::types::http_error_code(&error).map(|code| failure(&code));
                let (kind, detail) = cause.map_or_else(
                    || (ExchangeErrorKind::Broken, error.to_debug_string()),
                    |cause| (cause.kind, cause.detail),
                );
                return Err(ExchangeError { kind, sent: true, detail });
            }
        }
    }
    if let Some(announced) = announced.filter(|announced| *announced != body.len()) {
        let detail = format!("the answer ended after {} of {announced} bytes", body.len());
        return Err(ExchangeError { kind: ExchangeErrorKind::Broken, sent: true, detail });
    }
    Ok(body)
}

fn failure(code: &ErrorCode) -> ExchangeError {
    use ExchangeErrorKind as Kind;
    let (kind, sent) = match code {
        ErrorCode::DnsTimeout | ErrorCode::DnsError(_) | ErrorCode::DestinationNotFound => (Kind::Dns, false),
        ErrorCode::DestinationUnavailable | ErrorCode::ConnectionRefused | ErrorCode::DestinationIpUnroutable => {
            (Kind::Connect, false)
        }
        ErrorCode::ConnectionTimeout => (Kind::Timeout, false),
        ErrorCode::TlsProtocolError | ErrorCode::TlsCertificateError | ErrorCode::TlsAlertReceived(_) => {
            (Kind::Tls, false)
        }
        ErrorCode::HttpRequestDenied | ErrorCode::DestinationIpProhibited => (Kind::Denied, false),
        ErrorCode::ConnectionLimitReached => (Kind::HostLimit, false),
        ErrorCode::ConnectionReadTimeout | ErrorCode::ConnectionWriteTimeout | ErrorCode::HttpResponseTimeout => {
            (Kind::Timeout, true)
        }
        ErrorCode::ConnectionTerminated | ErrorCode::HttpResponseIncomplete => (Kind::Broken, true),
        ErrorCode::HttpResponseBodySize(_)
        | ErrorCode::HttpResponseHeaderSectionSize(_)
        | ErrorCode::HttpResponseHeaderSize(_) => (Kind::TooLarge, true),
        ErrorCode::HttpProtocolError
        | ErrorCode::HttpUpgradeFailed
        | ErrorCode::HttpResponseTransferCoding(_)
        | ErrorCode::HttpResponseContentCoding(_)
        | ErrorCode::LoopDetected => (Kind::Protocol, true),
        _ => (Kind::Broken, true),
    };
    ExchangeError { kind, sent, detail: format!("{code:?}") }
}

fn local(detail: &str) -> ExchangeError {
    ExchangeError { kind: ExchangeErrorKind::Protocol, sent: false, detail: detail.to_owned() }
}

fn timeout(what: &str, sent: bool) -> ExchangeError {
    ExchangeError { kind: ExchangeErrorKind::Timeout, sent, detail: format!("waited too long for {what}") }
}

fn too_large(limit: usize) -> ExchangeError {
    ExchangeError {
        kind: ExchangeErrorKind::TooLarge,
        sent: true,
        detail: format!("the answer is larger than {limit} bytes"),
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
