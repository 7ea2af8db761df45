//! What the APIs of IoT Hub and DPS share: ETags, documents with an ETag, and pages of results.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value;

use super::client::{Request, Response, Safety};
use crate::error::{Error, ErrorCode, Result};
use crate::json;

/// The longest entity tag, in characters. It is our own limit, because no document states one.
const LONGEST_TAG: usize = 1024;

/// An entity tag, without its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    /// Reads a tag, with or without quotes.
    ///
    /// # Errors
    /// `invalid-input` at `pointer`.
    pub fn parse(text: &str, pointer: &str) -> Result<Self> {
        let bare = text.strip_prefix("W/").unwrap_or(text);
        let bare = bare.strip_prefix('"').and_then(|bare| bare.strip_suffix('"')).unwrap_or(bare);
        let sign = |b: u8| (b' '..=b'~').contains(&b) && b != b'"';
        let fine = (1..=LONGEST_TAG).contains(&bare.len()) && bare.bytes().all(sign);
        if fine {
            Ok(Self(bare.to_owned()))
        } else {
            Err(Error::field(pointer, "characters", "is not an ETag that the service issues"))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The condition under which a change is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IfMatch {
    /// The document exists.
    Any,
    /// The document has not changed since it had this tag.
    Tag(ETag),
}

impl IfMatch {
    /// The condition from an optional input field.
    ///
    /// # Errors
    /// `invalid-input` at `pointer`.
    pub fn from_input(etag: Option<&str>, pointer: &str) -> Result<Self> {
        match etag {
            None | Some("*") => Ok(Self::Any),
            Some(text) => ETag::parse(text, pointer).map(Self::Tag),
        }
    }

    /// With a tag, a repeated request is refused and cannot undo another client's change. But the refusal would hide
    /// that the first attempt succeeded, so only unconditional changes are repeated.
    pub fn safety(&self) -> Safety {
        match self {
            Self::Any => Safety::Repeatable,
            Self::Tag(_) => Safety::Once,
        }
    }
}

impl fmt::Display for IfMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The services require the quotes, even around the star (as Microsoft's Python client sends them).
            Self::Any => f.write_str("\"*\""),
            Self::Tag(tag) => write!(f, "\"{}\"", tag.as_str()),
        }
    }
}

/// A document with its entity tag.
#[derive(Clone, Debug, PartialEq)]
pub struct Tagged {
    /// The document, a JSON object.
    pub document: Value,
    /// The document's tag, if the service stated one.
    pub etag: Option<ETag>,
}

impl Tagged {
    /// Reads a successful answer. The `ETag` header has priority over the body's `etag` member, as in the C# SDK.
    ///
    /// # Errors
    /// `protocol` where the answer is not a JSON object.
    pub fn from_response(response: &Response) -> Result<Self> {
        let document = response.json()?;
        if !document.is_object() {
            return Err(response.unexpected("an object"));
        }
        let header = response.header("etag").and_then(|text| ETag::parse(text, "").ok());
        let etag =
            header.or_else(|| document.get("etag").and_then(Value::as_str).and_then(|text| ETag::parse(text, "").ok()));
        Ok(Self { document, etag })
    }
}

/// Refuses to write a document back if a part of it was kept as text when it was read, because it was nested too deep.
///
/// # Errors
/// `unsupported`.
pub fn whole(document: &Value) -> Result<()> {
    if !json::is_folded(document) {
        return Ok(());
    }
    let message = format!(
        "The record has a value that must not be nested deeper than {} levels, and could not be written back as it was. Nothing was changed",
        json::RECORD_LEVELS
    );
    Err(Error::new(ErrorCode::Unsupported, message))
}

/// One page of a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The records.
    pub items: Vec<Value>,
    /// The token that asks for the next page; none on the last page.
    pub continuation: Option<String>,
}

impl Page {
    /// Asks for the first page, or for the page that `continuation` names.
    pub fn asked(request: Request, page_size: u32, continuation: Option<&str>) -> Request {
        let request = request.header("x-ms-max-item-count", page_size);
        match continuation {
            Some(continuation) => request.header("x-ms-continuation", continuation),
            None => request,
        }
    }

    /// Reads a successful answer.
    ///
    /// # Errors
    /// `protocol` where the answer is not a JSON list.
    pub fn from_response(response: &Response) -> Result<Self> {
        let continuation = continuation(response);
        match response.json()? {
            Value::Array(items) => Ok(Self { items, continuation }),
            _ => Err(response.unexpected("a list")),
        }
    }
}

fn continuation(response: &Response) -> Option<String> {
    response.header("x-ms-continuation").filter(|text| !text.is_empty()).map(str::to_owned)
}

/// One page of a query, of which nothing was read yet.
pub struct UnreadPage(Response);

impl UnreadPage {
    /// The page of a successful answer.
    pub fn new(response: Response) -> Self {
        Self(response)
    }

    /// The token that asks for the next page; none on the last page.
    pub fn continuation(&self) -> Option<String> {
        continuation(&self.0)
    }

    /// A few members of each record, see [`json::texts_of_records`].
    pub fn texts<const N: usize>(&self, names: [&str; N]) -> Option<Vec<[Cow<'_, str>; N]>> {
        json::texts_of_records(self.0.body(), names)
    }

    /// Reads the whole page.
    ///
    /// # Errors
    /// As [`Page::from_response`].
    pub fn read(&self) -> Result<Page> {
        Page::from_response(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_lose_their_quotes_and_get_them_back() {
        for text in ["AAAA=", "\"AAAA=\"", "W/\"AAAA=\""] {
            assert_eq!(IfMatch::from_input(Some(text), "").expect("a tag").to_string(), "\"AAAA=\"");
        }
        assert_eq!(IfMatch::from_input(None, "").expect("any").to_string(), "\"*\"");
        for text in ["", "a\r\nx: y", "a\"b", "ä"] {
            assert!(IfMatch::from_input(Some(text), "/etag").is_err(), "{text:?}");
        }
    }
}
