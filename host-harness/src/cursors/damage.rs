//! Tests with damaged files: each file is refused with a typed error and not changed, or opens with cursors that were
//! once committed.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use redb::backends::FileBackend;
use redb::{Database, StorageBackend, TableDefinition};

use super::checked::Checked;
use super::{CursorStore, CursorStoreError, StoredCursors, TABLES};
use crate::interface::types::Cursor;

const PAGE: usize = 4096;
/// The length of the header, which contains both commit slots, in bytes.
const HEADER: usize = 320;
const CASES: u64 = 480;

/// Pseudo-random numbers from a seed (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }
}

/// The files that a cleanly closed and a killed process leave, and the stored cursors after each commit.
struct Files {
    closed: Vec<u8>,
    killed: Vec<u8>,
    history: Vec<StoredCursors>,
}

fn cursor(number: usize) -> Cursor {
    let snapshot = format!("snapshot {}", number / 4).repeat(300).into_bytes();
    Cursor { snapshot, position: number.to_be_bytes().to_vec() }
}

fn files(folder: &Path) -> Files {
    let path = folder.join("whole");
    let store = CursorStore::open(&path).unwrap();
    store.begin("c", "a", ("1.0.0", 1), &BTreeMap::new()).unwrap();
    let mut history = vec![StoredCursors::default(), store.read("c", "a").unwrap()];
    for number in 0..60 {
        store.commit("c", "a", &(number % 7).to_string(), &cursor(number), None).unwrap();
        history.push(store.read("c", "a").unwrap());
    }
    let killed = std::fs::read(&path).unwrap();
    drop(store);
    Files { closed: std::fs::read(&path).unwrap(), killed, history }
}

/// A function that damages a file in one way.
type Damage = fn(&mut Vec<u8>, &mut Numbers);

const DAMAGES: [(&str, Damage); 12] = [
    ("cut off", |bytes, numbers| bytes.truncate(numbers.below(bytes.len()))),
    ("cut off at a page", |bytes, numbers| bytes.truncate(numbers.below(bytes.len() / PAGE) * PAGE)),
    ("cut off in the header", |bytes, numbers| bytes.truncate(numbers.below(HEADER + 8))),
    ("bits of the header", |bytes, numbers| flip(&mut bytes[..HEADER], numbers)),
    ("bits of the pages", |bytes, numbers| flip(&mut bytes[PAGE..], numbers)),
    ("bits where the data is", |bytes, numbers| {
        let data: Vec<usize> = (PAGE..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        bytes[data[numbers.below(data.len())]] ^= 1 << numbers.below(8);
    }),
    ("a page of zeros", |bytes, numbers| {
        let page = numbers.below(bytes.len() / PAGE) * PAGE;
        bytes[page..page + PAGE].fill(0);
    }),
    ("pages of noise", |bytes, numbers| {
        let from = numbers.below(bytes.len() - PAGE);
        bytes[from..].iter_mut().take(3 * PAGE).for_each(|byte| *byte = numbers.next().to_le_bytes()[0]);
    }),
    ("two pages exchanged", |bytes, numbers| {
        let (one, other) = (numbers.below(bytes.len() / PAGE) * PAGE, numbers.below(bytes.len() / PAGE) * PAGE);
        (0..PAGE).for_each(|at| bytes.swap(one + at, other + at));
    }),
    ("a page is missing", |bytes, numbers| {
        let page = numbers.below(bytes.len() / PAGE) * PAGE;
        bytes.drain(page..page + PAGE);
    }),
    ("something behind it", |bytes, numbers| {
        let more = 1 + numbers.below(3 * PAGE);
        bytes.extend(std::iter::repeat_with(|| numbers.next().to_le_bytes()[0]).take(more));
    }),
    ("another end", |bytes, numbers| {
        let from = numbers.below(bytes.len());
        bytes[from..].fill(0xff);
    }),
];

fn flip(bytes: &mut [u8], numbers: &mut Numbers) {
    for _ in 0..=numbers.below(4) {
        bytes[numbers.below(bytes.len())] ^= 1 << numbers.below(8);
    }
}

#[test]
fn a_damaged_file_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let Files { closed, killed, history } = files(folder.path());
    let path = folder.path().join("damaged");
    let mut counts: BTreeMap<&str, [u32; 2]> = BTreeMap::new();
    for seed in 0..CASES {
        let mut numbers = Numbers(seed);
        let (name, damage) = DAMAGES[numbers.below(DAMAGES.len())];
        let was_closed = numbers.below(2) == 0;
        let mut bytes = if was_closed { closed.clone() } else { killed.clone() };
        damage(&mut bytes, &mut numbers);
        std::fs::write(&path, &bytes).unwrap();
        let opened = CursorStore::open(&path);
        let case = format!("seed {seed}: {name}, closed: {was_closed}");
        match opened {
            Err(error) => {
                assert!(std::fs::read(&path).unwrap() == bytes, "{case}: changed, {error}");
                let typed = matches!(
                    error,
                    CursorStoreError::Damaged { .. }
                        | CursorStoreError::Foreign(_)
                        | CursorStoreError::OlderFormat { .. }
                );
                assert!(typed, "{case}: {error:?}");
                let text = error.to_string();
                assert!(text.contains("name another file") && text.contains(path.to_str().unwrap()), "{case}: {text}");
                counts.entry(name).or_default()[0] += 1;
            }
            // The file opens if the damage is in an unused place, or in a commit that a crash may have cut off.
            Ok(store) => {
                let stored = store.read("c", "a").unwrap();
                let known = history.iter().rposition(|state| *state == stored).unwrap_or(usize::MAX);
                let newest = history.len() - 1;
                assert!(bytes.is_empty() && known == 0 || (newest - 1..=newest).contains(&known), "{case}: {known}");
                store.commit("c", "a", "0", &cursor(1_000), None).unwrap();
                let stored = store.read("c", "a").unwrap();
                drop(store);
                assert!(CursorStore::open(&path).unwrap().read("c", "a").unwrap() == stored, "{case}");
                counts.entry(name).or_default()[1] += 1;
            }
        }
    }
    for (name, [refused, opened]) in &counts {
        println!("{name}: {refused} refused, {opened} opened");
    }
    assert_eq!(counts.len(), DAMAGES.len());
}

