//! Finds devices or modules by conditions, and writes the query for them: texts are escaped, so that no text can become
//! a part of the query.
//!
//! ```scenario
//! pages {"conditions": [{"field": "tags.site", "operator": "=", "value": "north"}], "pageSize": 2}
//! done {"conditions": [{"field": "deviceId", "operator": "in", "value": ["press-1", "o'hara' OR 1 = 1"]}, {"field": "status", "operator": "!=", "value": "disabled"}], "properties": ["deviceId", "tags.site"]}
//! done {"conditions": [{"field": "tags.[[my tag]].group", "operator": "isDefined"}, {"field": "properties.reported.battery", "operator": ">=", "value": 0.25}], "match": "all"}
//! pages {"conditions": [{"field": "deviceId", "operator": "startsWith", "value": "press-1"}, {"field": "tags.site", "operator": "isNotDefined"}, {"field": "capabilities.iotEdge", "operator": "=", "value": true}], "match": "any"}
//! done {"collection": "modules", "conditions": [{"field": "moduleId", "operator": "=", "value": "cooling"}]}
//! invalid-input {"conditions": [{"field": "tags..site", "operator": "=", "value": 1}]}
//! invalid-input {"conditions": [{"field": "tags.site", "operator": "in", "value": "north"}]}
//! ```

use serde_json::Value;

use crate::actions::shared::declaration::{Declaration, optional};
use crate::actions::shared::input::Input;
use crate::actions::shared::limits;
use crate::actions::shared::stepped::{Stepped, list};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::{FieldProblem, Result, problem, settle};
use crate::form::fields;
use crate::form::schema::{self, any_object, help, literal, object, one_of, string, with};
use crate::iothub::text_literal;

/// The longest query ("Queries for device and module twins").
const LONGEST_QUERY: usize = 8192;

/// Words that are names only within double brackets: those of the language, and those of Azure Digital Twins' language
/// that belongs to the same family.
const RESERVED: &str = " ALL AND AS ASC AVG BY COUNT DESC DEVICES DEVICES_JOBS DEVICES_MODULES ENDS_WITH FALSE FROM GROUP IN IS_BOOL \
     IS_DEFINED IS_NULL IS_NUMBER IS_OBJECT IS_PRIMITIVE IS_STRING MAX MIN NIN NOT NULL OR ORDER SELECT STARTS_WITH \
     STARTSWITH SUM TOP TRUE UNDEFINED WHERE ";

pub static ACTION: Stepped = Stepped {
    declaration: Declaration {
        id: "query-devices-by-conditions",
        title: "Query devices by conditions",
        help: "Finds the devices or modules that meet conditions, page by page, without knowledge of the hub's query language. Values may come from anywhere: they are escaped. \
               A query may lag behind by seconds. Needs a hub of the Standard or Free tier.",
        group: "Queries",
        input: &[
            optional("collection", || {
                with(one_of("Collection", &["devices", "modules"]), literal!({ "default": "devices" }))
            }),
            optional("conditions", conditions),
            optional("match", || {
                with(
                    help(one_of("Match", &["all", "any"]), "Whether all conditions must be met, or any of them."),
                    literal!({ "default": "all" }),
                )
            }),
            optional("properties", || {
                with(
                    help(
                        schema::list(
                            "Properties",
                            with(string("Property"), literal!({ "minLength": 1, "maxLength": 1024 })),
                        ),
                        "What to return of each twin, such as `deviceId` and `tags.site`. Empty: the whole twin.",
                    ),
                    literal!({ "maxItems": 50, "x-visibility": "advanced" }),
                )
            }),
            optional("pageSize", fields::page_size),
        ],
        input_sample: r#"{ "conditions": [{ "field": "tags.site", "operator": "=", "value": "north" }], "pageSize": 100 }"#,
        output: || fields::page_output("Twins", any_object("Twin")),
        output_sample: || literal!({ "items": [{ "deviceId": "press-17", "tags": { "site": "north" } }] }),
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::QUERIES, limits::PAGE],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    paged: true,
    step: |session, input, state, _| {
        list(session, input, state, |session, input, size, continuation| {
            session.hub().query(&query(input)?, size, continuation)
        })
    },
};

fn conditions() -> Value {
    with(
        schema::list(
            "Conditions",
            with(
                object(
                    [
                        (
                            "field",
                            with(
                                help(
                                    string("Field"),
                                    "The names on the way to the value, with dots between them: `tags.site`. A name with a dot of its own stands in double brackets.",
                                ),
                                literal!({ "minLength": 1, "maxLength": 1024, "examples": ["tags.site", "properties.reported.firmware"] }),
                            ),
                        ),
                        (
                            "operator",
                            one_of(
                                "Operator",
                                &[
                                    "=",
                                    "!=",
                                    "<",
                                    "<=",
                                    ">",
                                    ">=",
                                    "in",
                                    "notIn",
                                    "startsWith",
                                    "isDefined",
                                    "isNotDefined",
                                ],
                            ),
                        ),
                        (
                            "value",
                            literal!({
                                "title": "Value",
                                "description": "A text, a number, true or false; a list of them for `in` and `notIn`; nothing for `isDefined` and `isNotDefined`.",
                                "type": ["string", "number", "boolean", "array"],
                                "maxLength": 4096,
                                "maxItems": 500,
                                "items": { "title": "Value", "type": ["string", "number", "boolean"], "maxLength": 4096 }
                            }),
                        ),
                    ],
                    &["field", "operator"],
                ),
                literal!({ "title": "Condition" }),
            ),
        ),
        literal!({ "maxItems": 50, "description": "Empty: all devices." }),
    )
}

