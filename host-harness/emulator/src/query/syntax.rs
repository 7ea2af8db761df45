//! What a query is made of.

use serde_json::Value;

/// A query that was understood.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Query {
    pub(super) top: Option<usize>,
    pub(super) projection: Projection,
    /// The collection, in lower case.
    pub(crate) source: String,
    pub(super) condition: Option<Expression>,
    pub(super) group: Vec<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Projection {
    All,
    Columns(Vec<Column>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Column {
    pub(super) aggregate: Option<Aggregate>,
    pub(super) expression: Option<Expression>,
    pub(super) alias: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    Count,
    Sum,
    Average,
    Minimum,
    Maximum,
}

/// A condition or a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expression {
    Or(Box<Expression>, Box<Expression>),
    And(Box<Expression>, Box<Expression>),
    Not(Box<Expression>),
    Compare(Comparison, Box<Expression>, Box<Expression>),
    In(Box<Expression>, Vec<Expression>),
    Call(Function, Vec<Expression>),
    Path(Vec<String>),
    Arithmetic(Operator, Box<Expression>, Box<Expression>),
    Literal(Value),
    Undefined,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Function {
    ArrayContains,
    IsDefined,
    StartsWith,
}

/// What is wrong with a query.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at position {position}")]
pub(crate) struct QueryError {
    pub(super) position: usize,
    pub(super) problem: String,
}

impl QueryError {
    pub(super) fn at(position: usize, problem: impl Into<String>) -> Self {
        Self { position, problem: problem.into() }
    }
}

impl Query {
    /// Takes the collection's name off the front of paths (`devices.deviceId`, `devices.jobs.jobId`).
    pub(super) fn strip(&mut self) {
        let source: Vec<String> = self.source.split('.').map(str::to_owned).collect();
        let strip = |path: &mut Vec<String>| {
            // A path may begin with the collection's whole name or with only the first word of that name.
            for count in [source.len(), 1] {
                let fits = path.iter().zip(&source[..count]).all(|(own, other)| own.eq_ignore_ascii_case(other));
                if path.len() > count && fits {
                    path.drain(..count);
                    return;
                }
            }
        };
        self.group.iter_mut().for_each(strip);
        if let Projection::Columns(columns) = &mut self.projection {
            columns.iter_mut().filter_map(|column| column.expression.as_mut()).for_each(|it| it.paths(&strip));
        }
        if let Some(condition) = &mut self.condition {
            condition.paths(&strip);
        }
    }

    pub(super) fn check(&self) -> Result<(), QueryError> {
        if self.source == "devices.jobs" && !self.is_whole() {
            return Err(QueryError::at(1, "devices.jobs can be queried with SELECT * only"));
        }
        if self.source == "devices.modules" && !self.group.is_empty() {
            return Err(QueryError::at(1, "GROUP BY goes with device twins only"));
        }
        let Projection::Columns(columns) = &self.projection else {
            return if self.group.is_empty() {
                Ok(())
            } else {
                Err(QueryError::at(1, "SELECT * does not go with GROUP BY"))
            };
        };
        let aggregates = columns.iter().any(|column| column.aggregate.is_some());
        let stray = columns.iter().find(|column| {
            column.aggregate.is_none()
                && !matches!(&column.expression, Some(Expression::Path(path)) if self.group.contains(path))
        });
        match stray {
            Some(_) if aggregates || !self.group.is_empty() => {
                Err(QueryError::at(1, "every column that is no aggregate must be in GROUP BY"))
            }
            _ => Ok(()),
        }
    }
}

impl Expression {
    fn paths(&mut self, change: &impl Fn(&mut Vec<String>)) {
        match self {
            Self::Or(left, right)
            | Self::And(left, right)
            | Self::Compare(_, left, right)
            | Self::Arithmetic(_, left, right) => {
                left.paths(change);
                right.paths(change);
            }
            Self::Not(inner) => inner.paths(change),
            Self::In(needle, list) => {
                needle.paths(change);
                list.iter_mut().for_each(|item| item.paths(change));
            }
            Self::Call(_, arguments) => arguments.iter_mut().for_each(|argument| argument.paths(change)),
            Self::Path(path) => change(path),
            Self::Literal(_) | Self::Undefined => {}
        }
    }
}

impl Column {
    /// The alias, the last part of a path, or `$1`, `$2`, … for anything else.
    pub(super) fn name(&self, index: usize) -> String {
        match (&self.alias, &self.expression) {
            (Some(alias), _) => alias.clone(),
            (None, Some(Expression::Path(path))) if self.aggregate.is_none() => {
                path.last().cloned().unwrap_or_default()
            }
            _ => format!("${}", index + 1),
        }
    }
}

impl Aggregate {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "COUNT" => Self::Count,
            "SUM" => Self::Sum,
            "AVG" => Self::Average,
            "MIN" => Self::Minimum,
            "MAX" => Self::Maximum,
            _ => return None,
        })
    }
}

impl Function {
    /// The function and how many arguments it takes.
    pub(super) fn named(name: &str) -> Option<(Self, usize)> {
        Some(match name.to_ascii_uppercase().as_str() {
            "ARRAY_CONTAINS" => (Self::ArrayContains, 2),
            "IS_DEFINED" => (Self::IsDefined, 1),
            "STARTSWITH" => (Self::StartsWith, 2),
            _ => return None,
        })
    }
}
