//! Actions that answer once.

use serde_json::Value;

use super::Action;
use super::declaration::Declaration;
use super::input::Input;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::ActionDescriptor;
use crate::error::Result;
use crate::session::Session;

/// An action that answers once.
pub struct Single {
    /// What the action declares.
    pub declaration: Declaration,
    /// Runs the action and returns its output.
    pub run: fn(&Session, &Input, &Call) -> Result<Value>,
}

impl Action for Single {
    fn id(&self) -> &'static str {
        self.declaration.id
    }

    fn descriptor(&self) -> ActionDescriptor {
        self.declaration.descriptor(false)
    }

    fn invoke(&self, session: &Session, input: Value, call: &Call) -> Result<Outcome> {
        (self.run)(session, &Input::new(input), call).map(|output| Outcome::Done(output.to_string()))
    }
}
