//! From a name to the addresses that may be connected to: one way for HTTP and for sockets.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Semaphore;

use super::addresses::Addresses;
use super::connector::ConnectError;
use super::policy::EgressDenied;

/// Look-ups of one tenant at the same time. Each takes a thread of all tenants until the name server answers, so that a
/// tenant whose server is silent must not take them all.
const LOOKUPS: usize = 8;

type Lookup = Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>> + Send + Sync>;

/// Resolves names and vets the addresses behind them.
#[derive(Clone)]
pub(crate) struct Resolver {
    lookup: Lookup,
    addresses: Addresses,
}

impl Resolver {
    /// Asks the operating system.
    pub(crate) fn new(addresses: Addresses) -> Self {
        let turns = Arc::new(Semaphore::new(LOOKUPS));
        let lookup: Lookup = Arc::new(move |host| {
            let turns = turns.clone();
            Box::pin(async move {
                let turn = turns.acquire_owned().await.map_err(io::Error::other)?;
                // A thread that asks cannot be interrupted: whoever waits for it may go, its turn stays taken.
                let asked = tokio::task::spawn_blocking(move || {
                    let found = (host.as_str(), 0).to_socket_addrs();
                    drop(turn);
                    found
                });
                Ok(asked.await??.map(|address| address.ip()).collect())
            })
        });
        Self { lookup, addresses }
    }

    /// Knows no name, so that nothing is reached.
    #[cfg(feature = "conformance")]
    pub(crate) fn nowhere() -> Self {
        let lookup: Lookup =
            Arc::new(|_| Box::pin(async { Err(io::Error::new(io::ErrorKind::NotFound, "there is no network here")) }));
        Self { lookup, addresses: Addresses::public() }
    }

    /// Asks `answer` instead of the operating system.
    #[cfg(test)]
    pub(crate) fn answering(
        addresses: Addresses,
        answer: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static,
    ) -> Self {
        let lookup: Lookup = Arc::new(move |host| {
            let answer = answer(&host);
            Box::pin(async move { answer })
        });
        Self { lookup, addresses }
    }

    /// Never answers.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self { lookup: Arc::new(|_| Box::pin(std::future::pending())), addresses: Addresses::all() }
    }

    /// Whether an address that a connection names by itself may be connected to.
    pub(crate) fn permits(&self, address: IpAddr) -> bool {
        self.addresses.permit(address)
    }

    /// The addresses behind a host that may be connected to; never none. `shown` names the destination in a denial.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Dns`] or [`ConnectError::Prohibited`].
    pub(crate) async fn resolve(&self, host: &str, shown: &str) -> Result<Vec<IpAddr>, ConnectError> {
        let found = match host.parse::<IpAddr>() {
            Ok(address) => vec![address],
            Err(_) => (self.lookup)(host.to_owned()).await.map_err(|error| ConnectError::Dns(error.to_string()))?,
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
