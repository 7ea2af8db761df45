//! Resolves a name to the addresses to which the host may connect: the same code for HTTP and for sockets.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::addresses::Addresses;
use super::connect_error::ConnectError;
use crate::error::EgressDenied;
use crate::limits::Limits;
use crate::limits::fair::{Gate, Rate, TenantId, Turn};
use crate::options::{Resolve, split_authority};

/// Look-ups of one tenant at the same time. Each look-up occupies a thread of a pool that all tenants share until the
/// name server answers. A tenant with a silent name server must not occupy the whole pool.
const LOOKUPS: usize = 8;

/// How many addresses of one name are used. A name server may answer with thousands.
const ADDRESSES: usize = 64;

/// An entry `NAME=ADDRESS`, which gives the address for the name and for all names below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAddress {
    name: String,
    address: IpAddr,
}

impl HostAddress {
    fn covers(&self, host: &str) -> bool {
        host.strip_suffix(self.name.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl std::str::FromStr for HostAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = || "NAME=ADDRESS, such as plant.example.com=10.0.0.4".to_owned();
        let (name, address) = text.split_once('=').ok_or_else(wanted)?;
        let address = address.parse().map_err(|_| wanted())?;
        match split_authority(name) {
            Some((name, None)) if name.parse::<IpAddr>().is_err() => Ok(Self { name, address }),
            _ => Err(wanted()),
        }
    }
}

/// Resolves certain names from a fixed list, and all other names with the operating system. It is meant for hosts that
/// no name server knows: an emulator, or a private endpoint without a DNS zone.
///
/// If several entries cover a name, those with the longest name are used, with all of their addresses.
#[derive(Clone, Debug, Default)]
pub struct HostAddresses(Vec<HostAddress>);

impl HostAddresses {
    /// Resolves names from these entries.
    #[must_use]
    pub fn new(entries: impl IntoIterator<Item = HostAddress>) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl Resolve for HostAddresses {
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        _port: Option<u16>,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        let covering = self.0.iter().filter(|entry| entry.covers(host));
        let longest = covering.clone().map(|entry| entry.name.len()).max();
        let found: Vec<IpAddr> =
            covering.filter(|entry| Some(entry.name.len()) == longest).map(|entry| entry.address).collect();
        let host = host.to_owned();
        Box::pin(async move {
            if !found.is_empty() {
                return Ok(found);
            }
            let asked = tokio::task::spawn_blocking(move || (host.as_str(), 0).to_socket_addrs());
            Ok(asked.await??.map(|address| address.ip()).take(ADDRESSES).collect())
        })
    }
}

/// The tenant for which a name is looked up, and the deadline.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    /// The host's bound on look-ups of all tenants. None without a host.
    pub(crate) turns: Option<&'a Gate>,
    pub(crate) tenant: TenantId,
    pub(crate) until: Instant,
}

/// Resolves names and checks the addresses that they resolve to.
#[derive(Clone)]
pub(crate) struct Resolver {
    source: Source,
    rate: Arc<Rate>,
    addresses: Addresses,
}

#[derive(Clone)]
enum Source {
    System(Arc<Semaphore>),
    Embedder(Arc<dyn Resolve>),
}

impl Source {
    async fn ask(&self, host: &str, port: Option<u16>, turn: Option<Turn>) -> io::Result<Vec<IpAddr>> {
        match self {
            Self::System(turns) => {
                let own = turns.clone().acquire_owned().await.map_err(io::Error::other)?;
                let host = host.to_owned();
                // A thread that waits for the name server cannot be interrupted. So the thread keeps its turns until it
                // ends, even if its caller has gone.
                let asked = tokio::task::spawn_blocking(move || {
                    let found = (host.as_str(), 0).to_socket_addrs();
                    drop((own, turn));
                    found
                });
                Ok(asked.await??.map(|address| address.ip()).take(ADDRESSES).collect())
            }
            Self::Embedder(resolver) => {
                let mut found = resolver.resolve(host, port).await?;
                found.truncate(ADDRESSES);
                drop(turn);
                Ok(found)
            }
        }
    }
}

impl Resolver {
    /// Uses the resolver that the embedder supplies, or else the operating system.
    pub(crate) fn new(supplied: Option<Arc<dyn Resolve>>, addresses: Addresses, limits: &Limits) -> Self {
        let source = match supplied {
            Some(resolver) => Source::Embedder(resolver),
            None => Source::System(Arc::new(Semaphore::new(LOOKUPS))),
        };
        Self { source, rate: Arc::new(Rate::new(limits.lookups_per_second)), addresses }
    }

