//! The annotations or properties of an event.

use std::fmt;

use serde_json::{Map, Value as Json};

use crate::json::put_text;

/// Named values in the order of their names. All names and texts stand in one string: an event has a dozen of them, and
/// in WebAssembly allocating each one costs more than reading it.
#[derive(Clone, Default)]
pub struct Members {
    texts: String,
    members: Vec<(Span, Member)>,
}

/// A part of [`Members::texts`].
#[derive(Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Clone)]
enum Member {
    Text(Span),
    Signed(i64),
    Unsigned(u64),
    Json(Json),
}

/// A value that becomes a member.
pub(super) enum NewMember<'v> {
    /// A text.
    Text(&'v str),
    /// An integer.
    Signed(i64),
    /// An integer without sign.
    Unsigned(u64),
    /// Any other value.
    Json(Json),
}

impl Members {
    /// No members yet, with room for so many bytes of texts, and for so many members.
    pub(super) fn with_capacity((bytes, members): (usize, usize)) -> Self {
        Self { texts: String::with_capacity(bytes), members: Vec::with_capacity(members) }
    }

    /// Adds a member. [`Members::sort`] must follow the last one.
    pub(super) fn push(&mut self, name: &str, value: NewMember) {
        let name = self.add(name);
        let member = match value {
            NewMember::Text(text) => Member::Text(self.add(text)),
            NewMember::Signed(number) => Member::Signed(number),
            NewMember::Unsigned(number) => Member::Unsigned(number),
            NewMember::Json(Json::String(text)) => Member::Text(self.add(&text)),
            NewMember::Json(value) => Member::Json(value),
        };
        self.members.push((name, member));
    }

    /// Puts the members in the order of their names. Of several members with one name, the first one stays.
    pub(super) fn sort(&mut self) {
        let Self { texts, members } = self;
        let name = |member: &(Span, Member)| member.0.of(texts);
        members.sort_by(|one, other| name(one).cmp(name(other)));
        members.dedup_by(|later, earlier| name(later) == name(earlier));
    }

    fn add(&mut self, text: &str) -> Span {
        let start = length(&self.texts);
        self.texts.push_str(text);
        Span { start, end: length(&self.texts) }
    }

    fn find(&self, name: &str) -> Option<&Member> {
        let found = self.members.binary_search_by(|(member, _)| member.of(&self.texts).cmp(name)).ok()?;
        self.members.get(found).map(|(_, member)| member)
    }

    /// The member with this name, where it is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.find(name)? {
            Member::Text(span) => Some(span.of(&self.texts)),
            Member::Json(_) | Member::Signed(_) | Member::Unsigned(_) => None,
        }
    }

    /// About how many bytes the members take up as JSON.
    pub fn length(&self) -> usize {
        // The punctuation around a name and a text, or half of the longest integer.
        self.texts.len() + self.members.len() * 10 + 2
    }

    /// Writes the members as a JSON object.
    pub fn write(&self, out: &mut String) {
        out.push('{');
        for (index, (name, member)) in self.members.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            put_text(out, name.of(&self.texts));
            out.push(':');
            match member {
                Member::Text(span) => put_text(out, span.of(&self.texts)),
                Member::Signed(number) => out.push_str(itoa::Buffer::new().format(*number)),
                Member::Unsigned(number) => out.push_str(itoa::Buffer::new().format(*number)),
                Member::Json(value) => out.push_str(&value.to_string()),
            }
        }
        out.push('}');
    }

    /// The members as a JSON object.
    pub fn to_map(&self) -> Map<String, Json> {
        let value = |member: &Member| match member {
            Member::Text(span) => span.of(&self.texts).into(),
            Member::Signed(number) => (*number).into(),
            Member::Unsigned(number) => (*number).into(),
            Member::Json(value) => value.clone(),
        };
        self.members.iter().map(|(name, member)| (name.of(&self.texts).to_owned(), value(member))).collect()
    }
}

impl Span {
    fn of(self, texts: &str) -> &str {
        texts.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// A length as a position. A message that the connection accepts is far smaller than 4 GiB.
fn length(text: &str) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX)
}

impl From<Map<String, Json>> for Members {
    fn from(map: Map<String, Json>) -> Self {
        let mut members = Self::with_capacity((0, map.len()));
        for (name, value) in map {
            members.push(&name, NewMember::Json(value));
        }
        members.sort();
        members
    }
}

impl PartialEq for Members {
    fn eq(&self, other: &Self) -> bool {
        self.to_map() == other.to_map()
    }
}

impl fmt::Debug for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_map().fmt(f)
    }
}
