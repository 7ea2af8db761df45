//! Checks symmetric keys and certificates before they are sent.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::{FieldProblem, problem};
use crate::platform::Platform;

/// The number of bytes of a key that the connector makes, which is the same as in keys that the hub makes.
const KEY_BYTES: usize = 32;

/// Makes a new random key, in base64.
pub fn generate(platform: &dyn Platform) -> String {
    let mut bytes = [0; KEY_BYTES];
    platform.secure_random(&mut bytes);
    STANDARD.encode(bytes)
}

/// The problem of a symmetric key, if the key has one.
pub fn check(key: &str, pointer: &str) -> Option<FieldProblem> {
    let fine = STANDARD.decode(key).is_ok_and(|bytes| (16..=64).contains(&bytes.len()));
    (!fine).then(|| problem(pointer, "not-a-key", "must be 16 to 64 bytes in base64"))
}

/// The public part of a TPM's endorsement key in the form that the provisioning service accepts: base64 without line
/// breaks.
///
/// # Errors
/// The problem of the key.
pub fn endorsement_key(text: &str, pointer: &str) -> Result<String, FieldProblem> {
    let body: String = text.split_whitespace().collect();
    match STANDARD.decode(&body) {
        Ok(bytes) if !bytes.is_empty() => Ok(body),
        _ => Err(problem(pointer, "not-a-key", "must be the public part of the TPM's endorsement key, in base64")),
    }
}

/// A certificate in the form that the provisioning service accepts: DER in base64. The text may be in this form or in
/// PEM.
///
/// # Errors
/// The problem of the certificate.
pub fn certificate(text: &str, pointer: &str) -> Result<String, FieldProblem> {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let bad = |message: &str| problem(pointer, "not-a-certificate", message);
    if text.contains("PRIVATE KEY") {
        return Err(bad("holds a private key; enter only the certificate"));
    }
    let body = match text.split_once(BEGIN) {
        None => text,
        Some((_, rest)) => match rest.split_once(END) {
            Some((body, more)) if !more.contains(BEGIN) => body,
            Some(_) => return Err(bad("holds several certificates; enter only the one that is asked for")),
            None => return Err(bad("has no line END CERTIFICATE")),
        },
    };
    let body: String = body.split_whitespace().collect();
    // A certificate in DER begins with the tag of a sequence.
    match STANDARD.decode(&body) {
        Ok(der) if der.first() == Some(&0x30) => Ok(body),
        _ => Err(bad("must be one X.509 certificate in PEM, or its DER form in base64")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_come_in_two_forms_and_never_with_a_key() {
        let der = STANDARD.encode([0x30, 0x03, 1, 2, 3]);
        let pem = format!("-----BEGIN CERTIFICATE-----\r\n{der}\r\n-----END CERTIFICATE-----\n");
        assert_eq!(certificate(&der, "/c").as_deref(), Ok(der.as_str()));
        assert_eq!(certificate(&pem, "/c").as_deref(), Ok(der.as_str()));
        let key = format!("{pem}-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
        for bad in [&key, &format!("{pem}{pem}"), "-----BEGIN CERTIFICATE-----\nMAMB", "AAAA", "", "not base64"] {
            let found = certificate(bad, "/c").expect_err(bad);
            assert_eq!((found.pointer.as_str(), found.code.as_str()), ("/c", "not-a-certificate"));
        }
    }

    #[test]
    fn an_endorsement_key_is_base64() {
        assert_eq!(endorsement_key(" AToA\r\nAQ==\n", "/k").as_deref(), Ok("AToAAQ=="));
        for bad in [
            "",
            " ",
            "?",
            "AToAAQ=",
            "AToAAQ",
            "AT-_",
            "-----BEGIN PUBLIC KEY-----\nAToAAQ==\n-----END PUBLIC KEY-----",
        ] {
            let found = endorsement_key(bad, "/k").expect_err(bad);
            assert_eq!((found.pointer.as_str(), found.code.as_str()), ("/k", "not-a-key"));
        }
    }

    #[test]
    fn keys_have_a_length() {
        for (bytes, fine) in [(15, false), (16, true), (32, true), (64, true), (65, false)] {
            assert_eq!(check(&STANDARD.encode(vec![7; bytes]), "/k").is_none(), fine, "{bytes}");
        }
        assert!(check("not base64", "/k").is_some());
    }
}
