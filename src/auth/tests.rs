//! Tokens are recognized as secrets, in every form in which a service quotes them.

use std::time::Duration;

use connector_rules::text::STRUCK;

use crate::auth::{self, SharedAccessKey};
use crate::secret::{Secret, lower_digits, strike};

const KEY: &str = "c2VjcmV0IGtleSBvZiB0aGlzIHRlc3QgYWxvbmUhIQ==";

fn key() -> SharedAccessKey {
    SharedAccessKey { policy: "service".into(), key: Secret::new(KEY) }
}

#[test]
fn a_token_is_struck_out_in_whatever_form_it_comes_back() {
    let time = Duration::from_secs(1_700_000_000);
    for token in [
        auth::token(&key(), "known.azure-devices.net", None, time),
        // A token from the cache.
        auth::token(&key(), "known.azure-devices.net", None, time),
        auth::hub_token(&key(), "known.azure-devices.net", time).0,
        auth::event_hub_token(&key(), "ns.servicebus.windows.net", "h", time).0,
    ] {
        let token = token.expose();
        let encoded = token.split("sig=").nth(1).and_then(|rest| rest.split('&').next()).expect("a signature");
        let raw = percent_encoding::percent_decode_str(encoded).decode_utf8().expect("text").into_owned();
        for echo in [
            format!("Bad header: {token}"),
            format!("The signature {encoded} is not valid"),
            format!("The signature {} is not valid", lower_digits(encoded)),
            format!("expected x, got {raw}"),
            format!("expected x, got '{}'", raw.trim_end_matches('=')),
            token.replace("sig=", "Signature: "),
        ] {
            let struck = strike(&echo);
            let bare = raw.trim_end_matches('=');
            assert!(struck.contains(STRUCK), "{struck}");
            assert!(![bare, encoded.trim_end_matches("%3D")].iter().any(|form| struck.contains(form)), "{struck}");
        }
    }
    assert_eq!(strike(&format!("key {KEY}!")), "key (secret)==!");
}
