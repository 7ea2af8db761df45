//! A device twin changed. This trigger finds changed twins with the hub's query language.
//!
//! ```scenario
//! config {"condition": "tags.site = 'north'"}
//! change create-device {"deviceId": "press-new"}
//! change update-twin {"deviceId": "press-new", "tags": {"site": "north"}}
//! change update-twin {"deviceId": "press-2", "desired": {"intervalSeconds": 60}}
//! change delete-device {"deviceId": "press-3"}
//! expect created updated deleted
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Number, Value, json};

use super::engine::cursor::{Fingerprint, Parts};
use super::engine::polled::Polled;
use super::engine::{
    self, Batch, Change, Collection, Happened, Lookup, Record, changes_field, stated_time, text, wanted,
};
use super::twins::{self, PAGE, part_of};
use crate::auth::Permission;
use crate::error::{ErrorCode, Result};
use crate::form::schema::{help, list, literal, object, one_of, string, with};
use crate::form::values::Input;
use crate::form::{fields, limits};
use crate::http::GivenId;
use crate::iothub::IotHub;
use crate::session::Session;
use crate::triggers::shared::declaration::{Declaration, optional};
use crate::triggers::shared::event::EventDraft;

const PARTS: [&str; 5] = ["tags", "desired", "reported", "status", "connection"];
const USUAL_PARTS: [&str; 3] = ["tags", "desired", "reported"];

pub static TRIGGER: Polled = Polled {
    declaration: Declaration {
        id: "device-twin-changed",
        title: "Device twin changed",
        help: "Fires when a device twin appears, when one of the chosen parts of it changes, or when it is deleted. \
               The hub keeps no log of changes for this: between two polls only the last of several changes to one twin is seen, and a query may lag behind by seconds. \
               An event says which parts changed, and when, as far as the hub notes it. \
               Needs a hub of the Standard or Free tier.",
        group: "Twins",
        config: &[
            optional("changes", changes_field),
            optional("parts", || {
                with(
                    list("Parts", one_of("Part", &PARTS)),
                    json!({ "description": "Which parts of a twin count as a change. Empty: tags, desired and reported properties.", "default": USUAL_PARTS, "maxItems": 5 }),
                )
            }),
            optional("condition", || {
                with(
                    help(
                        string("Condition"),
                        "Only twins that meet this condition of the hub's query language (what stands after WHERE). \
                                 A name that is a word of the language, or has other characters than letters and digits, stands in double brackets: `tags.[[group]]`. \
                                 A twin that begins to meet it fires as created; one that ceases to is forgotten.",
                    ),
                    literal!({ "minLength": 1, "maxLength": 1024, "examples": ["tags.site = 'north'"] }),
                )
            }),
        ],
        config_sample: r#"{ "parts": ["reported"], "condition": "tags.site = 'north'" }"#,
        output: || {
            object(
                [
                    ("change", one_of("Change", &["created", "updated", "deleted"])),
                    ("deviceId", string("Device id")),
                    (
                        "changedParts",
                        help(
                            list("Changed parts", one_of("Part", &PARTS)),
                            "Which of the chosen parts changed. Absent where that is not known: for what was created or deleted, and for the first change after an update from a version that did not keep it.",
                        ),
                    ),
                    (
                        "changedAt",
                        help(
                            object(PARTS.map(|part| (part, string("Time"))), &[]),
                            "When each of them was last changed, where the hub notes it: it does for properties and for the status. The event's own time is the last of these, where there is one for each changed part.",
                        ),
                    ),
                    ("twin", help(fields::twin_output(), "The twin as it is now; absent when it was deleted.")),
                ],
                &["change", "deviceId"],
            )
        },
        output_sample: || {
            json!({
                "change": "updated",
                "deviceId": "press-17",
                "changedParts": ["reported"],
                "changedAt": { "reported": "2026-05-04T07:29:00Z" },
                "twin": fields::twin_sample(),
            })
        },
        dynamic_output: true,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::QUERIES, limits::RECORDS],
    },
    // Each IoT Hub unit allows 20 queries a minute.
    interval: Duration::from_secs(60),
    min_interval: Duration::from_secs(10),
    open: |session, config| Ok(Box::new(Twins::open(session, config))),
};

