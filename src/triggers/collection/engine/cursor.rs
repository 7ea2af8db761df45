//! The cursor of a polled collection: which records were seen, each with a fingerprint of its state.
//!
//! The snapshot holds all records, sorted and compressed: for each record, how its id differs from the id before it,
//! and six bytes of fingerprint. Some triggers add two bytes for each part of a record, or a memo of up to
//! [`LONGEST_MEMO`] bytes. Where the service states when it last changed each record, [`SHORT_BITS`] bits of the
//! fingerprint are enough, see [`Known::shows`]. The position holds what was delivered since the snapshot, and grows
//! with every event. An engine that commits in the middle of a page thus stores a few dozen bytes, not the collection.

use std::collections::BTreeMap;
use std::time::Duration;

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;
use time::OffsetDateTime;

use crate::bindings::workflow::connector::types::Cursor;
use crate::error::Result;
use crate::triggers::shared::cursor_bytes::{CursorReader, put_bytes, put_number, put_signed};
use crate::triggers::shared::hash::{digest, hex};

/// The number of the form, for positions and snapshots. A new form gets a new number.
const FORMAT: u8 = 1;
/// The form in which a record also has a hash of each of its parts. It is written only where records have parts.
const FORMAT_WITH_PARTS: u8 = 2;
/// The largest number of parts that a record may have.
const MOST_PARTS: usize = 5;
/// The form of a snapshot that counts its pages, with records that have no parts.
const COUNTED: u8 = 3;
/// As [`COUNTED`], with records that have parts.
const COUNTED_WITH_PARTS: u8 = 4;
/// As [`COUNTED_WITH_PARTS`], with a memo for each record. It is written only where records have memos.
const COUNTED_WITH_MEMOS: u8 = 5;
/// A snapshot that counts its pages, with records that have short fingerprints and latest times of change.
const DATED: u8 = 6;
/// The form of a position with records that have memos.
const POSITION_WITH_MEMOS: u8 = 3;
/// The form of a position with records that have times of change.
const POSITION_DATED: u8 = 4;
/// How many bits of a fingerprint the form [`DATED`] keeps: a multiple of four. Together with the ids of a numbered
/// fleet, a record then takes less than 3 bytes.
const SHORT_BITS: usize = 20;
/// How many records, in the order of their ids, share one latest time of change in the form [`DATED`].
const BLOCK: usize = 256;
/// The longest memo of a record, in bytes.
pub const LONGEST_MEMO: usize = 640;
/// The largest number of records where each has a memo: such a snapshot stays below [`MOST_BYTES`].
pub const MOST_RECORDS_WITH_MEMOS: usize = 50_000;
/// The largest number of records in a collection: 200,000 records with ids of 20 characters make a snapshot of about 2
/// MB.
pub const MOST_RECORDS: usize = 200_000;
/// The largest size of an unpacked snapshot, in bytes. [`MOST_RECORDS`] records with the longest ids stay below this
/// size.
const MOST_BYTES: usize = MOST_RECORDS * 200;
// A record's id has up to 128 bytes, or 257 with a module's id; fingerprint, parts and lengths take at most 24 more.
const _: () = assert!(MOST_RECORDS_WITH_MEMOS * (LONGEST_MEMO + 128 + 24) < MOST_BYTES);
/// Names this cursor in the detail of errors.
const WHAT: &str = "cursor of a polled collection";
/// The fastest level: the fingerprints, which are most of a snapshot, cannot be compressed.
const COMPRESSION: u8 = 1;

/// A short hash of a record's state. Two different states have the same hash once in 2^48 cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint([u8; 6]);

impl Fingerprint {
    /// Hashes the parts of a state, in this order.
    pub fn of<'p>(parts: impl IntoIterator<Item = &'p str>) -> Self {
        Self(digest(parts))
    }

    /// The fingerprint as hexadecimal digits, for an event's id.
    pub fn hex(self) -> String {
        hex(&self.0)
    }

    /// The first [`SHORT_BITS`] bits; the others are zero.
    fn short(self) -> Self {
        let bits = self.0.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        let kept = bits >> (48 - SHORT_BITS) << (48 - SHORT_BITS);
        let mut short = [0; 6];
        short.copy_from_slice(&kept.to_be_bytes()[2..]);
        Self(short)
    }
}

