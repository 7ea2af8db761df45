//! Shared access signatures, identical to the signatures of Microsoft's SDKs.
//!
//! There are two formats, which differ only in the key: IoT Hub and DPS sign with the decoded key, Event Hubs with the
//! key's base64 text ("Control access to IoT Hub with shared access signatures"; the SDKs' `sas_credential`).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::percent_decode_str;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::secret::{Secret, percent_encode, remember};

/// Decodes base64 as Microsoft's SDKs do: surplus bits in the last character are ignored.
const LENIENT: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Which service a signature is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// IoT Hub and DPS: the key is base64 and is decoded.
    IotHub,
    /// Event Hubs: the key's text is used as the key.
    EventHubs,
}

/// The name and key of a shared access policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedAccessKey {
    /// The policy's name (`skn`).
    pub policy: String,
    /// One of the policy's two keys, in base64 as the Azure portal shows it.
    pub key: Secret,
}

impl SharedAccessKey {
    /// Signs `resource` (host and path, not percent-encoded). The token is valid until `expiry`, in seconds since the
    /// Unix epoch.
    ///
    /// A key that is not base64 is already refused when the connection is read. If one is used here nevertheless, its
    /// text is the key.
    pub fn token(&self, dialect: Dialect, resource: &str, expiry: u64) -> Secret {
        let sr = percent_encode(resource);
        let sig = sign(dialect, &self.key, &sr, expiry);
        remember(self.key.expose());
        remember(&percent_decode_str(&sig).decode_utf8_lossy());
        let skn = percent_encode(&self.policy);
        Secret::new(format!("SharedAccessSignature sr={sr}&sig={sig}&se={expiry}&skn={skn}"))
    }

    /// A name for this key in a cache. The key cannot be recovered from it.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.policy.as_bytes());
        hash.update([0]);
        hash.update(self.key.expose().as_bytes());
        hash.finalize().into()
    }
}

/// The bytes of a key; none if its text is not base64.
pub fn decode_key(key: &Secret) -> Option<Zeroizing<Vec<u8>>> {
    LENIENT.decode(key.expose()).ok().map(Zeroizing::new)
}

/// The `sig` field, percent-encoded: HMAC-SHA256 of `sr`, a line feed and `expiry`.
pub fn sign(dialect: Dialect, key: &Secret, sr: &str, expiry: u64) -> String {
    let text = key.expose().as_bytes();
    let key = match dialect {
        Dialect::IotHub => decode_key(key).unwrap_or_else(|| Zeroizing::new(text.to_vec())),
        Dialect::EventHubs => Zeroizing::new(text.to_vec()),
    };
    // HMAC takes keys of any length, so the error cannot happen. If it did, the service would refuse the empty
    // signature.
    let mac = hmac(&key, &format!("{sr}\n{expiry}")).unwrap_or_default();
    percent_encode(&STANDARD.encode(mac))
}

/// The HMAC-SHA256 of a text under a key in base64; none if the key is not base64.
pub fn mac_of(key: &Secret, text: &str) -> Option<Vec<u8>> {
    hmac(&decode_key(key)?, text)
}

fn hmac(key: &[u8], text: &str) -> Option<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(text.as_bytes());
    Some(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLI_KEY: &str = "+XLy+MVZ+aTeOnVzN2kLeB16O+kSxmz6g3rS6fAf6rw=";

    fn check(dialect: Dialect, key: &str, sr: &str, se: u64, sig: &str) {
        assert_eq!(sign(dialect, &Secret::new(key), sr, se), sig, "{sr}");
    }

    /// Test vectors of the Azure CLI extension, the Node SDK and the Rust SDK.
    #[test]
    fn agrees_with_microsofts_vectors() {
        let hub = "iot-hub-for-test.azure-devices.net";
        let device = "iot-hub-for-test.azure-devices.net/devices/iot-device-for-test";
        let module = "iot-hub-for-test.azure-devices.net/devices/iot-device-for-test/modules/module-for-test";
        let encoded = percent_encode;
        check(
            Dialect::IotHub,
            CLI_KEY,
            &encoded(hub),
            1_471_940_363,
            "770sPjjYxRYpNz8%2FhEN7XR5XU5KDGYGTinSP8YyeTXw%3D",
        );
        check(
            Dialect::IotHub,
            CLI_KEY,
            &encoded(device),
            1_471_940_363,
            "SIumZ1ACqqPJZ2okHDlW9MSYKykEpqsQY3z6FMOICd4%3D",
        );
        check(
            Dialect::IotHub,
            CLI_KEY,
            &encoded(module),
            1_471_940_363,
            "JwAxBBBPYA0E%2FTHdnrXzUfBfuZ7deH6pppCniJ23Uu0%3D",
        );
        check(Dialect::IotHub, "cGFzc3dvcmQ=", "uri", 12345, "kcWxXAK2OAaAoq2oCkaGzX2NMqDB8nCyNuq2fPYCDhk%3D");
        check(
            Dialect::IotHub,
            "key=",
            &encoded("host/devices/device"),
            12345,
            "wM3XiP6gD960IxP7J5WHqnxQHEcWC6YaQCtoMT%2BkKHc%3D",
        );
        check(
            Dialect::IotHub,
            "fakeKey=",
            &encoded("fake.host.name/devices/fakeDeviceId"),
            10,
            "bYz5R2IFTaejB6pgYOxns2mw6lcuA4VSy8kJbYQp0Sc%3D",
        );
        check(
            Dialect::EventHubs,
            "mykey",
            "amqps%3a%2f%2fexample.servicebus.windows.net%2fmyhub",
            1_700_000_000,
            "SgJoMn7K6nWDCF6e1%2BfsxrmJLsorqPeZ3B8N1uQ31dc%3D",
        );
    }

    #[test]
    fn token_encodes_every_field() {
        let key = SharedAccessKey { policy: "encode('Me')".into(), key: Secret::new("cGFzc3dvcmQ=") };
        assert_eq!(
            key.token(Dialect::IotHub, "uri", 12345).expose(),
            "SharedAccessSignature sr=uri&sig=kcWxXAK2OAaAoq2oCkaGzX2NMqDB8nCyNuq2fPYCDhk%3D&se=12345&skn=encode%28%27Me%27%29"
        );
    }

    #[test]
    fn dialects_differ_for_the_same_key() {
        let key = Secret::new(CLI_KEY);
        assert_ne!(sign(Dialect::IotHub, &key, "uri", 1), sign(Dialect::EventHubs, &key, "uri", 1));
    }

    #[test]
    fn debug_holds_no_key() {
        let key = SharedAccessKey { policy: "p".into(), key: Secret::new(CLI_KEY) };
        assert!(!format!("{key:?}").contains("+XLy"));
    }
}
