//! The paths and `use` lines of one file, as they are written.

use std::str::FromStr as _;

use proc_macro2::{Delimiter, Group, Ident, LexError, TokenStream, TokenTree};

/// The keys of serde's attributes whose texts are paths.
const SERDE_PATHS: [&str; 6] =
    ["with", "serialize_with", "deserialize_with", "default", "skip_serializing_if", "getter"];

/// What one file has.
#[derive(Default)]
pub(crate) struct Reading {
    pub(crate) paths: Vec<Written>,
    pub(crate) uses: Vec<Use>,
    /// Modules whose bodies are in this file.
    pub(crate) inline: Vec<Vec<String>>,
    /// Modules with files of their own that this file declares for unit tests alone.
    pub(crate) test_files: Vec<Vec<String>>,
    /// Whether the whole file is for unit tests alone.
    pub(crate) is_test: bool,
}

/// A path of one or more names.
pub(crate) struct Written {
    /// The module that has it.
    pub(crate) module: Vec<String>,
    pub(crate) path: Vec<String>,
    pub(crate) line: usize,
    pub(crate) is_test: bool,
}

/// What a `use` brings in.
pub(crate) struct Use {
    /// The module that has it.
    pub(crate) module: Vec<String>,
    /// None stands for an asterisk.
    pub(crate) name: Option<String>,
    pub(crate) path: Vec<String>,
}

/// One end of a tree of paths such as `a::{b, c::d as e}`.
struct Leaf {
    path: Vec<String>,
    name: Option<String>,
    line: usize,
}

impl Reading {
    /// # Errors
    ///
    /// Text that Rust does not read as tokens.
    pub(crate) fn of(module: &[String], text: &str) -> Result<Self, LexError> {
        let mut reading = Self::default();
        reading.walk(TokenStream::from_str(text)?, module, false, true);
        Ok(reading)
    }

    fn walk(&mut self, tokens: TokenStream, module: &[String], is_test: bool, is_file: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let (mut at, mut test_until) = (0, 0);
        while let Some(token) = tokens.get(at) {
            let is_test = is_test || at < test_until;
            match token {
                TokenTree::Punct(punct) if punct.as_char() == '#' => {
                    let is_inner = is_punct(tokens.get(at + 1), '!');
                    if let Some(TokenTree::Group(group)) = tokens.get(at + 1 + usize::from(is_inner)) {
                        at += 2 + usize::from(is_inner);
                        self.attribute(group, module, is_test);
                        if is_inner && is_for_tests(group) {
                            test_until = tokens.len();
                            self.is_test |= is_file;
                        } else if is_for_tests(group) {
                            test_until = test_until.max(end_of_item(&tokens, at));
                        }
                        continue;
                    }
                }
                TokenTree::Ident(word) if *word == "mod" => {
                    if let (Some(TokenTree::Ident(name)), Some(body)) = (tokens.get(at + 1), tokens.get(at + 2)) {
                        let inner = [module, &[plain(name)]].concat();
                        if let TokenTree::Group(group) = body {
                            self.walk(group.stream(), &inner, is_test, false);
                            self.inline.push(inner);
                        } else if is_test {
                            self.test_files.push(inner);
                        }
                        at += 3;
                        continue;
                    }
                }
                TokenTree::Ident(word) if *word == "use" && !is_punct(tokens.get(at + 1), '<') => {
                    let is_end = |token: &TokenTree| is_punct(Some(token), ';');
                    let end = tokens[at..].iter().position(is_end).map_or(tokens.len(), |end| at + end);
                    for leaf in leaves(&tokens[at + 1..end], &[]) {
                        let (name, path) = (leaf.name.clone(), leaf.path.clone());
                        self.uses.push(Use { module: module.to_vec(), name, path });
                        self.push(leaf, module, is_test);
                    }
                    at = end + 1;
                    continue;
                }
                TokenTree::Ident(word) if *word == "pub" => {
                    // A visibility restricts a name, and imports nothing.
                    if matches!(tokens.get(at + 1), Some(TokenTree::Group(group)) if is_visibility(group)) {
                        at += 2;
                        continue;
                    }
                }
                TokenTree::Ident(_) if is_separator(&tokens, at + 1) && !is_preceded_by_separator(&tokens, at) => {
                    let end = end_of_path(&tokens, at);
                    for leaf in leaves(&tokens[at..end], &[]) {
                        self.push(leaf, module, is_test);
                    }
                    at = end;
                    continue;
                }
                TokenTree::Group(group) => self.walk(group.stream(), module, is_test, false),
                _ => {}
            }
            at += 1;
        }
    }

    fn push(&mut self, leaf: Leaf, module: &[String], is_test: bool) {
        self.paths.push(Written { module: module.to_vec(), path: leaf.path, line: leaf.line, is_test });
    }

