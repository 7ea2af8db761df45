//! The errors of the host, grouped by the person who can correct them.

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
    /// The trust roots contain no certificate, or an unreadable one.
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
        /// The file that could not be read.
        path: PathBuf,
        /// The error that the operating system returned.
        source: std::io::Error,
    },
    /// The bytes are not a WebAssembly component.
    #[error("not a component: {0}")]
    NotAComponent(String),
    /// The component exports no interface of `workflow:connector`.
    #[error("this component is not a connector: it exports no interface of `workflow:connector`")]
    NotAConnector,
    /// The component was built on an interface version that this host does not support.
    #[error(
        "this connector was built on workflow:connector {}, and this host speaks {accepted}; use a connector or a host of the other's version",
        join(exported)
    )]
    InterfaceVersion {
        /// The versions that the component exports.
        exported: Vec<Version>,
        /// The versions that the host accepts.
        accepted: VersionReq,
    },
    /// The component lacks an interface, or a function of an interface.
    #[error("this connector does not export `{0}`")]
    MissingInterface(String),
    /// The component imports an interface of `workflow:connector-host` that this host does not know, or that
    /// [`HostOptions::offer_tls`](crate::HostOptions::offer_tls) withholds.
    #[error(
        "this connector needs `{0}`, which this host does not offer; use the connector's file that needs WASI alone, or a host that offers it"
    )]
    HostInterface(String),
    /// The type of a function differs from its type in the interface.
    #[error("the type of this connector's `{function}` differs from the interface: {reason}")]
    FunctionType {
        /// The function, as `interface.function`.
        function: String,
        /// How the types differ.
        reason: String,
    },
    /// The component is larger than [`HostOptions::max_component_bytes`](crate::HostOptions::max_component_bytes).
    #[error("this component has {size} bytes, {limit} are allowed")]
    TooLarge {
        /// The size of the component, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The component consists of more parts than the host reserves for one call.
    #[error("this component is over a limit: {0}")]
    Limit(LimitExceeded),
    /// The component could not be compiled or linked.
    #[error("the connector could not be compiled or linked: {0}")]
    Compile(String),
    /// The host is being drained ([`CallError::Draining`]), or the drain's time ran out ([`CallError::Cancelled`]).
    #[error("the connector was not loaded")]
    Refused(#[source] CallError),
    /// An egress rule in the connector's descriptor names a domain that is not allowed there.
    #[error("the connector's {field} is `{domain}`, which {reason}")]
    EgressRule {
        /// The field of the rule, such as `egress[2].suffixes[0]`.
        field: String,
        /// The value of the field.
        domain: String,
        /// The reason for the refusal.
        reason: DomainRefusal,
    },
    /// The connector's `describe` failed.
    #[error("the connector could not describe itself")]
    Describe(#[source] CallError),
}

/// The reason why a domain in a connector's descriptor is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DomainRefusal {
    /// The value is not a lower-case domain with a leading dot.
    #[error("is not a lower-case domain with a leading dot")]
    Malformed,
    /// The domain is a public suffix such as `.co.uk`: anybody can register names below it.
    #[error("is a public suffix: anybody can register names in it")]
    Public,
    /// The domain is one such as `.github.io`, whose owner gives names below it to anybody. An operator who wants to
    /// allow it adds this exact name to [`LoadOptions::service_domains`](crate::LoadOptions::service_domains).
    #[error(
        "is a domain whose owner gives names below it to anybody; to allow it, name it as one of the service's domains"
    )]
    Shared,
    /// The domain is not below any of [`LoadOptions::service_domains`](crate::LoadOptions::service_domains).
    #[error("is not below any of the service domains that the operator has set")]
    Foreign,
}

fn join(versions: &[Version]) -> String {
    versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

/// The layer of the host that denied a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EgressLayer {
    /// The account's connection leads to a destination that the policy does not permit.
    Policy,
    /// The connector requested a host that does not follow from the account's connection.
    Request,
    /// The connector used a socket for a purpose that the host does not support.
    Socket,
    /// The name resolves to an address that is not public.
    Address,
}

impl EgressLayer {
    /// The layer's name in JSON.
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

/// The host denied the connector a network connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(rename_all = "camelCase")]
#[error("the host's {} does not let the connector reach {destination}: {reason}. {remedy}", layer.name())]
#[non_exhaustive]
pub struct EgressDenied {
    /// The layer that denied the connection.
    pub layer: EgressLayer,
    /// The destination that the connector requested.
    pub destination: String,
    /// The reason for the denial, for a person.
    pub reason: String,
    /// What an operator must change to permit the destination.
    pub remedy: String,
}

/// An error that the connector returned, with the host's refusals during the call.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Failure {
    /// The error that the connector returned.
    pub error: types::Error,
    /// The destinations that the host denied during the call. They are often the true cause of the error.
    pub denials: Vec<EgressDenied>,
    /// The limits that the connector reached during the call. They, too, are often the true cause of the error.
    pub limits: Vec<LimitExceeded>,
}

/// What the host refused during a call without ending the call.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Refusals {
    /// The denied destinations.
    pub denials: Vec<EgressDenied>,
    /// The limits that the guest reached.
    pub limits: Vec<LimitExceeded>,
}

