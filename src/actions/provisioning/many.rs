//! Creates, changes or deletes any number of enrollments: in bulk requests, with a result for each entry, see [`list`].
//!
//! An entry may be sent several times: others may change an enrollment between reading and writing. If a bulk request
//! ends without a clear answer, the enrollments are read: what was carried out counts as done, and the rest is sent
//! again.

use serde_json::{Value, json};

use super::enrollment::{Change, Mode};
use crate::actions::shared::input::Input;
use crate::actions::shared::list::{self, Chunk, is_of_item, is_unclear};
use crate::actions::shared::stepped::Step;
use crate::dps::{BulkMode, Dps, Kind, LARGEST_BULK, RegistrationId};
use crate::error::{EffectState, Error, ErrorCode, Result, problem, settle};
use crate::http::{ETag, IfMatch, whole};
use crate::session::Session;

/// How often an entry is sent: others may change an enrollment between reading and writing, and an answer may be lost.
const ATTEMPTS: u32 = 3;
/// A call with this many results ends.
const PAGE: usize = 500;

/// What is done with the entries of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Creates enrollments. The entries are forms.
    Create,
    /// Changes enrollments that exist. The entries are forms.
    Update,
    /// Deletes enrollments. The entries are ids.
    Delete,
}

/// One entry of the list.
enum Entry<'i> {
    Form(Box<Change<'i>>),
    Id(RegistrationId),
}

impl Entry<'_> {
    fn id(&self) -> &RegistrationId {
        match self {
            Self::Form(change) => change.id(),
            Self::Id(id) => id,
        }
    }

    fn needs_newest(&self) -> bool {
        matches!(self, Self::Form(change) if change.needs_newest())
    }
}

/// What is known of an entry in the course of its attempts.
#[derive(Default)]
struct Progress {
    /// How it ended; none as long as it may be sent again.
    outcome: Option<Result<()>>,
    /// The error of the last attempt.
    last: Option<Error>,
    /// The enrollment that the last attempt sent.
    sent: Option<Value>,
    /// The ETag that the enrollment had before the first attempt.
    before: Option<ETag>,
    /// Whether an attempt ended without a clear answer.
    unsure: bool,
}

/// One step of an action on many enrollments. The entries are in the input's only list, see [`list_member`].
///
/// # Errors
/// `invalid-input` with the problems of all entries, before anything is sent; an error of the service that concerns no
/// single entry, if nothing was done in this call.
pub fn step(kind: Kind, work: Work, session: &Session, input: &Input, state: Option<&Value>) -> Result<Step> {
    let name = list_member(kind, work);
    let entries = read(kind, work, input.items(name))?;
    let dps = session.dps()?;
    let job = Job { kind, work, dps: &dps, ignores_missing: input.text("ifMissing") == Some("ignore") };
    list::step(session, input, state, (name, PAGE), |first, at| {
        let rest = entries.get(at..).unwrap_or_default();
        let chunk = rest.get(..next_chunk(rest)).unwrap_or_default();
        let outcomes = job.chunk(chunk)?;
        let results = outcomes.iter().zip(chunk).zip(first..);
        let results = results.map(|((outcome, entry), index)| result(kind, index, entry.id(), outcome)).collect();
        Ok(Chunk { results, goes_on: true })
    })
}

/// The member with the list: forms, or ids.
fn list_member(kind: Kind, work: Work) -> &'static str {
    match (kind, work) {
        (Kind::Individual, Work::Delete) => "registrationIds",
        (Kind::Group, Work::Delete) => "enrollmentGroupIds",
        (kind, Work::Create | Work::Update) => kind.collection(),
    }
}

/// The number of entries of the next request. Entries that need the newest API version are not mixed with others, which
/// an older service can still take.
fn next_chunk(entries: &[Entry]) -> usize {
    let newest = entries.first().is_some_and(Entry::needs_newest);
    entries.iter().take(LARGEST_BULK).take_while(|entry| entry.needs_newest() == newest).count()
}

