//! Actions on many devices: each device of the input's list `devices` has its own result, see [`list`].
//!
//! Each chunk is one request. If its answer is lost, the devices that were read before are read again; the others are
//! unknown, and the call ends with a page.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::declaration::{Field, object_of};
use super::identity::{self, text};
use super::input::Input;
use super::list::{self, Chunk, is_of_item, is_unclear};
use super::stepped::Step;
use crate::error::{EffectState, Error, ErrorCode, FieldProblem, Result, problem, settle};
use crate::form::schema::{boolean, list as list_of, literal, string, with};
use crate::http::{ETag, IfMatch, Safety, meaning};
use crate::iothub::{DeviceId, Identity, TwinPart, check_patch};
use crate::session::Session;

/// The largest number of entries of a request (the API's description of `BulkRegistry_UpdateRegistry`).
pub const CHUNK: usize = 100;
/// A call with this many results ends.
const PAGE: usize = 1000;
/// With less time left, a device is not read again.
const TIME_FOR_A_READ: Duration = Duration::from_millis(500);
/// The largest number of problems that are reported together.
const MOST_PROBLEMS: usize = 64;

/// What an action does with each device.
pub struct Bulk {
    /// Adds the problems of an item, which can be seen without asking the service.
    pub judge: fn(&Value, &str, &mut Vec<FieldProblem>),
    /// Makes an item's entry, and reads what it needs for this. An error about the device is the item's result.
    pub prepare: fn(&Session, &Input, &Value, &str) -> Result<Entry>,
}

/// What is sent for one device.
#[derive(Default)]
pub struct Entry {
    /// The entries of the requests. The second one is sent after the first one has succeeded.
    pub parts: Vec<Value>,
    /// The whole identity, if it has members that bulk requests lack. It is written by a request of its own.
    pub alone: Option<Value>,
    /// Whether the first part was made from an identity that was read.
    pub was_read: bool,
    /// Whether sending it twice has the same effect as sending it once.
    pub repeatable: bool,
    /// A refusal that counts as a success without a change.
    pub tolerated: Option<ErrorCode>,
    /// More members of the result, if it is a success.
    pub shown: Map<String, Value>,
}

/// The schema of the list of devices.
pub fn devices(item: &[Field]) -> Value {
    let item = with(object_of(item, &[]), literal!({ "title": "Device" }));
    with(list_of("Devices", item), literal!({ "minItems": 1 }))
}

/// The schema of a page of results. `more` are members of a result that only one action has.
pub fn results(more: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let own = [("changed", boolean("Changed")), ("warning", string("Warning"))];
    list::results(("deviceId", "Device id"), own.into_iter().chain(more))
}

/// An example of [`results`].
pub fn results_sample() -> Value {
    literal!({
        "items": [
            { "index": 0, "deviceId": "press-17", "result": "ok", "changed": true },
            { "index": 1, "deviceId": "press-18", "result": "failed", "code": "conflict", "serviceCode": "DeviceAlreadyExists", "message": "A device with the same ID is already registered." }
        ],
        "failed": 1,
        "unknown": 0
    })
}

/// The twin's part of an entry: the members `tags` and `desired` of an item. Returns whether there is any.
pub fn add_twin(item: &Value, part: &mut Value) -> bool {
    if let Some(tags) = item.get("tags") {
        part["tags"] = tags.clone();
    }
    if item.get("desired").is_some() {
        part["properties"] = json!({ "desired": desired(item) });
    }
    item.get("tags").or(item.get("desired")).is_some()
}

/// The desired properties of an item. If they are those of a twin that was read before, they have the hub's metadata,
/// which cannot be written.
fn desired(item: &Value) -> Value {
    let mut desired = item.get("desired").cloned().unwrap_or_default();
    if let Some(members) = desired.as_object_mut() {
        members.retain(|name, _| !matches!(name.as_str(), "$metadata" | "$version"));
    }
    desired
}

/// Judges an item's device id.
pub fn judge_id(item: &Value, at: &str, problems: &mut Vec<FieldProblem>) {
    let id = text(item, "deviceId").unwrap_or_default();
    problems.extend(DeviceId::parse(id, &format!("{at}/deviceId")).err().into_iter().flat_map(fields_of));
}

