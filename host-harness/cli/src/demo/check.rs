//! The self-check compares numbers of the component with numbers of the emulator. Each workflow decides which numbers.

use serde::Serialize;

/// The largest number of differences that a line of the check lists.
const MOST_DIFFERENCES: usize = 5;

/// One line of the check: a number of the component, and the number of the emulator that it is compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckLine {
    /// What the two numbers count, in words.
    pub name: String,
    /// The component's number.
    pub component: u64,
    /// The emulator's number.
    pub emulator: u64,
    /// Whether the two numbers are equal and nothing differs.
    pub holds: bool,
    /// The first few differences, in words.
    pub differences: Vec<String>,
}

/// The outcome of the check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SelfCheck {
    /// Whether every line holds.
    pub holds: bool,
    /// The lines.
    pub lines: Vec<CheckLine>,
}

impl From<Vec<CheckLine>> for SelfCheck {
    /// Without any line nothing was compared, so the check does not hold.
    fn from(lines: Vec<CheckLine>) -> Self {
        Self { holds: !lines.is_empty() && lines.iter().all(|line| line.holds), lines }
    }
}

/// A line that holds if the numbers are equal and nothing differs.
pub(super) fn line(name: impl Into<String>, component: u64, emulator: u64, mut differences: Vec<String>) -> CheckLine {
    let holds = differences.is_empty() && component == emulator;
    let more = differences.len().saturating_sub(MOST_DIFFERENCES);
    differences.truncate(MOST_DIFFERENCES);
    if more > 0 {
        differences.push(format!("and {more} more"));
    }
    if !holds && differences.is_empty() {
        differences.push("the numbers differ".to_owned());
    }
    CheckLine { name: name.into(), component, emulator, holds, differences }
}

pub(super) fn count<T>(items: &[T]) -> u64 {
    items.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_only_where_every_line_does() {
        let fine = line("a", 2, 2, Vec::new());
        let unequal = line("b", 2, 3, Vec::new());
        let different = line("c", 2, 2, (0..9).map(|index| index.to_string()).collect());
        assert!(SelfCheck::from(vec![fine.clone()]).holds);
        assert!(!SelfCheck::from(vec![fine.clone(), unequal]).holds);
        assert_eq!(different.differences.last().map(String::as_str), Some("and 4 more"));
        assert!(!SelfCheck::from(vec![fine, different]).holds);
        assert!(!SelfCheck::from(Vec::new()).holds);
    }
}
