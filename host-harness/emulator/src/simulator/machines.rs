//! Machines that run hot and can be cooled: simulated devices that react to what a workflow does to them.
//!
//! A machine sends its temperature again and again. Overloaded, it heats up until the direct method [`START_COOLING`]
//! makes it cool, or until it switches itself off. The desired property `cooling.targetTemperature` decides how far it cools;
//! the reported property `cooling` states what it does.
//!
//! | direct method | payload | answer |
//! |---|---|---|
//! | `startCooling` | `{"event": "…"}`: the event to which the call reacts | 200, `{"cooling", "temperature", "repeated"}`; 400 without an `event`; 404 for any other method |
//!
//! A call for an event that an earlier call has named changes nothing, so that a call can be repeated safely. A call to
//! a machine that is already cool changes nothing either.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::devices::create_missing;
use super::heat::{Heat, TARGET};
use crate::device_side::DeviceSide;
use crate::emulator::Emulator;
use crate::error::ServiceError;
use crate::messages::TelemetryMessage;
use crate::random::SplitMix;
use crate::sessions::{MethodCall, MethodReply};
use crate::sync::lock;

/// The direct method that machines understand.
pub const START_COOLING: &str = "startCooling";
/// The time that a direct method and its answer take together.
const ROUND_TRIP: Duration = Duration::from_millis(10);

/// How a machine is connected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MachineLink {
    /// The machine is always connected.
    Steady,
    /// The machine loses its connection one time, after it has sent a temperature above this limit. Meanwhile it sends
    /// nothing.
    Breaks {
        /// The limit in degrees Celsius.
        above: f64,
        /// How long the machine has no connection.
        lasting: Duration,
    },
    /// The machine sends over HTTPS, so it receives no direct method.
    SendOnly,
}

/// One machine, and what happens to it.
#[derive(Clone, Debug, PartialEq)]
pub struct MachinePlan {
    /// The machine's device id.
    pub id: String,
    /// The times after the start at which the machine is overloaded, in ascending order. It stays overloaded until it
    /// is cooled.
    pub overloads: Vec<Duration>,
    /// How the machine is connected.
    pub link: MachineLink,
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct MachineOptions {
    /// The machines; those that are missing in the registry are created.
    pub machines: Vec<MachinePlan>,
    /// The time between two temperatures that a machine sends.
    pub interval: Duration,
    /// The seed of all random numbers.
    pub seed: u64,
}

/// The state of a machine.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct MachineState {
    /// The machine's device id.
    pub id: String,
    /// The temperature in degrees Celsius.
    pub temperature: f64,
    /// The highest temperature that the machine has sent.
    pub hottest: f64,
    /// Whether the machine is being cooled.
    pub cooling: bool,
    /// Whether the machine was not cooled in time and has switched itself off. It then sends nothing until it is
    /// cooled.
    pub stopped: bool,
    /// How often the machine has been cooled down.
    pub cooled: u32,
}

/// Running machines. Dropping them stops them.
pub struct Machines {
    fleet: Arc<Fleet>,
    task: JoinHandle<()>,
}

struct Fleet {
    machines: Vec<Mutex<Machine>>,
    started: Instant,
}

struct Machine {
    plan: MachinePlan,
    heat: Heat,
    random: SplitMix,
    sequence: u64,
    hottest: f64,
    /// The number of overloads that have begun.
    begun: usize,
    /// The events for which `startCooling` was called.
    answered: BTreeSet<String>,
    /// The end of the time in which the machine has no connection.
    away: Option<Instant>,
    broke: bool,
}

/// What a machine does in one interval.
#[derive(Default)]
struct Actions {
    send: Option<Value>,
    report: Option<Value>,
    /// Whether it connects or disconnects.
    connected: Option<bool>,
}

impl Machines {
    /// Creates the devices that are missing and starts the machines. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When a device's id is not valid.
    pub async fn start(emulator: &Emulator, options: MachineOptions) -> Result<Self, ServiceError> {
        let side = emulator.devices();
        create_missing(&emulator.world, options.machines.iter().map(|plan| plan.id.as_str()))?;
        let machines = (options.seed..).zip(options.machines).map(|(seed, plan)| Mutex::new(Machine::new(plan, seed)));
        let fleet = Arc::new(Fleet { machines: machines.collect(), started: Instant::now() });
        for (index, machine) in fleet.machines.iter().enumerate() {
            let MachinePlan { id, link, .. } = lock(machine).plan.clone();
            let (fleet, methods) = (fleet.clone(), side.clone());
            side.on_method(&id, move |call| {
                let (fleet, side) = (fleet.clone(), methods.clone());
                async move { fleet.answer(index, &side, &call).await }
            });
            if link == MachineLink::SendOnly {
                side.disconnect(&id).await?;
            }
        }
        let task = tokio::spawn(fleet.clone().run(side, options.interval));
        Ok(Self { fleet, task })
    }

