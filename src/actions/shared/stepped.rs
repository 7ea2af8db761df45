//! Actions that need several calls: their output comes in pages, or the service works on after the call.
//!
//! Between two calls the engine keeps a token with everything that the next call needs: the action, its input, and the
//! action's own state.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::declaration::Declaration;
use super::input::Input;
use super::{Action, read_input};
use crate::bindings::exports::workflow::connector::action::{Call, Outcome, Partial, Pending};
use crate::bindings::exports::workflow::connector::metadata::ActionDescriptor;
use crate::error::{Error, Result};
use crate::http::Page;
use crate::json;
use crate::session::Session;

/// The version of the token's format.
const FORMAT: u8 = 1;
/// The number of records of a page if the input states none.
const USUAL_SIZE: u64 = 100;

/// The result of one call.
pub enum Step {
    /// The action has ended with this output.
    Done(Value),
    /// The action has a part of its output, and more to do.
    Page {
        /// The part of the output.
        output: Value,
        /// The input of the next call. It must fit the schema.
        input: Value,
        /// What the next call receives as its state.
        state: Value,
    },
    /// The service is still at work.
    Pending {
        /// What the next call receives as its state.
        state: Value,
        /// The shortest useful pause before the next call.
        after: Duration,
        /// The progress, for a person.
        message: String,
    },
    /// What the action would do: the answer to a dry run of an action that does not begin with an HTTP request.
    Planned(Value),
}

/// An action that may need several calls.
pub struct Stepped {
    /// What the action declares.
    pub declaration: Declaration,
    /// Whether the action can return [`Step::Page`].
    pub paged: bool,
    /// Makes the first call, or continues with the state of an earlier call. The engine may pass any state: the function
    /// must check it.
    pub step: fn(&Session, &Input, Option<&Value>, &Call) -> Result<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    format: u8,
    action: String,
}

impl Stepped {
    fn run(&self, session: &Session, input: Value, state: Option<&Value>, call: &Call) -> Result<Outcome> {
        let input = Input::new(input);
        let token = |input: &Value, state: Value| {
            json!({ "format": FORMAT, "action": self.id(), "input": input, "continuation": state }).to_string()
        };
        Ok(match (self.step)(session, &input, state, call)? {
            Step::Done(output) => Outcome::Done(output.to_string()),
            Step::Page { output, input, state } => {
                Outcome::Page(Partial { output: output.to_string(), token: token(&input, state) })
            }
            Step::Pending { state, after, message } => Outcome::Pending(Pending {
                token: token(input.document(), state),
                after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
                message,
            }),
            Step::Planned(plan) => Outcome::Planned(plan.to_string()),
        })
    }

    /// Reads the input and the state from a token. The engine may pass any text, so the input is checked again.
    fn open(&self, token: &str) -> Result<(Value, Value)> {
        let mut token = json::parse(token.as_bytes()).map_err(|_| foreign_token(self))?;
        let input = json::take(&mut token, "input");
        let state = json::take(&mut token, "continuation");
        let token: Token = serde_json::from_value(token).map_err(|_| foreign_token(self))?;
        if token.format != FORMAT || token.action != self.id() || state.is_null() {
            return Err(foreign_token(self));
        }
        let input = read_input(self, &input.to_string()).map_err(|_| foreign_token(self))?;
        Ok((input, state))
    }
}

impl Action for Stepped {
    fn id(&self) -> &'static str {
        self.declaration.id
    }

    fn descriptor(&self) -> ActionDescriptor {
        self.declaration.descriptor(self.paged)
    }

    fn invoke(&self, session: &Session, input: Value, call: &Call) -> Result<Outcome> {
        self.run(session, input, None, call)
    }

    fn resume(&self, session: &Session, token: &str, call: &Call) -> Result<Outcome> {
        let (input, state) = self.open(token)?;
        self.run(session, input, Some(&state), call)
    }
}

/// The error for a token that is not one of this action.
fn foreign_token(action: &dyn Action) -> Error {
    Error::field("", "not-a-token", format!("must be a token of the action \"{}\"", action.id()))
}

/// The error for a state that the action did not make.
pub fn foreign_state() -> Error {
    Error::field("", "not-a-token", "must be a token that this action returned")
}

/// The number of records that a page may have.
pub fn page_size(input: &Input) -> u32 {
    u32::try_from(input.number("pageSize").unwrap_or(USUAL_SIZE)).unwrap_or(u32::MAX)
}

/// An action that lists records page by page, as the service returns them.
///
/// The function gets the input, the number of records that a page may have, and the service's continuation token.
pub type ListRecords = fn(&Session, &Input, u32, Option<&str>) -> Result<Page>;

/// One step of an action that lists records.
///
/// # Errors
/// The errors of `list`, and `invalid-input` where the state is not a continuation token.
pub fn list(session: &Session, input: &Input, state: Option<&Value>, list: ListRecords) -> Result<Step> {
    let continuation = state.map(|state| state.as_str().ok_or_else(foreign_state)).transpose()?;
    let page = list(session, input, page_size(input), continuation)?;
    let output = json!({ "items": page.items });
    Ok(match page.continuation {
        None => Step::Done(output),
        Some(continuation) => Step::Page { output, input: input.document().clone(), state: continuation.into() },
    })
}
