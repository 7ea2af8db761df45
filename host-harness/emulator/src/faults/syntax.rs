//! The string form of a rule. Its grammar is with [`FaultRule`].

use std::str::FromStr;
use std::time::Duration;

use super::action::FaultAction;
use super::refusal::{Refusal, RefusalForm};
use super::rule::FaultRule;
use crate::error::ErrorCode;
use crate::service::Service;

/// A fault rule's string form could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("fault rule '{rule}': {problem}")]
pub struct FaultSyntaxError {
    rule: String,
    problem: String,
}

impl FromStr for FaultRule {
    type Err = FaultSyntaxError;

    fn from_str(rule: &str) -> Result<Self, Self::Err> {
        parse_rule(rule).map_err(|problem| FaultSyntaxError { rule: rule.to_owned(), problem })
    }
}

fn parse_rule(rule: &str) -> Result<FaultRule, String> {
    let (target, action) = rule.rsplit_once('=').ok_or("'=' is missing between path and action")?;
    let (method, path) = target.trim().split_once(' ').ok_or("a space is missing between method and path")?;
    let (service, method) = match method.split_once(':') {
        Some((service, method)) => (Some(parse_service(service)?), method),
        None => (None, method),
    };
    let path = path.trim();
    if !path.starts_with('/') && !path.starts_with('*') {
        return Err(format!("the path must start with '/' or '*', not '{path}'"));
    }
    let (action, probability) = match action.trim().rsplit_once('@') {
        Some((action, probability)) => (action, parse_number::<f64>(probability, "the probability")?),
        None => (action.trim(), 1.0),
    };
    if !(0.0..=1.0).contains(&probability) {
        return Err("the probability must lie between 0 and 1".to_owned());
    }
    let (mut action, mut times, mut skip) = (action, None, 0);
    // The suffixes `x` and `~` may both be present, in either order.
    while let Some((rest, number)) = action.rsplit_once(['x', '~']) {
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            break;
        }
        if action[rest.len()..].starts_with('x') {
            times = Some(parse_number::<u32>(number, "the number of times")?);
        } else {
            skip = parse_number::<u32>(number, "the number of matches to skip")?;
        }
        action = rest;
    }
    let action = parse_action(action)?;
    let amqp = service.is_some_and(Service::is_amqp);
    if !amqp && action.is_amqp_only() {
        return Err(
            "this action works at the AMQP endpoints only: put 'eventhub:' or 'hub-amqp:' before the method".to_owned()
        );
    }
    if amqp && action.is_http_only() {
        return Err("this action works only over HTTP: remove 'eventhub:' or 'hub-amqp:'".to_owned());
    }
    Ok(FaultRule {
        service,
        method: (method != "*").then(|| method.to_ascii_uppercase()),
        path: path.to_owned(),
        action,
        times,
        skip,
        probability,
    })
}

fn parse_service(text: &str) -> Result<Service, String> {
    match text {
        "hub" => Ok(Service::Hub),
        "dps" => Ok(Service::Dps),
        "device" => Ok(Service::Device),
        "eventhub" => Ok(Service::EventHub),
        "hub-amqp" => Ok(Service::HubAmqp),
        _ => Err(format!("the service must be one of hub, dps, device, eventhub, hub-amqp, not '{text}'")),
    }
}

fn parse_action(text: &str) -> Result<FaultAction, String> {
    let (name, argument) = text.split_once(':').map_or((text, None), |(name, argument)| (name, Some(argument)));
    let needed = || argument.ok_or(format!("'{name}' needs a number after ':'"));
    let condition = |default: &str| argument.unwrap_or(default).to_owned();
    match name {
        "latency" => Ok(FaultAction::Latency(Duration::from_millis(parse_number(needed()?, "the latency")?))),
        "drop" => Ok(FaultAction::DropConnection),
        "drop-after" => Ok(FaultAction::DropAfterEffect),
        "truncate" => Ok(FaultAction::TruncateBody),
        "stall" => Ok(FaultAction::StallBody),
        "garbage" => Ok(FaultAction::Garbage),
        "oversize" => Ok(FaultAction::Oversize(parse_number(needed()?, "the size")?)),
        "etag" => Ok(FaultAction::WrongEtag),
        "close" => Ok(FaultAction::Close(condition("amqp:connection:forced"))),
        "end" => Ok(FaultAction::End(condition("amqp:internal-error"))),
        "detach" => Ok(FaultAction::Detach(condition("amqp:link:detach-forced"))),
        "reject" => Ok(FaultAction::Reject(condition("amqp:internal-error"))),
        "half" => Ok(FaultAction::HalfFrame),
        "cut" => Ok(FaultAction::Cut(parse_number(needed()?, "the number of bytes")?)),
        "expire" => Ok(FaultAction::ExpireTokens),
        "skew" => Ok(FaultAction::ClockSkew(parse_number(needed()?, "the skew")?)),
        _ => {
            let (rest, retry_after_secs) = match name.split_once('+') {
                Some((rest, seconds)) => (rest, Some(parse_number(seconds, "the pause")?)),
                None => (name, None),
            };
            let (status, code) = match rest.split_once('/') {
                Some((status, code)) => (status, Some(code)),
                None => (rest, None),
            };
            let status = parse_number::<u16>(status, "the action")?;
            if !(400..600).contains(&status) {
                return Err(format!("the status must lie between 400 and 599, not {status}"));
            }
            let form = match argument {
                Some(form) => Some(RefusalForm::parse(form).ok_or_else(|| {
                    format!(
                        "the form must be one of text, object, string, flat, header, bare, page, document, not '{form}'"
                    )
                })?),
                None => None,
            };
            let number = code.and_then(|code| code.parse::<u32>().ok());
            let own = code.is_none() || number.is_some_and(|number| ErrorCode::from_number(number).is_some());
            if form.is_none() && own {
                return Ok(FaultAction::Status { status, code: number, retry_after_secs, body: None });
            }
            let is_code = |code: &str| match number {
                Some(_) => code.len() == 6,
                None => !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            };
            if let Some(code) = code.filter(|code| !is_code(code)) {
                return Err(format!("the error code must be six digits or a name, not '{code}'"));
            }
            let refusal = Refusal::new(status, code, form.unwrap_or(RefusalForm::Text));
            Ok(FaultAction::Refuse(Refusal { retry_after_secs, ..refusal }))
        }
    }
}

