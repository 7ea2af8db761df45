//! Running a checked query over documents.
//!
//! A condition has one of three outcomes, as in the service's own engine: true, false or undefined. A comparison with a
//! missing value is undefined. Only true selects a document; `NOT` of undefined is undefined.

use std::cmp::Ordering;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::syntax::{Aggregate, Column, Comparison, Expression, Function, Operator, Projection, Query};

impl Query {
    /// Whether the document is selected.
    pub(crate) fn selects(&self, document: &Value) -> bool {
        self.condition.as_ref().is_none_or(|condition| condition.holds(document))
    }

    /// Whether the answer has one row per document, so that it can be produced page by page.
    pub(crate) fn is_row_by_row(&self) -> bool {
        self.group.is_empty() && !self.has_aggregate()
    }

    /// Whether rows are the documents themselves.
    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.projection, Projection::All)
    }

    /// The largest number of rows, if the query sets one.
    pub(crate) fn top(&self) -> Option<usize> {
        self.top
    }

    /// One selected document as a row.
    pub(crate) fn project(&self, document: Value) -> Value {
        match &self.projection {
            Projection::All => document,
            Projection::Columns(columns) => {
                let mut row = Map::new();
                for (index, column) in columns.iter().enumerate() {
                    if let Some(value) = column.expression.as_ref().and_then(|it| it.value(&document)) {
                        row.insert(column.name_in(index, &document), value);
                    }
                }
                Value::Object(row)
            }
        }
    }

    /// All rows of a query with groups or aggregates, in the order of first appearance.
    pub(crate) fn aggregate(&self, documents: impl Iterator<Item = Value>) -> Vec<Value> {
        let Projection::Columns(columns) = &self.projection else { return Vec::new() };
        let mut groups: Vec<(Vec<Option<Value>>, Vec<Value>)> = Vec::new();
        if self.group.is_empty() {
            groups.push((Vec::new(), Vec::new()));
        }
        for document in documents {
            let key: Vec<_> = self.group.iter().map(|path| lookup(&document, path).cloned()).collect();
            match groups.iter_mut().find(|(known, _)| *known == key) {
                Some((_, members)) => members.push(document),
                None => groups.push((key, vec![document])),
            }
        }
        groups.iter().map(|(_, members)| row(columns, members)).collect()
    }

    fn has_aggregate(&self) -> bool {
        match &self.projection {
            Projection::All => false,
            Projection::Columns(columns) => columns.iter().any(|column| column.aggregate.is_some()),
        }
    }
}

fn row(columns: &[Column], members: &[Value]) -> Value {
    let mut row = Map::new();
    for (index, column) in columns.iter().enumerate() {
        let value = match column.aggregate {
            Some(aggregate) => aggregate.over(column.expression.as_ref(), members),
            None => members
                .first()
                .and_then(|member| column.expression.as_ref().and_then(|expression| expression.value(member))),
        };
        if let Some(value) = value {
            row.insert(column.name(index), value);
        }
    }
    Value::Object(row)
}

impl Aggregate {
    fn over(self, expression: Option<&Expression>, members: &[Value]) -> Option<Value> {
        let Some(expression) = expression else { return Some(json!(members.len())) };
        let values = members.iter().filter_map(|member| expression.value(member));
        if self == Self::Count {
            return Some(json!(values.count()));
        }
        let numbers: Vec<f64> = values.filter_map(|value| value.as_f64()).collect();
        let sum = numbers.iter().sum::<f64>();
        let result = match self {
            Self::Count => return None,
            Self::Sum => sum,
            Self::Average if numbers.is_empty() => return None,
            Self::Average => sum / numbers.len() as f64,
            Self::Minimum => numbers.iter().copied().reduce(f64::min)?,
            Self::Maximum => numbers.iter().copied().reduce(f64::max)?,
        };
        Some(whole(result))
    }
}

/// A number as JSON; a whole number is written without a fraction.
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 9e15 { json!(number as i64) } else { json!(number) }
}

impl Expression {
    /// Whether the condition is true for the document; undefined counts as not true.
    pub(crate) fn holds(&self, document: &Value) -> bool {
        self.truth(document) == Some(true)
    }

