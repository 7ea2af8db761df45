//! Actions: how long one takes where calls follow each other, and how many a core does where many run at a time.
//!
//! The component's side is a call as an engine makes it on a tenant that it keeps: the input is checked, the request
//! signed, the answer judged. Elapsed time counts where calls follow each other, because somebody waits; computing time
//! where many run at a time, because client and emulator share the cores.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use connector_host::Account;
use connector_host::interface::action::{Call, Outcome};
use serde_json::{Value, json};

use crate::lab::clock::{Clocks, Cost};
use crate::lab::native::{Lean, Pool};
use crate::lab::report::{Row, Unit};
use crate::lab::series::Series;
use crate::lab::service::{Addresses, Plan, Service};
use crate::lab::{AES_256, Lab, ROUNDS, python};

/// The calls of a round, one after another.
const CALLS: usize = 400;
const WARM_UP: usize = 50;
/// The calls of a round, many at a time.
const MANY: usize = 4_000;

#[derive(Clone, Copy)]
struct Action {
    name: &'static str,
    /// The component's input.
    input: fn(usize) -> Value,
    /// The same as a request: method, path and body.
    request: fn(usize) -> (&'static str, &'static str, Option<Value>),
}

const GET_DEVICE: Action = Action {
    name: "get-device",
    input: |_| json!({ "deviceId": "bench" }),
    request: |_| ("GET", "/devices/bench?api-version=2021-04-12", None),
};
const UPDATE_TWIN: Action = Action {
    name: "update-twin",
    input: |number| json!({ "deviceId": "bench", "tags": { "line": number } }),
    request: |number| ("PATCH", "/twins/bench?api-version=2021-04-12", Some(json!({ "tags": { "line": number } }))),
};

/// Measures the cases of this file.
///
/// # Errors
/// Where a call fails.
pub async fn measure(lab: &Lab) -> Result<()> {
    let service = Service::start(&Plan { suite: AES_256.to_owned(), ..Plan::default() })?;
    let addresses = &service.addresses;
    let tenant = addresses.tenant()?;
    let (today, older) = lab.connectors().await?;
    let account = today.account(&tenant, &addresses.connection());
    let older = older.map(|older| older.account(&tenant, &addresses.connection()));
    let opened = today.open(&tenant, &addresses.connection()).await?;
    for action in [GET_DEVICE, UPDATE_TWIN] {
        if lab.wants(action.name) {
            one_by_one(lab, addresses, action, action.name, &account, older.as_ref()).await?;
        }
        let case = format!("{}-warm", action.name);
        if lab.wants(&case) {
            one_by_one(lab, addresses, action, &case, &opened, None).await?;
        }
    }
    for (case, at_once) in [("get-device-16", 16), ("get-device-128", 128)] {
        if lab.wants(case) {
            at_a_time(lab, addresses, case, at_once, &account, older.as_ref()).await?;
        }
    }
    Ok(())
}

async fn one_by_one(
    lab: &Lab,
    addresses: &Addresses,
    action: Action,
    case: &str,
    account: &Account,
    older: Option<&Account>,
) -> Result<()> {
    let mut lean = Lean::connect(&addresses.authority, &addresses.hub_host, &addresses.hub_token).await?;
    let python = lab.python().await?;
    let (mut own, mut native, mut pythons, mut before) =
        (Series::default(), Series::default(), Series::default(), Series::default());
    for _ in 0..ROUNDS {
        own.push(p50(account, action).await?);
        let mut times = Vec::with_capacity(CALLS);
        for number in 0..WARM_UP + CALLS {
            let (method, path, body) = (action.request)(number);
            let started = Instant::now();
            let (answer, _) = lean.send(method, path, None, body.as_ref()).await?;
            times.push(started.elapsed().as_secs_f64() * 1e6);
            ensure!(answer["deviceId"] == "bench", "another device");
        }
        native.push(times.into_iter().skip(WARM_UP).collect::<Series>().median());
        if let Some(python) = python {
            pythons.push(python::calls(python, addresses, action.name, WARM_UP, CALLS).await? * 1e6);
        }
        if let Some(older) = older {
            before.push(p50(older, action).await?);
        }
    }
    let measure = "p50 of a call in us, elapsed";
    lab.report(&Row::new(case, AES_256, "native", Unit::Time, measure, &own, &native))?;
    if python.is_some() {
        lab.report(&Row::new(case, AES_256, "python", Unit::Time, measure, &own, &pythons))?;
    }
    if older.is_some() {
        lab.report(&Row::new(case, AES_256, "itself", Unit::Time, measure, &own, &before))?;
    }
    Ok(())
}

