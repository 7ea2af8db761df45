//! The simulated plant: machines that run hot, and sensors that send everything else.

use std::time::Duration;

use azure_iot_emulator::{
    Emulator, MachineLink, MachineOptions, MachinePlan, MachineState, Machines, ServiceError, Simulator,
    SimulatorOptions,
};
use tokio::time::sleep;

use super::super::DemoError;
use super::super::clock::{Clock, Random};
use super::super::faults::Fault;
use super::rule::THRESHOLD;

/// How many machines there are.
pub(super) const MACHINES: usize = 20;
/// How many sensors there are.
const SENSORS: usize = 10;
/// The simulated time in which machines are overloaded now and then.
pub(super) const LENGTH: Duration = Duration::from_secs(6);
/// The simulated time from one temperature that a machine sends to the next one.
const INTERVAL: Duration = Duration::from_millis(100);
/// How many messages all sensors together send in one second of simulated time.
const SENSOR_RATE: f64 = 200.0;
/// How long a machine that loses its connection is away, in real time. It must be shorter than all tries of the
/// workflow together.
const AWAY: Duration = Duration::from_millis(400);
/// The part of the run in which machines are overloaded, as fractions of its length.
const FROM: f64 = 0.05;
const TO: f64 = 0.85;
/// The time between two looks at the machines.
const LOOK: Duration = Duration::from_millis(20);

/// The faults of a run. The rules for the hub name the machines, so that they do not affect another workflow on the
/// same hub.
pub(super) const FAULTS: [Fault; 12] = [
    Fault {
        rule: "eventhub:TRANSFER /*=detach:com.microsoft:server-busyx1",
        what: "the Event Hub is busy and detaches a link",
    },
    Fault { rule: "eventhub:TRANSFER /*=detachx1", what: "the Event Hub detaches a link for maintenance" },
    Fault { rule: "eventhub:TRANSFER /*=dropx1", what: "an AMQP connection is dropped" },
    Fault { rule: "eventhub:TRANSFER /*=cut:4000x1", what: "an AMQP connection is cut in the middle of its bytes" },
    Fault { rule: "eventhub:TRANSFER /*=halfx1", what: "an AMQP connection ends with half a frame" },
    Fault { rule: "eventhub:TRANSFER /*=expirex1", what: "a token of the Event Hub is taken for expired" },
    Fault { rule: "eventhub:ATTACH /*=closex1", what: "the Event Hub closes a connection that wants to read" },
    Fault { rule: "hub:POST /twins/furnace-*=429+1x2", what: "the hub throttles direct methods" },
    Fault { rule: "hub:POST /twins/furnace-*=503x1", what: "the hub is unavailable for a direct method" },
    Fault { rule: "hub:POST /twins/furnace-*=drop-afterx2", what: "a direct method runs, and its answer is lost" },
    Fault { rule: "hub:PATCH /twins/furnace-*=500x2", what: "the hub fails to update a twin" },
    Fault { rule: "hub:PATCH /twins/furnace-*=drop-afterx1", what: "a twin is updated, and the answer is lost" },
];

/// The running plant.
pub(super) struct Scene {
    machines: Machines,
    sensors: Simulator,
}

impl Scene {
    pub(super) async fn start(emulator: &Emulator, seed: u64, clock: &Clock) -> Result<Self, DemoError> {
        let failed = |error: ServiceError| DemoError::Plant(error.to_string());
        let machines = MachineOptions {
            machines: plans(seed).into_iter().map(|plan| in_real_time(plan, clock)).collect(),
            interval: clock.real(INTERVAL),
            seed,
        };
        let sensors = SimulatorOptions {
            rate: SENSOR_RATE / clock.real(Duration::from_secs(1)).as_secs_f64(),
            devices: (1..=SENSORS).map(|number| format!("sensor-{number:02}")).collect(),
            seed,
            ..SimulatorOptions::default()
        };
        Ok(Self {
            machines: Machines::start(emulator, machines).await.map_err(failed)?,
            sensors: Simulator::start(emulator, sensors).map_err(failed)?,
        })
    }

    /// Waits until the machines will send no more hot readings, and then stops the sensors.
    pub(super) async fn play(&self, clock: &Clock) {
        clock.until(LENGTH).await;
        while !self.machines.are_quiet() {
            sleep(LOOK).await;
        }
        self.sensors.stop();
    }

    /// Waits until no machine is being cooled any more, and then stops the machines.
    pub(super) async fn settle(&self) {
        while self.states().iter().any(|machine| machine.cooling) {
            sleep(LOOK).await;
        }
        self.machines.stop();
    }

    pub(super) fn states(&self) -> Vec<MachineState> {
        self.machines.states()
    }

    /// How many messages were sent.
    pub(super) fn sent(&self) -> u64 {
        self.machines.sent() + self.sensors.sent()
    }
}

/// The plans of the machines. The last machine can send but not receive, so that nobody can cool it.
fn plans(seed: u64) -> Vec<MachinePlan> {
    let mut random = Random::new(seed);
    let plan = |number: usize| {
        let length = LENGTH.as_secs_f64();
        let mut moment = |low, high| Duration::from_secs_f64(length * random.between(low, high));
        let middle = (FROM + TO) / 2.0;
        let (overloads, link) = match number {
            MACHINES => (vec![moment(FROM, FROM * 2.0)], MachineLink::SendOnly),
            number if number % 8 == 1 => {
                let link = MachineLink::Breaks { above: THRESHOLD, lasting: AWAY };
                (vec![moment(FROM, middle), moment(middle, TO)], link)
            }
            number if number % 2 == 0 => (vec![moment(FROM, middle), moment(middle, TO)], MachineLink::Steady),
            _ => (vec![moment(FROM, TO)], MachineLink::Steady),
        };
        MachinePlan { id: machine(number), overloads, link }
    };
    (1..=MACHINES).map(plan).collect()
}

fn machine(number: usize) -> String {
    format!("furnace-{number:02}")
}

/// Converts the moments of a plan to real time. The length of a break stays, because it must be shorter than the
/// workflow's tries, which the clock does not speed up.
fn in_real_time(plan: MachinePlan, clock: &Clock) -> MachinePlan {
    MachinePlan { overloads: plan.overloads.into_iter().map(|at| clock.real(at)).collect(), ..plan }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_what_happens() {
        assert_eq!(plans(1), plans(1));
        assert_ne!(plans(1), plans(2));
        let plans = plans(1);
        assert!(plans.iter().all(|plan| plan.overloads.is_sorted() && !plan.overloads.is_empty()));
        let links = |wanted: fn(&MachineLink) -> bool| plans.iter().filter(|plan| wanted(&plan.link)).count();
        assert_eq!(links(|link| *link == MachineLink::SendOnly), 1);
        assert!(links(|link| matches!(link, MachineLink::Breaks { .. })) > 1);
    }

    #[test]
    fn every_rule_can_be_read() {
        for fault in FAULTS {
            let rule: Result<azure_iot_emulator::FaultRule, _> = fault.rule.parse();
            assert!(rule.is_ok(), "{}", fault.rule);
        }
    }
}
