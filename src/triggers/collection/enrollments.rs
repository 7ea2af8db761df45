//! The enrollments of a provisioning service, of either kind, as a collection.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::engine::cursor::Fingerprint;
use super::engine::{self, Batch, Change, Collection, Glance, Glanced, Happened, Lookup, Record, text, wanted};
use crate::dps::{ALL_ENROLLMENT_GROUPS, ALL_ENROLLMENTS, Dps, Kind, shown};
use crate::error::{ErrorCode, Result};
use crate::form::schema::{help, literal, string, with};
use crate::form::values::Input;
use crate::http::GivenId;
use crate::session::Session;
use crate::triggers::shared::event::EventDraft;
use crate::triggers::shared::glob;

/// The largest page that DPS returns, in records.
const PAGE: u32 = 1000;
/// The member with the time when DPS last changed an enrollment.
const UPDATED: &str = "lastUpdatedDateTimeUtc";

/// The schema of the configuration's pattern of ids.
pub fn pattern(title: &str) -> Value {
    with(
        help(string(title), "Only these, as a pattern: `*` stands for any characters, `?` for one. Empty: all."),
        literal!({ "minLength": 1, "maxLength": 128, "examples": ["press-*"] }),
    )
}

/// The enrollments that a configuration selects.
pub struct Enrollments<'a> {
    dps: Dps<'a>,
    kind: Kind,
    changes: BTreeSet<Change>,
    pattern: String,
}

impl<'a> Enrollments<'a> {
    /// The enrollments of one kind. `field` is the configuration's field with the pattern of ids.
    ///
    /// # Errors
    /// `invalid-config` if the account has no provisioning service.
    pub fn open(session: &'a Session, config: &Input, kind: Kind, field: &str) -> Result<Box<dyn Collection + 'a>> {
        let pattern = config.text(field).unwrap_or("*").to_lowercase();
        Ok(Box::new(Self { dps: session.dps()?, kind, changes: wanted(config), pattern }))
    }

    fn selects(&self, key: &str) -> bool {
        // DPS compares ids without regard to case.
        !key.is_empty() && (self.pattern == "*" || glob::fits(&self.pattern, &key.to_lowercase()))
    }

    fn record(&self, body: Value) -> Option<Record> {
        let key = text(&body, self.kind.id_member()).to_owned();
        self.selects(&key).then(|| {
            let updated = text(&body, UPDATED).to_owned();
            Record::dated(key, Fingerprint::of([text(&body, "etag")]), &updated, shown(body, false))
        })
    }

    /// The query for all of them.
    fn all(&self) -> &'static str {
        match self.kind {
            Kind::Individual => ALL_ENROLLMENTS,
            Kind::Group => ALL_ENROLLMENT_GROUPS,
        }
    }
}

impl Collection for Enrollments<'_> {
    fn source(&self) -> String {
        format!("https://{}/{}", self.dps.identity(), self.kind.collection())
    }

    fn selection(&self) -> String {
        self.pattern.clone()
    }

    fn wants(&self, happened: &Happened) -> bool {
        self.changes.contains(&happened.change)
    }

    fn page(&self, place: Option<&str>) -> Result<Batch> {
        let page = engine::in_smaller_pages(PAGE, |size| self.dps.enrollments(self.kind, self.all(), size, place))?;
        Ok(Batch {
            records: page.items.into_iter().filter_map(|body| self.record(body)).collect(),
            next: page.continuation,
        })
    }

    fn glance(&self, place: Option<&str>) -> Result<Option<Glanced<'_>>> {
        let answer =
            engine::in_smaller_pages(PAGE, |size| self.dps.enrollments_unread(self.kind, self.all(), size, place))?;
        let texts = answer.texts([self.kind.id_member(), "etag", UPDATED]);
        let glances = texts.map(|texts| {
            let selected = texts.into_iter().filter(|[key, ..]| self.selects(key));
            let glance = |[key, etag, updated]: [Cow<str>; 3]| {
                Glance::dated(key.into_owned(), Fingerprint::of([&*etag]), &updated)
            };
            selected.map(glance).collect()
        });
        let next = answer.continuation();
        let read = move || {
            let page = answer.read()?;
            Ok(page.items.into_iter().filter_map(|body| self.record(body)).collect())
        };
        Ok(Some(Glanced { glances, next, read: Box::new(read) }))
    }

    fn look_up(&self, key: &str) -> Result<Lookup> {
        let Some(id) = GivenId::new(key) else { return Ok(Lookup::Unknown) };
        match self.dps.read(self.kind, &id) {
            Ok(found) => Ok(self.record(found.document).map_or(Lookup::Unknown, Lookup::Present)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(Lookup::Gone),
            Err(error) => Err(error),
        }
    }

    fn draft(&self, happened: &Happened) -> EventDraft {
        let Happened { change, key, body, .. } = *happened;
        let (member, kind, noun) = match self.kind {
            Kind::Individual => ("enrollment", "enrollment", "Enrollment"),
            Kind::Group => ("enrollmentGroup", "enrollment-group", "Enrollment group"),
        };
        let mut data = json!({ "change": change.as_str(), self.kind.id_member(): key });
        if let Some(body) = body {
            data[member] = body.clone();
        }
        EventDraft {
            event_type: format!("azure.iot.dps.{kind}.{}", change.as_str()),
            subject: Some(format!("{}/{key}", self.kind.collection())),
            time: happened.time("createdDateTimeUtc", UPDATED),
            data: data.to_string(),
            summary: format!("{noun} {key} {}", change.as_str()),
        }
    }
}
