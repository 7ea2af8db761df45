use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::clock::rfc3339;
use crate::error::{ServiceError, invalid};
use crate::etag;
use crate::journal::TwinPart;

const MAX_TAGS: usize = 8 << 10;
const MAX_PROPERTIES: usize = 32 << 10;
const MAX_DEPTH: usize = 10;
const MAX_KEY: usize = 1 << 10;
const MAX_STRING: usize = 4 << 10;
const INTEGERS: std::ops::RangeInclusive<i64> = -4_503_599_627_370_496..=4_503_599_627_370_495;

/// A twin's content.
#[derive(Clone, Debug)]
pub(crate) struct Twin {
    pub(crate) tags: Map<String, Value>,
    pub(crate) desired: Section,
    pub(crate) reported: Section,
    pub(crate) version: u64,
    revision: u64,
}

/// Desired or reported properties with their metadata.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    pub(crate) values: Map<String, Value>,
    metadata: Map<String, Value>,
    pub(crate) version: u64,
}

/// A twin as clients send it, with only the members that a client may write.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct TwinBody {
    #[serde(deserialize_with = "present")]
    pub(crate) tags: Option<Value>,
    pub(crate) properties: Option<PropertiesBody>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PropertiesBody {
    #[serde(deserialize_with = "present")]
    pub(crate) desired: Option<Value>,
}

/// Distinguishes `null` from an absent member, because `null` deletes.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Whether a write merges into the existing content or replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Merge,
    Replace,
}

impl Twin {
    pub(crate) fn new(now: OffsetDateTime) -> Self {
        Self { tags: Map::new(), desired: Section::new(now), reported: Section::new(now), version: 1, revision: 1 }
    }

    pub(crate) fn etag(&self) -> String {
        etag::from_version(self.revision)
    }

    /// Writes tags and desired properties from the service side, all of them or none. Returns the parts that changed,
    /// each with what was written.
    ///
    /// When a twin is replaced, a section that the body leaves out becomes empty (the service's description says
    /// "replaces the tags and desired properties").
    pub(crate) fn write(
        &mut self,
        body: TwinBody,
        change: Change,
        now: OffsetDateTime,
    ) -> Result<Vec<(TwinPart, Value)>, ServiceError> {
        let absent = || (change == Change::Replace).then(|| Value::Object(Map::new()));
        let tags = body.tags.or_else(absent);
        let desired = body.properties.and_then(|properties| properties.desired).or_else(absent);
        let mut twin = self.clone();
        let mut changes = Vec::new();
        if let Some(patch) = tags {
            let patch = section_patch("tags", patch)?;
            let (patch, replace) = effect(patch, change);
            if replace {
                twin.tags.clear();
            }
            merge(&mut twin.tags, &patch);
            check("tags", &twin.tags, MAX_TAGS)?;
            changes.push((TwinPart::Tags, Value::Object(patch)));
        }
        if let Some(patch) = desired {
            let patch = section_patch("properties.desired", patch)?;
            let (patch, replace) = effect(patch, change);
            twin.desired.write(&patch, replace, now, true);
            check("properties.desired", &twin.desired.values, MAX_PROPERTIES)?;
            changes.push((TwinPart::Desired, Value::Object(patch)));
        }
        if !changes.is_empty() {
            twin.version += 1;
            twin.revision += 1;
        }
        *self = twin;
        Ok(changes)
    }

    /// Drops everything the device has reported.
    pub(crate) fn forget_reported(&mut self, now: OffsetDateTime) {
        self.reported = Section { version: self.reported.version + 1, ..Section::new(now) };
        self.version += 1;
    }

    /// Writes reported properties from the device's side.
    pub(crate) fn report(&mut self, patch: Value, now: OffsetDateTime) -> Result<Value, ServiceError> {
        let Some(patch) = section_patch("properties.reported", patch)? else {
            return Err(invalid("reported properties must be an object"));
        };
        let mut reported = self.reported.clone();
        reported.write(&patch, false, now, false);
        check("properties.reported", &reported.values, MAX_PROPERTIES)?;
        self.reported = reported;
        self.version += 1;
        Ok(Value::Object(patch))
    }
}

/// `null` for a whole section empties it.
fn effect(patch: Option<Map<String, Value>>, change: Change) -> (Map<String, Value>, bool) {
    let replace = change == Change::Replace || patch.is_none();
    (patch.unwrap_or_default(), replace)
}

