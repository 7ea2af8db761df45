//! A stand-in for the storage account that a hub is linked to, at the hub's HTTPS port: `/device-files/{device}/{blob}`.
//!
//! It serves what clients need to upload a file with the signature of the hub: Put Blob, Put Block and Put Block List,
//! and Get Blob. Source: "Blob service REST API".

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use axum::routing::put;
use bytes::Bytes;

use crate::blobs::CONTAINER;
use crate::clock::now;
use crate::web::request::query_parameter;
use crate::world::{Shared, World};

/// The version of the storage service that answers name.
const VERSION: &str = "2020-10-02";

pub(crate) fn routes(world: &Shared) -> Router {
    Router::new().route(&format!("/{CONTAINER}/{{*blob}}"), put(write).get(read)).with_state(world.clone())
}

async fn write(State(world): State<Shared>, Path(blob): Path<String>, uri: Uri, body: Bytes) -> Response {
    if !permits(&world, &blob, &uri) {
        return refusal(StatusCode::FORBIDDEN, "AuthenticationFailed");
    }
    match query_parameter(&uri, "comp").as_deref() {
        None => world.blobs.write(&blob, body),
        Some("block") => match query_parameter(&uri, "blockid") {
            Some(id) => world.blobs.add_block(&blob, &id, body),
            None => return refusal(StatusCode::BAD_REQUEST, "InvalidQueryParameterValue"),
        },
        Some("blocklist") => {
            if !world.blobs.join_blocks(&blob, &block_ids(&String::from_utf8_lossy(&body))) {
                return refusal(StatusCode::BAD_REQUEST, "InvalidBlockList");
            }
        }
        Some(_) => return refusal(StatusCode::BAD_REQUEST, "InvalidQueryParameterValue"),
    }
    answer(StatusCode::CREATED, Body::empty())
}

async fn read(State(world): State<Shared>, Path(blob): Path<String>, uri: Uri) -> Response {
    if !permits(&world, &blob, &uri) {
        return refusal(StatusCode::FORBIDDEN, "AuthenticationFailed");
    }
    match world.blobs.read(&blob) {
        Some(content) => {
            let mut response = answer(StatusCode::OK, Body::from(content));
            let kind = HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            response
        }
        None => refusal(StatusCode::NOT_FOUND, "BlobNotFound"),
    }
}

fn permits(world: &World, blob: &str, uri: &Uri) -> bool {
    query_parameter(uri, "sig").is_some_and(|signature| world.blobs.permits(blob, &signature, now()))
}

/// The ids in a list of blocks, in order: the texts of `Latest`, `Uncommitted` and `Committed`.
fn block_ids(list: &str) -> Vec<String> {
    let elements = list.split('<').filter_map(|part| part.split_once('>'));
    elements
        .filter(|(name, _)| matches!(*name, "Latest" | "Uncommitted" | "Committed"))
        .map(|(_, text)| text.trim().to_owned())
        .collect()
}

fn answer(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert("x-ms-version", HeaderValue::from_static(VERSION));
    headers.insert("x-ms-request-server-encrypted", HeaderValue::from_static("true"));
    headers.insert(header::ETAG, HeaderValue::from_static("\"0x8D0000000000001\""));
    let written = crate::clock::http_date(now());
    if let Ok(written) = HeaderValue::from_str(&written) {
        headers.insert(header::LAST_MODIFIED, written);
    }
    response
}

fn refusal(status: StatusCode, code: &'static str) -> Response {
    let body = format!(r#"<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code></Error>"#);
    let mut response = answer(status, Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response.headers_mut().insert("x-ms-error-code", HeaderValue::from_static(code));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_blocks_is_read_in_order() {
        let list = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<BlockList>\n  <Latest>MQ==</Latest>\
                    <Uncommitted>Mg==</Uncommitted></BlockList>";
        assert_eq!(block_ids(list), ["MQ==", "Mg=="]);
    }
}