/// The file of a killed process opens with the last commit.
#[test]
fn what_a_kill_leaves_behind_is_recovered() {
    let folder = tempfile::tempdir().unwrap();
    let Files { killed, history, .. } = files(folder.path());
    let path = folder.path().join("killed");
    std::fs::write(&path, killed).unwrap();
    assert!(CursorStore::open(&path).unwrap().read("c", "a").unwrap() == *history.last().unwrap());
}

#[test]
fn other_files_and_older_formats_are_refused_and_left_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other");
    let mut older = files(folder.path()).closed;
    for slot in [64, 192] {
        older[slot] = 2;
    }
    let other = folder.path().join("someone-elses");
    {
        let database = Database::create(&other).unwrap();
        let transaction = database.begin_write().unwrap();
        let table = TableDefinition::<u64, u64>::new("orders");
        transaction.open_table(table).unwrap().insert(1, 2).unwrap();
        transaction.commit().unwrap();
    }
    let foreign = |error: &CursorStoreError| matches!(error, CursorStoreError::Foreign(_));
    let damaged = |error: &CursorStoreError| matches!(error, CursorStoreError::Damaged { .. });
    type Is = dyn Fn(&CursorStoreError) -> bool;
    let cases: [(&[u8], &Is); 9] = [
        (&older, &|error| matches!(error, CursorStoreError::OlderFormat { version: 2, .. })),
        (&std::fs::read(&other).unwrap(), &foreign),
        (br#"{"connector": "c"}"#, &foreign),
        (b"SQLite format 3\0", &foreign),
        (b"\n", &foreign),
        (&[0; PAGE], &foreign),
        (b"re", &damaged),
        (b"redbird", &damaged),
        (b"redb\x1a\x0a\xa9\x0d\x0a", &damaged),
    ];
    for (bytes, expected) in cases {
        std::fs::write(&path, bytes).unwrap();
        let error = CursorStore::open(&path).unwrap_err();
        assert!(expected(&error), "{error:?}");
        assert!(error.to_string().contains("name another file"), "{error}");
        assert!(std::fs::read(&path).unwrap() == bytes, "{error}");
    }
    // An empty file is accepted as a new database, because a process may have been killed before its first write.
    std::fs::write(&path, "").unwrap();
    assert_eq!(CursorStore::open(&path).unwrap().read("c", "a").unwrap(), StoredCursors::default());
}

