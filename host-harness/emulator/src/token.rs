//! Shared access signatures: how they are read and checked.
//!
//! The signature is checked over the `sr` text exactly as sent. IoT Hub and DPS use the base64-*decoded* key, Event
//! Hubs the text of the key. The token's resource must be a prefix of the requested resource, by whole path segments.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

use crate::error::{ErrorCode, ServiceError};

/// Which form of the key signs a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The base64-decoded key: IoT Hub and DPS.
    IotHub,
    /// The bytes of the key's text, not decoded: Event Hubs, and the hub's Event Hub-compatible endpoint.
    EventHubs,
}

/// A shared access signature, taken apart.
pub(crate) struct Token {
    /// `sr` as sent: what was signed.
    resource: String,
    signature: Vec<u8>,
    /// `se`, seconds since the Unix epoch.
    expiry: i64,
    /// `se` as sent.
    expiry_text: String,
    /// `skn`, absent for device keys.
    pub(crate) policy: Option<String>,
}

impl Token {
    /// Reads `SharedAccessSignature sr=…&sig=…&se=…[&skn=…]`, its fields in any order.
    pub(crate) fn parse(text: &str) -> Result<Self, ServiceError> {
        let fields = text.trim().strip_prefix("SharedAccessSignature ").ok_or_else(unauthorized)?;
        let (mut resource, mut signature, mut expiry, mut policy) = (None, None, None, None);
        for field in fields.trim().split('&') {
            let (name, value) = field.split_once('=').ok_or_else(unauthorized)?;
            let slot = match name {
                "sr" => &mut resource,
                "sig" => &mut signature,
                "se" => &mut expiry,
                "skn" => &mut policy,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(unauthorized());
            }
        }
        let (Some(resource), Some(signature), Some(expiry)) = (resource, signature, expiry) else {
            return Err(unauthorized());
        };
        Ok(Self {
            resource: resource.to_owned(),
            signature: STANDARD.decode(decode(signature)).map_err(|_| unauthorized())?,
            expiry: expiry.parse().map_err(|_| unauthorized())?,
            expiry_text: expiry.to_owned(),
            policy: policy.map(decode).filter(|name| !name.is_empty()),
        })
    }

    /// Checks the expiry, and the signature against both keys, which are base64.
    pub(crate) fn verify<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a str>,
        now: i64,
        tolerance: u64,
    ) -> Result<(), ServiceError> {
        let genuine = self.is_genuine(Dialect::IotHub, keys);
        if genuine && now <= self.deadline(tolerance) { Ok(()) } else { Err(unauthorized()) }
    }

    /// Whether one of the keys has signed the token.
    pub(crate) fn is_genuine<'a>(&self, dialect: Dialect, keys: impl IntoIterator<Item = &'a str>) -> bool {
        let signed = format!("{}\n{}", self.resource, self.expiry_text);
        keys.into_iter().any(|key| {
            let key = match dialect {
                Dialect::IotHub => STANDARD.decode(key).ok(),
                Dialect::EventHubs => Some(key.as_bytes().to_vec()),
            };
            key.and_then(|key| Hmac::<Sha256>::new_from_slice(&key).ok())
                .is_some_and(|mac| mac.chain_update(signed.as_bytes()).verify_slice(&self.signature).is_ok())
        })
    }

    /// Until when the token is accepted, in seconds since the Unix epoch.
    pub(crate) fn deadline(&self, tolerance: u64) -> i64 {
        self.expiry.saturating_add(i64::try_from(tolerance).unwrap_or(i64::MAX))
    }

    /// The resource, percent-decoded.
    pub(crate) fn resource(&self) -> String {
        decode(&self.resource)
    }

    /// Checks that the token's resource is the requested one or one of its parents.
    pub(crate) fn covers(&self, authorities: &[String], path: &[String]) -> Result<(), ServiceError> {
        let resource = decode(&self.resource);
        let mut segments = resource.trim_end_matches('/').split('/');
        let authority = segments.next().unwrap_or_default();
        let known = authorities.iter().any(|known| known.eq_ignore_ascii_case(authority));
        let mut path = path.iter();
        if known && segments.all(|segment| path.next().is_some_and(|wanted| wanted == segment)) {
            Ok(())
        } else {
            Err(unauthorized())
        }
    }
}

