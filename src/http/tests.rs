//! Requests against a scripted platform: which requests are signed and repeated, and what errors state.

use std::time::Duration;

use super::{Api, Client, ProbeAnswer, Request, Safety, Service};
use crate::auth::{Permission, SharedAccessKey};
use crate::error::{EffectState, ErrorCode, Result, Retry};
use crate::platform::fake::FakePlatform;
use crate::platform::{ExchangeError, ExchangeErrorKind, Method, WireResponse};
use crate::secret::Secret;

const NOW: u64 = 1_800_000_000;

/// Each test uses its own host, because all tests share the instance's cache.
fn api(host: &str) -> Api {
    let key = SharedAccessKey { policy: "service".into(), key: Secret::new("c2VjcmV0IGtleSBvZiB0aGUgdGVzdA==") };
    Api { service: Service::IotHub, host: format!("{host}.azure-devices.net"), key }
}

fn read() -> Request {
    Request::new(Method::Get, ["devices", "d 1#?"], Safety::Read, Permission::RegistryRead)
}

fn once() -> Request {
    Request::new(Method::Post, ["twins", "d1", "methods"], Safety::Once, Permission::ServiceConnect)
        .json(serde_json::json!({}))
}

fn send(platform: &FakePlatform, host: &str, request: &Request) -> Result<super::client::Response> {
    let api = api(host);
    Client::new(platform, &api, Duration::from_secs(NOW + 60), false).send(request)
}

fn fails(kind: ExchangeErrorKind, sent: bool) -> impl FnOnce() -> ExchangeError {
    move || ExchangeError { kind, sent, detail: "scripted".into() }
}

#[test]
fn the_path_is_encoded_and_the_token_covers_it() {
    let platform = FakePlatform::at(NOW);
    platform.then_status(200, &[], "{}").then_status(200, &[], "{}");
    send(&platform, "path", &read()).expect("an answer");
    send(&platform, "path", &once()).expect("an answer");
    let requests = platform.requests.borrow();
    assert_eq!(requests[0].path_with_query, "/devices/d%201%23%3F?api-version=2021-04-12");
    assert!(requests[0].authorization.expose().contains("sr=path.azure-devices.net&"), "no narrow scope for odd ids");
    assert!(requests[1].authorization.expose().contains("sr=path.azure-devices.net%2Ftwins%2Fd1&"));
    assert!(requests[1].authorization.expose().contains(&format!("&se={}&", NOW + 3600)));
}

#[test]
fn a_read_is_tried_again_and_a_call_is_not() {
    let platform = FakePlatform::at(NOW);
    platform.then_status(503, &[], "").then(|_, _| Err(fails(ExchangeErrorKind::Broken, true)()));
    platform.then_status(200, &[], "{}");
    send(&platform, "again", &read()).expect("the third attempt");
    assert_eq!(platform.sleeps.borrow().len(), 2);

    let platform = FakePlatform::at(NOW);
    platform.then(|_, _| Err(fails(ExchangeErrorKind::Broken, true)()));
    let error = send(&platform, "again", &once()).expect_err("not tried again");
    assert_eq!((error.code(), error.record().effect), (ErrorCode::Unavailable, EffectState::Unknown));
}

#[test]
fn what_never_left_is_sent_again() {
    let platform = FakePlatform::at(NOW);
    platform.then(|_, _| Err(fails(ExchangeErrorKind::Connect, false)())).then_status(200, &[], "{}");
    send(&platform, "unsent", &once()).expect("the second attempt");
}

