//! Actions that delete. They differ only in the kind of thing that they delete.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Action;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::error::{ErrorCode, Result};
use crate::form::schema::object;
use crate::form::{Spec, fields, typed};
use crate::http::IfMatch;
use crate::session::Session;

/// An action that deletes one thing, which has an id of type `I`.
pub struct Removal<I> {
    /// The action's id.
    pub id: &'static str,
    /// The action's name for a person.
    pub title: &'static str,
    /// The help text, in Markdown.
    pub help: &'static str,
    /// The heading under which a list shows the action.
    pub group: &'static str,
    /// The name of the field with the thing's id, both in the input and in the output.
    pub field: &'static str,
    /// The field's name for a person.
    pub field_title: &'static str,
    /// The field's schema in the input.
    pub field_schema: fn() -> Value,
    /// The permissions that the action needs.
    pub permissions: &'static [Permission],
    /// The service's limits: title, value, unit.
    pub limits: &'static [(&'static str, u64, &'static str)],
    /// Reads the id. The second argument is the JSON pointer to its field in the input.
    pub read: fn(&str, &str) -> Result<I>,
    /// Requests the deletion from the service.
    pub delete: fn(&Session, &I, &IfMatch) -> Result<()>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Conditions {
    etag: Option<String>,
    if_missing: Option<String>,
}

impl<I> Action for Removal<I> {
    fn id(&self) -> &'static str {
        self.id
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id,
            title: self.title,
            help: self.help,
            group: self.group,
            input: object(
                [(self.field, (self.field_schema)()), ("ifMissing", fields::if_missing()), ("etag", fields::etag())],
                &[self.field],
            ),
            output: fields::deleted_output(self.field, self.field_title),
            input_sample: json!({ self.field: "press-17", "ifMissing": "ignore" }),
            output_sample: json!({ self.field: "press-17", "deleted": true }),
            dynamic_output: false,
            permissions: self.permissions,
            limits: self.limits,
        };
        ActionDescriptor {
            operation: spec.operation(),
            effect: Effect::Destructive,
            idempotency: Idempotency::Natural,
            paged: false,
        }
    }

    fn invoke(&self, session: &Session, input: Value, _call: &Call) -> Result<Outcome> {
        let name = input.get(self.field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let conditions: Conditions = typed(input)?;
        let id = (self.read)(&name, &format!("/{}", self.field))?;
        let if_match = IfMatch::from_input(conditions.etag.as_deref(), "/etag")?;
        let may_be_missing = conditions.if_missing.as_deref() == Some("ignore");
        let deleted = match (self.delete)(session, &id, &if_match) {
            Ok(()) => true,
            Err(error) if error.code() == ErrorCode::NotFound && may_be_missing => false,
            Err(error) => return Err(error),
        };
        Ok(Outcome::Done(json!({ self.field: name, "deleted": deleted }).to_string()))
    }
}
