//! A device was silent for some time, or came back.
//!
//! ```scenario
//! given create-device {"deviceId": "buoy-1"}
//! given create-device {"deviceId": "buoy-2"}
//! given create-device {"deviceId": "buoy-3"}
//! given create-device {"deviceId": "buoy-4"}
//! given create-device {"deviceId": "buoy-5"}
//! given update-twin {"deviceId": "buoy-1", "tags": {"at": "sea"}}
//! given update-twin {"deviceId": "buoy-2", "tags": {"at": "sea"}}
//! given update-twin {"deviceId": "buoy-3", "tags": {"at": "sea"}}
//! given update-twin {"deviceId": "buoy-4", "tags": {"at": "sea"}}
//! given update-twin {"deviceId": "buoy-5", "tags": {"at": "sea"}}
//! given device:silent {"deviceId": "buoy-1", "minutes": 60}
//! given device:silent {"deviceId": "buoy-2", "minutes": 60}
//! given device:silent {"deviceId": "buoy-3", "minutes": 60}
//! given device:silent {"deviceId": "buoy-4", "minutes": 1}
//! config {"minutes": 30, "condition": "tags.at = 'sea'"}
//! change device:report {"deviceId": "buoy-2", "reported": {"swell": 2}}
//! change device:silent {"deviceId": "buoy-4", "minutes": 31}
//! change device:silent {"deviceId": "press-1", "minutes": 31}
//! expect silent active
//! ```

use std::time::Duration;

use serde_json::{Value, json};

use super::engine::cursor::Fingerprint;
use super::engine::polled::Polled;
use super::engine::{
    self, Batch, Change, Collection, Happened, Lookup, Record, asks_for, stated_time, text, words_field,
};
use super::twins;
use crate::auth::Permission;
use crate::error::Result;
use crate::form::limits;
use crate::form::schema::{help, integer, literal, object, one_of, string};
use crate::form::values::Input;
use crate::instant;
use crate::iothub::IotHub;
use crate::session::Session;
use crate::triggers::shared::declaration::{Declaration, optional, required};
use crate::triggers::shared::event::EventDraft;

/// The largest page of a query.
const PAGE: u32 = 1000;
const WORDS: [&str; 2] = ["silent", "active"];
/// The longest silence that can be asked for: a year, in minutes.
const LONGEST: i64 = 366 * 24 * 60;

pub static TRIGGER: Polled = Polled {
    declaration: Declaration {
        id: "device-silent",
        title: "Device silent",
        help: "Fires when an enabled device was silent for some minutes, and when it is active again. The hub notes for each device when it last connected, sent or received something; this trigger compares that time with the clock. \
               The hub writes the time down with a delay of up to 5 to 10 minutes, so ask for 15 minutes or more. \
               Not seen: a device that never was active, a disabled one, and a silence that begins and ends between two polls. It is not seen either what a device sent: for that use **Device telemetry**. \
               Needs a hub of the Standard or Free tier.",
        group: "Devices",
        config: &[
            required("minutes", || {
                help(integer("Silent for (minutes)", 1, LONGEST), "How long a device must have been silent.")
            }),
            optional("changes", || words_field(&WORDS)),
            optional("condition", || {
                twins::condition(
                    "A silent device that begins to meet it fires as silent; one that ceases to is forgotten.",
                )
            }),
        ],
        config_sample: r#"{ "minutes": 30, "condition": "tags.site = 'north'" }"#,
        output: || {
            object(
                [
                    ("change", one_of("Change", &WORDS)),
                    ("deviceId", string("Device id")),
                    ("lastActivityTime", string("Last active")),
                    ("connectionState", one_of("Connection", &["Connected", "Disconnected"])),
                ],
                &["change", "deviceId", "lastActivityTime"],
            )
        },
        output_sample: || {
            literal!({
                "change": "silent",
                "deviceId": "press-17",
                "lastActivityTime": "2026-05-04T07:00:00Z",
                "connectionState": "Disconnected"
            })
        },
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::QUERIES, limits::RECORDS],
    },
    // Each IoT Hub unit allows 20 queries a minute.
    interval: Duration::from_secs(60),
    min_interval: Duration::from_secs(10),
    open: |session, config| Ok(Box::new(Devices::open(session, config))),
};

