//! What an operator sets for one connector.

/// How one connector is loaded. Start from [`LoadOptions::default`] and change what differs.
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
    /// The domains of the service that the connector is for, such as `azure-devices.net`: every suffix and every literal
    /// host of its egress rules has to be one of them or below one. None: whatever the connector names, but public
    /// suffixes. State it for every connector whose author you do not trust: below its suffixes goes what tenants enter.
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
