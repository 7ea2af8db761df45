//! What the actions on scheduled jobs share ("Schedule jobs on multiple devices").

use serde_json::{Value, json};

use super::waiting::{Waiting, has_ended, status};
use crate::actions::shared::declaration::{Field, optional, required};
use crate::actions::shared::input::Input;
use crate::actions::shared::keyed;
use crate::actions::shared::stepped::{Step, foreign_state};
use crate::actions::shared::twin::{Unnamed, agrees};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::Call;
use crate::error::{EffectState, Error, ErrorCode, Result, problem};
use crate::form::fields;
pub use crate::form::fields_jobs::{job_output as output, job_sample as sample, state, statistics};
use crate::form::schema::{
    any_object, boolean, help, integer, list, literal, object, one_of, open_object, string, with,
};
use crate::http::{Request, Safety};
use crate::instant;
use crate::iothub::text_literal;
pub use crate::iothub::without_nulls as shown;
use crate::platform::Method;
use crate::session::Session;

/// The longest condition, in characters: that of a query.
const LONGEST_CONDITION: usize = 8192;
/// The most failures that an output lists. **List a job's results** lists all of them.
const MOST_FAILURES: u32 = 100;

/// The id of an existing job.
pub const JOB: Field = required("jobId", || {
    with(
        string("Job id"),
        literal!({
            "x-options": "jobs",
            "minLength": 1,
            "maxLength": 64,
            "pattern": "^[!-.0-~]+$",
            "$comment": "must be printable ASCII without slashes and spaces"
        }),
    )
});
/// The id of a new job.
pub const NEW_JOB: Field = optional("jobId", || {
    with(
        help(
            string("Job id"),
            "Empty: made of the call's idempotency key, so that an attempt that is repeated starts no second job; without a key, by chance.",
        ),
        literal!({
            "minLength": 1,
            "maxLength": 64,
            "pattern": "^[A-Za-z0-9-]+$",
            "$comment": "must have 1 to 64 ASCII letters, digits and dashes",
            "x-visibility": "advanced"
        }),
    )
});
/// The condition for the devices of a job.
pub const CONDITION: Field = optional("condition", || {
    with(
        help(
            string("Condition"),
            "What stands after WHERE in the hub's query language. `*`: all devices. Either this or device ids.",
        ),
        literal!({ "minLength": 1, "maxLength": 8192, "examples": ["tags.site = 'north'"] }),
    )
});
/// The devices of a job.
pub const DEVICES: Field = optional("deviceIds", || {
    with(list("Device ids", fields::device_id()), literal!({ "minItems": 1, "maxItems": 500 }))
});
/// When a job starts.
pub const START: Field = optional("startTime", || {
    with(
        help(string("Start"), "With the offset from UTC. Empty, or a time that has passed: at once."),
        literal!({ "format": "date-time", "minLength": 1, "maxLength": 64, "examples": ["2026-05-04T22:00:00Z"] }),
    )
});
/// How long a job may run.
pub const RUNTIME: Field = optional("maxExecutionTimeSeconds", || {
    with(
        help(integer("Longest run (s)", 1, i64::from(i32::MAX)), "The hub ends the job after this time."),
        literal!({ "default": 3600, "x-visibility": "advanced" }),
    )
});

/// The kinds of scheduled jobs.
pub fn kind() -> Value {
    one_of("Type", &["scheduleUpdateTwin", "scheduleDeviceMethod"])
}

/// What a job did on one device, as the hub returns it.
pub fn result_output() -> Value {
    open_object(
        [
            ("deviceId", string("Device id")),
            ("jobId", string("Job id")),
            ("jobType", string("Type")),
            ("status", string("Status")),
            ("startTimeUtc", string("Start")),
            ("endTimeUtc", string("End")),
            ("outcome", help(any_object("Outcome"), "The answer of a direct method.")),
            ("error", any_object("Error")),
        ],
        &["deviceId"],
    )
}

/// An example of [`result_output`].
pub fn result_sample() -> Value {
    literal!({
        "deviceId": "press-17",
        "jobId": "nightly",
        "jobType": "scheduleDeviceMethod",
        "status": "failed",
        "startTimeUtc": "2026-05-04T22:00:01Z",
        "endTimeUtc": "2026-05-04T22:00:02Z",
        "error": { "code": "404103", "description": "Timed out waiting for device to connect." }
    })
}

