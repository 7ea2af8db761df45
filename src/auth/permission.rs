//! The permissions of a shared access policy, and for each a harmless request that shows whether a key has the
//! permission.
//!
//! Sources: "Control access to IoT Hub with shared access signatures", "Control access to DPS with shared access
//! signatures". The services' API descriptions state which operation needs which permission.

use crate::platform::Method;

/// A permission that the connection guide can ask for.
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

/// A request that needs one permission and changes nothing, whichever key signs it.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// The method.
    pub method: Method,
    /// The path's segments. They name a thing that does not exist.
    pub segments: Vec<String>,
    /// An ETag that no document has, for requests that would delete something.
    pub if_match: Option<&'static str>,
}

/// An ETag that the services never issue: if the probed thing exists after all, the request does not change it.
const NO_ETAG: &str = "\"permission-probe\"";

impl Permission {
    /// All permissions of IoT Hub.
    pub const HUB: [Self; 4] = [Self::RegistryRead, Self::RegistryWrite, Self::ServiceConnect, Self::DeviceConnect];
    /// All permissions of the Device Provisioning Service.
    pub const DPS: [Self; 5] = [
        Self::ServiceConfig,
        Self::EnrollmentRead,
        Self::EnrollmentWrite,
        Self::RegistrationStatusRead,
        Self::RegistrationStatusWrite,
    ];

    /// The permission's id in the manifest.
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

    /// The permission's name in the Azure portal.
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

    /// The service that grants the permission.
    pub fn service(self) -> &'static str {
        if Self::HUB.contains(&self) { "Azure IoT Hub" } else { "Device Provisioning Service" }
    }

    /// What a person must change to grant the permission, and where in the Azure portal.
    pub fn remedy(self, policy: &str) -> String {
        let place = if Self::HUB.contains(&self) { "the IoT Hub" } else { "the Device Provisioning Service" };
        format!(
            "In the Azure portal open {place}, then Shared access policies, then the policy \"{policy}\", tick \"{}\" and save; or link the account with a policy that has it.",
            self.title()
        )
    }

    /// The harmless request that needs this permission, for a thing named `name`. None if no request of the service API
    /// needs the permission.
    pub fn probe(self, name: &str) -> Option<Probe> {
        let (method, collection, if_match) = match self {
            Self::RegistryRead => (Method::Get, "devices", None),
            Self::RegistryWrite => (Method::Delete, "devices", Some(NO_ETAG)),
            Self::ServiceConnect => (Method::Get, "twins", None),
            Self::EnrollmentRead => (Method::Get, "enrollments", None),
            Self::EnrollmentWrite => (Method::Delete, "enrollments", Some(NO_ETAG)),
            Self::RegistrationStatusRead => (Method::Get, "registrations", None),
            Self::RegistrationStatusWrite => (Method::Delete, "registrations", Some(NO_ETAG)),
            // Completes a message with a lock token that nobody holds. The hub answers that the lock is lost, or
            // refuses the device.
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