fn parse_number<T: FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.trim().parse().map_err(|_| format!("{what} must be a number, not '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_string_form_reads_every_action() {
        let rule: FaultRule = "POST /enrollments/query=429x3".parse().expect("rule");
        assert_eq!(rule.times, Some(3));
        assert!(matches!(rule.action, FaultAction::Status { status: 429, code: None, .. }));
        let rule: FaultRule = "hub:patch /twins/*=412/412001+7@0.5".parse().expect("rule");
        assert_eq!(rule.service, Some(Service::Hub));
        assert_eq!(rule.method.as_deref(), Some("PATCH"));
        assert!(matches!(
            rule.action,
            FaultAction::Status { status: 412, code: Some(412_001), retry_after_secs: Some(7), .. }
        ));
        for (text, code, form, seconds) in [
            ("404/IotHubFailingOver", Some("IotHubFailingOver"), RefusalForm::Text, None),
            ("404/404012", Some("404012"), RefusalForm::Text, None),
            ("400/400027:string", Some("400027"), RefusalForm::String, None),
            ("404/404001+3:header", Some("404001"), RefusalForm::Header, Some(3)),
            ("404:page", None, RefusalForm::Page, None),
        ] {
            let rule: FaultRule = format!("* /={text}x2").parse().expect("rule");
            let status = text[..3].parse().expect("a status");
            let expected = Refusal { retry_after_secs: seconds, ..Refusal::new(status, code, form) };
            assert_eq!((rule.times, rule.action), (Some(2), FaultAction::Refuse(expected)), "{text}");
        }
        assert!("* /=404/404012:elsewhere".parse::<FaultRule>().is_err());
        for (text, action) in [
            ("latency:250", FaultAction::Latency(Duration::from_millis(250))),
            ("drop", FaultAction::DropConnection),
            ("drop-after", FaultAction::DropAfterEffect),
            ("truncatex2", FaultAction::TruncateBody),
            ("stall", FaultAction::StallBody),
            ("garbage", FaultAction::Garbage),
            ("oversize:1000", FaultAction::Oversize(1000)),
            ("etag", FaultAction::WrongEtag),
            ("skew:-600", FaultAction::ClockSkew(-600)),
        ] {
            let rule: FaultRule = format!("* /={text}").parse().expect("rule");
            assert_eq!(rule.action, action);
        }
        for (text, action) in [
            ("close", FaultAction::Close("amqp:connection:forced".to_owned())),
            ("detach:com.microsoft:server-busyx2~3@0.5", FaultAction::Detach("com.microsoft:server-busy".to_owned())),
            ("end", FaultAction::End("amqp:internal-error".to_owned())),
            ("rejectx1", FaultAction::Reject("amqp:internal-error".to_owned())),
            ("half~100", FaultAction::HalfFrame),
            ("cut:4096", FaultAction::Cut(4096)),
            ("expire", FaultAction::ExpireTokens),
        ] {
            let rule: FaultRule = format!("eventhub:ATTACH /*={text}").parse().expect("rule");
            assert_eq!(rule.action, action);
            assert!(!rule.matches(Service::Hub, "ATTACH", "/a") && rule.matches(Service::EventHub, "ATTACH", "/a"));
            assert!(format!("ATTACH /*={text}").parse::<FaultRule>().is_err());
        }
        assert!("eventhub:ATTACH /=etag".parse::<FaultRule>().is_err());
        for text in ["eventhub:TRANSFER /*=halfx1~100", "eventhub:TRANSFER /*=half~100x1"] {
            let rule: FaultRule = text.parse().expect("rule");
            assert_eq!((rule.times, rule.skip, &rule.action), (Some(1), 100, &FaultAction::HalfFrame));
        }
        let any: FaultRule = "* /=drop".parse().expect("rule");
        assert!(any.matches(Service::Device, "GET", "/a") && !any.matches(Service::HubAmqp, "ATTACH", "/a"));
        for bad in ["", "GET=429", "GET /x", "GET /x=200", "GET /x=503/123", "moon:GET /=drop", "* /=drop@2"] {
            assert!(bad.parse::<FaultRule>().is_err(), "{bad}");
        }
    }
}