/// Judges an item's ETags.
pub fn judge_etag(item: &Value, name: &str, at: &str, problems: &mut Vec<FieldProblem>) {
    let Some(etag) = text(item, name) else { return };
    problems.extend(ETag::parse(etag, &format!("{at}/{name}")).err().into_iter().flat_map(fields_of));
}

/// Judges an item's twin.
pub fn judge_twin(item: &Value, at: &str, problems: &mut Vec<FieldProblem>) {
    if let Some(tags) = item.get("tags") {
        problems.extend(check_patch(TwinPart::Tags, tags, &format!("{at}/tags")));
    }
    if item.get("desired").is_some() {
        problems.extend(check_patch(TwinPart::Desired, &desired(item), &format!("{at}/desired")));
    }
}

fn fields_of(error: Error) -> Vec<FieldProblem> {
    error.record().fields.clone()
}

/// An ETag of an item, without its quotes.
pub fn etag(item: &Value, name: &str) -> Option<String> {
    ETag::parse(text(item, name)?, "").ok().map(|etag| etag.as_str().to_owned())
}

/// Reads an item's device, changes it, and makes the entry that writes it back if nobody has changed it since.
///
/// # Errors
/// `not-found`, `precondition-failed` if the item states another ETag, and the errors of `edit` and of the service.
pub fn changed_identity(session: &Session, item: &Value, edit: &dyn Fn(Value) -> Result<Value>) -> Result<Entry> {
    let id = DeviceId::parse(text(item, "deviceId").unwrap_or_default(), "/deviceId")?;
    let found = session.hub().identity_to_change(&Identity::of_device(&id))?;
    let old = found.etag.as_ref().map(|etag| etag.as_str().to_owned()).ok_or_else(super::change::no_etag)?;
    if etag(item, "etag").is_some_and(|stated| stated != "*" && stated != old) {
        let message = "The device was changed since its ETag was read: read it again and repeat the change.";
        return Err(Error::new(ErrorCode::PreconditionFailed, message));
    }
    let mut device = edit(found.document)?;
    crate::http::whole(&device)?;
    device["etag"] = old.as_str().into();
    if crate::iothub::needs_newer_version(&device) {
        return Ok(Entry { alone: Some(device), was_read: true, ..Entry::default() });
    }
    crate::iothub::make_writable(&mut device);
    let mut part = json!({ "id": id.as_str(), "importMode": "updateIfMatchETag", "eTag": old });
    for name in ["status", "statusReason", "authentication", "capabilities", "deviceScope", "parentScopes"] {
        if let Some(value) = device.get(name).filter(|value| !value.is_null()) {
            part[name] = value.clone();
        }
    }
    Ok(Entry { parts: vec![part], was_read: true, ..Entry::default() })
}

/// One step of an action on many devices.
///
/// # Errors
/// `invalid-input` with the problems of all items; and the service's error, if no device has a result yet.
pub fn step(session: &Session, input: &Input, state: Option<&Value>, bulk: &Bulk) -> Result<Step> {
    let items = input.items("devices");
    judge_all(bulk, items)?;
    list::step(session, input, state, ("devices", PAGE), |first, at| {
        let mut work = Work { session, input, bulk, first, goes_on: true };
        let results = work.chunk(items.get(at..).unwrap_or_default())?;
        Ok(Chunk { results, goes_on: work.goes_on })
    })
}

/// Finds the problems of all items before anything is sent.
fn judge_all(bulk: &Bulk, items: &[Value]) -> Result<()> {
    let mut problems = Vec::new();
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let at = format!("/devices/{index}");
        (bulk.judge)(item, &at, &mut problems);
        if !seen.insert(text(item, "deviceId").unwrap_or_default()) {
            let message = "is in the list before; the hub takes each device only once in a request";
            problems.push(problem(&format!("{at}/deviceId"), "duplicate", message));
        }
        if problems.len() >= MOST_PROBLEMS {
            break;
        }
    }
    settle(problems)
}

struct Work<'w, 's> {
    session: &'w Session<'s>,
    input: &'w Input,
    bulk: &'w Bulk,
    /// The place of the chunk's first item in the list that the action was invoked with.
    first: usize,
    goes_on: bool,
}