/// A disk that accepts a given number of further writes and is then full.
#[derive(Clone, Debug)]
struct Disk {
    file: Arc<FileBackend>,
    room: Arc<AtomicI64>,
}

impl Disk {
    fn open(path: &Path, room: i64) -> Self {
        let file = std::fs::File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        Self { file: Arc::new(FileBackend::new(file).unwrap()), room: Arc::new(AtomicI64::new(room)) }
    }

    fn take(&self) -> io::Result<()> {
        let full = self.room.fetch_sub(1, Ordering::Relaxed) <= 0;
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.file.len()? {
            self.take()?;
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.take()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

/// The disk becomes full at each write in turn, for a new and for an existing database. Each time the error says so,
/// and the committed cursors are still there when the disk has space again.
#[test]
fn a_full_disk_loses_nothing_that_was_committed() {
    let folder = tempfile::tempdir().unwrap();
    let Files { closed, killed, .. } = files(folder.path());
    for start in [&[][..], &closed, &killed] {
        let mut room = 0;
        let mut refused = [false; 2];
        loop {
            let path = folder.path().join("full");
            std::fs::write(&path, start).unwrap();
            let mut committed = None;
            let mut failed = false;
            let disk = Box::new(Disk::open(&path, room));
            match Checked::open_storage(&path, disk, &TABLES).map(|database| CursorStore { database }) {
                Ok(store) => {
                    for number in 0..5 {
                        match store.commit("c", "a", "0", &cursor(number), None) {
                            Ok(()) => committed = Some(cursor(number)),
                            Err(error) => {
                                assert!(error.to_string().contains("cannot be written"), "{error}");
                                refused[1] = true;
                                failed = true;
                                break;
                            }
                        }
                    }
                }
                Err(error) => {
                    assert!(error.to_string().contains("cannot be opened"), "{error}");
                    refused[0] = true;
                    failed = true;
                }
            }
            let store = CursorStore::open(&path).unwrap();
            store.begin("c", "a", ("1.0.0", 1), &BTreeMap::new()).unwrap();
            let stored = store.read("c", "a").unwrap();
            if let Some(committed) = committed {
                // The failed commit may still have reached the disk.
                let next = cursor(usize::from_be_bytes(committed.position.clone().try_into().unwrap()) + 1);
                let found = &stored.partitions["0"];
                assert!(*found == committed || *found == next, "room for {room} writes");
            } else if !start.is_empty() {
                assert_eq!(stored.partitions.len(), 7, "room for {room} writes");
            }
            if !failed {
                break;
            }
            room += 1;
        }
        assert_eq!(refused, [true; 2], "{room}");
    }
}

/// Damage that is found after opening: a panic of the database becomes an error, and nothing more is written to the
/// file.
#[test]
fn a_panic_of_the_database_is_an_error_and_the_last_thing_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cursors");
    std::fs::write(&path, files(folder.path()).closed).unwrap();
    let store = CursorStore::open(&path).unwrap();
    let before = std::fs::read(&path).unwrap();
    let panicking = store.database.run::<()>("read", |_| panic!("as the test wants it"));
    let error = panicking.unwrap_err().to_string();
    assert!(error.contains("is damaged") && error.contains("as the test wants it"), "{error}");
    assert!(matches!(store.read("c", "a"), Err(CursorStoreError::Damaged { .. })));
    assert!(matches!(store.commit("c", "a", "0", &cursor(1), None), Err(CursorStoreError::Damaged { .. })));
    drop(store);
    assert!(std::fs::read(&path).unwrap() == before);
    // The file is no longer locked.
    CursorStore::open(&path).unwrap();
}
