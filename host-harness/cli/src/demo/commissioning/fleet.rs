//! The fleet file: the devices of a plant and what happens to them, as CSV.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use csv::StringRecord;
use serde::Serialize;
use serde_json::{Map, Value};

/// The latest time that a file may name.
const LONGEST: Duration = Duration::from_secs(3600);
/// The largest number of rows of a file.
const MOST_ROWS: usize = 10_000;
/// The tag that the workflow writes. A fleet file must not set it.
const RESERVED_TAG: &str = "lifecycle";

/// The columns besides `tag.…` and `desired.…`.
const COLUMNS: [&str; 11] = [
    "registrationId",
    "deviceId",
    "attestation",
    "enrollmentGroup",
    "enrollAt",
    "registerAt",
    "changeAt",
    "change",
    "change.line",
    "leaveAt",
    "failure",
];
/// The columns that every file must have.
const REQUIRED: [&str; 2] = ["registrationId", "attestation"];

/// A fleet: devices and what happens to them.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// The devices, in the order of the file.
    pub devices: Vec<FleetDevice>,
}

/// One row of a fleet file.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetDevice {
    /// The device's id at the provisioning service.
    pub registration_id: String,
    /// The device's id at the hub.
    pub device_id: String,
    /// How the device proves its identity.
    pub attestation: Attestation,
    /// The tags that the device's twin begins with.
    pub tags: Map<String, Value>,
    /// The desired properties that the device's twin begins with.
    pub desired: Map<String, Value>,
    /// When the device is enrolled. Zero means before the connector is linked.
    pub enroll_at: Duration,
    /// When the device registers; `None` if it never does.
    pub register_at: Option<Duration>,
    /// What changes later, and when.
    pub change: Option<(Duration, Change)>,
    /// When the device leaves; `None` if it stays.
    pub leave_at: Option<Duration>,
    /// What goes wrong with the device.
    pub failure: Failure,
}

/// How a device proves its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attestation {
    /// By a key of its own.
    SymmetricKey,
    /// By a certificate of its own.
    X509,
    /// By its trusted platform module.
    Tpm,
    /// By a key that is derived from the key of this enrollment group. The device has no enrollment of its own.
    Group(String),
}

/// What changes about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The device's enrollment is disabled. Then the device registers again and is refused.
    Disable,
    /// The device's enrollment gets another `line` tag.
    Retag(String),
    /// The device's enrollment is deleted and created again, and the device registers again.
    Reenroll,
    /// The device registers again.
    Reregister,
}

/// What goes wrong with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing.
    None,
    /// The device registers with a wrong credential and is refused.
    WrongKey,
    /// The device's enrollment is disabled from the beginning.
    DisabledEnrollment,
    /// The device's enrollment names a hub that is not linked to the provisioning service, so no hub can be assigned.
    Unreachable,
    /// The device registers one second later than planned.
    Late,
}

/// One thing that is wrong with a fleet file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FleetProblem {
    /// The line of the file, from 1; the header is in line 1.
    pub line: u64,
    /// The column's name; empty if the whole line is meant.
    pub column: String,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for FleetProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column.as_str() {
            "" => write!(f, "line {}: {}", self.line, self.message),
            column => write!(f, "line {}, {column}: {}", self.line, self.message),
        }
    }
}

/// A fleet file cannot be used. Holds all problems of the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fleet file has {} {}", problems.len(), if problems.len() == 1 { "problem" } else { "problems" })]
pub struct FleetError {
    /// The problems, in the order of the file.
    pub problems: Vec<FleetProblem>,
}

