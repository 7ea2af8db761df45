//! Jobs: scheduled ones (`/jobs/v2`), which update twins or call methods on many devices, and the older ones that
//! import and export the registry.
//!
//! Scheduled jobs really run. Import and export only go through their states: the emulator has no blob storage, so
//! nothing is read or written.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::task::JoinSet;

use super::methods::{MethodBody, MethodTarget, call};
use super::twins::{Change, TwinBody, of_device};
use crate::error::{ErrorCode, ServiceError, invalid};
use crate::etag::Precondition;
use crate::journal::{ChangeKind, rfc3339};
use crate::paging;
use crate::query;
use crate::random;
use crate::server::{JsonBody, no_content, ok, query_parameter};
use crate::world::{Shared, lock, now};

/// How long an import or export takes.
const BLOB_JOB_TIME: Duration = Duration::from_millis(500);
const DEFAULT_EXECUTION_SECONDS: u64 = 3600;
/// How many devices a job works on at a time, as the service does for one S1 unit in a second.
const PARALLEL: usize = 10;

/// A scheduled job.
#[derive(Debug)]
pub(super) struct Job {
    request: JobRequest,
    created: OffsetDateTime,
    start: OffsetDateTime,
    end: Option<OffsetDateTime>,
    status: JobStatus,
    statistics: Statistics,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Statistics {
    device_count: u32,
    failed_count: u32,
    succeeded_count: u32,
    running_count: u32,
    pending_count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum JobStatus {
    Enqueued,
    Queued,
    Scheduled,
    Running,
    Completed,
    Cancelled,
}

impl JobStatus {
    fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Cancelled)
    }
}

/// A scheduled job as clients send it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JobRequest {
    job_id: Option<String>,
    #[serde(rename = "type")]
    kind: JobType,
    cloud_to_device_method: Option<Value>,
    update_twin: Option<Value>,
    query_condition: Option<String>,
    start_time: Option<String>,
    max_execution_time_in_seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum JobType {
    ScheduleDeviceMethod,
    ScheduleUpdateTwin,
}

/// What a job does to each device.
#[derive(Clone)]
enum Work {
    Method(MethodBody),
    Twin(TwinBody),
}

/// A job's part on one device.
#[derive(Debug)]
pub(super) struct DeviceJob {
    device: String,
    job: String,
    kind: JobType,
    created: OffsetDateTime,
    start: OffsetDateTime,
    end: OffsetDateTime,
    outcome: Result<Option<(i32, Value)>, ServiceError>,
}

impl DeviceJob {
    /// A row of `SELECT * FROM devices.jobs`.
    pub(super) fn to_json(&self) -> Value {
        let mut object = json!({
            "deviceId": self.device,
            "jobId": self.job,
            "jobType": self.kind,
            "status": if self.outcome.is_ok() { "completed" } else { "failed" },
            "createdDateTimeUtc": rfc3339(self.created),
            "startTimeUtc": rfc3339(self.start),
            "endTimeUtc": rfc3339(self.end),
            "lastUpdatedDateTimeUtc": rfc3339(self.end),
        });
        match &self.outcome {
            Ok(Some((status, payload))) => {
                object["outcome"] = json!({ "deviceMethodResponse": { "status": status, "payload": payload } });
            }
            Ok(None) => {}
            Err(error) => {
                object["error"] = json!({ "code": error.code().number().to_string(), "description": error.message() });
            }
        }
        object
    }
}

impl Job {
    fn to_json(&self) -> Value {
        let request = &self.request;
        let mut object = json!({
            "jobId": request.job_id,
            "type": request.kind,
            "createdTime": rfc3339(self.created),
            "startTime": rfc3339(self.start),
            "maxExecutionTimeInSeconds": request.max_execution_time_in_seconds.unwrap_or(DEFAULT_EXECUTION_SECONDS),
            "status": self.status,
            "deviceJobStatistics": self.statistics,
        });
        for (name, value) in [
            ("cloudToDeviceMethod", request.cloud_to_device_method.clone()),
            ("updateTwin", request.update_twin.clone()),
            ("queryCondition", request.query_condition.clone().map(Value::String)),
            ("endTime", self.end.map(|end| json!(rfc3339(end)))),
        ] {
            if let Some(value) = value {
                object[name] = value;
            }
        }
        object
    }
}

