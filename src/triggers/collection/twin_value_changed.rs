//! A value at a path of a twin changed.
//!
//! ```scenario
//! config {"paths": ["/properties/reported/firmware", "/tags/site", "/properties/desired/intervalSeconds"], "condition": "deviceId IN ['press-1', 'press-2', 'press-4', 'press-5', 'changed-1']"}
//! change device:report {"deviceId": "press-2", "reported": {"firmware": "2.0"}}
//! change device:report {"deviceId": "press-4", "reported": {"battery": 0.25}}
//! change device:report {"deviceId": "press-5", "reported": {"firmware": null}}
//! change update-twin {"deviceId": "changed-1", "tags": {"site": "far away"}}
//! expect value-changed
//! ```

use std::time::Duration;

use serde_json::{Value, json};

use super::engine::cursor::{Fingerprint, LONGEST_MEMO, MOST_RECORDS_WITH_MEMOS};
use super::engine::polled::Polled;
use super::engine::{self, Batch, Change, Collection, Happened, Lookup, Record, stated_time, text};
use super::twins::{self, PAGE, time_at};
use crate::auth::Permission;
use crate::error::{ErrorCode, Result};
use crate::form::schema::{any, boolean, help, list, object, string};
use crate::form::values::Input;
use crate::form::{fields, limits};
use crate::http::GivenId;
use crate::iothub::IotHub;
use crate::json;
use crate::session::Session;
use crate::triggers::shared::declaration::{Declaration, optional, required};
use crate::triggers::shared::event::EventDraft;
use crate::triggers::shared::hash::{digest, hex};

/// The largest number of paths.
const MOST_PATHS: usize = 8;
/// The longest value that the cursor keeps, as JSON, in bytes. Of a longer value it keeps a hash.
const LONGEST_VALUE: usize = 64;
// Each value has brackets and a comma around it, and the list has brackets too.
const _: () = assert!(MOST_PATHS * (LONGEST_VALUE + 3) + 2 <= LONGEST_MEMO);

pub static TRIGGER: Polled = Polled {
    declaration: Declaration {
        id: "twin-value-changed",
        title: "Twin value changed",
        help: "Fires when a tag, a desired or a reported property at one of the chosen paths of a device twin changes, and states the old and the new value. \
               The hub keeps no log of changes for this: between two polls only the last of several changes is seen, and a query may lag behind by seconds. \
               A device that appears fires with its values as new ones. A device that is deleted does not fire. \
               Needs a hub of the Standard or Free tier.",
        group: "Twins",
        config: &[
            required("paths", || {
                twins::paths("The values to watch. A path to an object stands for all that is in it.", 1, MOST_PATHS)
            }),
            optional("condition", || {
                twins::condition(
                    "A twin that begins to meet it fires with its values as new ones; one that ceases to is forgotten.",
                )
            }),
        ],
        config_sample: r#"{ "paths": ["/properties/reported/firmware", "/tags/site"], "condition": "tags.site = 'north'" }"#,
        output: || {
            let change = object(
                [
                    ("path", string("Path")),
                    ("old", help(any("Old value"), "Absent where there was no value, or where it was left out.")),
                    ("new", help(any("New value"), "Absent where there is no value any more.")),
                    (
                        "oldLeftOut",
                        help(
                            boolean("Old value left out"),
                            "True where there was an old value that is too long to be kept: more than 64 bytes of JSON.",
                        ),
                    ),
                    (
                        "changedAt",
                        help(string("Changed"), "Where the hub notes it: it does for properties that have a value."),
                    ),
                ],
                &["path"],
            );
            object(
                [
                    ("deviceId", string("Device id")),
                    ("changes", list("Changes", change)),
                    ("twin", help(fields::twin_output(), "The twin as it is now.")),
                ],
                &["deviceId", "changes", "twin"],
            )
        },
        output_sample: || {
            json!({
                "deviceId": "press-17",
                "changes": [{ "path": "/properties/reported/firmware", "old": "4.0.2", "new": "4.1.0", "changedAt": "2026-05-04T07:29:00Z" }],
                "twin": fields::twin_sample(),
            })
        },
        dynamic_output: true,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::QUERIES, ("Records that one trigger follows", MOST_RECORDS_WITH_MEMOS as u64, "items")],
    },
    // Each IoT Hub unit allows 20 queries a minute.
    interval: Duration::from_secs(60),
    min_interval: Duration::from_secs(10),
    open: |session, config| Ok(Box::new(Values::open(session, config))),
};

struct Values<'a> {
    hub: IotHub<'a>,
    paths: Vec<String>,
    condition: Option<String>,
}

/// A value as the cursor keeps it.
#[derive(Clone, Debug, PartialEq)]
enum Kept {
    Missing,
    Value(Value),
    /// The hash of a value that is too long.
    Hash(String),
}

impl Kept {
    fn of(value: Option<&Value>) -> Self {
        let Some(value) = value else { return Self::Missing };
        let text = value.to_string();
        if text.len() <= LONGEST_VALUE { Self::Value(value.clone()) } else { Self::Hash(hex(&digest::<6>([&*text]))) }
    }

