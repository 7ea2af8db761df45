//! The frame of the actions on lists: each item of a list in the input has its own result.
//!
//! Items go out in chunks. A call works through as many chunks as its time allows, and returns their results as a page.
//! The token holds only the items that are left, so nothing that succeeded is sent again. An action brings the function
//! that works on one chunk; requests, repetitions and the search after a lost answer are its own.
//!
//! | what happens to a chunk | its items | the call |
//! |---|---|---|
//! | the service judges each item | done or failed, one by one | goes on |
//! | the service refuses the request because of its content | the chunk is halved until the item that it refuses is alone | goes on |
//! | the answer is lost | read if that tells what was carried out, otherwise unknown | ends with a page, or goes on |
//! | the service refuses all requests (throttling, permission, an outage) | wait | ends with a page, or with the error if it has no result yet |

use std::time::Duration;

use serde_json::{Value, json};

use super::change::set;
use super::input::Input;
use super::stepped::{Step, foreign_state};
use crate::error::{EffectState, Error, ErrorCode, Result, name_of};
use crate::form::schema::{help, integer, list, object, one_of, string};
use crate::session::Session;

/// With less time left, no further chunk is begun.
const TIME_FOR_A_CHUNK: Duration = Duration::from_secs(2);
/// The largest place in a list.
const LARGEST_INDEX: u32 = u32::MAX;

/// What one chunk has led to.
pub struct Chunk {
    /// The results of its items, in their order.
    pub results: Vec<Value>,
    /// Whether the call may begin another chunk.
    pub goes_on: bool,
}

/// One step of an action on the list in the member `name` of the input. A call that has `page` results ends, so that
/// little has to be found out again if its answer is lost. `work` gets the place of the next item: in the list that the
/// action was invoked with, and in the input of this call.
///
/// # Errors
/// The error of `work`, if no item has a result yet; and `invalid-input` if the state is of another action.
pub fn step(
    session: &Session,
    input: &Input,
    state: Option<&Value>,
    (name, page): (&str, usize),
    mut work: impl FnMut(usize, usize) -> Result<Chunk>,
) -> Result<Step> {
    let first = first_place(state)?;
    let items = input.items(name);
    let mut results = Vec::new();
    let mut longest = Duration::ZERO;
    let mut goes_on = true;
    while results.len() < items.len() && goes_on {
        let has_time = session.remaining() >= TIME_FOR_A_CHUNK.max(longest.saturating_mul(2));
        if !results.is_empty() && (results.len() >= page || !has_time) {
            break;
        }
        let started = session.platform().monotonic();
        match work(first.saturating_add(results.len()), results.len()) {
            Ok(chunk) => {
                goes_on = chunk.goes_on && !chunk.results.is_empty();
                results.extend(chunk.results);
            }
            // A dry run ends with the first request that would change something. The next call meets any other error
            // again; until then the results must not be lost.
            Err(error) if results.is_empty() || error.code() == ErrorCode::Cancelled => return Err(error),
            Err(_) => break,
        }
        longest = longest.max(session.platform().monotonic().saturating_sub(started));
    }
    let count = |wanted: &str| results.iter().filter(|result| result["result"] == wanted).count();
    let (failed, unknown, done) = (count("failed"), count("unknown"), results.len());
    let output = json!({ "items": results, "failed": failed, "unknown": unknown });
    let left = items.get(done..).unwrap_or_default();
    if left.is_empty() {
        return Ok(Step::Done(output));
    }
    let mut input = input.document().clone();
    set(&mut input, &[name], left.into());
    Ok(Step::Page { output, input, state: first.saturating_add(done).into() })
}

/// The place of the call's first item. The engine may pass any state, and a place is counted on from.
fn first_place(state: Option<&Value>) -> Result<usize> {
    let Some(state) = state else { return Ok(0) };
    let place = state.as_u64().and_then(|place| u32::try_from(place).ok());
    place.and_then(|place| usize::try_from(place).ok()).ok_or_else(foreign_state)
}