fn check_job_id(id: &str) -> Result<(), ServiceError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-:.+%_#*?!(),=@;$'".contains(&byte);
    if id.is_empty() || id.len() > 64 || !id.bytes().all(allowed) {
        return Err(invalid("a job id must have 1 to 64 ASCII letters, digits or - : . + % _ # * ? ! ( ) , = @ ; $ '"));
    }
    Ok(())
}

fn job_not_found(id: &str) -> ServiceError {
    ServiceError::new(ErrorCode::JOB_NOT_FOUND, format!("Job {id} not found"))
}

impl JobRequest {
    /// Checks everything that can be known before the job runs.
    fn work(&self) -> Result<Work, ServiceError> {
        let condition = self.query_condition.as_deref().unwrap_or("*");
        if condition.trim() != "*" {
            query::parse_condition(condition)
                .map_err(|error| invalid(format!("the queryCondition is not valid: {error}")))?;
        }
        let part = |name: &str, part: &Option<Value>| {
            part.clone().ok_or_else(|| invalid(format!("a job of this type needs a {name} member")))
        };
        let wrong = |error: serde_json::Error| invalid(format!("the job cannot be carried out: {error}"));
        match self.kind {
            JobType::ScheduleDeviceMethod => {
                let method = part("cloudToDeviceMethod", &self.cloud_to_device_method)?;
                serde_json::from_value(method).map(Work::Method).map_err(wrong)
            }
            JobType::ScheduleUpdateTwin => {
                let twin = part("updateTwin", &self.update_twin)?;
                if twin.get("etag").and_then(Value::as_str).is_none_or(|etag| etag.trim_matches('"') != "*") {
                    return Err(invalid("the etag of updateTwin must be '*'"));
                }
                serde_json::from_value(twin).map(Work::Twin).map_err(wrong)
            }
        }
    }
}

/// `PUT /jobs/v2/{id}`: makes a job and starts it when its time has come.
pub(super) async fn put(
    State(world): State<Shared>,
    Path(id): Path<String>,
    JsonBody(mut request): JsonBody<JobRequest>,
) -> Result<Response, ServiceError> {
    check_job_id(&id)?;
    if request.job_id.as_deref().is_some_and(|body| body != id) {
        return Err(invalid("the jobId of the body is not the one of the path"));
    }
    request.job_id = Some(id.clone());
    let work = request.work()?;
    let created = now();
    let start = match request.start_time.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => {
            OffsetDateTime::parse(text, &Rfc3339).map_err(|_| invalid("startTime is not an RFC 3339 time"))?
        }
        None => created,
    };
    let start = start.max(created);
    let mut hub = lock(&world.hub);
    if hub.jobs.get(&id).is_some() {
        return Err(ServiceError::new(ErrorCode::JOB_ALREADY_EXISTS, format!("Job {id} already exists")));
    }
    let limit = Duration::from_secs(request.max_execution_time_in_seconds.unwrap_or(DEFAULT_EXECUTION_SECONDS));
    let status = if start > created { JobStatus::Scheduled } else { JobStatus::Queued };
    let job = Job { request, created, start, end: None, status, statistics: Statistics::default() };
    let response = ok(&job.to_json());
    hub.journal.append(ChangeKind::JobChanged, id.as_str(), None, json!({ "status": status }));
    hub.jobs.insert(&id, job);
    drop(hub);
    let wait = Duration::try_from(start - created).unwrap_or_default();
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        run(world, id, work, limit).await;
    });
    Ok(response)
}

/// Sets a job's status unless it has a final one. Returns whether it did.
fn set_status(world: &Shared, id: &str, status: JobStatus) -> bool {
    let mut hub = lock(&world.hub);
    let Some(job) = hub.jobs.get_mut(id).filter(|job| !job.status.is_final()) else { return false };
    job.status = status;
    if status.is_final() {
        job.end = Some(now());
    }
    hub.journal.append(ChangeKind::JobChanged, id, None, json!({ "status": status }));
    true
}

