//! AMQP errors as the peer sees them.

use serde_amqp::Value;

use super::values::{composite, map, symbol, text};

/// An AMQP error as the peer sees it: a condition, a sentence and, for a redirect, the new address.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AmqpError {
    pub(crate) condition: String,
    pub(crate) description: String,
    pub(crate) info: Vec<(&'static str, Value)>,
}

impl AmqpError {
    pub(crate) fn new(condition: impl Into<String>, description: impl Into<String>) -> Self {
        Self { condition: condition.into(), description: description.into(), info: Vec::new() }
    }

    /// Reads the condition in a fault rule. A slash and IoT Hub's six-digit code may follow the condition.
    pub(crate) fn of_rule(condition: &str) -> Self {
        const WORDS: &str = "A fault rule caused this error.";
        let split =
            condition.rsplit_once('/').and_then(|(condition, code)| Some((condition, code.parse::<i32>().ok()?)));
        match split {
            Some((condition, code)) => {
                Self { info: vec![("com.microsoft:error-code", Value::Int(code))], ..Self::new(condition, WORDS) }
            }
            None => Self::new(condition, WORDS),
        }
    }

    pub(super) fn to_value(&self) -> Value {
        let info = self.info.iter().map(|(name, value)| (symbol(*name), value.clone()));
        let info = if self.info.is_empty() { Value::Null } else { map(info) };
        composite(0x1d, vec![symbol(self.condition.as_str()), text(self.description.as_str()), info])
    }
}
