//! What an action declares of itself: its texts, fields, permissions and limits, as data.

use serde_json::Value;

use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::form::{Spec, schema};

/// A field of an action's input.
pub struct Field {
    /// The name of the member.
    pub name: &'static str,
    /// The schema of the member.
    pub schema: fn() -> Value,
    /// Whether an input without the member is refused.
    pub required: bool,
}

/// A field that every input must have.
pub const fn required(name: &'static str, schema: fn() -> Value) -> Field {
    Field { name, schema, required: true }
}

/// A field that an input may leave out.
pub const fn optional(name: &'static str, schema: fn() -> Value) -> Field {
    Field { name, schema, required: false }
}

/// The schema of an object with these fields, except those in `left_out`.
pub fn object_of(fields: &[Field], left_out: &[&str]) -> Value {
    let kept = || fields.iter().filter(|field| !left_out.contains(&field.name));
    let required: Vec<&str> = kept().filter(|field| field.required).map(|field| field.name).collect();
    schema::object(kept().map(|field| (field.name, (field.schema)())), &required)
}

/// One of the service's limits: title, value, unit.
pub type Limit = (&'static str, u64, &'static str);

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
