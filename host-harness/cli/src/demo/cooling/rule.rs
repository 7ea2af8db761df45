//! The rule for hot readings: as a person would enter it in the trigger's form, and as code for the self-check.

use serde_json::{Value, json};

/// The id of the trigger.
pub(super) const TRIGGER: &str = "device-telemetry";
/// A machine above this temperature is hot, in degrees Celsius.
pub(super) const THRESHOLD: f64 = 80.0;
/// The temperature to which a machine is cooled, in degrees Celsius.
pub(super) const TARGET: f64 = 45.0;

/// The trigger's configuration. The component itself evaluates the conditions: a reading that is not hot never leaves
/// the component, but still moves the cursor on.
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

/// The temperature in a message body that the rule matches; `None` for any other body. The self-check applies this
/// function to the emulator's log, without the component.
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
