//! A device or module entered the result of a query, changed in it, or left it.
//!
//! ```scenario
//! given create-device {"deviceId": "cell-1"}
//! given create-device {"deviceId": "cell-2"}
//! given create-device {"deviceId": "cell-3"}
//! given create-device {"deviceId": "cell-4"}
//! given create-device {"deviceId": "cell-5"}
//! given device:report {"deviceId": "cell-1", "reported": {"charge": 10, "volts": 1}}
//! given device:report {"deviceId": "cell-2", "reported": {"charge": 11, "volts": 1}}
//! given device:report {"deviceId": "cell-3", "reported": {"charge": 12, "volts": 1}}
//! given device:report {"deviceId": "cell-4", "reported": {"charge": 13, "volts": 1}}
//! given device:report {"deviceId": "cell-5", "reported": {"charge": 90, "volts": 1}}
//! config {"condition": "properties.reported.charge < 20", "paths": ["/properties/reported/charge"]}
//! change device:report {"deviceId": "cell-5", "reported": {"charge": 15}}
//! change device:report {"deviceId": "cell-1", "reported": {"charge": 9}}
//! change device:report {"deviceId": "cell-2", "reported": {"charge": 100}}
//! change device:report {"deviceId": "cell-3", "reported": {"volts": 2}}
//! change delete-device {"deviceId": "cell-4"}
//! expect entered changed left
//! ```

use std::time::Duration;

use serde_json::{Value, json};

use super::engine::cursor::Fingerprint;
use super::engine::polled::Polled;
use super::engine::{self, Batch, Change, Collection, Happened, Lookup, Record, asks_for, text, words_field};
use super::twins::{self, PAGE, part_of};
use crate::auth::Permission;
use crate::error::{ErrorCode, Result};
use crate::form::schema::{boolean, help, literal, object, one_of, string, with};
use crate::form::values::Input;
use crate::form::{fields, limits};
use crate::http::{GivenId, Request, Safety};
use crate::iothub::IotHub;
use crate::platform::Method;
use crate::session::Session;
use crate::triggers::shared::declaration::{Declaration, optional, required};
use crate::triggers::shared::event::EventDraft;

const WORDS: [&str; 3] = ["entered", "changed", "left"];
/// What is compared where the configuration names no paths.
const USUAL_PARTS: [&str; 4] = ["tags", "desired", "reported", "status"];

pub static TRIGGER: Polled = Polled {
    declaration: Declaration {
        id: "query-result-changed",
        title: "Query result changed",
        help: "Fires when a device or module begins to meet a condition, changes while it meets the condition, or ceases to meet it. \
               The hub keeps no log of this: a device that meets the condition only between two polls is not noticed, and a query may lag behind by seconds. \
               Needs a hub of the Standard or Free tier.",
        group: "Twins",
        config: &[
            required("condition", || {
                with(
                    help(
                        string("Condition"),
                        "What stands after WHERE in the hub's query language. \
                         A name that is a word of the language, or has other characters than letters and digits, stands in double brackets: `tags.[[group]]`.",
                    ),
                    literal!({ "minLength": 1, "maxLength": 1024, "examples": ["properties.reported.battery < 20"] }),
                )
            }),
            optional("collection", || {
                with(
                    one_of("Of", &["devices", "modules"]),
                    literal!({ "default": "devices", "x-visibility": "advanced" }),
                )
            }),
            optional("changes", || words_field(&WORDS)),
            optional("paths", || {
                twins::paths("Which values count as a change. Empty: any change of tags, properties or status.", 0, 32)
            }),
        ],
        config_sample: r#"{ "condition": "properties.reported.battery < 20", "changes": ["entered", "left"] }"#,
        output: || {
            object(
                [
                    ("change", one_of("Change", &WORDS)),
                    ("deviceId", string("Device id")),
                    ("moduleId", help(string("Module id"), "Absent for a device.")),
                    ("exists", help(boolean("Exists"), "False: it left the result because it was deleted.")),
                    ("twin", help(fields::twin_output(), "The twin as it is now; absent when it was deleted.")),
                ],
                &["change", "deviceId", "exists"],
            )
        },
        output_sample: || json!({ "change": "entered", "deviceId": "press-17", "exists": true, "twin": fields::twin_sample() }),
        dynamic_output: true,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::QUERIES, limits::RECORDS],
    },
    // Each IoT Hub unit allows 20 queries a minute.
    interval: Duration::from_secs(60),
    min_interval: Duration::from_secs(10),
    open: |session, config| Ok(Box::new(Selected::open(session, config))),
};

