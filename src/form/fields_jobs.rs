//! The schemas of jobs, as the hub returns them.

use serde_json::Value;

use super::schema::{help, integer, literal, one_of, open_object, string};

/// The states of a job.
pub fn state() -> Value {
    one_of("Status", &["unknown", "enqueued", "queued", "scheduled", "running", "completed", "failed", "cancelled"])
}

/// On how many devices a job succeeded, failed, and so on.
pub fn statistics() -> Value {
    let count = |title| integer(title, 0, i64::from(i32::MAX));
    open_object(
        [
            ("deviceCount", count("Devices")),
            ("succeededCount", count("Succeeded")),
            ("failedCount", count("Failed")),
            ("runningCount", count("Running")),
            ("pendingCount", count("Pending")),
        ],
        &[],
    )
}

/// A scheduled job as the hub returns it.
pub fn job_output() -> Value {
    open_object(
        [
            ("jobId", string("Job id")),
            ("type", string("Type")),
            ("status", state()),
            ("queryCondition", string("Condition")),
            ("createdTime", string("Created")),
            ("startTime", string("Start")),
            ("endTime", string("End")),
            ("maxExecutionTimeInSeconds", integer("Longest run (s)", 0, i64::MAX)),
            ("failureReason", string("Reason of the failure")),
            ("statusMessage", string("Message")),
            ("deviceJobStatistics", statistics()),
        ],
        &["jobId"],
    )
}

/// An example of [`job_output`].
pub fn job_sample() -> Value {
    literal!({
        "jobId": "nightly",
        "type": "scheduleUpdateTwin",
        "status": "completed",
        "queryCondition": "tags.site = 'north'",
        "createdTime": "2026-05-04T21:00:00Z",
        "startTime": "2026-05-04T22:00:00Z",
        "endTime": "2026-05-04T22:00:07Z",
        "maxExecutionTimeInSeconds": 3600,
        "deviceJobStatistics": { "deviceCount": 3, "succeededCount": 2, "failedCount": 1, "runningCount": 0, "pendingCount": 0 }
    })
}

/// An import or export job, without the keys to its containers.
pub fn transfer_output() -> Value {
    let uri = |title| help(string(title), "`(secret)` stands for the keys in it.");
    open_object(
        [
            ("jobId", string("Job id")),
            ("type", string("Type")),
            ("status", state()),
            ("progress", integer("Progress (%)", 0, 100)),
            ("startTimeUtc", string("Start")),
            ("endTimeUtc", string("End")),
            ("inputBlobContainerUri", uri("Input container")),
            ("outputBlobContainerUri", uri("Output container")),
            ("failureReason", string("Reason of the failure")),
        ],
        &["jobId"],
    )
}

/// An example of [`transfer_output`].
pub fn transfer_sample() -> Value {
    literal!({
        "jobId": "2f8a4c1e-6b0d-4f57-9a53-0d6c1b7e9f20",
        "type": "export",
        "status": "completed",
        "progress": 100,
        "startTimeUtc": "2026-05-04T07:00:00Z",
        "endTimeUtc": "2026-05-04T07:02:00Z",
        "outputBlobContainerUri": "https://plant.blob.core.windows.net/registry?sv=(secret)&sig=(secret)",
        "excludeKeysInExport": true
    })
}
