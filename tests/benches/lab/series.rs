//! The figures of several rounds.

use serde::{Deserialize, Serialize};

/// One figure for each round, in the order of the rounds.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

/// The median of the rounds, and the least and the largest of them.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Series {
    /// Adds the figure of a round.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// The median, and the range.
    #[must_use]
    pub fn spread(&self) -> Spread {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or_default();
        Spread { median: at(sorted.len() / 2), min: at(0), max: at(sorted.len().saturating_sub(1)) }
    }

    /// The median.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.spread().median
    }

    /// The ratio to another series: that of the medians, and the range of the ratios of each round.
    #[must_use]
    pub fn ratio(&self, peer: &Self) -> Spread {
        let rounds = Self(self.0.iter().zip(&peer.0).map(|(own, peer)| own / peer).collect());
        Spread { median: self.median() / peer.median(), ..rounds.spread() }
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<T: IntoIterator<Item = f64>>(figures: T) -> Self {
        Self(figures.into_iter().collect())
    }
}
