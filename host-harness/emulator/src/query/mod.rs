//! The one query engine: the SQL-like language of IoT Hub, which DPS shares.
//!
//! ```text
//! SELECT [TOP n] [DISTINCT] * | column [AS name], …   columns may be COUNT(), SUM(x), AVG(x), MIN(x), MAX(x)
//! FROM devices | devices.modules | devices.jobs | enrollments | …
//! [WHERE condition]                                   = != <> < <= > >= AND OR NOT IN NIN, functions, parentheses
//! [GROUP BY path, …]
//! ```
//!
//! Keywords and functions are case-insensitive, properties are not.

mod eval;
mod lexer;
mod parser;

use serde_json::Value;

/// A query that was understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Query {
    top: Option<usize>,
    distinct: bool,
    projection: Projection,
    /// The collection, in lower case.
    pub(crate) source: String,
    condition: Option<Expression>,
    group: Vec<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Projection {
    All,
    Columns(Vec<Column>),
}

#[derive(Clone, Debug, PartialEq)]
struct Column {
    aggregate: Option<Aggregate>,
    expression: Option<Expression>,
    alias: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Count,
    Sum,
    Average,
    Minimum,
    Maximum,
}

/// A condition or a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    Or(Box<Expression>, Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Compare(Comparison, Box<Expression>, Box<Expression>),
    In(Box<Expression>, Vec<Expression>),
    Call(Function, Vec<Expression>),
    Path(Vec<String>),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    IsDefined,
    IsNull,
    IsBool,
    IsNumber,
    IsString,
    IsObject,
    IsArray,
    IsPrimitive,
    StartsWith,
    EndsWith,
    Contains,
    Lower,
    Upper,
    Length,
    Absolute,
    ArrayContains,
}

/// What is wrong with a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at position {position}")]
pub(crate) struct QueryError {
    position: usize,
    problem: String,
}

impl QueryError {
    fn at(position: usize, problem: impl Into<String>) -> Self {
        Self { position, problem: problem.into() }
    }
}

/// Reads a query. `default_source` is what DPS takes when there is no `FROM`.
pub(crate) fn parse(text: &str, default_source: Option<&str>) -> Result<Query, QueryError> {
    parser::Parser::new(text)?.query(default_source)
}

/// Reads a condition alone.
pub(crate) fn parse_condition(text: &str) -> Result<Expression, QueryError> {
    parser::Parser::new(text)?.condition()
}

impl Query {
    /// Takes the collection's name or alias off the front of paths (`devices.deviceId`, `d.tags.x`).
    fn strip(&mut self, aliases: &[String]) {
        let strip = |path: &mut Vec<String>| {
            if path.len() > 1 && aliases.contains(&path[0]) {
                path.remove(0);
            }
        };
        self.group.iter_mut().for_each(strip);
        if let Projection::Columns(columns) = &mut self.projection {
            columns.iter_mut().filter_map(|column| column.expression.as_mut()).for_each(|it| it.paths(&strip));
        }
        if let Some(condition) = &mut self.condition {
            condition.paths(&strip);
        }
    }

    fn check(&self) -> Result<(), QueryError> {
        let Projection::Columns(columns) = &self.projection else {
            return if self.group.is_empty() {
                Ok(())
            } else {
                Err(QueryError::at(1, "SELECT * does not go with GROUP BY"))
            };
        };
        let aggregates = columns.iter().any(|column| column.aggregate.is_some());
        let stray = columns.iter().find(|column| {
            column.aggregate.is_none()
                && !matches!(&column.expression, Some(Expression::Path(path)) if self.group.contains(path))
        });
        match stray {
            Some(_) if aggregates || !self.group.is_empty() => {
                Err(QueryError::at(1, "every column that is no aggregate must be in GROUP BY"))
            }
            _ => Ok(()),
        }
    }
}

impl Expression {
    fn paths(&mut self, change: &impl Fn(&mut Vec<String>)) {
        match self {
            Self::Or(left, right) | Self::And(left, right) | Self::Compare(_, left, right) => {
                left.paths(change);
                right.paths(change);
            }
            Self::Not(inner) => inner.paths(change),
            Self::In(needle, list) => {
                needle.paths(change);
                list.iter_mut().for_each(|item| item.paths(change));
            }
            Self::Call(_, arguments) => arguments.iter_mut().for_each(|argument| argument.paths(change)),
            Self::Path(path) => change(path),
            Self::Literal(_) => {}
        }
    }
}

impl Column {
    /// The alias, the last part of a path, or `$1`, `$2`, … for anything else.
    fn name(&self, index: usize) -> String {
        match (&self.alias, &self.expression) {
            (Some(alias), _) => alias.clone(),
            (None, Some(Expression::Path(path))) if self.aggregate.is_none() => {
                path.last().cloned().unwrap_or_default()
            }
            _ => format!("${}", index + 1),
        }
    }
}

impl Aggregate {
    fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "COUNT" => Self::Count,
            "SUM" => Self::Sum,
            "AVG" => Self::Average,
            "MIN" => Self::Minimum,
            "MAX" => Self::Maximum,
            _ => return None,
        })
    }
}

