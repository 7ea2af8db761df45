//! The workflow: what a person would draw in an engine's editor.
//!
//! | step | action | why a repetition does no harm |
//! |---|---|---|
//! | 1 | `invoke-direct-method` `startCooling` | the call names its event; for an event that it knows, the machine answers and does nothing |
//! | 2 | `update-twin`: desired `cooling.targetTemperature`, tag `cooling` with the event | the same patch again changes nothing |
//!
//! Events are delivered at least once, so every step must tolerate a repetition. The connector declares the first
//! action as not repeatable, because it cannot know what a method does. This workflow knows that its method can be
//! repeated, and says so in [`Request::repeatable`].

use std::sync::Arc;

use azure_iot_emulator::START_COOLING;
use serde_json::{Value, json};

use super::super::actions::{Actions, Caller, Failed, Request, code};
use super::ledger::Hot;
use super::rule::TARGET;
use super::store::DeadLetter;

/// The number of attempts of one step, after which its event is put aside. With the default pauses between them, these
/// attempts suffice for a device that is away for a second and a half.
pub(super) const TRIES: u32 = 5;
/// How long a machine may take to answer, in seconds.
const ANSWER_SECONDS: u64 = 10;

const METHOD: &str = "invoke-direct-method";
const TWIN: &str = "update-twin";

/// The actions that the workflow calls.
pub(super) const ACTIONS: [&str; 2] = [METHOD, TWIN];

/// The workflow.
#[derive(Clone)]
pub(super) struct Workflow {
    actions: Arc<Actions>,
}

impl Workflow {
    pub(super) fn new(actions: Arc<Actions>) -> Self {
        Self { actions }
    }

    /// Carries out the steps for one event. The error is the dead letter to store.
    pub(super) async fn run(&self, hot: &Hot) -> Result<(), DeadLetter> {
        let method = json!({
            "deviceId": hot.device,
            "methodName": START_COOLING,
            "payload": { "event": hot.event },
            "responseTimeoutSeconds": ANSWER_SECONDS,
        });
        let answer = self.step(METHOD, &method, hot).await?;
        // This status comes from the device: the action succeeds even if the device refuses.
        let status = answer.get("status").and_then(Value::as_i64).unwrap_or_default();
        if status != 200 {
            let message = format!("the device answered with {status}: {}", answer["payload"]);
            return Err(letter(hot, METHOD, 1, "refused".to_owned(), message));
        }
        let twin = json!({
            "deviceId": hot.device,
            "desired": { "cooling": { "targetTemperature": TARGET } },
            "tags": { "cooling": { "event": hot.event, "temperature": hot.temperature, "time": hot.time } },
        });
        self.step(TWIN, &twin, hot).await.map(drop)
    }

    async fn step(&self, action: &'static str, input: &Value, hot: &Hot) -> Result<Value, DeadLetter> {
        let key = format!("{} {action}", hot.event);
        let request =
            Request { attempts: TRIES, repeatable: true, ..Request::new(Caller::Cooling, action, input, &key) };
        self.actions
            .invoke(&request)
            .await
            .map_err(|Failed { error, attempts }| letter(hot, action, attempts, code(&error), error.to_string()))
    }
}

fn letter(hot: &Hot, action: &str, tries: u32, code: String, message: String) -> DeadLetter {
    DeadLetter {
        event: hot.event.clone(),
        device_id: hot.device.clone(),
        temperature: hot.temperature,
        action: action.to_owned(),
        tries,
        code,
        message,
    }
}
