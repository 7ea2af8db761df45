//! What can go wrong, by who can mend it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use semver::{Version, VersionReq};
use serde::Serialize;

use crate::interface::types;
use crate::limits::{LimitExceeded, LimitName};

/// The host could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// wasmtime refused its configuration.
    #[error("the WebAssembly engine could not be set up: {0}")]
    Engine(String),
    /// The cache of compiled components cannot be used.
    #[error("the cache of compiled components cannot be used")]
    Cache(#[source] std::io::Error),
    /// The thread that counts epochs could not be started.
    #[error("the epoch thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// The tenant could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TenantError {
    /// The trust roots hold no certificate, or one that cannot be read.
    #[error("the trust roots cannot be used: {0}")]
    TrustRoots(String),
    /// The TLS client could not be set up.
    #[error("TLS could not be set up")]
    Tls(#[source] rustls::Error),
}

/// A component was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file could not be read.
    #[error("{path} could not be read", path = path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes are no component.
    #[error("not a component: {0}")]
    NotAComponent(String),
    /// The component exports nothing of `workflow:connector`.
    #[error("this component is no connector: it exports no interface of `workflow:connector`")]
    NotAConnector,
    /// The component was built on an interface version that this host does not speak.
    #[error(
        "this connector was built on workflow:connector {}, and this host speaks {accepted}; use a connector or a host of the other's version",
        join(exported)
    )]
    InterfaceVersion {
        /// What the component exports.
        exported: Vec<Version>,
        /// What the host accepts.
        accepted: VersionReq,
    },
    /// One of the interfaces is missing, or one of its functions.
    #[error("this connector does not export `{0}`")]
    MissingInterface(String),
    /// A function's type is not that of the interface.
    #[error("this connector's `{function}` does not fit the interface: {reason}")]
    FunctionType {
        /// Interface and function.
        function: String,
        /// What differs.
        reason: String,
    },
    /// The component is larger than [`HostOptions::max_component_bytes`](crate::HostOptions::max_component_bytes).
    #[error("this component has {size} bytes, {limit} are allowed")]
    TooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The component is made of more than a host sets aside for a call.
    #[error("this component is over a limit: {0}")]
    Limit(LimitExceeded),
    /// The component could not be compiled or linked.
    #[error("the connector could not be compiled or linked: {0}")]
    Compile(String),
    /// The host is being drained ([`CallError::Draining`]), or the time for that ran out ([`CallError::Cancelled`]).
    #[error("the connector was not loaded")]
    Refused(#[source] CallError),
    /// A rule of its manifest names a domain that it may not name.
    #[error("the connector's {field} is `{domain}`, which {reason}")]
    EgressRule {
        /// Which part of which rule, such as `egress[2].suffixes[0]`.
        field: String,
        /// What stands there.
        domain: String,
        /// Why it is refused.
        reason: DomainRefusal,
    },
    /// It could not say what it is.
    #[error("the connector could not describe itself")]
    Describe(#[source] CallError),
}

/// Why a domain in a connector's manifest is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DomainRefusal {
    /// It is no domain with a dot before it, in lower case.
    #[error("is no domain in lower case with a dot before it")]
    Malformed,
    /// It is a public suffix such as `.co.uk`: anybody can register names in it.
    #[error("is a public suffix: anybody can register names in it")]
    Public,
    /// It is a domain such as `.github.io` whose owner gives names in it to anybody. An operator who means it has it in
    /// [`LoadOptions::service_domains`](crate::LoadOptions::service_domains), by that very name.
    #[error(
        "is a domain in which its owner gives names to anybody; where that is meant, name it as a service's domain"
    )]
    Shared,
    /// It is under none of [`LoadOptions::service_domains`](crate::LoadOptions::service_domains).
    #[error("is under none of the service domains that the operator has named")]
    Foreign,
}

fn join(versions: &[Version]) -> String {
    versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// Which layer of the host denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EgressLayer {
    /// The connection leads to a host that it may not lead to.
    Policy,
    /// The connector asked for a host that the connection does not lead to.
    Request,
    /// The connector used a socket for something that sockets are not there for.
    Socket,
    /// The name stands for an address that is not public.
    Address,
}

impl EgressLayer {
    /// The layer as JSON has it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Request => "request",
            Self::Socket => "socket",
            Self::Address => "address",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Policy => "egress policy",
            Self::Request => "request check",
            Self::Socket => "socket check",
            Self::Address => "address check",
        }
    }
}

