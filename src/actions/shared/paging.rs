//! Pages of a paged action. Between two pages the engine keeps a token with everything that the next page needs: the
//! input and the service's continuation token.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Action, read_input};
use crate::bindings::exports::workflow::connector::action::{Outcome, Partial};
use crate::error::{Error, Result};
use crate::http::Page;
use crate::json;

/// The version of the token's format.
const FORMAT: u8 = 1;
/// The number of records of a page if the input states none.
const USUAL_SIZE: u32 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    format: u8,
    action: String,
    continuation: String,
}

/// The number of records of a page.
pub fn size(asked: Option<u32>) -> u32 {
    asked.unwrap_or(USUAL_SIZE)
}

/// The outcome of an action that returns `page`. `input` is the action's input.
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

/// Reads the input and the service's continuation token from a token. The engine may pass any text, so the input is
/// checked again.
///
/// # Errors
/// `invalid-input` if the token is not one of this action.
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
