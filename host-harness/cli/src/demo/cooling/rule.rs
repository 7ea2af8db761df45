//! The rule: what a person would fill into the trigger's form, and what it means.

use serde_json::{Value, json};

/// The trigger.
pub(super) const TRIGGER: &str = "device-telemetry";
/// A machine above this is hot, in degrees Celsius.
pub(super) const THRESHOLD: f64 = 80.0;
/// How far a machine is cooled.
pub(super) const TARGET: f64 = 45.0;

/// The trigger's configuration. The conditions are evaluated inside of the component: what is not hot never leaves it,
/// and moves the cursor on all the same.
pub(super) fn config() -> Value {
    json!({
        "filter": {
            "match": "all",
            "conditions": [
                { "path": "/temperature", "operator": "greaterThan", "value": THRESHOLD, "type": "number" },
                { "path": "/cooling", "operator": "equals", "value": false },
            ],
        },
        "fields": [{ "name": "temperature", "path": "/temperature" }],
    })
}

/// The temperature of a body that the rule is about; none where it is not. The self-check judges the emulator's own
/// record by it, without the component.
pub(super) fn hot(body: &[u8]) -> Option<f64> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let temperature = body.get("temperature")?.as_f64()?;
    (temperature > THRESHOLD && body.get("cooling") == Some(&Value::Bool(false))).then_some(temperature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_hot_and_not_being_cooled_counts() {
        let judged = |body: &str| hot(body.as_bytes());
        assert_eq!(judged(r#"{"temperature":80.1,"cooling":false}"#), Some(80.1));
        for body in [
            r#"{"temperature":80.0,"cooling":false}"#,
            r#"{"temperature":90.0,"cooling":true}"#,
            r#"{"temperature":90.0}"#,
            r#"{"temperature":"90.0","cooling":false}"#,
            r#"{"temperature":90.0,"coo"#,
            "90.0",
        ] {
            assert_eq!(judged(body), None, "{body}");
        }
    }
}
