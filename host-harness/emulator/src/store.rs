//! A map in the order of creation, which is also the order of every list and query.

use std::collections::{BTreeMap, HashMap};

/// Entities by key and by the sequence number of their creation.
#[derive(Debug)]
pub(crate) struct Store<T> {
    by_sequence: BTreeMap<u64, T>,
    sequences: HashMap<String, u64>,
    next: u64,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self { by_sequence: BTreeMap::new(), sequences: HashMap::new(), next: 1 }
    }
}

impl<T> Store<T> {
    pub(crate) fn get(&self, key: &str) -> Option<&T> {
        self.by_sequence.get(self.sequences.get(key)?)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut T> {
        self.by_sequence.get_mut(self.sequences.get(key)?)
    }

    /// Adds an entity, or replaces the entity with the same key and keeps its position in the order.
    pub(crate) fn insert(&mut self, key: &str, entity: T) {
        let next = &mut self.next;
        let sequence = *self.sequences.entry(key.to_owned()).or_insert_with(|| {
            let sequence = *next;
            *next += 1;
            sequence
        });
        self.by_sequence.insert(sequence, entity);
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<T> {
        let sequence = self.sequences.remove(key)?;
        self.by_sequence.remove(&sequence)
    }

    /// Everything created after the given sequence number, oldest first.
    pub(crate) fn after(&self, sequence: u64) -> impl Iterator<Item = (u64, &T)> {
        self.by_sequence.range(sequence.saturating_add(1)..).map(|(sequence, entity)| (*sequence, entity))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.by_sequence.values()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.by_sequence.values_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_sequence.len()
    }
}