/// The query that the input describes.
fn query(input: &Input) -> Result<String> {
    let mut problems = Vec::new();
    let name = |text: &str, at: &str, problems: &mut Vec<FieldProblem>| {
        path(text).unwrap_or_else(|message| {
            problems.push(problem(at, "not-a-path", message));
            String::new()
        })
    };
    let mut columns = Vec::new();
    for (index, property) in input.items("properties").iter().enumerate() {
        columns.push(name(property.as_str().unwrap_or_default(), &format!("/properties/{index}"), &mut problems));
    }
    let mut parts = Vec::new();
    for (index, condition) in input.items("conditions").iter().enumerate() {
        let at = format!("/conditions/{index}");
        let text = |member: &str| condition.get(member).and_then(Value::as_str).unwrap_or_default();
        let field = name(text("field"), &format!("{at}/field"), &mut problems);
        match compare(&field, text("operator"), condition.get("value")) {
            Ok(part) => parts.push(part),
            Err((code, message)) => problems.push(problem(&format!("{at}/value"), code, message)),
        }
    }
    let columns = if columns.is_empty() { "*".to_owned() } else { columns.join(", ") };
    let source = if input.text("collection") == Some("modules") { "devices.modules" } else { "devices" };
    let mut query = format!("SELECT {columns} FROM {source}");
    if !parts.is_empty() {
        query += " WHERE ";
        query += &parts.join(if input.text("match") == Some("any") { " OR " } else { " AND " });
    }
    if query.chars().count() > LONGEST_QUERY {
        let message = format!(
            "must make a query of at most {LONGEST_QUERY} characters, which the hub accepts: use fewer or shorter values"
        );
        problems.push(problem("/conditions", "too-long", message));
    }
    settle(problems)?;
    Ok(query)
}

/// A condition, or the code and the message of what is wrong with the value.
fn compare(field: &str, operator: &str, value: Option<&Value>) -> Result<String, (&'static str, String)> {
    let wrong = |message: &str| Err(("wrong-type", message.to_owned()));
    match (operator, value) {
        ("isDefined", None) => Ok(format!("IS_DEFINED({field})")),
        ("isNotDefined", None) => Ok(format!("NOT IS_DEFINED({field})")),
        ("isDefined" | "isNotDefined", Some(_)) => Err(("not-used", "is not used by this operator".to_owned())),
        (_, None | Some(Value::Null)) => Err(("missing", "is missing".to_owned())),
        ("in" | "notIn", Some(Value::Array(items))) if !items.is_empty() => {
            let items = items.iter().map(constant).collect::<Result<Vec<_>, _>>()?;
            let word = if operator == "in" { "IN" } else { "NIN" };
            Ok(format!("{field} {word} [{}]", items.join(", ")))
        }
        ("in" | "notIn", Some(_)) => wrong("must be a list with at least one value for this operator"),
        ("startsWith", Some(Value::String(text))) => Ok(format!("STARTSWITH({field}, {})", text_literal(text))),
        ("startsWith", Some(_)) => wrong("must be a text for this operator"),
        (_, Some(Value::Array(_))) => wrong("must not be a list for this operator"),
        (_, Some(value)) => Ok(format!("{field} {operator} {}", constant(value)?)),
    }
}

/// A constant of the language.
fn constant(value: &Value) -> Result<String, (&'static str, String)> {
    match value {
        Value::String(text) => Ok(text_literal(text)),
        Value::Number(number) if number.as_str().contains(['e', 'E']) => {
            Err(("not-writable", "must be written without an exponent: the query language has none".to_owned()))
        }
        other => Ok(other.to_string()),
    }
}

/// A path of the language, or what is wrong with the text.
fn path(text: &str) -> Result<String, &'static str> {
    let mut names = Vec::new();
    let mut rest = text;
    loop {
        let (name, after) = match rest.strip_prefix("[[") {
            Some(inner) => inner.split_once("]]").ok_or("has double brackets that are not closed")?,
            None => rest.split_at(rest.find('.').unwrap_or(rest.len())),
        };
        if name.is_empty() {
            return Err("must be names with dots between them, none of them empty");
        }
        if name.contains(['[', ']']) || name.contains(char::is_control) {
            return Err("must have names without brackets and control characters");
        }
        names.push(if is_plain(name) { name.to_owned() } else { format!("[[{name}]]") });
        match after.strip_prefix('.') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(names.join(".")),
            None => return Err("must have a dot after double brackets"),
        }
    }
}