/// The time at which a service last changed a record, in steps of 100 nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(i64);

impl Stamp {
    /// The stamp of a record that states no time: it is earlier than all others.
    pub const NONE: Self = Self(i64::MIN);
    /// How far a service's clock may be ahead of ours: a day, in steps of 100 nanoseconds.
    const FASTEST_CLOCK: i64 = 24 * 60 * 60 * 10_000_000;
    /// A change that is stamped by more than this later than the known state shows without its fingerprint: 2 seconds.
    /// Services write the same time with 3 and with 7 decimals.
    const CLEARLY_LATER: i64 = 2 * 10_000_000;

    /// The stamp of a time, rounded down.
    pub fn of(time: Option<OffsetDateTime>) -> Self {
        let steps = time.and_then(|time| i64::try_from(time.unix_timestamp_nanos().div_euclid(100)).ok());
        steps.map_or(Self::NONE, Self)
    }

    /// A bound for the stamps of all that a service has stamped until this time of our clock, since the Unix epoch.
    pub fn bound(now: Duration) -> Self {
        let steps = i64::try_from(now.as_nanos() / 100).unwrap_or(i64::MAX);
        Self(steps.saturating_add(Self::FASTEST_CLOCK))
    }

    fn is_clearly_later_than(self, other: Self) -> bool {
        self.0 > other.0.saturating_add(Self::CLEARLY_LATER)
    }
}

/// Two bytes of a hash for each part of a record. They show which parts changed; the [`Fingerprint`] shows whether any
/// part changed. A changed part is left out once in 65,536 times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    hashes: [[u8; 2]; MOST_PARTS],
    count: u8,
}

impl Parts {
    /// Hashes the state of each part. Parts must always come in the same order; those after the fifth are left out.
    pub fn of<'p>(parts: impl IntoIterator<Item = &'p str>) -> Self {
        let mut all = Self::default();
        for (slot, part) in all.hashes.iter_mut().zip(parts) {
            *slot = digest([part]);
            all.count += 1;
        }
        all
    }

    /// The indexes of the parts that differ. None where the cursor was written by an earlier version, which kept no
    /// hashes of parts.
    pub fn changed_since(self, before: Self) -> Option<Vec<usize>> {
        let differ = |at: &usize| self.hashes.get(*at) != before.hashes.get(*at);
        let changed: Vec<usize> = (0..usize::from(self.count)).filter(differ).collect();
        (self.count == before.count && !changed.is_empty()).then_some(changed)
    }

    /// Whether there are no hashes of parts.
    pub fn is_empty(self) -> bool {
        self.count == 0
    }

    fn put(self, out: &mut Vec<u8>) {
        out.push(self.count);
        self.hashes.iter().take(self.count.into()).for_each(|hash| out.extend(hash));
    }

    fn read(reader: &mut CursorReader) -> Result<Self> {
        let mut parts = Self { count: reader.byte()?, ..Self::default() };
        if usize::from(parts.count) > MOST_PARTS {
            return Err(reader.broken());
        }
        for slot in parts.hashes.iter_mut().take(parts.count.into()) {
            *slot = reader.array()?;
        }
        Ok(parts)
    }
}

/// What the cursor knows of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The hash of the record's state when a scan last read it.
    pub fingerprint: Fingerprint,
    /// Whether only [`SHORT_BITS`] bits of that hash are known.
    pub short: bool,
    /// The record was not changed later than this, when a scan last read it. None where the service states no times, and
    /// in cursors that an earlier version wrote.
    pub latest: Option<Stamp>,
    /// The hash of each part of that state.
    pub parts: Parts,
    /// What the trigger itself wants to know of that state at the next change. Usually empty.
    pub memo: Box<str>,
    /// Whether the current scan has read this record.
    pub seen: bool,
}

impl Known {
    /// A record without a time of change.
    pub fn new(fingerprint: Fingerprint, parts: Parts, memo: Box<str>, seen: bool) -> Self {
        Self { fingerprint, short: false, latest: None, parts, memo, seen }
    }

