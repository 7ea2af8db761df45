//! A device twin changed, as seen by the hub's query language.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::Trigger;
use super::collection::{self, Batch, Change, Collection, Lookup, Record, Telling, changes_field, text, wanted};
use super::cursor::Fingerprint;
use crate::actions::typed;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{StartMode, TriggerDescriptor, TriggerKind};
use crate::bindings::exports::workflow::connector::trigger::{Event, Page, PollRequest};
use crate::error::{ErrorCode, Result};
use crate::http::GivenId;
use crate::iothub::IotHub;
use crate::manifest::schema::literal;
use crate::manifest::schema::{help, list, object, one_of, string, with};
use crate::manifest::{Spec, fields};
use crate::session::Session;

/// `device-twin-changed`.
pub struct DeviceTwinChanged;

const ID: &str = "device-twin-changed";
/// A unit allows 20 queries a minute.
const INTERVAL: Duration = Duration::from_secs(60);
/// A twin has up to 72 KB; pages of usual ones stay well below the largest answer that is read.
const PAGE: u32 = 200;
const PARTS: [&str; 5] = ["tags", "desired", "reported", "status", "connection"];
const USUAL_PARTS: [&str; 3] = ["tags", "desired", "reported"];

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    parts: Vec<String>,
    condition: Option<String>,
}

impl Trigger for DeviceTwinChanged {
    fn id(&self) -> &'static str {
        ID
    }

    fn descriptor(&self) -> TriggerDescriptor {
        let spec = Spec {
            id: ID,
            title: "Device twin changed",
            help: "Fires when a device twin appears, when one of the chosen parts of it changes, or when it is deleted. \
                   The hub keeps no log of changes for this: between two polls only the last of several changes to one twin is seen, and a query may lag behind by seconds. \
                   Needs a hub of the Standard or Free tier.",
            group: "Twins",
            input: object(
                [
                    ("changes", changes_field()),
                    (
                        "parts",
                        with(
                            list("Parts", one_of("Part", &PARTS)),
                            json!({ "description": "Which parts of a twin count as a change. Empty: tags, desired and reported properties.", "default": USUAL_PARTS, "maxItems": 5 }),
                        ),
                    ),
                    (
                        "condition",
                        with(
                            help(
                                string("Condition"),
                                "Only twins that meet this condition of the hub's query language (what stands after WHERE). A twin that begins to meet it fires as created; one that ceases to is forgotten.",
                            ),
                            literal!({ "minLength": 1, "maxLength": 1024, "examples": ["tags.site = 'north'"] }),
                        ),
                    ),
                ],
                &[],
            ),
            output: object(
                [
                    ("change", one_of("Change", &["created", "updated", "deleted"])),
                    ("deviceId", string("Device id")),
                    ("twin", help(fields::twin_output(), "The twin as it is now; absent when it was deleted.")),
                ],
                &["change", "deviceId"],
            ),
            input_sample: literal!({ "parts": ["reported"], "condition": "tags.site = 'north'" }),
            output_sample: json!({ "change": "updated", "deviceId": "press-17", "twin": fields::twin_sample() }),
            dynamic_output: true,
            permissions: &[Permission::ServiceConnect],
            limits: &[
                ("Queries of an S1 unit", 20, "requests/minute"),
                ("Records that one trigger follows", 200_000, "items"),
            ],
        };
        TriggerDescriptor {
            operation: spec.operation(),
            kind: TriggerKind::Polling,
            start_modes: vec![StartMode::Now, StartMode::Earliest],
            min_interval_ms: 10_000,
        }
    }

    fn poll(&self, session: &Session, config: Value, request: &PollRequest) -> Result<Page> {
        collection::poll(session, &Twins::open(session, config)?, request)
    }

    fn sample(&self, session: &Session, config: Value, limit: u32) -> Result<Vec<Event>> {
        collection::sample(&Twins::open(session, config)?, limit)
    }
}

struct Twins<'a> {
    hub: IotHub<'a>,
    changes: BTreeSet<Change>,
    parts: BTreeSet<String>,
    condition: Option<String>,
}

impl<'a> Twins<'a> {
    fn open(session: &'a Session, config: Value) -> Result<Self> {
        let changes = wanted(&config);
        let config: Config = typed(config)?;
        let parts = if config.parts.is_empty() {
            USUAL_PARTS.map(str::to_owned).into()
        } else {
            config.parts.into_iter().collect()
        };
        Ok(Self { hub: session.hub(), changes, parts, condition: config.condition })
    }

