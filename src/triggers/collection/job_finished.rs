//! A job of the hub ended.
//!
//! ```scenario
//! given update-twins-by-query {"jobId": "shift-1", "condition": "deviceId = 'press-1'", "desired": {"shift": 1}}
//! given update-twins-by-query {"jobId": "shift-2", "condition": "deviceId = 'press-1'", "desired": {"shift": 2}}
//! given update-twins-by-query {"jobId": "shift-3", "condition": "deviceId = 'press-1'", "desired": {"shift": 3}}
//! given schedule-twin-update {"jobId": "shift-4", "condition": "deviceId = 'press-1'", "desired": {"shift": 4}, "startTime": "2099-01-01T00:00:00Z"}
//! config {"importAndExport": true}
//! change update-twins-by-query {"jobId": "shift-5", "condition": "deviceId = 'press-1'", "desired": {"shift": 5}}
//! change cancel-job {"jobId": "shift-4"}
//! change emulator:fault {"rule": "hub:RUN /jobs/v2/shift-6=500x1"}
//! change update-twins-by-query {"jobId": "shift-6", "condition": "deviceId = 'press-1'", "desired": {"shift": 6}}
//! expect completed cancelled failed
//! ```

use std::time::Duration;

use serde_json::{Value, json};

use super::engine::cursor::Fingerprint;
use super::engine::polled::Polled;
use super::engine::{self, Batch, Change, Collection, Happened, Lookup, Record, asks_for, text, words_field};
use crate::auth::Permission;
use crate::error::{ErrorCode, Result};
use crate::form::schema::{boolean, help, literal, object, one_of, string, with};
use crate::form::values::Input;
use crate::form::{fields_jobs, limits};
use crate::iothub::IotHub;
use crate::session::Session;
use crate::triggers::shared::declaration::{Declaration, optional};
use crate::triggers::shared::event::EventDraft;

/// The jobs of one page. A job holds the document that it writes, or a payload of up to 128 KB.
const PAGE: u32 = 100;
/// The states in which a job has ended.
const ENDED: [&str; 3] = ["completed", "failed", "cancelled"];
const KINDS: [&str; 4] = ["scheduleUpdateTwin", "scheduleDeviceMethod", "import", "export"];
/// Stands in the key of an import or export job before its id. The id of a scheduled job has no slash.
const TRANSFER: &str = "import-export/";
/// The place of a scan at which it reads the import and export jobs. Before that, a place is this sign and the service's
/// continuation.
const TRANSFERS: &str = "t";
const SCHEDULED: &str = "s";

pub static TRIGGER: Polled = Polled {
    declaration: Declaration {
        id: "job-finished",
        title: "Job finished",
        help: "Fires when a scheduled job of the hub has completed, failed or been cancelled. A job that completed may have failed on some devices: its statistics say on how many, and **List a job's results** says on which. \
               A job that begins and ends between two polls fires too. The hub keeps a job for 30 days. \
               Needs a hub of the Standard or Free tier.",
        group: "Jobs",
        config: &[
            optional("changes", || words_field(&ENDED)),
            optional("importAndExport", || {
                with(
                    help(
                        boolean("Imports and exports"),
                        "Also jobs that import or export the registry. That needs the permission **Registry write** as well.",
                    ),
                    literal!({ "default": false }),
                )
            }),
        ],
        config_sample: r#"{ "changes": ["failed", "cancelled"] }"#,
        output: || {
            object(
                [
                    ("jobId", string("Job id")),
                    ("type", one_of("Type", &KINDS)),
                    ("status", one_of("Status", &ENDED)),
                    ("job", help(either(), "The job as the hub returns it, without the keys to its containers.")),
                ],
                &["jobId", "status", "job"],
            )
        },
        output_sample: || {
            let job = fields_jobs::job_sample();
            json!({ "jobId": job["jobId"], "type": job["type"], "status": job["status"], "job": job })
        },
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::JOBS, limits::RECORDS],
    },
    // Each IoT Hub unit allows 100 operations on jobs a minute.
    interval: Duration::from_secs(30),
    min_interval: Duration::from_secs(5),
    open: |session, config| Ok(Box::new(Jobs::open(session, config))),
};