async fn p50(account: &Account, action: Action) -> Result<f64> {
    let mut times = Vec::with_capacity(CALLS);
    for number in 0..WARM_UP + CALLS {
        let input = (action.input)(number).to_string();
        let started = Instant::now();
        let outcome = account.invoke(action.name, &input, &Call::default()).await?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
        ensure!(matches!(&outcome, Outcome::Done(output) if output.contains("bench")), "{outcome:?}");
    }
    Ok(times.into_iter().skip(WARM_UP).collect::<Series>().median())
}

async fn at_a_time(
    lab: &Lab,
    addresses: &Addresses,
    case: &str,
    at_once: usize,
    account: &Account,
    older: Option<&Account>,
) -> Result<()> {
    let pool = Pool::new(&addresses.authority, &addresses.hub_host, &addresses.hub_token)?;
    let (mut own, mut native, mut before) = (Series::default(), Series::default(), Series::default());
    let (mut elapsed, mut native_elapsed) = (Series::default(), Series::default());
    for _ in 0..ROUNDS {
        let cost = component_calls(account, at_once, MANY).await?;
        own.push(cost.per_core());
        elapsed.push(cost.per_second());
        let requester = pool.clone();
        let cost = many(at_once, MANY, move || {
            let pool = requester.clone();
            async move {
                let device = pool.get("/devices/bench?api-version=2021-04-12").await?;
                ensure!(device["deviceId"] == "bench", "another device");
                Ok(())
            }
        })
        .await?;
        native.push(cost.per_core());
        native_elapsed.push(cost.per_second());
        if let Some(older) = older {
            before.push(component_calls(older, at_once, MANY).await?.per_core());
        }
    }
    let measure = "calls/s a core of the client (native: pool of hyper-util, hyper-rustls)";
    lab.report(&Row::new(case, AES_256, "native", Unit::Rate, measure, &own, &native))?;
    if older.is_some() {
        lab.report(&Row::new(case, AES_256, "itself", Unit::Rate, measure, &own, &before))?;
    }
    lab.note(format_args!(
        "{case}: elapsed, with the emulator on the same cores, {:.0} to {:.0} calls/s: {:.2}x",
        elapsed.median(),
        native_elapsed.median(),
        elapsed.ratio(&native_elapsed).median
    ));
    Ok(())
}

/// Calls `get-device` this number of times, this many at a time.
///
/// # Errors
/// Where a call fails.
pub async fn component_calls(account: &Account, at_once: usize, calls: usize) -> Result<Cost> {
    let input = (GET_DEVICE.input)(0).to_string();
    let account = account.clone();
    many(at_once, calls, move || {
        let (account, input) = (account.clone(), input.clone());
        async move {
            account.invoke(GET_DEVICE.name, &input, &Call::default()).await?;
            Ok(())
        }
    })
    .await
}

async fn many<C>(at_once: usize, calls: usize, call: impl Fn() -> C + Clone + Send + 'static) -> Result<Cost>
where
    C: Future<Output = Result<()>> + Send,
{
    // Connections are made before the clocks start.
    batch(at_once, at_once, call.clone()).await?;
    let clocks = Clocks::start();
    batch(at_once, calls, call).await?;
    Ok(clocks.stop(calls / at_once * at_once))
}

async fn batch<C>(at_once: usize, calls: usize, call: impl Fn() -> C + Clone + Send + 'static) -> Result<()>
where
    C: Future<Output = Result<()>> + Send,
{
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let call = call.clone();
        tasks.spawn(async move {
            for _ in 0..calls / at_once {
                call().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a task")??;
    }
    Ok(())
}