#[test]
fn retry_after_is_kept_and_a_deadline_too() {
    let platform = FakePlatform::at(NOW);
    platform.then_status(429, &[("retry-after", "7")], "").then_status(200, &[], "{}");
    send(&platform, "slow", &once()).expect("the second attempt");
    assert_eq!(*platform.sleeps.borrow(), [Duration::from_secs(7)]);

    let platform = FakePlatform::at(NOW);
    platform.then_status(429, &[("retry-after", "61")], r#"{"Message":"ErrorCode:ThrottlingException;slow down"}"#);
    let error = send(&platform, "slow", &once()).expect_err("the deadline is nearer");
    assert_eq!((error.code(), error.record().retry), (ErrorCode::RateLimited, Retry::After(61_000)));
    assert!(platform.sleeps.borrow().is_empty());
    let fault = error.record().service.clone().expect("what the service said");
    assert_eq!(fault.code.as_deref(), Some("429001 ThrottlingException"));
}

#[test]
fn attempts_are_bounded() {
    let platform = FakePlatform::at(NOW);
    for _ in 0..4 {
        platform.then_status(500, &[], "");
    }
    let error = send(&platform, "bounded", &read()).expect_err("the fourth is the last");
    assert_eq!(error.status(), Some(500));
    assert_eq!(platform.requests.borrow().len(), 4);
}

#[test]
fn a_wrong_clock_is_noticed_and_made_up_for() {
    let platform = FakePlatform::at(NOW);
    let theirs = std::time::UNIX_EPOCH + Duration::from_secs(NOW + 9_000);
    platform.then_status(401, &[("date", &httpdate::fmt_http_date(theirs))], "").then_status(200, &[], "{}");
    send(&platform, "clock", &once()).expect("the second attempt");
    let requests = platform.requests.borrow();
    assert!(requests[1].authorization.expose().contains(&format!("&se={}&", NOW + 9_000 + 3600)));
}

/// The local clock jumps by a day, forward or back, and returns, while the service's time continues. No request fails,
/// and each jump costs at most one more attempt.
#[test]
fn a_clock_that_jumps_costs_an_attempt_at_the_most() {
    for (host, jump) in [("jumps-ahead", 86_400), ("jumps-back", -86_400)] {
        let mut service_time = NOW;
        for (jump, hours) in [(0, 0), (jump, 0), (jump, 2), (0, 0), (0, 2), (-jump, 2), (0, 0)] {
            service_time += hours * 3_600;
            let platform = FakePlatform::at(service_time);
            platform.jump.set(jump);
            // The service accepts a token that has not expired by its own clock.
            for _ in 0..2 {
                platform.then(move |request, _| {
                    let token = request.authorization.expose().to_owned();
                    let expiry = token.split("&se=").nth(1).and_then(|rest| rest.split('&').next());
                    let valid = expiry.and_then(|expiry| expiry.parse::<u64>().ok()).expect("se") > service_time;
                    let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(service_time));
                    Ok(WireResponse {
                        status: if valid { 200 } else { 401 },
                        headers: vec![("date".into(), date)],
                        body: b"{}".to_vec(),
                    })
                });
            }
            let api = api(host);
            let client = Client::new(&platform, &api, Duration::from_secs(service_time + 60), false);
            client.send(&once()).expect("at the second attempt at the latest");
        }
    }
}

#[test]
fn a_token_that_is_too_narrow_is_widened_and_stays_so() {
    let platform = FakePlatform::at(NOW);
    platform.then_status(401, &[], "").then_status(200, &[], "{}").then_status(200, &[], "{}");
    send(&platform, "narrow", &once()).expect("the wide token");
    send(&platform, "narrow", &once()).expect("the wide token at once");
    let requests = platform.requests.borrow();
    assert_eq!(requests.len(), 3);
    assert!(requests[2].authorization.expose().contains("sr=narrow.azure-devices.net&"));
}

#[test]
fn a_missing_permission_is_distinguished_from_a_wrong_key() {
    // The narrow and the wide token are refused. Then the probe of another permission succeeds: the key is good.
    let platform = FakePlatform::at(NOW);
    platform.then_status(401, &[], "").then_status(401, &[], "");
    platform.then_status(404, &[("iothub-errorcode", "DeviceNotFound")], "");
    let error = send(&platform, "lacks", &once()).expect_err("refused");
    assert_eq!(error.code(), ErrorCode::PermissionDenied);
    let missing = error.record().missing_permission.clone().expect("named");
    assert_eq!(missing.permission, "service-connect");
    assert!(missing.remedy.contains("Service Connect") && missing.remedy.contains("service"));
    assert_eq!(error.record().retry, Retry::AfterReconfiguration);

    let platform = FakePlatform::at(NOW);
    for _ in 0..5 {
        platform.then_status(401, &[], "");
    }
    let error = send(&platform, "wrong", &once()).expect_err("refused");
    assert_eq!((error.code(), error.record().retry), (ErrorCode::AuthFailed, Retry::AfterReauthentication));
    let message = &error.record().message;
    assert!(message.contains("IP filter") && message.contains("public network access"), "{message}");
    let text = format!("{error:?}");
    assert!(!text.contains("c2VjcmV0") && !text.contains("sig="), "no secret in {text}");
}

