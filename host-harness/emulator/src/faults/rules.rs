//! The fault rules in force.

use std::sync::{Mutex, MutexGuard};

use super::action::FaultAction;
use super::rule::FaultRule;
use super::syntax::FaultSyntaxError;
use crate::random::SplitMix;
use crate::service::Service;
use crate::sync;

/// The rules in force. Every rule that matches a request fires, in the order of addition; the first that answers by
/// itself ends the exchange.
#[derive(Debug)]
pub struct Faults {
    state: Mutex<FaultState>,
}

#[derive(Debug)]
struct FaultState {
    rules: Vec<FaultRule>,
    random: SplitMix,
    seed: u64,
    fired: u64,
}

/// The seed of the random sequence, unless the options set another seed.
pub(crate) const SEED: u64 = 0x1057_F417;

impl Default for Faults {
    fn default() -> Self {
        Self::new(SEED)
    }
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: Mutex::new(FaultState { rules: Vec::new(), random: SplitMix::new(seed), seed, fired: 0 }) }
    }

    /// Adds a rule.
    pub fn add(&self, rule: FaultRule) {
        self.lock().rules.push(rule);
    }

    /// Adds a rule in its string form (the grammar is with [`FaultRule`]).
    ///
    /// # Errors
    /// When the text does not follow the grammar.
    pub fn add_text(&self, rule: &str) -> Result<(), FaultSyntaxError> {
        self.add(rule.parse()?);
        Ok(())
    }

    /// Removes every rule and starts the random sequence again from its seed.
    pub fn clear(&self) {
        let mut state = self.lock();
        state.rules.clear();
        state.random = SplitMix::new(state.seed);
    }

    /// How often rules have fired.
    pub fn fired(&self) -> u64 {
        self.lock().fired
    }

    /// The rules that can still fire, each with its remaining number of times. A rule without such a number always can.
    pub fn waiting(&self) -> Vec<FaultRule> {
        self.lock().rules.iter().filter(|rule| rule.times != Some(0)).cloned().collect()
    }

    pub(crate) fn pick(&self, service: Service, method: &str, path: &str) -> Vec<FaultAction> {
        let mut state = self.lock();
        let FaultState { rules, random, fired, .. } = &mut *state;
        let mut actions = Vec::new();
        for rule in rules.iter_mut() {
            if rule.times == Some(0) || !rule.matches(service, method, path) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            if rule.probability < 1.0 && random.next_unit() >= rule.probability {
                continue;
            }
            if let Some(times) = &mut rule.times {
                *times -= 1;
            }
            *fired += 1;
            actions.push(match &rule.action {
                FaultAction::Cut(limit) => FaultAction::Cut((random.next_unit() * f64::from(*limit)) as u32 + 1),
                action => action.clone(),
            });
            if rule.action.ends() {
                break;
            }
        }
        actions
    }

    fn lock(&self) -> MutexGuard<'_, FaultState> {
        sync::lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_spent_after_its_times() {
        let faults = Faults::default();
        faults.add(FaultRule::new("/a*c", FaultAction::DropConnection).times(1));
        assert!(faults.pick(Service::Hub, "GET", "/xbc").is_empty());
        assert_eq!(faults.waiting().len(), 1);
        assert_eq!(faults.pick(Service::Hub, "GET", "/abc").len(), 1);
        assert!(faults.pick(Service::Hub, "GET", "/abc").is_empty());
        assert!(faults.waiting().is_empty());
    }

    #[test]
    fn chance_repeats_with_its_seed() {
        let run = || {
            let faults = Faults::default();
            faults.add(FaultRule::new("/", FaultAction::Garbage).probability(0.3));
            (0..50).map(|_| faults.pick(Service::Dps, "GET", "/").len()).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
        assert!((5..30).contains(&run().iter().sum::<usize>()));
    }
}
