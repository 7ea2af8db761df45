//! What the operator of a process sees and does: spans and measurements, and an end in good order.

pub(crate) mod lifecycle;
pub(crate) mod telemetry;

pub use lifecycle::DrainReport;
