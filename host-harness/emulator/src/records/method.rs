//! Direct methods as clients ask for them.

use serde::Deserialize;
use serde_json::Value;

/// The body of a call.
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
