//! One HTTP exchange of a guest: the checks before it, and the bounds on it.

use std::error::Error as _;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::client::legacy::connect::capture_connection;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

use super::connector::ConnectError;
use super::policy::{AllowList, Destination, EgressDenied, split_authority};
use crate::interface::metadata::EgressProtocol;
use crate::limits::ByteBudget;
use crate::tenant::TenantInner;

/// What a guest's requests are judged by, and what was denied. One for each call.
pub(crate) struct Exchange {
    pub(crate) tenant: Arc<TenantInner>,
    pub(crate) allowed: AllowList,
    pub(crate) deadline: Instant,
    pub(crate) bytes: ByteBudget,
    pub(crate) denials: Mutex<Vec<EgressDenied>>,
}

impl Exchange {
    fn deny(&self, denied: EgressDenied) {
        tracing::warn!(tenant = %self.tenant.options.name, "{denied}");
        let mut denials = self.denials.lock().unwrap_or_else(PoisonError::into_inner);
        // One of each is enough, and a guest does not get to fill memory with them.
        if denials.len() < 16 && !denials.contains(&denied) {
            denials.push(denied);
        }
    }

    /// The time that a guest's time-out leaves, which is never beyond the call's deadline.
    fn until(&self, wanted: Option<Duration>) -> Instant {
        wanted
            .and_then(|wanted| Instant::now().checked_add(wanted))
            .map_or(self.deadline, |until| until.min(self.deadline))
    }

    fn check(&self, uri: &http::Uri) -> Result<(), Error> {
        let (host, port) = uri
            .authority()
            .and_then(|authority| split_authority(authority.as_str()))
            .ok_or(Error::HttpRequestUriInvalid)?;
        let destination = Destination { protocol: EgressProtocol::Https, host, port: port.unwrap_or(443) };
        if uri.scheme() != Some(&http::uri::Scheme::HTTPS) {
            self.deny(EgressDenied::plain_text(&destination));
            return Err(Error::HttpRequestDenied);
        }
        if !self.allowed.allows(&destination) {
            self.deny(EgressDenied::request(&destination));
            return Err(Error::HttpRequestDenied);
        }
        Ok(())
    }