    fn query(&self, only: Option<&str>) -> String {
        let conditions: Vec<String> = only
            .map(|id| format!("deviceId = '{id}'"))
            .into_iter()
            .chain(self.condition.as_ref().map(|condition| format!("({condition})")))
            .collect();
        if conditions.is_empty() {
            "SELECT * FROM devices".to_owned()
        } else {
            format!("SELECT * FROM devices WHERE {}", conditions.join(" AND "))
        }
    }

    fn record(&self, body: Value) -> Option<Record> {
        let key = text(&body, "deviceId").to_owned();
        if key.is_empty() {
            return None;
        }
        let state: Vec<String> = self.parts.iter().map(|part| part_of(&body, part)).collect();
        Some(Record { key, fingerprint: Fingerprint::of(state.iter().map(String::as_str)), body })
    }
}

/// What tells whether a part changed. Properties have a version of their own; tags have none and count by content.
fn part_of(twin: &Value, part: &str) -> String {
    match part {
        "desired" | "reported" => {
            twin.pointer(&format!("/properties/{part}/$version")).map(Value::to_string).unwrap_or_default()
        }
        "status" => format!("{} {}", text(twin, "status"), text(twin, "statusReason")),
        "connection" => text(twin, "connectionState").to_owned(),
        _ => twin
            .get("tags")
            .filter(|tags| tags.as_object().is_some_and(|tags| !tags.is_empty()))
            .map(Value::to_string)
            .unwrap_or_default(),
    }
}

impl Collection for Twins<'_> {
    fn trigger(&self) -> &'static str {
        ID
    }

    fn source(&self) -> String {
        format!("https://{}/twins", self.hub.host())
    }

    fn selection(&self) -> String {
        json!([self.parts, self.condition]).to_string()
    }

    fn wants(&self, change: Change, _body: Option<&Value>) -> bool {
        self.changes.contains(&change)
    }

    fn page(&self, place: Option<&str>) -> Result<Batch> {
        let page = self.hub.query(&self.query(None), PAGE, place)?;
        Ok(Batch {
            records: page.items.into_iter().filter_map(|body| self.record(body)).collect(),
            next: page.continuation,
        })
    }

    fn look_up(&self, key: &str) -> Result<Lookup> {
        let Some(id) = GivenId::new(key) else { return Ok(Lookup::Unknown) };
        let found = match self.hub.twin(&id) {
            Ok(found) => found.document,
            Err(error) if error.code() == ErrorCode::NotFound => return Ok(Lookup::Gone),
            Err(error) => return Err(error),
        };
        if self.condition.is_none() {
            return Ok(self.record(found).map_or(Lookup::Unknown, Lookup::Present));
        }
        // How the query language escapes these signs is not documented: such a device stays as it is known.
        if key.contains(['\'', '\\', '\n', '\r']) {
            return Ok(Lookup::Unknown);
        }
        let page = self.hub.query(&self.query(Some(key)), 1, None)?;
        Ok(page.items.into_iter().find_map(|body| self.record(body)).map_or(Lookup::Outside, Lookup::Present))
    }

    fn tell(&self, change: Change, key: &str, body: Option<&Value>) -> Telling {
        let mut data = json!({ "change": change.as_str(), "deviceId": key });
        if let Some(body) = body {
            data["twin"] = body.clone();
        }
        Telling {
            event_type: format!("azure.iot.hub.twin.{}", change.as_str()),
            subject: format!("devices/{key}"),
            time: body.and_then(last_updated),
            data,
            summary: format!("Twin of {key} {}", change.as_str()),
        }
    }

    fn interval(&self) -> Duration {
        INTERVAL
    }
}

/// The later of the two times that the hub keeps for the properties. RFC 3339 texts in UTC sort as they are.
fn last_updated(twin: &Value) -> Option<String> {
    ["desired", "reported"]
        .iter()
        .filter_map(|part| twin.pointer(&format!("/properties/{part}/$metadata/$lastUpdated")))
        .filter_map(Value::as_str)
        .filter(|time| !time.starts_with("0001"))
        .max()
        .map(str::to_owned)
}
