//! Tokens of the query language.

use super::syntax::QueryError;

/// One token with its position in the text, in characters from 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lexeme {
    pub(super) token: Token,
    pub(super) position: usize,
}

/// A token. Keywords are ordinary words here; the parser recognizes them by their position.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    Word(String),
    /// A name in double brackets, which is never a keyword: `[[group]]`.
    Name(String),
    Text(String),
    Number(serde_json::Number),
    Symbol(&'static str),
    End,
}

const SYMBOLS: &[&str] =
    &["!=", "<>", "<=", ">=", "=", "<", ">", "(", ")", "[", "]", ",", ".", "*", "+", "-", "/", "%"];
/// The escapes of a string besides `\uXXXX`.
const ESCAPES: [char; 3] = ['\'', '"', '\\'];

/// Splits a query into tokens; the last one is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Lexeme>, QueryError> {
    let mut lexemes = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let position = text.len() - rest.len() + 1;
        let Some(first) = rest.chars().next() else {
            lexemes.push(Lexeme { token: Token::End, position });
            return Ok(lexemes);
        };
        let (token, length) = match first {
            '\'' | '"' => string(rest, first, position)?,
            '0'..='9' => number(rest, position)?,
            c if c.is_alphabetic() || c == '_' || c == '$' => {
                let length =
                    rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$'))).unwrap_or(rest.len());
                (Token::Word(rest[..length].to_owned()), length)
            }
            '[' if rest.starts_with("[[") => {
                let inner = rest[2..].find("]]").filter(|end| *end > 0);
                let end = inner.ok_or_else(|| QueryError::at(position, "'[[' needs a name and ']]'"))?;
                (Token::Name(rest[2..2 + end].to_owned()), end + 4)
            }
            _ => {
                let symbol = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol));
                let symbol = symbol.ok_or_else(|| QueryError::at(position, format!("unexpected '{first}'")))?;
                (Token::Symbol(symbol), symbol.len())
            }
        };
        lexemes.push(Lexeme { token, position });
        rest = &rest[length..];
    }
}

fn string(rest: &str, quote: char, position: usize) -> Result<(Token, usize), QueryError> {
    let mut value = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((index, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, escaped)) if ESCAPES.contains(&escaped) => value.push(escaped),
                Some((at, 'u')) => {
                    let digits =
                        rest.get(at + 1..at + 5).filter(|it| it.bytes().all(|digit| digit.is_ascii_hexdigit()));
                    let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                    let code = code.and_then(char::from_u32);
                    value.push(
                        code.ok_or_else(|| QueryError::at(position + index, "'\\u' needs four hexadecimal digits"))?,
                    );
                    characters.nth(3);
                }
                Some((_, other)) => {
                    let problem = format!("'\\{other}' is no escape: there are \\' \\\" \\\\ and \\uXXXX");
                    return Err(QueryError::at(position + index, problem));
                }
                None => break,
            },
            c if c == quote => return Ok((Token::Text(value), index + quote.len_utf8())),
            other => value.push(other),
        }
    }
    Err(QueryError::at(position, "the string has no end"))
}

fn number(rest: &str, position: usize) -> Result<(Token, usize), QueryError> {
    let bytes = rest.as_bytes();
    if let Some(digits) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
        let length = digits.bytes().take_while(u8::is_ascii_hexdigit).count();
        return match i64::from_str_radix(&digits[..length], 16) {
            Ok(number) => Ok((Token::Number(number.into()), length + 2)),
            Err(_) => Err(QueryError::at(position, "'0x' needs up to 15 hexadecimal digits")),
        };
    }
    let mut length = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if bytes.get(length) == Some(&b'.') && bytes.get(length + 1).is_some_and(u8::is_ascii_digit) {
        length += 1 + bytes[length + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let digits = bytes[length + 1 + sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 {
            length += 1 + sign + digits;
        }
    }
    let text = &rest[..length];
    let text = text.trim_start_matches('0');
    let text =
        if text.is_empty() || !text.as_bytes()[0].is_ascii_digit() { format!("0{text}") } else { text.to_owned() };
    match serde_json::from_str::<serde_json::Number>(&text) {
        Ok(number) if number.as_f64().is_some() => Ok((Token::Number(number), length)),
        _ => Err(QueryError::at(position, "the number is too large")),
    }
}
