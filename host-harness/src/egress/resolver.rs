//! From a name to the addresses that may be connected to: one way for HTTP and for sockets.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::addresses::Addresses;
use super::connector::ConnectError;
use crate::error::EgressDenied;
use crate::limits::Limits;
use crate::limits::fair::{Gate, Rate, TenantId, Turn};
use crate::options::{Resolve, split_authority};

/// Look-ups of one tenant at the same time. Each takes a thread of all tenants until the name server answers, so that a
/// tenant whose server is silent must not take them all.
const LOOKUPS: usize = 8;

/// Addresses of one name that are of any use; a name server may answer with thousands.
const ADDRESSES: usize = 64;

/// A name with an address, as `NAME=ADDRESS`: it stands for the name and for all names below it.
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

/// Answers for certain names, and has the operating system asked for all others. For hosts that no name server leads to: an
/// emulator, or a private endpoint without a zone of its own.
///
/// Of several entries that cover a name, the one with the longest name counts, with all of its addresses.
#[derive(Clone, Debug, Default)]
pub struct HostAddresses(Vec<HostAddress>);

impl HostAddresses {
    /// Answers by these entries.
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

/// On whose behalf a name is looked up, and until when.
#[derive(Clone, Copy)]
pub(crate) struct Asking<'a> {
    /// What the host has for look-ups of all tenants; none: there is no host.
    pub(crate) turns: Option<&'a Gate>,
    pub(crate) tenant: TenantId,
    pub(crate) until: Instant,
}

/// Resolves names and vets the addresses behind them.
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
                // A thread that asks cannot be interrupted: its caller may go, its turns stay taken.
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
    /// Asks what the embedder supplies, else the operating system.
    pub(crate) fn new(supplied: Option<Arc<dyn Resolve>>, addresses: Addresses, limits: &Limits) -> Self {
        let source = match supplied {
            Some(resolver) => Source::Embedder(resolver),
            None => Source::System(Arc::new(Semaphore::new(LOOKUPS))),
        };
        Self { source, rate: Arc::new(Rate::new(limits.lookups_per_second)), addresses }
    }

    /// Whether an address that a connection names by itself may be connected to.
    pub(crate) fn permits(&self, address: IpAddr) -> bool {
        self.addresses.permit(address)
    }

    /// The addresses behind a host that may be connected to; never none. `shown` names the destination in a denial.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Dns`], [`ConnectError::Prohibited`], or that one of the bounds on look-ups was in the way.
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
                // Who has had no turn by then has done nothing, which its error has time to say.
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

/// Knows no name, so that nothing is reached.
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

    /// Asks `answer`.
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

    /// Never answers.
    pub(crate) fn silent() -> Option<Arc<dyn Resolve>> {
        Some(Arc::new(Silent))
    }
}