/// A section's patch without the members that only the service writes, because clients send back what they have read.
fn section_patch(name: &str, patch: Value) -> Result<Option<Map<String, Value>>, ServiceError> {
    match patch {
        Value::Null => Ok(None),
        Value::Object(mut object) => {
            object.remove("$metadata");
            object.remove("$version");
            Ok(Some(object))
        }
        _ => Err(invalid(format!("{name} must be an object"))),
    }
}

impl Section {
    fn new(now: OffsetDateTime) -> Self {
        let metadata = Map::from_iter([("$lastUpdated".to_owned(), json!(rfc3339(now)))]);
        Self { values: Map::new(), metadata, version: 1 }
    }

    fn write(&mut self, patch: &Map<String, Value>, replace: bool, now: OffsetDateTime, versioned: bool) {
        self.version += 1;
        let stamp = Stamp { time: rfc3339(now), version: versioned.then_some(self.version) };
        if replace {
            self.values.clear();
            self.metadata.clear();
        }
        merge(&mut self.values, patch);
        stamp.mark(&mut self.metadata, patch);
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut values = self.values.clone();
        values.insert("$metadata".to_owned(), Value::Object(self.metadata.clone()));
        values.insert("$version".to_owned(), json!(self.version));
        Value::Object(values)
    }
}

/// When a property was written and, for desired properties, in which version.
struct Stamp {
    time: String,
    version: Option<u64>,
}

impl Stamp {
    fn mark(&self, metadata: &mut Map<String, Value>, patch: &Map<String, Value>) {
        metadata.insert("$lastUpdated".to_owned(), json!(self.time));
        if let Some(version) = self.version {
            metadata.insert("$lastUpdatedVersion".to_owned(), json!(version));
        }
        for (key, value) in patch {
            if value.is_null() {
                metadata.remove(key);
                continue;
            }
            let entry = metadata.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(entry) = entry {
                match value {
                    Value::Object(patch) => self.mark(entry, patch),
                    _ => {
                        entry.clear();
                        self.mark(entry, &Map::new());
                    }
                }
            }
        }
    }
}

/// JSON merge: `null` deletes, objects merge, everything else replaces.
fn merge(target: &mut Map<String, Value>, patch: &Map<String, Value>) {
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.remove(key);
            }
            Value::Object(patch) => {
                let entry = target.entry(key.clone()).or_insert(Value::Null);
                if !entry.is_object() {
                    *entry = Value::Object(Map::new());
                }
                if let Value::Object(entry) = entry {
                    merge(entry, patch);
                }
            }
            other => {
                target.insert(key.clone(), other.clone());
            }
        }
    }
}

/// The limits on twins (device twins page of IoT Hub).
fn check(name: &str, values: &Map<String, Value>, limit: usize) -> Result<(), ServiceError> {
    let size = check_object(name, values, 1)?;
    if size > limit {
        return Err(invalid(format!("{name} would have {size} bytes; the limit is {limit}")));
    }
    Ok(())
}

/// Checks an object and returns its size as the service counts it: keys and strings by their UTF-8 bytes, a number as 8
/// bytes, a boolean as 4.
fn check_object(path: &str, values: &Map<String, Value>, depth: usize) -> Result<usize, ServiceError> {
    if depth > MAX_DEPTH {
        return Err(invalid(format!("{path} is nested more than {MAX_DEPTH} levels deep")));
    }
    let mut size = 0;
    for (key, value) in values {
        let bad = |c: char| c.is_control() || matches!(c, '.' | '$' | ' ');
        if key.is_empty() || key.len() > MAX_KEY || key.contains(bad) {
            return Err(invalid(format!(
                "{path} has a key that is empty, longer than {MAX_KEY} bytes, or with '.', '$', space or control \
                 characters"
            )));
        }
        size += key.len() + check_value(&format!("{path}.{key}"), value, depth)?;
    }
    Ok(size)
}

