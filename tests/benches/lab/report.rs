//! The results, as lines of a table or as JSON.

use serde::{Deserialize, Serialize};

use super::series::{Series, Spread};

/// What a ratio compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Times: less is better.
    Time,
    /// Work by time: more is better.
    Rate,
    /// Bytes: less is better.
    Bytes,
}

/// A ratio of the component's figure to a peer's.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The case.
    pub case: String,
    /// The cipher suite of all its connections; `none` where there are none.
    pub suite: String,
    /// Whom the component is compared with: `native`, `python`, `fe2o3-amqp` or `itself`.
    pub peer: String,
    /// The component's median, divided by the peer's.
    pub ratio: f64,
    /// What the figures are: `time`, `rate` or `bytes`.
    pub unit: Unit,
    /// The least and the largest ratio of a round.
    pub spread: (f64, f64),
    /// What is compared with what, and how it was measured, such as "p50 of a call in µs, elapsed".
    pub measure: String,
    /// The component's figure.
    pub component: Spread,
    /// The peer's figure.
    pub peer_figure: Spread,
}

impl Row {
    /// The ratio of two series, whose rounds alternated.
    #[must_use]
    pub fn new(case: &str, suite: &str, peer: &str, unit: Unit, measure: &str, own: &Series, other: &Series) -> Self {
        let ratio = own.ratio(other);
        Self {
            case: case.to_owned(),
            suite: suite.to_owned(),
            peer: peer.to_owned(),
            ratio: ratio.median,
            unit,
            spread: (ratio.min, ratio.max),
            measure: measure.to_owned(),
            component: own.spread(),
            peer_figure: other.spread(),
        }
    }

    /// The names of the table's columns.
    #[must_use]
    pub fn heading() -> String {
        format!(
            "{:<20} {:<18} {:<10} {:>8} {:>15} {:>26} {:>26}  {}",
            "case", "suite", "peer", "ratio", "min..max", "component (min..max)", "peer (min..max)", "what"
        )
    }

    /// The row as a line of the table.
    #[must_use]
    pub fn line(&self) -> String {
        let figure =
            |spread: &Spread| format!("{} ({}..{})", digits(spread.median), digits(spread.min), digits(spread.max));
        format!(
            "{:<20} {:<18} {:<10} {:>7}x {:>15} {:>26} {:>26}  {}",
            self.case,
            self.suite,
            self.peer,
            digits(self.ratio),
            format!("{}..{}", digits(self.spread.0), digits(self.spread.1)),
            figure(&self.component),
            figure(&self.peer_figure),
            self.measure,
        )
    }
}

/// Three significant digits, all digits above the point.
fn digits(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        size if size >= 0.1 => format!("{figure:.2}"),
        _ => format!("{figure:.3}"),
    }
}
