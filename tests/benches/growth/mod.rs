//! How the figures grow: each measured at 1, 10 and 100 times the work. A plot of each is written to `docs/growth/`.
//!
//! The exponent is the slope of the last decade in a plot with two logarithmic axes: 1 where ten times the work costs ten
//! times as much. The first decade often has a smaller one, because what a run costs by itself weighs more there.

mod plot;

use anyhow::{Result, ensure};
use connector_tests::component;

use crate::cases::action::component_calls;
use crate::cases::scan::{self, Scan};
use crate::cases::tenants::{Services, TENANTS};
use crate::lab::reader::{Reader, Reading};
use crate::lab::series::Series;
use crate::lab::service::{Log, Plan, Service};
use crate::lab::{AES_256, Lab};
use plot::Curve;

/// The largest exponent: linear growth, and what the measuring varies by.
const LARGEST_EXPONENT: f64 = 1.15;
const ROUNDS: usize = 3;

/// Measures all curves, or those that are named after `growth`, and writes their plots.
///
/// # Errors
/// Where a figure grows faster than the work.
pub async fn measure(lab: &Lab) -> Result<()> {
    let named = &lab.arguments.cases[1..];
    let wants = |name: &str| named.is_empty() || named.iter().any(|chosen| chosen == name);
    let mut curves = Vec::new();
    if wants("events") {
        curves.extend(events().await?);
    }
    if wants("records") {
        curves.extend(records(lab).await?);
    }
    if wants("calls") {
        curves.extend(calls(lab).await?);
    }
    if wants("tenants") {
        curves.extend(tenants().await?);
    }
    ensure!(!curves.is_empty(), "there are the curves events, records, calls and tenants");
    for curve in &curves {
        curve.draw()?;
        let points: Vec<String> = curve.points.iter().map(|(work, figure)| format!("{work}: {figure:.4}")).collect();
        if lab.arguments.json {
            let line = serde_json::json!({
                "curve": curve.name, "work": curve.work, "figure": curve.figure, "points": curve.points,
                "exponent": curve.exponent(),
            });
            println!("{line}");
        } else {
            println!(
                "{:<18} exponent {:.2}  {} by {}  {}",
                curve.name,
                curve.exponent(),
                curve.figure,
                curve.work,
                points.join(", ")
            );
        }
    }
    for curve in &curves {
        ensure!(
            curve.exponent() <= LARGEST_EXPONENT,
            "{} grows faster than the work: exponent {:.2}, more than {LARGEST_EXPONENT}",
            curve.name,
            curve.exponent()
        );
    }
    Ok(())
}

/// Telemetry: the time and the memory to read a partition.
async fn events() -> Result<Vec<Curve>> {
    const SIZES: [usize; 3] = [1_000, 10_000, 100_000];
    let logs = SIZES.map(|events| Log { events, body: 1_024 }).to_vec();
    let service = Service::start(&Plan { suite: AES_256.to_owned(), logs, ..Plan::default() })?;
    let mut time = Curve::new("events", "events of 1 KB", "s of computing to read them");
    let mut memory = Curve::new("events-memory", "events of 1 KB", "MiB of the instance's linear memory");
    for (partition, events) in (0..).zip(SIZES) {
        let reading = Reading {
            reader: Reader::Component,
            addresses: service.addresses.clone(),
            component: component()?,
            partition,
            warm_up: 0,
            events,
        };
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push(reading.measure().await?);
        }
        time.add(events, rounds.iter().map(|cost| cost.cpu).collect::<Series>().median());
        let most = rounds.iter().map(|cost| cost.memory).max().unwrap_or_default();
        memory.add(events, most as f64 / f64::from(1 << 20));
    }
    Ok(vec![time, memory])
}

/// A scan: its time, and the size of its cursor.
async fn records(lab: &Lab) -> Result<Vec<Curve>> {
    let (connector, _) = lab.connectors().await?;
    let mut time = Curve::new("records", "enrollments, none changed", "s of computing to scan them");
    let mut size = Curve::new("records-cursor", "enrollments", "bytes of the cursor");
    for records in [200, 2_000, 20_000] {
        let service = scan::start(records)?;
        let account = connector.account(&service.addresses.tenant()?, &service.addresses.connection());
        let mut scan = Scan::begin(&account).await?;
        let mut rounds = Series::default();
        for _ in 0..ROUNDS {
            rounds.push(scan.computing().await?);
        }
        time.add(records, rounds.median());
        size.add(records, scan.cursor_bytes() as f64);
    }
    Ok(vec![time, size])
}

/// Calls that all run at once.
async fn calls(lab: &Lab) -> Result<Vec<Curve>> {
    let (connector, _) = lab.connectors().await?;
    let service = Service::start(&Plan { suite: AES_256.to_owned(), ..Plan::default() })?;
    let account = connector.account(&service.addresses.tenant()?, &service.addresses.connection());
    let mut time = Curve::new("calls", "calls of get-device, all at once", "s of computing");
    for calls in [10, 100, 1_000] {
        let mut rounds = Series::default();
        for _ in 0..ROUNDS {
            rounds.push(component_calls(&account, calls, calls).await?.cpu);
        }
        time.add(calls, rounds.median());
    }
    Ok(vec![time])
}

/// Tenants that all stream at once.
async fn tenants() -> Result<Vec<Curve>> {
    let services = Services::start(TENANTS).await?;
    let mut time = Curve::new("tenants", "tenants that all stream at once", "s of computing for 100 events of each");
    let mut memory = Curve::new("tenants-memory", "tenants that all stream at once", "MiB of private memory");
    for tenants in [TENANTS / 100, TENANTS / 10, TENANTS] {
        let (cost, bytes) = services.stream_first(tenants).await?;
        // A tenant may read a few events more than it must; the figure is for what it must read.
        time.add(tenants, cost.cpu * (tenants * 100) as f64 / cost.events as f64);
        memory.add(tenants, bytes as f64 / f64::from(1 << 20));
    }
    Ok(vec![time, memory])
}
