//! How bodies and query parameters are read.

use axum::extract::{FromRequest, Request};
use axum::http::Uri;
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::error::{ErrorCode, ServiceError, invalid};

/// A request body read as JSON. Its content type is ignored, because clients send different ones.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = ServiceError;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let bytes = Bytes::from_request(request, state).await.map_err(|_| invalid("the body could not be read"))?;
        parse_json(&bytes).map(Self)
    }
}

/// Reads a body as JSON; 400006 with the position of the mistake.
pub(crate) fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ServiceError> {
    serde_json::from_slice(bytes).map_err(|error| {
        ServiceError::new(
            ErrorCode::FORMAT_ERROR,
            format!("the request body cannot be read as JSON of this operation: {error}"),
        )
    })
}

/// A query parameter, percent-decoded.
pub(crate) fn query_parameter(uri: &Uri, name: &str) -> Option<String> {
    uri.query()?.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        key.eq_ignore_ascii_case(name).then(|| percent_decode_str(value).decode_utf8_lossy().into_owned())
    })
}

/// How many entities a list without pages may return: `top` from 1 to 1000; any other value means 1000.
pub(crate) fn list_limit(uri: &axum::http::Uri) -> usize {
    query_parameter(uri, "top")
        .and_then(|top| top.parse::<usize>().ok())
        .filter(|top| (1..=1000).contains(top))
        .unwrap_or(1000)
}
