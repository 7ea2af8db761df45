//! From text to a checked query.

use serde_json::Value;

use super::lexer::{Lexeme, Token, tokens};
use super::syntax::{Aggregate, Column, Comparison, Expression, Function, Operator, Projection, Query, QueryError};

/// How deeply a query may be nested, because parser and evaluator recurse.
const MAX_DEPTH: usize = 64;
/// The largest number of tokens, because a chain of AND and OR becomes a tree as deep as the chain is long.
const MAX_TOKENS: usize = 4096;
/// The longest query. Source: "Queries for device and module twins", section on the limitations of twin queries.
const MAX_CHARACTERS: usize = 8192;

/// Words that are no names outside double brackets: the keywords of Azure Digital Twins' language, which include the
/// hub's collections, and the hub's own `NIN` and `UNDEFINED`.
const RESERVED: [&str; 37] = [
    "ALL",
    "AND",
    "AS",
    "ASC",
    "AVG",
    "BY",
    "COUNT",
    "DESC",
    "DEVICES",
    "DEVICES_JOBS",
    "DEVICES_MODULES",
    "ENDS_WITH",
    "FALSE",
    "FROM",
    "GROUP",
    "IN",
    "IS_BOOL",
    "IS_DEFINED",
    "IS_NULL",
    "IS_NUMBER",
    "IS_OBJECT",
    "IS_PRIMITIVE",
    "IS_STRING",
    "MAX",
    "MIN",
    "NIN",
    "NOT",
    "NULL",
    "OR",
    "ORDER",
    "SELECT",
    "STARTS_WITH",
    "SUM",
    "TOP",
    "TRUE",
    "UNDEFINED",
    "WHERE",
];

pub(super) struct Parser {
    lexemes: Vec<Lexeme>,
    next: usize,
    depth: usize,
}

impl Parser {
    pub(super) fn new(text: &str) -> Result<Self, QueryError> {
        if text.chars().count() > MAX_CHARACTERS {
            return Err(QueryError::at(1, format!("the query has more than {MAX_CHARACTERS} characters")));
        }
        let lexemes = tokens(text)?;
        if lexemes.len() > MAX_TOKENS {
            return Err(QueryError::at(1, "the query is too long"));
        }
        Ok(Self { lexemes, next: 0, depth: 0 })
    }

    /// `SELECT … [FROM …] [WHERE …] [GROUP BY …] [ORDER BY is refused]`.
    pub(super) fn query(mut self, default_source: Option<&str>) -> Result<Query, QueryError> {
        self.expect_word("SELECT")?;
        let top = if self.take_word("TOP") { Some(self.count()?) } else { None };
        let projection = self.projection()?;
        let source = if self.take_word("FROM") {
            self.source()?
        } else {
            default_source.map(str::to_owned).ok_or_else(|| self.unexpected("FROM"))?
        };
        let condition = if self.take_word("WHERE") { Some(self.expression()?) } else { None };
        let mut group = Vec::new();
        if self.take_word("GROUP") {
            self.expect_word("BY")?;
            group.push(self.path()?);
            while self.take_symbol(",") {
                group.push(self.path()?);
            }
        }
        self.end()?;
        let mut query = Query { top, projection, source, condition, group };
        query.strip();
        query.check()?;
        Ok(query)
    }

    /// A condition without a query around it, such as a configuration's target condition.
    pub(super) fn condition(mut self) -> Result<Expression, QueryError> {
        let expression = self.expression()?;
        self.end()?;
        Ok(expression)
    }

    fn projection(&mut self) -> Result<Projection, QueryError> {
        if self.take_symbol("*") {
            return Ok(Projection::All);
        }
        let mut columns = vec![self.column()?];
        while self.take_symbol(",") {
            columns.push(self.column()?);
        }
        Ok(Projection::Columns(columns))
    }

    fn column(&mut self) -> Result<Column, QueryError> {
        let aggregate = match self.peek() {
            Token::Word(word) if self.peek_second() == &Token::Symbol("(") => Aggregate::named(word),
            _ => None,
        };
        let (aggregate, expression) = match aggregate {
            Some(aggregate) => {
                self.next += 2;
                let expression =
                    if aggregate == Aggregate::Count { None } else { Some(Expression::Path(self.path()?)) };
                if aggregate == Aggregate::Count && self.peek() != &Token::Symbol(")") {
                    return Err(QueryError::at(self.position(), "COUNT goes without an argument"));
                }
                self.expect_symbol(")")?;
                (Some(aggregate), expression)
            }
            None => (None, Some(Expression::Path(self.path()?))),
        };
        let alias = if self.take_word("AS") { Some(self.name("a name after AS", &[])?) } else { None };
        Ok(Column { aggregate, expression, alias })
    }