    /// Reads the paths of an attribute, in serde's texts as well.
    fn attribute(&mut self, group: &Group, module: &[String], is_test: bool) {
        let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
        let [TokenTree::Ident(name), TokenTree::Group(inner)] = tokens.as_slice() else {
            return self.walk(group.stream(), module, is_test, false);
        };
        if *name != "serde" {
            return self.walk(inner.stream(), module, is_test, false);
        }
        let tokens: Vec<TokenTree> = inner.stream().into_iter().collect();
        for three in tokens.windows(3) {
            let [TokenTree::Ident(key), equals, TokenTree::Literal(text)] = three else { continue };
            if !is_punct(Some(equals), '=') || !SERDE_PATHS.iter().any(|path| *key == path) {
                continue;
            }
            let line = text.span().start().line;
            let text = text.to_string();
            let path = text.trim_matches('"').split("::").map(str::to_owned).collect();
            self.push(Leaf { path, name: None, line }, module, is_test);
        }
    }
}

/// The ends of a tree of paths. `before` is the path up to here.
fn leaves(tokens: &[TokenTree], before: &[String]) -> Vec<Leaf> {
    let (mut path, mut at, mut line) = (before.to_vec(), 0, None);
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(word)) => {
                line.get_or_insert(word.span().start().line);
                // `a::{self}` is `a`; at the beginning of a path, `self` has a meaning.
                if *word != "self" || path.is_empty() {
                    path.push(plain(word));
                }
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let branches = inner.split(|token| is_punct(Some(token), ','));
                return branches.filter(|branch| !branch.is_empty()).flat_map(|branch| leaves(branch, &path)).collect();
            }
            Some(token) if is_punct(Some(token), '*') => {
                let line = line.unwrap_or_else(|| token.span().start().line);
                return vec![Leaf { path, name: None, line }];
            }
            // A leading `::` leads out of the package.
            _ => return Vec::new(),
        }
        if is_separator(tokens, at + 1) {
            at += 3;
            continue;
        }
        let name = match (tokens.get(at + 1), tokens.get(at + 2)) {
            (Some(TokenTree::Ident(word)), Some(TokenTree::Ident(name))) if *word == "as" => Some(plain(name)),
            _ => path.last().cloned(),
        };
        return vec![Leaf { path, name, line: line.unwrap_or_default() }];
    }
}

/// The index after the path that begins at this index, and after its braces.
fn end_of_path(tokens: &[TokenTree], mut at: usize) -> usize {
    while is_separator(tokens, at + 1) {
        match tokens.get(at + 3) {
            Some(TokenTree::Ident(_)) => at += 3,
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => return at + 4,
            _ => break,
        }
    }
    at + 1
}

/// The index after the item, field or statement that begins at this index.
fn end_of_item(tokens: &[TokenTree], at: usize) -> usize {
    let words = tokens[at..].iter().filter_map(|token| match token {
        TokenTree::Ident(word) => Some(word.to_string()),
        _ => None,
    });
    let first = words.into_iter().find(|word| word != "pub").unwrap_or_default();
    let (by_comma, by_body) = match first.as_str() {
        "use" | "static" | "const" | "type" | "let" => (false, false),
        "mod" | "fn" | "impl" | "struct" | "enum" | "trait" | "union" | "unsafe" | "async" | "extern"
        | "macro_rules" => (false, true),
        _ => (true, true),
    };
    let is_end = |token: &TokenTree| match token {
        TokenTree::Punct(punct) => punct.as_char() == ';' || by_comma && punct.as_char() == ',',
        TokenTree::Group(group) => by_body && group.delimiter() == Delimiter::Brace,
        _ => false,
    };
    tokens[at..].iter().position(is_end).map_or(tokens.len(), |end| at + end + 1)
}

/// Whether an attribute is `cfg(test)`, or `cfg(all(…))` with `test` in it.
fn is_for_tests(attribute: &Group) -> bool {
    fn requires_test(condition: &[TokenTree]) -> bool {
        match condition {
            [TokenTree::Ident(word)] => *word == "test",
            [TokenTree::Ident(word), TokenTree::Group(all)] if *word == "all" => {
                let all: Vec<TokenTree> = all.stream().into_iter().collect();
                all.split(|token| is_punct(Some(token), ',')).any(requires_test)
            }
            _ => false,
        }
    }
    let tokens: Vec<TokenTree> = attribute.stream().into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(word), TokenTree::Group(condition)] if *word == "cfg" => {
            requires_test(&condition.stream().into_iter().collect::<Vec<_>>())
        }
        _ => false,
    }
}

/// Whether a group after `pub` says where an item is visible.
fn is_visibility(group: &Group) -> bool {
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    match tokens.as_slice() {
        [TokenTree::Ident(word)] => ["crate", "self", "super"].iter().any(|place| *word == place),
        [TokenTree::Ident(word), ..] => *word == "in",
        _ => false,
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// Whether the tokens at this index are `::`.
fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

fn is_preceded_by_separator(tokens: &[TokenTree], at: usize) -> bool {
    at.checked_sub(2).is_some_and(|before| is_separator(tokens, before))
}

/// A name without the `r#` of a raw identifier, as its file has it.
fn plain(word: &Ident) -> String {
    let word = word.to_string();
    word.strip_prefix("r#").map(str::to_owned).unwrap_or(word)
}
