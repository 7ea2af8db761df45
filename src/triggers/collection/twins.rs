//! What several triggers on twins share: queries, and how a part of a twin is compared.

use serde_json::{Value, json};

use super::engine::{stated_time, text};
use crate::form::schema::{help, list, literal, string, with};
use crate::form::values::Input;
use crate::iothub::text_literal;

/// Twins in one query page. A twin has up to 72 KB, and as much metadata. Where a page is too large to read, a smaller
/// page is asked for.
pub const PAGE: u32 = 200;

/// The schema of a condition of the hub's query language. `entering` says what becomes of a twin that begins or ceases
/// to meet it.
pub fn condition(entering: &str) -> Value {
    let about = format!(
        "Only devices that meet this condition of the hub's query language (what stands after WHERE). \
         A name that is a word of the language, or has other characters than letters and digits, stands in double brackets: `tags.[[group]]`. {entering}"
    );
    with(
        help(string("Condition"), about.trim_end()),
        literal!({ "minLength": 1, "maxLength": 1024, "examples": ["tags.site = 'north'"] }),
    )
}

/// A query of the hub's query language. Its conditions are the equalities, for ids, and the condition.
pub fn query(select: &str, from: &str, equal: &[(&str, &str)], condition: Option<&str>) -> String {
    let equal = equal.iter().map(|(name, value)| format!("{name} = {}", text_literal(value)));
    let conditions: Vec<String> = equal.chain(condition.map(|condition| format!("({condition})"))).collect();
    match conditions.is_empty() {
        true => format!("SELECT {select} FROM {from}"),
        false => format!("SELECT {select} FROM {from} WHERE {}", conditions.join(" AND ")),
    }
}

/// A text that differs after the part has changed. Properties have a version number; tags have no version, so their
/// content is used.
pub fn part_of(twin: &Value, part: &str) -> String {
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

/// The schema of a list of paths into twins.
pub fn paths(about: &str, least: usize, most: usize) -> Value {
    let path = with(
        string("Path"),
        literal!({
            "minLength": 2,
            "maxLength": 512,
            "pattern": "^/(tags|properties/desired|properties/reported)(/.*)?$",
            "$comment": "must be a JSON Pointer into a twin, which begins with /tags, /properties/desired or /properties/reported",
            "x-options": "twin-paths"
        }),
    );
    let about = format!("{about} As JSON pointers into a twin, as `/tags/site` and `/properties/reported/firmware`.");
    let bounds = if least == 0 { json!({ "maxItems": most }) } else { json!({ "minItems": least, "maxItems": most }) };
    with(help(list("Paths", path), &about), bounds)
}

/// Reads the configuration's field `paths`.
pub fn read_paths(config: &Input) -> Vec<String> {
    config.items("paths").iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The value at a pointer into a twin. The hub's own members are left out of an object, because they change without the
/// values.
pub fn value_at(twin: &Value, pointer: &str) -> Option<Value> {
    let mut value = twin.pointer(pointer)?.clone();
    if let Some(members) = value.as_object_mut() {
        members.retain(|name, _| !matches!(name.as_str(), "$metadata" | "$version"));
    }
    Some(value)
}

/// When the value at a pointer into a twin was last changed. The hub notes this time for properties, not for tags.
pub fn time_at<'t>(twin: &'t Value, pointer: &str) -> Option<&'t str> {
    let (part, path) = ["/properties/desired", "/properties/reported"].into_iter().find_map(|part| {
        let path = pointer.strip_prefix(part)?;
        path.starts_with('/').then_some((part, path))
    })?;
    // The metadata has no entries for the items of a list, and no value that was removed has one.
    let stated = twin.pointer(&format!("{part}/$metadata{path}/$lastUpdated")).and_then(Value::as_str);
    stated.filter(|time| stated_time(time).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_has_the_conditions_that_there_are() {
        assert_eq!(query("*", "devices", &[], None), "SELECT * FROM devices");
        assert_eq!(
            query("deviceId", "devices.modules", &[("deviceId", "o'h"), ("moduleId", "m")], Some("a = 1 OR b = 2")),
            r"SELECT deviceId FROM devices.modules WHERE deviceId = 'o\'h' AND moduleId = 'm' AND (a = 1 OR b = 2)"
        );
    }

    #[test]
    fn a_property_has_the_time_of_its_metadata() {
        let at = |time: &str| json!({ "$lastUpdated": time });
        let twin = json!({
            "tags": { "site": "north" },
            "properties": { "reported": { "a": { "b": 1 }, "$metadata": { "a": { "b": at("2026-05-04T07:30:00Z") }, "c": at("0001-01-01T00:00:00Z") } } },
        });
        assert_eq!(time_at(&twin, "/properties/reported/a/b"), Some("2026-05-04T07:30:00Z"));
        for pointer in ["/properties/reported/a", "/properties/reported/c", "/tags/site", "/properties/reportedx/a", ""]
        {
            assert_eq!(time_at(&twin, pointer), None, "{pointer}");
        }
    }
}
