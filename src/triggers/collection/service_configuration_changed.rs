//! An automatic device configuration of the hub was created, changed or deleted.
//!
//! ```scenario
//! config {}
//! change hub:PUT /configurations/interval-new {"id": "interval-new", "schemaVersion": "1.0", "content": {"deviceContent": {"properties.desired.intervalSeconds": 30}}, "targetCondition": "tags.site='north'", "priority": 10}
//! change hub:REPLACE /configurations/interval-1 {"id": "interval-1", "priority": 7, "content": {"deviceContent": {"properties.desired.intervalSeconds": 10}}, "targetCondition": "*"}
//! change hub:DELETE /configurations/interval-2
//! expect created updated deleted
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::engine::cursor::Fingerprint;
use super::engine::polled::Polled;
use super::engine::{Batch, Change, Collection, Happened, Lookup, Record, changes_field, text, wanted};
use crate::auth::Permission;
use crate::error::{ErrorCode, Result};
use crate::form::limits;
use crate::form::schema::{any_object, help, integer, literal, object, one_of, open_object, string};
use crate::http::GivenId;
use crate::iothub::IotHub;
use crate::triggers::shared::declaration::{Declaration, optional};
use crate::triggers::shared::event::EventDraft;

/// The member with the time when the hub last changed a configuration.
const UPDATED: &str = "lastUpdatedTimeUtc";

pub static TRIGGER: Polled = Polled {
    declaration: Declaration {
        id: "service-configuration-changed",
        title: "Service configuration changed",
        help: "Fires when an automatic device configuration (or an IoT Edge deployment) of the hub is created, changed or deleted. \
               Needs a hub of the Standard or Free tier.",
        group: "Configurations",
        config: &[optional("changes", changes_field)],
        config_sample: r#"{ "changes": ["created", "updated"] }"#,
        output: || {
            object(
                [
                    ("change", one_of("Change", &["created", "updated", "deleted"])),
                    ("configurationId", string("Configuration id")),
                    (
                        "configuration",
                        help(
                            open_object(
                                [
                                    ("id", string("Configuration id")),
                                    ("targetCondition", string("Target condition")),
                                    ("priority", integer("Priority", 0, i64::from(i32::MAX))),
                                    ("labels", any_object("Labels")),
                                    ("content", any_object("Content")),
                                    ("createdTimeUtc", string("Created")),
                                    ("lastUpdatedTimeUtc", string("Last updated")),
                                    ("etag", string("ETag")),
                                ],
                                &["id"],
                            ),
                            "The configuration as it is now; absent when it was deleted.",
                        ),
                    ),
                ],
                &["change", "configurationId"],
            )
        },
        output_sample: || {
            literal!({
                "change": "updated",
                "configurationId": "interval-30s",
                "configuration": {
                    "id": "interval-30s",
                    "schemaVersion": "1.0",
                    "targetCondition": "tags.site='north'",
                    "priority": 10,
                    "labels": { "team": "operations" },
                    "content": { "deviceContent": { "properties.desired.intervalSeconds": 30 } },
                    "createdTimeUtc": "2026-05-04T07:00:00Z",
                    "lastUpdatedTimeUtc": "2026-05-04T07:10:00Z",
                    "etag": "MQ=="
                }
            })
        },
        dynamic_output: false,
        permissions: &[Permission::RegistryRead],
        limits: &[("Configurations of a hub", 100, "items"), limits::CONFIGURATIONS],
    },
    // Each IoT Hub unit allows 20 requests for configurations a minute.
    interval: Duration::from_secs(60),
    min_interval: Duration::from_secs(10),
    open: |session, config| Ok(Box::new(Configurations { hub: session.hub(), changes: wanted(config) })),
};

struct Configurations<'a> {
    hub: IotHub<'a>,
    changes: BTreeSet<Change>,
}

fn record(body: Value) -> Option<Record> {
    let key = text(&body, "id").to_owned();
    (!key.is_empty()).then(|| {
        let updated = text(&body, UPDATED).to_owned();
        Record::dated(key, Fingerprint::of([text(&body, "etag")]), &updated, body)
    })
}

impl Collection for Configurations<'_> {
    fn source(&self) -> String {
        format!("https://{}/configurations", self.hub.identity())
    }

    fn selection(&self) -> String {
        String::new()
    }

    fn wants(&self, happened: &Happened) -> bool {
        self.changes.contains(&happened.change)
    }

    fn page(&self, _place: Option<&str>) -> Result<Batch> {
        Ok(Batch { records: self.hub.configurations()?.into_iter().filter_map(record).collect(), next: None })
    }

    fn look_up(&self, key: &str) -> Result<Lookup> {
        let Some(id) = GivenId::new(key) else { return Ok(Lookup::Unknown) };
        match self.hub.configuration(&id) {
            Ok(found) => Ok(record(found.document).map_or(Lookup::Unknown, Lookup::Present)),
            Err(error) if error.code() == ErrorCode::NotFound => Ok(Lookup::Gone),
            Err(error) => Err(error),
        }
    }

    fn draft(&self, happened: &Happened) -> EventDraft {
        let Happened { change, key, body, .. } = *happened;
        let mut data = json!({ "change": change.as_str(), "configurationId": key });
        if let Some(body) = body {
            data["configuration"] = body.clone();
        }
        EventDraft {
            event_type: format!("azure.iot.hub.configuration.{}", change.as_str()),
            subject: Some(format!("configurations/{key}")),
            time: happened.time("createdTimeUtc", UPDATED),
            data: data.to_string(),
            summary: format!("Configuration {key} {}", change.as_str()),
        }
    }
}
