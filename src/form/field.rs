//! The fields and limits that operations declare as data.

use serde_json::Value;

use super::schema;

/// A field of an action's input or of a trigger's configuration.
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
