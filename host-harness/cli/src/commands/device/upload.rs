//! File upload through the hub: the hub names a blob, the device writes it, and notifies the hub.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use super::https::{HubApi, send};
use super::identity::escaped;
use super::line::Line;

/// The version of blob storage's API, the one that Microsoft's device clients state.
const STORAGE_VERSION: &str = "2020-10-02";

/// A file to upload.
#[derive(Clone, Debug)]
pub(crate) struct Upload {
    name: String,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    File(PathBuf),
    Text(String),
}

impl Upload {
    /// Reads the argument: a file, or `NAME=TEXT` if no file has this name.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let path = Path::new(text);
        if path.is_file() {
            let name = path.file_name().and_then(|name| name.to_str()).ok_or("the file's name is not valid UTF-8")?;
            return Ok(Self { name: name.to_owned(), content: Content::File(path.to_owned()) });
        }
        match text.split_once('=') {
            Some((name, content)) if !name.is_empty() => {
                Ok(Self { name: name.to_owned(), content: Content::Text(content.to_owned()) })
            }
            _ => Err("must be a file that exists, or NAME=TEXT".to_owned()),
        }
    }

    fn read(&self) -> Result<Bytes> {
        match &self.content {
            Content::Text(text) => Ok(text.clone().into()),
            Content::File(path) => {
                Ok(std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?.into())
            }
        }
    }
}

/// What the hub answers to the request for an upload.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    correlation_id: String,
    host_name: String,
    container_name: String,
    blob_name: String,
    sas_token: String,
}

/// Uploads a file.
///
/// # Errors
/// If the file cannot be read, or the hub or the storage refuses. The hub is notified of a failed upload as well.
pub(super) async fn upload(hub: &HubApi<'_>, upload: &Upload) -> Result<Line> {
    let bytes = upload.read()?;
    let size = bytes.len();
    let asked = json!({ "blobName": upload.name });
    let answer = hub.ask(Method::POST, "/files", "", Some(&asked)).await?;
    let answer = answer.successful("the hub gave no place for the file")?;
    let place: Place = serde_json::from_slice(&answer.body).context("the hub's answer names no place for the file")?;
    let blob: Vec<_> = place.blob_name.split('/').map(escaped).collect();
    let target = format!("/{}/{}{}", escaped(&place.container_name), blob.join("/"), place.sas_token);
    let headers = [("x-ms-blob-type", "BlockBlob"), ("x-ms-version", STORAGE_VERSION)];
    let written = send(hub.tls, &place.host_name, Method::PUT, &target, &headers, bytes).await;
    let written = written.and_then(|answer| answer.successful("the storage refused the file"));
    let status = written.as_ref().map_or(500, |answer| answer.status.as_u16());
    let notice = json!({
        "correlationId": place.correlation_id,
        "isSuccess": written.is_ok(),
        "statusCode": status,
        "statusDescription": if written.is_ok() { "uploaded" } else { "the upload failed" },
    });
    let notified = hub.ask(Method::POST, "/files/notifications", "", Some(&notice)).await?;
    written?;
    notified.successful("the hub refused the notice of the upload")?;
    let members = json!({ "blobName": place.blob_name, "container": place.container_name, "size": size });
    Ok(Line::new("uploaded", members, format!("{} ({size} bytes)", place.blob_name)))
}

#[cfg(test)]
mod tests {
    use super::{Content, Upload};

    #[test]
    fn a_file_or_a_name_with_a_text() {
        let upload = Upload::parse("report.txt=all is well").unwrap();
        assert!(upload.name == "report.txt" && matches!(&upload.content, Content::Text(text) if text == "all is well"));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a=b.txt");
        std::fs::write(&file, "x").unwrap();
        assert_eq!(Upload::parse(file.to_str().unwrap()).unwrap().name, "a=b.txt");
        assert!(Upload::parse("no-such-file").is_err() && Upload::parse("=x").is_err());
    }
}