    /// A record with its time of change.
    pub fn dated(fingerprint: Fingerprint, stamp: Stamp, seen: bool) -> Self {
        let latest = Some(stamp);
        Self { fingerprint, short: false, latest, parts: Parts::default(), memo: Box::default(), seen }
    }

    /// Whether the record is in this state.
    ///
    /// A short fingerprint is the same for two different states once in 2^20 cases. But a record that was changed after
    /// a scan has read it states a later time than all that the scan has read, and this shows the change too. So a
    /// change goes unseen only if both fail: its fingerprint is the same, and its time is not 2 seconds later than the
    /// last change to any of the [`BLOCK`] records around it that the scan has read.
    pub fn shows(&self, fingerprint: Fingerprint, stamp: Option<Stamp>) -> bool {
        let same = if self.short { fingerprint.short() == self.fingerprint } else { fingerprint == self.fingerprint };
        same && !stamp.zip(self.latest).is_some_and(|(stamp, latest)| stamp.is_clearly_later_than(latest))
    }

    /// Whether the record's last change, at this time, is known to be later than the known state.
    pub fn is_before(&self, stamp: Stamp) -> bool {
        self.latest.is_some_and(|latest| stamp > latest)
    }
}

/// Where the current scan is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Before its first page.
    Start,
    /// Before the page that this continuation text asks for.
    Page(String),
    /// After its last page: the records that the scan did not read are looked up.
    Sweep,
}

/// A change that was delivered since the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// The record was created or changed, and is known in this state.
    Put(String, Fingerprint, Parts, Box<str>),
    /// The record was created or changed, and is known in this state, which the service stamped with this time.
    Dated(String, Fingerprint, Stamp),
    /// The record was deleted.
    Remove(String),
}

/// Distinguishes the pages of one cursor from all other pages. A record can return to an earlier state; the page then
/// makes the ids of the two events differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pages {
    /// A random number, drawn once for each new cursor.
    pub origin: u64,
    /// How many pages of this cursor had events.
    pub count: u64,
}

/// All that a poll needs to continue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// A hash of the service and the collection that this cursor belongs to.
    pub scope: [u8; 8],
    /// Whether the first scan is still under way. The first scan notes records without an event.
    pub seeding: bool,
    /// Where the current scan is.
    pub place: Place,
    /// Counts the pages so far. None in a first poll, and in cursors that an earlier version wrote.
    pub pages: Option<Pages>,
    pub records: BTreeMap<String, Known>,
    /// How many events each record had since the snapshot.
    pub delivered: BTreeMap<String, u32>,
}

