//! Tests of the triggers on collections against a scripted platform: their requests, their events, and what becomes of
//! errors in the middle of a scan.

use serde_json::{Value, json};

use super::engine::polled::Polled;
use super::{
    device_registry_changed, device_silent, enrollment_group_changed, job_finished, query_result_changed,
    twin_value_changed,
};
use crate::account::Account;
use crate::bindings::exports::workflow::connector::trigger::{
    Budget, Event, LostPolicy, Page, Payload, PollRequest, Start,
};
use crate::bindings::workflow::connector::types::{Connection, Cursor};
use crate::error::{ErrorCode, Result};
use crate::form::read_input;
use crate::json;
use crate::platform::WireRequest;
use crate::platform::fake::FakePlatform;
use crate::session::Session;
use crate::triggers::shared::Trigger as _;

/// 2027-01-15T08:00:00Z.
const NOW: u64 = 1_800_000_000;

/// An answer of a service: its status, the continuation or the error's name in its header, and its body.
type Answer = (u16, &'static str, Value);

/// The hub's answer that a thing does not exist. `code` is the symbolic name of the error.
fn gone(code: &'static str) -> Answer {
    (404, code, json!({ "Message": format!("ErrorCode:{code};no") }))
}

/// The answer of the provisioning service that an enrollment does not exist.
fn no_enrollment() -> Answer {
    (404, "", json!({ "errorCode": 404_201, "trackingId": "t", "message": "no", "timestampUtc": "x" }))
}

fn page(items: Value) -> Answer {
    (200, "", items)
}

/// A trigger with a configuration, polled again and again.
struct Watched {
    trigger: &'static Polled,
    config: Value,
    cursor: Option<Cursor>,
    now: u64,
    /// The requests of the last poll: method, path and body.
    asked: Vec<String>,
    notices: Vec<String>,
}

impl Watched {
    fn new(trigger: &'static Polled, config: Value) -> Self {
        Self { trigger, config, cursor: None, now: NOW, asked: Vec::new(), notices: Vec::new() }
    }

    fn try_poll(&mut self, answers: &[Answer]) -> Result<Page> {
        let platform = FakePlatform::at(self.now);
        for (status, continuation, body) in answers {
            let mut headers =
                vec![(if *status == 404 { "iothub-errorcode" } else { "x-ms-continuation" }, *continuation)];
            headers.retain(|(_, value)| !value.is_empty());
            platform.then_status(*status, &headers, &body.to_string());
        }
        let values = json!({
            "iotHubName": "plant.azure-devices.net",
            "sharedAccessKeyName": "service",
            "sharedAccessKey": "c2VjcmV0IGtleSBvZiB0aGUgdGVzdA==",
            "dpsHostName": "fleet.azure-devices-provisioning.net",
            "dpsSharedAccessKeyName": "provisioning",
            "dpsSharedAccessKey": "c2VjcmV0IGtleSBvZiB0aGUgdGVzdA==",
        });
        let request = PollRequest {
            connection: Connection { auth_profile: "shared-access-key".into(), values: values.to_string() },
            trigger: self.trigger.id().to_owned(),
            partition: String::new(),
            config: self.config.to_string(),
            start: Start::Now,
            on_position_lost: LostPolicy::Stop,
            cursor: self.cursor.clone(),
            budget: Budget { events: 100, bytes: 1 << 20, wait_ms: 0, deadline_ms: 30_000 },
        };
        let account = Account::open(&request.connection)?;
        let session = Session::new(&platform, &account, 30_000, false);
        let schema = || self.trigger.descriptor().operation.input_schema;
        let config = read_input(self.trigger.id(), schema, &request.config)?;
        let page = self.trigger.poll(&session, config, &request);
        let shown = |request: &WireRequest| {
            let body = String::from_utf8_lossy(request.body.as_deref().unwrap_or_default()).into_owned();
            format!("{:?} {} {body}", request.method, request.path_with_query).trim_end().to_owned()
        };
        self.asked = platform.requests.borrow().iter().map(shown).collect();
        let page = page?;
        self.notices = page.notices.iter().map(|notice| notice.code.clone()).collect();
        self.cursor = Some(page.next.clone());
        Ok(page)
    }

    fn poll(&mut self, answers: &[Answer]) -> Vec<Event> {
        self.try_poll(answers)
            .unwrap_or_else(|error| panic!("{}: {error:?}, {:?}", self.trigger.id(), self.asked))
            .events
    }
}

fn data(event: &Event) -> Value {
    match &event.data {
        Payload::Json(text) => json::parse(text.as_bytes()).expect("JSON"),
        other => panic!("{other:?}"),
    }
}

/// The last word of the type and the subject of each event.
fn told(events: &[Event]) -> Vec<(&str, &str)> {
    events
        .iter()
        .map(|event| {
            let word = event.event_type.rsplit('.').next().unwrap_or_default();
            (word, event.subject.as_deref().unwrap_or_default())
        })
        .collect()
}

#[test]
fn the_registry_tells_of_devices_and_their_status() {
    let mut watched = Watched::new(&device_registry_changed::TRIGGER, json!({ "deviceIds": "d*" }));
    let device = |id: &str, status: &str| json!({ "deviceId": id, "status": status, "statusUpdateTime": "0001-01-01T00:00:00Z" });
    let first = page(json!([device("d1", "enabled"), device("d2", "disabled"), device("other", "enabled")]));
    assert!(watched.poll(&[first]).is_empty(), "the first poll only notes what is there");
    assert_eq!(
        watched.asked,
        [
            r#"Post /devices/query?api-version=2021-04-12 {"query":"SELECT deviceId, status, statusReason, statusUpdateTime FROM devices"}"#
        ]
    );
    let stolen = json!({ "deviceId": "d1", "status": "disabled", "statusReason": "stolen", "statusUpdateTime": "2026-05-04T07:29:00Z" });
    let events = watched.poll(&[page(json!([stolen, device("d2", "enabled"), device("d3", "enabled")]))]);
    assert_eq!(told(&events), [("disabled", "devices/d1"), ("enabled", "devices/d2"), ("created", "devices/d3")]);
    assert_eq!(events[0].time.as_deref(), Some("2026-05-04T07:29:00Z"));
    assert_eq!(events[0].event_type, "azure.iot.hub.device.disabled");
    assert_eq!(
        data(&events[0]),
        json!({ "change": "disabled", "deviceId": "d1", "status": "disabled", "statusReason": "stolen", "statusUpdateTime": "2026-05-04T07:29:00Z" })
    );
    assert_eq!(
        (&events[1].time, data(&events[1])),
        (&None, json!({ "change": "enabled", "deviceId": "d2", "status": "enabled" }))
    );
    // A reason is not a status, and a device that is not listed is looked up.
    let reason = json!({ "deviceId": "d1", "status": "disabled", "statusReason": "sold" });
    let events = watched.poll(&[page(json!([reason, device("d2", "enabled")])), gone("DeviceNotFound")]);
    assert_eq!(
        (told(&events), data(&events[0])),
        (vec![("deleted", "devices/d3")], json!({ "change": "deleted", "deviceId": "d3" }))
    );
    assert_eq!(watched.asked[1], "Get /twins/d3?api-version=2021-04-12");

    let mut deleted = Watched::new(&device_registry_changed::TRIGGER, json!({ "changes": ["deleted"] }));
    deleted.poll(&[page(json!([device("d1", "enabled"), device("d2", "enabled")]))]);
    let events =
        deleted.poll(&[page(json!([device("d1", "disabled"), device("d3", "enabled")])), gone("DeviceNotFound")]);
    assert_eq!(told(&events), [("deleted", "devices/d2")]);
}

#[test]
fn silence_is_the_time_between_the_last_activity_and_the_clock() {
    let mut watched = Watched::new(&device_silent::TRIGGER, json!({ "minutes": 30, "condition": "a = 1 OR b = 2" }));
    let device =
        |id: &str, last: &str| json!({ "deviceId": id, "connectionState": "Connected", "lastActivityTime": last });
    let never = device("never", "0001-01-01T00:00:00Z");
    let at = |last: &str| page(json!([device("d1", last), never, device("d2", "2027-01-15T06:00:00Z")]));
    assert!(watched.poll(&[at("2027-01-15T07:40:00.5Z")]).is_empty());
    assert_eq!(
        watched.asked,
        [
            r#"Post /devices/query?api-version=2021-04-12 {"query":"SELECT deviceId, lastActivityTime, connectionState FROM devices WHERE status = 'enabled' AND (a = 1 OR b = 2)"}"#
        ]
    );
    watched.now += 10 * 60;
    assert!(watched.poll(&[at("2027-01-15T07:40:00.5Z")]).is_empty(), "half a second is left");
    watched.now += 60;
    let events = watched.poll(&[at("2027-01-15T07:40:00.5Z")]);
    assert_eq!(told(&events), [("silent", "devices/d1")]);
    assert_eq!(events[0].time.as_deref(), Some("2027-01-15T08:10:00.500Z"));
    assert_eq!(
        data(&events[0]),
        json!({ "change": "silent", "deviceId": "d1", "lastActivityTime": "2027-01-15T07:40:00.5Z", "connectionState": "Connected" })
    );
    assert!(watched.poll(&[at("2027-01-15T07:40:00.5Z")]).is_empty(), "it stays silent");
    let events = watched.poll(&[at("2027-01-15T08:10:30Z")]);
    assert_eq!(
        (told(&events), events[0].time.as_deref()),
        (vec![("active", "devices/d1")], Some("2027-01-15T08:10:30Z"))
    );
    // A device that is disabled, deleted or no longer selected is forgotten. A silent one that is selected anew fires.
    assert!(watched.poll(&[page(json!([never])), page(json!([])), page(json!([]))]).is_empty());
    assert_eq!(
        watched.asked[1],
        r#"Post /devices/query?api-version=2021-04-12 {"query":"SELECT deviceId, lastActivityTime, connectionState FROM devices WHERE status = 'enabled' AND deviceId = 'd1' AND (a = 1 OR b = 2)"}"#
    );
    assert_eq!(told(&watched.poll(&[at("2027-01-15T08:10:30Z")])), [("silent", "devices/d2")]);
}

#[test]
fn a_changed_value_comes_with_the_value_before() {
    let paths = ["/properties/reported/firmware", "/tags/site", "/tags/n", "/properties/desired/long"];
    let mut watched = Watched::new(&twin_value_changed::TRIGGER, json!({ "paths": paths }));
    let twin = |text: &str| json::parse(text.as_bytes()).expect("JSON");
    let long = |letter: &str| letter.repeat(100);
    let before = twin(&format!(
        r#"{{"deviceId":"d1","tags":{{"site":"north","n":9007199254740992.5}},"properties":{{"desired":{{"long":"{}"}},"reported":{{"firmware":"4.0","$version":2}}}}}}"#,
        long("a")
    ));
    let bare = json!({ "deviceId": "d2", "tags": {} });
    assert!(watched.poll(&[page(json!([before, bare]))]).is_empty());
    // Other values, and the version, are not watched.
    let other = twin(&before.to_string().replace("\"$version\":2", "\"$version\":3,\"battery\":1"));
    assert!(watched.poll(&[page(json!([other, bare]))]).is_empty());
    let after = twin(&format!(
        r#"{{"deviceId":"d1","tags":{{"n":9007199254740993.5}},"properties":{{"desired":{{"long":"{}","$metadata":{{"long":{{"$lastUpdated":"2026-05-04T07:00:00Z"}}}}}},"reported":{{"firmware":{{"major":5}},"$metadata":{{"firmware":{{"$lastUpdated":"2026-05-04T07:30:00Z","major":{{}}}}}}}}}}}}"#,
        long("b")
    ));
    let appeared = json!({ "deviceId": "d3", "tags": { "site": "west" } });
    let events = watched.poll(&[page(json!([after, bare, appeared, { "deviceId": "d4" }]))]);
    assert_eq!(told(&events), [("value-changed", "devices/d1"), ("value-changed", "devices/d3")]);
    let changes = data(&events[0])["changes"].clone();
    let expected = format!(
        r#"[{{"changedAt":"2026-05-04T07:30:00Z","new":{{"major":5}},"old":"4.0","path":"/properties/reported/firmware"}},{{"old":"north","path":"/tags/site"}},{{"new":9007199254740993.5,"old":9007199254740992.5,"path":"/tags/n"}},{{"changedAt":"2026-05-04T07:00:00Z","new":"{}","oldLeftOut":true,"path":"/properties/desired/long"}}]"#,
        long("b")
    );
    assert_eq!(changes, twin(&expected));
    assert_eq!(events[0].time, None, "the hub states no time for tags");
    assert_eq!(data(&events[1])["changes"], json!([{ "path": "/tags/site", "new": "west" }]));
    let newer = twin(&after.to_string().replace("07:30:00Z", "07:45:00Z").replace("\"major\":5", "\"major\":6"));
    let events = watched.poll(&[page(json!([newer, bare, appeared])), gone("DeviceNotFound")]);
    assert_eq!(
        (told(&events), events[0].time.as_deref()),
        (vec![("value-changed", "devices/d1")], Some("2026-05-04T07:45:00Z"))
    );
    assert_eq!(data(&events[0])["changes"][0]["old"], json!({ "major": 5 }));
    assert_eq!(watched.asked[1], "Get /twins/d4?api-version=2021-04-12", "a device that is deleted does not fire");
}

/// 20 bytes for a device: the id differs by a few bytes from the one before, and similar values compress.
#[test]
fn the_cursor_of_values_is_compact() {
    let paths = ["/properties/reported/firmware", "/tags/site"];
    let mut watched = Watched::new(&twin_value_changed::TRIGGER, json!({ "paths": paths }));
    let twins: Vec<Value> = (0..1_000)
        .map(|index| json!({ "deviceId": format!("press-{index:06}"), "tags": { "site": "north" }, "properties": { "reported": { "firmware": format!("4.{}.0", index % 7) } } }))
        .collect();
    watched.poll(&[page(json!(twins))]);
    let each = watched.cursor.expect("a cursor").snapshot.len() as f64 / 1_000.0;
    assert!(each < 20.0, "{each} bytes for a device with two values");
}

#[test]
fn a_result_is_entered_changed_in_and_left() {
    let config = json!({ "condition": "tags.a = 1 OR tags.b = 2", "paths": ["/tags/a"] });
    let mut watched = Watched::new(&query_result_changed::TRIGGER, config);
    let twin = |id: &str, a: u32| json!({ "deviceId": id, "tags": { "a": a }, "lastActivityTime": format!("{a}") });
    watched.poll(&[page(json!([twin("d1", 1), twin("d2", 1), twin("d3", 1)]))]);
    assert_eq!(
        watched.asked,
        [
            r#"Post /devices/query?api-version=2021-04-12 {"query":"SELECT * FROM devices WHERE (tags.a = 1 OR tags.b = 2)"}"#
        ]
    );
    let answers = [
        page(json!([twin("d1", 2), twin("d4", 1)])),
        page(json!([])),
        page(twin("d2", 9)),
        page(json!([])),
        gone("DeviceNotFound"),
    ];
    let events = watched.poll(&answers);
    assert_eq!(
        told(&events),
        [("changed", "devices/d1"), ("entered", "devices/d4"), ("left", "devices/d2"), ("left", "devices/d3")]
    );
    assert_eq!(
        watched.asked[1..],
        [
            r#"Post /devices/query?api-version=2021-04-12 {"query":"SELECT * FROM devices WHERE deviceId = 'd2' AND (tags.a = 1 OR tags.b = 2)"}"#,
            "Get /twins/d2?api-version=2021-04-12",
            r#"Post /devices/query?api-version=2021-04-12 {"query":"SELECT * FROM devices WHERE deviceId = 'd3' AND (tags.a = 1 OR tags.b = 2)"}"#,
            "Get /twins/d3?api-version=2021-04-12",
        ]
    );
    assert_eq!(
        (data(&events[2])["exists"].clone(), data(&events[2])["twin"]["tags"]["a"].clone()),
        (json!(true), json!(9))
    );
    assert_eq!(data(&events[3]), json!({ "change": "left", "deviceId": "d3", "exists": false }));
    // A record that moved between two pages is found by the look-up.
    assert!(watched.poll(&[page(json!([twin("d1", 2)])), page(json!([twin("d4", 1)]))]).is_empty());
}

#[test]
fn the_modules_of_a_device_are_records_of_their_own() {
    let config = json!({ "condition": "tags.a = 1", "collection": "modules", "changes": ["entered", "left"] });
    let mut watched = Watched::new(&query_result_changed::TRIGGER, config);
    let twin = |id: &str| json!({ "deviceId": "d1", "moduleId": id, "tags": { "a": 1 } });
    watched.poll(&[page(json!([twin("m1"), twin("m2")]))]);
    let events = watched.poll(&[page(json!([twin("m1"), twin("m/3")])), page(json!([])), page(twin("m2"))]);
    assert_eq!(told(&events), [("entered", "devices/d1/modules/m/3"), ("left", "devices/d1/modules/m2")]);
    assert_eq!(
        watched.asked[1..],
        [
            r#"Post /devices/query?api-version=2021-04-12 {"query":"SELECT * FROM devices.modules WHERE deviceId = 'd1' AND moduleId = 'm2' AND (tags.a = 1)"}"#,
            "Get /twins/d1/modules/m2?api-version=2021-04-12",
        ]
    );
    assert_eq!(data(&events[1])["moduleId"], "m2");
}

#[test]
fn a_job_fires_when_it_has_ended() {
    let mut watched = Watched::new(&job_finished::TRIGGER, json!({ "importAndExport": true }));
    let job = |id: &str, status: &str, created: &str| json!({ "jobId": id, "type": "scheduleUpdateTwin", "status": status, "createdTime": created, "endTime": "2026-05-04T22:00:07Z" });
    let export =
        json!({ "jobId": "x1", "type": "export", "status": "running", "startTimeUtc": "2026-05-04T07:00:00Z" });
    // The description has an object with a token, Microsoft's .NET client reads a list and a header.
    let first = (
        200,
        "",
        json!({ "items": [job("j1", "completed", "a"), job("j2", "running", "b")], "continuationToken": "more" }),
    );
    assert!(watched.poll(&[first, page(json!([job("j3", "queued", "c")])), page(json!([export]))]).is_empty());
    assert_eq!(
        watched.asked,
        [
            "Get /jobs/v2/query?api-version=2021-04-12",
            "Get /jobs/v2/query?api-version=2021-04-12",
            "Get /jobs?api-version=2021-04-12"
        ]
    );
    let exported = json!({ "jobId": "x1", "type": "export", "status": "completed", "endTimeUtc": "2026-05-04T07:02:00Z", "outputBlobContainerUri": "https://plant.blob.core.windows.net/x?sig=c2VjcmV0", "inputBlobName": null });
    let second = [
        page(json!([job("j1", "completed", "a"), job("j2", "failed", "b"), job("j3", "cancelled", "c")])),
        page(json!([exported])),
    ];
    let events = watched.poll(&second);
    assert_eq!(told(&events), [("failed", "jobs/j2"), ("cancelled", "jobs/j3"), ("completed", "jobs/x1")]);
    assert_eq!(events[0].time.as_deref(), Some("2026-05-04T22:00:07Z"));
    assert_eq!(
        (data(&events[0])["type"].clone(), data(&events[0])["job"]["createdTime"].clone()),
        (json!("scheduleUpdateTwin"), json!("b"))
    );
    let uri = data(&events[2])["job"]["outputBlobContainerUri"].clone();
    assert_eq!(uri, "https://plant.blob.core.windows.net/x?sig=(secret)");
    // The hub forgot j1, whose id is used again; j2 is forgotten too; j3 is missing in the list only.
    let answers = [
        page(json!([job("j1", "failed", "z")])),
        page(json!([])),
        gone("JobNotFound"),
        page(job("j3", "cancelled", "c")),
        gone("JobNotFound"),
    ];
    let events = watched.poll(&answers);
    assert_eq!(told(&events), [("failed", "jobs/j1")]);
    assert_eq!(
        watched.asked[2..],
        [
            "Get /jobs/x1?api-version=2021-04-12",
            "Get /jobs/v2/j2?api-version=2021-04-12",
            "Get /jobs/v2/j3?api-version=2021-04-12"
        ]
        .map(str::to_owned)
    );
}

#[test]
fn the_groups_of_a_provisioning_service_are_followed_without_their_keys() {
    let mut watched = Watched::new(&enrollment_group_changed::TRIGGER, json!({ "enrollmentGroupIds": "PRESS*" }));
    let group = |id: &str, etag: &str, updated: &str| {
        json!({
            "enrollmentGroupId": id, "etag": etag, "createdDateTimeUtc": "2026-05-04T07:00:00Z", "lastUpdatedDateTimeUtc": updated,
            "attestation": { "type": "symmetricKey", "symmetricKey": { "primaryKey": "c2VjcmV0", "secondaryKey": "c2VjcmV0" } },
        })
    };
    watched.poll(&[page(json!([group("press-1", "a", "x"), group("press-2", "a", "x"), group("loom", "a", "x")]))]);
    assert_eq!(
        watched.asked,
        [r#"Post /enrollmentGroups/query?api-version=2026-11-01 {"query":"SELECT * FROM enrollmentGroups"}"#]
    );
    let second = page(json!([group("press-1", "b", "2026-05-04T08:00:00Z"), group("press-3", "a", "x")]));
    let events = watched.poll(&[second, no_enrollment()]);
    let at = "enrollmentGroups";
    assert_eq!(
        told(&events),
        [
            ("updated", &*format!("{at}/press-1")),
            ("created", &*format!("{at}/press-3")),
            ("deleted", &*format!("{at}/press-2"))
        ]
    );
    assert_eq!(events[0].event_type, "azure.iot.dps.enrollment-group.updated");
    let times: Vec<Option<&str>> = events.iter().map(|event| event.time.as_deref()).collect();
    assert_eq!(times, [Some("2026-05-04T08:00:00Z"), Some("2026-05-04T07:00:00Z"), None]);
    assert_eq!(data(&events[0])["enrollmentGroup"]["attestation"], json!({ "type": "symmetricKey" }));
    assert_eq!(data(&events[2]), json!({ "change": "deleted", "enrollmentGroupId": "press-2" }));
    assert_eq!(watched.asked[1], "Get /enrollmentGroups/press-2?api-version=2026-11-01");
}

/// A refusal before the first event is an error, and the cursor stays. A refusal after an event ends the page, and the
/// next poll goes on where the scan stopped.
#[test]
fn an_error_in_the_middle_of_a_scan_loses_and_doubles_nothing() {
    let device = |id: &str, status: &str| json!({ "deviceId": id, "status": status });
    let mut watched = Watched::new(&device_registry_changed::TRIGGER, json!({}));
    watched.poll(&[(200, "2", json!([device("d1", "enabled")])), page(json!([device("d2", "enabled")]))]);
    let refused = || (429, "", json!({ "Message": "ErrorCode:ThrottlingException;slower" }));
    let first = || (200, "2", json!([device("d1", "disabled")]));
    for (answer, code) in [(refused(), ErrorCode::RateLimited), (page(json!({ "no": "list" })), ErrorCode::Protocol)] {
        // A refusal that may pass is tried again within the poll.
        let answers: Vec<Answer> = std::iter::repeat_n(answer, 10).collect();
        let cursor = watched.cursor.clone();
        assert_eq!(watched.try_poll(&answers).expect_err("refused").code(), code);
        assert_eq!(watched.cursor, cursor);
    }
    let mut answers = vec![first()];
    answers.extend(std::iter::repeat_with(refused).take(10));
    let events = watched.poll(&answers);
    assert_eq!(
        (told(&events), watched.notices.as_slice()),
        (vec![("disabled", "devices/d1")], &["scan-interrupted".to_owned()][..])
    );
    let events = watched.poll(&[page(json!([device("d2", "disabled")]))]);
    assert_eq!(told(&events), [("disabled", "devices/d2")]);
    assert!(watched.poll(&[first(), page(json!([device("d2", "disabled")]))]).is_empty());
}

#[test]
fn a_configuration_that_no_twin_could_meet_is_refused() {
    for (trigger, config, pointer) in [
        (&twin_value_changed::TRIGGER, json!({}), "/paths"),
        (&twin_value_changed::TRIGGER, json!({ "paths": [] }), "/paths"),
        (&twin_value_changed::TRIGGER, json!({ "paths": ["/etag"] }), "/paths/0"),
        (&twin_value_changed::TRIGGER, json!({ "paths": ["/tagsite"] }), "/paths/0"),
        (&twin_value_changed::TRIGGER, json!({ "paths": vec!["/tags/site"; 9] }), "/paths"),
        (&query_result_changed::TRIGGER, json!({}), "/condition"),
        (&query_result_changed::TRIGGER, json!({ "condition": "a = 1", "collection": "jobs" }), "/collection"),
        (&device_silent::TRIGGER, json!({ "minutes": 0 }), "/minutes"),
        (&device_silent::TRIGGER, json!({}), "/minutes"),
        (&job_finished::TRIGGER, json!({ "changes": ["running"] }), "/changes/0"),
    ] {
        let error = Watched::new(trigger, config.clone()).try_poll(&[]).expect_err("refused");
        assert_eq!(error.record().fields[0].pointer, pointer, "{config}");
    }
}
