//! What a trigger declares of itself: its texts, fields, permissions and limits, as data.

use serde_json::Value;

use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::Operation;
use crate::form::field::object_of;
pub use crate::form::field::{Field, Limit, optional, required};
use crate::form::{Spec, schema};

/// The declaration of a trigger.
pub struct Declaration {
    /// The stable id.
    pub id: &'static str,
    /// The short name for a person.
    pub title: &'static str,
    /// The help text, in Markdown.
    pub help: &'static str,
    /// The heading under which a list shows the trigger.
    pub group: &'static str,
    /// The fields of the configuration.
    pub config: &'static [Field],
    /// An example of the configuration, as JSON.
    pub config_sample: &'static str,
    /// The schema of an event's data.
    pub output: fn() -> Value,
    /// An example of an event's data.
    pub output_sample: fn() -> Value,
    /// Whether `resolve-schema` can return a more detailed schema of the data.
    pub dynamic_output: bool,
    /// The permissions that the trigger needs.
    pub permissions: &'static [Permission],
    /// The service's limits.
    pub limits: &'static [Limit],
}

impl Declaration {
    /// The interface's record.
    pub fn operation(&self) -> Operation {
        let spec = Spec {
            id: self.id,
            title: self.title,
            help: self.help,
            group: self.group,
            input: object_of(self.config, &[]),
            output: (self.output)(),
            input_sample: schema::parse(self.config_sample),
            output_sample: (self.output_sample)(),
            dynamic_output: self.dynamic_output,
            permissions: self.permissions,
            limits: self.limits,
        };
        spec.operation()
    }
}
