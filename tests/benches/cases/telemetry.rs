//! Telemetry: events a second of computing, of the component and of other clients, which read from one emulator.
//!
//! | reader | what it is |
//! |---|---|
//! | component | a warm instance, polled by its host as by an engine; AMQP and, unless the host has it, TLS run inside WebAssembly |
//! | `native` | the same AMQP client and TLS as a native program, without the trigger and the sandbox |
//! | `fe2o3-amqp` | a native client without shared code; Microsoft's own client for Rust is built on it |
//! | `python` | `azure-eventhub`, Microsoft's client for Python, unchanged |
//! | `itself` | an older version of the component: `--baseline` |
//!
//! All readers use the suite of the row, because the emulator offers no other. Each reader is a process of its own. The
//! result is its computing time, including host and kernel, because reader and emulator share cores.
//!
//! `telemetry-no-tls` is what is left of the time of an event without TLS: the trigger, AMQP, and the way through the
//! host. No suite without encryption exists, so it is computed: the time for an event on ChaCha20-Poly1305, where TLS
//! costs the least, minus the bytes of an event on the wire times the time for such a byte. That time is measured with
//! large events that a filter holds back, which cost little besides TLS. The kernel's and the host's work for these
//! bytes is taken off with it, on both sides.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use connector_tests::{component, workspace};

use crate::lab::clock::Cost;
use crate::lab::reader::{PREFETCH, Reader, Reading};
use crate::lab::report::{Row, Unit};
use crate::lab::series::Series;
use crate::lab::service::{Log, Plan, Service};
use crate::lab::{AES_128, AES_256, CHACHA20, Lab, ROUNDS, python};

const WARM_UP: usize = 1_000;
const EVENTS: usize = 20_000;
/// The size of an event's body, in bytes.
const BODY: usize = 1_024;
/// The size of a large body, in bytes.
const LARGE_BODY: usize = 60_000;
const LARGE_EVENTS: usize = 1_500;

/// The file of the component that leaves TLS to the host.
fn host_tls() -> Option<PathBuf> {
    Some(workspace().join("target/component/azure_iot_connector_host_tls.wasm")).filter(|file| file.exists())
}

/// Measures the cases of this file.
///
/// # Errors
/// Where a reader fails.
pub async fn measure(lab: &Lab) -> Result<()> {
    for suite in [AES_256, AES_128] {
        if ["telemetry-1k", "telemetry-host-tls", "telemetry-web-sockets"].iter().any(|case| lab.wants(case)) {
            small(lab, suite).await?;
        }
    }
    for (case, suite) in [("aes-256-gcm", AES_256), ("aes-128-gcm", AES_128)] {
        if lab.wants(case) {
            bulk(lab, case, suite).await?;
        }
    }
    if lab.wants("telemetry-no-tls") {
        without_tls(lab).await?;
    }
    Ok(())
}

fn start(suite: &str) -> Result<Service> {
    let logs = vec![Log { events: WARM_UP + EVENTS, body: BODY }, Log { events: LARGE_EVENTS, body: LARGE_BODY }];
    Service::start(&Plan { suite: suite.to_owned(), logs, ..Plan::default() })
}

fn reading(service: &Service, reader: Reader, component: &Path) -> Reading {
    let large = reader == Reader::HoldingBack;
    Reading {
        reader,
        addresses: service.addresses.clone(),
        component: component.to_owned(),
        partition: u16::from(large),
        warm_up: if large { 0 } else { WARM_UP },
        events: if large { LARGE_EVENTS } else { EVENTS },
    }
}

/// The older component reads with the older host, if the program with it is given.
async fn older(lab: &Lab, reading: &Reading) -> Result<Cost> {
    match &lab.arguments.baseline_program {
        Some(program) => reading.measure_with(program).await,
        None => reading.measure().await,
    }
}