/// The host did not let the connector reach something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(rename_all = "camelCase")]
#[error("the host's {} does not let the connector reach {destination}: {reason}. {remedy}", layer.name())]
#[non_exhaustive]
pub struct EgressDenied {
    /// Which layer denied.
    pub layer: EgressLayer,
    /// What was asked for.
    pub destination: String,
    /// Why it was denied, for a person.
    pub reason: String,
    /// What an operator who wants to permit it does.
    pub remedy: String,
}

/// The connector answered with an error.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Failure {
    /// The connector's own error.
    pub error: types::Error,
    /// What the host refused during the call: often the true cause.
    pub denials: Vec<EgressDenied>,
    /// The limits that the connector met during the call: as often the true cause.
    pub limits: Vec<LimitExceeded>,
}

/// What the host refused during a call without ending it.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Refusals {
    /// Destinations.
    pub denials: Vec<EgressDenied>,
    /// Limits that the guest met.
    pub limits: Vec<LimitExceeded>,
}

/// A call did not come to its end.
#[derive(Clone, Debug, thiserror::Error, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
#[non_exhaustive]
pub enum CallError {
    /// The connector answered with an error. Everything a caller needs is in it.
    #[error("{}", .0.error.message)]
    Connector(Box<Failure>),
    /// The connection leads to a host that the connector may not reach.
    #[error("{0}")]
    Egress(Box<EgressDenied>),
    /// The connection, as it was handed in, is larger than connections may be; nothing was done.
    #[error("the connection has {size} bytes, {limit} are allowed")]
    ConnectionTooLarge {
        /// Its size, in bytes: profile and values.
        size: usize,
        /// The bound, in bytes.
        limit: usize,
    },
    /// The guest crashed, exited or answered with what cannot be read (not UTF-8, say): a defect of the
    /// connector. Calling again may help.
    #[error("the connector crashed: {message}")]
    Trap {
        /// What wasmtime says, with the guest's stack.
        message: String,
        /// What the host had refused before: often the true cause.
        #[serde(flatten)]
        refusals: Box<Refusals>,
    },
    /// The call took longer than its deadline; its effect is not known.
    #[error("no answer within {} ms (limit: deadline)", limit.as_millis())]
    Deadline {
        /// The deadline.
        #[serde(serialize_with = "as_millis")]
        limit: Duration,
    },
    /// The guest computed for longer than it may.
    #[error("the connector computed for more than {} ms (limit: cpu)", limit.as_millis())]
    CpuBudget {
        /// The budget.
        #[serde(serialize_with = "as_millis")]
        limit: Duration,
    },
    /// The guest asked for more memory than it may have.
    #[error("the connector asked for {wanted} bytes of memory, {limit} are allowed (limit: memory_bytes)")]
    MemoryLimit {
        /// What it asked for, in bytes.
        wanted: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The guest asked for larger tables than it may have.
    #[error("the connector asked for {wanted} table elements, {limit} are allowed (limit: table_elements)")]
    TableLimit {
        /// What it asked for, in elements.
        wanted: usize,
        /// The limit, in elements.
        limit: usize,
    },
    /// The guest wanted more of something else than it may have: what it answered was too large, or it held too many
    /// handles.
    #[error("the connector is over a limit: {0}")]
    Limit(LimitExceeded),
    /// The tenant's [`Limits`](crate::Limits) grant more than the host has; nothing was done.
    #[error("the tenant's limits are beyond the host's: {0}")]
    HostLimit(LimitExceeded),
    /// The answer breaks a rule of the interface: a defect of the connector. The same call fails again.
    #[error("the connector's `{function}` broke the interface: {field} {problem}")]
    Protocol {
        /// `interface.function`.
        function: &'static str,
        /// Where in the answer, such as `events[3].data`; `answer` for all of it.
        field: String,
        /// What is wrong with it, for a person. Holds nothing that the connector wrote.
        problem: String,
    },
    /// As many calls ran as may run at once, and none ended in time; nothing was done.
    #[error("{scope} is running {limit} calls already (limit: concurrent_calls)")]
    Busy {
        /// Whose calls these were.
        scope: Scope,
        /// How many calls run at once.
        limit: usize,
    },
    /// The warm instance was busy with other calls until there was no time left; nothing was done.
    #[error("the instance was busy with other calls for {} ms", waited.as_millis())]
    Occupied {
        /// How long the call waited for its turn.
        #[serde(serialize_with = "as_millis")]
        waited: Duration,
    },
    /// The call was withdrawn: by its [`CancellationToken`](crate::CancellationToken), or because its tenant was closed,
    /// or the time for draining ran out. Whether it had its effect is not known.
    #[error("the call was cancelled")]
    Cancelled,
    /// The host, or the tenant, is being drained and takes no more calls; nothing was done.
    #[error("{scope} is being shut down and takes no more calls")]
    Draining {
        /// Which of them.
        scope: Scope,
    },
    /// A defect of the host, or a lack of resources.
    #[error("the host failed: {message}")]
    Host {
        /// What happened.
        message: String,
    },
}

/// Whom a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Scope {
    /// The host: all tenants.
    Host,
    /// The one tenant.
    Tenant,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the host",
            Self::Tenant => "the tenant",
        })
    }
}