/// Whether a name needs no brackets.
fn is_plain(name: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
    name.bytes().all(fine)
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !RESERVED.contains(&format!(" {} ", name.to_ascii_uppercase()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(input: Value) -> String {
        query(&Input::new(input)).expect("a query")
    }

    #[test]
    fn conditions_become_a_query() {
        let one = |field: &str, operator: &str, value: Value| {
            let query = written(json!({ "conditions": [{ "field": field, "operator": operator, "value": value }] }));
            query.strip_prefix("SELECT * FROM devices WHERE ").expect("a condition").to_owned()
        };
        let table = [
            (one("tags.site", "=", json!("north")), "tags.site = 'north'"),
            (one("tags.site", "!=", json!("o'hara \\")), r"tags.site != 'o\'hara \\'"),
            (one("tags.site", "=", json!("' OR 1 = 1 OR '' = '")), r"tags.site = '\' OR 1 = 1 OR \'\' = \''"),
            (one("version", ">=", json!(-3)), "version >= -3"),
            (one("properties.reported.battery", "<", json!(0.25)), "properties.reported.battery < 0.25"),
            (one("capabilities.iotEdge", "=", json!(true)), "capabilities.iotEdge = true"),
            (one("deviceId", "in", json!(["a", 1, false])), "deviceId IN ['a', 1, false]"),
            (one("deviceId", "notIn", json!(["a"])), "deviceId NIN ['a']"),
            (one("deviceId", "startsWith", json!("pre")), "STARTSWITH(deviceId, 'pre')"),
            (one("tags.group", "=", json!(1)), "tags.[[group]] = 1"),
            (one("tags.my tag", "=", json!(1)), "tags.[[my tag]] = 1"),
            (one("tags.[[a.b]].c", "=", json!(1)), "tags.[[a.b]].c = 1"),
            (one("tags.[[site]]", "=", json!(1)), "tags.site = 1"),
            (one("tags.1st", "=", json!(1)), "tags.[[1st]] = 1"),
            (one("tags.x) OR (1 = 1", "=", json!(1)), "tags.[[x) OR (1 = 1]] = 1"),
            (one("properties.desired.$version", ">", json!(1)), "properties.desired.$version > 1"),
        ];
        for (query, expected) in table {
            assert_eq!(query, expected);
        }
        assert_eq!(written(json!({})), "SELECT * FROM devices");
        let input = json!({
            "collection": "modules",
            "match": "any",
            "conditions": [{ "field": "tags.a", "operator": "isDefined" }, { "field": "tags.b", "operator": "isNotDefined" }],
            "properties": ["deviceId", "tags.my-tag"],
        });
        let expected =
            "SELECT deviceId, tags.[[my-tag]] FROM devices.modules WHERE IS_DEFINED(tags.a) OR NOT IS_DEFINED(tags.b)";
        assert_eq!(written(input), expected);
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let exponent: Value = crate::json::parse(b"1e5").expect("a number");
        let input = json!({
            "properties": ["", "a..b"],
            "conditions": [
                { "field": "a.", "operator": "=", "value": 1 },
                { "field": "[[a", "operator": "=", "value": 1 },
                { "field": "[[a]]b", "operator": "=", "value": 1 },
                { "field": "a]b", "operator": "=", "value": 1 },
                { "field": "a", "operator": "=", "value": exponent },
                { "field": "a", "operator": "=", "value": [1] },
                { "field": "a", "operator": "in", "value": [] },
                { "field": "a", "operator": "in", "value": 1 },
                { "field": "a", "operator": "startsWith", "value": 1 },
                { "field": "a", "operator": "isDefined", "value": 1 },
                { "field": "a", "operator": "=" },
            ],
        });
        let error = query(&Input::new(input)).expect_err("refused");
        let found: Vec<(&str, &str)> =
            error.record().fields.iter().map(|field| (field.pointer.as_str(), field.code.as_str())).collect();
        let expected = [
            ("/properties/0", "not-a-path"),
            ("/properties/1", "not-a-path"),
            ("/conditions/0/field", "not-a-path"),
            ("/conditions/1/field", "not-a-path"),
            ("/conditions/2/field", "not-a-path"),
            ("/conditions/3/field", "not-a-path"),
            ("/conditions/4/value", "not-writable"),
            ("/conditions/5/value", "wrong-type"),
            ("/conditions/6/value", "wrong-type"),
            ("/conditions/7/value", "wrong-type"),
            ("/conditions/8/value", "wrong-type"),
            ("/conditions/9/value", "not-used"),
            ("/conditions/10/value", "missing"),
        ];
        assert_eq!(found, expected);
        let long: Vec<String> = (0..100).map(|number| format!("{number:0>100}")).collect();
        let input = json!({ "conditions": [{ "field": "a", "operator": "in", "value": long }] });
        let error = query(&Input::new(input)).expect_err("too long");
        assert_eq!(error.record().fields[0].pointer, "/conditions");
    }
}