impl Fleet {
    /// Reads and checks a CSV text.
    ///
    /// # Errors
    ///
    /// All problems of the text together.
    pub fn parse(text: &str) -> Result<Self, FleetError> {
        // A byte order mark, as spreadsheets write it, is no part of the first column's name.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let mut problems = Problems::default();
        let header = match reader.headers() {
            Ok(header) => Header::read(header, &mut problems),
            Err(error) => {
                problems.say_csv(1, &error);
                return Err(problems.into());
            }
        };
        let mut devices = Vec::new();
        let mut ids = Ids::default();
        for record in reader.records() {
            match record {
                Ok(record) => {
                    let line = record.position().map_or(0, csv::Position::line);
                    let row = Row { header: &header, record: &record, line };
                    if let Some(device) = row.read(&mut problems) {
                        ids.note(&device, line, &mut problems);
                        devices.push(device);
                    }
                }
                Err(error) => problems.say_csv(error.position().map_or(0, csv::Position::line), &error),
            }
            if devices.len() > MOST_ROWS {
                problems.say(0, "", format!("there are more than {MOST_ROWS} rows"));
                break;
            }
        }
        if devices.is_empty() && problems.0.is_empty() {
            problems.say(1, "", "there is no device in it".to_owned());
        }
        if problems.0.is_empty() { Ok(Self { devices }) } else { Err(problems.into()) }
    }

    /// The time of the last step of any device.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.devices.iter().map(FleetDevice::end).max().unwrap_or_default()
    }
}

impl FleetDevice {
    /// The enrollment group of a device that has no enrollment of its own.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        match &self.attestation {
            Attestation::Group(group) => Some(group),
            _ => None,
        }
    }

    fn end(&self) -> Duration {
        let change = self.change.as_ref().map(|(at, _)| *at);
        [Some(self.enroll_at), self.register_at, change, self.leave_at].into_iter().flatten().max().unwrap_or_default()
    }
}

#[derive(Default)]
struct Problems(Vec<FleetProblem>);

impl Problems {
    fn say(&mut self, line: u64, column: &str, message: String) {
        self.0.push(FleetProblem { line, column: column.to_owned(), message });
    }

    fn say_csv(&mut self, line: u64, error: &csv::Error) {
        let message = match error.kind() {
            csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("there are {len} values, and the header has {expected_len} columns")
            }
            csv::ErrorKind::Utf8 { .. } => "the text is not UTF-8".to_owned(),
            _ => error.to_string(),
        };
        self.say(line, "", message);
    }
}

impl From<Problems> for FleetError {
    fn from(mut problems: Problems) -> Self {
        problems.0.sort_by_key(|problem| problem.line);
        Self { problems: problems.0 }
    }
}

/// Finds ids that appear twice. Registration ids are compared without regard to case, device ids with regard to case.
#[derive(Default)]
struct Ids {
    registrations: BTreeMap<String, u64>,
    devices: BTreeMap<String, u64>,
}

impl Ids {
    fn note(&mut self, device: &FleetDevice, line: u64, problems: &mut Problems) {
        let mut note = |known: &mut BTreeMap<String, u64>, id: String, column: &str| {
            if let Some(first) = known.insert(id.clone(), line) {
                problems.say(line, column, format!("`{id}` is also in line {first}"));
                known.insert(id, first);
            }
        };
        note(&mut self.registrations, device.registration_id.to_ascii_lowercase(), "registrationId");
        note(&mut self.devices, device.device_id.clone(), "deviceId");
    }
}

struct Header(Vec<String>);

impl Header {
    fn read(record: &StringRecord, problems: &mut Problems) -> Self {
        let names: Vec<String> = record.iter().map(str::to_owned).collect();
        let mut seen = BTreeSet::new();
        for name in &names {
            let nested = ["tag.", "desired."].into_iter().find_map(|prefix| name.strip_prefix(prefix));
            match nested {
                Some(path) if path.split('.').all(is_twin_key) => {}
                Some(_) => problems.say(1, name, "a name after the dot has 1 to 64 letters, digits, _ or -".to_owned()),
                None if COLUMNS.contains(&name.as_str()) => {}
                None => problems.say(
                    1,
                    name,
                    format!(
                        "there is no such column; the columns are {}, tag.NAME and desired.NAME",
                        COLUMNS.join(", ")
                    ),
                ),
            }
            if name.split('.').take(2).eq(["tag", RESERVED_TAG]) {
                problems.say(1, name, format!("the tag `{RESERVED_TAG}` is the workflow's own"));
            }
            if !seen.insert(name) {
                problems.say(1, name, "is there twice".to_owned());
            }
            let inside = format!("{name}.");
            if nested.is_some() && names.iter().any(|other| other.starts_with(&inside)) {
                problems.say(1, name, "cannot be both a value and a group of values".to_owned());
            }
        }
        for name in REQUIRED.into_iter().filter(|name| !names.iter().any(|known| known == name)) {
            problems.say(1, name, "is missing".to_owned());
        }
        Self(names)
    }
}