fn as_millis<S: serde::Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
}

impl CallError {
    /// The connector's own error, where it answered with one.
    #[must_use]
    pub fn connector(&self) -> Option<&types::Error> {
        match self {
            Self::Connector(failure) => Some(&failure.error),
            _ => None,
        }
    }

    /// The word for what happened: the same as `kind` in JSON.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connector(_) => "connector",
            Self::Egress(_) => "egress",
            Self::ConnectionTooLarge { .. } => "connection-too-large",
            Self::Trap { .. } => "trap",
            Self::Deadline { .. } => "deadline",
            Self::CpuBudget { .. } => "cpu-budget",
            Self::MemoryLimit { .. } => "memory-limit",
            Self::TableLimit { .. } => "table-limit",
            Self::Limit(_) => "limit",
            Self::HostLimit(_) => "host-limit",
            Self::Protocol { .. } => "protocol",
            Self::Busy { .. } => "busy",
            Self::Occupied { .. } => "occupied",
            Self::Cancelled => "cancelled",
            Self::Draining { .. } => "draining",
            Self::Host { .. } => "host",
        }
    }

    /// The limit that ended the call, where one did.
    #[must_use]
    pub fn limit(&self) -> Option<LimitName> {
        match self {
            Self::Limit(exceeded) | Self::HostLimit(exceeded) => Some(exceeded.name),
            Self::Deadline { .. } => Some(LimitName::Deadline),
            Self::CpuBudget { .. } => Some(LimitName::Cpu),
            Self::MemoryLimit { .. } => Some(LimitName::MemoryBytes),
            Self::TableLimit { .. } => Some(LimitName::TableElements),
            Self::Busy { .. } => Some(LimitName::ConcurrentCalls),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_for_an_error_is_the_one_in_json() {
        let limit = Duration::from_millis(1_500);
        let denied = EgressDenied {
            layer: EgressLayer::Policy,
            destination: String::new(),
            reason: String::new(),
            remedy: String::new(),
        };
        let error = types::Error {
            code: types::ErrorCode::Internal,
            message: String::new(),
            detail: None,
            fields: Vec::new(),
            item: None,
            retry: types::Retry::Never,
            effect: types::EffectState::None,
            service: None,
            missing_permission: None,
        };
        let errors = [
            CallError::Connector(Box::new(Failure { error, denials: Vec::new(), limits: Vec::new() })),
            CallError::Egress(Box::new(denied)),
            CallError::ConnectionTooLarge { size: 2, limit: 1 },
            CallError::Trap { message: String::new(), refusals: Box::default() },
            CallError::Deadline { limit },
            CallError::CpuBudget { limit },
            CallError::MemoryLimit { wanted: 2, limit: 1 },
            CallError::TableLimit { wanted: 2, limit: 1 },
            CallError::Limit(LimitExceeded { name: LimitName::Handles, wanted: 2, allowed: 1 }),
            CallError::HostLimit(LimitExceeded { name: LimitName::MaxMemories, wanted: 2, allowed: 1 }),
            CallError::Protocol { function: "a.b", field: String::new(), problem: String::new() },
            CallError::Busy { scope: Scope::Host, limit: 1 },
            CallError::Occupied { waited: limit },
            CallError::Cancelled,
            CallError::Draining { scope: Scope::Tenant },
            CallError::Host { message: String::new() },
        ];
        for error in &errors {
            let json = serde_json::to_value(error).unwrap();
            assert_eq!(json["kind"], error.kind(), "{json}");
            if let Some(name) = error.limit() {
                assert!(error.to_string().contains(&format!("(limit: {name})")), "{error}");
            }
        }
        let json = serde_json::to_value(&errors[8]).unwrap();
        assert_eq!(json, serde_json::json!({ "kind": "limit", "name": "handles", "wanted": 2, "allowed": 1 }));
        assert_eq!(errors.iter().filter(|error| error.limit().is_some()).count(), 7);
        // Every word of `CallError::kind` has its error above.
        let (_, kinds) = include_str!("error.rs").split_once("pub fn kind(").unwrap();
        let (kinds, _) = kinds.split_once("pub fn limit(").unwrap();
        assert_eq!(errors.len(), kinds.matches(" => \"").count());
    }
}
