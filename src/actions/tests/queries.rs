//! Tests of queries.

use serde_json::json;

use super::*;

#[test]
fn a_query_is_sent_as_it_was_written() {
    let platform = platform();
    platform.then_status(200, &[("x-ms-continuation", "next")], r#"[{"n":9007199254740993}]"#);
    platform.then_status(200, &[], "[]");
    let query = "SELECT COUNT() AS n FROM devices.modules WHERE tags.site = 'north'";
    let Ok(Outcome::Page(page)) = invoke(&platform, "query-hub", json!({ "query": query, "pageSize": 7 })) else {
        panic!("no page")
    };
    assert_eq!(page.output, r#"{"items":[{"n":9007199254740993}]}"#);
    let again = crate::actions::resume(&platform, &connection(), "query-hub", &page.token, &call(false));
    assert_eq!(done(again), json!({ "items": [] }));
    let line = format!("POST hub/devices/query?{HUB}");
    let size = ("x-ms-max-item-count", "7");
    assert_eq!(
        requests(&platform),
        [
            sent(&line, &[size], Some(json!({ "query": query }))),
            sent(&line, &[size, ("x-ms-continuation", "next")], Some(json!({ "query": query }))),
        ]
    );
    refusal(&platform, 400, "ArgumentInvalid");
    assert_eq!(fails(invoke(&platform, "query-hub", json!({ "query": "SELECT" }))).code(), ErrorCode::InvalidInput);
    platform.then_status(200, &[], "{}");
    assert_eq!(fails(invoke(&platform, "query-hub", json!({ "query": "SELECT" }))).code(), ErrorCode::Protocol);
}

#[test]
fn conditions_are_sent_as_a_query() {
    let platform = platform();
    platform.then_status(200, &[], "[]");
    let conditions = json!([{ "field": "tags.site", "operator": "=", "value": "' OR 1 = 1" }]);
    done(invoke(&platform, "query-devices-by-conditions", json!({ "conditions": conditions })));
    let query = r"SELECT * FROM devices WHERE tags.site = '\' OR 1 = 1'";
    assert_eq!(requests(&platform)[0].body, Some(json!({ "query": query })));
    let input = json!({ "conditions": [{ "field": "a", "operator": "is", "value": null }, { "field": "" }] });
    assert_eq!(
        problems(&super::platform(), "query-devices-by-conditions", input),
        pairs(&[
            ("/conditions/0/operator", "not-allowed"),
            ("/conditions/0/value", "wrong-type"),
            ("/conditions/1/operator", "missing"),
            ("/conditions/1/field", "too-short"),
        ])
    );
}
