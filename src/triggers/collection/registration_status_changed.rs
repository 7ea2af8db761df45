//! The status of a device registration changed.
//!
//! DPS lists registrations by enrollment group, and keeps the registration of an individual enrollment inside that
//! enrollment. One scan reads the groups first and the individual enrollments last.
//!
//! ```scenario
//! config {}
//! change device:provision {"registrationId": "grouped-new"}
//! change device:provision {"registrationId": "grouped-2"}
//! change delete-registration-state {"registrationId": "grouped-3"}
//! expect created updated deleted
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::engine::cursor::Fingerprint;
use super::engine::polled::Polled;
use super::engine::{self, Batch, Change, Collection, Happened, Lookup, Record, changes_field, text, wanted};
use crate::auth::Permission;
use crate::dps::{ALL_ENROLLMENT_GROUPS, ALL_ENROLLMENTS, Dps};
use crate::error::{Error, ErrorCode, Result};
use crate::form::schema::{boolean, help, list, literal, object, one_of, string, with};
use crate::form::values::Input;
use crate::form::{fields, limits};
use crate::http::GivenId;
use crate::session::Session;
use crate::triggers::shared::declaration::{Declaration, optional};
use crate::triggers::shared::event::EventDraft;

/// The largest page that DPS returns, in records.
const PAGE: u32 = 1000;
/// The member with the time when DPS last changed a registration.
const UPDATED: &str = "lastUpdatedDateTimeUtc";
const STATUSES: [&str; 5] = ["unassigned", "assigning", "assigned", "failed", "disabled"];

pub static TRIGGER: Polled = Polled {
    declaration: Declaration {
        id: "registration-status-changed",
        title: "Device registration status changed",
        help: "Fires when a device registers with the Device Provisioning Service, registers again, fails to, or when its registration is deleted. \
               The service keeps no log of changes: between two polls only the last of several changes to one registration is seen.",
        group: "Registrations",
        config: &[
            optional("changes", changes_field),
            optional("statuses", || {
                with(
                    list("Statuses", one_of("Status", &STATUSES)),
                    literal!({ "description": "Fire only when the registration has come to one of these. Empty: any.", "maxItems": 5 }),
                )
            }),
            optional("enrollmentGroupIds", || {
                with(
                    list("Enrollment groups", fields::enrollment_group_id()),
                    literal!({ "description": "Only registrations of these groups. Empty: all groups.", "maxItems": 100 }),
                )
            }),
            optional("includeIndividual", || {
                with(
                    help(boolean("Individual enrollments"), "Also registrations of individual enrollments."),
                    json!({ "default": true }),
                )
            }),
        ],
        config_sample: r#"{ "statuses": ["assigned", "failed"] }"#,
        output: || {
            object(
                [
                    ("change", one_of("Change", &["created", "updated", "deleted"])),
                    ("registrationId", string("Registration id")),
                    ("deviceId", string("Device id")),
                    ("status", one_of("Status", &STATUSES)),
                    ("enrollmentGroupId", help(string("Enrollment group id"), "Absent for an individual enrollment.")),
                    (
                        "registration",
                        help(
                            fields::registration_output(),
                            "The registration as it is now; absent when it was deleted.",
                        ),
                    ),
                ],
                &["change", "registrationId"],
            )
        },
        output_sample: || {
            json!({
                "change": "created",
                "registrationId": "press-17",
                "deviceId": "press-17",
                "status": "assigned",
                "enrollmentGroupId": "presses",
                "registration": fields::registration_sample(),
            })
        },
        dynamic_output: false,
        permissions: &[Permission::RegistrationStatusRead, Permission::EnrollmentRead],
        limits: &[limits::PROVISIONING, limits::RECORDS],
    },
    interval: Duration::from_secs(30),
    min_interval: Duration::from_secs(5),
    open: |session, config| Ok(Box::new(Registrations::open(session, config)?)),
};

struct Registrations<'a> {
    dps: Dps<'a>,
    changes: BTreeSet<Change>,
    statuses: Vec<String>,
    /// The groups that the configuration names. Empty: all.
    groups: Vec<String>,
    individual: bool,
}

/// Where a scan is: the groups that are still to be read, and the service's continuation text in the current group.
#[derive(Default, Deserialize, Serialize)]
struct Place {
    #[serde(rename = "g")]
    groups: Vec<String>,
    #[serde(rename = "c", skip_serializing_if = "Option::is_none")]
    continuation: Option<String>,
}

impl<'a> Registrations<'a> {
    fn open(session: &'a Session, config: &Input) -> Result<Self> {
        let texts = |name: &str| config.items(name).iter().filter_map(Value::as_str).map(str::to_owned).collect();
        Ok(Self {
            dps: session.dps()?,
            changes: wanted(config),
            statuses: texts("statuses"),
            groups: texts("enrollmentGroupIds"),
            individual: config.get("includeIndividual") != Some(&Value::Bool(false)),
        })
    }

    /// The groups to read, in reverse order: each step takes the last one.
    fn groups(&self) -> Result<Vec<String>> {
        let mut groups = self.groups.clone();
        if groups.is_empty() {
            let mut continuation: Option<String> = None;
            loop {
                let page = engine::in_smaller_pages(PAGE, |size| {
                    self.dps.query_enrollment_groups(ALL_ENROLLMENT_GROUPS, size, continuation.as_deref())
                })?;
                groups.extend(
                    page.items
                        .iter()
                        .map(|group| text(group, "enrollmentGroupId").to_owned())
                        .filter(|id| !id.is_empty()),
                );
                continuation = page.continuation;
                if continuation.is_none() {
                    break;
                }
            }
        }
        groups.reverse();
        Ok(groups)
    }

