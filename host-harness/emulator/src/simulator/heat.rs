//! The temperature of a machine, interval by interval, in degrees Celsius.

/// The temperature to which a machine is cooled where its twin states none.
pub(crate) const TARGET: f64 = 45.0;
/// The temperature without overload.
const RESTING: f64 = 55.0;
/// The temperature that overload leads to.
const OVERLOADED: f64 = 110.0;
/// The temperature that cooling leads to.
const COOLED: f64 = 20.0;
/// The temperature at which a machine switches itself off.
const LIMIT: f64 = 90.0;
/// The share of the remaining difference that one interval covers.
const SHARE: f64 = 0.2;
/// The largest random deviation of a temperature, up or down.
const NOISE: f64 = 0.4;

/// A machine's temperature and what changes it.
#[derive(Clone, Debug)]
pub(crate) struct Heat {
    pub(super) temperature: f64,
    pub(super) overloaded: bool,
    pub(super) cooling: bool,
    /// Whether the machine has switched itself off.
    pub(super) stopped: bool,
    /// How often the machine has been cooled down.
    pub(super) cooled: u32,
}

impl Default for Heat {
    fn default() -> Self {
        Self { temperature: RESTING, overloaded: false, cooling: false, stopped: false, cooled: 0 }
    }
}

impl Heat {
    pub(super) fn overload(&mut self) {
        self.overloaded = true;
    }

    /// Starts to cool an overloaded machine until it is cool. A machine that has switched itself off starts again.
    pub(super) fn start_cooling(&mut self) {
        if self.overloaded {
            (self.cooling, self.stopped) = (true, false);
        }
    }

    /// Advances by one interval; `chance` is a random number in 0..1. Returns whether cooling has just reached its
    /// target.
    pub(super) fn go_on(&mut self, target: f64, chance: f64) -> bool {
        let goal = match self {
            Self { cooling: true, .. } => COOLED,
            Self { overloaded: true, stopped: false, .. } => OVERLOADED,
            _ => RESTING,
        };
        self.temperature += (goal - self.temperature) * SHARE + (chance * 2.0 - 1.0) * NOISE;
        let reached = self.cooling && self.temperature <= target;
        if reached {
            (self.cooling, self.overloaded) = (false, false);
            self.cooled += 1;
        }
        self.stopped |= !self.cooling && self.temperature >= LIMIT;
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overload_heats_cooling_cools_and_rest_stays_in_between() {
        let mut heat = Heat::default();
        let intervals = |heat: &mut Heat, count| (0..count).filter(|_| heat.go_on(TARGET, 0.5)).count();
        intervals(&mut heat, 20);
        assert!((RESTING - 1.0..RESTING + 1.0).contains(&heat.temperature));
        heat.overload();
        intervals(&mut heat, 2);
        assert!((70.0..80.0).contains(&heat.temperature) && !heat.stopped, "{heat:?}");
        intervals(&mut heat, 10);
        assert!(heat.stopped, "{heat:?}");
        heat.start_cooling();
        assert_eq!(intervals(&mut heat, 20), 1);
        assert!(!heat.stopped && !heat.overloaded && heat.cooled == 1);
        heat.start_cooling();
        assert!(!heat.cooling, "there is nothing to cool");
        assert!(intervals(&mut heat, 100) == 0 && !heat.stopped, "{heat:?}");
    }

    #[test]
    fn a_target_below_what_cooling_can_do_is_not_reached() {
        let mut heat = Heat::default();
        heat.overload();
        heat.start_cooling();
        assert!((0..200).all(|_| !heat.go_on(COOLED - 5.0, 0.5)));
    }
}
