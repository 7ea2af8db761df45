//! A connector for any JSON API over HTTP: an action that sends a request, a trigger that polls a collection, and one
//! that takes signed webhooks.

use connector_kit::form::{Field, Kind, Values, text};
use connector_kit::http::{Request, Response, exchange};
use connector_kit::*;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

struct Http;
export!(Http);

const SEND: &str = "send-request";
const CHANGED: &str = "item-changed";
const HOOK: &str = "webhook-received";

/// Where a poll continues: the collection's ETag, and the last item's time and id.
type Position = [String; 3];

impl Connector for Http {
    const ACCOUNT: &'static [Field] = &[
        Field::required("host", "Host", Kind::Text("api.example.com"), "Of the API, with `:port` where it is not 443."),
        Field::required("token", "Token", Kind::Secret, "Sent as `Authorization: Bearer …`."),
        Field::optional("webhookSecret", "Webhook secret", Kind::Secret, "What the service signs webhooks with."),
    ];
    const FORMS: &'static [(&'static str, &'static [Field])] = &[
        (
            SEND,
            &[
                Field::required(
                    "method",
                    "Method",
                    Kind::OneOf(&["GET", "POST", "PUT", "PATCH", "DELETE"]),
                    "Of HTTP.",
                ),
                Field::required("path", "Path", Kind::Text("/items?state=new"), "With the query."),
                Field::optional("body", "Body", Kind::Any, "Any JSON."),
            ],
        ),
        (CHANGED, &[Field::required("path", "Path", Kind::Text("/items"), "Of a JSON array of items.")]),
        (HOOK, &[]),
    ];

    fn describe() -> Descriptor {
        let any = json!({});
        let request = json!({ "method": "POST", "path": "/items", "body": { "name": "x" } });
        let response = json!({ "status": 200, "body": { "id": "7" } });
        let item = json!({ "id": "7", "updatedAt": "2026-05-04T07:00:00Z" });
        let help = "Sends JSON, and answers with what came back.";
        let send = operation::<Self>(SEND, "Send a request", help, &request, [&any, &response]);
        let help = "Items are distinguished by `id`; an item with a younger `updatedAt` has changed.";
        let changed = operation::<Self>(CHANGED, "An item changed", help, &json!({ "path": "/items" }), [&any, &item]);
        let help = "Enter the engine's URL at the service. `x-signature-256: sha256=…` is the HMAC of the body.";
        let hook = operation::<Self>(HOOK, "A webhook came", help, &any, [&any, &item]);
        Descriptor {
            auth_profiles: vec![profile::<Self>("bearer", "Bearer token", "An API's host and a token that it takes.")],
            triggers: vec![
                trigger(changed, TriggerKind::Polling, &[StartMode::Now, StartMode::Earliest], 1_000),
                trigger(hook, TriggerKind::Webhook, &[StartMode::Now], 0),
            ],
            actions: vec![action(send, Effect::Write, Idempotency::None)],
            egress: vec![https("{host}", &[], "the API")],
            unsupported: ["discovery.options", "discovery.resolve-schema", "action.resume"].map(String::from).to_vec(),
            ..descriptor("http", env!("CARGO_PKG_VERSION"), "HTTP", "Any JSON API over HTTPS.")
        }
    }

    fn test(account: &Values, deadline_ms: u64) -> Answer<Report> {
        // The path need not exist: any answer but a refusal means that the token was accepted.
        let tried = call(account, "GET", "/", None, None, deadline_ms);
        let refused = tried.err().filter(|error| !matches!(error.code, ErrorCode::NotFound | ErrorCode::Conflict));
        let usable = [SEND, CHANGED, HOOK].map(String::from).to_vec();
        Ok(Report { checks: vec![check("reach", "Reach the API", refused)], permissions: Vec::new(), usable })
    }

    fn label(account: &Values) -> String {
        text(account, "host").to_owned()
    }

    fn poll(account: &Values, config: &Values, request: &PollRequest) -> Answer<Page> {
        if request.trigger == HOOK {
            return unsupported();
        }
        let given = request.cursor.as_ref().map(|cursor| serde_json::from_slice::<Position>(&cursor.position));
        let given = given.transpose().map_err(|_| invalid("/cursor", "is not one of this trigger's"))?;
        let position = given.clone().unwrap_or_default();
        let (etag, items) = items(account, config, &position, request.budget.deadline_ms)?;
        let mut position = [String::new(), position[1].clone(), position[2].clone()];
        let (mut events, mut bytes, mut more) = (Vec::new(), 0, false);
        for (item_position, item) in &items {
            // A first poll that begins now only takes stock.
            if given.is_some() || !matches!(request.start, Start::Now) {
                bytes += item.to_string().len() as u64;
                let full = events.len() >= request.budget.events as usize || bytes > request.budget.bytes;
                if full && !events.is_empty() {
                    more = true;
                    break;
                }
                events.push(event(CHANGED, &item_position[1..].join(" "), account, item, item_position));
            }
            position.clone_from(item_position);
        }
        // Only to a reader who has seen everything may the API say that nothing has changed.
        position[0] = if more { String::new() } else { etag };
        let next = Cursor { snapshot: Vec::new(), position: json!(position).to_string().into() };
        Ok(Page { events, next, more, wait_hint_ms: 30_000, lag: None, notices: Vec::new() })
    }

    fn sample(account: &Values, trigger: &str, config: &Values, limit: u32, ms: u64) -> Answer<Vec<Event>> {
        if trigger == HOOK {
            return unsupported();
        }
        let (_, items) = items(account, config, &Position::default(), ms)?;
        let events = items.iter().take(limit as usize);
        Ok(events.map(|(position, item)| event(CHANGED, &position[1..].join(" "), account, item, position)).collect())
    }

    fn subscribe(_: &Values, trigger: &str, _: Option<&str>, _: &[u8]) -> Answer<Subscription> {
        // A person enters the URL at the service.
        if trigger == HOOK { Ok(Subscription { state: Vec::new(), expires: None }) } else { unsupported() }
    }

    fn unsubscribe(_: &Values, trigger: &str, _: &[u8]) -> Answer<()> {
        if trigger == HOOK { Ok(()) } else { unsupported() }
    }

    fn receive(account: &Values, trigger: &str, request: &ReceivedRequest) -> Answer<Received> {
        if trigger != HOOK {
            return unsupported();
        }
        let signature = request.headers.iter().find(|header| header.name == "x-signature-256");
        let signature = signature.map(|header| String::from_utf8_lossy(&header.value)).unwrap_or_default();
        let secret = Some(text(account, "webhookSecret")).filter(|secret| !secret.is_empty());
        let genuine =
            secret.and_then(|secret| Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()).is_some_and(|mac| {
                let claimed = signature.strip_prefix("sha256=").and_then(unhex).unwrap_or_default();
                mac.chain_update(&request.body).verify_slice(&claimed).is_ok()
            });
        let data = serde_json::from_slice::<Value>(&request.body).ok().filter(|_| genuine);
        let status = if data.is_some() { 204 } else { 401 };
        let events = data.iter().map(|data| event(HOOK, &signature, account, data, &Position::default())).collect();
        Ok(Received { status, headers: Vec::new(), body: Vec::new(), events, wake: false })
    }

    fn invoke(account: &Values, _: &str, input: &Values, how: &Call) -> Answer<Outcome> {
        let (method, path, body) = (text(input, "method"), text(input, "path"), input.get("body"));
        if how.dry_run && method != "GET" {
            let url = format!("https://{}/{}", text(account, "host"), path.trim_start_matches('/'));
            return Ok(Outcome::Planned(json!({ "method": method, "url": url, "body": body }).to_string()));
        }
        let answered = call(account, method, path, body, None, how.deadline_ms);
        let effect = if method == "GET" { EffectState::None } else { EffectState::Unknown };
        let Response { status, body, .. } = answered.map_err(|error| Error { effect, ..error })?;
        Ok(Outcome::Done(json!({ "status": status, "body": body }).to_string()))
    }
}