async fn run(world: Shared, id: String, work: Work, limit: Duration) {
    if !set_status(&world, &id, JobStatus::Running) {
        return;
    }
    let deadline = tokio::time::Instant::now() + limit;
    let mut waiting = targets(&world, &id).into_iter();
    let mut running = JoinSet::new();
    loop {
        while running.len() < PARALLEL
            && let Some(device) = waiting.next()
        {
            running.spawn(one(world.clone(), device, work.clone(), deadline));
        }
        let Some(finished) = running.join_next().await else { break };
        let Ok((device, start, outcome)) = finished else { continue };
        let mut hub = lock(&world.hub);
        let Some(job) = hub.jobs.get_mut(&id) else { return };
        if job.status == JobStatus::Cancelled {
            return;
        }
        let counts = &mut job.statistics;
        *(if outcome.is_ok() { &mut counts.succeeded_count } else { &mut counts.failed_count }) += 1;
        counts.pending_count = counts.device_count - counts.succeeded_count - counts.failed_count;
        let (kind, created) = (job.request.kind, job.created);
        let part = DeviceJob { device, job: id.clone(), kind, created, start, end: now(), outcome };
        let key = format!("{id}/{}", part.device);
        hub.events.job(&part.device, || part.to_json());
        hub.device_jobs.insert(&key, part);
    }
    set_status(&world, &id, JobStatus::Completed);
}

/// The devices that the job's condition selects at its start.
fn targets(world: &Shared, id: &str) -> Vec<String> {
    let mut hub = lock(&world.hub);
    let condition = hub.jobs.get(id).and_then(|job| job.request.query_condition.clone()).unwrap_or_default();
    let condition = match condition.trim() {
        "" | "*" => None,
        text => query::parse_condition(text).ok(),
    };
    let selected = |device: &&super::Device| condition.as_ref().is_none_or(|it| it.holds(&of_device(device)));
    let targets: Vec<String> = hub.devices.iter().filter(selected).map(|device| device.id.clone()).collect();
    if let Some(job) = hub.jobs.get_mut(id) {
        let count = u32::try_from(targets.len()).unwrap_or(u32::MAX);
        job.statistics = Statistics { device_count: count, pending_count: count, ..Statistics::default() };
    }
    targets
}

async fn one(
    world: Shared,
    device: String,
    work: Work,
    deadline: tokio::time::Instant,
) -> (String, OffsetDateTime, Result<Option<(i32, Value)>, ServiceError>) {
    let start = now();
    let outcome = match work {
        Work::Method(body) => {
            let target = MethodTarget { device: device.clone(), module: None };
            tokio::time::timeout_at(deadline, call(&world, target, body)).await.map_or_else(
                |_| Err(ServiceError::new(ErrorCode::REQUEST_TIMEOUT, "the job's time has run out")),
                |outcome| outcome.map(Some),
            )
        }
        Work::Twin(body) => {
            let written = lock(&world.hub).write_twin(&device, None, body, Change::Merge, &Precondition::Any);
            written.map(|()| None)
        }
    };
    (device, start, outcome)
}

/// `GET /jobs/v2/{id}`.
pub(super) async fn get(State(world): State<Shared>, Path(id): Path<String>) -> Result<Response, ServiceError> {
    let hub = lock(&world.hub);
    hub.jobs.get(&id).map(|job| ok(&job.to_json())).ok_or_else(|| job_not_found(&id))
}

/// `POST /jobs/v2/{id}/cancel`: what has been done stays done. A finished job cannot be cancelled.
pub(super) async fn cancel(State(world): State<Shared>, Path(id): Path<String>) -> Result<Response, ServiceError> {
    let cancelled = set_status(&world, &id, JobStatus::Cancelled);
    let hub = lock(&world.hub);
    let job = hub.jobs.get(&id).ok_or_else(|| job_not_found(&id))?;
    if cancelled {
        Ok(ok(&job.to_json()))
    } else {
        Err(ServiceError::new(ErrorCode::INVALID_OPERATION, format!("Job {id} has ended and cannot be cancelled")))
    }
}

