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
use super::policy::EgressDenied;
use crate::fair::{Gate, Rate, TenantId, Turn};
use crate::limits::Limits;

/// Look-ups of one tenant at the same time. Each takes a thread of all tenants until the name server answers, so that a
/// tenant whose server is silent must not take them all.
const LOOKUPS: usize = 8;

/// Addresses of one name that are of any use; a name server may answer with thousands.
const ADDRESSES: usize = 64;

/// Finds the addresses behind names, in place of the operating system's resolver.
///
/// It is asked for names that an egress rule opens, at the tenant's rate ([`Limits::lookups_per_second`]) and within the
/// time for connecting; a future that takes longer is dropped. Its answers are vetted as the operating system's are: an
/// address that is not public is of no use where the tenant may not reach private networks.
///
/// ```
/// use std::future::{Future, ready};
/// use std::io;
/// use std::net::IpAddr;
/// use std::pin::Pin;
///
/// /// Knows one name.
/// #[derive(Debug)]
/// struct Fixed;
///
/// impl connector_host::Resolve for Fixed {
///     fn resolve<'a>(
///         &'a self,
///         host: &'a str,
///         _port: Option<u16>,
///     ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
///         Box::pin(ready(match host {
///             "gateway.example" => Ok(vec![IpAddr::from([192, 0, 2, 1])]),
///             _ => Err(io::ErrorKind::NotFound.into()),
///         }))
///     }
/// }
///
/// let mut options = connector_host::TenantOptions::default();
/// options.resolver = Some(std::sync::Arc::new(Fixed));
/// # connector_host::Tenant::new(options).unwrap();
/// ```
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses behind a host name, which is in lower case and no address itself. The port is that of the connection;
    /// none: the name is looked up for a socket, which tells its port later.
    ///
    /// # Errors
    ///
    /// Where the name has no address, or nobody can tell.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: Option<u16>,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;
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
                // A thread that asks cannot be interrupted: whoever waits for it may go, its turns stay taken.
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
