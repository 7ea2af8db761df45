//! The self-check: compares what the engine did with what the emulator recorded.
//!
//! A hub's log has every event, and the rule can be applied to the log without the component. So the check requires
//! that
//!
//! 1. every hot reading of the log was delivered, and nothing else was,
//! 2. the events of a partition come in order; an event comes again only after its partition's loop died, and only if
//!    the event was not committed,
//! 3. a cursor was committed only after every event before it was settled, and in the end every event is settled and
//!    committed,
//! 4. every event that is done had both of its effects, on its own device; there is no effect without an event; there
//!    is an effect more than once only if the event was delivered again or the emulator left a request unanswered,
//! 5. every parked event failed at the emulator at least as often as its dead letter states,
//! 6. every machine that was asked to cool is cool, and its twin says so.

use std::collections::{BTreeMap, BTreeSet};

use super::super::check::{CheckLine, count, line};
use super::ledger::{Hot, Outcome, Step};
use super::rule::THRESHOLD;

/// A hot reading in the emulator's log.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Recorded {
    pub(super) partition: String,
    pub(super) sequence: i64,
    pub(super) device: String,
    pub(super) temperature: f64,
    /// When the hub received the reading, in nanoseconds since 1970.
    pub(super) at: i128,
}

/// An effect on a device, as the emulator's journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Effect {
    pub(super) device: String,
    /// The event that the effect answers.
    pub(super) event: String,
    /// When the effect happened, in nanoseconds since 1970.
    pub(super) at: i128,
}

/// Requests about one event that failed or were not answered, as the emulator recorded them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    /// How many requests were answered with an error, or not at all.
    pub(super) failed: u64,
    /// How many of these requests were not answered at all.
    pub(super) unanswered: u64,
}

/// The state of a machine at the end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Machine {
    pub(super) temperature: f64,
    /// Whether the machine's twin reports that it is being cooled; `None` if the twin reports nothing about cooling.
    pub(super) reports_cooling: Option<bool>,
}

/// Everything that the check looks at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Evidence {
    /// The emulator's log, partition by partition, in order.
    pub(super) recorded: Vec<Recorded>,
    /// What the engine did, in order.
    pub(super) steps: Vec<Step>,
    /// Direct methods that devices answered.
    pub(super) methods: Vec<Effect>,
    /// Updates of twins that name an event.
    pub(super) patches: Vec<Effect>,
    /// Requests that failed or were not answered, by event.
    pub(super) trouble: BTreeMap<String, Trouble>,
    /// Parked events and how often each was tried.
    pub(super) parked: BTreeMap<String, u32>,
    /// The machines at the end, by device.
    pub(super) machines: BTreeMap<String, Machine>,
}

/// Makes all comparisons.
pub(super) fn check(evidence: &Evidence) -> Vec<CheckLine> {
    let history = History::of(&evidence.steps);
    vec![
        delivered(evidence, &history),
        in_order(&history),
        committed(evidence, &history),
        effects("startCooling: events done / devices that ran it for them", evidence, &history, &evidence.methods),
        effects("update-twin: events done / twins patched for them", evidence, &history, &evidence.patches),
        parked(evidence, &history),
        cooled(evidence, &history),
    ]
}

/// What follows from the engine's steps.
#[derive(Default)]
struct History<'e> {
    /// By event id: its first delivery, and how often it was delivered.
    delivered: BTreeMap<&'e str, (&'e Hot, u64)>,
    /// How each event ended, by partition and sequence number.
    settled: BTreeMap<(&'e str, i64), Outcome>,
    /// Deliveries, first and repeated ones.
    deliveries: u64,
    /// Repeated deliveries that a death explains: the event had not been committed.
    explained: u64,
    disorder: Vec<String>,
    /// The sequence number up to which each partition is committed.
    committed: BTreeMap<&'e str, i64>,
    commits: u64,
    early: Vec<String>,
}