/// An item while its chunk is worked on.
struct Slot {
    result: Value,
    entry: Entry,
    /// How many of its parts have been carried out.
    sent: usize,
    ended: bool,
}

impl Slot {
    fn set(&mut self, name: &str, value: impl Into<Value>) {
        super::change::set(&mut self.result, &[name], value.into());
    }

    fn succeeds(&mut self, changed: bool) {
        self.set("result", "ok");
        self.set("changed", changed);
        for (name, value) in std::mem::take(&mut self.entry.shown) {
            self.set(&name, value);
        }
        self.ended = true;
    }

    fn fails(&mut self, error: Error) {
        let error = error.without(&self.secrets());
        let before = match (self.sent, self.entry.parts.len()) {
            (0, _) => "",
            (_, 1) => "The twin was changed, but not the identity. ",
            _ => "The identity was changed, but not the twin. ",
        };
        list::fail(&mut self.result, &error, before);
        self.ended = true;
    }

    fn secrets(&self) -> Vec<String> {
        self.entry.parts.iter().chain(&self.entry.alone).flat_map(identity::secrets).collect()
    }

    fn device(&self) -> &str {
        text(&self.result, "deviceId").unwrap_or_default()
    }
}

impl Work<'_, '_> {
    /// Works on the next items.
    fn chunk(&mut self, items: &[Value]) -> Result<Vec<Value>> {
        let mut slots = Vec::new();
        // Reading devices may take half of the time; the rest is for the request that changes them.
        let time_to_write = self.session.remaining() / 2;
        for item in items.iter().take(CHUNK) {
            if !slots.is_empty() && self.session.remaining() < time_to_write {
                break;
            }
            let index = self.first.saturating_add(slots.len());
            let result = json!({ "index": index, "deviceId": text(item, "deviceId") });
            let mut slot = Slot { result, entry: Entry::default(), sent: 0, ended: false };
            match (self.bulk.prepare)(self.session, self.input, item, &format!("/devices/{index}")) {
                Ok(entry) => slot.entry = entry,
                Err(error) if is_of_item(&error) => slot.fails(error),
                Err(error) if slots.is_empty() => return Err(error),
                Err(_) => {
                    self.goes_on = false;
                    break;
                }
            }
            slots.push(slot);
        }
        if let Err(error) = self.round(&mut slots, 0) {
            // What has not been sent waits for the next call.
            let sent = slots.iter().take_while(|slot| slot.ended || slot.sent > 0).count();
            if sent == 0 || error.code() == ErrorCode::Cancelled {
                return Err(error);
            }
            slots.truncate(sent);
            self.goes_on = false;
        }
        for slot in slots.iter_mut().filter(|slot| !slot.ended) {
            self.alone(slot)?;
        }
        if let Err(error) = self.round(&mut slots, 1) {
            slots
                .iter_mut()
                .filter(|slot| !slot.ended && slot.entry.parts.len() > 1)
                .for_each(|slot| slot.fails(error.clone()));
            self.goes_on = false;
        }
        let results = slots.into_iter().map(|mut slot| {
            if !slot.ended {
                slot.succeeds(true);
            }
            slot.result
        });
        Ok(results.collect())
    }

    /// Sends the parts number `round` of all items that are not at an end.
    fn round(&mut self, slots: &mut [Slot], round: usize) -> Result<()> {
        let waits = |slot: &Slot| !slot.ended && slot.sent == round && slot.entry.parts.len() > round;
        let waiting: Vec<usize> = slots.iter().enumerate().filter(|(_, slot)| waits(slot)).map(|(at, _)| at).collect();
        list::in_halves(waiting, |group, is_last| {
            let entries = group.iter().filter_map(|at| slots.get(*at));
            let safety =
                if entries.clone().all(|slot| slot.entry.repeatable) { Safety::Repeatable } else { Safety::Once };
            let parts: Vec<Value> = entries.filter_map(|slot| slot.entry.parts.get(round).cloned()).collect();
            match self.session.hub().change_registry(parts, safety) {
                Ok(answer) => judge_answer(&answer, slots, group),
                Err(error) if is_unclear(&error) => {
                    for at in group {
                        if let Some(slot) = slots.get_mut(*at) {
                            self.after_a_lost_answer(slot, round, &error);
                        }
                    }
                    self.goes_on = false;
                    return if is_last { Ok(true) } else { Err(error) };
                }
                Err(error) if is_of_item(&error) => {
                    if let [at] = group
                        && let Some(slot) = slots.get_mut(*at)
                    {
                        slot.fails(error);
                    }
                    return Ok(group.len() == 1);
                }
                Err(error) => return Err(error),
            }
            Ok(true)
        })
    }

