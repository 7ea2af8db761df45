//! The one query engine: the SQL-like language of IoT Hub, which DPS shares.
//!
//! ```text
//! SELECT [TOP n] * | column [AS name], …              columns may be COUNT(), SUM(x), AVG(x), MIN(x), MAX(x)
//! FROM devices | devices.modules | devices.jobs | enrollments | …
//! [WHERE condition]                                   = != <> < <= > >= AND OR NOT + - * / % IN [] NIN [], functions, parentheses
//! [GROUP BY path, …]                                  device twins only
//! ```
//!
//! It is no wider than what Microsoft writes down ("IoT Hub query language", "Queries for device and module twins",
//! "Queries for jobs"), since a query that runs here should run at the hub:
//!
//! | matter | here |
//! |---|---|
//! | reserved words as names | refused; `tags.[[group]]` names one. The documents name `group`; the list is that of Azure Digital Twins, whose language has the hub's collections among its keywords |
//! | names with other characters than letters, digits, `_` and `$` | in double brackets only |
//! | strings | `'…'` or `"…"`; escapes `\'`, `\"`, `\\`, `\uXXXX`; a doubled quote is none |
//! | `IN`, `NIN` | an array in square brackets |
//! | functions | `IS_DEFINED`, the only one that is documented for twins and jobs, and `STARTSWITH`, which the hub takes (MicrosoftDocs/azure-docs#110329, where `STARTS_WITH` is refused, and IoT Explorer) |
//! | comparisons | of primitive values; with an object or an array they are undefined |
//! | `devices.jobs` | `SELECT *` only |
//! | length | 8192 characters |
//!
//! Keywords, functions and a document's own first names (`DeviceId`) are case-insensitive, all other names are not.

mod eval;
mod lexer;
mod parser;

use serde_json::Value;

