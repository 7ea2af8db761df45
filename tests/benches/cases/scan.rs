//! A scan of enrollments, none of which has changed, beside a client that only reads them; and the size of the cursor
//! that knows them.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use connector_host::Account;
use connector_host::interface::trigger::{Budget, LostPolicy, PollRequest, Start};
use connector_host::interface::types::Cursor;
use connector_tests::process::computed;
use serde_json::json;

use crate::lab::native::Lean;
use crate::lab::report::{Row, Unit};
use crate::lab::series::Series;
use crate::lab::service::{Plan, Service};
use crate::lab::{AES_256, Lab, ROUNDS};

/// The number of enrollments.
const RECORDS: usize = 20_000;

/// Measures the cases of this file.
///
/// # Errors
/// Where a scan fails.
pub async fn measure(lab: &Lab) -> Result<()> {
    let service = start(RECORDS)?;
    let addresses = &service.addresses;
    let tenant = addresses.tenant()?;
    let (today, older) = lab.connectors().await?;
    let account = today.account(&tenant, &addresses.connection());
    let older = older.map(|older| older.account(&tenant, &addresses.connection()));
    let mut lean = Lean::connect(&addresses.authority, &addresses.dps_host, &addresses.dps_token).await?;
    let mut scan = Scan::begin(&account).await?;
    let mut older = match &older {
        Some(account) => Some(Scan::begin(account).await?),
        None => None,
    };
    let [mut own, mut native, mut before, mut own_cpu, mut native_cpu] = std::array::from_fn(|_| Series::default());
    for _ in 0..ROUNDS {
        let (elapsed, cpu) = timed(scan.again()).await?;
        own.push(elapsed);
        own_cpu.push(cpu);
        let (elapsed, cpu) = timed(natively(&mut lean, RECORDS)).await?;
        native.push(elapsed);
        native_cpu.push(cpu);
        if let Some(older) = &mut older {
            before.push(timed(older.again()).await?.0);
        }
    }
    if lab.wants("scan-20000") {
        let measure = "a scan in ms, elapsed";
        lab.report(&Row::new("scan-20000", AES_256, "native", Unit::Time, measure, &own, &native))?;
        if older.is_some() {
            lab.report(&Row::new("scan-20000", AES_256, "itself", Unit::Time, measure, &own, &before))?;
        }
        lab.note(format_args!(
            "scan-20000: computing {:.0} to {:.0} ms: {:.2}x",
            own_cpu.median(),
            native_cpu.median(),
            own_cpu.ratio(&native_cpu).median
        ));
    }
    if lab.wants("scan-cursor") {
        let records = [RECORDS as f64].into_iter().collect();
        let bytes = [scan.cursor_bytes() as f64].into_iter().collect();
        let measure = "bytes of the cursor to records: bytes for each record";
        lab.report(&Row::new("scan-cursor", "none", "itself", Unit::Bytes, measure, &bytes, &records))?;
        if let Some(older) = &older {
            lab.note(format_args!("scan-cursor: the older version's has {} bytes", older.cursor_bytes()));
        }
    }
    Ok(())
}

/// An emulator with this number of enrollments.
///
/// # Errors
/// Where it does not start.
pub fn start(records: usize) -> Result<Service> {
    Service::start(&Plan { suite: AES_256.to_owned(), enrollments: records, ..Plan::default() })
}

async fn timed(work: impl Future<Output = Result<()>>) -> Result<(f64, f64)> {
    let (started, cpu) = (Instant::now(), computed());
    work.await?;
    Ok((started.elapsed().as_secs_f64() * 1e3, computed().saturating_sub(cpu).as_secs_f64() * 1e3))
}

/// The trigger on enrollments, with its cursor.
pub struct Scan<'a> {
    account: &'a Account,
    cursor: Option<Cursor>,
}

impl<'a> Scan<'a> {
    /// Scans for the first time. The cursor then knows all records.
    ///
    /// # Errors
    /// Where the scan fails.
    pub async fn begin(account: &'a Account) -> Result<Self> {
        let mut scan = Self { account, cursor: None };
        scan.again().await?;
        Ok(scan)
    }

    /// Scans again, and finds nothing that has changed.
    ///
    /// # Errors
    /// Where the scan fails or finds something.
    pub async fn again(&mut self) -> Result<()> {
        loop {
            let page = self.account.poll(&self.request()).await?;
            ensure!(page.events.is_empty(), "nothing changes");
            self.cursor = Some(page.next);
            if !page.more {
                return Ok(());
            }
        }
    }

    fn request(&self) -> PollRequest {
        PollRequest {
            trigger: "individual-enrollment-changed".to_owned(),
            partition: "all".to_owned(),
            config: "{}".to_owned(),
            start: Start::Now,
            on_position_lost: LostPolicy::Stop,
            cursor: self.cursor.clone(),
            budget: Budget::default(),
        }
    }

    /// The size of the cursor, in bytes.
    #[must_use]
    pub fn cursor_bytes(&self) -> usize {
        self.cursor.as_ref().map_or(0, |cursor| cursor.snapshot.len() + cursor.position.len())
    }

    /// The computing time of another scan, in seconds.
    ///
    /// # Errors
    /// Where the scan fails.
    pub async fn computing(&mut self) -> Result<f64> {
        Ok(timed(self.again()).await?.1 / 1e3)
    }
}

async fn natively(lean: &mut Lean, records: usize) -> Result<()> {
    let query = json!({ "query": "SELECT * FROM enrollments" });
    let mut count = 0;
    let mut continuation = None;
    loop {
        let path = "/enrollments/query?api-version=2021-10-01";
        let (page, next) = lean.send("POST", path, continuation.as_deref(), Some(&query)).await?;
        count += page.as_array().context("a page")?.len();
        continuation = next;
        if continuation.is_none() {
            break;
        }
    }
    ensure!(count == records, "{count} enrollments");
    Ok(())
}
