//! The news of a run: what happens, in words for a person.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

/// A list of texts: all parts of a run add to it, and the report of progress empties it. Cheap to clone; clones share
/// the list.
#[derive(Clone, Debug, Default)]
pub(super) struct News(Arc<Mutex<Vec<String>>>);

impl News {
    pub(super) fn report(&self, text: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text.into());
    }

    pub(super) fn take(&self) -> Vec<String> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
