//! The tokens that the instance keeps between calls, and how far each service's clock differs from the local one.
//!
//! The cache changes no behaviour: a new instance only has to sign its tokens again.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::sas::{Dialect, SharedAccessKey, sign};
use crate::secret::{Secret, percent_encode, remember};

/// How long a token is valid. Microsoft's SDKs use 20 minutes to one hour.
pub const TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 60);
/// A token that expires within this many seconds is no longer used: the request may be delayed, and clocks differ.
const RENEW_BEFORE: u64 = 5 * 60;
/// The largest number of tokens kept. When it is reached, the cache is emptied.
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
    /// Hosts that use the clock of another host.
    clocks: HashMap<String, String>,
    host_scope: HashSet<String>,
}

impl Cache {
    /// By how many seconds the clock that the host uses is known to be ahead of the local clock.
    fn skew(&self, host: &str) -> i64 {
        let host = self.clocks.get(host).map_or(host, String::as_str);
        self.skews.get(host).copied().unwrap_or(0)
    }

    /// The time of day by the host's clock, for its tokens.
    fn service_time(&self, host: &str, unix_time: Duration) -> Duration {
        let ahead = self.skew(host);
        let skew = Duration::from_secs(ahead.unsigned_abs());
        if ahead < 0 { unix_time.saturating_sub(skew) } else { unix_time.saturating_add(skew) }
    }
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// A token in the format of IoT Hub for `host` and `path`, from the cache or newly signed.
///
/// `path` narrows the token to that resource, unless the service was found to require tokens for the whole host.
pub fn token(key: &SharedAccessKey, host: &str, path: Option<&str>, unix_time: Duration) -> Secret {
    CACHE.with_borrow_mut(|cache| {
        let now = cache.service_time(host, unix_time).as_secs();
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

/// A token in the format of IoT Hub for a whole host, and when it expires by the local clock, since the Unix epoch. The
/// token is not cached, because a connection needs only about one an hour.
pub fn hub_token(key: &SharedAccessKey, host: &str, unix_time: Duration) -> (Secret, Duration) {
    let now = CACHE.with_borrow(|cache| cache.service_time(host, unix_time));
    let token = key.token(Dialect::IotHub, host, now.saturating_add(TOKEN_LIFETIME).as_secs());
    (token, unix_time.saturating_add(TOKEN_LIFETIME))
}

/// A token with which a device or module connects, and when it expires by the service's clock, in seconds since the Unix
/// epoch. It names no policy: the key is the identity's own. `path` is the identity's path at the host, not
/// percent-encoded, as in Microsoft's clients for Python and Node.
pub fn identity_token(key: &Secret, host: &str, path: &str, lifetime: Duration, unix_time: Duration) -> (Secret, u64) {
    let expiry = CACHE.with_borrow(|cache| cache.service_time(host, unix_time)).saturating_add(lifetime).as_secs();
    let sr = percent_encode(&format!("{host}{path}"));
    remember(key.expose());
    let sig = sign(Dialect::IotHub, key, &sr, expiry);
    (Secret::new(format!("SharedAccessSignature sr={sr}&sig={sig}&se={expiry}")), expiry)
}

/// A token in the format of Event Hubs for one Event Hub, and when it expires by the local clock, since the Unix epoch.
/// The token is not cached, because a connection needs only about one an hour.
pub fn event_hub_token(key: &SharedAccessKey, host: &str, hub: &str, unix_time: Duration) -> (Secret, Duration) {
    let now = CACHE.with_borrow(|cache| cache.service_time(host, unix_time));
    let token =
        key.token(Dialect::EventHubs, &event_hub_resource(host, hub), now.saturating_add(TOKEN_LIFETIME).as_secs());
    (token, unix_time.saturating_add(TOKEN_LIFETIME))
}

/// The resource that a token for an Event Hub grants access to.
pub fn event_hub_resource(host: &str, hub: &str) -> String {
    format!("sb://{host}/{hub}")
}

/// Remembers that `host` uses the same clock as `known`: an IoT hub's endpoints belong to one service, and only its
/// HTTPS API states the time.
pub fn same_clock(host: &str, known: &str) {
    if host != known {
        CACHE.with_borrow_mut(|cache| cache.clocks.insert(host.to_owned(), known.to_owned()));
    }
}

/// Remembers by how many seconds the service's clock is ahead of the local clock, and drops the tokens that were signed
/// with the wrong time.
pub fn learn_skew(host: &str, seconds: i64) {
    CACHE.with_borrow_mut(|cache| {
        cache.skews.insert(host.to_owned(), seconds);
        cache.tokens.clear();
    });
}

/// By how many seconds the service's clock is known to be ahead of the local clock.
pub fn skew(host: &str) -> i64 {
    CACHE.with_borrow(|cache| cache.skew(host))
}

/// Remembers that the service requires tokens for the whole host.
pub fn learn_host_scope(host: &str) {
    CACHE.with_borrow_mut(|cache| cache.host_scope.insert(host.to_owned()));
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
    fn the_event_hub_goes_by_the_clock_of_its_hub() {
        learn_skew("late.azure-devices.net", -600);
        same_clock("late-ns.servicebus.windows.net", "late.azure-devices.net");
        let (token, expiry) =
            event_hub_token(&key(), "late-ns.servicebus.windows.net", "h", Duration::from_secs(1_000_000));
        let expected = key().token(Dialect::EventHubs, "sb://late-ns.servicebus.windows.net/h", 1_000_000 - 600 + 3600);
        assert_eq!((token, expiry), (expected, Duration::from_secs(1_000_000 + 3600)));
        assert_eq!(skew("late-ns.servicebus.windows.net"), -600);
    }

    #[test]
    fn scope_widens_once_learnt() {
        learn_host_scope("wide.azure-devices.net");
        let token = token(&key(), "wide.azure-devices.net", Some("/devices/d1"), Duration::from_secs(1));
        assert!(token.expose().contains("sr=wide.azure-devices.net&"));
    }
}