impl<'e> History<'e> {
    fn of(steps: &'e [Step]) -> Self {
        let mut history = Self::default();
        // The last sequence number that each partition's loop has delivered in its present life.
        let mut reached: BTreeMap<&str, i64> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Delivered(hot) => history.deliver(hot, &mut reached),
                Step::Settled { partition, sequence, outcome } => {
                    history.settled.insert((partition, *sequence), *outcome);
                }
                Step::Committed { partition, through } => history.commit(partition, *through),
                Step::Died { partition } => {
                    let back = history.committed.get(partition.as_str()).copied().unwrap_or(-1);
                    reached.insert(partition, back);
                }
            }
        }
        history
    }

    fn deliver(&mut self, hot: &'e Hot, reached: &mut BTreeMap<&'e str, i64>) {
        self.deliveries += 1;
        let last = reached.insert(&hot.partition, hot.sequence).unwrap_or(-1);
        let (_, times) = self.delivered.entry(&hot.event).or_insert((hot, 0));
        *times += 1;
        if hot.sequence <= last {
            self.disorder.push(format!("partition {}: {} came after {last}", hot.partition, hot.sequence));
        } else if *times > 1 {
            self.explained += 1;
        }
    }

    fn commit(&mut self, partition: &'e str, through: Option<i64>) {
        self.commits += 1;
        let Some(through) = through else { return };
        let unsettled = self.delivered.values().find(|(hot, _)| {
            hot.partition == partition
                && hot.sequence <= through
                && !self.settled.contains_key(&(partition, hot.sequence))
        });
        if let Some((hot, _)) = unsettled {
            self.early.push(format!("partition {partition}: committed {through} before {} was settled", hot.sequence));
        }
        let before = self.committed.insert(partition, through);
        if let Some(before) = before.filter(|before| *before > through) {
            self.early.push(format!("partition {partition}: committed {through} after {before}"));
        }
    }

    /// The events that ended with this outcome.
    fn ended(&self, outcome: Outcome) -> impl Iterator<Item = &'e Hot> {
        self.delivered
            .values()
            .map(|(hot, _)| *hot)
            .filter(move |hot| self.settled.get(&(hot.partition.as_str(), hot.sequence)) == Some(&outcome))
    }
}

fn delivered(evidence: &Evidence, history: &History<'_>) -> CheckLine {
    let mut delivered: BTreeMap<(&str, i64), &Hot> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (hot, _) in history.delivered.values() {
        if delivered.insert((&hot.partition, hot.sequence), hot).is_some() {
            wrong.push(format!("partition {}: {} was delivered under two ids", hot.partition, hot.sequence));
        }
    }
    let mut found = 0;
    for recorded in &evidence.recorded {
        let Recorded { partition, sequence, device, temperature, .. } = recorded;
        match delivered.remove(&(partition.as_str(), *sequence)) {
            Some(hot) if hot.device == *device && hot.temperature == *temperature => found += 1,
            Some(hot) => wrong.push(format!(
                "partition {partition}: {sequence} is {device} at {temperature} °C, and was delivered as {} at {} °C",
                hot.device, hot.temperature
            )),
            None => wrong
                .push(format!("{device} at {temperature} °C (partition {partition}, {sequence}) was not delivered")),
        }
    }
    wrong.extend(delivered.values().map(|hot| {
        format!("{} at {} °C (partition {}, {}) was made up", hot.device, hot.temperature, hot.partition, hot.sequence)
    }));
    line("Hot readings delivered / in the hub's log", found, count(&evidence.recorded), wrong)
}

fn in_order(history: &History<'_>) -> CheckLine {
    let expected = history.delivered.len() as u64 + history.explained;
    line(
        "Deliveries / distinct events and repetitions after a death",
        history.deliveries,
        expected,
        history.disorder.clone(),
    )
}

fn committed(evidence: &Evidence, history: &History<'_>) -> CheckLine {
    let mut wrong = history.early.clone();
    let mut done = 0;
    for recorded in &evidence.recorded {
        let (partition, sequence) = (recorded.partition.as_str(), recorded.sequence);
        let settled = history.settled.contains_key(&(partition, sequence));
        if settled && history.committed.get(partition).is_some_and(|through| *through >= sequence) {
            done += 1;
        } else {
            wrong.push(format!("partition {partition}: {sequence} is not settled and committed"));
        }
    }
    line(
        "Hot readings settled and committed, none too early / in the hub's log",
        done,
        count(&evidence.recorded),
        wrong,
    )
}