#[test]
fn a_delete_that_got_through_unseen_is_a_success() {
    let delete = Request::new(Method::Delete, ["devices", "d1"], Safety::Repeatable, Permission::RegistryWrite);
    let platform = FakePlatform::at(NOW);
    platform.then(|_, _| Err(fails(ExchangeErrorKind::Broken, true)())).then_status(
        404,
        &[("iothub-errorcode", "DeviceNotFound")],
        "",
    );
    send(&platform, "gone", &delete).expect("it is gone");

    let platform = FakePlatform::at(NOW);
    platform.then_status(404, &[], r#"{"Message":"ErrorCode:DeviceNotFound;x"}"#);
    assert_eq!(send(&platform, "gone", &delete).expect_err("never there").code(), ErrorCode::NotFound);
}

#[test]
fn a_delete_that_may_have_got_through_is_not_a_success_by_a_gateways_word() {
    let delete = Request::new(Method::Delete, ["devices", "d1"], Safety::Repeatable, Permission::RegistryWrite);
    let platform = FakePlatform::at(NOW);
    platform.then(|_, _| Err(fails(ExchangeErrorKind::Broken, true)())).then_status(404, &[], "<html>");
    let error = send(&platform, "gateway", &delete).expect_err("nobody knows");
    assert_eq!((error.code(), error.record().retry), (ErrorCode::Protocol, Retry::Backoff));
}

/// A code that reports another kind of thing as gone says nothing about the requested thing.
#[test]
fn what_is_gone_has_to_be_what_was_asked_for() {
    let cases = [
        (vec!["devices", "d1"], Method::Get, 404_010, ErrorCode::Protocol),
        (vec!["devices", "d1", "modules", "m1"], Method::Get, 404_010, ErrorCode::NotFound),
        (vec!["devices", "d1", "modules", "m1"], Method::Get, 404_001, ErrorCode::NotFound),
        (vec!["twins", "d1"], Method::Get, 404_201, ErrorCode::Protocol),
        (vec!["enrollments", "e1"], Method::Get, 404_202, ErrorCode::NotFound),
        (vec!["enrollments", "e1"], Method::Delete, 404_210, ErrorCode::Protocol),
        (vec!["enrollments", "e1"], Method::Put, 404_210, ErrorCode::InvalidInput),
        (vec!["configurations", "c1"], Method::Get, 404_301, ErrorCode::NotFound),
        (vec!["configurations", "c1"], Method::Get, 404_001, ErrorCode::Protocol),
    ];
    for (segments, method, number, code) in cases {
        let platform = FakePlatform::at(NOW);
        platform.then_status(404, &[], &format!(r#"{{"errorCode":{number},"message":"no"}}"#));
        let mut request = Request::new(method, segments.clone(), Safety::Once, Permission::RegistryRead);
        if method == Method::Put {
            request = request.json(serde_json::json!({}));
        }
        let error = send(&platform, "subjects", &request).expect_err("refused");
        assert_eq!(error.code(), code, "{segments:?} {number}");
        assert!(error.record().message.ends_with("It says: no"), "{}", error.record().message);
    }
}

/// A key that worked a moment ago may have been replaced, so an earlier success is not relied on.
#[test]
fn a_key_that_was_good_is_asked_about_again() {
    let platform = FakePlatform::at(NOW);
    platform.then_status(200, &[], "{}");
    for _ in 0..5 {
        platform.then_status(401, &[], "");
    }
    send(&platform, "rotated", &read()).expect("an answer");
    assert_eq!(send(&platform, "rotated", &once()).expect_err("refused").code(), ErrorCode::AuthFailed);
}

#[test]
fn a_dry_run_reads_and_does_not_write() {
    let platform = FakePlatform::at(NOW);
    platform.then_status(200, &[], "{}");
    let api = api("dry");
    let client = Client::new(&platform, &api, Duration::from_secs(NOW + 60), true);
    client.send(&read()).expect("reads are sent");
    assert_eq!(client.send(&once()).expect_err("writes are not").code(), ErrorCode::Cancelled);
    let plan = client.planned().expect("the plan");
    assert_eq!(
        (plan.method, plan.url.as_str()),
        ("POST", "https://dry.azure-devices.net/twins/d1/methods?api-version=2021-04-12")
    );
    assert_eq!(platform.requests.borrow().len(), 1);
}

#[test]
fn headers_cannot_be_smuggled() {
    let platform = FakePlatform::at(NOW);
    let request = read().header("x-ms-continuation", "a\r\nauthorization: x");
    assert_eq!(send(&platform, "smuggle", &request).expect_err("refused").code(), ErrorCode::InvalidInput);
    assert!(platform.requests.borrow().is_empty());
}

#[test]
fn failures_name_what_to_do() {
    let cases = [
        (ExchangeErrorKind::Dns, ErrorCode::Unavailable, Retry::Backoff),
        (ExchangeErrorKind::Tls, ErrorCode::Unavailable, Retry::AfterReconfiguration),
        (ExchangeErrorKind::Denied, ErrorCode::Unavailable, Retry::AfterReconfiguration),
        (ExchangeErrorKind::TooLarge, ErrorCode::PayloadTooLarge, Retry::Never),
        (ExchangeErrorKind::Protocol, ErrorCode::Protocol, Retry::Backoff),
        (ExchangeErrorKind::Timeout, ErrorCode::Timeout, Retry::Backoff),
    ];
    for (kind, code, retry) in cases {
        let platform = FakePlatform::at(NOW);
        for _ in 0..4 {
            platform.then(move |_, _| Err(fails(kind, true)()));
        }
        let error = send(&platform, "failures", &once()).expect_err("fails");
        assert_eq!((error.code(), error.record().retry), (code, retry), "{kind:?}");
    }
}

#[test]
fn a_deadline_that_has_passed_sends_nothing() {
    let platform = FakePlatform::at(NOW + 61);
    let error = send(&platform, "late", &once()).expect_err("too late");
    assert_eq!((error.code(), error.record().effect), (ErrorCode::Timeout, EffectState::None));
    assert!(platform.requests.borrow().is_empty());
}

#[test]
fn probes_distinguish_granted_from_refused() {
    let api = api("probes");
    let platform = FakePlatform::at(NOW);
    platform.then_status(404, &[("iothub-errorcode", "DeviceNotFound")], "").then_status(401, &[], "");
    platform.then_status(412, &[], "");
    let client = Client::new(&platform, &api, Duration::from_secs(NOW + 60), false);
    let probe = |permission| client.probe(permission, "nothing").expect("an answer");
    assert_eq!(probe(Permission::RegistryRead), ProbeAnswer::Granted);
    assert_eq!(probe(Permission::ServiceConnect), ProbeAnswer::Refused(401));
    assert_eq!(probe(Permission::RegistryWrite), ProbeAnswer::Granted);
    assert_eq!(probe(Permission::ServiceConfig), ProbeAnswer::NoProbe);
    // An answer that the service did not write proves nothing about the permission.
    for (status, body) in [(404, "<html>"), (403, "<html>"), (400, "<html>"), (403, r#"{"errorCode":403002}"#)] {
        platform.then_status(status, &[], body);
        assert!(client.probe(Permission::RegistryRead, "nothing").is_err(), "{status} {body}");
    }
    let requests = platform.requests.borrow();
    assert!(
        requests[2].headers.contains(&("if-match".into(), "\"permission-probe\"".to_owned())),
        "nothing has this ETag"
    );
}

#[test]
fn an_answer_that_is_no_json_is_a_protocol_error() {
    let platform = FakePlatform::at(NOW);
    platform.then_status(200, &[], "{oops");
    let error = send(&platform, "not-json", &read()).expect("an answer").json().expect_err("not JSON");
    assert_eq!(error.code(), ErrorCode::Protocol);
}

/// A login page of a network in between: a deletion that was answered with such a page used to be reported as done.
#[test]
fn a_page_with_a_success_is_no_success() {
    let delete = Request::new(Method::Delete, ["devices", "d"], Safety::Repeatable, Permission::RegistryWrite);
    for (headers, body) in [
        (&[][..], "<html>login</html>"),
        (&[("content-type", "text/html; charset=utf-8")][..], ""),
        (&[("content-type", "TEXT/HTML")][..], "welcome"),
        (&[][..], " \n<!DOCTYPE html>"),
    ] {
        for (request, effect, retry) in [
            (&read(), EffectState::None, Retry::Backoff),
            (&delete, EffectState::Unknown, Retry::Backoff),
            (&once(), EffectState::Unknown, Retry::Never),
        ] {
            let platform = FakePlatform::at(NOW);
            platform.then_status(200, headers, body);
            let error = send(&platform, "page", request).expect_err("a page");
            let record = error.record();
            assert_eq!((record.code, record.effect, record.retry), (ErrorCode::Protocol, effect, retry), "{body}");
            assert!(record.message.contains("login page"), "{}", record.message);
        }
    }
}

/// A service that quotes the request in its answer, in each place that is passed on.
#[test]
fn a_token_that_comes_back_is_in_no_error() {
    /// Makes headers and a body that contain a token.
    type Echo = fn(&str) -> (Vec<(String, String)>, String);
    let bodies: [Echo; 8] = [
        |token| {
            (
                vec![],
                serde_json::json!({ "Message": format!("ErrorCode:ArgumentInvalid;Bad header {token}") }).to_string(),
            )
        },
        |token| {
            (vec![], serde_json::json!({ "errorCode": 400_004, "message": token, "trackingId": token }).to_string())
        },
        |token| (vec![], serde_json::json!({ "error": { "message": format!("Not {token}") } }).to_string()),
        |token| {
            (
                vec![],
                serde_json::json!({ "Message": "x", "ExceptionMessage": format!("Tracking ID:{token}") }).to_string(),
            )
        },
        |token| (vec![], format!("<html><title>{token}</title></html>")),
        |token| (vec![], format!("<html>{}{token}", "word ".repeat(95))),
        |token| {
            (vec![("iothub-errorcode".into(), token.into()), ("x-ms-request-id".into(), token.into())], String::new())
        },
        |token| (vec![], format!("no token: {token}")),
    ];
    for (number, body) in bodies.into_iter().enumerate() {
        for (signature_alone, status) in [(false, 400), (true, 400), (true, 404), (false, 401)] {
            let platform = FakePlatform::at(NOW);
            let seen = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
            for _ in 0..8 {
                let seen = seen.clone();
                platform.then(move |request, _| {
                    let token = request.authorization.expose();
                    let signature = token.split("sig=").nth(1).and_then(|rest| rest.split('&').next()).expect("signed");
                    let raw = percent_encoding::percent_decode_str(signature).decode_utf8().expect("text").into_owned();
                    seen.borrow_mut().push((signature.to_owned(), raw.clone()));
                    let (headers, body) = body(if signature_alone { &raw } else { token });
                    Ok(crate::platform::WireResponse { status, headers, body: body.into_bytes() })
                });
            }
            let error = send(&platform, &format!("echo{number}"), &read()).expect_err("a refusal");
            let all = format!("{error} {:?}", error.record());
            for (encoded, raw) in seen.borrow().iter() {
                for form in [encoded.as_str(), raw, raw.trim_end_matches('='), &raw[..20], &encoded[..20]] {
                    assert!(!all.contains(form), "{number} {status}: {all}");
                }
            }
            assert!(!all.contains("c2VjcmV0IGtleSBv"), "{all}");
        }
    }
}

#[test]
fn what_cannot_be_seen_of_a_service_is_in_no_error() {
    let hidden = "Device \u{202e}gnp.1d\u{2066} is\u{200b} off\u{1b}[2J\r\nERROR forged\u{2028}line\u{85}";
    for (headers, body) in [
        (vec![], serde_json::json!({ "Message": hidden, "ExceptionMessage": hidden }).to_string()),
        (vec![], serde_json::json!({ "errorCode": hidden, "message": hidden, "trackingId": hidden }).to_string()),
        (vec![("iothub-errorcode", hidden), ("x-ms-request-id", hidden)], format!("<title>{hidden}</title>")),
        (vec![], format!("{{\"detail\":{}}}", serde_json::json!(hidden))),
    ] {
        let platform = FakePlatform::at(NOW);
        platform.then_status(409, &headers, &body);
        let error = send(&platform, "hidden", &read()).expect_err("a refusal");
        let record = error.record();
        let service = record.service.clone().expect("the service answered");
        for text in [Some(record.message.clone()), record.detail.clone(), service.code, service.tracking_id]
            .into_iter()
            .flatten()
        {
            assert!(text.chars().all(connector_rules::text::is_visible), "{text:?}");
        }
        assert!(record.message.contains("Device gnp.1d is off [2J ERROR forged line"), "{}", record.message);
    }
}
