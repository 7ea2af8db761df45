//! What an operator sets for one connector.

/// How one connector is loaded. Start from [`LoadOptions::default`] and change fields.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct LoadOptions {
    /// The domains of the service that the connector is for, such as `azure-devices.net`: every suffix and every literal
    /// host of its egress rules has to be one of them or below one. None: whatever the connector names, but public
    /// suffixes. State it for every connector whose author you do not trust: below its suffixes goes what tenants enter.
    pub service_domains: Option<Vec<String>>,
}
