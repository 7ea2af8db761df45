//! The filter of events: conditions on ids, properties and values of a JSON body, in nested groups.
//!
//! An event that the filter holds back still moves the cursor forward, so it is not read again.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::error::{Error, Result};
use crate::form::schema::{any, help, list, literal, object, one_of, string, with};
use crate::instant;
use crate::json::{self, Decimal};

/// The number of levels of groups that a configuration form can have.
const DEPTH: usize = 3;
const OPERATORS: [&str; 14] = [
    "equals",
    "notEquals",
    "greaterThan",
    "greaterOrEqual",
    "lessThan",
    "lessOrEqual",
    "contains",
    "notContains",
    "startsWith",
    "endsWith",
    "oneOf",
    "notOneOf",
    "exists",
    "notExists",
];

pub fn group_schema() -> Value {
    with(
        group_of(DEPTH),
        json!({
            "title": "Conditions",
            "description": "Fire only for events that meet these conditions. A path such as `/temperature` or `/motor/0/rpm` leads into a JSON body; \
                            `/$properties/NAME` into the application properties.",
        }),
    )
}

fn group_of(depth: usize) -> Value {
    let mut forms = vec![with(condition_schema(), literal!({ "title": "Condition" }))];
    if depth > 0 {
        forms.push(with(group_of(depth - 1), literal!({ "title": "Group of conditions" })));
    }
    object(
        [
            ("match", with(one_of("Match", &["all", "any"]), literal!({ "default": "all" }))),
            (
                "conditions",
                with(
                    list("Conditions", json!({ "title": "Condition or group", "anyOf": forms })),
                    literal!({ "minItems": 1, "maxItems": 32 }),
                ),
            ),
        ],
        &["conditions"],
    )
}

fn condition_schema() -> Value {
    object(
        [
            (
                "path",
                with(
                    string("Path"),
                    literal!({ "minLength": 1, "maxLength": 512, "pattern": "^/", "$comment": "must be a JSON Pointer, which begins with /", "x-options": "telemetry-paths" }),
                ),
            ),
            ("operator", one_of("Operator", &OPERATORS)),
            ("value", help(any("Value"), "A text, a number, true or false; a list for `oneOf`. Not used by `exists`.")),
            (
                "type",
                with(
                    help(
                        one_of("Type", &["auto", "text", "number", "boolean", "time"]),
                        "How to compare. `auto`: as the value's own type.",
                    ),
                    literal!({ "default": "auto", "x-visibility": "advanced" }),
                ),
            ),
        ],
        &["path", "operator"],
    )
}

/// Conditions that are joined by AND (`all`) or by OR (`any`).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    #[serde(default, rename = "match")]
    join: Join,
    #[serde(skip)]
    conditions: Vec<Node>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum Join {
    #[default]
    All,
    Any,
}

#[derive(Clone, Debug)]
enum Node {
    Group(Group),
    Condition(Condition),
}

