//! [`Held`]: a file to which nothing is written until it is known to be undamaged.

use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

/// The storage of a database. At first it holds back all writes in memory, in their order, and reads include them.
/// [`Self::release`] then writes them to the file; [`Self::refuse`] discards them. Clones share one file.
#[derive(Clone, Debug)]
pub(super) struct Held {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: Box<dyn StorageBackend>,
    mode: Mutex<Mode>,
}

#[derive(Debug)]
enum Mode {
    Holding { length: u64, changes: Vec<Change> },
    Through,
    Refusing,
}

#[derive(Debug)]
enum Change {
    Length(u64),
    Write(u64, Vec<u8>),
    Sync,
}

impl Change {
    fn apply(&self, file: &dyn StorageBackend) -> io::Result<()> {
        match self {
            Self::Length(length) => file.set_len(*length),
            Self::Write(offset, bytes) => file.write(*offset, bytes),
            Self::Sync => file.sync_data(),
        }
    }
}

impl Held {
    /// Starts to hold back writes to a file.
    ///
    /// # Errors
    ///
    /// If the file's length cannot be read.
    pub(super) fn new(file: Box<dyn StorageBackend>) -> io::Result<Self> {
        let mode = Mutex::new(Mode::Holding { length: file.len()?, changes: Vec::new() });
        Ok(Self { inner: Arc::new(Inner { file, mode }) })
    }

    /// Writes the held changes in the order and with the flushes of the database, so that the database can recover from
    /// a crash in between. Later writes go directly to the file.
    ///
    /// # Errors
    ///
    /// If a write to the file fails. Then nothing more is written, and a file that was empty is made empty again.
    pub(super) fn release(&self) -> io::Result<()> {
        let mut mode = self.mode();
        let Mode::Holding { changes, .. } = &*mode else { return Ok(()) };
        let file = &self.inner.file;
        let empty = file.len().is_ok_and(|length| length == 0);
        let written = changes.iter().try_for_each(|change| change.apply(&**file));
        if written.is_err() && empty {
            // This error is ignored, because the first one is returned.
            let _ = file.set_len(0);
        }
        *mode = if written.is_ok() { Mode::Through } else { Mode::Refusing };
        written
    }

    /// Discards the held changes. From now on nothing is written.
    pub(super) fn refuse(&self) {
        *self.mode() = Mode::Refusing;
    }

    /// Whether nothing may be written any more.
    pub(super) fn refuses(&self) -> bool {
        matches!(*self.mode(), Mode::Refusing)
    }

    fn mode(&self) -> MutexGuard<'_, Mode> {
        // A poisoned lock is harmless: every change of the mode is a single assignment.
        self.inner.mode.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: Change) -> io::Result<()> {
        let mut mode = self.mode();
        match &mut *mode {
            Mode::Through => change.apply(&*self.inner.file),
            Mode::Refusing => Err(io::Error::other("nothing more is written to this file")),
            Mode::Holding { length, changes } => {
                match &change {
                    Change::Length(to) => *length = *to,
                    Change::Write(offset, bytes) => *length = (*length).max(end(*offset, bytes.len())?),
                    Change::Sync => {}
                }
                changes.push(change);
                Ok(())
            }
        }
    }
}

impl StorageBackend for Held {
    fn len(&self) -> io::Result<u64> {
        match &*self.mode() {
            Mode::Holding { length, .. } => Ok(*length),
            Mode::Through | Mode::Refusing => self.inner.file.len(),
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mode = self.mode();
        let Mode::Holding { length, changes } = &*mode else {
            drop(mode);
            return self.inner.file.read(offset, out);
        };
        if end(offset, out.len())? > *length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let on_disk = within(offset, out, self.inner.file.len()?);
        self.inner.file.read(offset, &mut out[..on_disk])?;
        out[on_disk..].fill(0);
        for change in changes {
            match change {
                // If a file is shortened and extended again, the new part contains zeros.
                Change::Length(to) => {
                    let kept = within(offset, out, *to);
                    out[kept..].fill(0);
                }
                Change::Write(at, bytes) => overlay(offset, out, *at, bytes),
                Change::Sync => {}
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Change::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(offset, data.to_vec()))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.file.query_lock_range(start, end)
    }
}

/// The offset after `bytes` bytes that begin at `offset`.
fn end(offset: u64, bytes: usize) -> io::Result<u64> {
    offset.checked_add(bytes as u64).ok_or_else(|| ErrorKind::UnexpectedEof.into())
}

/// The number of bytes of a buffer at `offset` that lie within a file of this length.
fn within(offset: u64, buffer: &[u8], length: u64) -> usize {
    usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len())
}

/// Copies the part of `bytes`, written at `at`, that overlaps a buffer at `offset`.
fn overlay(offset: u64, buffer: &mut [u8], at: u64, bytes: &[u8]) {
    let from = within(at, bytes, offset);
    let to = within(offset, buffer, at);
    let count = (bytes.len() - from).min(buffer.len() - to);
    buffer[to..to + count].copy_from_slice(&bytes[from..from + count]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

    use redb::backends::InMemoryBackend;

    use super::*;

    fn contents(file: &dyn StorageBackend) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read(0, &mut bytes).unwrap();
        bytes
    }

    fn file(bytes: &[u8]) -> InMemoryBackend {
        let file = InMemoryBackend::new();
        file.set_len(bytes.len() as u64).unwrap();
        file.write(0, bytes).unwrap();
        file
    }

    #[test]
    fn what_is_held_is_read_and_not_written_before_it_is_released() {
        let held = Held::new(Box::new(file(b"abcdefgh"))).unwrap();
        held.write(2, b"CD").unwrap();
        held.set_len(5).unwrap();
        held.set_len(7).unwrap();
        held.write(3, b"xy").unwrap();
        held.sync_data().unwrap();
        assert_eq!(contents(&held), b"abCxy\0\0");
        for (offset, expected) in [(1, &b"bC"[..]), (3, b"xy\0"), (4, b"y"), (6, b"\0"), (7, b"")] {
            let mut part = vec![9; expected.len()];
            held.read(offset, &mut part).unwrap();
            assert_eq!(part, expected, "{offset}");
        }
        assert_eq!(held.read(6, &mut [0; 2]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(held.read(u64::MAX, &mut [0; 2]).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        assert_eq!(contents(&*held.inner.file), b"abcdefgh");
        held.release().unwrap();
        assert_eq!(contents(&*held.inner.file), b"abCxy\0\0");
        held.write(0, b"A").unwrap();
        assert_eq!(contents(&*held.inner.file), b"AbCxy\0\0");
        held.refuse();
        held.write(0, b"B").unwrap_err();
        held.release().unwrap();
        held.set_len(0).unwrap_err();
        assert_eq!(contents(&held), b"AbCxy\0\0");
    }
}
