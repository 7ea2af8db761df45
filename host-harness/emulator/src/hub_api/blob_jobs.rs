//! Jobs that import or export the registry.
//!
//! They only go through their states: the emulator has no blob storage, so nothing is read or written.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::jobs::failure;
use crate::clock::now;
use crate::error::{ServiceError, invalid};
use crate::journal::ChangeKind;
use crate::random;
use crate::records::blob_job::BlobJob;
use crate::records::job::{JobStatus, job_not_found};
use crate::sync::lock;
use crate::web::answer::{no_content, ok};
use crate::web::request::JsonBody;
use crate::world::Shared;

/// How long an import or export takes.
const BLOB_JOB_TIME: Duration = Duration::from_millis(500);

/// `POST /jobs/create`.
pub(crate) async fn create(
    State(world): State<Shared>,
    JsonBody(mut request): JsonBody<Map<String, Value>>,
) -> Result<Response, ServiceError> {
    const MEMBERS: &[&str] = &[
        "inputBlobContainerUri",
        "inputBlobName",
        "outputBlobContainerUri",
        "outputBlobName",
        "excludeKeysInExport",
        "storageAuthenticationType",
        "identity",
        "includeConfigurations",
        "configurationsBlobName",
    ];
    let kind = request.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let needed = match kind.as_str() {
        "export" => "outputBlobContainerUri",
        "import" => "inputBlobContainerUri",
        _ => return Err(invalid("the type of the job must be 'export' or 'import'")),
    };
    if request.get(needed).and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(invalid(format!("a job of type '{kind}' needs {needed}")));
    }
    request.retain(|name, value| MEMBERS.contains(&name.as_str()) && !value.is_null());
    let id = random::uuid();
    let job =
        BlobJob { request, id: id.clone(), kind, start: now(), end: None, status: JobStatus::Enqueued, failure: None };
    let response = ok(&job.to_json());
    let mut hub = lock(&world.hub);
    hub.journal.append(ChangeKind::JobChanged, id.as_str(), None, json!({ "status": job.status }));
    hub.blob_jobs.insert(&id, job);
    drop(hub);
    tokio::spawn(async move {
        tokio::time::sleep(BLOB_JOB_TIME / 2).await;
        set_status(&world, &id, JobStatus::Running);
        let failure = failure(&world, &format!("/jobs/{id}")).await;
        tokio::time::sleep(BLOB_JOB_TIME / 2).await;
        if failure.is_some()
            && let Some(job) = lock(&world.hub).blob_jobs.get_mut(&id).filter(|job| !job.status.is_final())
        {
            job.failure = failure;
        }
        set_status(&world, &id, if failure.is_some() { JobStatus::Failed } else { JobStatus::Completed });
    });
    Ok(response)
}

fn set_status(world: &Shared, id: &str, status: JobStatus) -> bool {
    let mut hub = lock(&world.hub);
    let Some(job) = hub.blob_jobs.get_mut(id).filter(|job| !job.status.is_final()) else { return false };
    job.status = status;
    if status.is_final() {
        job.end = Some(now());
    }
    hub.journal.append(ChangeKind::JobChanged, id, None, json!({ "status": status }));
    true
}

/// `GET /jobs`.
pub(crate) async fn list(State(world): State<Shared>) -> Response {
    ok(&lock(&world.hub).blob_jobs.iter().map(BlobJob::to_json).collect())
}

/// `GET /jobs/{id}`.
pub(crate) async fn get(State(world): State<Shared>, Path(id): Path<String>) -> Result<Response, ServiceError> {
    let hub = lock(&world.hub);
    hub.blob_jobs.get(&id).map(|job| ok(&job.to_json())).ok_or_else(|| job_not_found(&id))
}

/// `DELETE /jobs/{id}`: cancels a job; a job that has ended stays unchanged.
pub(crate) async fn cancel(State(world): State<Shared>, Path(id): Path<String>) -> Result<Response, ServiceError> {
    lock(&world.hub).blob_jobs.get(&id).map(drop).ok_or_else(|| job_not_found(&id))?;
    set_status(&world, &id, JobStatus::Cancelled);
    Ok(no_content())
}
