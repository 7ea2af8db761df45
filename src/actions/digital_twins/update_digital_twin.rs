//! Changes the desired values of a digital twin's properties.
//!
//! ```scenario
//! done {"deviceId": "changed-1", "patch": [{"op": "add", "path": "/targetTemperature", "value": 21.5}, {"op": "replace", "path": "/thermostat1/limits", "value": {"high": 80}}]}
//! done {"deviceId": "changed-1", "patch": [{"op": "remove", "path": "/targetTemperature"}]}
//! done {"deviceId": "changed-1", "patch": [{"op": "replace", "path": "/targetTemperature", "value": 22}]} tagged get-digital-twin {"deviceId": "changed-1"}
//! done {"deviceId": "changed-1", "patch": [{"op": "replace", "path": "/targetTemperature", "value": 23}]} under hub:PATCH /digitaltwins/*=503x1
//! precondition-failed {"deviceId": "changed-1", "patch": [{"op": "replace", "path": "/targetTemperature", "value": 22}], "etag": "$stale"}
//! not-found {"deviceId": "missing", "patch": [{"op": "replace", "path": "/targetTemperature", "value": 22}]}
//! invalid-input {"deviceId": "changed-1", "patch": [{"op": "replace", "path": "/$metadata/a", "value": 22}]}
//! invalid-input {"deviceId": "changed-1", "patch": [{"op": "remove", "path": "/targetTemperature", "value": 22}]}
//! ```

use serde_json::{Value, json};

use crate::actions::shared::declaration::{Declaration, required};
use crate::actions::shared::limits;
use crate::actions::shared::removal::ETAG;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::{Error, ErrorCode, FieldProblem, Result, problem};
use crate::form::fields;
use crate::form::schema::{any, help, list, literal, object, one_of, string, with};
use crate::http::{IfMatch, Request, Safety};
use crate::platform::Method;

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "update-digital-twin",
        title: "Update a digital twin",
        help: "Sets or removes the desired values of writable properties, as a JSON Patch. The device is notified when it is next connected, and reports what it made of them. Needs a hub of the Standard or Free tier.",
        group: "Digital twins",
        input: &[
            required("deviceId", fields::device_id),
            required("patch", || {
                let path = with(
                    help(string("Path"), "`/property`, or `/component/property`."),
                    literal!({
                        "minLength": 2,
                        "maxLength": 1100,
                        "pattern": "^(/[A-Za-z][A-Za-z0-9_]*){1,2}$",
                        "$comment": "must be /property or /component/property, with names of the model",
                        "examples": ["/targetTemperature"]
                    }),
                );
                let change = object(
                    [
                        ("op", one_of("Operation", &["add", "replace", "remove"])),
                        ("path", path),
                        ("value", help(any("Value"), "Any JSON but null; none for `remove`.")),
                    ],
                    &["op", "path"],
                );
                with(
                    list("Patch", with(change, literal!({ "title": "Change" }))),
                    literal!({ "minItems": 1, "maxItems": 1000 }),
                )
            }),
            ETAG,
        ],
        input_sample: r#"{ "deviceId": "press-17", "patch": [{ "op": "replace", "path": "/targetTemperature", "value": 22 }] }"#,
        output: || object([("deviceId", string("Device id")), ("etag", string("ETag"))], &["deviceId"]),
        output_sample: || literal!({ "deviceId": "press-17", "etag": "AAAAAAAAAAM=" }),
        dynamic_output: false,
        permissions: &[Permission::ServiceConnect],
        limits: &[limits::TWIN_UPDATES, ("Desired properties", 32 * 1024, "bytes")],
        effect: Effect::Write,
        idempotency: Idempotency::Natural,
    },
    run: |session, input, _| {
        let id = input.device()?;
        let if_match = input.if_match()?;
        let patch = input.items("patch");
        check(patch)?;
        // A property that is already removed may not be removed again.
        let removes = patch.iter().any(|change| op(change) == "remove");
        let safety = if removes { Safety::Once } else { if_match.safety() };
        let segments = ["digitaltwins", id.as_str()];
        let mut request = Request::new(Method::Patch, segments, safety, Permission::ServiceConnect).json(patch.into());
        // Without a condition the header is left out, which the description allows.
        if let IfMatch::Tag(_) = &if_match {
            request = request.header("if-match", &if_match);
        }
        let answer = session.hub().send(&request)?;
        let mut output = json!({ "deviceId": id.as_str() });
        if let Some(Ok(IfMatch::Tag(etag))) = answer.header("etag").map(|etag| IfMatch::from_input(Some(etag), "")) {
            output["etag"] = etag.as_str().into();
        }
        Ok(output)
    },
};

fn op(change: &Value) -> &str {
    change.get("op").and_then(Value::as_str).unwrap_or_default()
}

/// Checks the rules that a schema cannot express.
fn check(patch: &[Value]) -> Result<()> {
    let problems: Vec<FieldProblem> = patch
        .iter()
        .enumerate()
        .filter_map(|(index, change)| {
            let at = format!("/patch/{index}/value");
            match (op(change), change.get("value")) {
                ("remove", Some(_)) => Some(problem(&at, "not-allowed", "must be left out: `remove` takes no value")),
                ("remove", None) => None,
                (_, None) => Some(problem(&at, "missing", "is missing")),
                (_, Some(Value::Null)) => {
                    Some(problem(&at, "not-allowed", "must not be null: use `remove` to clear a property"))
                }
                _ => None,
            }
        })
        .collect();
    if problems.is_empty() {
        return Ok(());
    }
    Err(Error::fields(ErrorCode::InvalidInput, "The digital twin cannot be changed in this way", problems))
}