fn read(kind: Kind, work: Work, given: &[Value]) -> Result<Vec<Entry<'_>>> {
    let mut problems = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    let mut entries = Vec::new();
    for (index, value) in given.iter().enumerate() {
        let at = format!("/{}/{index}", list_member(kind, work));
        let (entry, at) = match work {
            Work::Delete => (Entry::Id(RegistrationId::parse(value.as_str().unwrap_or_default(), &at)?), at),
            Work::Create | Work::Update => {
                let mode = if work == Work::Create { Mode::Create } else { Mode::Update };
                let change = Change::read(kind, mode, value, at.clone(), &mut problems)?;
                (Entry::Form(Box::new(change)), format!("{at}/{}", kind.id_member()))
            }
        };
        if !seen.insert(entry.id().as_str().to_ascii_lowercase()) {
            problems.push(problem(&at, "duplicate", "is in the list already; case does not matter"));
        }
        entries.push(entry);
    }
    settle(problems)?;
    Ok(entries)
}

fn result(kind: Kind, index: usize, id: &RegistrationId, outcome: &Result<()>) -> Value {
    let mut result = json!({ "index": index, kind.id_member(): id.as_str(), "result": "ok" });
    if let Err(error) = outcome {
        list::fail(&mut result, error, "");
    }
    result
}

struct Job<'d> {
    kind: Kind,
    work: Work,
    dps: &'d Dps<'d>,
    ignores_missing: bool,
}

