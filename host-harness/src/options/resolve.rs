//! Who finds the addresses behind names.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;

/// Finds the addresses behind names, in place of the operating system's resolver.
///
/// It is asked for names that an egress rule opens, at the tenant's rate ([`Limits::lookups_per_second`](crate::Limits::lookups_per_second)) and within the
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
/// let options = connector_host::TenantOptions::default().with_resolver(Fixed);
/// # connector_host::Tenant::new(options).unwrap();
/// ```
pub trait Resolve: fmt::Debug + Send + Sync {
    /// The addresses behind a host name, which is in lower case and no address itself. The port is that of the connection;
    /// none: the name is looked up for a socket, which states its port later.
    ///
    /// # Errors
    ///
    /// Where the name has no address, or none can be found out.
    fn resolve<'a>(
        &'a self,
        host: &'a str,
        port: Option<u16>,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;
}
