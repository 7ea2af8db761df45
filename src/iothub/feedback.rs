//! What a record of feedback states about a message to a device ("Send cloud-to-device messages from an IoT hub").

use serde_json::Value;

use crate::json::member_in_any_case;

/// How a message can end. The index of each status is the number that older records have instead of the name.
pub const FEEDBACK_STATUSES: [&str; 5] = ["Success", "Expired", "DeliveryCountExceeded", "Rejected", "Purged"];
/// The members of a record. The oldest records wrote these names with a capital letter, and had no status besides the
/// description.
pub const FEEDBACK_MEMBERS: [&str; 6] =
    ["originalMessageId", "deviceId", "deviceGenerationId", "statusCode", "description", "enqueuedTimeUtc"];

/// How a message ended: by the status name, by the number in older records, or else by the description. None where the
/// record states none of these.
pub fn feedback_status(record: &Value) -> Option<String> {
    match member_in_any_case(record, "statusCode") {
        Some(Value::String(name)) if !name.is_empty() => Some(known(name).map_or_else(|| name.clone(), str::to_owned)),
        Some(Value::Number(number)) => {
            let name = number.as_u64().and_then(|number| FEEDBACK_STATUSES.get(usize::try_from(number).ok()?));
            Some(name.map_or_else(|| number.to_string(), |name| (*name).to_owned()))
        }
        _ => member_in_any_case(record, "description").and_then(Value::as_str).and_then(known).map(str::to_owned),
    }
}

/// The status with this name, in upper or lower case or in the words of a description: `Message expired`, `Maximum
/// delivery count exceeded`.
fn known(text: &str) -> Option<&'static str> {
    let letters: String = text.chars().filter(char::is_ascii_alphabetic).map(|c| c.to_ascii_lowercase()).collect();
    let letters = letters.strip_prefix("message").or_else(|| letters.strip_prefix("maximum")).unwrap_or(&letters);
    FEEDBACK_STATUSES.into_iter().find(|status| status.eq_ignore_ascii_case(letters))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_read_from_records_of_every_age() {
        for (record, expected) in [
            (json!({ "statusCode": "Expired", "description": "Success" }), Some("Expired")),
            (json!({ "statusCode": "deliveryCountExceeded" }), Some("DeliveryCountExceeded")),
            (json!({ "StatusCode": 0, "Description": "Success" }), Some("Success")),
            (json!({ "statusCode": 3 }), Some("Rejected")),
            (json!({ "statusCode": 4 }), Some("Purged")),
            (json!({ "statusCode": 9 }), Some("9")),
            (json!({ "Description": "Success" }), Some("Success")),
            (json!({ "description": "Message expired" }), Some("Expired")),
            (json!({ "description": "Maximum delivery count exceeded" }), Some("DeliveryCountExceeded")),
            (json!({ "description": "Message rejected", "statusCode": null }), Some("Rejected")),
            (json!({ "statusCode": "Abandoned" }), Some("Abandoned")),
            (json!({ "description": "something happened" }), None),
            (json!({ "deviceId": "press-17" }), None),
            (json!({ "statusCode": { "a": 1 } }), None),
        ] {
            assert_eq!(feedback_status(&record).as_deref(), expected, "{record}");
        }
    }
}
