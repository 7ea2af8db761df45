//! Connections that an instance keeps open between calls.

use std::cell::RefCell;

/// Connections of one kind that an instance keeps at the most.
const MOST: usize = 4;

/// Connections of one kind, each under what it is good for.
pub struct Kept<K, C>(RefCell<Vec<(K, C)>>);

impl<K: PartialEq, C> Kept<K, C> {
    /// None yet.
    pub const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// Takes a connection out, if there is one for this.
    pub fn take(&self, key: &K) -> Option<C> {
        let mut kept = self.0.borrow_mut();
        let at = kept.iter().position(|(known, _)| known == key)?;
        Some(kept.swap_remove(at).1)
    }

    /// Keeps a connection; the oldest goes where there are too many.
    pub fn keep(&self, key: K, connection: C) {
        let mut kept = self.0.borrow_mut();
        if kept.len() >= MOST {
            kept.remove(0);
        }
        kept.push((key, connection));
    }

    /// Takes all of them out.
    pub fn take_all(&self) -> Vec<C> {
        self.0.take().into_iter().map(|(_, connection)| connection).collect()
    }
}

impl<K: PartialEq, C> Default for Kept<K, C> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room_for_the_newest() {
        let kept = Kept::new();
        for number in 0..=MOST {
            kept.keep(number, number * 10);
        }
        assert_eq!(kept.take(&0), None);
        assert_eq!(kept.take(&MOST), Some(MOST * 10));
        assert_eq!(kept.take(&MOST), None);
        assert_eq!(kept.take_all(), [10, 20, 30]);
    }
}