fn check_value(path: &str, value: &Value, depth: usize) -> Result<usize, ServiceError> {
    match value {
        Value::Null => Err(invalid(format!("{path}: null is not allowed inside an array"))),
        Value::Bool(_) => Ok(4),
        Value::Number(number) => {
            let is_integer = !number.as_str().contains(['.', 'e', 'E']);
            if is_integer && !number.as_i64().is_some_and(|number| INTEGERS.contains(&number)) {
                return Err(invalid(format!("{path}: {number} is out of the range of whole numbers")));
            }
            Ok(8)
        }
        Value::String(text) if text.len() > MAX_STRING => {
            Err(invalid(format!("{path}: a string may have no more than {MAX_STRING} bytes")))
        }
        Value::String(text) => Ok(text.len()),
        Value::Object(object) => check_object(path, object, depth + 1),
        Value::Array(items) => {
            if depth + 1 > MAX_DEPTH {
                return Err(invalid(format!("{path} is nested more than {MAX_DEPTH} levels deep")));
            }
            items.iter().map(|item| check_value(path, item, depth + 1)).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn twin() -> Twin {
        Twin::new(OffsetDateTime::UNIX_EPOCH)
    }

    fn body(value: Value) -> TwinBody {
        serde_json::from_value(value).expect("twin body")
    }

    fn apply(twin: &mut Twin, value: Value, change: Change) -> Result<Vec<(TwinPart, Value)>, ServiceError> {
        twin.write(body(value), change, OffsetDateTime::UNIX_EPOCH)
    }

    #[test]
    fn null_deletes_a_key_and_its_metadata() {
        let mut twin = twin();
        let first =
            json!({"tags": {"a": 1, "b": {"c": 2, "d": 3}}, "properties": {"desired": {"x": 1, "y": {"z": 2}}}});
        apply(&mut twin, first, Change::Merge).expect("write");
        assert_eq!(twin.etag(), "AAAAAAAAAAI=");
        let second = json!({"tags": {"b": {"c": null}}, "properties": {"desired": {"x": null, "$version": 9}}});
        let changes = apply(&mut twin, second, Change::Merge).expect("write");
        assert_eq!(changes.len(), 2);
        assert_eq!(Value::Object(twin.tags.clone()), json!({"a": 1, "b": {"d": 3}}));
        let desired = twin.desired.to_json();
        assert_eq!(desired["$version"], 3);
        assert!(desired.get("x").is_none() && desired["$metadata"].get("x").is_none());
        assert_eq!(desired["$metadata"]["y"]["z"]["$lastUpdatedVersion"], 2);
        assert_eq!(desired["$metadata"]["$lastUpdatedVersion"], 3);
    }

    #[test]
    fn a_null_section_is_emptied_and_a_replaced_twin_forgets() {
        let mut twin = twin();
        apply(&mut twin, json!({"tags": {"a": 1}, "properties": {"desired": {"x": 1}}}), Change::Merge).expect("write");
        apply(&mut twin, json!({"tags": null}), Change::Merge).expect("write");
        assert!(twin.tags.is_empty() && !twin.desired.values.is_empty());
        apply(&mut twin, json!({"tags": {"b": 2}}), Change::Replace).expect("write");
        assert!(twin.desired.values.is_empty());
        assert_eq!(Value::Object(twin.tags.clone()), json!({"b": 2}));
    }

    #[test]
    fn limits_hold_and_a_refused_write_changes_nothing() {
        let deep = (0..11).fold(json!(1), |inner, _| json!({ "k": inner }));
        for bad in [
            json!({"tags": {"a.b": 1}}),
            json!({"tags": {"a b": 1}}),
            json!({"tags": {"$a": 1}}),
            json!({"tags": {"a\u{1}": 1}}),
            json!({"tags": {"a": "x".repeat(4097)}}),
            json!({"tags": {"k".repeat(1025): 1}}),
            json!({"tags": {"a": 4_503_599_627_370_496i64}}),
            json!({"tags": {"a": deep}}),
            json!({"tags": 7}),
            json!({"tags": {"a": "x".repeat(4096), "b": "x".repeat(4096)}}),
            json!({"properties": {"desired": {"a": [null]}}}),
        ] {
            let mut twin = twin();
            let error = apply(&mut twin, bad.clone(), Change::Merge).expect_err(&bad.to_string());
            assert_eq!(error.code().number(), 400_004);
            assert_eq!(twin.version, 1);
        }
        let fits = (0..9).fold(json!(1), |inner, _| json!({ "k": inner }));
        assert!(apply(&mut twin(), json!({ "tags": fits }), Change::Merge).is_ok());
    }

    #[test]
    fn reporting_keeps_the_etag() {
        let mut twin = twin();
        let etag = twin.etag();
        twin.report(json!({"temperature": 20.5}), OffsetDateTime::UNIX_EPOCH).expect("report");
        assert_eq!((twin.etag(), twin.version, twin.reported.version), (etag, 2, 2));
        assert!(twin.reported.to_json()["$metadata"]["temperature"].get("$lastUpdatedVersion").is_none());
    }
}
