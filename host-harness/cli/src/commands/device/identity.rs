//! Which device it is, and how the device proves its identity.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connector_host::Secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

/// What a path segment, a query and a token keep as it is: the unreserved characters of RFC 3986.
const ESCAPED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How long a token is valid. The hub closes the connection when it expires, and a new connection has a new token.
const LIFETIME: Duration = Duration::from_secs(3600);

/// A device or a module of a hub.
#[derive(Debug)]
pub(super) struct Identity {
    /// The hub's host name, with its port if it has one. Names and tokens of MQTT contain it as it is.
    pub(super) host: String,
    /// The host to connect to over MQTT instead of the hub, `GatewayHostName`.
    pub(super) gateway: Option<String>,
    pub(super) device: String,
    pub(super) module: Option<String>,
    pub(super) proof: Proof,
}

/// How a device proves its identity.
#[derive(Clone, Debug)]
pub(super) enum Proof {
    /// By tokens that it signs with this key, base64.
    Key(Secret),
    /// By the client certificate of its TLS connections.
    Certificate,
}

impl Identity {
    /// Reads a device's connection string.
    ///
    /// # Errors
    /// Which part is missing or not known. Errors never quote a value.
    pub(super) fn from_connection_string(text: &str) -> Result<Self> {
        let (mut host, mut gateway, mut device, mut module, mut key, mut x509) = (None, None, None, None, None, false);
        for part in text.trim().split(';').filter(|part| !part.trim().is_empty()) {
            let (name, value) = part.split_once('=').context("a part of the connection string has no `=`")?;
            let value = value.trim().to_owned();
            match name.trim() {
                "HostName" => host = Some(value),
                "GatewayHostName" => gateway = Some(value),
                "DeviceId" => device = Some(value),
                "ModuleId" => module = Some(value),
                "SharedAccessKey" => key = Some(value),
                "x509" => x509 = value.eq_ignore_ascii_case("true"),
                "SharedAccessKeyName" => bail!(
                    "this is the connection string of a policy of the hub; use the one of a device, which has a DeviceId"
                ),
                name => bail!(
                    "the connection string has an unknown part `{}`; known are HostName, DeviceId, ModuleId, SharedAccessKey, GatewayHostName and x509",
                    name.chars().take(30).collect::<String>()
                ),
            }
        }
        let proof = match key {
            Some(key) => Proof::Key(Secret::new(key)),
            None if x509 => Proof::Certificate,
            None => bail!("the connection string has no SharedAccessKey; a device with a certificate has x509=true"),
        };
        Self {
            host: host.context("the connection string has no HostName")?,
            gateway,
            device: device.context("the connection string has no DeviceId")?,
            module,
            proof,
        }
        .checked()
    }

    /// Refuses a key that cannot sign.
    pub(super) fn checked(self) -> Result<Self> {
        if let Proof::Key(key) = &self.proof {
            decoded(key)?;
        }
        Ok(self)
    }

    /// The name of the device or module in topics, in resources and as MQTT's client id.
    pub(super) fn name(&self) -> String {
        match &self.module {
            Some(module) => format!("{}/{module}", self.device),
            None => self.device.clone(),
        }
    }

    /// A token for the hub at `host`, as the hub is called; `None` if a certificate proves the identity.
    pub(super) fn token(&self, host: &str) -> Result<Option<String>> {
        let Proof::Key(key) = &self.proof else { return Ok(None) };
        let module = self.module.as_ref().map(|module| format!("/modules/{module}")).unwrap_or_default();
        sign(&format!("{host}/devices/{}{module}", self.device), key, None).map(Some)
    }
}

/// Signs a token for a resource.
///
/// # Errors
/// If the key is not base64.
pub(super) fn sign(resource: &str, key: &Secret, policy: Option<&str>) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("this machine's clock is before 1970")?;
    let expiry = (now + LIFETIME).as_secs();
    let resource = escaped(resource);
    let signature = escaped(&STANDARD.encode(digest(key, &format!("{resource}\n{expiry}"))?));
    let policy = policy.map(|policy| format!("&skn={policy}")).unwrap_or_default();
    Ok(format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}{policy}"))
}

/// The key of a device in an enrollment group: the digest of its registration id by the group's key.
///
/// # Errors
/// If the group's key is not base64.
pub(super) fn derived(group_key: &Secret, registration_id: &str) -> Result<Secret> {
    Ok(Secret::new(STANDARD.encode(digest(group_key, registration_id)?)))
}

/// A text as one segment of a path or of a query.
pub(super) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, &ESCAPED).to_string()
}

fn digest(key: &Secret, text: &str) -> Result<Vec<u8>> {
    let mac = Hmac::<Sha256>::new_from_slice(&decoded(key)?).context("the key cannot be used")?;
    Ok(mac.chain_update(text).finalize().into_bytes().to_vec())
}

fn decoded(key: &Secret) -> Result<Vec<u8>> {
    // The decoder's own message quotes a character of the key.
    STANDARD.decode(key.expose()).ok().filter(|key| !key.is_empty()).context("the key is not base64")
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIGtleSB0aGF0IG11c3Qgbm90IGJlIHNlZW4h";

    #[test]
    fn reads_connection_strings() {
        let text = format!("HostName=plant.azure-devices.net;DeviceId=press-1;SharedAccessKey={KEY}");
        let identity = Identity::from_connection_string(&text).unwrap();
        assert_eq!((identity.host.as_str(), identity.name().as_str()), ("plant.azure-devices.net", "press-1"));
        assert!(!format!("{identity:?}").contains(KEY));
        let token = identity.token(&identity.host).unwrap().unwrap();
        assert!(
            token.starts_with("SharedAccessSignature sr=plant.azure-devices.net%2Fdevices%2Fpress-1&sig="),
            "{token}"
        );
        let module = Identity::from_connection_string(&format!("{text};ModuleId=camera;GatewayHostName=edge")).unwrap();
        assert_eq!((module.name().as_str(), module.gateway.as_deref()), ("press-1/camera", Some("edge")));
        assert!(module.token(&module.host).unwrap().unwrap().contains("%2Fdevices%2Fpress-1%2Fmodules%2Fcamera&"));
        let x509 = Identity::from_connection_string("HostName=h;DeviceId=d;x509=true").unwrap();
        assert!(matches!(x509.proof, Proof::Certificate) && x509.token(&x509.host).unwrap().is_none());
    }

    #[test]
    fn a_wrong_connection_string_says_what_is_wrong_and_no_key() {
        for (text, wanted) in [
            (format!("HostName=h;SharedAccessKeyName=service;SharedAccessKey={KEY}"), "policy of the hub"),
            (format!("HostName=h;SharedAccessKey={KEY}"), "no DeviceId"),
            (format!("DeviceId=d;SharedAccessKey={KEY}"), "no HostName"),
            ("HostName=h;DeviceId=d".to_owned(), "no SharedAccessKey"),
            (format!("HostName=h;DeviceId=d;SharedAccessKey=%{KEY}"), "not base64"),
            (format!("HostName=h;DeviceId=d;Key={KEY}"), "unknown part `Key`"),
            (KEY.to_owned(), "no `=`"),
        ] {
            let error = format!("{:#}", Identity::from_connection_string(&text).unwrap_err());
            assert!(error.contains(wanted) && !error.contains(&KEY[..8]), "{error}");
        }
    }

    /// The example of Microsoft's documentation of symmetric key attestation.
    #[test]
    fn derives_the_key_of_a_device_in_a_group() {
        let group = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==";
        let key = derived(&Secret::new(group.to_owned()), "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6").unwrap();
        assert_eq!(key.expose(), "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=");
    }
}
