//! One HTTP exchange within a deadline, through `wasi:http`.

use std::time::{Duration, Instant};

use serde_json::Value;
use wasip2::clocks::monotonic_clock::subscribe_duration;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{Fields, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme};
use wasip2::io::poll::poll;
use wasip2::io::streams::StreamError;

use crate::{Error, ErrorCode, Retry, error};

/// The largest body of an answer, in bytes.
const MOST_BYTES: usize = 4 << 20;
/// The largest number of bytes that are written to a stream at once.
const CHUNK: usize = 4_096;

/// A request over TLS whose body is JSON.
pub struct Request<'a> {
    /// The method, in upper case.
    pub method: &'a str,
    /// `host` or `host:port`.
    pub authority: &'a str,
    /// The path and the query. The slash at the beginning may be left out.
    pub path: &'a str,
    /// Headers besides `content-type`.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Option<&'a Value>,
}

/// An answer.
pub struct Response {
    /// The status.
    pub status: u16,
    /// The value of the header `etag`, if the answer has it.
    pub etag: Option<String>,
    /// The body: JSON, or a text if it is not JSON.
    pub body: Value,
}

/// Sends a request and reads the answer. A status that reports an error is returned as an error.
///
/// # Errors
/// `unavailable` or `timeout` where no complete answer came. Otherwise the code that fits the answer's status.
pub fn exchange(request: &Request, deadline_ms: u64) -> Result<Response, Error> {
    let until = Instant::now() + Duration::from_millis(deadline_ms);
    let response = send(request, until)?;
    let (code, retry) = match response.status {
        401 | 403 => (ErrorCode::AuthFailed, Retry::AfterReauthentication),
        404 => (ErrorCode::NotFound, Retry::Never),
        412 => (ErrorCode::PreconditionFailed, Retry::Never),
        413 => (ErrorCode::PayloadTooLarge, Retry::Never),
        429 => (ErrorCode::RateLimited, Retry::Backoff),
        400..=499 => (ErrorCode::Conflict, Retry::Never),
        500..=599 => (ErrorCode::Unavailable, Retry::Backoff),
        _ => return Ok(response),
    };
    let Request { method, authority, .. } = request;
    Err(error(code, retry, format!("{authority} answered {method} with {}.", response.status)))
}

fn send(request: &Request, until: Instant) -> Result<Response, Error> {
    let unfit = |()| error(ErrorCode::Internal, Retry::Never, "The request cannot be written.");
    let failed = |what: String| {
        error(ErrorCode::Unavailable, Retry::Backoff, format!("{} cannot be reached: {what}.", request.authority))
    };
    let late = || error(ErrorCode::Timeout, Retry::Backoff, format!("{} did not answer in time.", request.authority));
    let left = || u64::try_from(until.saturating_duration_since(Instant::now()).as_nanos()).unwrap_or(u64::MAX);

    let headers = request.headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
    let json = ("content-type".to_owned(), b"application/json".to_vec());
    let headers: Vec<_> = headers.chain([json]).collect();
    let outgoing = OutgoingRequest::new(Fields::from_list(&headers).map_err(|_| unfit(()))?);
    outgoing.set_method(&Method::Other(request.method.to_owned())).map_err(unfit)?;
    outgoing.set_scheme(Some(&Scheme::Https)).map_err(unfit)?;
    outgoing.set_authority(Some(request.authority)).map_err(unfit)?;
    let path = format!("/{}", request.path.trim_start_matches('/'));
    outgoing.set_path_with_query(Some(&path)).map_err(unfit)?;
    let options = RequestOptions::new();
    // A host may refuse these time-outs. The deadline below holds anyway.
    let _ = options.set_connect_timeout(Some(left()));
    let _ = options.set_first_byte_timeout(Some(left()));
    let body = outgoing.body().map_err(unfit)?;
    let answer = outgoing_handler::handle(outgoing, Some(options)).map_err(|code| failed(format!("{code:?}")))?;
    let (deadline, answered) = (subscribe_duration(left()), answer.subscribe());

    let stream = body.write().map_err(unfit)?;
    let room = stream.subscribe();
    let text = request.body.map(Value::to_string).unwrap_or_default();
    let mut rest = text.as_bytes();
    // If the stream breaks, the loop ends, and the answer says why.
    while !rest.is_empty() && !answered.ready() {
        match stream.check_write().map(|most| rest.len().min(CHUNK).min(usize::try_from(most).unwrap_or(CHUNK))) {
            Ok(0) => {
                poll(&[&room, &answered, &deadline]);
            }
            Ok(most) => {
                let (now, later) = rest.split_at(most);
                if stream.write(now).is_err() {
                    break;
                }
                rest = later;
            }
            Err(_) => break,
        }
        if deadline.ready() {
            return Err(late());
        }
    }
    drop((room, stream));
    let _ = OutgoingBody::finish(body, None);

    poll(&[&answered, &deadline]);
    let response = answer.get().ok_or_else(late)?.map_err(unfit)?.map_err(|code| failed(format!("{code:?}")))?;
    let etag = response.headers().get("etag").pop().and_then(|value| String::from_utf8(value).ok());
    let (status, incoming) = (response.status(), response.consume().map_err(unfit)?);
    let stream = incoming.stream().map_err(unfit)?;
    let (more, mut body) = (stream.subscribe(), Vec::new());
    loop {
        match stream.read(64 << 10) {
            Ok(piece) if piece.is_empty() => {
                poll(&[&more, &deadline]);
                if !more.ready() {
                    return Err(late());
                }
            }
            Ok(piece) if body.len() + piece.len() > MOST_BYTES => {
                return Err(error(ErrorCode::PayloadTooLarge, Retry::Never, "The answer is too large."));
            }
            Ok(piece) => body.extend(piece),
            Err(StreamError::Closed) => break,
            Err(StreamError::LastOperationFailed(cause)) => return Err(failed(cause.to_debug_string())),
        }
    }
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into());
    Ok(Response { status, etag, body })
}