    async fn send(
        self: Arc<Self>,
        request: http::Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<http::Response<WasiBody>, Error> {
        self.check(request.uri())?;
        let limits = &self.tenant.options.limits;
        let connect_timeout = options.connect_timeout.unwrap_or(limits.connect_timeout);
        let connect_until = self.until(Some(connect_timeout.min(limits.connect_timeout)));
        let permit = timeout_at(connect_until, self.tenant.http_permits.clone().acquire_owned())
            .await
            .map_err(|_| Error::ConnectionLimitReached)?
            .map_err(|_| Error::ConnectionLimitReached)?;

        let mut request = request.map(|body| RequestBody { inner: body, bytes: self.bytes.clone() });
        let mut connected = capture_connection(&mut request);
        let response = self.tenant.client.request(request);
        tokio::pin!(response);
        // Up to the connection one time-out rules, after it the other.
        let early = tokio::select! {
            biased;
            response = &mut response => Some(response),
            got = timeout_at(connect_until, connected.wait_for_connection_metadata()) => match got {
                Ok(_) => None,
                Err(_) => return Err(Error::ConnectionTimeout),
            },
        };
        let response = match early {
            Some(response) => response,
            None => timeout_at(self.until(options.first_byte_timeout), response)
                .await
                .map_err(|_| Error::ConnectionReadTimeout)?,
        };
        let response = response.map_err(|error| self.client_error(&error))?;

        let limit = limits.response_bytes;
        if response.body().size_hint().lower() > limit {
            return Err(Error::HttpResponseBodySize(Some(limit)));
        }
        let between = options.between_bytes_timeout;
        Ok(response.map(|inner| {
            let timer = Box::pin(sleep_until(self.until(between)));
            let left = limit;
            let body = ResponseBody { inner, exchange: self, between, timer, left, _permit: permit };
            body.boxed_unsync()
        }))
    }

    fn client_error(&self, error: &hyper_util::client::legacy::Error) -> Error {
        let mut source = error.source();
        while let Some(cause) = source {
            if let Some(connect) = cause.downcast_ref::<ConnectError>() {
                tracing::debug!(tenant = %self.tenant.options.name, "{connect}");
                if let ConnectError::Prohibited(denied) = connect {
                    self.deny((**denied).clone());
                }
                return connect_error(connect);
            }
            if let Some(over) = cause.downcast_ref::<BodyTooLarge>() {
                return Error::HttpRequestBodySize(Some(over.limit));
            }
            if let Some(io) = cause.downcast_ref::<std::io::Error>() {
                tracing::debug!(tenant = %self.tenant.options.name, "{io}");
                return Error::ConnectionTerminated;
            }
            if let Some(hyper) = cause.downcast_ref::<hyper::Error>() {
                if hyper.is_parse_too_large() {
                    return Error::HttpResponseHeaderSectionSize(None);
                }
                if hyper.is_incomplete_message() {
                    return Error::ConnectionTerminated;
                }
                if hyper.is_parse() {
                    return Error::HttpProtocolError;
                }
            }
            source = cause.source();
        }
        tracing::debug!(tenant = %self.tenant.options.name, ?error, "HTTP exchange failed");
        Error::ConnectionTerminated
    }
}

fn connect_error(error: &ConnectError) -> Error {
    match error {
        ConnectError::Dns(reason) => Error::DnsError { rcode: Some(reason.clone()), info_code: None },
        ConnectError::Prohibited(_) => Error::DestinationIpProhibited,
        ConnectError::Refused => Error::ConnectionRefused,
        ConnectError::Unreachable(_) => Error::DestinationUnavailable,
        ConnectError::TimedOut => Error::ConnectionTimeout,
        ConnectError::Certificate(_) => Error::TlsCertificateError,
        ConnectError::Alert(alert) => {
            Error::TlsAlertReceived { alert_id: Some(u8::from(*alert)), alert_message: Some(format!("{alert:?}")) }
        }
        ConnectError::Tls(_) => Error::TlsProtocolError,
    }
}

/// The host's side of `wasi:http` for one call.
pub(crate) struct Hooks(pub(crate) Arc<Exchange>);

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        _response_processed: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<
        dyn Future<
                Output = Result<(http::Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>), Error>,
            > + Send,
    > {
        let exchange = self.0.clone();
        Box::new(async move {
            let response = exchange.send(request, options.unwrap_or_default()).await?;
            // The pool drives the connection; nothing is left to wait for.
            let rest: Box<dyn Future<Output = Result<(), Error>> + Send> = Box::new(async { Ok(()) });
            Ok((response, rest))
        })
    }
}

/// A guest sent more than it may.
#[derive(Debug, thiserror::Error)]
#[error("HTTP bodies of this call exceed {limit} bytes")]
pub(crate) struct BodyTooLarge {
    limit: u64,
}

/// A request body that counts.
pub(crate) struct RequestBody {
    inner: WasiBody,
    bytes: ByteBudget,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(frame) = ready!(Pin::new(&mut self.inner).poll_frame(cx)) else {
            return Poll::Ready(None);
        };
        let frame = frame?;
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        if !self.bytes.take(length) {
            return Poll::Ready(Some(Err(Box::new(BodyTooLarge { limit: self.bytes.limit() }))));
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A response body that counts, and does not wait for ever.
struct ResponseBody {
    inner: Incoming,
    exchange: Arc<Exchange>,
    between: Option<Duration>,
    timer: Pin<Box<Sleep>>,
    left: u64,
    _permit: OwnedSemaphorePermit,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Pending => {
                ready!(this.timer.as_mut().poll(cx));
                return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
            }
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => {
                tracing::debug!(%error, "the response broke off");
                return Poll::Ready(Some(Err(Error::HttpResponseIncomplete)));
            }
            Poll::Ready(Some(Ok(frame))) => frame,
        };
        let length = frame.data_ref().map_or(0, Bytes::len) as u64;
        let limit = this.exchange.tenant.options.limits.response_bytes;
        let Some(left) = this.left.checked_sub(length) else {
            return Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(limit)))));
        };
        if !this.exchange.bytes.take(length) {
            let limit = this.exchange.bytes.limit();
            return Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(limit)))));
        }
        this.left = left;
        let until = this.exchange.until(this.between);
        this.timer.as_mut().reset(until);
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