    fn record(body: Value, group: Option<&str>) -> Option<Record> {
        let key = text(&body, "registrationId").to_owned();
        if key.is_empty() {
            return None;
        }
        // Some answers have no ETag; the status and its time then show the change.
        let state = ["etag", "status", "substatus", UPDATED].map(|name| text(&body, name));
        let fingerprint = Fingerprint::of(state);
        let updated = text(&body, UPDATED).to_owned();
        let mut body = body;
        if let (Some(group), Some(members)) = (group, body.as_object_mut()) {
            members.insert(GROUP.to_owned(), group.into());
        }
        Some(Record::dated(key, fingerprint, &updated, body))
    }

    /// The registration inside an individual enrollment. None where the device has not registered yet.
    fn individual(mut enrollment: Value) -> Option<Record> {
        let id = enrollment.get("registrationId").cloned();
        let mut state = enrollment.get_mut("registrationState").map(Value::take)?;
        let members = state.as_object_mut()?;
        // An enrollment that no device has used states this status, although no registration exists.
        let unused =
            members.get("status").and_then(Value::as_str) == Some("unassigned") && !members.contains_key("assignedHub");
        if unused {
            return None;
        }
        if members.get("registrationId").is_none_or(Value::is_null) {
            members.insert("registrationId".to_owned(), id?);
        }
        Self::record(state, None)
    }

    fn page_of_group(&self, group: &str, continuation: Option<&str>) -> Result<(Vec<Record>, Option<String>)> {
        // The schema has checked group ids from the configuration; all other ids come from the service.
        let Some(group_id) = GivenId::new(group) else { return Ok((Vec::new(), None)) };
        match engine::in_smaller_pages(PAGE, |size| self.dps.query_registrations(&group_id, size, continuation)) {
            Ok(page) => Ok((
                page.items.into_iter().filter_map(|body| Self::record(body, Some(group))).collect(),
                page.continuation,
            )),
            // The group and its registrations were deleted after the group was listed.
            Err(error) if error.code() == ErrorCode::NotFound && self.groups.is_empty() => Ok((Vec::new(), None)),
            Err(error) => Err(error),
        }
    }

    fn page_of_individuals(&self, continuation: Option<&str>) -> Result<(Vec<Record>, Option<String>)> {
        if !self.individual {
            return Ok((Vec::new(), None));
        }
        let page =
            engine::in_smaller_pages(PAGE, |size| self.dps.query_enrollments(ALL_ENROLLMENTS, size, continuation))?;
        Ok((page.items.into_iter().filter_map(Self::individual).collect(), page.continuation))
    }
}

/// The member that carries a record's group to the event. No member of the service's own records has this name.
const GROUP: &str = "$enrollmentGroupId";

impl Collection for Registrations<'_> {
    fn source(&self) -> String {
        format!("https://{}/registrations", self.dps.identity())
    }

    fn selection(&self) -> String {
        let mut groups = self.groups.clone();
        groups.sort();
        json!([groups, self.individual]).to_string()
    }

    fn wants(&self, happened: &Happened) -> bool {
        let fits = |body: &Value| self.statuses.iter().any(|status| status == text(body, "status"));
        self.changes.contains(&happened.change) && (self.statuses.is_empty() || happened.body.is_none_or(fits))
    }

    fn page(&self, place: Option<&str>) -> Result<Batch> {
        let mut place: Place = match place {
            None => Place { groups: self.groups()?, continuation: None },
            Some(text) => serde_json::from_str(text).map_err(|error| {
                Error::new(ErrorCode::InvalidInput, "The cursor is broken").with_detail(error.to_string())
            })?,
        };
        let (records, continuation) = match place.groups.last() {
            Some(group) => self.page_of_group(group, place.continuation.as_deref())?,
            None => self.page_of_individuals(place.continuation.as_deref())?,
        };
        let ended = continuation.is_none();
        let was_last = ended && place.groups.is_empty();
        if ended {
            place.groups.pop();
        }
        place.continuation = continuation;
        Ok(Batch { records, next: (!was_last).then(|| json!(place).to_string()) })
    }

    fn look_up(&self, key: &str) -> Result<Lookup> {
        let Some(id) = GivenId::new(key) else { return Ok(Lookup::Unknown) };
        match self.dps.registration(&id) {
            // The answer does not state the registration's group. The next scan reads the record with its group.
            Ok(_) => Ok(Lookup::Unknown),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(Lookup::Gone),
            Err(error) => Err(error),
        }
    }

    fn draft(&self, happened: &Happened) -> EventDraft {
        let Happened { change, key, body, .. } = *happened;
        let mut data = json!({ "change": change.as_str(), "registrationId": key });
        let mut now = String::new();
        if let Some(body) = body {
            let mut body = body.clone();
            if let Some(group) = body.as_object_mut().and_then(|members| members.remove(GROUP)) {
                data["enrollmentGroupId"] = group;
            }
            for name in ["deviceId", "status"] {
                if let Some(value) = body.get(name).filter(|value| value.is_string()) {
                    data[name] = value.clone();
                }
            }
            now = format!(": {}", text(&body, "status"));
            data["registration"] = body;
        }
        EventDraft {
            event_type: format!("azure.iot.dps.registration.{}", change.as_str()),
            subject: Some(format!("registrations/{key}")),
            time: happened.time("createdDateTimeUtc", UPDATED),
            data: data.to_string(),
            summary: format!("Registration {key} {}{now}", change.as_str()),
        }
    }
}