/// The schema of a job of either kind.
fn either() -> Value {
    let mut schema = fields_jobs::transfer_output();
    if let (Some(all), Value::Object(scheduled)) =
        (schema["properties"].as_object_mut(), fields_jobs::job_output()["properties"].take())
    {
        all.extend(scheduled);
    }
    schema
}

struct Jobs<'a> {
    hub: IotHub<'a>,
    words: Vec<&'static str>,
    transfers: bool,
}

impl<'a> Jobs<'a> {
    fn open(session: &'a Session, config: &Input) -> Self {
        Self {
            hub: session.hub(),
            words: ENDED.into_iter().filter(|word| asks_for(config, word)).collect(),
            transfers: config.flag("importAndExport"),
        }
    }
}

/// The record of a job. Only jobs that have ended are records, so that the end of a job is the creation of its record.
/// None for other jobs.
fn record(body: Value, prefix: &str) -> Option<Record> {
    let id = text(&body, "jobId");
    if id.is_empty() || !ENDED.contains(&text(&body, "status")) {
        return None;
    }
    // An id can be used again when the hub has forgotten the job.
    let fingerprint = Fingerprint::of(["status", "createdTime", "startTimeUtc"].map(|name| text(&body, name)));
    Some(Record::new(format!("{prefix}{id}"), fingerprint, body))
}

impl Collection for Jobs<'_> {
    fn source(&self) -> String {
        format!("https://{}/jobs", self.hub.identity())
    }

    fn selection(&self) -> String {
        self.transfers.to_string()
    }

    fn wants(&self, happened: &Happened) -> bool {
        let ended = happened.body.is_some_and(|body| self.words.contains(&text(body, "status")));
        ended && happened.change != Change::Deleted
    }

    fn page(&self, place: Option<&str>) -> Result<Batch> {
        if place == Some(TRANSFERS) {
            let records = self.hub.transfer_jobs()?.into_iter().filter_map(|job| record(job, TRANSFER)).collect();
            return Ok(Batch { records, next: None });
        }
        let continuation = place.and_then(|place| place.strip_prefix(SCHEDULED));
        let page = engine::in_smaller_pages(PAGE, |size| {
            self.hub.scheduled_jobs([("jobType", None), ("jobStatus", None)], size, continuation)
        })?;
        let next = match page.continuation {
            Some(continuation) => Some(format!("{SCHEDULED}{continuation}")),
            None => self.transfers.then(|| TRANSFERS.to_owned()),
        };
        Ok(Batch { records: page.items.into_iter().filter_map(|job| record(job, "")).collect(), next })
    }

    fn look_up(&self, key: &str) -> Result<Lookup> {
        let found = match key.strip_prefix(TRANSFER) {
            Some(id) if !matches!(id, "" | "." | "..") => self.hub.transfer_job(id).map(|job| record(job, TRANSFER)),
            // These ids lead to something else than a job.
            None if !matches!(key, "" | "." | ".." | "query") => self.hub.scheduled_job(key).map(|job| record(job, "")),
            _ => return Ok(Lookup::Unknown),
        };
        match found {
            // A job with the id of a forgotten one may have begun since.
            Ok(record) => Ok(record.map_or(Lookup::Outside, Lookup::Present)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(Lookup::Gone),
            Err(error) => Err(error),
        }
    }

    fn draft(&self, happened: &Happened) -> EventDraft {
        let body = happened.body.unwrap_or(&Value::Null);
        let (id, kind, status) = (text(body, "jobId"), text(body, "type"), text(body, "status"));
        let mut data = json!({ "jobId": id, "status": status, "job": body });
        if KINDS.contains(&kind) {
            data["type"] = kind.into();
        }
        let ended = ["endTime", "endTimeUtc"].into_iter().map(|name| text(body, name)).find(|time| !time.is_empty());
        EventDraft {
            event_type: format!("azure.iot.hub.job.{status}"),
            subject: Some(format!("jobs/{id}")),
            time: ended.map(str::to_owned),
            data: data.to_string(),
            summary: format!("Job {id} {status}"),
        }
    }
}