impl Job<'_> {
    /// Works on the entries of one bulk request. An error means that nothing was done.
    fn chunk(&self, entries: &[Entry]) -> Result<Vec<Result<()>>> {
        let mut progress: Vec<Progress> = entries.iter().map(|_| Progress::default()).collect();
        for attempt in 1..=ATTEMPTS {
            if let Err(error) = self.attempt(entries, &mut progress, attempt == ATTEMPTS) {
                if !progress.iter().any(Progress::had_an_effect) {
                    return Err(error);
                }
                let open = progress.iter_mut().filter(|progress| progress.outcome.is_none());
                open.for_each(|progress| progress.outcome = Some(Err(progress.last.take().unwrap_or(error.clone()))));
            }
            if progress.iter().all(|progress| progress.outcome.is_some()) {
                break;
            }
        }
        Ok(progress.into_iter().map(|progress| progress.outcome.unwrap_or(Ok(()))).collect())
    }

    /// Sends all entries that are open. An error concerns no single entry.
    fn attempt(&self, entries: &[Entry], progress: &mut [Progress], last: bool) -> Result<()> {
        let mut open = Vec::new();
        for (index, (entry, progress)) in entries.iter().zip(&mut *progress).enumerate() {
            if progress.outcome.is_some() {
                continue;
            }
            match self.prepare(entry, progress) {
                Ok(()) => open.push(index),
                Err(error) if is_of_item(&error) => self.end(entry, progress, Err(error), true),
                Err(error) => return Err(error),
            }
        }
        list::in_halves(open, |group, _| match self.send(progress, group) {
            // The API version that is not supported is the same for all of them.
            Err(error) if is_of_item(&error) && error.code() != ErrorCode::Unsupported && group.len() > 1 => Ok(false),
            sent => self.judge(entries, progress, group, sent, last).map(|()| true),
        })
    }

    /// Makes what is sent for an entry.
    fn prepare(&self, entry: &Entry, progress: &mut Progress) -> Result<()> {
        let sent = match entry {
            // The description requires an attestation, which says nothing here.
            Entry::Id(id) => {
                json!({ self.kind.id_member(): id.as_str(), "attestation": { "type": "none" } })
            }
            Entry::Form(change) if self.work == Work::Create => {
                change.check_certificates(self.dps)?;
                change.apply(None)?
            }
            Entry::Form(change) => {
                let Some(stored) = change.stored(self.dps)? else {
                    return Err(Error::new(ErrorCode::NotFound, format!("There is no such {}.", self.kind.noun())));
                };
                change.check_certificates(self.dps)?;
                let etag = match change.stated() {
                    Some(IfMatch::Tag(tag)) => Some(tag.clone()),
                    Some(IfMatch::Any) | None => stored.etag.clone(),
                };
                progress.before = progress.before.take().or(stored.etag);
                let Some(etag) = etag else {
                    let message = "The service gave no ETag, so a change could undo somebody else's";
                    return Err(Error::new(ErrorCode::PreconditionFailed, message));
                };
                let mut enrollment = change.apply(Some(stored.document))?;
                enrollment["etag"] = format!("\"{}\"", etag.as_str()).into();
                enrollment
            }
        };
        whole(&sent)?;
        progress.sent = Some(sent);
        Ok(())
    }

    /// Sends the entries in one request. Returns the refusal of each, if there is one.
    fn send(&self, progress: &[Progress], open: &[usize]) -> Result<Vec<Option<Error>>> {
        let mode = match self.work {
            Work::Create => BulkMode::Create,
            Work::Update => BulkMode::UpdateIfMatchEtag,
            Work::Delete => BulkMode::Delete,
        };
        let sent: Vec<&Value> = open.iter().filter_map(|index| progress.get(*index)?.sent.as_ref()).collect();
        let mut refusals = self.dps.bulk(self.kind, mode, &sent)?;
        let id_of = |sent: &Value| sent.get(self.kind.id_member()).and_then(Value::as_str).map(str::to_owned);
        Ok(sent.iter().map(|sent| refusals.take(&id_of(sent)?)).collect())
    }

    /// Settles the entries that were sent in one request, as far as its answer allows.
    fn judge(
        &self,
        entries: &[Entry],
        progress: &mut [Progress],
        open: &[usize],
        sent: Result<Vec<Option<Error>>>,
        last: bool,
    ) -> Result<()> {
        let answers = match sent {
            Ok(refusals) => refusals.into_iter().map(|refusal| refusal.map_or(Ok(()), Err)).collect(),
            Err(error) if is_unclear(&error) || is_of_item(&error) => {
                vec![Err::<(), Error>(error); open.len()]
            }
            Err(error) => return Err(error),
        };
        for (index, answer) in open.iter().zip(answers) {
            if let (Some(entry), Some(progress)) = (entries.get(*index), progress.get_mut(*index)) {
                self.end(entry, progress, answer, last);
            }
        }
        Ok(())
    }

    /// Settles one entry, or leaves it open for the next attempt.
    fn end(&self, entry: &Entry, progress: &mut Progress, answer: Result<()>, last: bool) {
        let Err(error) = answer else {
            progress.outcome = Some(Ok(()));
            return;
        };
        let code = error.code();
        progress.unsure |= is_unclear(&error);
        if self.work == Work::Delete {
            if code == ErrorCode::NotFound && (self.ignores_missing || progress.unsure) {
                progress.outcome = Some(Ok(()));
                return;
            }
            if code == ErrorCode::InvalidInput {
                // A service that does not take an entry without its real attestation still deletes one by one.
                progress.outcome = Some(match self.dps.delete_enrollment(self.kind, entry.id(), &IfMatch::Any) {
                    Err(error) if error.code() == ErrorCode::NotFound && self.ignores_missing => Ok(()),
                    deleted => deleted,
                });
                return;
            }
        }
        if let (Entry::Form(change), Some(sent), true) = (entry, &progress.sent, progress.unsure)
            && change.carried_out(self.dps, &without_etag(sent), progress.before.as_ref()).is_some()
        {
            progress.outcome = Some(Ok(()));
            return;
        }
        let error = match entry {
            Entry::Form(change) if code == ErrorCode::Unsupported => {
                change.check_certificates(self.dps).err().unwrap_or(error)
            }
            _ => error,
        };
        let stated = matches!(entry, Entry::Form(change) if change.stated().is_some());
        let raced = self.work == Work::Update && code == ErrorCode::PreconditionFailed && !stated;
        if (raced || is_unclear(&error)) && !last {
            progress.last = Some(error);
        } else {
            // An earlier attempt may still have its effect.
            let error = if progress.unsure { error.with_effect(EffectState::Unknown) } else { error };
            progress.outcome = Some(Err(error));
        }
    }
}

impl Progress {
    fn had_an_effect(&self) -> bool {
        self.unsure || matches!(self.outcome, Some(Ok(())))
    }
}

fn without_etag(sent: &Value) -> Value {
    let mut sent = sent.clone();
    if let Some(members) = sent.as_object_mut() {
        members.remove("etag");
    }
    sent
}
