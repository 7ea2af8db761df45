//! An individual enrollment was created, changed or deleted.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::engine::cursor::Fingerprint;
use super::engine::{self, Batch, Change, Collection, Happened, Lookup, Record, changes_field, text, wanted};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{StartMode, TriggerDescriptor, TriggerKind};
use crate::bindings::exports::workflow::connector::trigger::{Event, Page, PollRequest};
use crate::bindings::workflow::connector::types::Cursor;
use crate::dps::{ALL_ENROLLMENTS, Dps, shown};
use crate::error::{ErrorCode, Result};
use crate::form::schema::literal;
use crate::form::schema::{help, object, one_of, string, with};
use crate::form::{Spec, fields, typed};
use crate::http::GivenId;
use crate::session::Session;
use crate::triggers::shared::event::EventDraft;
use crate::triggers::shared::{Trigger, glob};

pub struct IndividualEnrollmentChanged;

const ID: &str = "individual-enrollment-changed";
const INTERVAL: Duration = Duration::from_secs(30);
/// The largest page that DPS returns, in records.
const PAGE: u32 = 1000;

/// The member with the time when DPS last changed an enrollment.
const UPDATED: &str = "lastUpdatedDateTimeUtc";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    registration_ids: Option<String>,
}

impl Trigger for IndividualEnrollmentChanged {
    fn id(&self) -> &'static str {
        ID
    }

    fn descriptor(&self) -> TriggerDescriptor {
        let spec = Spec {
            id: ID,
            title: "Individual enrollment changed",
            help: "Fires when an individual enrollment of the Device Provisioning Service is created, changed or deleted. \
                   The service keeps no log of changes: between two polls only the last of several changes to one enrollment is seen.",
            group: "Enrollments",
            input: object(
                [
                    ("changes", changes_field()),
                    (
                        "registrationIds",
                        with(
                            help(
                                string("Registration ids"),
                                "Only these, as a pattern: `*` stands for any characters, `?` for one. Empty: all.",
                            ),
                            literal!({ "minLength": 1, "maxLength": 128, "examples": ["press-*"] }),
                        ),
                    ),
                ],
                &[],
            ),
            output: object(
                [
                    ("change", one_of("Change", &["created", "updated", "deleted"])),
                    ("registrationId", string("Registration id")),
                    (
                        "enrollment",
                        help(
                            fields::enrollment_output(),
                            "The enrollment as it is now; absent when it was deleted. Keys are left out, also that in the URL of a custom allocation.",
                        ),
                    ),
                ],
                &["change", "registrationId"],
            ),
            input_sample: literal!({ "changes": ["created", "deleted"], "registrationIds": "press-*" }),
            output_sample: json!({ "change": "created", "registrationId": "press-17", "enrollment": fields::enrollment_sample() }),
            dynamic_output: false,
            permissions: &[Permission::EnrollmentRead],
            limits: &[
                ("Operations of a provisioning service", 1000, "requests/minute"),
                ("Records that one trigger follows", 200_000, "items"),
            ],
        };
        TriggerDescriptor {
            operation: spec.operation(),
            kind: TriggerKind::Polling,
            start_modes: vec![StartMode::Now, StartMode::Earliest],
            min_interval_ms: 5_000,
        }
    }

    fn check_cursor(&self, cursor: &Cursor) -> Result<()> {
        engine::check_cursor(cursor)
    }

    fn poll(&self, session: &Session, config: Value, request: &PollRequest) -> Result<Page> {
        engine::poll(session, &Enrollments::open(session, config)?, request)
    }

    fn sample(&self, session: &Session, config: Value, limit: u32) -> Result<Vec<Event>> {
        engine::sample(&Enrollments::open(session, config)?, limit)
    }
}

struct Enrollments<'a> {
    dps: Dps<'a>,
    changes: BTreeSet<Change>,
    pattern: String,
}

impl<'a> Enrollments<'a> {
    fn open(session: &'a Session, config: Value) -> Result<Self> {
        let changes = wanted(&config);
        let config: Config = typed(config)?;
        Ok(Self {
            dps: session.dps()?,
            changes,
            pattern: config.registration_ids.unwrap_or_else(|| "*".to_owned()).to_lowercase(),
        })
    }

    fn record(&self, body: Value) -> Option<Record> {
        let key = text(&body, "registrationId").to_owned();
        // DPS compares ids without regard to case.
        let selected = !key.is_empty() && glob::fits(&self.pattern, &key.to_lowercase());
        selected.then(|| {
            let updated = text(&body, UPDATED).to_owned();
            Record::dated(key, Fingerprint::of([text(&body, "etag")]), &updated, shown(body, false))
        })
    }
}

impl Collection for Enrollments<'_> {
    fn trigger(&self) -> &'static str {
        ID
    }

    fn source(&self) -> String {
        format!("https://{}/enrollments", self.dps.identity())
    }

    fn selection(&self) -> String {
        self.pattern.clone()
    }

    fn wants(&self, change: Change, _body: Option<&Value>) -> bool {
        self.changes.contains(&change)
    }

    fn page(&self, place: Option<&str>) -> Result<Batch> {
        let page = engine::in_smaller_pages(PAGE, |size| self.dps.query_enrollments(ALL_ENROLLMENTS, size, place))?;
        Ok(Batch {
            records: page.items.into_iter().filter_map(|body| self.record(body)).collect(),
            next: page.continuation,
        })
    }

    fn look_up(&self, key: &str) -> Result<Lookup> {
        let Some(id) = GivenId::new(key) else { return Ok(Lookup::Unknown) };
        match self.dps.enrollment(&id) {
            Ok(found) => Ok(self.record(found.document).map_or(Lookup::Unknown, Lookup::Present)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(Lookup::Gone),
            Err(error) => Err(error),
        }
    }

    fn draft(&self, happened: &Happened) -> EventDraft {
        let Happened { change, key, body, .. } = *happened;
        let mut data = json!({ "change": change.as_str(), "registrationId": key });
        if let Some(body) = body {
            data["enrollment"] = body.clone();
        }
        EventDraft {
            event_type: format!("azure.iot.dps.enrollment.{}", change.as_str()),
            subject: Some(format!("enrollments/{key}")),
            time: happened.time("createdDateTimeUtc", UPDATED),
            data: data.to_string(),
            summary: format!("Enrollment {key} {}", change.as_str()),
        }
    }

    fn interval(&self) -> Duration {
        INTERVAL
    }
}
