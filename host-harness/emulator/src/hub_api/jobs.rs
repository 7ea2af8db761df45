//! Scheduled jobs (`/jobs/v2`), which update twins or call methods on many devices. The emulator really runs the jobs.
//!
//! A job that some devices refuse still ends `completed`, with their number in its statistics. No document says when a
//! job of the hub ends `failed`, so here it does so by a fault rule only.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::task::JoinSet;

use crate::clock::now;
use crate::error::{ErrorCode, ServiceError, invalid};
use crate::etag::Precondition;
use crate::faults::{FaultAction, RUN};
use crate::journal::ChangeKind;
use crate::operations::methods::call;
use crate::records::device::Device;
use crate::records::identity::Target;
use crate::records::job::{
    DEFAULT_EXECUTION_SECONDS, DeviceJob, Job, JobRequest, JobStatus, Statistics, Work, check_job_id, job_not_found,
};
use crate::records::twin::Change;
use crate::records::twin_view::of_device;
use crate::service::Service;
use crate::sync::lock;
use crate::web::answer::ok;
use crate::web::request::{JsonBody, query_parameter};
use crate::world::Shared;
use crate::{paging, query};

/// How many devices a job works on at the same time. One S1 unit of the service handles as many per second.
const PARALLEL: usize = 10;

/// `PUT /jobs/v2/{id}`: creates a job, which starts at its start time.
pub(crate) async fn put(
    State(world): State<Shared>,
    Path(id): Path<String>,
    JsonBody(mut request): JsonBody<JobRequest>,
) -> Result<Response, ServiceError> {
    check_job_id(&id)?;
    if request.job_id.as_deref().is_some_and(|body| body != id) {
        return Err(invalid("the jobId of the body must equal the id of the path"));
    }
    request.job_id = Some(id.clone());
    let work = request.work()?;
    let created = now();
    let start = match request.start_time.as_deref().filter(|text| !text.is_empty()) {
        Some(text) => {
            OffsetDateTime::parse(text, &Rfc3339).map_err(|_| invalid("startTime must be an RFC 3339 time"))?
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
    let job = Job { request, created, start, end: None, status, failure: None, statistics: Statistics::default() };
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

/// What a fault rule does to the job of this path as it begins to run: a delay delays, and by every other action the job
/// fails. Returns the reason.
pub(super) async fn failure(world: &Shared, path: &str) -> Option<&'static str> {
    for action in world.faults.pick(Service::Hub, RUN, path) {
        match action {
            FaultAction::Latency(time) => tokio::time::sleep(time).await,
            _ => return Some("InternalServerError: the job could not be run"),
        }
    }
    None
}

async fn run(world: Shared, id: String, work: Work, limit: Duration) {
    if !set_status(&world, &id, JobStatus::Running) {
        return;
    }
    if let Some(reason) = failure(&world, &format!("/jobs/v2/{id}")).await {
        if let Some(job) = lock(&world.hub).jobs.get_mut(&id).filter(|job| !job.status.is_final()) {
            job.failure = Some(reason);
        }
        set_status(&world, &id, JobStatus::Failed);
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
    let selected = |device: &&Device| condition.as_ref().is_none_or(|it| it.holds(&of_device(device)));
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
            let target = Target { device: device.clone(), module: None };
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
pub(crate) async fn get(State(world): State<Shared>, Path(id): Path<String>) -> Result<Response, ServiceError> {
    let hub = lock(&world.hub);
    hub.jobs.get(&id).map(|job| ok(&job.to_json())).ok_or_else(|| job_not_found(&id))
}

/// `POST /jobs/v2/{id}/cancel`: cancels a job. Changes already made to devices stay. A finished job cannot be
/// cancelled.
pub(crate) async fn cancel(State(world): State<Shared>, Path(id): Path<String>) -> Result<Response, ServiceError> {
    let cancelled = set_status(&world, &id, JobStatus::Cancelled);
    let hub = lock(&world.hub);
    let job = hub.jobs.get(&id).ok_or_else(|| job_not_found(&id))?;
    if cancelled {
        Ok(ok(&job.to_json()))
    } else {
        Err(ServiceError::new(ErrorCode::INVALID_OPERATION, format!("Job {id} has ended and cannot be cancelled")))
    }
}

/// `GET /jobs/v2/query?jobType=&jobStatus=`: answers with the object of the service's description, and with page
/// headers, because the .NET client reads those instead.
pub(crate) async fn list(
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