fn effects(name: &str, evidence: &Evidence, history: &History<'_>, effects: &[Effect]) -> CheckLine {
    let mut times: BTreeMap<&str, u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for effect in effects {
        *times.entry(&effect.event).or_default() += 1;
        match history.delivered.get(effect.event.as_str()) {
            Some((hot, _)) if hot.device == effect.device => {}
            _ => wrong.push(format!("{}: an effect that no event asked for ({})", effect.device, effect.event)),
        }
    }
    let mut done = 0;
    let mut had = 0;
    for hot in history.ended(Outcome::Done) {
        done += 1;
        match times.get(hot.event.as_str()) {
            Some(_) => had += 1,
            None => wrong.push(format!("{} at {} °C: no effect was recorded", hot.device, hot.temperature)),
        }
    }
    for (event, times) in &times {
        let Some((hot, deliveries)) = history.delivered.get(event) else { continue };
        let unanswered = evidence.trouble.get(*event).map_or(0, |trouble| trouble.unanswered);
        if *times > deliveries + unanswered {
            wrong.push(format!(
                "{} at {} °C: the effect happened {times} times for {deliveries} deliveries and {unanswered} lost answers",
                hot.device, hot.temperature
            ));
        }
    }
    line(name, done, had, wrong)
}

fn parked(evidence: &Evidence, history: &History<'_>) -> CheckLine {
    let settled: BTreeSet<&str> = history.ended(Outcome::Parked).map(|hot| hot.event.as_str()).collect();
    let mut wrong = Vec::new();
    let mut failed = 0;
    for event in &settled {
        let Some(tries) = evidence.parked.get(*event) else {
            wrong.push(format!("{event} was given up on, and is not among the dead letters"));
            continue;
        };
        let trouble = evidence.trouble.get(*event).copied().unwrap_or_default();
        if trouble.failed >= u64::from(*tries) {
            failed += 1;
        } else {
            wrong.push(format!("{event} was parked after {tries} tries, of which {} failed", trouble.failed));
        }
    }
    for event in evidence.parked.keys().filter(|event| !settled.contains(event.as_str())) {
        // If the loop parked an event and died before the commit, the event was delivered again and may have succeeded
        // then.
        if history.delivered.get(event.as_str()).is_none_or(|(_, times)| *times < 2) {
            wrong.push(format!("{event} is among the dead letters, and was not given up on"));
        }
    }
    line("Parked events / whose tries all failed at the emulator", settled.len() as u64, failed, wrong)
}

fn cooled(evidence: &Evidence, history: &History<'_>) -> CheckLine {
    let asked: BTreeSet<&str> = history.ended(Outcome::Done).map(|hot| hot.device.as_str()).collect();
    let wrong: Vec<String> = asked
        .iter()
        .filter_map(|device| match evidence.machines.get(*device) {
            Some(machine) if machine.temperature < THRESHOLD && machine.reports_cooling == Some(false) => None,
            Some(machine) => {
                let says = match machine.reports_cooling {
                    Some(true) => "says it is being cooled",
                    Some(false) => "says it was cooled",
                    None => "says nothing of being cooled",
                };
                Some(format!("{device} ends with {} °C, and {says}", machine.temperature))
            }
            None => Some(format!("{device} is not a machine")),
        })
        .collect();
    let of = asked.len() as u64;
    line("Machines asked to cool / that are cool and report it", of, of - count(&wrong), wrong)
}

/// The number of events that are done.
pub(super) fn answered(evidence: &Evidence) -> u64 {
    History::of(&evidence.steps).ended(Outcome::Done).count() as u64
}

