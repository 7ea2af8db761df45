//! Tests a target condition and metric queries before a configuration has them.
//!
//! ```scenario
//! done {"targetCondition": "tags.site='north'", "metrics": {"all": "SELECT deviceId FROM devices"}}
//! done {"targetCondition": "tags.site = = 'north'"}
//! done {"metrics": {"bad": "SELECT FROM"}}
//! done {"targetCondition": "*"} under hub:POST /configurations/testQueries=503x1
//! invalid-input {}
//! ```

use serde_json::{Map, Value};

use super::shared;
use crate::actions::shared::declaration::{Declaration, optional};
use crate::actions::shared::limits;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::Error;
use crate::form::schema::{any_object, help, literal, open_object, string, with};
use crate::http::{Request, Safety};
use crate::platform::Method;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "test-configuration-queries",
        title: "Test queries of a configuration",
        help: "Asks the hub whether a target condition and metric queries are valid. Nothing is changed. A condition or query without an error in the output is valid. Needs a hub of the Standard or Free tier.",
        group: "Configurations",
        input: &[optional("targetCondition", shared::target_condition), optional("metrics", shared::metrics)],
        input_sample: r#"{ "targetCondition": "tags.site='north'" }"#,
        output: || {
            let may_be_null = |schema, kind: &str| with(schema, serde_json::json!({ "type": [kind, "null"] }));
            open_object(
                [
                    (
                        "targetConditionError",
                        may_be_null(
                            help(string("Error of the target condition"), "Absent or null where it is valid."),
                            "string",
                        ),
                    ),
                    (
                        "customMetricQueryErrors",
                        may_be_null(
                            help(any_object("Errors of the metric queries"), "By name; only those that are not valid."),
                            "object",
                        ),
                    ),
                ],
                &[],
            )
        },
        output_sample: || literal!({ "targetConditionError": null, "customMetricQueryErrors": {} }),
        dynamic_output: false,
        permissions: &[Permission::RegistryRead],
        limits: &[limits::CONFIGURATIONS],
        effect: Effect::Read,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let mut body = Map::new();
        for (name, member) in [("targetCondition", "targetCondition"), ("metrics", "customMetricQueries")] {
            if let Some(value) = input.get(name) {
                body.insert(member.to_owned(), value.clone());
            }
        }
        if body.is_empty() {
            return Err(Error::field("", "nothing-to-test", "must state a target condition or metric queries"));
        }
        let segments = ["configurations", "testQueries"];
        let request = Request::new(Method::Post, segments, Safety::Read, Permission::RegistryRead);
        Ok(session.hub().document(&request.json(Value::Object(body)))?.document)
    },
};