    /// The form in a memo: a list without or with the value, or the hash.
    fn write(self) -> Value {
        match self {
            Self::Missing => json!([]),
            Self::Value(value) => json!([value]),
            Self::Hash(hash) => hash.into(),
        }
    }

    fn read(written: &Value) -> Self {
        match written {
            Value::String(hash) => Self::Hash(hash.clone()),
            Value::Array(items) => items.first().cloned().map_or(Self::Missing, Self::Value),
            _ => Self::Missing,
        }
    }
}

impl<'a> Values<'a> {
    fn open(session: &'a Session, config: &Input) -> Self {
        let condition = config.text("condition").map(str::to_owned);
        Self { hub: session.hub(), paths: twins::read_paths(config), condition }
    }

    fn query(&self, only: &[(&str, &str)]) -> String {
        twins::query("*", "devices", only, self.condition.as_deref())
    }

    fn record(&self, body: Value) -> Option<Record> {
        let key = text(&body, "deviceId").to_owned();
        if key.is_empty() {
            return None;
        }
        let values: Vec<Value> =
            self.paths.iter().map(|path| Kept::of(twins::value_at(&body, path).as_ref()).write()).collect();
        let memo = Value::Array(values).to_string();
        let fingerprint = Fingerprint::of([memo.as_str()]);
        Some(Record { memo: memo.into(), ..Record::new(key, fingerprint, body) })
    }

    /// The paths whose values differ, each with the value before.
    fn changed(&self, twin: &Value, before: Option<&str>) -> Vec<(&str, Kept)> {
        let before = before.and_then(|memo| json::parse(memo.as_bytes()).ok()).unwrap_or_default();
        let old = |index: usize| before.get(index).map_or(Kept::Missing, Kept::read);
        self.paths
            .iter()
            .enumerate()
            .map(|(index, path)| (path.as_str(), old(index)))
            .filter(|(path, old)| {
                let now = Kept::of(twins::value_at(twin, path).as_ref());
                now != *old
            })
            .collect()
    }
}

impl Collection for Values<'_> {
    fn source(&self) -> String {
        format!("https://{}/twins", self.hub.identity())
    }

    fn selection(&self) -> String {
        json!([self.paths, self.condition]).to_string()
    }

    fn wants(&self, happened: &Happened) -> bool {
        let changed = |twin: &Value| !self.changed(twin, happened.before).is_empty();
        happened.change != Change::Deleted && happened.body.is_some_and(changed)
    }

    fn page(&self, place: Option<&str>) -> Result<Batch> {
        let page = engine::in_smaller_pages(PAGE, |size| self.hub.query(&self.query(&[]), size, place))?;
        Ok(Batch {
            records: page.items.into_iter().filter_map(|body| self.record(body)).collect(),
            next: page.continuation,
        })
    }

    fn look_up(&self, key: &str) -> Result<Lookup> {
        if self.condition.is_some() {
            let page = self.hub.query(&self.query(&[("deviceId", key)]), 1, None)?;
            return Ok(page
                .items
                .into_iter()
                .find_map(|body| self.record(body))
                .map_or(Lookup::Outside, Lookup::Present));
        }
        let Some(id) = GivenId::new(key) else { return Ok(Lookup::Unknown) };
        match self.hub.twin(&id) {
            Ok(found) => Ok(self.record(found.document).map_or(Lookup::Unknown, Lookup::Present)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(Lookup::Gone),
            Err(error) => Err(error),
        }
    }

    fn draft(&self, happened: &Happened) -> EventDraft {
        let (key, twin) = (happened.key, happened.body.unwrap_or(&Value::Null));
        let changed = self.changed(twin, happened.before);
        let (mut last, mut is_dated) = (None, true);
        let mut changes = Vec::new();
        for (path, old) in &changed {
            let mut change = json!({ "path": path });
            match old {
                Kept::Missing => {}
                Kept::Value(old) => change["old"] = old.clone(),
                Kept::Hash(_) => change["oldLeftOut"] = true.into(),
            }
            let now = twins::value_at(twin, path);
            let time = now.as_ref().and_then(|_| time_at(twin, path));
            if let Some(now) = now {
                change["new"] = now;
            }
            match time {
                Some(time) => {
                    change["changedAt"] = time.into();
                    last = last.into_iter().chain([time]).max_by_key(|time| stated_time(time));
                }
                None => is_dated = false,
            }
            changes.push(change);
        }
        let paths: Vec<&str> = changed.iter().map(|(path, _)| *path).collect();
        EventDraft {
            event_type: "azure.iot.hub.twin.value-changed".to_owned(),
            subject: Some(format!("devices/{key}")),
            // The event has the latest time of all changes. It has no time if the hub states none for one of them.
            time: last.filter(|_| is_dated).map(str::to_owned),
            data: json!({ "deviceId": key, "changes": changes, "twin": twin }).to_string(),
            summary: format!("Twin of {key}: {} changed", paths.join(", ")),
        }
    }

    fn most_records(&self) -> usize {
        MOST_RECORDS_WITH_MEMOS
    }
}