/// `GET /jobs/v2/query?jobType=&jobStatus=`: the object of the service's description, and the page headers that the
/// .NET client reads instead.
pub(super) async fn list(
    State(world): State<Shared>,
    uri: Uri,
    headers: axum::http::HeaderMap,
) -> Result<Response, ServiceError> {
    let kind = query_parameter(&uri, "jobType").filter(|text| !text.is_empty());
    let status = query_parameter(&uri, "jobStatus").filter(|text| !text.is_empty());
    let request = world.pager.request(&headers, &format!("jobs {kind:?} {status:?}"))?;
    let is = |wanted: &Option<String>, value: &Value| {
        wanted.as_deref().is_none_or(|wanted| value.as_str().is_some_and(|value| value.eq_ignore_ascii_case(wanted)))
    };
    let hub = lock(&world.hub);
    let jobs = hub.jobs.after(request.after).map(|(sequence, job)| (sequence, job.to_json()));
    let page =
        world.pager.page(&request, jobs.filter(|(_, job)| is(&kind, &job["type"]) && is(&status, &job["status"])));
    let mut body = json!({ "type": "jobResponse", "items": page.items });
    if let Some(token) = &page.continuation {
        body["continuationToken"] = json!(token);
    }
    let mut response = ok(&body);
    paging::write_headers(response.headers_mut(), "JobResponse", page.continuation.as_deref());
    Ok(response)
}

/// An import or export. Not printable: its URIs may hold the secrets of storage accounts.
pub(super) struct BlobJob {
    /// What the client sent.
    request: Map<String, Value>,
    id: String,
    kind: String,
    start: OffsetDateTime,
    end: Option<OffsetDateTime>,
    status: JobStatus,
}

impl BlobJob {
    fn to_json(&self) -> Value {
        let mut object = Value::Object(self.request.clone());
        object["jobId"] = json!(self.id);
        object["type"] = json!(self.kind);
        object["startTimeUtc"] = json!(rfc3339(self.start));
        object["status"] = json!(self.status);
        object["progress"] = json!(if self.status == JobStatus::Completed { 100 } else { 0 });
        if let Some(end) = self.end {
            object["endTimeUtc"] = json!(rfc3339(end));
        }
        object
    }
}

/// `POST /jobs/create`.
pub(super) async fn create_blob_job(
    State(world): State<Shared>,
    JsonBody(mut request): JsonBody<Map<String, Value>>,
) -> Result<Response, ServiceError> {
    const KEPT: &[&str] = &[
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
    request.retain(|name, value| KEPT.contains(&name.as_str()) && !value.is_null());
    let id = random::uuid();
    let job = BlobJob { request, id: id.clone(), kind, start: now(), end: None, status: JobStatus::Enqueued };
    let response = ok(&job.to_json());
    let mut hub = lock(&world.hub);
    hub.journal.append(ChangeKind::JobChanged, id.as_str(), None, json!({ "status": job.status }));
    hub.blob_jobs.insert(&id, job);
    drop(hub);
    tokio::spawn(async move {
        for status in [JobStatus::Running, JobStatus::Completed] {
            tokio::time::sleep(BLOB_JOB_TIME / 2).await;
            set_blob_status(&world, &id, status);
        }
    });
    Ok(response)
}

fn set_blob_status(world: &Shared, id: &str, status: JobStatus) -> bool {
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
pub(super) async fn list_blob_jobs(State(world): State<Shared>) -> Response {
    ok(&lock(&world.hub).blob_jobs.iter().map(BlobJob::to_json).collect())
}

/// `GET /jobs/{id}`.
pub(super) async fn get_blob_job(
    State(world): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, ServiceError> {
    let hub = lock(&world.hub);
    hub.blob_jobs.get(&id).map(|job| ok(&job.to_json())).ok_or_else(|| job_not_found(&id))
}

/// `DELETE /jobs/{id}`: cancels; one that has ended stays as it is.
pub(super) async fn cancel_blob_job(
    State(world): State<Shared>,
    Path(id): Path<String>,
) -> Result<Response, ServiceError> {
    lock(&world.hub).blob_jobs.get(&id).map(drop).ok_or_else(|| job_not_found(&id))?;
    set_blob_status(&world, &id, JobStatus::Cancelled);
    Ok(no_content())
}