impl State {
    /// A state in which no record is known.
    pub fn new(scope: [u8; 8], seeding: bool) -> Self {
        Self { scope, seeding, place: Place::Start, pages: None, records: BTreeMap::new(), delivered: BTreeMap::new() }
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// `invalid-input` where these bytes are not a cursor of this trigger.
    pub fn read(cursor: &Cursor) -> Result<Self> {
        let mut position = CursorReader::new(&cursor.position, WHAT);
        position.format(&(FORMAT..=POSITION_DATED))?;
        let mut state = if cursor.snapshot.is_empty() {
            let scope = position.array()?;
            Self::new(scope, position.byte()? == 1)
        } else {
            Self::unpack(&cursor.snapshot)?
        };
        while !position.is_empty() {
            let kind = position.byte()?;
            let key = position.text()?.to_owned();
            *state.delivered.entry(key.clone()).or_default() += 1;
            match kind {
                0 | 2 | 3 => {
                    let fingerprint = Fingerprint(position.array()?);
                    let parts = if kind == 0 { Parts::default() } else { Parts::read(&mut position)? };
                    let memo = if kind == 3 { position.text()?.into() } else { Box::default() };
                    state.records.insert(key, Known::new(fingerprint, parts, memo, false));
                }
                4 => {
                    let fingerprint = Fingerprint(position.array()?);
                    let stamp = Stamp(i64::from_le_bytes(position.array()?));
                    state.records.insert(key, Known::dated(fingerprint, stamp, false));
                }
                1 => {
                    state.records.remove(&key);
                }
                _ => return Err(position.broken()),
            }
        }
        Ok(state)
    }

    /// A cursor for this state, with no delivery after the snapshot.
    pub fn cursor(&self) -> Cursor {
        Cursor { snapshot: self.pack(), position: vec![FORMAT] }
    }

    /// Where some records have a time of change, gives this bound to those that an earlier version wrote without one, so
    /// that each has one. Without such a bound the records around them would have none either.
    pub fn bound_times(&mut self, bound: Stamp) {
        if self.records.values().any(|known| known.latest.is_some()) {
            for known in self.records.values_mut() {
                known.latest.get_or_insert(bound);
            }
        }
    }

    fn pack(&self) -> Vec<u8> {
        let mut raw = Vec::with_capacity(self.records.len() * 16 + 64);
        raw.extend(self.scope);
        raw.push(u8::from(self.seeding));
        match &self.place {
            Place::Start => raw.push(0),
            Place::Page(text) => {
                raw.push(1);
                put_text(&mut raw, text);
            }
            Place::Sweep => raw.push(2),
        }
        let is_dated = self.records.values().any(|known| known.latest.is_some());
        let has_memos = !is_dated && self.records.values().any(|known| !known.memo.is_empty());
        let uncounted = (is_dated || has_memos).then_some(Pages { origin: 0, count: 0 });
        if let Some(pages) = self.pages.or(uncounted) {
            raw.extend(pages.origin.to_le_bytes());
            raw.extend(pages.count.to_le_bytes());
        }
        put_number(&mut raw, self.records.len() as u64);
        let has_parts = !is_dated && (has_memos || self.records.values().any(|known| !known.parts.is_empty()));
        let mut last = "";
        for (key, known) in &self.records {
            let shared = last.bytes().zip(key.bytes()).take_while(|(a, b)| a == b).count();
            put_number(&mut raw, (shared << 1 | usize::from(known.seen)) as u64);
            put_bytes(&mut raw, &key.as_bytes()[shared..]);
            if !is_dated {
                raw.extend(known.fingerprint.0);
            }
            if has_parts {
                known.parts.put(&mut raw);
            }
            if has_memos {
                put_text(&mut raw, &known.memo);
            }
            last = key;
        }
        let mut packed = vec![match (self.pages.is_some(), has_parts) {
            _ if is_dated => DATED,
            _ if has_memos => COUNTED_WITH_MEMOS,
            (false, false) => FORMAT,
            (false, true) => FORMAT_WITH_PARTS,
            (true, false) => COUNTED,
            (true, true) => COUNTED_WITH_PARTS,
        }];
        if is_dated {
            let all: Vec<&Known> = self.records.values().collect();
            for block in all.chunks(BLOCK) {
                // A record without a time has none that could be later: see `bound_times`.
                let latest = block.iter().filter_map(|known| known.latest).max();
                put_signed(&mut raw, latest.unwrap_or(Stamp::NONE).0);
            }
            // The fingerprints cannot be compressed, and would keep the ids from being.
            put_short(&mut packed, self.records.values().map(|known| known.fingerprint));
        }
        packed.extend(compress_to_vec(&raw, COMPRESSION));
        packed
    }

    fn unpack(snapshot: &[u8]) -> Result<Self> {
        let mut outer = CursorReader::new(snapshot, WHAT);
        let form = outer.format(&(FORMAT..=DATED))?;
        let is_dated = form == DATED;
        let has_memos = form == COUNTED_WITH_MEMOS;
        let has_parts = has_memos || matches!(form, FORMAT_WITH_PARTS | COUNTED_WITH_PARTS);
        let counted = is_dated || has_memos || matches!(form, COUNTED | COUNTED_WITH_PARTS);
        let short = if is_dated { read_short(outer.bytes()?) } else { Vec::new() };
        let raw = decompress_to_vec_with_limit(outer.rest(), MOST_BYTES).map_err(|_| outer.broken())?;
        let mut reader = CursorReader::new(&raw, WHAT);
        let scope = reader.array()?;
        let seeding = reader.byte()? == 1;
        let place = match reader.byte()? {
            0 => Place::Start,
            1 => Place::Page(reader.text()?.to_owned()),
            2 => Place::Sweep,
            _ => return Err(reader.broken()),
        };
        let pages = match counted {
            true => {
                Some(Pages { origin: u64::from_le_bytes(reader.array()?), count: u64::from_le_bytes(reader.array()?) })
            }
            false => None,
        };
        let count: usize = reader.number()?;
        if count > MOST_RECORDS || (is_dated && short.len() != count) {
            return Err(reader.broken());
        }
        let mut records = Vec::new();
        let mut last: Vec<u8> = Vec::new();
        for at in 0..count {
            let head: usize = reader.number()?;
            let shared = head >> 1;
            if shared > last.len() {
                return Err(reader.broken());
            }
            last.truncate(shared);
            last.extend_from_slice(reader.bytes()?);
            let key = std::str::from_utf8(&last).map_err(|_| reader.broken())?.to_owned();
            let seen = head & 1 == 1;
            let known = if is_dated {
                let fingerprint = short.get(at).copied().ok_or_else(|| reader.broken())?;
                Known { short: true, ..Known::dated(fingerprint, Stamp::NONE, seen) }
            } else {
                let fingerprint = Fingerprint(reader.array()?);
                let parts = if has_parts { Parts::read(&mut reader)? } else { Parts::default() };
                let memo = if has_memos { reader.text()?.into() } else { Box::default() };
                Known::new(fingerprint, parts, memo, seen)
            };
            records.push((key, known));
        }
        if is_dated {
            for block in records.chunks_mut(BLOCK) {
                let latest = Some(Stamp(reader.signed()?));
                block.iter_mut().for_each(|(_, known)| known.latest = latest);
            }
        }
        if !reader.is_empty() {
            return Err(reader.broken());
        }
        // The records are in order, so that the map is built without comparing each with many others.
        let records = records.into_iter().collect();
        Ok(Self { scope, seeding, place, pages, records, delivered: BTreeMap::new() })
    }
}

/// Writes the first [`SHORT_BITS`] bits of each fingerprint, without a gap between two of them. Nothing is written of
/// the number of the bits, since a fingerprint has more of them than the rest of the last byte.
fn put_short(out: &mut Vec<u8>, fingerprints: impl ExactSizeIterator<Item = Fingerprint>) {
    put_number(out, (fingerprints.len() * SHORT_BITS).div_ceil(8) as u64);
    let (mut waiting, mut count) = (0_u64, 0);
    for fingerprint in fingerprints {
        let bits = fingerprint.0.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)) >> (48 - SHORT_BITS);
        waiting = waiting << SHORT_BITS | bits;
        count += SHORT_BITS;
        while count >= 8 {
            count -= 8;
            out.push((waiting >> count) as u8);
        }
    }
    if count > 0 {
        out.push((waiting << (8 - count)) as u8);
    }
}

