//! The AMQP connections that an instance keeps open between calls.

use std::cell::RefCell;
use std::time::Duration;

/// The largest number of connections that one cache keeps.
const MOST: usize = 4;

/// A connection that must be closed properly: otherwise the service would keep its readers' slots occupied for a while.
pub trait Close {
    /// Closes the connection before the moment `until` of the monotonic clock.
    fn close(self, until: Duration);
}

/// Open connections, each with a key that states its use. The connection that was unused for the longest time is first.
pub struct ConnectionCache<K, C>(RefCell<Vec<(K, C)>>);

impl<K: PartialEq, C: Close> ConnectionCache<K, C> {
    /// An empty cache.
    pub const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// Takes out the connection with this key, if there is one.
    pub fn take(&self, key: &K) -> Option<C> {
        let mut open = self.0.borrow_mut();
        let at = open.iter().position(|(known, _)| known == key)?;
        Some(open.remove(at).1)
    }

    /// Keeps a connection. If the cache is full, the connection that was unused for the longest time is closed before
    /// the moment `until` of the monotonic clock.
    pub fn keep(&self, key: K, connection: C, until: Duration) {
        let mut open = self.0.borrow_mut();
        let evicted = (open.len() >= MOST).then(|| open.remove(0).1);
        open.push((key, connection));
        drop(open);
        if let Some(evicted) = evicted {
            evicted.close(until);
        }
    }

    /// Closes all connections before the moment `until` of the monotonic clock.
    pub fn close_all(&self, until: Duration) {
        for (_, connection) in self.0.take() {
            connection.close(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    const UNTIL: Duration = Duration::from_secs(7);

    /// The numbers of the closed connections, each with the deadline that was given for closing.
    type Closed = Rc<RefCell<Vec<(usize, Duration)>>>;

    #[derive(Clone, Debug)]
    struct Numbered(usize, Closed);

    impl Close for Numbered {
        fn close(self, until: Duration) {
            self.1.borrow_mut().push((self.0, until));
        }
    }

    fn cache_of(count: usize) -> (ConnectionCache<usize, Numbered>, Closed) {
        let (cache, closed) = (ConnectionCache::new(), Closed::default());
        (0..count).for_each(|number| cache.keep(number, Numbered(number, Rc::clone(&closed)), UNTIL));
        (cache, closed)
    }

    #[test]
    fn the_oldest_is_closed_for_the_newest() {
        let (cache, closed) = cache_of(MOST + 1);
        assert_eq!(*closed.borrow(), [(0, UNTIL)], "it is closed, not just dropped");
        assert!(cache.take(&0).is_none());
        assert_eq!(cache.take(&MOST).map(|taken| taken.0), Some(MOST));
        assert!(cache.take(&MOST).is_none());
        cache.close_all(Duration::ZERO);
        assert_eq!(closed.borrow()[1..], [(1, Duration::ZERO), (2, Duration::ZERO), (3, Duration::ZERO)]);
    }

    /// In an earlier version, taking a connection out moved the newest one into its place, where it was closed as the
    /// oldest.
    #[test]
    fn a_connection_that_is_used_again_is_the_newest_and_the_others_stay_in_order() {
        let (cache, closed) = cache_of(MOST);
        for number in [0, 1] {
            let again = cache.take(&number).expect("kept");
            cache.keep(number, again, UNTIL);
        }
        for number in MOST..2 * MOST {
            cache.keep(number, Numbered(number, Rc::clone(&closed)), UNTIL);
        }
        let order: Vec<usize> = closed.borrow().iter().map(|(number, _)| *number).collect();
        assert_eq!(order, [2, 3, 0, 1]);
    }
}
