//! The accounts of a tenant that were validated: [`Accounts`].

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::connection::Connection;
use crate::egress::AllowList;

/// How many accounts of one tenant are remembered. When there are more, all are forgotten.
const MOST: usize = 256;

/// The allow lists of a tenant's accounts, so that a connection is validated once and not before every call. They end
/// with the tenant. An account is found by a hash with a secret salt: neither its values nor a hash by which somebody
/// could guess them is kept.
pub(crate) struct Accounts {
    salt: [u8; 32],
    known: Mutex<HashMap<AccountKey, Arc<AllowList>>>,
}

/// The hash of a connector and a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct AccountKey([u8; 32]);

impl Default for Accounts {
    fn default() -> Self {
        let mut salt = [0; 32];
        // Without random numbers, no TLS connection could be made either.
        let _ = rustls::crypto::ring::default_provider().secure_random.fill(&mut salt);
        Self { salt, known: Mutex::default() }
    }
}

impl Accounts {
    /// `connector` differs for each component that was loaded.
    pub(crate) fn key(&self, connector: u64, connection: &Connection) -> AccountKey {
        let profile = connection.auth_profile();
        let mut hash = Sha256::new();
        hash.update(self.salt);
        hash.update(connector.to_le_bytes());
        // With the length, two connections never give the same bytes.
        hash.update((profile.len() as u64).to_le_bytes());
        hash.update(profile);
        hash.update(connection.values().expose());
        AccountKey(hash.finalize().into())
    }

    pub(crate) fn allowed(&self, key: &AccountKey) -> Option<Arc<AllowList>> {
        self.known().get(key).cloned()
    }

    pub(crate) fn remember(&self, key: AccountKey, allowed: Arc<AllowList>) {
        let mut known = self.known();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key, allowed);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<AccountKey, Arc<AllowList>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_known_by_all_that_it_consists_of() {
        let accounts = Accounts::default();
        let key = |connector, profile: &str, values: &str| {
            accounts.key(connector, &Connection::new(profile, values.to_owned()))
        };
        let known = key(1, "key", "{}");
        accounts.remember(known, Arc::default());
        assert!(accounts.allowed(&key(1, "key", "{}")).is_some());
        for other in [key(2, "key", "{}"), key(1, "ke", "y{}"), key(1, "key", "{ }"), key(1, "", "key{}")] {
            assert!(accounts.allowed(&other).is_none());
        }
        // Another tenant's hash of the same account is another.
        assert!(Accounts::default().key(1, &Connection::new("key", "{}".to_owned())) != known);
    }

    #[test]
    fn accounts_are_bounded() {
        let accounts = Accounts::default();
        for number in 0..3 * MOST as u64 {
            accounts.remember(accounts.key(number, &Connection::new("key", "{}".to_owned())), Arc::default());
            assert!(accounts.known().len() <= MOST);
        }
    }
}
