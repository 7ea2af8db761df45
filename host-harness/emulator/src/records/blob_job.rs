//! Jobs that import or export the registry.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::job::JobStatus;
use crate::clock::rfc3339;

/// An import or export. Not printable: its URIs may hold the secrets of storage accounts.
pub(crate) struct BlobJob {
    /// What the client sent.
    pub(crate) request: Map<String, Value>,
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) start: OffsetDateTime,
    pub(crate) end: Option<OffsetDateTime>,
    pub(crate) status: JobStatus,
    /// Why the job failed.
    pub(crate) failure: Option<&'static str>,
}

impl BlobJob {
    pub(crate) fn to_json(&self) -> Value {
        let mut object = Value::Object(self.request.clone());
        object["jobId"] = json!(self.id);
        object["type"] = json!(self.kind);
        object["startTimeUtc"] = json!(rfc3339(self.start));
        object["status"] = json!(self.status);
        object["progress"] = json!(if self.status == JobStatus::Completed { 100 } else { 0 });
        if let Some(end) = self.end {
            object["endTimeUtc"] = json!(rfc3339(end));
        }
        if let Some(reason) = self.failure {
            object["failureReason"] = json!(reason);
        }
        object
    }
}
