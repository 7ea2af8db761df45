//! Everything the two services share: state, options and the observers.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use time::{Duration, OffsetDateTime};

use crate::device_side::{Sessions, TelemetrySink};
use crate::dps::Dps;
use crate::faults::Faults;
use crate::hub::Hub;
use crate::journal::Journal;
use crate::options::{EmulatorOptions, Policy};
use crate::paging::Pager;
use crate::server::Service;
use crate::throttle::Throttles;
use crate::traffic::Traffic;

pub(crate) type Shared = Arc<World>;

/// The state of one emulator. Locks are taken in the order `dps`, `hub`, `sessions`.
pub(crate) struct World {
    pub(crate) options: EmulatorOptions,
    pub(crate) hub_port: u16,
    pub(crate) dps_port: u16,
    pub(crate) hub: Mutex<Hub>,
    pub(crate) dps: Mutex<Dps>,
    pub(crate) sessions: Sessions,
    pub(crate) journal: Arc<Journal>,
    pub(crate) traffic: Traffic,
    pub(crate) faults: Faults,
    pub(crate) throttles: Throttles,
    pub(crate) pager: Pager,
    pub(crate) sinks: RwLock<Vec<Arc<dyn TelemetrySink>>>,
}

impl World {
    pub(crate) fn new(options: EmulatorOptions, hub_port: u16, dps_port: u16) -> Self {
        let journal = Arc::new(Journal::default());
        Self {
            hub_port,
            dps_port,
            hub: Mutex::new(Hub::new(Arc::clone(&journal))),
            dps: Mutex::new(Dps::new(Arc::clone(&journal))),
            sessions: Sessions::default(),
            traffic: Traffic::default(),
            faults: Faults::default(),
            throttles: Throttles::new(options.throttles),
            pager: Pager::new(options.max_page_size),
            sinks: RwLock::default(),
            journal,
            options,
        }
    }

    /// `localhost:PORT`, the name under which the hub goes.
    pub(crate) fn hub_host(&self) -> String {
        format!("localhost:{}", self.hub_port)
    }

    /// `localhost:PORT`, the name under which the provisioning service goes.
    pub(crate) fn dps_host(&self) -> String {
        format!("localhost:{}", self.dps_port)
    }

    /// The names that a token's resource may begin with.
    pub(crate) fn authorities(&self, service: Service) -> [String; 3] {
        let port = if service == Service::Dps { self.dps_port } else { self.hub_port };
        ["localhost", "127.0.0.1", "[::1]"].map(|host| format!("{host}:{port}"))
    }

    pub(crate) fn policy(&self, service: Service, name: &str) -> Option<&Policy> {
        let policies = if service == Service::Dps { &self.options.dps_policies } else { &self.options.hub_policies };
        policies.iter().find(|policy| policy.name == name)
    }
}

/// The service's clock.
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// The service's clock under a skew fault.
pub(crate) fn skewed(seconds: i64) -> OffsetDateTime {
    now().saturating_add(Duration::seconds(seconds))
}

/// Locks a mutex. A panic in another request must not take the emulator down with it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Both keys and names must be usable before anything listens.
pub(crate) fn check_policies(policies: &[Policy]) -> Result<(), String> {
    use base64::Engine as _;
    let mut names = BTreeSet::new();
    for policy in policies {
        if policy.name.is_empty() || !names.insert(policy.name.as_str()) {
            return Err(format!("the policy name '{}' is empty or used twice", policy.name));
        }
        for key in [&policy.primary_key, &policy.secondary_key] {
            if !base64::engine::general_purpose::STANDARD.decode(key).is_ok_and(|key| !key.is_empty()) {
                return Err(format!("a key of the policy '{}' is not base64", policy.name));
            }
        }
    }
    Ok(())
}
