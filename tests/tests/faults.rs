//! No event is lost under faults: events with all kinds of bodies are read while connections break, links are detached,
//! tokens expire, and readers are cut off, dropped and killed. `cargo xtask soak telemetry` does the same with many
//! seeds.

use anyhow::{Context as _, Result};
use connector_tests::faults::{engine, program, scan};

#[tokio::test(flavor = "multi_thread")]
async fn fifty_thousand_events_arrive_whatever_fails() -> Result<()> {
    let summary = engine::run(1, 50_000).await.context("seed 1")?;
    println!("{summary:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_few_more_seeds() -> Result<()> {
    for seed in [2, 3, 4] {
        let summary = engine::run(seed, 5_000).await.with_context(|| format!("seed {seed}"))?;
        println!("{summary:?}");
    }
    Ok(())
}

/// The reader is a process that is killed at random moments. Its cursors are in a database.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_goes_on_from_its_cursors() -> Result<()> {
    let summary = program::run(5, 2_000).await.context("seed 5")?;
    println!("{summary:?}");
    Ok(())
}

/// One reader of all partitions, with pages of one to a hundred events and a filter that holds back most of them.
#[tokio::test(flavor = "multi_thread")]
async fn small_pages_and_a_selective_filter_come_to_the_end() -> Result<()> {
    for seed in [1, 2, 3, 4] {
        let summary = scan::run(seed, 4_000).await.with_context(|| format!("seed {seed}"))?;
        println!("{summary:?}");
    }
    Ok(())
}
