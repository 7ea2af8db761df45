//! The cursor of a polled collection: which records were seen, each with a fingerprint of its state.
//!
//! The snapshot holds all records, sorted and compressed: for each record, how its id differs from the id before it,
//! and six bytes of fingerprint. Some triggers add two bytes for each part of a record, or a memo of up to
//! [`LONGEST_MEMO`] bytes. The position holds what was delivered since the snapshot, and grows with every event.
//! An engine that commits in the middle of a page thus stores a few dozen bytes, not the collection.

use std::collections::BTreeMap;

use miniz_oxide::deflate::compress_to_vec;
use miniz_oxide::inflate::decompress_to_vec_with_limit;

use crate::bindings::workflow::connector::types::Cursor;
use crate::error::Result;
use crate::triggers::shared::cursor_bytes::{CursorReader, put_bytes, put_number};
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
/// The form of a position with records that have memos.
const POSITION_WITH_MEMOS: u8 = 3;
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
    /// The hash of each part of that state.
    pub parts: Parts,
    /// What the trigger itself wants to know of that state at the next change. Usually empty.
    pub memo: Box<str>,
    /// Whether the current scan has read this record.
    pub seen: bool,
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
        position.format(&(FORMAT..=POSITION_WITH_MEMOS))?;
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
                    state.records.insert(key, Known { fingerprint, parts, memo, seen: false });
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
        let has_memos = self.records.values().any(|known| !known.memo.is_empty());
        if let Some(pages) = self.pages.or(has_memos.then_some(Pages { origin: 0, count: 0 })) {
            raw.extend(pages.origin.to_le_bytes());
            raw.extend(pages.count.to_le_bytes());
        }
        put_number(&mut raw, self.records.len() as u64);
        let has_parts = has_memos || self.records.values().any(|known| !known.parts.is_empty());
        let mut last = "";
        for (key, known) in &self.records {
            let shared = last.bytes().zip(key.bytes()).take_while(|(a, b)| a == b).count();
            put_number(&mut raw, (shared << 1 | usize::from(known.seen)) as u64);
            put_bytes(&mut raw, &key.as_bytes()[shared..]);
            raw.extend(known.fingerprint.0);
            if has_parts {
                known.parts.put(&mut raw);
            }
            if has_memos {
                put_text(&mut raw, &known.memo);
            }
            last = key;
        }
        let mut packed = vec![match (self.pages.is_some(), has_parts) {
            _ if has_memos => COUNTED_WITH_MEMOS,
            (false, false) => FORMAT,
            (false, true) => FORMAT_WITH_PARTS,
            (true, false) => COUNTED,
            (true, true) => COUNTED_WITH_PARTS,
        }];
        packed.extend(compress_to_vec(&raw, COMPRESSION));
        packed
    }

    fn unpack(snapshot: &[u8]) -> Result<Self> {
        let mut outer = CursorReader::new(snapshot, WHAT);
        let form = outer.format(&(FORMAT..=COUNTED_WITH_MEMOS))?;
        let has_memos = form == COUNTED_WITH_MEMOS;
        let has_parts = has_memos || matches!(form, FORMAT_WITH_PARTS | COUNTED_WITH_PARTS);
        let counted = has_memos || matches!(form, COUNTED | COUNTED_WITH_PARTS);
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
        if count > MOST_RECORDS {
            return Err(reader.broken());
        }
        let mut records = BTreeMap::new();
        let mut last: Vec<u8> = Vec::new();
        for _ in 0..count {
            let head: usize = reader.number()?;
            let shared = head >> 1;
            if shared > last.len() {
                return Err(reader.broken());
            }
            last.truncate(shared);
            last.extend_from_slice(reader.bytes()?);
            let key = std::str::from_utf8(&last).map_err(|_| reader.broken())?.to_owned();
            let fingerprint = Fingerprint(reader.array()?);
            let parts = if has_parts { Parts::read(&mut reader)? } else { Parts::default() };
            let memo = if has_memos { reader.text()?.into() } else { Box::default() };
            records.insert(key, Known { fingerprint, parts, memo, seen: head & 1 == 1 });
        }
        let delivered = BTreeMap::new();
        if reader.is_empty() {
            Ok(Self { scope, seeding, place, pages, records, delivered })
        } else {
            Err(reader.broken())
        }
    }
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
                if let Some(first) = self.0.first_mut() {
                    *first = format.max(*first);
                }
            }
            Delta::Remove(key) => {
                self.0.push(1);
                put_text(&mut self.0, key);
            }
        }
        self.0.clone()
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
            state.records.insert(
                key,
                Known { fingerprint, parts: Parts::default(), memo: Box::default(), seen: index % 3 == 0 },
            );
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
        assert_eq!(read.records["k"], Known { fingerprint: changed, parts, memo: Box::default(), seen: false });
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
        for whole in [state(40).cursor(), parts.cursor(), memos.cursor()] {
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
        ] {
            assert!(State::read(&Cursor { snapshot: whole.snapshot.clone(), position }).is_err());
        }
        let newer = State::read(&Cursor { snapshot: vec![], position: vec![4] }).expect_err("newer");
        assert_eq!(newer.code(), ErrorCode::Unsupported);
    }
}
