//! A device was created, deleted, enabled or disabled.
//!
//! ```scenario
//! given create-device {"deviceId": "bay-1"}
//! given create-device {"deviceId": "bay-2"}
//! given create-device {"deviceId": "bay-3"}
//! given create-device {"deviceId": "bay-4", "status": "disabled"}
//! config {"deviceIds": "bay-*"}
//! change create-device {"deviceId": "bay-new"}
//! change update-device {"deviceId": "bay-2", "status": "disabled", "statusReason": "stolen"}
//! change update-device {"deviceId": "bay-4", "status": "enabled"}
//! change delete-device {"deviceId": "bay-3"}
//! change create-device {"deviceId": "dock-1"}
//! expect created deleted enabled disabled
//! ```

use std::time::Duration;

use serde_json::{Value, json};

use super::engine::cursor::Fingerprint;
use super::engine::polled::Polled;
use super::engine::{self, Batch, Change, Collection, Happened, Lookup, Record, asks_for, text, words_field};
use super::twins;
use crate::auth::Permission;
use crate::error::{ErrorCode, Result};
use crate::form::limits;
use crate::form::schema::{help, literal, object, one_of, string, with};
use crate::form::values::Input;
use crate::http::GivenId;
use crate::iothub::IotHub;
use crate::session::Session;
use crate::triggers::shared::declaration::{Declaration, optional};
use crate::triggers::shared::event::EventDraft;
use crate::triggers::shared::glob;

/// The largest page of a query.
const PAGE: u32 = 1000;
const WORDS: [&str; 4] = ["created", "deleted", "enabled", "disabled"];
/// The members of a twin that an event states besides the device's id.
const MEMBERS: [&str; 3] = ["status", "statusReason", "statusUpdateTime"];

pub static TRIGGER: Polled = Polled {
    declaration: Declaration {
        id: "device-registry-changed",
        title: "Device registry changed",
        help: "Fires when a device is created, deleted, enabled or disabled. It compares the hub's list of devices with the last one, so it needs no route. \
               The hub keeps no log of this: a device that is deleted and created again between two polls is not noticed, and a query may lag behind by seconds. \
               **Device created or deleted** reports each event, where a route delivers them. \
               Needs a hub of the Standard or Free tier.",
        group: "Devices",
        config: &[
            optional("changes", || words_field(&WORDS)),
            optional("deviceIds", || {
                with(
                    help(
                        string("Device ids"),
                        "Only these, as a pattern: `*` stands for any characters, `?` for one. Empty: all.",
                    ),
                    literal!({ "minLength": 1, "maxLength": 128, "examples": ["press-*"] }),
                )
            }),
        ],
        config_sample: r#"{ "changes": ["created", "deleted"], "deviceIds": "press-*" }"#,
        output: || {
            object(
                [
                    ("change", one_of("Change", &WORDS)),
                    ("deviceId", string("Device id")),
                    ("status", help(one_of("Status", &["enabled", "disabled"]), "Absent when the device was deleted.")),
                    ("statusReason", string("Reason")),
                    ("statusUpdateTime", help(string("Status changed"), "Absent where the status never changed.")),
                ],
                &["change", "deviceId"],
            )
        },
        output_sample: || {
            literal!({
                "change": "disabled",
                "deviceId": "press-17",
                "status": "disabled",
                "statusReason": "stolen",
                "statusUpdateTime": "2026-05-04T07:29:00Z"
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
    pattern: String,
}

impl<'a> Devices<'a> {
    fn open(session: &'a Session, config: &Input) -> Self {
        let words = WORDS.into_iter().filter(|word| asks_for(config, word)).collect();
        let pattern = config.text("deviceIds").unwrap_or("*").to_owned();
        Self { hub: session.hub(), words, pattern }
    }

    fn record(&self, body: Value) -> Option<Record> {
        let key = text(&body, "deviceId").to_owned();
        let selected = !key.is_empty() && glob::fits(&self.pattern, &key);
        selected.then(|| Record::new(key, Fingerprint::of([text(&body, "status")]), body))
    }
}

/// What happened, in a word of the configuration.
fn word(happened: &Happened) -> &'static str {
    match happened.change {
        Change::Created => "created",
        Change::Deleted => "deleted",
        Change::Updated if happened.body.is_some_and(|body| text(body, "status") == "disabled") => "disabled",
        Change::Updated => "enabled",
    }
}

impl Collection for Devices<'_> {
    fn source(&self) -> String {
        format!("https://{}/devices", self.hub.identity())
    }

    fn selection(&self) -> String {
        self.pattern.clone()
    }

    fn wants(&self, happened: &Happened) -> bool {
        self.words.contains(&word(happened))
    }

    fn page(&self, place: Option<&str>) -> Result<Batch> {
        let query = twins::query(&format!("deviceId, {}", MEMBERS.join(", ")), "devices", &[], None);
        let page = engine::in_smaller_pages(PAGE, |size| self.hub.query(&query, size, place))?;
        Ok(Batch {
            records: page.items.into_iter().filter_map(|body| self.record(body)).collect(),
            next: page.continuation,
        })
    }

    fn look_up(&self, key: &str) -> Result<Lookup> {
        let Some(id) = GivenId::new(key) else { return Ok(Lookup::Unknown) };
        match self.hub.twin(&id) {
            Ok(found) => Ok(self.record(found.document).map_or(Lookup::Unknown, Lookup::Present)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(Lookup::Gone),
            Err(error) => Err(error),
        }
    }

    fn draft(&self, happened: &Happened) -> EventDraft {
        let (key, word) = (happened.key, word(happened));
        let mut data = json!({ "change": word, "deviceId": key });
        let member = |name: &str| happened.body.and_then(|body| body.get(name)).and_then(Value::as_str);
        for name in MEMBERS {
            if let Some(value) =
                member(name).filter(|value| name != "statusUpdateTime" || engine::stated_time(value).is_some())
            {
                data[name] = value.into();
            }
        }
        let is_about_status = matches!(word, "enabled" | "disabled");
        EventDraft {
            event_type: format!("azure.iot.hub.device.{word}"),
            subject: Some(format!("devices/{key}")),
            time: member("statusUpdateTime").filter(|_| is_about_status).map(str::to_owned),
            data: data.to_string(),
            summary: format!("Device {key} {word}"),
        }
    }
}