struct Twins<'a> {
    hub: IotHub<'a>,
    changes: BTreeSet<Change>,
    parts: BTreeSet<String>,
    condition: Option<String>,
}

impl<'a> Twins<'a> {
    fn open(session: &'a Session, config: &Input) -> Self {
        let parts: BTreeSet<String> =
            config.items("parts").iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let parts = if parts.is_empty() { USUAL_PARTS.map(str::to_owned).into() } else { parts };
        let condition = config.text("condition").map(str::to_owned);
        Self { hub: session.hub(), changes: wanted(config), parts, condition }
    }

    fn query(&self, only: &[(&str, &str)]) -> String {
        twins::query("*", "devices", only, self.condition.as_deref())
    }

    fn record(&self, body: Value) -> Option<Record> {
        let key = text(&body, "deviceId").to_owned();
        if key.is_empty() {
            return None;
        }
        let state: Vec<String> = self.parts.iter().map(|part| part_of(&body, part)).collect();
        let state = || state.iter().map(String::as_str);
        let earlier = self.parts.contains("tags").then(|| {
            let body = rounded(&body);
            let state: Vec<String> = self.parts.iter().map(|part| part_of(&body, part)).collect();
            Fingerprint::of(state.iter().map(String::as_str))
        });
        Some(Record { earlier, parts: Parts::of(state()), ..Record::new(key, Fingerprint::of(state()), body) })
    }
}

/// The twin with the numbers of its tags rounded to doubles. An earlier version of this connector hashed tags in that
/// form, and its cursors still hold those hashes.
fn rounded(twin: &Value) -> Value {
    fn round(value: &mut Value) {
        match value {
            Value::Number(number) => {
                let is_exact = number.as_str() != "-0" && (number.is_u64() || number.is_i64());
                if let (false, Some(rounded)) = (is_exact, number.as_f64().and_then(Number::from_f64)) {
                    *number = rounded;
                }
            }
            Value::Array(items) => items.iter_mut().for_each(round),
            Value::Object(members) => members.values_mut().for_each(round),
            _ => {}
        }
    }
    let mut twin = twin.clone();
    twin.get_mut("tags").into_iter().for_each(round);
    twin
}

impl Collection for Twins<'_> {
    fn source(&self) -> String {
        format!("https://{}/twins", self.hub.identity())
    }

    fn selection(&self) -> String {
        json!([self.parts, self.condition]).to_string()
    }

    fn wants(&self, happened: &Happened) -> bool {
        self.changes.contains(&happened.change)
    }

    fn page(&self, place: Option<&str>) -> Result<Batch> {
        let page = engine::in_smaller_pages(PAGE, |size| self.hub.query(&self.query(&[]), size, place))?;
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
        let page = self.hub.query(&self.query(&[("deviceId", key)]), 1, None)?;
        Ok(page.items.into_iter().find_map(|body| self.record(body)).map_or(Lookup::Outside, Lookup::Present))
    }

    fn draft(&self, happened: &Happened) -> EventDraft {
        let Happened { change, key, body, .. } = *happened;
        let mut data = json!({ "change": change.as_str(), "deviceId": key });
        let (mut time, mut named) = (None, String::new());
        if let Some(body) = body {
            if let Some(places) = &happened.parts {
                let parts: Vec<&String> = places.iter().filter_map(|place| self.parts.iter().nth(*place)).collect();
                let mut times = BTreeMap::new();
                times.extend(parts.iter().filter_map(|part| Some((part.as_str(), time_of(body, part)?))));
                // The event has the latest time of all changed parts. It has no time if the hub states no time for one
                // of these parts.
                if times.len() == parts.len() {
                    time = times.values().max_by_key(|time| stated_time(time)).map(|time| (*time).to_owned());
                }
                named = format!(": {}", parts.iter().map(|part| part.as_str()).collect::<Vec<_>>().join(", "));
                data["changedParts"] = json!(parts);
                data["changedAt"] = json!(times);
            }
            data["twin"] = body.clone();
        }
        EventDraft {
            event_type: format!("azure.iot.hub.twin.{}", change.as_str()),
            subject: Some(format!("devices/{key}")),
            time,
            data: data.to_string(),
            summary: format!("Twin of {key} {}{named}", change.as_str()),
        }
    }
}