    /// The state of each machine, in the order of the options.
    pub fn states(&self) -> Vec<MachineState> {
        self.fleet.machines.iter().map(|machine| lock(machine).state()).collect()
    }

    /// How many temperatures the machines have sent.
    pub fn sent(&self) -> u64 {
        self.fleet.machines.iter().map(|machine| lock(machine).sequence).sum()
    }

    /// Whether no machine will send an overload temperature any more: every machine that is or will be overloaded has
    /// switched itself off, and no machine is being cooled.
    pub fn are_quiet(&self) -> bool {
        self.fleet.machines.iter().all(|machine| lock(machine).is_quiet())
    }

    /// Stops the machines; their devices stay connected.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fleet {
    /// Runs the machines one after the other in each interval, so that they do not all send at once.
    async fn run(self: Arc<Self>, side: DeviceSide, interval: Duration) {
        let count = u32::try_from(self.machines.len().max(1)).unwrap_or(u32::MAX);
        for round in 0_u32.. {
            for (index, machine) in (0_u32..).zip(&self.machines) {
                let due = interval * round + interval * index / count;
                tokio::time::sleep_until((self.started + due).into()).await;
                let id = lock(machine).plan.id.clone();
                let target = target(&side, &id).await;
                let actions = lock(machine).moment(self.started.elapsed(), Instant::now(), target);
                perform(&side, &id, actions).await;
            }
        }
    }

    async fn answer(&self, index: usize, side: &DeviceSide, call: &MethodCall) -> MethodReply {
        let Some(machine) = self.machines.get(index) else { return MethodReply::Silence };
        let (status, payload) = {
            let mut machine = lock(machine);
            match call.payload.get("event").and_then(Value::as_str) {
                _ if call.method != START_COOLING => (404, json!({ "message": "there is no such method" })),
                None => (400, json!({ "message": "the payload has no 'event'" })),
                Some(event) => {
                    let repeated = !machine.answered.insert(event.to_owned());
                    if !repeated {
                        machine.heat.start_cooling();
                    }
                    let heat = &machine.heat;
                    let temperature = rounded(heat.temperature);
                    (200, json!({ "cooling": heat.cooling, "temperature": temperature, "repeated": repeated }))
                }
            }
        };
        if status == 200 {
            let id = lock(machine).plan.id.clone();
            let report = json!({ "cooling": { "active": payload["cooling"], "temperature": payload["temperature"] } });
            // The hub refuses the report of a device that was deleted or disabled meanwhile.
            let _ = side.report(&id, report).await;
        }
        MethodReply::delayed(ROUND_TRIP, status, payload).await
    }
}

/// The temperature to which the machine is to be cooled, by the twin of its device.
async fn target(side: &DeviceSide, id: &str) -> f64 {
    let desired = side.desired(id).await.unwrap_or_default();
    desired.pointer("/cooling/targetTemperature").and_then(Value::as_f64).unwrap_or(TARGET)
}

/// Does nothing for a device that was deleted or disabled meanwhile.
async fn perform(side: &DeviceSide, id: &str, actions: Actions) {
    match actions.connected {
        Some(true) => drop(side.connect(id).await),
        Some(false) => drop(side.disconnect(id).await),
        None => {}
    }
    if let Some(body) = &actions.send {
        let _ = side.send_telemetry(TelemetryMessage::json(id, body)).await;
    }
    if let Some(patch) = actions.report {
        let _ = side.report(id, patch).await;
    }
}

impl Machine {
    fn new(plan: MachinePlan, seed: u64) -> Self {
        Self {
            plan,
            heat: Heat::default(),
            random: SplitMix::new(seed),
            sequence: 0,
            hottest: 0.0,
            begun: 0,
            answered: BTreeSet::new(),
            away: None,
            broke: false,
        }
    }

    /// Advances by one interval.
    fn moment(&mut self, elapsed: Duration, now: Instant, target: f64) -> Actions {
        let mut actions = Actions::default();
        if let Some(until) = self.away {
            if now < until {
                return actions;
            }
            self.away = None;
            actions.connected = Some(true);
        }
        if self.plan.overloads.get(self.begun).is_some_and(|at| *at <= elapsed) {
            self.begun += 1;
            self.heat.overload();
        }
        if self.heat.go_on(target, self.random.next_unit()) {
            let temperature = rounded(self.heat.temperature);
            actions.report = Some(json!({ "cooling": { "active": false, "temperature": temperature } }));
        }
        if !self.heat.stopped {
            self.sequence += 1;
            let temperature = rounded(self.heat.temperature);
            self.hottest = self.hottest.max(temperature);
            actions.send = Some(json!({
                "sequence": self.sequence,
                "temperature": temperature,
                "cooling": self.heat.cooling,
            }));
            if let MachineLink::Breaks { above, lasting } = self.plan.link
                && temperature > above
                && !std::mem::replace(&mut self.broke, true)
            {
                self.away = Some(now + lasting);
                actions.connected = Some(false);
            }
        }
        actions
    }