    /// Whether the tenant may connect to an address that its connection states instead of a name.
    pub(crate) fn permits(&self, address: IpAddr) -> bool {
        self.addresses.permit(address)
    }

    /// The addresses of a host to which the tenant may connect; at least one. `shown` names the destination in a
    /// denial.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Dns`], [`ConnectError::Prohibited`], or the error of a bound on look-ups.
    pub(crate) async fn resolve(
        &self,
        host: &str,
        port: Option<u16>,
        shown: &str,
        asking: Asking<'_>,
    ) -> Result<Vec<IpAddr>, ConnectError> {
        let found = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => {
                if !self.rate.turn(asking.until).await {
                    return Err(ConnectError::TooManyLookups(self.rate.per_second()));
                }
                // An eighth of the time is kept in reserve, so that the error about a missing turn is returned before
                // the caller's own timeout.
                let turn = asking.until - asking.until.saturating_duration_since(Instant::now()) / 8;
                let turn = match asking.turns {
                    Some(gate) => match tokio::time::timeout_at(turn, gate.enter(asking.tenant)).await {
                        Ok(turn) => Some(turn),
                        Err(_) => return Err(ConnectError::NoLookup(gate.limit())),
                    },
                    None => None,
                };
                let asked = self.source.ask(host, port, turn).await;
                asked.map_err(|error| ConnectError::Dns(error.to_string()))?
            }
        };
        if found.is_empty() {
            return Err(ConnectError::Dns("the name has no address".to_owned()));
        }
        let (permitted, prohibited): (Vec<IpAddr>, _) = found.into_iter().partition(|address| self.permits(*address));
        if permitted.is_empty() {
            let denied = EgressDenied::address(shown.to_owned(), &prohibited);
            return Err(ConnectError::Prohibited(Box::new(denied)));
        }
        Ok(permitted)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Resolves no name, so that no host can be reached.
#[cfg(feature = "conformance")]
#[derive(Debug)]
pub(crate) struct Nowhere;

#[cfg(feature = "conformance")]
impl Resolve for Nowhere {
    fn resolve<'a>(
        &'a self,
        _host: &'a str,
        _port: Option<u16>,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        Box::pin(async { Err(io::Error::new(io::ErrorKind::NotFound, "there is no network here")) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn entries_stand_for_their_name_and_what_is_below_it() {
        let entries = ["plant.example.com=10.0.0.1", "Example.com=10.0.0.2", "example.com=10.0.0.3"];
        let hosts = HostAddresses::new(entries.map(|entry| entry.parse().unwrap()));
        for (host, expected) in [
            ("plant.example.com", &["10.0.0.1"][..]),
            ("a.plant.example.com", &["10.0.0.1"]),
            ("example.com", &["10.0.0.2", "10.0.0.3"]),
            ("xplant.example.com", &["10.0.0.2", "10.0.0.3"]),
        ] {
            let found = hosts.resolve(host, None).await.unwrap();
            assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expected, "{host}");
        }
        assert!(hosts.resolve("localhost", None).await.unwrap().iter().all(IpAddr::is_loopback));
        for wrong in
            ["", "a.example", "a.example=", "=10.0.0.1", "a.example=b", "a.example:1=10.0.0.1", "10.0.0.1=10.0.0.1"]
        {
            assert!(wrong.parse::<HostAddress>().is_err(), "{wrong}");
        }
    }
}

/// Resolvers of tests.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    type Answer = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;

    struct Answering(Box<Answer>);

    impl fmt::Debug for Answering {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Answering")
        }
    }

    impl Resolve for Answering {
        fn resolve<'a>(
            &'a self,
            host: &'a str,
            _port: Option<u16>,
        ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
            Box::pin(std::future::ready((self.0)(host)))
        }
    }

    /// A resolver that calls `answer`.
    pub(crate) fn answering(
        answer: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Option<Arc<dyn Resolve>> {
        Some(Arc::new(Answering(Box::new(answer))))
    }

    #[derive(Debug)]
    struct Silent;

    impl Resolve for Silent {
        fn resolve<'a>(
            &'a self,
            _host: &'a str,
            _port: Option<u16>,
        ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
            Box::pin(std::future::pending())
        }
    }

    /// A resolver that never answers.
    pub(crate) fn silent() -> Option<Arc<dyn Resolve>> {
        Some(Arc::new(Silent))
    }
}