/// Reads what [`put_short`] wrote.
fn read_short(bytes: &[u8]) -> Vec<Fingerprint> {
    let mut all = Vec::with_capacity(bytes.len() * 8 / SHORT_BITS);
    let (mut waiting, mut count) = (0_u64, 0);
    for byte in bytes {
        waiting = waiting << 8 | u64::from(*byte);
        count += 8;
        if count >= SHORT_BITS {
            count -= SHORT_BITS;
            let bits = (waiting >> count) << (64 - SHORT_BITS);
            let mut short = [0; 6];
            short.copy_from_slice(&bits.to_be_bytes()[..6]);
            all.push(Fingerprint(short));
        }
    }
    all
}

/// The positions of one page's events. Each position adds one delivery to the position before it.
pub struct Positions(Vec<u8>);

impl Positions {
    /// Continues from the cursor of the poll, or from a new state that no cursor holds yet.
    pub fn after(cursor: Option<&Cursor>, fresh: &State) -> Self {
        Self(match cursor {
            Some(cursor) => cursor.position.clone(),
            None => {
                let mut position = vec![FORMAT];
                position.extend(fresh.scope);
                position.push(u8::from(fresh.seeding));
                position
            }
        })
    }

    /// The size of the position after the last delivery, in bytes.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// The position after one more delivery.
    pub fn push(&mut self, delta: &Delta) -> Vec<u8> {
        match delta {
            Delta::Put(key, fingerprint, parts, memo) => {
                let (kind, format) = match (parts.is_empty(), memo.is_empty()) {
                    (_, false) => (3, POSITION_WITH_MEMOS),
                    (false, true) => (2, FORMAT_WITH_PARTS),
                    (true, true) => (0, FORMAT),
                };
                self.0.push(kind);
                put_text(&mut self.0, key);
                self.0.extend(fingerprint.0);
                if kind != 0 {
                    parts.put(&mut self.0);
                }
                if kind == 3 {
                    put_text(&mut self.0, memo);
                }
                self.has_form(format);
            }
            Delta::Dated(key, fingerprint, Stamp(steps)) => {
                self.0.push(4);
                put_text(&mut self.0, key);
                self.0.extend(fingerprint.0);
                self.0.extend(steps.to_le_bytes());
                self.has_form(POSITION_DATED);
            }
            Delta::Remove(key) => {
                self.0.push(1);
                put_text(&mut self.0, key);
            }
        }
        self.0.clone()
    }