/// Sends the items of a group. `send` returns whether they are settled; a group that is not, because the service refuses
/// something in it, is halved. `send` also learns whether this is the last group, and must settle a single item.
///
/// # Errors
/// The errors of `send`. Groups that were not sent by then are left as they are.
pub fn in_halves(group: Vec<usize>, mut send: impl FnMut(&[usize], bool) -> Result<bool>) -> Result<()> {
    let mut groups = vec![group];
    while let Some(mut group) = groups.pop() {
        if !group.is_empty() && !send(&group, groups.is_empty())? && group.len() > 1 {
            let rest = group.split_off(group.len() / 2);
            groups.extend([rest, group]);
        }
    }
    Ok(())
}

/// Whether an error concerns what was sent, and not the service, the account or the way to the service: then other
/// items can go on.
pub fn is_of_item(error: &Error) -> bool {
    let about = matches!(
        error.code(),
        ErrorCode::InvalidInput
            | ErrorCode::NotFound
            | ErrorCode::Conflict
            | ErrorCode::PreconditionFailed
            | ErrorCode::PayloadTooLarge
            | ErrorCode::Protocol
            | ErrorCode::Unsupported
    );
    about && !is_unclear(error)
}

/// Whether the request that failed may have been carried out. The effect of earlier requests does not count.
pub fn is_unclear(error: &Error) -> bool {
    error.record().effect == EffectState::Unknown
}

/// Puts an error into the result of its item. `before` says what had been done by then.
pub fn fail(result: &mut Value, error: &Error, before: &str) {
    let record = error.record();
    set(result, &["result"], if is_unclear(error) { "unknown" } else { "failed" }.into());
    set(result, &["code"], name_of(record.code).into());
    if let Some(code) = record.service.as_ref().and_then(|service| service.code.as_deref()) {
        set(result, &["serviceCode"], code.into());
    }
    set(result, &["message"], format!("{before}{}", record.message).into());
}

/// The schema of a page of results. `id` is the member that names an item, with its title; `more` are members of a
/// result that not every action has.
pub fn results(id: (&'static str, &str), more: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let members = [
        ("index", help(integer("Place in the list", 0, i64::from(LARGEST_INDEX)), "Counted from 0.")),
        (id.0, string(id.1)),
        (
            "result",
            help(
                one_of("Result", &["ok", "failed", "unknown"]),
                "`unknown`: the service may have made the change; read the item to see its state.",
            ),
        ),
        ("code", string("Error code")),
        ("serviceCode", string("Error code of the service")),
        ("message", string("Message")),
    ];
    let item = object(members.into_iter().chain(more), &["index", id.0, "result"]);
    let count = |title| integer(title, 0, i64::from(LARGEST_INDEX));
    object(
        [("items", list("Results", item)), ("failed", count("Failed")), ("unknown", count("Unknown"))],
        &["items", "failed", "unknown"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_halved_until_the_refused_item_is_alone() {
        let mut sent = Vec::new();
        let halved = in_halves((0..8).collect(), |group, last| {
            sent.push((group.to_vec(), last));
            Ok(group.len() == 1 || !group.contains(&5))
        });
        halved.expect("no error");
        let groups: Vec<&[usize]> = sent.iter().map(|(group, _)| group.as_slice()).collect();
        assert_eq!(groups, [&[0, 1, 2, 3, 4, 5, 6, 7][..], &[0, 1, 2, 3], &[4, 5, 6, 7], &[4, 5], &[4], &[5], &[6, 7]]);
        assert_eq!(
            sent.iter().map(|(_, last)| *last).collect::<Vec<_>>(),
            [true, false, true, false, false, false, true]
        );
        in_halves(vec![1], |_, _| Ok(false)).expect("a single item is not halved");
        in_halves(Vec::new(), |_, _| -> Result<bool> { panic!("nothing to send") }).expect("no error");
    }

    #[test]
    fn a_place_is_checked() {
        assert_eq!(first_place(None).ok(), Some(0));
        assert_eq!(first_place(Some(&json!(4_294_967_295_u64))).ok(), Some(4_294_967_295));
        for state in [json!(-1), json!(1.5), json!("1"), json!({}), json!([1]), json!(null), json!(u64::MAX)] {
            assert!(first_place(Some(&state)).is_err(), "{state}");
        }
    }
}