async fn small(lab: &Lab, suite: &str) -> Result<()> {
    let service = start(suite)?;
    let file = component()?;
    let python = lab.python().await?;
    let baseline = lab.arguments.baseline.as_deref();
    let host_tls = host_tls();
    let [mut own, mut by_host, mut web_sockets, mut native, mut fe2o3, mut pythons, mut before] =
        std::array::from_fn(|_| Series::default());
    let mut memory = 0;
    for _ in 0..ROUNDS {
        let cost = reading(&service, Reader::Component, &file).measure().await?;
        own.push(cost.per_core());
        memory = memory.max(cost.memory);
        if let Some(file) = &host_tls {
            by_host.push(reading(&service, Reader::Component, file).measure().await?.per_core());
        }
        if lab.wants("telemetry-web-sockets") {
            web_sockets.push(reading(&service, Reader::WebSockets, &file).measure().await?.per_core());
        }
        native.push(reading(&service, Reader::Own, &file).measure().await?.per_core());
        fe2o3.push(reading(&service, Reader::Fe2o3, &file).measure().await?.per_core());
        if let Some(python) = python {
            let cost = python::events(python, &service.addresses, 0, WARM_UP, EVENTS, PREFETCH).await?;
            pythons.push(cost.per_core());
        }
        if let Some(baseline) = baseline {
            before.push(older(lab, &reading(&service, Reader::Component, baseline)).await?.per_core());
        }
    }
    let measure = "events of 1 KB/s a core of the reader";
    for (case, series, present) in [
        ("telemetry-1k", &own, true),
        ("telemetry-host-tls", &by_host, host_tls.is_some()),
        ("telemetry-web-sockets", &web_sockets, true),
    ] {
        if !present || !lab.wants(case) {
            continue;
        }
        let peers = [
            ("python", &pythons, python.is_some()),
            ("fe2o3-amqp", &fe2o3, true),
            ("native", &native, true),
            ("itself", &before, baseline.is_some()),
        ];
        for (peer, figures, present) in peers {
            if present {
                lab.report(&Row::new(case, suite, peer, Unit::Rate, measure, series, figures))?;
            }
        }
    }
    lab.note(format_args!("a streaming instance: {:.2} MiB of linear memory", memory as f64 / f64::from(1 << 20)));
    Ok(())
}

/// TLS in the guest, by large events that a filter holds back.
async fn bulk(lab: &Lab, case: &str, suite: &str) -> Result<()> {
    let service = start(suite)?;
    let file = component()?;
    let (mut own, mut native, mut before) = (Series::default(), Series::default(), Series::default());
    let rate = |cost: Cost| LARGE_BODY as f64 * cost.per_core() / 1e6;
    for _ in 0..ROUNDS {
        own.push(rate(reading(&service, Reader::HoldingBack, &file).measure().await?));
        let as_own = Reading { reader: Reader::Own, ..reading(&service, Reader::HoldingBack, &file) };
        native.push(rate(as_own.measure().await?));
        if let Some(baseline) = &lab.arguments.baseline {
            before.push(rate(older(lab, &reading(&service, Reader::HoldingBack, baseline)).await?));
        }
    }
    let measure = "MB/s a core of the reader, events of 60 KB that are held back";
    lab.report(&Row::new(case, suite, "native", Unit::Rate, measure, &own, &native))?;
    if lab.arguments.baseline.is_some() {
        lab.report(&Row::new(case, suite, "itself", Unit::Rate, measure, &own, &before))?;
    }
    Ok(())
}

async fn without_tls(lab: &Lab) -> Result<()> {
    let Some(baseline) = &lab.arguments.baseline else {
        lab.note("telemetry-no-tls: left out, because no --baseline is given");
        return Ok(());
    };
    let service = start(CHACHA20)?;
    let file = component()?;
    let (mut own, mut before) = (Series::default(), Series::default());
    for _ in 0..ROUNDS {
        let large = reading(&service, Reader::HoldingBack, &file).measure().await?;
        own.push(rest(reading(&service, Reader::Component, &file).measure().await?, large)?);
        let large = older(lab, &reading(&service, Reader::HoldingBack, baseline)).await?;
        before.push(rest(older(lab, &reading(&service, Reader::Component, baseline)).await?, large)?);
    }
    let measure = "events of 1 KB/s a core of the reader, the work for bytes on the wire taken off";
    lab.report(&Row::new("telemetry-no-tls", CHACHA20, "itself", Unit::Rate, measure, &own, &before))
}

/// Events a second of computing, without the time for their bytes on the wire.
fn rest(small: Cost, large: Cost) -> Result<f64> {
    let by_byte = large.cpu / large.wire as f64;
    let rest = small.cpu - small.wire as f64 * by_byte;
    (rest > 0.0).then(|| small.events as f64 / rest).context("all of the time is that of the bytes")
}