/// When a part was last changed. The hub notes this time for properties and for the status, not for tags or the
/// connection.
fn time_of<'t>(twin: &'t Value, part: &str) -> Option<&'t str> {
    let stated = match part {
        "desired" | "reported" => twin.pointer(&format!("/properties/{part}/$metadata/$lastUpdated")),
        "status" => twin.get("statusUpdateTime").or_else(|| twin.get("statusUpdatedTime")),
        _ => None,
    };
    stated.and_then(Value::as_str).filter(|time| stated_time(time).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Account;
    use crate::bindings::exports::workflow::connector::trigger::{
        Budget, Event, LostPolicy, Page, Payload, PollRequest, Start,
    };
    use crate::bindings::workflow::connector::types::{Connection, Cursor};
    use crate::json;
    use crate::platform::fake::FakePlatform;
    use crate::triggers::shared::Trigger as _;

    /// Polls once for each of these versions of one device's twin. Returns the events of all polls but the first,
    /// because the first poll only notes the state.
    fn events_of(config: &Value, twins: &[&str]) -> Vec<Event> {
        let mut cursor = None;
        let mut all = Vec::new();
        for twin in twins {
            let page = poll(config, twin, cursor);
            all.extend(page.events);
            cursor = Some(page.next);
        }
        all
    }

    fn poll(config: &Value, twin: &str, cursor: Option<Cursor>) -> Page {
        let platform = FakePlatform::at(1_800_000_000);
        platform.then_status(200, &[], &format!("[{twin}]"));
        let values = serde_json::json!({
            "iotHubName": "plant.azure-devices.net",
            "sharedAccessKeyName": "service",
            "sharedAccessKey": "c2VjcmV0IGtleSBvZiB0aGUgdGVzdA==",
        });
        let request = PollRequest {
            connection: Connection { auth_profile: "shared-access-key".into(), values: values.to_string() },
            trigger: TRIGGER.id().to_owned(),
            partition: String::new(),
            config: config.to_string(),
            start: Start::Now,
            on_position_lost: LostPolicy::Stop,
            cursor,
            budget: Budget { events: 10, bytes: 1 << 20, wait_ms: 0, deadline_ms: 30_000 },
        };
        let account = Account::open(&request.connection).expect("an account");
        let session = Session::new(&platform, &account, 30_000, false);
        let schema = || TRIGGER.descriptor().operation.input_schema;
        let config = crate::form::read_input(TRIGGER.id(), schema, &request.config).expect("a configuration");
        TRIGGER.poll(&session, config, &request).expect("a page")
    }

    fn data(event: &Event) -> Value {
        match &event.data {
            Payload::Json(text) => json::parse(text.as_bytes()).expect("JSON"),
            other => panic!("{other:?}"),
        }
    }

    fn twin(tags: &str, desired: u32, reported: u32, status: &str) -> String {
        let part = |version: u32| {
            format!(r#"{{"$version":{version},"$metadata":{{"$lastUpdated":"2026-05-04T07:{version:02}:00Z"}}}}"#)
        };
        format!(
            r#"{{"deviceId":"d1","etag":"x","status":"{status}","statusUpdateTime":"2026-05-04T08:00:00.5Z","connectionState":"Connected","lastActivityTime":"2026-05-04T09:00:00Z","tags":{tags},"properties":{{"desired":{},"reported":{}}}}}"#,
            part(desired),
            part(reported)
        )
    }

    /// In an earlier version, an event about changed tags had the time of another part's change.
    #[test]
    fn an_event_says_which_parts_changed_and_when_where_the_hub_notes_it() {
        let all = serde_json::json!({ "parts": PARTS });
        let old = twin("{}", 2, 3, "enabled");
        let offline = old.replace("Connected", "Disconnected");
        for (new, parts, at, time) in [
            (twin("{}", 4, 3, "enabled"), vec!["desired"], vec!["desired"], Some("2026-05-04T07:04:00Z")),
            (twin("{}", 2, 5, "enabled"), vec!["reported"], vec!["reported"], Some("2026-05-04T07:05:00Z")),
            (
                twin("{}", 9, 5, "enabled"),
                vec!["desired", "reported"],
                vec!["desired", "reported"],
                Some("2026-05-04T07:09:00Z"),
            ),
            (twin("{\"a\":1}", 2, 3, "enabled"), vec!["tags"], vec![], None),
            (twin("{\"a\":1}", 2, 5, "enabled"), vec!["reported", "tags"], vec!["reported"], None),
            (twin("{}", 2, 3, "disabled"), vec!["status"], vec!["status"], Some("2026-05-04T08:00:00.5Z")),
            (offline, vec!["connection"], vec![], None),
        ] {
            let events = events_of(&all, &[&old, &new]);
            assert_eq!(events.len(), 1, "{new}");
            let data = data(&events[0]);
            assert_eq!(data["changedParts"], serde_json::json!(parts), "{new}");
            let named: Vec<&str> =
                data["changedAt"].as_object().expect("an object").keys().map(String::as_str).collect();
            assert_eq!((named, events[0].time.as_deref()), (at, time), "{new}");
            assert_eq!(events[0].summary, format!("Twin of d1 updated: {}", parts.join(", ")));
        }
    }

    #[test]
    fn what_the_hub_states_as_never_is_no_time() {
        let never = twin("{}", 2, 3, "enabled").replace("2026-05-04T08:00:00.5Z", "0001-01-01T00:00:00Z");
        let now = never.replace("\"enabled\"", "\"disabled\"");
        let events = events_of(&serde_json::json!({ "parts": ["status"] }), &[&never, &now]);
        assert_eq!((events.len(), &events[0].time), (1, &None));
        assert_eq!(data(&events[0])["changedAt"], serde_json::json!({}));
    }

    /// As doubles, the two numbers are equal. The event has no time, because the hub states none for tags, and other parts do not count.
    #[test]
    fn tags_are_compared_to_the_last_digit() {
        let usual = serde_json::json!({});
        let events = events_of(
            &usual,
            &[
                &twin("{\"n\":9007199254740992.5}", 2, 3, "enabled"),
                &twin("{\"n\":9007199254740993.5}", 2, 3, "enabled"),
            ],
        );
        assert_eq!(events.len(), 1);
        assert_eq!(data(&events[0])["twin"]["tags"].to_string(), "{\"n\":9007199254740993.5}");
        assert_eq!(events[0].time, None);
    }

    /// In an earlier version, one twin that was nested too deeply made the whole page fail, and a page that was too
    /// large stopped the trigger for good.
    #[test]
    fn no_twin_stops_the_others() {
        for levels in [122, 123, 124, 126, 127, 128, 2_000] {
            let tags = r#"{"a":"#.repeat(levels) + "1" + &"}".repeat(levels);
            let config = serde_json::json!({});
            let old = twin(&tags, 2, 3, "enabled");
            let events = events_of(&config, &[&old, &twin(&tags, 3, 3, "enabled"), &twin(&tags, 3, 3, "enabled")]);
            assert_eq!(events.len(), 1, "{levels}");
            let Payload::Json(text) = &events[0].data else { panic!("{:?}", events[0].data) };
            assert_eq!(connector_rules::json::check(text), Ok(()), "{levels}");
        }
        let platform = FakePlatform::at(1_800_000_000);
        let too_large = |_: &_, _: &_| {
            let kind = crate::platform::ExchangeErrorKind::TooLarge;
            Err(crate::platform::ExchangeError { kind, sent: true, detail: String::new() })
        };
        platform.then(too_large);
        // This answer is short on the wire and large in memory.
        platform.then_status(200, &[], &format!("[{}0]", r#"{"":0},"#.repeat(200_000)));
        platform.then_status(200, &[], &format!("[{}]", twin("{}", 1, 1, "enabled")));
        let page = engine::in_smaller_pages(PAGE, |size| {
            let values = serde_json::json!({
                "iotHubName": "plant.azure-devices.net",
                "sharedAccessKeyName": "service",
                "sharedAccessKey": "c2VjcmV0IGtleSBvZiB0aGUgdGVzdA==",
            });
            let connection = Connection { auth_profile: "shared-access-key".into(), values: values.to_string() };
            let account = Account::open(&connection)?;
            Session::new(&platform, &account, 30_000, false).hub().query("SELECT * FROM devices", size, None)
        });
        assert_eq!(page.expect("a page").items.len(), 1);
        let sizes: Vec<String> = platform
            .requests
            .borrow()
            .iter()
            .filter_map(|request| {
                Some(request.headers.iter().find(|(name, _)| name == "x-ms-max-item-count")?.1.clone())
            })
            .collect();
        assert_eq!(sizes, ["200", "25", "3"]);
    }

    /// The earlier version's cursors hold one hash for each record, over numbers written as doubles.
    #[test]
    fn cursors_of_the_version_before_fire_nothing_again() {
        let usual = serde_json::json!({});
        let tags = r#"{"a":1.10,"b":1E5,"c":-0,"d":123456789012345678901234567890,"e":7}"#;
        let as_doubles = serde_json::json!({ "a": 1.1, "b": 100_000.0, "c": -0.0, "d": 123_456_789_012_345_680_000_000_000_000.0, "e": 7 });
        let before = poll(&usual, &twin(tags, 2, 3, "enabled"), None).next;
        let mut state = engine::cursor::State::read(&before).expect("readable");
        for known in state.records.values_mut() {
            known.fingerprint = Fingerprint::of(["2", "3", &as_doubles.to_string()]);
            known.parts = Parts::default();
        }
        state.pages = None;
        let old = state.cursor();
        assert_eq!((before.snapshot[0], old.snapshot[0]), (4, 1), "the old form");
        let page = poll(&usual, &twin(tags, 2, 3, "enabled"), Some(old.clone()));
        assert_eq!(page.events.len(), 0, "nothing changed");
        let page = poll(&usual, &twin(tags, 2, 4, "enabled"), Some(page.next));
        assert_eq!(data(&page.events[0])["changedParts"], serde_json::json!(["reported"]));
        let page = poll(&usual, &twin(tags, 2, 4, "enabled"), Some(old));
        assert_eq!(page.events.len(), 1, "nothing is lost");
        assert!(data(&page.events[0]).get("changedParts").is_none() && page.events[0].time.is_none());
    }

    /// In an earlier version, the connector refused to look up some ids that the hub itself had listed, which stopped
    /// the trigger for good.
    #[test]
    fn ids_that_the_hub_gave_out_are_looked_up() {
        let platform = FakePlatform::at(1_800_000_000);
        let values = serde_json::json!({
            "iotHubName": "plant.azure-devices.net",
            "sharedAccessKeyName": "service",
            "sharedAccessKey": "c2VjcmV0IGtleSBvZiB0aGUgdGVzdA==",
        });
        let connection = Connection { auth_profile: "shared-access-key".into(), values: values.to_string() };
        let account = Account::open(&connection).expect("an account");
        let session = Session::new(&platform, &account, 30_000, false);
        let twins = Twins::open(&session, &Input::new(serde_json::json!({})));
        for (id, path) in
            [("a b", "a%20b"), ("ä/..", "%C3%A4%2F.."), ("x".repeat(200).as_str(), "x".repeat(200).as_str())]
        {
            platform.then_status(200, &[], &serde_json::json!({ "deviceId": id }).to_string());
            assert!(matches!(twins.look_up(id), Ok(Lookup::Present(_))), "{id}");
            let asked = platform.requests.borrow().last().expect("a request").path_with_query.clone();
            assert_eq!(asked, format!("/twins/{path}?api-version=2021-04-12"));
        }
        let asked = platform.requests.borrow().len();
        for id in [".", ".."] {
            assert!(
                matches!(twins.look_up(id), Ok(Lookup::Unknown)),
                "no path can hold this id, so the device does not count as deleted"
            );
        }
        assert_eq!(platform.requests.borrow().len(), asked);
    }
}
