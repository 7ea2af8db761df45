//! What an action declares of itself: its texts, fields, permissions and limits, as data.

use serde_json::Value;

use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
pub use crate::form::field::{Field, Limit, object_of, optional, required};
use crate::form::{Spec, schema};

/// The declaration of an action.
pub struct Declaration {
    /// The stable id.
    pub id: &'static str,
    /// The short name for a person.
    pub title: &'static str,
    /// The help text, in Markdown.
    pub help: &'static str,
    /// The heading under which a list shows the action.
    pub group: &'static str,
    /// The fields of the input.
    pub input: &'static [Field],
    /// An example of the input, as JSON.
    pub input_sample: &'static str,
    /// The schema of the output.
    pub output: fn() -> Value,
    /// An example of the output.
    pub output_sample: fn() -> Value,
    /// Whether `resolve-schema` can return a more detailed schema of the output.
    pub dynamic_output: bool,
    /// The permissions that the action needs.
    pub permissions: &'static [Permission],
    /// The service's limits.
    pub limits: &'static [Limit],
    /// What the action does to the service.
    pub effect: Effect,
    /// Whether the action may be repeated.
    pub idempotency: Idempotency,
}

impl Declaration {
    /// The interface's record. `paged` states whether `invoke` can return a page.
    pub fn descriptor(&self, paged: bool) -> ActionDescriptor {
        let spec = Spec {
            id: self.id,
            title: self.title,
            help: self.help,
            group: self.group,
            input: object_of(self.input, &[]),
            output: (self.output)(),
            input_sample: schema::parse(self.input_sample),
            output_sample: (self.output_sample)(),
            dynamic_output: self.dynamic_output,
            permissions: self.permissions,
            limits: self.limits,
        };
        ActionDescriptor { operation: spec.operation(), effect: self.effect, idempotency: self.idempotency, paged }
    }
}
