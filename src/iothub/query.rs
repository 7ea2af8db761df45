//! The part of the hub's query language that this code writes.

/// A text literal of the query language. Its escapes are `\'`, `\"`, `\\` and `\uXXXX` ("IoT Hub query language",
/// Expressions and conditions).
pub fn text_literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::text_literal;

    #[test]
    fn quotes_and_backslashes_are_escaped() {
        assert_eq!(text_literal("press-17"), "'press-17'");
        assert_eq!(text_literal("o'hara"), r"'o\'hara'");
        assert_eq!(text_literal(r"\' OR 1=1"), r"'\\\' OR 1=1'");
    }
}
