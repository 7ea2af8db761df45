//! The limits that several operations declare, for one S1 unit ("IoT Hub quotas and throttling", "Azure subscription
//! limits": Device Provisioning Service).

use super::field::Limit;

/// Operations on identities of devices and modules.
pub const IDENTITIES: Limit = ("Identity operations of an S1 unit", 100, "requests/minute");
/// Entries of a request for many devices; each entry counts as an operation on an identity.
pub const ENTRIES: Limit = ("Devices of a request", 100, "items");
/// Modules of a device.
pub const MODULES: Limit = ("Modules of a device", 50, "items");
/// Queries in the hub's query language.
pub const QUERIES: Limit = ("Queries of an S1 unit", 20, "requests/minute");
/// Reads of twins.
pub const TWIN_READS: Limit = ("Twin reads of an S1 hub", 100, "requests/second");
/// The records of a page.
pub const PAGE: Limit = ("Records of a page", 1000, "items");
/// All operations of a provisioning service.
pub const PROVISIONING: Limit = ("Operations of a provisioning service", 1000, "requests/minute");
/// Updates of twins.
pub const TWIN_UPDATES: Limit = ("Twin updates of an S1 hub", 50, "requests/second");
/// Direct methods.
pub const METHODS: Limit = ("Direct methods of an S1 unit, in pieces of 4 KB", 40, "requests/second");
/// Operations on jobs.
pub const JOBS: Limit = ("Job operations of an S1 unit", 100, "requests/minute");
/// Operations on configurations.
pub const CONFIGURATIONS: Limit = ("Configuration operations of an S1 unit", 20, "requests/minute");
/// Enrollments of single devices.
pub const ENROLLMENTS: Limit = ("Enrollments of a provisioning service", 1_000_000, "items");
/// Enrollment groups.
pub const ENROLLMENT_GROUPS: Limit = ("Enrollment groups of one kind of attestation", 100, "items");
/// Enrollments of one bulk request.
pub const BULK: Limit = ("Enrollments of a request of the service", 10, "items");
/// The records of a collection that the cursor of a trigger can hold.
pub const RECORDS: Limit = ("Records that one trigger follows", 200_000, "items");
