//! What the instance remembers between calls: tokens, the service's clock, and which keys have worked.
//!
//! It is only a cache: a fresh instance behaves the same and signs once more.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::sas::{Dialect, SharedAccessKey};
use crate::secret::Secret;

/// How long a token is good for. The SDKs use 20 minutes to an hour.
const TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// A token this close to its end is not used any more: a request may wait, and clocks differ.
const RENEW_BEFORE: u64 = 5 * 60;
/// Tokens kept; an instance that meets more resources starts over.
const CAPACITY: usize = 256;

#[derive(PartialEq, Eq, Hash)]
struct TokenKey {
    resource: String,
    fingerprint: [u8; 32],
}

#[derive(Default)]
struct Cache {
    tokens: HashMap<TokenKey, (Secret, u64)>,
    skews: HashMap<String, i64>,
    host_scope: HashSet<String>,
    good: HashSet<(String, [u8; 32])>,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// A token of IoT Hub's dialect for `host` and `path`, taken from the cache or signed anew.
///
/// `path` narrows the token to that resource, unless the service was seen to want one for the whole host.
pub fn token(key: &SharedAccessKey, host: &str, path: Option<&str>, unix_time: Duration) -> Secret {
    CACHE.with_borrow_mut(|cache| {
        let now = unix_time.as_secs().saturating_add_signed(cache.skews.get(host).copied().unwrap_or(0));
        let path = path.filter(|_| !cache.host_scope.contains(host));
        let resource = path.map_or_else(|| host.to_owned(), |path| format!("{host}{path}"));
        let token_key = TokenKey { resource, fingerprint: key.fingerprint() };
        if let Some((token, expiry)) = cache.tokens.get(&token_key)
            && *expiry > now + RENEW_BEFORE
        {
            return token.clone();
        }
        let expiry = now + TOKEN_LIFETIME.as_secs();
        let token = key.token(Dialect::IotHub, &token_key.resource, expiry);
        if cache.tokens.len() >= CAPACITY {
            cache.tokens.clear();
        }
        cache.tokens.insert(token_key, (token.clone(), expiry));
        token
    })
}

/// Remembers by how many seconds the service's clock is ahead of ours, and drops the tokens that were signed by ours.
pub fn learn_skew(host: &str, seconds: i64) {
    CACHE.with_borrow_mut(|cache| {
        cache.skews.insert(host.to_owned(), seconds);
        cache.tokens.clear();
    });
}

/// By how many seconds the service's clock is known to be ahead of ours.
pub fn skew(host: &str) -> i64 {
    CACHE.with_borrow(|cache| cache.skews.get(host).copied().unwrap_or(0))
}

/// Remembers that the service wants tokens for the whole host.
pub fn learn_host_scope(host: &str) {
    CACHE.with_borrow_mut(|cache| cache.host_scope.insert(host.to_owned()));
}

/// Remembers that the service accepted this key.
pub fn mark_good(key: &SharedAccessKey, host: &str) {
    CACHE.with_borrow_mut(|cache| cache.good.insert((host.to_owned(), key.fingerprint())));
}

/// Whether the service has accepted this key before, as far as this instance knows.
pub fn known_good(key: &SharedAccessKey, host: &str) -> bool {
    CACHE.with_borrow(|cache| cache.good.contains(&(host.to_owned(), key.fingerprint())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SharedAccessKey {
        SharedAccessKey { policy: "service".into(), key: Secret::new("cGFzc3dvcmQ=") }
    }

    fn at(seconds: u64) -> Secret {
        token(&key(), "cache.azure-devices.net", Some("/devices/d1"), Duration::from_secs(seconds))
    }

    #[test]
    fn reuses_until_close_to_expiry() {
        let first = at(1_000_000);
        assert_eq!(at(1_000_000 + 3600 - 301), first);
        assert_ne!(at(1_000_000 + 3600 - 300), first);
    }

    #[test]
    fn another_key_of_the_same_policy_gets_its_own_token() {
        let first = at(2_000_000);
        let rotated = SharedAccessKey { policy: "service".into(), key: Secret::new("bmV3IGtleQ==") };
        assert_ne!(
            token(&rotated, "cache.azure-devices.net", Some("/devices/d1"), Duration::from_secs(2_000_000)),
            first
        );
    }

    #[test]
    fn expiry_follows_the_services_clock() {
        learn_skew("skewed.azure-devices.net", 7200);
        let token = token(&key(), "skewed.azure-devices.net", None, Duration::from_secs(1_000));
        assert!(
            token.expose().contains(&format!("se={}", 1_000 + 7200 + 3600)),
            "the token is written by the service's clock"
        );
    }

    #[test]
    fn scope_widens_once_learnt() {
        learn_host_scope("wide.azure-devices.net");
        let token = token(&key(), "wide.azure-devices.net", Some("/devices/d1"), Duration::from_secs(1));
        assert!(token.expose().contains("sr=wide.azure-devices.net&"));
    }
}
