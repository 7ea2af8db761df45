//! What the operator of a process sees and controls: spans, measurements, and an orderly end.

pub(crate) mod lifecycle;
pub(crate) mod telemetry;

pub use lifecycle::DrainReport;
