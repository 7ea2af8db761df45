//! The options that an operator sets for one connector.

/// The options for loading one connector. Start from [`LoadOptions::default`] and change individual fields.
///
/// ```
/// use connector_host::LoadOptions;
///
/// let options = LoadOptions::default().with_service_domains(["azure-devices.net".to_owned()]);
/// assert!(options.service_domains.is_some());
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// The domains of the service that the connector is for, such as `azure-devices.net`. Every suffix and every
    /// literal host in the connector's egress rules must be one of these domains or below one. None: every domain is
    /// accepted except public suffixes. Set this for every connector whose author you do not trust, because values that
    /// tenants enter are sent to hosts below these suffixes.
    /// Default: none.
    pub service_domains: Option<Vec<String>>,
}

impl LoadOptions {
    /// Sets [`service_domains`](Self::service_domains).
    #[must_use]
    pub fn with_service_domains(mut self, service_domains: impl IntoIterator<Item = String>) -> Self {
        self.service_domains = Some(service_domains.into_iter().collect());
        self
    }
}