fn is_twin_key(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn is_id(id: &str) -> bool {
    let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = id.as_bytes();
    bytes.len() <= 128
        && outer(bytes.first())
        && outer(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b":._-".contains(byte))
}

struct Row<'a> {
    header: &'a Header,
    record: &'a StringRecord,
    line: u64,
}

impl Row<'_> {
    /// The value of a column; `None` if it is empty or the column is missing.
    fn get(&self, column: &str) -> Option<&str> {
        let index = self.header.0.iter().position(|name| name == column)?;
        self.record.get(index).filter(|value| !value.is_empty())
    }

    fn read(&self, problems: &mut Problems) -> Option<FleetDevice> {
        let before = problems.0.len();
        let mut say = |column: &str, message: &str| problems.say(self.line, column, message.to_owned());
        const ID: &str =
            "must have 1 to 128 ASCII letters, digits or : . _ -, and begin and end with a letter or digit";

        let registration_id = self.get("registrationId").unwrap_or_default();
        match registration_id {
            "" => say("registrationId", "is missing"),
            id if !is_id(id) => say("registrationId", ID),
            _ => {}
        }
        let device_id = self.get("deviceId").unwrap_or(registration_id);
        if !device_id.is_empty() && !is_id(device_id) && self.get("deviceId").is_some() {
            say("deviceId", ID);
        }
        let group = self.get("enrollmentGroup");
        if group.is_some_and(|group| !is_id(group)) {
            say("enrollmentGroup", ID);
        }
        let attestation = match (self.get("attestation"), group) {
            (Some("symmetricKey"), None) => Some(Attestation::SymmetricKey),
            (Some("x509"), None) => Some(Attestation::X509),
            (Some("tpm"), None) => Some(Attestation::Tpm),
            (Some("group"), Some(group)) => Some(Attestation::Group(group.to_owned())),
            (Some("group"), None) => {
                say("enrollmentGroup", "is needed for the attestation `group`");
                None
            }
            (Some("symmetricKey" | "x509" | "tpm"), Some(_)) => {
                say("enrollmentGroup", "is only for the attestation `group`");
                None
            }
            (None, _) => {
                say("attestation", "is missing");
                None
            }
            _ => {
                say("attestation", "must be symmetricKey, x509, tpm or group");
                None
            }
        };
        let is_group = self.get("attestation") == Some("group");
        if is_group && self.get("deviceId").is_some_and(|id| id != registration_id) {
            say("deviceId", "must be the registration id for the attestation `group`");
        }
        let failure = match self.get("failure").unwrap_or("none") {
            "none" => Failure::None,
            "wrong-key" => Failure::WrongKey,
            "disabled-enrollment" => Failure::DisabledEnrollment,
            "unreachable" => Failure::Unreachable,
            "late" => Failure::Late,
            _ => {
                say("failure", "must be none, wrong-key, disabled-enrollment, unreachable or late");
                Failure::None
            }
        };
        if is_group && matches!(failure, Failure::DisabledEnrollment | Failure::Unreachable) {
            say("failure", "is about an enrollment of the device's own, and a group's device has none");
        }
        let change = match (self.get("change"), self.get("change.line")) {
            (None, _) => None,
            (Some("disable"), _) => Some(Change::Disable),
            (Some("retag"), Some(line)) => Some(Change::Retag(line.to_owned())),
            (Some("retag"), None) => {
                say("change.line", "is needed for the change `retag`");
                None
            }
            (Some("reenroll"), _) => Some(Change::Reenroll),
            (Some("reregister"), _) => Some(Change::Reregister),
            _ => {
                say("change", "must be disable, retag, reenroll or reregister");
                None
            }
        };
        if self.get("change.line").is_some() && self.get("change") != Some("retag") {
            say("change.line", "is only for the change `retag`");
        }
        if is_group && change.as_ref().is_some_and(|change| *change != Change::Reregister) {
            say("change", "of a group's device can only be reregister: it has no enrollment of its own");
        }
        let times = self.times(is_group, change.as_ref(), problems);
        let tags = self.members("tag.");
        let desired = self.members("desired.");
        let (Some(attestation), true) = (attestation, problems.0.len() == before) else { return None };
        Some(FleetDevice {
            registration_id: registration_id.to_owned(),
            device_id: device_id.to_owned(),
            attestation,
            tags,
            desired,
            enroll_at: times.enroll.unwrap_or_default(),
            register_at: times.register,
            change: times.change.zip(change),
            leave_at: times.leave,
            failure,
        })
    }

    fn times(&self, is_group: bool, change: Option<&Change>, problems: &mut Problems) -> Times {
        let mut time = |column: &str| {
            let text = self.get(column)?;
            let time = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
            let time = time.filter(|time| *time <= LONGEST);
            if time.is_none() {
                problems.say(self.line, column, format!("must be a number of seconds from 0 to {}", LONGEST.as_secs()));
            }
            time
        };
        let times = Times {
            enroll: time("enrollAt"),
            register: time("registerAt"),
            change: time("changeAt"),
            leave: time("leaveAt"),
        };
        let mut say = |column: &str, message: &str| problems.say(self.line, column, message.to_owned());
        match (self.get("enrollAt"), is_group) {
            (None, false) => say("enrollAt", "is missing; 0 means before the connector is linked"),
            (Some(_), true) => say("enrollAt", "must be empty for a group's device: its group always exists"),
            _ => {}
        }
        if is_group && self.get("registerAt").is_none() {
            say("registerAt", "is missing: without it a group's device never appears");
        }
        match (self.get("change"), self.get("changeAt")) {
            (Some(_), None) => say("changeAt", "is needed if the row has a change"),
            (None, Some(_)) => say("change", "is needed if the row has a changeAt"),
            _ => {}
        }
        if change == Some(&Change::Reregister) && self.get("registerAt").is_none() {
            say("registerAt", "is needed for the change `reregister`");
        }
        // No step may come before an earlier step.
        let mut last: Option<(&str, Duration)> = None;
        let steps = [("enrollAt", times.enroll), ("registerAt", times.register)];
        for (column, time) in steps.into_iter().chain([("changeAt", times.change), ("leaveAt", times.leave)]) {
            let Some(time) = time else { continue };
            if let Some((before, earlier)) = last
                && time < earlier
            {
                say(column, &format!("is before {before}"));
            }
            last = Some((column, time));
        }
        times
    }

    /// The columns with this prefix, as nested objects.
    fn members(&self, prefix: &str) -> Map<String, Value> {
        let mut members = Map::new();
        for (name, value) in self.header.0.iter().zip(self.record.iter()) {
            if let (Some(path), false) = (name.strip_prefix(prefix), value.is_empty()) {
                put(&mut members, path, scalar(value));
            }
        }
        members
    }
}

