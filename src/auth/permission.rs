//! The permissions of a shared access policy, and a harmless request that shows whether a key holds one.
//!
//! Sources: "Control access to IoT Hub with shared access signatures", "Control access to DPS with shared access
//! signatures"; which operation needs which is in the services' API descriptions.

use crate::platform::Method;

/// A permission that the connection guide names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the service's own names")]
pub enum Permission {
    RegistryRead,
    RegistryWrite,
    ServiceConnect,
    DeviceConnect,
    ServiceConfig,
    EnrollmentRead,
    EnrollmentWrite,
    RegistrationStatusRead,
    RegistrationStatusWrite,
}

/// A request that needs one permission and changes nothing, with whatever key it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// The method.
    pub method: Method,
    /// The path, of a thing that does not exist.
    pub segments: Vec<String>,
    /// An ETag that nothing has, for those that would delete.
    pub if_match: Option<&'static str>,
}

/// An ETag that the services never give out: should the probed thing exist after all, nothing happens to it.
const NO_ETAG: &str = "\"permission-probe\"";

impl Permission {
    /// All of the hub's.
    pub const HUB: [Self; 4] = [Self::RegistryRead, Self::RegistryWrite, Self::ServiceConnect, Self::DeviceConnect];
    /// All of DPS's.
    pub const DPS: [Self; 5] = [
        Self::ServiceConfig,
        Self::EnrollmentRead,
        Self::EnrollmentWrite,
        Self::RegistrationStatusRead,
        Self::RegistrationStatusWrite,
    ];

    /// Its id in the manifest.
    pub fn id(self) -> &'static str {
        match self {
            Self::RegistryRead => "registry-read",
            Self::RegistryWrite => "registry-write",
            Self::ServiceConnect => "service-connect",
            Self::DeviceConnect => "device-connect",
            Self::ServiceConfig => "service-config",
            Self::EnrollmentRead => "enrollment-read",
            Self::EnrollmentWrite => "enrollment-write",
            Self::RegistrationStatusRead => "registration-status-read",
            Self::RegistrationStatusWrite => "registration-status-write",
        }
    }

    /// The portal's name for it.
    pub fn title(self) -> &'static str {
        match self {
            Self::RegistryRead => "Registry Read",
            Self::RegistryWrite => "Registry Write",
            Self::ServiceConnect => "Service Connect",
            Self::DeviceConnect => "Device Connect",
            Self::ServiceConfig => "Service config",
            Self::EnrollmentRead => "Enrollment read",
            Self::EnrollmentWrite => "Enrollment write",
            Self::RegistrationStatusRead => "Registration status read",
            Self::RegistrationStatusWrite => "Registration status write",
        }
    }

    /// The service that grants it.
    pub fn service(self) -> &'static str {
        if Self::HUB.contains(&self) { "Azure IoT Hub" } else { "Device Provisioning Service" }
    }

    /// What to change, and where in the portal.
    pub fn remedy(self, policy: &str) -> String {
        let place = if Self::HUB.contains(&self) { "the IoT Hub" } else { "the Device Provisioning Service" };
        format!(
            "In the Azure portal open {place}, then Shared access policies, then the policy \"{policy}\", tick \"{}\" and save; or link the account with a policy that has it.",
            self.title()
        )
    }

    /// The harmless request, for a thing named `name`. None where no request of the service API needs this permission.
    pub fn probe(self, name: &str) -> Option<Probe> {
        let (method, collection, if_match) = match self {
            Self::RegistryRead => (Method::Get, "devices", None),
            Self::RegistryWrite => (Method::Delete, "devices", Some(NO_ETAG)),
            Self::ServiceConnect => (Method::Get, "twins", None),
            Self::EnrollmentRead => (Method::Get, "enrollments", None),
            Self::EnrollmentWrite => (Method::Delete, "enrollments", Some(NO_ETAG)),
            Self::RegistrationStatusRead => (Method::Get, "registrations", None),
            Self::RegistrationStatusWrite => (Method::Delete, "registrations", Some(NO_ETAG)),
            // Completing a message with a lock that nobody holds: refused as lost, unless the device is not ours to act for.
            Self::DeviceConnect => {
                let segments = ["devices", name, "messages", "deviceBound", "00000000-0000-0000-0000-000000000000"];
                return Some(Probe {
                    method: Method::Delete,
                    segments: segments.map(str::to_owned).to_vec(),
                    if_match: None,
                });
            }
            Self::ServiceConfig => return None,
        };
        Some(Probe { method, segments: vec![collection.to_owned(), name.to_owned()], if_match })
    }
}