/// The one answer to every token that does not authorize the request.
pub(crate) fn unauthorized() -> ServiceError {
    ServiceError::new(ErrorCode::UNAUTHORIZED_ACCESS, "Unauthorized")
}

/// The key of a device in an enrollment group: the group's key signs the registration id.
pub(crate) fn derive_device_key(group_key: &str, registration_id: &str) -> Option<String> {
    let key = STANDARD.decode(group_key).ok()?;
    let mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    Some(STANDARD.encode(mac.chain_update(registration_id.as_bytes()).finalize().into_bytes()))
}

pub(crate) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Published vectors: the IoT extension of the Azure CLI, and the Node.js SDK.
    const KEY: &str = "+XLy+MVZ+aTeOnVzN2kLeB16O+kSxmz6g3rS6fAf6rw=";

    fn token(text: &str) -> Token {
        Token::parse(text).expect("token")
    }

    #[test]
    fn the_published_vectors_verify() {
        let vectors = [
            (
                "iot-hub-for-test.azure-devices.net",
                "770sPjjYxRYpNz8%2FhEN7XR5XU5KDGYGTinSP8YyeTXw%3D",
                1_471_940_363,
                KEY,
            ),
            (
                "iot-hub-for-test.azure-devices.net%2Fdevices%2Fiot-device-for-test",
                "SIumZ1ACqqPJZ2okHDlW9MSYKykEpqsQY3z6FMOICd4%3D",
                1_471_940_363,
                KEY,
            ),
            ("uri", "kcWxXAK2OAaAoq2oCkaGzX2NMqDB8nCyNuq2fPYCDhk%3D", 12_345, "cGFzc3dvcmQ="),
        ];
        for (resource, signature, expiry, key) in vectors {
            let token = token(&format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn=p"));
            assert!(token.verify([key], expiry, 0).is_ok(), "{resource}");
            assert!(token.verify([key], expiry + 1, 0).is_err(), "expired");
            assert!(token.verify([key], expiry + 300, 300).is_ok(), "within tolerance");
            assert!(token.verify(["AAAA"], expiry, 0).is_err(), "another key");
        }
    }

    #[test]
    fn a_resource_covers_whole_segments_only() {
        let authorities = ["localhost:8443".to_owned()];
        let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        let covers = |resource: &str, wanted: &str| {
            token(&format!("SharedAccessSignature sr={resource}&sig=AA==&se=1"))
                .covers(&authorities, &path(wanted))
                .is_ok()
        };
        assert!(covers("LocalHost%3a8443", "devices/a"));
        assert!(covers("localhost:8443/devices/a", "devices/a/modules/m"));
        assert!(covers("localhost%3A8443%2Fdevices", "devices/a"));
        assert!(!covers("localhost%3A8443%2Fdev", "devices/a"));
        assert!(!covers("localhost%3A8443%2Fdevices%2Fb", "devices/a"));
        assert!(!covers("localhost", "devices/a"));
        assert!(!covers("localhost%3A8443%2Fdevices%2Fa%2Fb", "devices/a"));
    }

    #[test]
    fn event_hubs_sign_with_the_raw_key() {
        // A test vector of the Rust SDK for Event Hubs.
        let token = token(
            "SharedAccessSignature sr=amqps%3a%2f%2fexample.servicebus.windows.net%2fmyhub&\
             sig=SgJoMn7K6nWDCF6e1%2BfsxrmJLsorqPeZ3B8N1uQ31dc%3D&se=1700000000&skn=RootManageSharedAccessKey",
        );
        assert!(token.is_genuine(Dialect::EventHubs, ["mykey"]));
        assert!(!token.is_genuine(Dialect::IotHub, ["mykey"]));
        assert_eq!(token.resource(), "amqps://example.servicebus.windows.net/myhub");
    }

    #[test]
    fn a_field_may_appear_once() {
        assert!(Token::parse("SharedAccessSignature sr=a&sr=b&sig=AA==&se=1").is_err());
        assert!(Token::parse("Bearer abc").is_err());
    }
}
