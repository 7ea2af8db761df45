//! Whether a service supports the API version that a request was made at.
//!
//! | service | its answer to a version that it does not support | seen in |
//! |---|---|---|
//! | IoT Hub | 400, `ErrorCode:InvalidProtocolVersion;BadRequest` (400001) | Azure/azure-iot-sdks#828, Azure/Industrial-IoT#708 |
//! | DPS | 400, `errorCode` 400004, "Unsupported API version 2019-04-15." | Azure/iotedge#4112, #6631 |
//!
//! 400004 stands for any bad argument, so for that code the sentence decides. It must name exactly the version that was
//! sent: an enrollment has an API version of its own, which the service may refuse as well.

use super::fault::Fault;
use crate::platform::WireResponse;

/// The code `InvalidProtocolVersion`.
const INVALID_PROTOCOL_VERSION: u32 = 400_001;
/// How many bytes of an answer are examined. The services' refusals have a few hundred bytes.
const LOOKED_AT: usize = 4096;

/// Whether an answer refuses only the API version, and nothing else in the request.
pub fn refused(answer: &WireResponse, fault: &Fault, version: &str) -> bool {
    if answer.status != 400 {
        return false;
    }
    if fault.has_code(INVALID_PROTOCOL_VERSION) {
        return true;
    }
    let text = String::from_utf8_lossy(answer.body.get(..LOOKED_AT).unwrap_or(&answer.body)).to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    says(&[version])
        && says(&["api version", "api-version", "apiversion"])
        && says(&["unsupported", "not supported", "invalid", "not allowed", "unknown"])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn refuses(status: u16, headers: &[(&str, &str)], body: &str) -> bool {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let answer = WireResponse { status, headers, body: body.as_bytes().to_vec() };
        refused(&answer, &Fault::read(&answer, Duration::ZERO), "2026-11-01")
    }

    #[test]
    fn a_refused_version_is_distinguished_from_other_bad_requests() {
        let dps = |message: &str| format!(r#"{{"errorCode":400004,"trackingId":"t","message":"{message}"}}"#);
        assert!(refuses(400, &[], &dps("Unsupported API version 2026-11-01.")));
        assert!(refuses(400, &[], &dps("The api-version '2026-11-01' is not supported.")));
        assert!(refuses(
            400,
            &[],
            r#"{"error":{"code":"UnsupportedApiVersion","message":"Unsupported api-version 2026-11-01"}}"#
        ));
        assert!(refuses(400, &[], r#"{"Message":"ErrorCode:InvalidProtocolVersion;BadRequest"}"#));
        assert!(refuses(400, &[("iothub-errorcode", "InvalidProtocolVersion")], ""));
        assert!(refuses(400, &[], r#"{"Message":{"errorCode":400001,"message":"no"}}"#));

        assert!(!refuses(400, &[], &dps("The registration id is not valid.")));
        assert!(!refuses(400, &[], &dps("Unsupported API version 2018-01-01 of the custom allocation.")));
        assert!(!refuses(
            400,
            &[],
            &dps("PUT /enrollments/a?api-version=2026-11-01: the enrollment has no attestation")
        ));
        assert!(!refuses(404, &[], &dps("Unsupported API version 2026-11-01.")));
        assert!(!refuses(500, &[("iothub-errorcode", "InvalidProtocolVersion")], ""));
        assert!(!refuses(400, &[], &(" ".repeat(LOOKED_AT) + "unsupported api version 2026-11-01")));
    }
}