struct Selected<'a> {
    hub: IotHub<'a>,
    words: Vec<&'static str>,
    modules: bool,
    condition: String,
    paths: Vec<String>,
}

impl<'a> Selected<'a> {
    fn open(session: &'a Session, config: &Input) -> Self {
        Self {
            hub: session.hub(),
            words: WORDS.into_iter().filter(|word| asks_for(config, word)).collect(),
            modules: config.text("collection") == Some("modules"),
            condition: config.required_text("condition").to_owned(),
            paths: twins::read_paths(config),
        }
    }

    fn query(&self, only: &[(&str, &str)]) -> String {
        let from = if self.modules { "devices.modules" } else { "devices" };
        twins::query("*", from, only, Some(&self.condition))
    }

    fn record(&self, body: Value) -> Option<Record> {
        let (device, module) = (text(&body, "deviceId"), text(&body, "moduleId"));
        if device.is_empty() || self.modules == module.is_empty() {
            return None;
        }
        let key = if self.modules { format!("{device}/{module}") } else { device.to_owned() };
        let state: Vec<String> = if self.paths.is_empty() {
            USUAL_PARTS.map(|part| part_of(&body, part)).into()
        } else {
            // A missing value differs from every value, also from an empty text, which has quotation marks.
            self.paths
                .iter()
                .map(|path| twins::value_at(&body, path).map(|value| value.to_string()).unwrap_or_default())
                .collect()
        };
        Some(Record::new(key, Fingerprint::of(state.iter().map(String::as_str)), body))
    }
}

/// The ids of the device and the module in a record's key. A device's id has no slash.
fn ids(key: &str) -> (&str, Option<&str>) {
    key.split_once('/').map_or((key, None), |(device, module)| (device, Some(module)))
}

fn word(change: Change) -> &'static str {
    match change {
        Change::Created => "entered",
        Change::Updated => "changed",
        Change::Deleted => "left",
    }
}

impl Collection for Selected<'_> {
    fn source(&self) -> String {
        format!("https://{}/twins", self.hub.identity())
    }

    fn selection(&self) -> String {
        json!([self.modules, self.condition, self.paths]).to_string()
    }

    fn wants(&self, happened: &Happened) -> bool {
        self.words.contains(&word(happened.change))
    }

    fn page(&self, place: Option<&str>) -> Result<Batch> {
        let page = engine::in_smaller_pages(PAGE, |size| self.hub.query(&self.query(&[]), size, place))?;
        Ok(Batch {
            records: page.items.into_iter().filter_map(|body| self.record(body)).collect(),
            next: page.continuation,
        })
    }

    fn look_up(&self, key: &str) -> Result<Lookup> {
        let (device, module) = ids(key);
        let equal: Vec<(&str, &str)> =
            [("deviceId", device)].into_iter().chain(module.map(|module| ("moduleId", module))).collect();
        let page = self.hub.query(&self.query(&equal), 1, None)?;
        if let Some(record) = page.items.into_iter().find_map(|body| self.record(body)) {
            return Ok(Lookup::Present(record));
        }
        // The condition is not met. The twin says whether the device still exists.
        let (Some(device), module) = (GivenId::new(device), module.map(GivenId::new)) else { return Ok(Lookup::Gone) };
        let found = match module {
            None => self.hub.twin(&device),
            Some(None) => return Ok(Lookup::Gone),
            Some(Some(module)) => {
                use crate::http::PathId as _;
                let segments = ["twins", device.as_str(), "modules", module.as_str()];
                self.hub.document(&Request::new(Method::Get, segments, Safety::Read, Permission::ServiceConnect))
            }
        };
        match found {
            Ok(found) => Ok(Lookup::Left(found.document)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(Lookup::Gone),
            Err(error) => Err(error),
        }
    }

    fn draft(&self, happened: &Happened) -> EventDraft {
        let Happened { change, key, body, .. } = *happened;
        let (device, module) = ids(key);
        let word = word(change);
        let mut data = json!({ "change": word, "deviceId": device, "exists": body.is_some() });
        if let Some(module) = module {
            data["moduleId"] = module.into();
        }
        if let Some(body) = body {
            data["twin"] = body.clone();
        }
        EventDraft {
            event_type: format!("azure.iot.hub.query-result.{word}"),
            subject: Some(match module {
                None => format!("devices/{device}"),
                Some(module) => format!("devices/{device}/modules/{module}"),
            }),
            time: None,
            data: data.to_string(),
            summary: format!("{key} {word} the query's result").replace("changed the", "changed in the"),
        }
    }
}
