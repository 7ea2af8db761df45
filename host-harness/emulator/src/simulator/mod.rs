//! Simulators of devices that send telemetry, for demonstrations and load: [`Simulator`] sends messages of all kinds, and
//! [`Machines`] are devices that react.

mod devices;
mod heat;
mod machines;
mod telemetry;

pub use machines::{MachineLink, MachineOptions, MachinePlan, MachineState, Machines, START_COOLING};
pub use telemetry::{PayloadKind, SimulatedEvents, Simulator, SimulatorOptions};
