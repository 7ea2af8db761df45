//! The cases, one file for each group of them.

pub mod action;
pub mod density;
pub mod page;
pub mod scan;
pub mod start;
pub mod telemetry;
pub mod tenants;
pub mod watch;

/// Cases that one process measures, because they share an emulator or nothing else may run beside them.
pub struct Group {
    /// The name of the group.
    pub name: &'static str,
    /// The names of its cases.
    pub cases: &'static [&'static str],
}

/// All cases, in the order of measurement.
pub const GROUPS: [Group; 10] = [
    Group {
        name: "action",
        cases: &["get-device", "get-device-warm", "update-twin", "update-twin-warm", "get-device-16", "get-device-128"],
    },
    Group {
        name: "telemetry",
        cases: &[
            "telemetry-1k",
            "telemetry-host-tls",
            "telemetry-web-sockets",
            "aes-256-gcm",
            "aes-128-gcm",
            "telemetry-no-tls",
        ],
    },
    Group { name: "page", cases: &["page-500"] },
    Group { name: "scan", cases: &["scan-20000", "scan-cursor"] },
    Group { name: "watch", cases: &["watch-durable"] },
    Group { name: "start", cases: &["first-call", "first-call-cached"] },
    Group { name: "tenants", cases: &["tenants-1000"] },
    Group { name: "density", cases: &["instance", "fairness", "fairness-computing"] },
    Group { name: "density-http", cases: &["density-http"] },
    Group { name: "density-streams", cases: &["density-streams"] },
];