/// The reason why a call failed.
#[derive(Clone, Debug, thiserror::Error, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
#[non_exhaustive]
pub enum CallError {
    /// The connector returned an error, which contains everything that the caller needs.
    #[error("{}", .0.error.message)]
    Connector(Box<Failure>),
    /// The account's connection leads to a host that the connector may not connect to.
    #[error("{0}")]
    Egress(Box<EgressDenied>),
    /// The connection passed in by the caller is too large; nothing was done.
    #[error("the connection has {size} bytes, {limit} are allowed")]
    ConnectionTooLarge {
        /// The size of profile and values, in bytes.
        size: usize,
        /// The largest allowed size, in bytes.
        limit: usize,
    },
    /// The guest crashed, exited, or returned an answer that cannot be decoded (for example, invalid UTF-8): a defect
    /// of the connector. Repeating the call may help.
    #[error("the connector crashed: {message}")]
    Trap {
        /// wasmtime's error message, with the guest's stack trace.
        message: String,
        /// What the host refused before the crash. This is often the true cause.
        #[serde(flatten)]
        refusals: Box<Refusals>,
    },
    /// The call took longer than its deadline; whether it took effect is unknown.
    #[error("no answer within {} ms (limit: deadline)", limit.as_millis())]
    Deadline {
        /// The largest allowed duration of the call.
        #[serde(serialize_with = "as_millis")]
        limit: Duration,
    },
    /// The guest used more CPU time than it may.
    #[error("the connector computed for more than {} ms (limit: cpu)", limit.as_millis())]
    CpuBudget {
        /// The largest allowed CPU time.
        #[serde(serialize_with = "as_millis")]
        limit: Duration,
    },
    /// The guest asked for more memory than it may have.
    #[error("the connector asked for {wanted} bytes of memory, {limit} are allowed (limit: memory_bytes)")]
    MemoryLimit {
        /// The requested memory, in bytes.
        wanted: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The guest asked for larger tables than it may have.
    #[error("the connector asked for {wanted} table elements, {limit} are allowed (limit: table_elements)")]
    TableLimit {
        /// The requested number of table elements.
        wanted: usize,
        /// The largest allowed number of table elements.
        limit: usize,
    },
    /// The guest exceeded another limit: for example, its answer was too large, or it held too many handles.
    #[error("the connector is over a limit: {0}")]
    Limit(LimitExceeded),
    /// The tenant's [`Limits`](crate::Limits) are higher than the host allows; nothing was done.
    #[error("the tenant's limits exceed those of the host: {0}")]
    HostLimit(LimitExceeded),
    /// The answer breaks a rule of the interface: a defect of the connector. Repeating the call fails again.
    #[error("the answer of the connector's `{function}` breaks a rule of the interface: {field} {problem}")]
    Protocol {
        /// `interface.function`.
        function: &'static str,
        /// The field of the answer, such as `events[3].data`; `answer` means the whole answer.
        field: String,
        /// What is wrong with the field, for a person. Contains no text from the connector.
        problem: String,
    },
    /// The largest allowed number of calls was running, and none ended in time; nothing was done.
    #[error("{scope} is running {limit} calls already (limit: concurrent_calls)")]
    Busy {
        /// Whether the host's or the tenant's calls reached their bound.
        scope: Scope,
        /// The largest number of calls that may run at the same time.
        limit: usize,
    },
    /// The warm instance was busy with other calls until this call ran out of time; nothing was done.
    #[error("the instance was busy with other calls for {} ms", waited.as_millis())]
    Occupied {
        /// How long the call waited for its turn.
        #[serde(serialize_with = "as_millis")]
        waited: Duration,
    },
    /// The call was cancelled: by its [`CancellationToken`](crate::CancellationToken), because its tenant was closed,
    /// or because the time for draining ran out. Whether the call took effect is unknown.
    #[error("the call was cancelled")]
    Cancelled,
    /// The host or the tenant is being drained and accepts no more calls; nothing was done.
    #[error("{scope} is being shut down and takes no more calls")]
    Draining {
        /// Whether the host or the tenant is being drained.
        scope: Scope,
    },
    /// The host has a defect or lacks a resource.
    #[error("the host failed: {message}")]
    Host {
        /// A description of the failure.
        message: String,
    },
}

/// Whether something applies to the whole host or to one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Scope {
    /// The host with all its tenants.
    Host,
    /// One tenant.
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
    /// The connector's own error, if the connector returned one.
    #[must_use]
    pub fn connector(&self) -> Option<&types::Error> {
        match self {
            Self::Connector(failure) => Some(&failure.error),
            _ => None,
        }
    }

    /// The kebab-case word for this kind of error: the same as `kind` in JSON.
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

    /// The limit that ended the call, if a limit did.
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
        // The list above has one error for each word of `CallError::kind`.
        let (_, kinds) = include_str!("error.rs").split_once("pub fn kind(").unwrap();
        let (kinds, _) = kinds.split_once("pub fn limit(").unwrap();
        assert_eq!(errors.len(), kinds.matches(" => \"").count());
    }
}