    fn source(&mut self) -> Result<String, QueryError> {
        let mut source = self.name("the name of a collection", &["DEVICES"])?;
        while self.take_symbol(".") {
            source.push('.');
            source.push_str(&self.name("the rest of the collection's name", &[])?);
        }
        Ok(source.to_ascii_lowercase())
    }

    fn expression(&mut self) -> Result<Expression, QueryError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(QueryError::at(self.position(), "the condition is nested too deeply"));
        }
        let mut left = self.conjunction()?;
        while self.take_word("OR") {
            left = Expression::Or(Box::new(left), Box::new(self.conjunction()?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Expression, QueryError> {
        let mut left = self.negation()?;
        while self.take_word("AND") {
            left = Expression::And(Box::new(left), Box::new(self.negation()?));
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Expression, QueryError> {
        let mut count = 0;
        while self.take_word("NOT") {
            count += 1;
        }
        let expression = self.comparison()?;
        Ok(if count % 2 == 1 { Expression::Not(Box::new(expression)) } else { expression })
    }

    fn comparison(&mut self) -> Result<Expression, QueryError> {
        let left = self.sum()?;
        if self.peek_is("NOT") {
            return Err(QueryError::at(self.position(), "'not in' is spelled NIN"));
        }
        let negated = self.peek_is("NIN");
        if self.take_word("IN") || self.take_word("NIN") {
            let list = Expression::In(Box::new(left), self.list()?);
            return Ok(if negated { Expression::Not(Box::new(list)) } else { list });
        }
        let operators = [
            ("=", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<>", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        for (symbol, operator) in operators {
            if self.take_symbol(symbol) {
                let right = self.sum()?;
                return Ok(Expression::Compare(operator, Box::new(left), Box::new(right)));
            }
        }
        Ok(left)
    }

    fn sum(&mut self) -> Result<Expression, QueryError> {
        let mut left = self.product()?;
        loop {
            let operator = match self.peek() {
                Token::Symbol("+") => Operator::Add,
                Token::Symbol("-") => Operator::Subtract,
                _ => return Ok(left),
            };
            self.next += 1;
            left = Expression::Arithmetic(operator, Box::new(left), Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Expression, QueryError> {
        let mut left = self.operand()?;
        loop {
            let operator = match self.peek() {
                Token::Symbol("*") => Operator::Multiply,
                Token::Symbol("/") => Operator::Divide,
                Token::Symbol("%") => Operator::Remainder,
                _ => return Ok(left),
            };
            self.next += 1;
            left = Expression::Arithmetic(operator, Box::new(left), Box::new(self.operand()?));
        }
    }

    /// An array of constants.
    fn list(&mut self) -> Result<Vec<Expression>, QueryError> {
        self.expect_symbol("[")?;
        let mut items = Vec::new();
        loop {
            let position = self.position();
            match self.operand()? {
                constant @ Expression::Literal(_) => items.push(constant),
                _ => return Err(QueryError::at(position, "an array may contain only constants")),
            }
            if !self.take_symbol(",") {
                self.expect_symbol("]")?;
                return Ok(items);
            }
        }
    }

    fn operand(&mut self) -> Result<Expression, QueryError> {
        if self.take_symbol("(") {
            let expression = self.expression()?;
            self.expect_symbol(")")?;
            return Ok(expression);
        }
        if self.take_symbol("-") {
            return match self.advance() {
                Token::Number(number) => {
                    let value = number
                        .as_i64()
                        .and_then(i64::checked_neg)
                        .map(Value::from)
                        .or_else(|| number.as_f64().map(|number| Value::from(-number)));
                    value.map(Expression::Literal).ok_or_else(|| self.unexpected("a number"))
                }
                _ => Err(self.unexpected("a number after '-'")),
            };
        }
        match self.peek().clone() {
            Token::Text(text) => {
                self.next += 1;
                Ok(Expression::Literal(Value::String(text)))
            }
            Token::Number(number) => {
                self.next += 1;
                Ok(Expression::Literal(Value::Number(number)))
            }
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                "true" => Ok(self.literal(Value::Bool(true))),
                "false" => Ok(self.literal(Value::Bool(false))),
                "null" => Ok(self.literal(Value::Null)),
                "undefined" => {
                    self.next += 1;
                    Ok(Expression::Undefined)
                }
                _ if is_clause(&word) => Err(self.unexpected("a value")),
                _ if self.peek_second() == &Token::Symbol("(") => self.call(&word),
                _ => Ok(Expression::Path(self.path()?)),
            },
            Token::Name(_) => Ok(Expression::Path(self.path()?)),
            _ => Err(self.unexpected("a value")),
        }
    }

    fn literal(&mut self, value: Value) -> Expression {
        self.next += 1;
        Expression::Literal(value)
    }

    fn call(&mut self, name: &str) -> Result<Expression, QueryError> {
        let (function, arity) = Function::named(name).ok_or_else(|| {
            let problem = format!(
                "there is no function '{name}' in queries of twins and jobs, only ARRAY_CONTAINS, IS_DEFINED and STARTSWITH"
            );
            QueryError::at(self.position(), problem)
        })?;
        self.next += 2;
        let mut arguments = Vec::new();
        if !self.take_symbol(")") {
            arguments.push(self.expression()?);
            while self.take_symbol(",") {
                arguments.push(self.expression()?);
            }
            self.expect_symbol(")")?;
        }
        if arguments.len() != arity {
            let problem = format!("'{name}' takes {arity} arguments, not {}", arguments.len());
            return Err(QueryError::at(self.position(), problem));
        }
        Ok(Expression::Call(function, arguments))
    }

    fn path(&mut self) -> Result<Vec<String>, QueryError> {
        let mut path = vec![self.name("a property", &["DEVICES"])?];
        while self.take_symbol(".") {
            path.push(self.name("a property after '.'", &[])?);
        }
        Ok(path)
    }

    fn count(&mut self) -> Result<usize, QueryError> {
        let position = self.position();
        match self.advance() {
            Token::Number(number) => number
                .as_u64()
                .and_then(|number| usize::try_from(number).ok())
                .filter(|number| *number > 0)
                .ok_or_else(|| QueryError::at(position, "TOP needs a whole number greater than 0")),
            _ => Err(QueryError::at(position, "TOP needs a number")),
        }
    }

    /// A name: a word that is not reserved, or anything in double brackets.
    fn name(&mut self, what: &str, besides: &[&str]) -> Result<String, QueryError> {
        match self.peek().clone() {
            Token::Word(word) => {
                let upper = word.to_ascii_uppercase();
                if RESERVED.contains(&upper.as_str()) && !besides.contains(&upper.as_str()) {
                    let problem = format!("'{word}' is a word of the language; as a name it is written [[{word}]]");
                    return Err(QueryError::at(self.position(), problem));
                }
                self.next += 1;
                Ok(word)
            }
            Token::Name(name) => {
                self.next += 1;
                Ok(name)
            }
            _ => Err(self.unexpected(what)),
        }
    }

    fn expect_word(&mut self, word: &str) -> Result<(), QueryError> {
        if self.take_word(word) { Ok(()) } else { Err(self.unexpected(word)) }
    }

    fn expect_symbol(&mut self, symbol: &'static str) -> Result<(), QueryError> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.unexpected(symbol)) }
    }

    fn take_word(&mut self, word: &str) -> bool {
        let found = self.peek_is(word);
        self.next += usize::from(found);
        found
    }

    fn take_symbol(&mut self, symbol: &'static str) -> bool {
        let found = matches!(self.peek(), Token::Symbol(found) if *found == symbol);
        self.next += usize::from(found);
        found
    }

    fn peek_is(&self, word: &str) -> bool {
        matches!(self.peek(), Token::Word(found) if found.eq_ignore_ascii_case(word))
    }

    fn end(&self) -> Result<(), QueryError> {
        if self.peek() == &Token::End { Ok(()) } else { Err(self.unexpected("the end of the query")) }
    }

    fn advance(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }

    fn peek(&self) -> &Token {
        self.lexemes.get(self.next).map_or(&Token::End, |lexeme| &lexeme.token)
    }

    fn peek_second(&self) -> &Token {
        self.lexemes.get(self.next + 1).map_or(&Token::End, |lexeme| &lexeme.token)
    }

    fn position(&self) -> usize {
        self.lexemes.get(self.next).or(self.lexemes.last()).map_or(1, |lexeme| lexeme.position)
    }

    fn unexpected(&self, expected: &str) -> QueryError {
        let found = match self.peek() {
            Token::Word(word) => format!("'{word}'"),
            Token::Name(name) => format!("'[[{name}]]'"),
            Token::Text(text) => format!("'{text}'"),
            Token::Number(number) => format!("'{number}'"),
            Token::Symbol(symbol) => format!("'{symbol}'"),
            Token::End => "the end".to_owned(),
        };
        QueryError::at(self.position(), format!("expected {expected}, found {found}"))
    }
}

fn is_clause(word: &str) -> bool {
    ["FROM", "WHERE", "GROUP", "ORDER", "BY", "AS", "AND", "OR", "NOT", "IN", "NIN", "SELECT"]
        .iter()
        .any(|clause| clause.eq_ignore_ascii_case(word))
}