impl Function {
    /// The function and how many arguments it takes.
    fn named(name: &str) -> Option<(Self, usize)> {
        Some(match name.to_ascii_uppercase().as_str() {
            "IS_DEFINED" => (Self::IsDefined, 1),
            "IS_NULL" => (Self::IsNull, 1),
            "IS_BOOL" => (Self::IsBool, 1),
            "IS_NUMBER" => (Self::IsNumber, 1),
            "IS_STRING" => (Self::IsString, 1),
            "IS_OBJECT" => (Self::IsObject, 1),
            "IS_ARRAY" => (Self::IsArray, 1),
            "IS_PRIMITIVE" => (Self::IsPrimitive, 1),
            "STARTSWITH" | "STARTS_WITH" => (Self::StartsWith, 2),
            "ENDSWITH" | "ENDS_WITH" => (Self::EndsWith, 2),
            "CONTAINS" => (Self::Contains, 2),
            "LOWER" => (Self::Lower, 1),
            "UPPER" => (Self::Upper, 1),
            "LENGTH" => (Self::Length, 1),
            "ABS" => (Self::Absolute, 1),
            "ARRAY_CONTAINS" => (Self::ArrayContains, 2),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn documents() -> Vec<Value> {
        vec![
            json!({"deviceId": "a", "status": "enabled", "tags": {"site": "Bonn", "floor": 1}, "version": 3,
                   "lastActivityTime": "2024-05-01T00:00:00Z"}),
            json!({"deviceId": "b", "status": "enabled", "tags": {"site": "Kiel", "floor": 2.5}, "version": 5,
                   "lastActivityTime": "2024-05-01T00:00:00.5Z"}),
            json!({"deviceId": "c", "status": "disabled", "tags": {}, "version": 5,
                   "properties": {"reported": {"a b": [1, 2], "$metadata": {"$lastUpdated": "x"}}}}),
        ]
    }

    fn ids(condition: &str) -> String {
        let query = parse(&format!("SELECT * FROM devices WHERE {condition}"), None).expect(condition);
        let selected = documents().into_iter().filter(|document| query.selects(document));
        selected.map(|document| document["deviceId"].as_str().expect("id").to_owned()).collect()
    }

    #[test]
    fn conditions_select() {
        for (condition, expected) in [
            ("status = 'enabled'", "ab"),
            ("status != 'enabled'", "c"),
            ("tags.site <> 'Bonn'", "b"),
            ("NOT tags.site = 'Bonn'", "b"),
            ("tags.floor >= 1 AND tags.floor < 2.5", "a"),
            ("tags.site IN ['Bonn', 'Kiel']", "ab"),
            ("tags.site NOT IN ['Bonn']", "b"),
            ("tags.site NIN ['Bonn']", "b"),
            ("deviceId IN ('a','c')", "ac"),
            ("is_defined(tags.site)", "ab"),
            ("NOT IS_DEFINED(tags.site)", "c"),
            ("is_string(tags.floor)", ""),
            ("is_number(tags.floor)", "ab"),
            ("startswith(tags.site, 'Bo')", "a"),
            ("STARTS_WITH(deviceId, 'c') OR ENDS_WITH(tags.site, 'el')", "bc"),
            ("(status = 'disabled' OR deviceId = 'a') AND version > 3", "c"),
            ("devices.deviceId = 'a'", "a"),
            ("properties.reported['a b'][1] = 2", "c"),
            ("properties.reported.$metadata.$lastUpdated = 'x'", "c"),
            ("lastActivityTime < '2024-05-01T00:00:00.3Z'", "a"),
            ("version > -1 and version <= 3", "a"),
            ("tags.site = 'O''Hara' OR deviceId = \"b\"", "b"),
            ("tags.nothing != 'x'", ""),
        ] {
            assert_eq!(ids(condition), expected, "{condition}");
        }
    }

    #[test]
    fn mistakes_are_explained() {
        for (text, part) in [
            ("", "expected SELECT"),
            ("SELECT", "expected a value"),
            ("SELECT * FROM", "the name of a collection"),
            ("SELECT *", "expected FROM"),
            ("SELECT * FROM devices WHERE", "expected a value"),
            ("SELECT * FROM devices WHERE a = 'b", "no end"),
            ("SELECT * FROM devices WHERE foo(a)", "no function"),
            ("SELECT * FROM devices WHERE a = 1 b", "the end of the query"),
            ("SELECT * FROM devices WHERE is_defined(a, b)", "takes 1 arguments"),
            ("SELECT deviceId, COUNT() FROM devices", "GROUP BY"),
            ("SELECT * FROM devices; DROP", "unexpected ';'"),
            ("SELECT TOP 0 * FROM devices", "TOP"),
        ] {
            let error = parse(text, None).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let deep = format!("SELECT * FROM devices WHERE {}a{}", "(".repeat(500), ")".repeat(500));
        assert!(parse(&deep, None).is_err());
    }

    #[test]
    fn columns_and_aggregates() {
        let query = parse("SELECT deviceId, tags.floor AS level, tags.site FROM devices d WHERE d.version = 3", None);
        let query = query.expect("query");
        assert!(query.is_row_by_row());
        let rows: Vec<_> = documents()
            .into_iter()
            .filter(|document| query.selects(document))
            .map(|document| query.project(document))
            .collect();
        assert_eq!(rows, [json!({"deviceId": "a", "level": 1, "site": "Bonn"})]);

        let query = parse("SELECT status, COUNT() AS n, AVG(version) FROM devices GROUP BY status", None);
        let rows = query.expect("query").aggregate(documents().into_iter());
        assert_eq!(
            rows,
            [json!({"status": "enabled", "n": 2, "$3": 4}), json!({"status": "disabled", "n": 1, "$3": 5})]
        );

        let query = parse("SELECT COUNT() AS n FROM devices WHERE deviceId = 'none'", None).expect("query");
        assert_eq!(query.aggregate(std::iter::empty()), [json!({"n": 0})]);
        let query = parse("SELECT DISTINCT status FROM devices", None).expect("query");
        assert_eq!(query.aggregate(documents().into_iter()).len(), 2);
    }
}