fn call(
    account: &Values,
    method: &str,
    path: &str,
    body: Option<&Value>,
    etag: Option<&str>,
    ms: u64,
) -> Answer<Response> {
    let mut headers = vec![("authorization", format!("Bearer {}", text(account, "token")))];
    headers.extend(etag.map(|etag| ("if-none-match", etag.to_owned())));
    exchange(&Request { method, authority: text(account, "host"), path, headers, body }, ms)
}

/// The items after a position, oldest first, each with its own position; and the collection's ETag.
fn items(account: &Values, config: &Values, after: &Position, ms: u64) -> Answer<(String, Vec<(Position, Value)>)> {
    let known = Some(after[0].as_str()).filter(|etag| !etag.is_empty());
    let Response { status, etag, body } = call(account, "GET", text(config, "path"), None, known, ms)?;
    let Value::Array(items) = (if status == 304 { json!([]) } else { body }) else {
        return Err(error(ErrorCode::Protocol, Retry::Never, "The API answers with something else than an array."));
    };
    let part = |item: &Value, name| item[name].as_str().map_or_else(|| item[name].to_string(), str::to_owned);
    let position = |item: &Value| [String::new(), part(item, "updatedAt"), part(item, "id")];
    let mut items: Vec<_> = items.into_iter().map(|item| (position(&item), item)).collect();
    items.retain(|(position, _)| position[1..] > after[1..]);
    items.sort_by(|one, other| one.0.cmp(&other.0));
    Ok((etag.unwrap_or_default(), items))
}

fn event(trigger: &str, id: &str, account: &Values, data: &Value, position: &Position) -> Event {
    let (source, event_type) = (format!("https://{}", text(account, "host")), format!("http.{trigger}"));
    let summary = format!("{trigger} {id}");
    Event { summary, order_key: position[2].clone(), ..json_event(id, &source, &event_type, data, &json!(position)) }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}
