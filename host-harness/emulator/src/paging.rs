//! Pages and continuation tokens, shared by every query of both services.
//!
//! Entities are ordered by the sequence number of their creation, and a token holds the number of the last entity
//! delivered. Deleting or inserting entities between two pages therefore neither repeats nor skips any other entity.

use axum::http::{HeaderMap, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::error::{ServiceError, invalid};
use crate::random;

const MAX_ITEM_COUNT: &str = "x-ms-max-item-count";
const CONTINUATION: &str = "x-ms-continuation";
const TAG_LENGTH: usize = 16;

/// Reads page requests and signs continuation tokens.
pub(crate) struct Pager {
    key: Vec<u8>,
    max_page_size: usize,
}

/// One page asked for.
#[derive(Debug)]
pub(crate) struct PageRequest {
    /// How many items the page may hold.
    pub(crate) size: usize,
    /// The sequence number after which the page starts.
    pub(crate) after: u64,
    binding: String,
}

/// One page to be delivered.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) continuation: Option<String>,
}

impl Pager {
    pub(crate) fn new(max_page_size: usize) -> Self {
        Self { key: random::fill(32), max_page_size: max_page_size.max(1) }
    }

    /// Reads `x-ms-max-item-count` and `x-ms-continuation`. A count above the service's limit is reduced to it, because
    /// the service may always return fewer items than were asked for.
    ///
    /// # Errors
    /// 400004 for a count that is no positive number, and for a token that this emulator did not issue for `binding`.
    pub(crate) fn request(&self, headers: &HeaderMap, binding: &str) -> Result<PageRequest, ServiceError> {
        let text = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().map_err(|_| invalid(format!("the header {name} is not ASCII text"))))
                .transpose()
        };
        let size = match text(MAX_ITEM_COUNT)?.map(str::trim) {
            None | Some("") => self.max_page_size,
            Some(count) => match count.parse::<i64>() {
                // The clients send -1 for "as many as you like".
                Ok(-1) => self.max_page_size,
                Ok(count) if count > 0 => usize::try_from(count).unwrap_or(self.max_page_size).min(self.max_page_size),
                _ => return Err(invalid(format!("{MAX_ITEM_COUNT} must be a positive number, not '{count}'"))),
            },
        };
        let after = match text(CONTINUATION)?.map(str::trim) {
            None | Some("") => 0,
            Some(token) => self.open(token, binding)?,
        };
        Ok(PageRequest { size, after, binding: binding.to_owned() })
    }

    /// Fills a page from items in ascending order that all come after `request.after`.
    pub(crate) fn page<T>(&self, request: &PageRequest, items: impl IntoIterator<Item = (u64, T)>) -> Page<T> {
        let mut page = Vec::new();
        let mut last = request.after;
        for (sequence, item) in items {
            if page.len() == request.size {
                // At least one more item exists, so the page is not the last.
                return Page { items: page, continuation: Some(self.seal(last, &request.binding)) };
            }
            page.push(item);
            last = sequence;
        }
        Page { items: page, continuation: None }
    }

    fn seal(&self, after: u64, binding: &str) -> String {
        let mut token = after.to_be_bytes().to_vec();
        let tag = self.tag(&token, binding);
        token.extend_from_slice(&tag[..TAG_LENGTH]);
        URL_SAFE_NO_PAD.encode(token)
    }

    fn open(&self, token: &str, binding: &str) -> Result<u64, ServiceError> {
        let bad = || invalid("the continuation token is not valid for this query");
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
        let (after, tag) = bytes.split_first_chunk::<8>().ok_or_else(bad)?;
        if tag != &self.tag(after, binding)[..TAG_LENGTH] {
            return Err(bad());
        }
        Ok(u64::from_be_bytes(*after))
    }

    fn tag(&self, after: &[u8], binding: &str) -> Vec<u8> {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else { return vec![0; TAG_LENGTH] };
        mac.update(after);
        mac.update(binding.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }
}

/// Writes the two headers of a page: the type of its items, and the continuation token.
pub(crate) fn write_headers(headers: &mut HeaderMap, item_type: &'static str, continuation: Option<&str>) {
    headers.insert("x-ms-item-type", HeaderValue::from_static(item_type));
    if let Some(value) = continuation.and_then(|token| HeaderValue::from_str(token).ok()) {
        headers.insert(CONTINUATION, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(count: &str, token: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(MAX_ITEM_COUNT, HeaderValue::from_str(count).expect("header"));
        if let Some(token) = token {
            headers.insert(CONTINUATION, HeaderValue::from_str(token).expect("header"));
        }
        headers
    }

    #[test]
    fn the_last_page_has_no_token() {
        let pager = Pager::new(1000);
        let request = pager.request(&headers("2", None), "q").expect("request");
        let page = pager.page(&request, (1..=4u64).map(|n| (n, n)));
        assert_eq!(page.items, [1, 2]);
        let token = page.continuation.expect("token");
        let request = pager.request(&headers("2", Some(&token)), "q").expect("request");
        assert_eq!(request.after, 2);
        let page = pager.page(&request, (3..=4u64).map(|n| (n, n)));
        assert_eq!(page.items, [3, 4]);
        assert!(page.continuation.is_none());
    }

    #[test]
    fn a_token_is_bound_to_its_query() {
        let pager = Pager::new(1000);
        let token = pager.seal(7, "a");
        assert!(pager.request(&headers("2", Some(&token)), "a").is_ok());
        assert!(pager.request(&headers("2", Some(&token)), "b").is_err());
        assert!(pager.request(&headers("2", Some("nonsense")), "a").is_err());
        assert!(pager.request(&headers("0", None), "a").is_err());
    }
}
