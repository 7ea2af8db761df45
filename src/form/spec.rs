//! The declaration of an operation.

use serde_json::Value;

use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Limit, Operation};

/// The declarations that triggers and actions have in common.
pub struct Spec {
    /// The stable id.
    pub id: &'static str,
    /// The short name for a person.
    pub title: &'static str,
    /// The help text, in Markdown.
    pub help: &'static str,
    /// The heading under which a list shows the operation.
    pub group: &'static str,
    /// Schema of the input or configuration.
    pub input: Value,
    /// Schema of the output or of an event's data.
    pub output: Value,
    /// Example of the input.
    pub input_sample: Value,
    /// Example of the output.
    pub output_sample: Value,
    /// Whether `resolve-schema` can return a more detailed schema of the output.
    pub dynamic_output: bool,
    /// The permissions that the operation needs.
    pub permissions: &'static [Permission],
    /// The service's limits: title, value, unit.
    pub limits: &'static [(&'static str, u64, &'static str)],
}

impl Spec {
    /// The interface's record of the operation.
    pub fn operation(self) -> Operation {
        Operation {
            id: self.id.to_owned(),
            revision: 1,
            deprecated_by: None,
            title: self.title.to_owned(),
            help: self.help.to_owned(),
            group: self.group.to_owned(),
            input_schema: self.input.to_string(),
            output_schema: self.output.to_string(),
            input_sample: self.input_sample.to_string(),
            output_sample: self.output_sample.to_string(),
            dynamic_input: false,
            dynamic_output: self.dynamic_output,
            permissions: self.permissions.iter().map(|permission| permission.id().to_owned()).collect(),
            limits: self
                .limits
                .iter()
                .map(|(title, value, unit)| Limit {
                    title: (*title).to_owned(),
                    value: *value,
                    unit: (*unit).to_owned(),
                })
                .collect(),
        }
    }
}
