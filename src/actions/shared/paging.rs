//! Pages of a paged action. Between them the engine keeps a token with all that the next one needs: the input, and
//! where the service goes on.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Action, read_input};
use crate::bindings::exports::workflow::connector::action::{Outcome, Partial};
use crate::error::{Error, Result};
use crate::http::Page;
use crate::json;

/// The form of the token; a new form gets a new number.
const FORMAT: u8 = 1;
/// Records of a page where the input does not say.
const USUAL_SIZE: u32 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    format: u8,
    action: String,
    continuation: String,
}

/// The size of a page.
pub fn size(asked: Option<u32>) -> u32 {
    asked.unwrap_or(USUAL_SIZE)
}

/// A page as the action's answer. `input` is what the action was called with.
pub fn outcome(action: &str, input: &Value, page: Page) -> Outcome {
    let output = json!({ "items": page.items }).to_string();
    match page.continuation {
        None => Outcome::Done(output),
        Some(continuation) => {
            let token =
                json!({ "format": FORMAT, "action": action, "input": input, "continuation": continuation }).to_string();
            Outcome::Page(Partial { output, token })
        }
    }
}

/// Reads a token: the input and the continuation. A host may hand over anything, so the input is judged again.
///
/// # Errors
/// `invalid-input` where it is none of this action's.
pub fn open(action: &dyn Action, token: &str) -> Result<(Value, String)> {
    let foreign = || Error::field("", "not-a-token", format!("must be a token of the action \"{}\"", action.id()));
    let mut token = json::parse(token.as_bytes()).map_err(|_| foreign())?;
    let input = json::take(&mut token, "input");
    let token: Token = serde_json::from_value(token).map_err(|_| foreign())?;
    if token.format != FORMAT || token.action != action.id() {
        return Err(foreign());
    }
    let input = read_input(action, &input.to_string()).map_err(|_| foreign())?;
    Ok((input, token.continuation))
}