/// The output of an action that starts a job and waits for its end.
pub fn ended_output() -> Value {
    object(
        [
            ("jobId", string("Job id")),
            ("status", one_of("Status", &["completed", "failed", "cancelled"])),
            ("failureReason", string("Reason of the failure")),
            ("statistics", statistics()),
            ("failures", help(list("Failures", result_output()), "The devices on which the job failed, at most 100.")),
            (
                "failuresComplete",
                help(boolean("Failures complete"), "False: **List a job's results** may list more of them."),
            ),
        ],
        &["jobId", "status", "statistics", "failures", "failuresComplete"],
    )
}

/// An example of [`ended_output`].
pub fn ended_sample() -> Value {
    json!({
        "jobId": "nightly",
        "status": "completed",
        "statistics": sample().get("deviceJobStatistics"),
        "failures": [result_sample()],
        "failuresComplete": true,
    })
}

/// A job id that can be a part of a path.
///
/// # Errors
/// `invalid-input` for ids that would lead to something else.
pub fn read_id(text: &str) -> Result<&str> {
    if matches!(text, "." | ".." | "query") {
        return Err(Error::field(
            "/jobId",
            "not-addressable",
            "is an id that cannot be used in a path of the service's API",
        ));
    }
    Ok(text)
}

/// A scheduled job.
///
/// # Errors
/// `not-found`, and the errors of the service.
pub fn job(session: &Session, id: &str) -> Result<Value> {
    session.hub().scheduled_job(id)
}

/// The devices that a job is for.
fn condition(input: &Input) -> Result<String> {
    match (input.text("condition"), input.items("deviceIds")) {
        (Some(_), [_, ..]) => {
            Err(Error::field("/deviceIds", "not-used", "must not be stated together with a condition"))
        }
        (Some(condition), []) => Ok(condition.to_owned()),
        (None, []) => Err(Error::field(
            "/condition",
            "missing",
            "must state which devices are meant: a condition, `*` for all devices, or device ids",
        )),
        (None, ids) => {
            let ids: Vec<String> = ids.iter().filter_map(Value::as_str).map(text_literal).collect();
            let condition = format!("deviceId IN [{}]", ids.join(","));
            if condition.chars().count() > LONGEST_CONDITION {
                let message = format!(
                    "must make a condition of at most {LONGEST_CONDITION} characters: use several jobs, or a condition"
                );
                return Err(Error::field("/deviceIds", "too-long", message));
            }
            Ok(condition)
        }
    }
}

/// What a job does: its type, and the name and value of the member that describes the work.
pub type Work = (&'static str, &'static str, Value);

/// The work of a job that changes twins.
///
/// # Errors
/// `invalid-input` with every member that no twin could have.
pub fn twin_work(input: &Input) -> Result<Work> {
    // The description wants an ETag here; jobs take no other than the star.
    let twin = with(crate::actions::shared::twin::document(input, Unnamed::Keep)?, literal!({ "etag": "*" }));
    Ok(("scheduleUpdateTwin", "updateTwin", twin))
}

/// The work of a job that calls a method.
///
/// # Errors
/// `payload-too-large`.
pub fn method_work(input: &Input) -> Result<Work> {
    Ok(("scheduleDeviceMethod", "cloudToDeviceMethod", crate::actions::shared::method::document(input)?))
}

/// Creates a job. If the hub already has a job with the id, the job counts as created if it does the same: an earlier
/// attempt has created it.
///
/// # Errors
/// `invalid-input`, `conflict` if another job has the id, and the errors of the service.
pub fn create(session: &Session, input: &Input, call: &Call, work: Work) -> Result<Value> {
    let (kind, member, work) = work;
    let mut body = json!({ "type": kind, member: work, "queryCondition": condition(input)? });
    if let Some(text) = input.text("startTime") {
        let start = instant::parse_ms(text)
            .ok_or_else(|| Error::field("/startTime", "not-a-time", "must be a time as 2026-05-04T22:00:00Z"))?;
        body["startTime"] = instant::rfc3339(start).into();
    }
    if let Some(seconds) = input.number("maxExecutionTimeSeconds") {
        body["maxExecutionTimeInSeconds"] = seconds.into();
    }
    let id = match input.text("jobId") {
        Some(id) => read_id(id)?.to_owned(),
        None => keyed::id(session.platform(), call, [body.to_string().as_bytes()]),
    };
    body["jobId"] = id.as_str().into();
    // The hub creates one job of an id, so that a repeated request is harmless.
    let request = Request::new(Method::Put, ["jobs", "v2", &id], Safety::Repeatable, Permission::ServiceConnect)
        .json(body.clone());
    let error = match session.hub().document(&request) {
        Ok(job) => return Ok(shown(job.document)),
        Err(error) => error,
    };
    let exists = error.code() == ErrorCode::Conflict;
    if !exists && error.record().effect != EffectState::Unknown {
        return Err(error);
    }
    match job(session, &id) {
        Ok(found) if is_same(&found, &body) => Ok(found),
        Ok(_) if exists => Err(error.with_problem(problem(
            "/jobId",
            "taken",
            "is the id of a job that does something else: state another id, or none",
        ))),
        _ => Err(error),
    }
}

