//! The secrets that this instance has used. They are struck out of a service's texts, which may repeat what the service
//! was sent.
//!
//! A service may quote the request's token in its refusal, and the refusal is shown, stored and logged. A token is
//! recognized by its signature, which grants everything that the token does; the token's other fields are not secret.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::VecDeque;

use connector_rules::text::{SHORTEST_SECRET, STRUCK, is_of_secret, without_signatures};
use zeroize::Zeroizing;

use super::percent_encode;

/// How many secrets are remembered: more than the cached tokens and the keys that sign them.
const CAPACITY: usize = 512;

thread_local! {
    static KNOWN: RefCell<VecDeque<Forms>> = const { RefCell::new(VecDeque::new()) };
}

/// The forms in which a service may repeat a secret: unchanged, and percent-encoded with hexadecimal digits in upper or
/// lower case.
struct Forms([Zeroizing<String>; 3]);

impl Forms {
    fn of(secret: &str) -> Self {
        let encoded = percent_encode(secret);
        let lower = lower_digits(&encoded);
        Self([secret.to_owned(), encoded, lower].map(Zeroizing::new))
    }
}

/// Remembers a key or the signature of a token, without its padding, because some texts leave the padding out.
pub fn remember(secret: &str) {
    let secret = secret.trim_end_matches('=');
    if secret.len() < SHORTEST_SECRET {
        return;
    }
    KNOWN.with_borrow_mut(|known| {
        if known.iter().any(|forms| forms.0[0].as_str() == secret) {
            return;
        }
        if known.len() >= CAPACITY {
            known.pop_front();
        }
        known.push_back(Forms::of(secret));
    });
}

/// A text without the known secrets, and without any signature that the text names as one.
pub fn strike(text: &str) -> Cow<'_, str> {
    if !may_hold_a_secret(text) {
        return Cow::Borrowed(text);
    }
    let mut text = Cow::Borrowed(text);
    KNOWN.with_borrow(|known| {
        for form in known.iter().flat_map(|forms| &forms.0) {
            if text.contains(form.as_str()) {
                text = Cow::Owned(text.replace(form.as_str(), STRUCK));
            }
        }
    });
    match without_signatures(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(struck) => Cow::Owned(struck),
    }
}

/// Whether a text has a run of characters that is long enough to be a secret.
fn may_hold_a_secret(text: &str) -> bool {
    let mut run = 0;
    text.bytes().any(|byte| {
        // No byte of a character beyond ASCII is a character of a secret.
        run = if is_of_secret(char::from(byte)) { run + 1 } else { 0 };
        run >= SHORTEST_SECRET
    })
}

/// Percent-encoding with hexadecimal digits in lower case, as .NET writes it.
pub(crate) fn lower_digits(encoded: &str) -> String {
    let mut digits = 0;
    encoded
        .chars()
        .map(|c| {
            let is_digit = digits > 0;
            digits = if c == '%' { 2 } else { i32::saturating_sub(digits, 1).max(0) };
            if is_digit { c.to_ascii_lowercase() } else { c }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        for number in 0..2_000 {
            remember(&format!("a secret of some length {number}"));
        }
        KNOWN.with_borrow(|known| assert_eq!(known.len(), CAPACITY));
        assert_eq!(strike("a secret of some length 1999"), "a secret of some length 1999", "no run of its characters");
    }
}