impl Node {
    /// Reads a condition or a group: only a group has the member `conditions`, as the schema has checked.
    fn of(mut value: Value) -> serde_json::Result<Self> {
        if value.get("conditions").is_some() {
            return Group::of(value).map(Self::Group);
        }
        let compared = json::take(&mut value, "value");
        Ok(Self::Condition(Condition { value: compared, ..serde_json::from_value(value)? }))
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    path: String,
    operator: Operator,
    #[serde(skip)]
    value: Value,
    #[serde(default, rename = "type")]
    kind: Kind,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum Operator {
    Equals,
    NotEquals,
    GreaterThan,
    GreaterOrEqual,
    LessThan,
    LessOrEqual,
    Contains,
    NotContains,
    StartsWith,
    EndsWith,
    OneOf,
    NotOneOf,
    Exists,
    NotExists,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum Kind {
    #[default]
    Auto,
    Text,
    Number,
    Boolean,
    Time,
}

impl Group {
    /// Reads a group that was already checked against its schema.
    ///
    /// # Errors
    /// `invalid-input` where an operator's value does not fit the operator. The error's pointer is below `pointer`.
    pub fn read(value: Value, pointer: &str) -> Result<Self> {
        let group = Self::of(value).map_err(|error| Error::field(pointer, "wrong-type", error.to_string()))?;
        group.check(pointer)?;
        Ok(group)
    }

    fn of(mut value: Value) -> serde_json::Result<Self> {
        let nodes = match json::take(&mut value, "conditions") {
            Value::Array(nodes) => nodes.into_iter().map(Node::of).collect::<serde_json::Result<_>>()?,
            _ => Vec::new(),
        };
        Ok(Self { conditions: nodes, ..serde_json::from_value(value)? })
    }

    fn check(&self, pointer: &str) -> Result<()> {
        for (index, node) in self.conditions.iter().enumerate() {
            let at = format!("{pointer}/conditions/{index}");
            match node {
                Node::Group(group) => group.check(&at)?,
                Node::Condition(condition) => condition.check(&at)?,
            }
        }
        Ok(())
    }

    /// Whether the filter passes an event.
    pub fn passes(&self, body: Option<&Value>, properties: &Map<String, Value>) -> bool {
        let mut results = self.conditions.iter().map(|node| match node {
            Node::Group(group) => group.passes(body, properties),
            Node::Condition(condition) => condition.holds(body, properties),
        });
        match self.join {
            Join::All => results.all(|holds| holds),
            Join::Any => results.any(|holds| holds),
        }
    }
}

impl Condition {
    fn check(&self, pointer: &str) -> Result<()> {
        use Operator as Op;
        let at = format!("{pointer}/value");
        let wrong = |message: &str| Err(Error::field(&at, "wrong-type", message.to_owned()));
        match self.operator {
            Op::Exists | Op::NotExists => Ok(()),
            Op::OneOf | Op::NotOneOf if !self.value.is_array() => wrong("must be a list for this operator"),
            Op::OneOf | Op::NotOneOf => Ok(()),
            Op::StartsWith | Op::EndsWith if !self.value.is_string() => wrong("must be a text for this operator"),
            Op::GreaterThan | Op::GreaterOrEqual | Op::LessThan | Op::LessOrEqual
                if !(self.value.is_number() || self.value.is_string()) =>
            {
                wrong("must be a number or a text for this operator")
            }
            _ if matches!(self.value, Value::Null | Value::Array(_) | Value::Object(_)) => {
                wrong("must be a text, a number, true or false")
            }
            _ => match self.kind {
                Kind::Number if number(&self.value).is_none() => wrong("must be a number"),
                Kind::Boolean if boolean(&self.value).is_none() => wrong("must be true or false"),
                Kind::Time if time(&self.value).is_none() => wrong("must be a time as in RFC 3339"),
                _ => Ok(()),
            },
        }
    }

    fn holds(&self, body: Option<&Value>, properties: &Map<String, Value>) -> bool {
        use Operator as Op;
        let found = match self.path.strip_prefix("/$properties/") {
            Some(name) => properties.get(&name.replace("~1", "/").replace("~0", "~")),
            None => body.and_then(|body| body.pointer(&self.path)),
        };
        match (self.operator, found) {
            (Op::Exists, found) => found.is_some(),
            (Op::NotExists, found) => found.is_none(),
            // A missing value passes only the negative operators: it is not equal to anything and contains nothing.
            (Op::NotEquals | Op::NotContains | Op::NotOneOf, None) => true,
            (_, None) => false,
            (Op::Equals, Some(found)) => self.same(found, &self.value),
            (Op::NotEquals, Some(found)) => !self.same(found, &self.value),
            (Op::OneOf, Some(found)) => self.among(found),
            (Op::NotOneOf, Some(found)) => !self.among(found),
            (Op::Contains, Some(found)) => self.contained(found),
            (Op::NotContains, Some(found)) => !self.contained(found),
            (Op::StartsWith, Some(found)) => {
                texts(found, &self.value).is_some_and(|(found, value)| found.starts_with(value))
            }
            (Op::EndsWith, Some(found)) => {
                texts(found, &self.value).is_some_and(|(found, value)| found.ends_with(value))
            }
            (Op::GreaterThan, Some(found)) => self.order(found).is_some_and(|order| order.is_gt()),
            (Op::GreaterOrEqual, Some(found)) => self.order(found).is_some_and(|order| order.is_ge()),
            (Op::LessThan, Some(found)) => self.order(found).is_some_and(|order| order.is_lt()),
            (Op::LessOrEqual, Some(found)) => self.order(found).is_some_and(|order| order.is_le()),
        }
    }

    fn among(&self, found: &Value) -> bool {
        self.value.as_array().is_some_and(|values| values.iter().any(|value| self.same(found, value)))
    }

    fn contained(&self, found: &Value) -> bool {
        match found {
            Value::Array(items) => items.iter().any(|item| self.same(item, &self.value)),
            Value::Object(members) => self.value.as_str().is_some_and(|name| members.contains_key(name)),
            _ => texts(found, &self.value).is_some_and(|(found, value)| found.contains(value)),
        }
    }

    fn same(&self, found: &Value, value: &Value) -> bool {
        match self.kind {
            Kind::Auto => match (number_only(found), number_only(value)) {
                (Some(found), Some(value)) => found == value,
                _ => json::same(found, value),
            },
            Kind::Text => text(found) == text(value),
            Kind::Number => number(found).is_some_and(|found| Some(found) == number(value)),
            Kind::Boolean => boolean(found).is_some_and(|found| Some(found) == boolean(value)),
            Kind::Time => time(found).is_some_and(|found| Some(found) == time(value)),
        }
    }

    fn order(&self, found: &Value) -> Option<std::cmp::Ordering> {
        match self.kind {
            Kind::Auto if self.value.is_number() => Some(number_only(found)?.cmp(&number_only(&self.value)?)),
            Kind::Auto => texts(found, &self.value).map(|(found, value)| found.cmp(value)),
            Kind::Text => Some(text(found)?.cmp(&text(&self.value)?)),
            Kind::Number => Some(number(found)?.cmp(&number(&self.value)?)),
            Kind::Boolean => None,
            Kind::Time => Some(time(found)?.cmp(&time(&self.value)?)),
        }
    }
}

fn number_only(value: &Value) -> Option<Decimal<'_>> {
    value.as_number().and_then(Decimal::of)
}

/// A value as a number. Text counts as well, because some devices send numbers as text.
fn number(value: &Value) -> Option<Decimal<'_>> {
    match value {
        Value::String(text) => Decimal::read(text),
        other => number_only(other),
    }
}

fn boolean(value: &Value) -> Option<bool> {
    value.as_bool().or_else(|| match value.as_str()?.trim() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    })
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn texts<'v>(found: &'v Value, value: &'v Value) -> Option<(&'v str, &'v str)> {
    Some((found.as_str()?, value.as_str()?))
}