/// For each event that a machine answered: the time from the reading to the first answer, in nanoseconds.
pub(super) fn reactions(evidence: &Evidence) -> Vec<i128> {
    let history = History::of(&evidence.steps);
    let recorded: BTreeMap<(&str, i64), i128> =
        evidence.recorded.iter().map(|it| ((it.partition.as_str(), it.sequence), it.at)).collect();
    let mut answered = BTreeSet::new();
    let first = evidence.methods.iter().filter(|method| answered.insert(&method.event));
    first
        .filter_map(|method| {
            let (hot, _) = history.delivered.get(method.event.as_str())?;
            Some(method.at - recorded.get(&(hot.partition.as_str(), hot.sequence))?)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hot(partition: &str, sequence: i64, device: &str) -> Hot {
        Hot {
            event: format!("{partition}/{sequence}"),
            partition: partition.to_owned(),
            sequence,
            device: device.to_owned(),
            temperature: 84.5,
            time: String::new(),
            order_key: device.to_owned(),
        }
    }

    fn recorded(partition: &str, sequence: i64, device: &str) -> Recorded {
        let (partition, device) = (partition.to_owned(), device.to_owned());
        Recorded { partition, sequence, device, temperature: 84.5, at: 1_000 }
    }

    fn settled(partition: &str, sequence: i64, outcome: Outcome) -> Step {
        Step::Settled { partition: partition.to_owned(), sequence, outcome }
    }

    fn commit(partition: &str, through: i64) -> Step {
        Step::Committed { partition: partition.to_owned(), through: Some(through) }
    }

    fn effect(event: &str, device: &str) -> Effect {
        Effect { device: device.to_owned(), event: event.to_owned(), at: 5_000 }
    }

    /// Partition 0: two events of device `a`; the second is delivered again, because the loop died after the direct
    /// method. Partition 1: an event of `b`, for which an answer was lost, and an event of `c`, which cannot be
    /// reached.
    fn sound() -> Evidence {
        let [a3, a7, b2, c4] = [hot("0", 3, "a"), hot("0", 7, "a"), hot("1", 2, "b"), hot("1", 4, "c")];
        let machine = |temperature, reports_cooling| Machine { temperature, reports_cooling };
        Evidence {
            recorded: vec![recorded("0", 3, "a"), recorded("0", 7, "a"), recorded("1", 2, "b"), recorded("1", 4, "c")],
            steps: vec![
                Step::Committed { partition: "0".to_owned(), through: None },
                Step::Delivered(a3),
                Step::Delivered(b2),
                settled("0", 3, Outcome::Done),
                commit("0", 3),
                Step::Delivered(a7.clone()),
                Step::Delivered(c4),
                Step::Died { partition: "0".to_owned() },
                settled("1", 2, Outcome::Done),
                commit("1", 2),
                Step::Delivered(a7),
                settled("1", 4, Outcome::Parked),
                settled("0", 7, Outcome::Done),
                commit("0", 7),
                commit("1", 4),
            ],
            methods: vec![
                effect("0/3", "a"),
                effect("0/7", "a"),
                effect("0/7", "a"),
                effect("1/2", "b"),
                effect("1/2", "b"),
            ],
            patches: vec![effect("0/3", "a"), effect("0/7", "a"), effect("1/2", "b")],
            trouble: BTreeMap::from([
                ("1/2".to_owned(), Trouble { failed: 1, unanswered: 1 }),
                ("1/4".to_owned(), Trouble { failed: 5, unanswered: 0 }),
            ]),
            parked: BTreeMap::from([("1/4".to_owned(), 5)]),
            machines: BTreeMap::from([
                ("a".to_owned(), machine(54.0, Some(false))),
                ("b".to_owned(), machine(44.0, Some(false))),
                ("c".to_owned(), machine(86.0, None)),
            ]),
        }
    }

    fn failing(evidence: &Evidence) -> Vec<String> {
        check(evidence).into_iter().filter(|line| !line.holds).map(|line| line.name).collect()
    }

    fn doctored<T>(doctor: impl FnOnce(&mut Evidence) -> T) -> Vec<String> {
        let mut evidence = sound();
        doctor(&mut evidence);
        failing(&evidence)
    }

    #[test]
    fn holds_for_what_is_sound() {
        let lines = check(&sound());
        assert!(lines.iter().all(|line| line.holds), "{lines:#?}");
        assert_eq!(reactions(&sound()), [4_000; 3]);
        assert_eq!(answered(&sound()), 3);
    }

    #[test]
    fn fails_for_every_step_that_is_left_out() {
        for index in 0..sound().steps.len() {
            // These commits may be missing: the first has no event before it, and later commits include the events of
            // the others.
            if matches!(&sound().steps[index], Step::Committed { through: None | Some(2 | 3), .. }) {
                continue;
            }
            let gone = sound().steps[index].clone();
            assert!(!doctored(|evidence| evidence.steps.remove(index)).is_empty(), "{gone:?}");
        }
    }

    #[test]
    fn fails_for_every_effect_that_is_missing_made_up_or_on_another_device() {
        let which: [fn(&mut Evidence) -> &mut Vec<Effect>; 2] =
            [|evidence| &mut evidence.methods, |evidence| &mut evidence.patches];
        for effects in which {
            for event in ["0/3", "0/7", "1/2"] {
                let gone = |evidence: &mut Evidence| effects(evidence).retain(|effect| effect.event != event);
                assert!(!doctored(gone).is_empty(), "{event} is missing");
                let moved = |evidence: &mut Evidence| {
                    let effect = effects(evidence).iter_mut().find(|effect| effect.event == event);
                    effect.expect("as set up").device = "c".to_owned();
                };
                assert!(!doctored(moved).is_empty(), "{event} is on another device");
                let often = |evidence: &mut Evidence| {
                    (0..2).for_each(|_| effects(evidence).push(effect(event, if event == "1/2" { "b" } else { "a" })));
                };
                assert!(!doctored(often).is_empty(), "{event} is there too often");
            }
            assert!(!doctored(|evidence| effects(evidence).push(effect("0/9", "a"))).is_empty());
        }
    }

    #[test]
    fn fails_for_readings_that_are_lost_invented_or_changed() {
        for index in 0..sound().recorded.len() {
            assert!(!doctored(|evidence| evidence.recorded.remove(index)).is_empty(), "{index} is invented");
        }
        assert!(!doctored(|evidence| evidence.recorded.push(recorded("1", 9, "b"))).is_empty());
        assert!(!doctored(|evidence| evidence.recorded[0].temperature = 84.6).is_empty());
        assert!(!doctored(|evidence| evidence.recorded[0].device = "b".to_owned()).is_empty());
    }

    #[test]
    fn fails_for_repetitions_without_a_reason() {
        // In this order: a repetition without a death, a repetition of a committed event, events out of order.
        let again = |at: usize, which: Hot| doctored(|evidence| evidence.steps.insert(at, Step::Delivered(which)));
        assert!(!again(3, hot("0", 3, "a")).is_empty());
        assert!(!again(8, hot("0", 3, "a")).is_empty());
        assert!(!doctored(|evidence| evidence.steps.swap(2, 6)).is_empty());
        // One more effect than deliveries and lost answers explain.
        assert!(!doctored(|evidence| evidence.trouble.remove("1/2")).is_empty());
    }

    #[test]
    fn fails_for_a_commit_that_is_too_early_or_goes_back() {
        assert!(!doctored(|evidence| evidence.steps.swap(3, 4)).is_empty());
        assert!(!doctored(|evidence| evidence.steps.insert(7, commit("1", 4))).is_empty());
        assert!(!doctored(|evidence| evidence.steps.push(commit("0", 3))).is_empty());
    }

    #[test]
    fn fails_for_what_was_parked_without_trying() {
        assert!(!doctored(|evidence| evidence.parked.clear()).is_empty());
        assert!(!doctored(|evidence| evidence.parked.insert("0/3".to_owned(), 5)).is_empty());
        let failed = |evidence: &mut Evidence| evidence.trouble.insert("1/4".to_owned(), Trouble::default());
        assert!(!doctored(failed).is_empty());
    }

    #[test]
    fn fails_for_a_machine_that_stays_hot_or_silent() {
        let machine = |temperature, reports_cooling| Machine { temperature, reports_cooling };
        for wrong in [machine(80.5, Some(false)), machine(60.0, Some(true)), machine(54.0, None)] {
            assert!(!doctored(|evidence| evidence.machines.insert("a".to_owned(), wrong.clone())).is_empty());
        }
        assert!(!doctored(|evidence| evidence.machines.remove("b")).is_empty());
    }
}