/// Whether a job is the one that was asked for. The hub adds members, and may write times and nulls in other ways.
fn is_same(found: &Value, wanted: &Value) -> bool {
    let same = |pointer: &str| match wanted.pointer(pointer) {
        Some(wanted) => agrees(found.pointer(pointer), wanted, Unnamed::Remove),
        None => true,
    };
    let moment = |job: &Value, name: &str| job.get(name).and_then(Value::as_str).and_then(instant::parse_ms);
    let starts_alike = match (moment(wanted, "startTime"), moment(found, "startTime")) {
        // A job whose start has passed starts when it is created.
        (Some(wanted), Some(start)) => {
            wanted == start || moment(found, "createdTime").is_some_and(|created| wanted <= created)
        }
        _ => true,
    };
    starts_alike
        && [
            "/type",
            "/queryCondition",
            "/updateTwin/tags",
            "/updateTwin/properties/desired",
            "/cloudToDeviceMethod/methodName",
            "/cloudToDeviceMethod/payload",
            "/maxExecutionTimeInSeconds",
        ]
        .into_iter()
        .all(same)
}

/// The progress of a job, for a person.
pub fn progress(job: &Value) -> String {
    let count = |name: &str| job.pointer(&format!("/deviceJobStatistics/{name}")).and_then(Value::as_u64);
    match count("deviceCount") {
        Some(all) if all > 0 => {
            let done = count("succeededCount").unwrap_or_default() + count("failedCount").unwrap_or_default();
            format!("{}: {done} of {all} devices are done", status(job))
        }
        _ => format!("{}: no device has begun", status(job)),
    }
}

/// One step of an action that starts a job and waits for its end.
///
/// # Errors
/// The errors of [`create`] and of the service; `timeout` if the job takes longer than the input allows.
pub fn run_to_end(
    session: &Session,
    input: &Input,
    state: Option<&Value>,
    call: &Call,
    work: fn(&Input) -> Result<Work>,
) -> Result<Step> {
    let (waiting, job) = match state {
        None => {
            let job = create(session, input, call, work(input)?)?;
            let id = job.get("jobId").and_then(Value::as_str).ok_or_else(|| {
                Error::new(ErrorCode::Protocol, "The hub's answer lacks the id of the new job")
                    .with_effect(EffectState::Applied)
            })?;
            (Waiting::begin(session, id), job)
        }
        Some(state) => {
            let waiting = Waiting::read(state)?;
            let job = job(session, read_id(&waiting.job).map_err(|_| foreign_state())?)?;
            (waiting, job)
        }
    };
    if has_ended(&job) {
        finish(session, &waiting.job, &job).map(Step::Done)
    } else {
        waiting.again(session, input.number("timeoutSeconds"), progress(&job), true)
    }
}

/// The query for what a job did on devices.
pub fn results_query(job: &str, status: Option<&str>) -> String {
    let query = format!("SELECT * FROM devices.jobs WHERE devices.jobs.jobId = {}", text_literal(job));
    match status {
        Some(status) => format!("{query} AND devices.jobs.status = {}", text_literal(status)),
        None => query,
    }
}

/// The output for a job that has ended.
fn finish(session: &Session, id: &str, job: &Value) -> Result<Value> {
    let counted = job.pointer("/deviceJobStatistics/failedCount").and_then(Value::as_u64);
    let (failures, more) = if counted == Some(0) {
        (Vec::new(), false)
    } else {
        let page = session.hub().query(&results_query(id, Some("failed")), MOST_FAILURES, None)?;
        (page.items.into_iter().map(shown).collect(), page.continuation.is_some())
    };
    // The results may lag behind the counts by seconds.
    let complete = !more && counted.is_none_or(|counted| failures.len() as u64 >= counted);
    let mut output = json!({
        "jobId": id,
        "status": status(job),
        "statistics": job.get("deviceJobStatistics").cloned().unwrap_or_else(|| json!({})),
        "failures": failures,
        "failuresComplete": complete,
    });
    if let Some(reason) = job.get("failureReason").and_then(Value::as_str) {
        output["failureReason"] = reason.into();
    }
    Ok(output)
}