fn time(value: &Value) -> Option<OffsetDateTime> {
    instant::parse(value.as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::schema;

    fn passes(group: Value, body: &Value) -> bool {
        assert_eq!(schema::check(&group_schema(), &group), [], "{group}");
        let mut properties = Map::new();
        properties.insert("level".into(), json!("warning"));
        Group::read(group, "").expect("a group").passes(Some(body), &properties)
    }

    fn one(path: &str, operator: &str, value: Value) -> Value {
        json!({ "conditions": [{ "path": path, "operator": operator, "value": value }] })
    }

    #[test]
    fn operators() {
        let body = json!({ "t": 81.5, "n": 3, "s": "press-17", "b": true, "list": [1, "two"], "o": { "x": null }, "at": "2026-05-04T07:00:00Z", "num": "42" });
        let hold = [
            ("/t", "greaterThan", json!(81)),
            ("/n", "equals", json!(3.0)),
            ("/n", "lessOrEqual", json!(3)),
            ("/s", "startsWith", json!("press")),
            ("/s", "endsWith", json!("17")),
            ("/s", "contains", json!("ss-1")),
            ("/s", "greaterThan", json!("oven")),
            ("/b", "equals", json!(true)),
            ("/list", "contains", json!("two")),
            ("/list", "contains", json!(1)),
            ("/list/0", "equals", json!(1)),
            ("/o", "contains", json!("x")),
            ("/o/x", "exists", json!(null)),
            ("/missing", "notExists", json!(null)),
            ("/missing", "notEquals", json!(1)),
            ("/s", "oneOf", json!(["a", "press-17"])),
            ("/s", "notOneOf", json!(["a"])),
            ("/$properties/level", "equals", json!("warning")),
        ];
        for (path, operator, value) in hold {
            assert!(passes(one(path, operator, value.clone()), &body), "{path} {operator} {value}");
        }
        let fail = [
            ("/t", "greaterThan", json!(82)),
            ("/t", "greaterThan", json!("80")),
            ("/missing", "equals", json!(null)),
            ("/num", "equals", json!(42)),
            ("/s", "contains", json!(17)),
            ("/o", "greaterThan", json!(1)),
        ];
        for (path, operator, value) in fail {
            if value.is_null() {
                continue;
            }
            assert!(!passes(one(path, operator, value.clone()), &body), "{path} {operator} {value}");
        }
    }

    #[test]
    fn types_bend_what_devices_send() {
        let body = json!({ "n": "42", "b": "true", "at": "2026-05-04T07:00:00.5Z" });
        let typed = |path: &str, operator: &str, value: Value, kind: &str| json!({ "conditions": [{ "path": path, "operator": operator, "value": value, "type": kind }] });
        assert!(passes(typed("/n", "greaterThan", json!(41), "number"), &body));
        assert!(passes(typed("/b", "equals", json!(true), "boolean"), &body));
        assert!(passes(typed("/at", "greaterThan", json!("2026-05-04 07:00:00+00:00"), "time"), &body));
        assert!(!passes(typed("/at", "greaterThan", json!("2026-05-04T07:00:00.500Z"), "time"), &body));
        assert!(passes(typed("/at", "equals", json!("2026-05-04T09:00:00.500+02:00"), "time"), &body));
        let bad =
            Group::read(typed("/at", "greaterThan", json!("yesterday"), "time"), "/conditions").expect_err("no time");
        assert_eq!(bad.record().fields[0].pointer, "/conditions/conditions/0/value");
    }

    /// As doubles, 9007199254740992 and 9007199254740993 are equal, and so is 0.1 to a number that differs from it in
    /// the 19th digit.
    #[test]
    fn numbers_are_compared_to_their_last_digit() {
        let condition = |operator: &str, value: &str, kind: &str| {
            let text = format!(
                r#"{{ "conditions": [{{ "path": "/n", "operator": "{operator}", "value": {value}, "type": "{kind}" }}] }}"#
            );
            json::parse(text.as_bytes()).expect("JSON")
        };
        // Each number is less than the next number.
        let order = [
            "-1e400",
            "-9007199254740993",
            "-9007199254740992",
            "0",
            "1e-400",
            "0.1",
            "0.1000000000000000055",
            "9007199254740992",
            "9007199254740993",
            "18446744073709551615",
            "18446744073709551616",
            "123456789012345678901234567890",
            "123456789012345678901234567891",
            "1e399",
            "1e400",
            "1e99999999999",
        ];
        for (at, found) in order.iter().enumerate() {
            let plain = format!("{{ \"n\": {found} }}");
            let as_text = format!("{{ \"n\": \"{found}\" }}");
            for (other, value) in order.iter().enumerate() {
                for (body, kind) in [(&plain, "auto"), (&plain, "number"), (&as_text, "number")] {
                    let body = json::parse(body.as_bytes()).expect("JSON");
                    for (operator, expected) in [
                        ("equals", at == other),
                        ("notEquals", at != other),
                        ("greaterThan", at > other),
                        ("greaterOrEqual", at >= other),
                        ("lessThan", at < other),
                        ("lessOrEqual", at <= other),
                    ] {
                        let group = condition(operator, value, kind);
                        assert_eq!(passes(group, &body), expected, "{found} {operator} {value} as {kind}");
                    }
                    let listed = condition("oneOf", &format!("[true, {value}]"), kind);
                    assert_eq!(passes(listed, &body), at == other, "{found} among {value}");
                }
            }
        }
        let nested = json::parse(br#"{ "n": [1, { "a": 9007199254740993 }, 9007199254740992] }"#).expect("JSON");
        assert!(passes(condition("contains", "9007199254740992.0", "auto"), &nested));
        assert!(!passes(condition("contains", "9007199254740991", "auto"), &nested));
        for same in ["1", "1.0", "1e0", "10e-1", "1.000"] {
            let body = json::parse(format!("{{ \"n\": {same} }}").as_bytes()).expect("JSON");
            assert!(passes(condition("equals", "1", "auto"), &body), "{same}");
        }
    }

    #[test]
    fn groups_nest() {
        let body = json!({ "t": 90, "site": "north", "line": 4 });
        let group = json!({ "match": "all", "conditions": [
            { "path": "/t", "operator": "greaterThan", "value": 80 },
            { "match": "any", "conditions": [
                { "path": "/site", "operator": "equals", "value": "south" },
                { "conditions": [{ "path": "/line", "operator": "lessThan", "value": 5 }] },
            ] },
        ] });
        assert!(passes(group.clone(), &body));
        assert!(!passes(group, &json!({ "t": 90, "site": "north", "line": 5 })));
    }
}
