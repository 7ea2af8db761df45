//! Direct methods as clients ask for them.

use serde::Deserialize;
use serde_json::Value;

use super::identity::module_key;

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MethodBody {
    #[serde(default)]
    pub(crate) method_name: Option<String>,
    #[serde(default)]
    pub(crate) payload: Value,
    #[serde(default)]
    pub(crate) response_timeout_in_seconds: Option<u64>,
    #[serde(default)]
    pub(crate) connect_timeout_in_seconds: Option<u64>,
}

/// A device, or a module on it.
#[derive(Clone, Debug)]
pub(crate) struct MethodTarget {
    pub(crate) device: String,
    pub(crate) module: Option<String>,
}

impl MethodTarget {
    /// The key under which a simulator is registered.
    pub(crate) fn key(&self) -> String {
        self.module.as_ref().map_or_else(|| self.device.clone(), |module| module_key(&self.device, module))
    }
}