    /// Finds out whether a device was changed, if that can be seen from the device.
    fn after_a_lost_answer(&self, slot: &mut Slot, round: usize, error: &Error) {
        let part = slot.entry.parts.first().filter(|_| round == 0 && slot.entry.was_read);
        if let (Some(part), Ok(id)) = (part, DeviceId::parse(slot.device(), ""))
            && self.session.remaining() > TIME_FOR_A_READ
            && let Ok(found) = self.session.hub().identity_to_change(&Identity::of_device(&id))
            && identity::shows(&found.document, part)
        {
            slot.sent += 1;
            return;
        }
        slot.fails(error.clone());
    }

    /// Writes an identity by a request of its own, if it needs one.
    fn alone(&self, slot: &mut Slot) -> Result<()> {
        let Some(device) = slot.entry.alone.take() else { return Ok(()) };
        let id = DeviceId::parse(slot.device(), "/deviceId")?;
        let tag = ETag::parse(text(&device, "etag").unwrap_or_default(), "").map_or(IfMatch::Any, IfMatch::Tag);
        match identity::write(&self.session.hub(), &Identity::of_device(&id), device, &tag) {
            Ok(_) => slot.sent += 1,
            Err(error) if error.code() == ErrorCode::Cancelled => return Err(error),
            Err(error) => slot.fails(error),
        }
        Ok(())
    }
}

/// Gives each item of a request its own part of the answer.
fn judge_answer(answer: &Value, slots: &mut [Slot], group: &[usize]) {
    let entries = |name: &str| answer.get(name).and_then(Value::as_array).into_iter().flatten();
    let mut all_named = true;
    for fault in entries("errors") {
        let named = group
            .iter()
            .copied()
            .find(|at| slots.get(*at).is_some_and(|slot| Some(slot.device()) == text(fault, "deviceId")));
        match named.and_then(|at| slots.get_mut(at)) {
            Some(slot) if !slot.ended => judge_fault(fault, slot),
            Some(_) => {}
            None => all_named = false,
        }
    }
    let has_ended = group.iter().any(|at| slots.get(*at).is_some_and(|slot| slot.ended));
    let is_clear = all_named && (has_ended || answer.get("isSuccessful") == Some(&Value::Bool(true)));
    for at in group {
        let Some(slot) = slots.get_mut(*at).filter(|slot| !slot.ended) else { continue };
        if is_clear {
            slot.sent += 1;
            continue;
        }
        let message =
            "The hub refused a part of the request without saying for which device: read the device to see its state.";
        slot.fails(Error::new(ErrorCode::Protocol, message).with_effect(EffectState::Unknown));
    }
    for warning in entries("warnings") {
        let slot = slots.iter_mut().find(|slot| Some(slot.device()) == text(warning, "deviceId"));
        if let (Some(slot), Some(said)) =
            (slot, text(warning, "warningStatus").or_else(|| text(warning, "warningCode")))
        {
            slot.set("warning", crate::quoted::shown(said));
        }
    }
}

fn judge_fault(fault: &Value, slot: &mut Slot) {
    // The service writes a code by its name or by its number.
    let code = match fault.get("errorCode") {
        Some(Value::String(name)) => name.clone(),
        Some(other) => other.to_string(),
        None => String::new(),
    };
    let meaning = meaning(&code).unwrap_or(ErrorCode::Protocol);
    if slot.entry.tolerated == Some(meaning) {
        slot.succeeds(false);
        return;
    }
    let message = text(fault, "errorStatus").unwrap_or("The hub gives no reason.");
    slot.fails(Error::new(meaning, message));
    slot.set("serviceCode", crate::quoted::shown(code));
}