    /// The position has at least this form.
    fn has_form(&mut self, form: u8) {
        if let Some(first) = self.0.first_mut() {
            *first = form.max(*first);
        }
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    fn state(count: usize) -> State {
        let mut state = State::new([7; 8], false);
        state.place = Place::Page("token/ä".into());
        for index in 0..count {
            let key = format!("plant-north-press-{index:06}");
            let fingerprint = Fingerprint::of([key.as_str(), "etag"]);
            state.records.insert(key, Known::new(fingerprint, Parts::default(), Box::default(), index % 3 == 0));
        }
        state
    }

    #[test]
    fn survives_many_thousands_of_records_and_stays_compact() {
        let mut state = state(50_000);
        assert_eq!(State::read(&state.cursor()).as_ref(), Ok(&state), "a snapshot without a count of pages");
        state.pages = Some(Pages { origin: u64::MAX, count: 7 });
        let cursor = state.cursor();
        assert_eq!(State::read(&cursor).expect("readable"), state);
        let each = cursor.snapshot.len() as f64 / 50_000.0;
        assert!(each < 10.0, "{each} bytes for a record whose id has 24 characters");
    }

    #[test]
    fn the_position_is_applied_to_the_snapshot_it_belongs_to() {
        let state = state(10);
        let cursor = state.cursor();
        let mut positions = Positions::after(Some(&cursor), &state);
        let changed = Fingerprint::of(["new"]);
        positions.push(&Delta::Put("plant-north-press-000001".into(), changed, Parts::default(), Box::default()));
        let position = positions.push(&Delta::Remove("plant-north-press-000002".into()));
        let read = State::read(&Cursor { snapshot: cursor.snapshot, position }).expect("readable");
        assert_eq!(read.records["plant-north-press-000001"].fingerprint, changed);
        assert!(!read.records.contains_key("plant-north-press-000002"));
        assert_eq!(read.records.len(), 9);
    }

    #[test]
    fn a_position_without_a_snapshot_knows_how_it_began() {
        let fresh = State::new([3; 8], false);
        let mut positions = Positions::after(None, &fresh);
        let position =
            positions.push(&Delta::Put("a".into(), Fingerprint::of(["1"]), Parts::default(), Box::default()));
        let read = State::read(&Cursor { snapshot: Vec::new(), position }).expect("readable");
        assert_eq!((read.scope, read.seeding, read.records.len()), ([3; 8], false, 1));
    }

    /// Parts make each record's entry half as large again, because hashes cannot be compressed.
    #[test]
    fn parts_survive_and_stay_compact() {
        let mut state = state(50_000);
        for (key, known) in state.records.iter_mut().skip(1) {
            known.parts = Parts::of(["tags", key.as_str(), "3"]);
        }
        let cursor = state.cursor();
        assert_eq!(State::read(&cursor).expect("readable"), state);
        let each = cursor.snapshot.len() as f64 / 50_000.0;
        assert!(each < 16.0, "{each} bytes");

        let changed = Fingerprint::of(["new"]);
        let parts = Parts::of(["a", "b"]);
        let position =
            Positions::after(Some(&cursor), &state).push(&Delta::Put("k".into(), changed, parts, Box::default()));
        let read = State::read(&Cursor { snapshot: cursor.snapshot, position }).expect("readable");
        assert_eq!(read.records["k"], Known::new(changed, parts, Box::default(), false));
    }

    /// A memo is the largest part of an entry. Its text compresses well where many records have similar values.
    #[test]
    fn memos_survive_in_snapshots_and_positions() {
        let mut state = state(5_000);
        state.pages = Some(Pages { origin: 5, count: 1 });
        for (index, known) in state.records.values_mut().enumerate().skip(1) {
            known.memo = format!("[[{}],[\"north\"],[]]", 20 + index % 9).into();
        }
        let cursor = state.cursor();
        assert_eq!((cursor.snapshot[0], State::read(&cursor)), (5, Ok(state.clone())));
        let each = cursor.snapshot.len() as f64 / 5_000.0;
        assert!(each < 16.0, "{each} bytes for an id of 24 characters and a memo of 17");

        let mut positions = Positions::after(Some(&cursor), &state);
        let put = |memo: &str| Delta::Put("k".into(), Fingerprint::of(["new"]), Parts::default(), memo.into());
        positions.push(&put("[[1]]"));
        positions.push(&Delta::Remove("plant-north-press-000001".into()));
        let position = positions.push(&put("[[2]]"));
        let read = State::read(&Cursor { snapshot: cursor.snapshot, position }).expect("readable");
        assert_eq!((&*read.records["k"].memo, read.records.len()), ("[[2]]", 5_000));
    }

    fn dated(ids: impl IntoIterator<Item = String>) -> State {
        let mut state = State::new([7; 8], false);
        state.pages = Some(Pages { origin: 5, count: 1 });
        for (index, id) in ids.into_iter().enumerate() {
            let known = Known::dated(Fingerprint::of([id.as_str()]), Stamp(index as i64 * 77_777_777), false);
            state.records.insert(id, known);
        }
        state
    }

    /// What a record takes, in bytes: 2.5 for its fingerprint, and what its id says that the ids before it do not say.
    /// `docs/decisions.md` has these figures.
    #[test]
    fn a_dated_record_takes_little_more_than_what_its_id_says() {
        let random = |index: u32| digest::<16>([index.to_string().as_str()]);
        let uuid = |index: u32| {
            let digits = hex(&random(index));
            [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
        };
        type Ids<'a> = &'a dyn Fn(u32) -> String;
        let kinds: [(&str, Ids, f64); 4] = [
            ("numbered", &|index| format!("plant-north-press-{index:06}"), 2.7),
            (
                "one of ten numbers",
                &|index| format!("press-{:07}", u64::from(index) * 10 + u64::from(random(index)[0] % 10)),
                4.2,
            ),
            ("eight random digits", &|index| format!("SN-{}", &hex(&random(index))[..8].to_uppercase()), 7.0),
            ("random UUID", &uuid, 23.5),
        ];
        for (kind, id, most) in kinds {
            let state = dated((0..20_000).map(id));
            let cursor = state.cursor();
            let each = cursor.snapshot.len() as f64 / state.records.len() as f64;
            assert!(each < most, "{kind}: {each} bytes");
            let read = State::read(&cursor).expect("readable");
            assert_eq!(read.cursor(), cursor);
            assert!(read.records.keys().eq(state.records.keys()));
            for (read, known) in read.records.values().zip(state.records.values()) {
                assert!(read.short && read.latest >= known.latest && read.shows(known.fingerprint, known.latest));
            }
        }
    }

    #[test]
    fn records_are_read_whatever_their_number() {
        for count in [0, 1, 2, 3, BLOCK, BLOCK + 1, 2 * BLOCK + 7] {
            let mut state = dated((0..count).map(|index| format!("d{index}")));
            state.place = Place::Page("next".into());
            state.records.values_mut().step_by(2).for_each(|known| known.seen = true);
            let read = State::read(&state.cursor()).expect("readable");
            assert_eq!((read.records.len(), &read.place, read.pages), (count, &state.place, state.pages));
            for (read, known) in read.records.values().zip(state.records.values()) {
                assert_eq!((read.fingerprint, read.seen), (known.fingerprint.short(), known.seen));
            }
        }
    }

    /// A state whose fingerprint is the same by accident shows by its time.
    #[test]
    fn a_change_shows_by_its_fingerprint_or_its_time() {
        let (one, other) = (Fingerprint([1; 6]), Fingerprint([2; 6]));
        let alike = Fingerprint([1, 1, 0x0f, 9, 9, 9]);
        let second = 10_000_000;
        let exact = Known::dated(one, Stamp(0), false);
        let short = Known { short: true, fingerprint: one.short(), ..exact.clone() };
        assert!(exact.shows(one, Some(Stamp(0))) && !exact.shows(alike, Some(Stamp(0))));
        assert!(!short.shows(other, Some(Stamp(0))));
        for (after, same) in [(0, true), (2 * second, true), (2 * second + 1, false), (-second, true)] {
            assert_eq!(short.shows(alike, Some(Stamp(after))), same, "{after}");
        }
        assert!(short.shows(one, Some(Stamp::NONE)));
        assert!(exact.is_before(Stamp(1)) && !exact.is_before(Stamp(0)));
    }

    #[test]
    fn a_stamp_is_a_time_and_a_missing_time_is_before_all() {
        let of = |text| Stamp::of(crate::instant::parse(text));
        assert_eq!(of("1970-01-01T00:00:00.0000019Z"), Stamp(19));
        assert_eq!(of("1969-12-31T23:59:59.99999999Z"), Stamp(-1));
        assert_eq!((of("never"), Stamp::of(None)), (Stamp::NONE, Stamp::NONE));
        assert!(of("0000-01-01T00:00:00Z") > Stamp::NONE && of("9999-12-31T23:59:59Z") < Stamp::bound(Duration::MAX));
        assert_eq!(Stamp::bound(Duration::from_secs(5)), of("1970-01-02T00:00:05Z"));
    }

    #[test]
    fn parts_show_which_of_them_changed() {
        let before = Parts::of(["a", "b", "c", "d", "e"]);
        assert_eq!(Parts::of(["a", "x", "c", "d", "y"]).changed_since(before), Some(vec![1, 4]));
        assert_eq!(before.changed_since(before), None, "no part differs, so none is named");
        assert_eq!(before.changed_since(Parts::default()), None, "a cursor of an earlier version");
        assert_eq!(Parts::of(["a", "b"]).changed_since(before), None);
    }

    #[test]
    fn whatever_comes_is_read_or_refused() {
        let mut parts = state(40);
        parts.records.values_mut().for_each(|known| known.parts = Parts::of(["a", "b"]));
        let mut memos = state(40);
        memos.records.values_mut().for_each(|known| known.memo = "[[21],[]]".into());
        let dated = dated((0..40).map(|index| format!("plant-{index}")));
        for whole in [state(40).cursor(), parts.cursor(), memos.cursor(), dated.cursor()] {
            refuses_what_is_broken(&whole);
        }
    }

    fn refuses_what_is_broken(whole: &Cursor) {
        for cut in 0..whole.snapshot.len() {
            let _ = State::read(&Cursor { snapshot: whole.snapshot[..cut].to_vec(), position: vec![1] });
            let mut flipped = whole.snapshot.clone();
            flipped[cut] ^= 0x55;
            let _ = State::read(&Cursor { snapshot: flipped, position: vec![1] });
        }
        for position in [
            vec![],
            vec![0],
            vec![1, 9],
            vec![1, 0, 200],
            vec![9],
            vec![1, 0, 0xff, 0xff, 0xff, 0xff, 0xff],
            vec![2, 2, 1, b'a', 0, 0, 0, 0, 0, 0, 6],
            vec![3, 3, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 2, b'x'],
            vec![4, 4, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert!(State::read(&Cursor { snapshot: whole.snapshot.clone(), position }).is_err());
        }
        let newer = State::read(&Cursor { snapshot: vec![], position: vec![5] }).expect_err("newer");
        assert_eq!(newer.code(), ErrorCode::Unsupported);
    }
}