/// A query that was understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Query {
    top: Option<usize>,
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
    Arithmetic(Operator, Box<Expression>, Box<Expression>),
    Literal(Value),
    Undefined,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
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
    StartsWith,
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
    /// Takes the collection's name off the front of paths (`devices.deviceId`, `devices.jobs.jobId`).
    fn strip(&mut self) {
        let source: Vec<String> = self.source.split('.').map(str::to_owned).collect();
        let strip = |path: &mut Vec<String>| {
            // A collection's name may stand for the first word of it alone.
            for count in [source.len(), 1] {
                let fits = path.iter().zip(&source[..count]).all(|(own, other)| own.eq_ignore_ascii_case(other));
                if path.len() > count && fits {
                    path.drain(..count);
                    return;
                }
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
        if self.source == "devices.jobs" && !self.is_whole() {
            return Err(QueryError::at(1, "devices.jobs can be queried with SELECT * only"));
        }
        if self.source == "devices.modules" && !self.group.is_empty() {
            return Err(QueryError::at(1, "GROUP BY goes with device twins only"));
        }
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
            Self::Or(left, right)
            | Self::And(left, right)
            | Self::Compare(_, left, right)
            | Self::Arithmetic(_, left, right) => {
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
            Self::Literal(_) | Self::Undefined => {}
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
            "STARTSWITH" => (Self::StartsWith, 2),
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
            json!({"deviceId": "c", "status": "disabled", "tags": {"group": "g", "my-tag": {"$x": 1}}, "version": 5,
                   "properties": {"reported": {"a b": [1, 2], "o": {}, "$metadata": {"$lastUpdated": "x"}}}}),
            json!({"deviceId": "o'hara", "status": "enabled", "version": 1}),
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
            ("status = 'disabled'", "c"),
            ("status != 'enabled'", "c"),
            ("tags.site <> 'Bonn'", "b"),
            ("NOT tags.site = 'Bonn'", "b"),
            ("tags.floor >= 1 AND tags.floor < 2.5", "a"),
            ("tags.site IN ['Bonn', 'Kiel']", "ab"),
            ("tags.site NIN ['Bonn']", "b"),
            ("NOT tags.site IN ['Bonn']", "b"),
            ("deviceId IN ['a','c']", "ac"),
            ("is_defined(tags.site)", "ab"),
            ("NOT IS_DEFINED(tags.site)", "co'hara"),
            ("startswith(tags.site, 'Bo')", "a"),
            ("STARTSWITH(deviceId, 'c') OR tags.site = 'Kiel'", "bc"),
            ("(status = 'disabled' OR deviceId = 'a') AND version > 3", "c"),
            ("devices.deviceId = 'a'", "a"),
            ("tags.[[group]] = 'g'", "c"),
            ("devices.tags.[[group]] = 'g'", "c"),
            ("tags.[[my-tag]].$x = 1", "c"),
            ("is_defined(properties.reported.[[a b]])", "c"),
            ("properties.reported.o = properties.reported.o", ""),
            ("DeviceId = 'a' AND TAGS.site = 'Bonn'", "a"),
            ("tags.Site = 'Bonn'", ""),
            (r"deviceId = 'o\'hara'", "o'hara"),
            (r"deviceId = 'o\u0027hara'", "o'hara"),
            ("deviceId = \"o'hara\"", "o'hara"),
            ("version = 0x3", "a"),
            ("version + 1 = 6 AND tags.floor * 2 = 5", "b"),
            ("version % 2 = 1 AND version - 1 < 3 AND status = 'enabled'", "ao'hara"),
            ("tags.site = undefined", ""),
            ("properties.reported.$metadata.$lastUpdated = 'x'", "c"),
            ("lastActivityTime < '2024-05-01T00:00:00.3Z'", "a"),
            ("version > -1 and version <= 3", "ao'hara"),
            ("deviceId = \"b\"", "b"),
            ("tags.nothing != 'x'", ""),
        ] {
            assert_eq!(ids(condition), expected, "{condition}");
        }
    }

    #[test]
    fn mistakes_are_explained() {
        for (text, part) in [
            ("", "expected SELECT"),
            ("SELECT", "expected a property"),
            ("SELECT * FROM", "the name of a collection"),
            ("SELECT *", "expected FROM"),
            ("SELECT * FROM devices WHERE", "expected a value"),
            ("SELECT * FROM devices WHERE a = 'b", "no end"),
            ("SELECT * FROM devices WHERE foo(a)", "no function"),
            ("SELECT * FROM devices WHERE tags.group = 'g'", "[[group]]"),
            ("SELECT * FROM devices WHERE tags.Group.name = 'g'", "[[Group]]"),
            ("SELECT * FROM devices WHERE properties.desired.order = 1", "[[order]]"),
            ("SELECT tags.top FROM devices", "[[top]]"),
            ("SELECT COUNT() AS n FROM devices GROUP BY tags.group", "[[group]]"),
            ("SELECT * FROM devices WHERE tags.[[]] = 1", "needs a name"),
            ("SELECT * FROM devices WHERE tags.['my-tag'] = 1", "a property"),
            ("SELECT * FROM devices WHERE tags['my-tag'] = 1", "the end of the query"),
            ("SELECT * FROM devices WHERE tags.a:b = 1", "unexpected ':'"),
            ("SELECT * FROM devices WHERE deviceId = 'o''hara'", "the end of the query"),
            (r"SELECT * FROM devices WHERE deviceId = 'o\nhara'", "no escape"),
            (r"SELECT * FROM devices WHERE deviceId = 'o\u27'", "four hexadecimal digits"),
            ("SELECT * FROM devices WHERE deviceId IN ('a', 'b')", "expected ["),
            ("SELECT * FROM devices WHERE deviceId NOT IN ['a']", "NIN"),
            ("SELECT * FROM devices WHERE STARTS_WITH(deviceId, 'a')", "STARTSWITH"),
            ("SELECT * FROM devices WHERE CONTAINS(deviceId, 'a')", "no function"),
            ("SELECT * FROM devices WHERE version = 0x", "hexadecimal digits"),
            ("SELECT DISTINCT status FROM devices", "expected FROM"),
            ("SELECT deviceId id FROM devices", "expected FROM"),
            ("SELECT * FROM devices d", "the end of the query"),
            ("SELECT COUNT(*) AS n FROM devices", "COUNT goes without"),
            ("SELECT SUM() AS n FROM devices", "a property"),
            ("SELECT * FROM devices ORDER BY deviceId", "the end of the query"),
            ("SELECT jobId FROM devices.jobs", "SELECT * only"),
            ("SELECT status, COUNT() AS n FROM devices.modules GROUP BY status", "device twins only"),
            ("SELECT * FROM devices WHERE a = 1 b", "the end of the query"),
            ("SELECT * FROM devices WHERE is_defined(a, b)", "takes 1 arguments"),
            ("SELECT deviceId, COUNT() FROM devices", "GROUP BY"),
            ("SELECT * FROM devices; DROP", "unexpected ';'"),
            ("SELECT TOP 0 * FROM devices", "TOP"),
        ] {
            let error = parse(text, None).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let long = format!("SELECT * FROM devices WHERE deviceId = '{}'", "a".repeat(8192));
        assert!(parse(&long, None).expect_err("long").to_string().contains("8192"));
        let deep = format!("SELECT * FROM devices WHERE {}a{}", "(".repeat(500), ")".repeat(500));
        assert!(parse(&deep, None).is_err());
    }

    #[test]
    fn columns_and_aggregates() {
        let query = parse("SELECT DeviceId, tags.floor AS level, tags.site FROM devices WHERE version = 3", None);
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
            [json!({"status": "enabled", "n": 3, "$3": 3}), json!({"status": "disabled", "n": 1, "$3": 5})]
        );

        let query = parse("SELECT COUNT() AS n FROM devices WHERE deviceId = 'none'", None).expect("query");
        assert_eq!(query.aggregate(std::iter::empty()), [json!({"n": 0})]);
        for job in ["devices.jobs.jobId = 'j'", "jobId = 'j'"] {
            let query = parse(&format!("SELECT * FROM devices.jobs WHERE {job}"), None).expect("query");
            assert!(query.selects(&json!({"jobId": "j"})), "{job}");
        }
    }
}
