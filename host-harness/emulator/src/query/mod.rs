//! The one query engine: the SQL-like language of IoT Hub, which DPS shares.
//!
//! ```text
//! SELECT [TOP n] * | column [AS name], …              columns may be COUNT(), SUM(x), AVG(x), MIN(x), MAX(x)
//! FROM devices | devices.modules | devices.jobs | enrollments | …
//! [WHERE condition]                                   = != <> < <= > >= AND OR NOT + - * / % IN [] NIN [], functions, parentheses
//! [GROUP BY path, …]                                  device twins only
//! ```
//!
//! The engine accepts no more than Microsoft documents ("IoT Hub query language", "Queries for device and module
//! twins", "Queries for jobs"), because a query that runs here should also run at the hub:
//!
//! | matter | here |
//! |---|---|
//! | reserved words as names | refused; in double brackets they are names, as in `tags.[[group]]`. Microsoft's documents mention only `group`; the list here is that of Azure Digital Twins, whose keywords include the hub's collections |
//! | names with other characters than letters, digits, `_` and `$` | in double brackets only |
//! | strings | `'…'` or `"…"`; escapes `\'`, `\"`, `\\`, `\uXXXX`; a doubled quote is no escape |
//! | `IN`, `NIN` | an array in square brackets |
//! | functions | `IS_DEFINED`, the only one that is documented for twins and jobs, and `STARTSWITH`, which the hub takes (MicrosoftDocs/azure-docs#110329, where `STARTS_WITH` is refused, and IoT Explorer), and `ARRAY_CONTAINS`, with which the Azure CLI finds the children of an IoT Edge device |
//! | comparisons | of primitive values; with an object or an array they are undefined |
//! | `devices.jobs` | `SELECT *` only |
//! | length | 8192 characters |
//!
//! Keywords, functions and names at the top of a document (`DeviceId`) are case-insensitive; all other names are
//! case-sensitive.

mod eval;
mod lexer;
mod parser;
mod syntax;

pub(crate) use syntax::{Expression, Query, QueryError};

/// Reads a query. `default_source` is the collection that DPS uses when there is no `FROM`.
pub(crate) fn parse(text: &str, default_source: Option<&str>) -> Result<Query, QueryError> {
    parser::Parser::new(text)?.query(default_source)
}

/// Reads a condition without a query around it.
pub(crate) fn parse_condition(text: &str) -> Result<Expression, QueryError> {
    parser::Parser::new(text)?.condition()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
            ("ARRAY_CONTAINS(properties.reported.[[a b]], 2)", "c"),
            ("ARRAY_CONTAINS(properties.reported.[[a b]], 3)", ""),
            ("ARRAY_CONTAINS(status, 'enabled')", ""),
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