    fn truth(&self, document: &Value) -> Option<bool> {
        match self {
            Self::And(left, right) => match (left.truth(document), right.truth(document)) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                (Some(true), Some(true)) => Some(true),
                _ => None,
            },
            Self::Or(left, right) => match (left.truth(document), right.truth(document)) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                (Some(false), Some(false)) => Some(false),
                _ => None,
            },
            Self::Not(inner) => inner.truth(document).map(|truth| !truth),
            Self::Compare(operator, left, right) => compare(*operator, &left.value(document)?, &right.value(document)?),
            Self::In(needle, list) => {
                let needle = needle.value(document)?;
                Some(list.iter().any(|item| {
                    item.value(document).is_some_and(|item| compare(Comparison::Equal, &needle, &item) == Some(true))
                }))
            }
            Self::Call(function, arguments) => function.apply(arguments, document)?.as_bool(),
            Self::Path(_) | Self::Literal(_) | Self::Undefined | Self::Arithmetic(..) => {
                self.value(document)?.as_bool()
            }
        }
    }

    fn value(&self, document: &Value) -> Option<Value> {
        match self {
            Self::Literal(value) => Some(value.clone()),
            Self::Path(path) => lookup(document, path).cloned(),
            Self::Call(function, arguments) => function.apply(arguments, document),
            Self::Arithmetic(operator, left, right) => operator.apply(&left.value(document)?, &right.value(document)?),
            Self::Undefined => None,
            _ => self.truth(document).map(Value::Bool),
        }
    }
}

impl Function {
    fn apply(self, arguments: &[Expression], document: &Value) -> Option<Value> {
        let first = arguments.first().and_then(|argument| argument.value(document));
        match self {
            Self::ArrayContains => {
                let wanted = arguments.get(1)?.value(document)?;
                let holds = |item: &Value| compare(Comparison::Equal, item, &wanted) == Some(true);
                Some(Value::Bool(first?.as_array()?.iter().any(holds)))
            }
            Self::IsDefined => Some(Value::Bool(first.is_some())),
            Self::StartsWith => {
                let start = arguments.get(1)?.value(document)?;
                Some(Value::Bool(first?.as_str()?.starts_with(start.as_str()?)))
            }
        }
    }
}

impl Operator {
    /// Calculates. The result is undefined (`None`) for operands that are not numbers.
    fn apply(self, left: &Value, right: &Value) -> Option<Value> {
        if let (Some(left), Some(right)) = (left.as_i64(), right.as_i64()) {
            let exact = match self {
                Self::Add => left.checked_add(right),
                Self::Subtract => left.checked_sub(right),
                Self::Multiply => left.checked_mul(right),
                Self::Remainder => left.checked_rem(right),
                Self::Divide => None,
            };
            if let Some(exact) = exact {
                return Some(json!(exact));
            }
        }
        let (left, right) = (left.as_f64()?, right.as_f64()?);
        let result = match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
            Self::Divide => left / right,
            Self::Remainder => left % right,
        };
        result.is_finite().then(|| whole(result))
    }
}

impl Column {
    /// Like [`Self::name`], but a name at the top of the document is spelled as in the document.
    fn name_in(&self, index: usize, document: &Value) -> String {
        match (&self.alias, &self.expression) {
            (None, Some(Expression::Path(path))) if path.len() == 1 => {
                spelled(document, &path[0]).map_or_else(|| self.name(index), |(name, _)| name.clone())
            }
            _ => self.name(index),
        }
    }
}

/// The member with this name, regardless of case. An exact match takes precedence.
fn spelled<'a>(document: &'a Value, name: &str) -> Option<(&'a String, &'a Value)> {
    let members = document.as_object()?;
    members.get_key_value(name).or_else(|| members.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)))
}

fn lookup<'a>(document: &'a Value, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let (_, value) = spelled(document, first)?;
    rest.iter().try_fold(value, |value, key| value.as_object()?.get(key))
}

fn compare(operator: Comparison, left: &Value, right: &Value) -> Option<bool> {
    let primitive = |value: &Value| !value.is_object() && !value.is_array();
    if !primitive(left) || !primitive(right) {
        return None;
    }
    let ordering = order(left, right);
    match operator {
        Comparison::Equal => Some(ordering.map_or_else(|| left == right, Ordering::is_eq)),
        Comparison::NotEqual => Some(ordering.map_or_else(|| left != right, Ordering::is_ne)),
        Comparison::Less => ordering.map(Ordering::is_lt),
        Comparison::LessOrEqual => ordering.map(Ordering::is_le),
        Comparison::Greater => ordering.map(Ordering::is_gt),
        Comparison::GreaterOrEqual => ordering.map(Ordering::is_ge),
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => match (left.as_i64(), right.as_i64()) {
            (Some(left), Some(right)) => Some(left.cmp(&right)),
            _ => left.as_f64()?.partial_cmp(&right.as_f64()?),
        },
        (Value::String(left), Value::String(right)) => Some(match (as_time(left), as_time(right)) {
            // Times are written with and without fractions of a second, so comparing their text would give a wrong
            // order.
            (Some(left), Some(right)) => left.cmp(&right),
            _ => left.cmp(right),
        }),
        (Value::Bool(left), Value::Bool(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

fn as_time(text: &str) -> Option<OffsetDateTime> {
    // Cheap test first: almost no string is a time.
    (text.len() >= 20 && text.as_bytes()[4] == b'-' && text.as_bytes()[10] == b'T')
        .then(|| OffsetDateTime::parse(text, &Rfc3339).ok())
        .flatten()
}
