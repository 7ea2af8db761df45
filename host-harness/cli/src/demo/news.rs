//! What a run has to report on the way, in words for a person.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

/// A list that everybody adds to and the one who shows it empties. Cheap to clone; clones share the list.
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
