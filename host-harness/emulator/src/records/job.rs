//! Scheduled jobs, and what they did on each device.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::method::MethodBody;
use super::twin::TwinBody;
use crate::any_case::any_case;
use crate::clock::rfc3339;
use crate::error::{ErrorCode, ServiceError, invalid};
use crate::query;

pub(crate) const DEFAULT_EXECUTION_SECONDS: u64 = 3600;

/// A scheduled job.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) request: JobRequest,
    pub(crate) created: OffsetDateTime,
    pub(crate) start: OffsetDateTime,
    pub(crate) end: Option<OffsetDateTime>,
    pub(crate) status: JobStatus,
    /// Why the job failed as a whole.
    pub(crate) failure: Option<&'static str>,
    pub(crate) statistics: Statistics,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Statistics {
    pub(crate) device_count: u32,
    pub(crate) failed_count: u32,
    pub(crate) succeeded_count: u32,
    pub(crate) running_count: u32,
    pub(crate) pending_count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum JobStatus {
    Enqueued,
    Queued,
    Scheduled,
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl JobStatus {
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// A scheduled job as clients send it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobRequest {
    pub(crate) job_id: Option<String>,
    #[serde(rename = "type", deserialize_with = "any_case")]
    pub(crate) kind: JobType,
    pub(crate) cloud_to_device_method: Option<Value>,
    pub(crate) update_twin: Option<Value>,
    pub(crate) query_condition: Option<String>,
    pub(crate) start_time: Option<String>,
    pub(crate) max_execution_time_in_seconds: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum JobType {
    ScheduleDeviceMethod,
    ScheduleUpdateTwin,
}

/// What a job does to each device.
#[derive(Clone)]
pub(crate) enum Work {
    Method(MethodBody),
    Twin(TwinBody),
}

/// The part of a job that is done on one device.
#[derive(Debug)]
pub(crate) struct DeviceJob {
    pub(crate) device: String,
    pub(crate) job: String,
    pub(crate) kind: JobType,
    pub(crate) created: OffsetDateTime,
    pub(crate) start: OffsetDateTime,
    pub(crate) end: OffsetDateTime,
    pub(crate) outcome: Result<Option<(i32, Value)>, ServiceError>,
}

impl DeviceJob {
    /// A row of `SELECT * FROM devices.jobs`.
    pub(crate) fn to_json(&self) -> Value {
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
    pub(crate) fn to_json(&self) -> Value {
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
            ("failureReason", self.failure.map(|reason| json!(reason))),
        ] {
            if let Some(value) = value {
                object[name] = value;
            }
        }
        object
    }
}

/// Checks the id of a new job ("Schedule jobs on multiple devices": 64 characters or less, letters, digits and dashes).
pub(crate) fn check_job_id(id: &str) -> Result<(), ServiceError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if id.is_empty() || id.len() > 64 || !id.bytes().all(allowed) {
        return Err(invalid("a job id must have 1 to 64 ASCII letters, digits and dashes"));
    }
    Ok(())
}

pub(crate) fn job_not_found(id: &str) -> ServiceError {
    ServiceError::new(ErrorCode::JOB_NOT_FOUND, format!("Job {id} not found"))
}

impl JobRequest {
    /// Checks everything that can be checked before the job runs.
    pub(crate) fn work(&self) -> Result<Work, ServiceError> {
        let condition = self.query_condition.as_deref().unwrap_or("*");
        if condition.trim() != "*" {
            query::parse_condition(condition)
                .map_err(|error| invalid(format!("the queryCondition is not valid: {error}")))?;
        }
        let part = |name: &str, part: &Option<Value>| {
            part.clone().ok_or_else(|| invalid(format!("a job of this type needs a {name} member")))
        };
        let wrong = |error: serde_json::Error| invalid(format!("the job's work cannot be read: {error}"));
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