struct Devices<'a> {
    hub: IotHub<'a>,
    words: Vec<&'static str>,
    minutes: i64,
    condition: Option<String>,
    /// The time of the poll, in milliseconds since the Unix epoch.
    now: i64,
}

impl<'a> Devices<'a> {
    fn open(session: &'a Session, config: &Input) -> Self {
        Self {
            hub: session.hub(),
            words: WORDS.into_iter().filter(|word| asks_for(config, word)).collect(),
            minutes: config.number("minutes").and_then(|minutes| i64::try_from(minutes).ok()).unwrap_or(LONGEST),
            condition: config.text("condition").map(str::to_owned),
            now: i64::try_from(session.platform().unix_time().as_millis()).unwrap_or(i64::MAX),
        }
    }

    /// When a device that stays silent counts as silent, in milliseconds since the Unix epoch. None for a device that
    /// never was active.
    fn silent_from(&self, body: &Value) -> Option<i64> {
        let last = text(body, "lastActivityTime");
        stated_time(last)?;
        instant::parse_ms(last)?.checked_add(self.minutes * 60_000)
    }

    fn is_silent(&self, body: &Value) -> bool {
        self.silent_from(body).is_some_and(|from| from <= self.now)
    }

    fn record(&self, body: Value) -> Option<Record> {
        let key = text(&body, "deviceId").to_owned();
        let state = if self.is_silent(&body) { "silent" } else { "active" };
        (!key.is_empty()).then(|| Record::new(key, Fingerprint::of([state]), body))
    }

    fn query(&self, only: &[(&str, &str)]) -> String {
        let equal: Vec<(&str, &str)> = [("status", "enabled")].into_iter().chain(only.iter().copied()).collect();
        twins::query("deviceId, lastActivityTime, connectionState", "devices", &equal, self.condition.as_deref())
    }
}

impl Collection for Devices<'_> {
    fn source(&self) -> String {
        format!("https://{}/devices", self.hub.identity())
    }

    fn selection(&self) -> String {
        json!([self.minutes, self.condition]).to_string()
    }

    fn wants(&self, happened: &Happened) -> bool {
        let Some(body) = happened.body else { return false };
        match happened.change {
            Change::Created => self.is_silent(body) && self.words.contains(&"silent"),
            Change::Updated => self.words.contains(if self.is_silent(body) { &"silent" } else { &"active" }),
            Change::Deleted => false,
        }
    }

    fn page(&self, place: Option<&str>) -> Result<Batch> {
        let page = engine::in_smaller_pages(PAGE, |size| self.hub.query(&self.query(&[]), size, place))?;
        Ok(Batch {
            records: page.items.into_iter().filter_map(|body| self.record(body)).collect(),
            next: page.continuation,
        })
    }

    fn look_up(&self, key: &str) -> Result<Lookup> {
        let page = self.hub.query(&self.query(&[("deviceId", key)]), 1, None)?;
        Ok(page.items.into_iter().find_map(|body| self.record(body)).map_or(Lookup::Outside, Lookup::Present))
    }

    fn draft(&self, happened: &Happened) -> EventDraft {
        let (key, body) = (happened.key, happened.body.unwrap_or(&Value::Null));
        let silent = self.is_silent(body);
        let word = if silent { "silent" } else { "active" };
        let last = text(body, "lastActivityTime");
        let mut data = json!({ "change": word, "deviceId": key, "lastActivityTime": last });
        if let Some(state) = body.get("connectionState").filter(|state| state.is_string()) {
            data["connectionState"] = state.clone();
        }
        // The hub states when a device was active. The silence is as old as the configuration asks for.
        let time = if silent { self.silent_from(body).map(instant::rfc3339) } else { Some(last.to_owned()) };
        EventDraft {
            event_type: format!("azure.iot.hub.device.{word}"),
            subject: Some(format!("devices/{key}")),
            time,
            data: data.to_string(),
            summary: match silent {
                true => format!("Device {key} silent for {} minutes", self.minutes),
                false => format!("Device {key} active again"),
            },
        }
    }
}
