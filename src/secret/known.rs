//! The secrets that this instance has used, so that they can be struck out where a service repeats what it was sent.
//!
//! A service that is asked with a token may quote it in its refusal, and that refusal is shown, stored and logged. A
//! token is known by its signature, which opens everything that the token does; its other fields are no secret.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::VecDeque;

use connector_rules::text::{SHORTEST_SECRET, STRUCK, is_of_secret, without_signatures};
use zeroize::Zeroizing;

use super::percent_encode;

/// Secrets remembered: more than the tokens that are kept, and the keys that sign them.
const CAPACITY: usize = 512;

thread_local! {
    static KNOWN: RefCell<VecDeque<Forms>> = const { RefCell::new(VecDeque::new()) };
}

/// The forms in which a secret may come back: as it is, and percent-encoded with digits of either case.
struct Forms([Zeroizing<String>; 3]);

impl Forms {
    fn of(secret: &str) -> Self {
        let encoded = percent_encode(secret);
        let lower = lower_digits(&encoded);
        Self([secret.to_owned(), encoded, lower].map(Zeroizing::new))
    }
}

/// Remembers a key or the signature of a token. Its padding is not looked for: some leave it out.
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

/// A text without the secrets that are known, and without any signature that is named as one.
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

/// Whether there are as many characters of such a text in a row.
fn may_hold_a_secret(text: &str) -> bool {
    text.len() >= SHORTEST_SECRET && text.split(|c| !is_of_secret(c)).any(|run| run.len() >= SHORTEST_SECRET)
}

/// Percent-encoding with the digits that .NET writes.
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