#[derive(Default)]
struct Times {
    enroll: Option<Duration>,
    register: Option<Duration>,
    change: Option<Duration>,
    leave: Option<Duration>,
}

/// Sets a value in nested objects, at a path of names with dots between them.
fn put(members: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            members.insert(path.to_owned(), value);
        }
        Some((name, rest)) => {
            let inner = members.entry(name).or_insert_with(|| Value::Object(Map::new()));
            if let Some(inner) = inner.as_object_mut() {
                put(inner, rest, value);
            }
        }
    }
}

/// A number, `true` or `false` becomes that JSON value; any other text becomes a string.
fn scalar(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HEADER: &str = "registrationId,deviceId,attestation,enrollmentGroup,tag.site,tag.place.hall,desired.interval,\
                          enrollAt,registerAt,changeAt,change,change.line,leaveAt,failure\n";

    fn problems(rows: &str) -> Vec<(u64, String)> {
        let error = Fleet::parse(&format!("{HEADER}{rows}")).unwrap_err();
        error.problems.into_iter().map(|problem| (problem.line, problem.column)).collect()
    }

    fn at(line: u64, column: &str) -> (u64, String) {
        (line, column.to_owned())
    }

    #[test]
    fn reads_a_row() {
        let fleet = Fleet::parse(&format!("\u{feff}{HEADER}a-1,,x509,,north, 7 ,30,0.5,1,2,retag,line-2,3.5,late\n"));
        let device = &fleet.unwrap().devices[0];
        assert_eq!((device.registration_id.as_str(), device.device_id.as_str()), ("a-1", "a-1"));
        assert_eq!(json!(device.tags), json!({ "site": "north", "place": { "hall": 7 } }));
        assert_eq!(json!(device.desired), json!({ "interval": 30 }));
        assert_eq!(device.change, Some((Duration::from_secs(2), Change::Retag("line-2".to_owned()))));
        assert_eq!((device.failure, device.leave_at), (Failure::Late, Some(Duration::from_millis(3500))));
    }

    #[test]
    fn says_everything_that_is_wrong_at_once() {
        let rows = "\
,,symmetricKey,,,,,0,,,,,,\n\
a 1,,blood,,,,,0,,,,,,\n\
a-2,,group,,,,,,1,,,,,\n\
a-3,,tpm,presses,,,,-1,soon,,,,,\n\
a-4,,tpm,,,,,2,1,,disable,,,oops\n\
a-5,,tpm,,,,,0,1,3,,,2,\n\
a-6,,group,g,,,,0,1,2,disable,,,unreachable\n\
a-7,,tpm,,,,,0,1,2,retag,,,\n\
a-8,,tpm,,,,,0,1,2,reenroll,x,,\n\
A-9,,tpm,,,,,0,,,,,,\n\
a-9,A-9,tpm,,,,,0,,,,,,\n\
a-10,,tpm,,,,,0,1\n";
        assert_eq!(
            problems(rows),
            [
                at(2, "registrationId"),
                at(3, "registrationId"),
                at(3, "attestation"),
                at(4, "enrollmentGroup"),
                at(5, "enrollmentGroup"),
                at(5, "enrollAt"),
                at(5, "registerAt"),
                at(6, "failure"),
                at(6, "changeAt"),
                at(6, "registerAt"),
                at(7, "change"),
                at(7, "leaveAt"),
                at(8, "failure"),
                at(8, "change"),
                at(8, "enrollAt"),
                at(9, "change.line"),
                at(10, "change.line"),
                at(12, "registrationId"),
                at(12, "deviceId"),
                at(13, ""),
            ]
        );
    }

    #[test]
    fn judges_the_header() {
        let error = Fleet::parse("registrationId,colour,tag.lifecycle.state,tag.a,tag.a.b,tag.$x,colour\nx,,,,,,\n");
        let columns: Vec<String> = error.unwrap_err().problems.into_iter().map(|problem| problem.column).collect();
        let header = ["colour", "tag.lifecycle.state", "tag.a", "tag.$x", "colour", "colour", "attestation"];
        assert_eq!(columns[..7], header);
        assert_eq!(Fleet::parse("").unwrap_err().problems.len(), REQUIRED.len());
        assert_eq!(Fleet::parse(HEADER).unwrap_err().problems[0].message, "there is no device in it");
    }

    #[test]
    fn the_committed_fleet_can_be_used() {
        let fleet = Fleet::parse(crate::demo::PLANT).unwrap();
        assert_eq!(fleet.devices.len(), 200);
        assert!((6..=8).contains(&fleet.duration().as_secs()), "{:?}", fleet.duration());
        let count = |wanted: fn(&FleetDevice) -> bool| fleet.devices.iter().filter(|device| wanted(device)).count();
        assert!(count(|device| device.group().is_some()) > 20);
        for attestation in [Attestation::SymmetricKey, Attestation::X509, Attestation::Tpm] {
            assert!(fleet.devices.iter().filter(|device| device.attestation == attestation).count() > 20);
        }
        assert!(count(|device| device.enroll_at.is_zero()) > 20);
        assert!(count(|device| device.leave_at.is_some()) > 10);
        assert!(count(|device| device.change.is_some()) > 20);
        assert!(count(|device| device.failure != Failure::None) > 10);
    }
}