    fn is_quiet(&self) -> bool {
        let heat = &self.heat;
        self.begun == self.plan.overloads.len() && !heat.cooling && (heat.stopped || !heat.overloaded)
    }

    fn state(&self) -> MachineState {
        MachineState {
            id: self.plan.id.clone(),
            temperature: rounded(self.heat.temperature),
            hottest: self.hottest,
            cooling: self.heat.cooling,
            stopped: self.heat.stopped,
            cooled: self.heat.cooled,
        }
    }
}

/// Rounds to one digit after the decimal point, as a sensor does.
fn rounded(temperature: f64) -> f64 {
    (temperature * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::EmulatorOptions;

    fn machine(link: MachineLink) -> Machine {
        Machine::new(MachinePlan { id: "m".to_owned(), overloads: vec![Duration::ZERO], link }, 1)
    }

    #[test]
    fn a_break_begins_after_the_hot_reading_and_ends_in_time() {
        let lasting = Duration::from_millis(400);
        let mut machine = machine(MachineLink::Breaks { above: 80.0, lasting });
        let start = Instant::now();
        let mut sent = Vec::new();
        let broke = loop {
            let actions = machine.moment(Duration::ZERO, start, TARGET);
            sent.push(actions.send.expect("it sends")["temperature"].as_f64().expect("a number"));
            if actions.connected == Some(false) {
                break sent.last().copied();
            }
            assert!(sent.len() < 20, "{sent:?}");
        };
        assert!(broke > Some(80.0) && sent.iter().rev().skip(1).all(|temperature| *temperature <= 80.0), "{sent:?}");
        assert!(machine.moment(Duration::ZERO, start + lasting / 2, TARGET).send.is_none());
        let actions = machine.moment(Duration::ZERO, start + lasting, TARGET);
        assert!(actions.connected == Some(true) && actions.send.is_some());
    }

    #[tokio::test]
    async fn a_method_cools_once_for_each_event_and_the_twin_tells_it() {
        let emulator = Emulator::start(EmulatorOptions::default()).await.expect("an emulator");
        let plan = MachinePlan { id: "m".to_owned(), overloads: vec![Duration::ZERO], link: MachineLink::Steady };
        let interval = Duration::from_secs(3600);
        let options = MachineOptions { machines: vec![plan], interval, seed: 1 };
        let machines = Machines::start(&emulator, options).await.expect("machines");
        while machines.sent() == 0 {
            tokio::task::yield_now().await;
        }
        let side = emulator.devices();
        let answer = async |method: &str, payload: Value| {
            let call = MethodCall::new(method.to_owned(), payload);
            match machines.fleet.answer(0, &side, &call).await {
                MethodReply::Answer { status, payload } => (status, payload["repeated"].clone()),
                MethodReply::Silence => (0, Value::Null),
            }
        };
        assert_eq!(answer("stop", json!({ "event": "e" })).await, (404, Value::Null));
        assert_eq!(answer(START_COOLING, json!({})).await, (400, Value::Null));
        assert!(!machines.states()[0].cooling);
        assert_eq!(answer(START_COOLING, json!({ "event": "e" })).await, (200, json!(false)));
        assert_eq!(answer(START_COOLING, json!({ "event": "e" })).await, (200, json!(true)));
        assert!(machines.states()[0].cooling && !machines.are_quiet());
        let twin = emulator.twin("m").expect("a twin");
        assert_eq!(twin.pointer("/properties/reported/cooling/active"), Some(&json!(true)));
        machines.stop();
        emulator.shutdown().await;
    }

    #[test]
    fn what_nobody_cools_stops_and_falls_silent() {
        let mut machine = machine(MachineLink::SendOnly);
        assert!(!machine.is_quiet());
        let hot = (0..50)
            .filter_map(|_| machine.moment(Duration::ZERO, Instant::now(), TARGET).send)
            .filter(|body| body["temperature"].as_f64() > Some(80.0))
            .count();
        assert!((1..=3).contains(&hot), "{hot}");
        assert!(machine.state().stopped && machine.is_quiet());
    }
}
