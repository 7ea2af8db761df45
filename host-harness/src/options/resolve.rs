//! The trait for looking up the addresses of host names.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;

/// Looks up the addresses of host names, in place of the operating system's resolver.
///
/// The host asks it only for names that an egress rule allows, at the tenant's rate
/// ([`Limits::lookups_per_second`](crate::Limits::lookups_per_second)) and within the time for connecting; a future
/// that takes longer is dropped. Its addresses are checked like those of the operating system's resolver: an address
/// that is not public is refused unless the tenant may connect to private networks.
///
/// ```
/// use std::future::{Future, ready};
/// use std::io;
/// use std::net::IpAddr;
/// use std::pin::Pin;
///
/// /// Resolves a single name.
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
/// let options = connector_host::TenantOptions::default().with_resolver(Fixed);
/// # connector_host::Tenant::new(options).unwrap();
/// ```
pub trait Resolve: fmt::Debug + Send + Sync {
    /// Looks up the addresses of a host name, which is in lower case and is not itself an address. `port` is the port
    /// of the connection; none: the look-up is for a socket, which states its port later.
    ///
    /// # Errors
    ///
    /// If the name has no address, or the look-up fails.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: Option<u16>,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;
}
