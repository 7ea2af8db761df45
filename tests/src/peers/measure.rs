//! Measures the resources and the log lines of this process, to compare them before and after a behaviour.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use tokio::runtime::Handle;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::process;

/// The operator's usual log filter: the default of `connector-host`.
const USUAL: &str = "warn,connector_host::egress=error";
/// The log filter of an operator who looks for a fault.
const DEBUG: &str = "debug";

/// Resources that this process holds.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Tasks of the host's runtime.
    pub tasks: usize,
    /// File descriptors.
    pub descriptors: usize,
    /// Private memory, in bytes.
    pub memory: u64,
}

impl Held {
    /// The resources held now. The host must run on the caller's runtime.
    ///
    /// # Errors
    /// Where the system does not report it.
    pub fn now() -> Result<Self> {
        Ok(Self {
            tasks: Handle::current().metrics().num_alive_tasks(),
            descriptors: process::file_descriptors()?,
            memory: process::private_memory()?,
        })
    }
}

/// Counts this machine's sockets that are connected to this port on it and that a process still has open.
///
/// # Errors
/// Where the system does not report it.
pub fn sockets_to(port: u16) -> Result<usize> {
    let own = std::fs::read_to_string("/proc/self/net/tcp").context("no /proc/self/net/tcp; this needs Linux")?;
    let newer = std::fs::read_to_string("/proc/self/net/tcp6").unwrap_or_default();
    let remote = format!(":{port:04X}");
    let is_open = |line: &&str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        // The inode is 0 after the last process has closed the socket.
        columns.get(2).is_some_and(|address| address.ends_with(&remote))
            && columns.get(9).is_some_and(|inode| *inode != "0")
    };
    Ok(own.lines().chain(newer.lines()).filter(is_open).count())
}

/// How much was logged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Logged {
    /// Lines.
    pub lines: u64,
    /// Bytes.
    pub bytes: u64,
}

#[derive(Default)]
struct Counted {
    lines: AtomicU64,
    bytes: AtomicU64,
}

/// Counts log lines instead of writing them. The log filter can be changed.
pub struct Log {
    counted: Arc<Counted>,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Log {
    /// Begins to count for the whole process.
    ///
    /// # Errors
    /// Where the process has another logger already.
    pub fn start() -> Result<Self> {
        let counted = Arc::new(Counted::default());
        let (filter, handle) = reload::Layer::<_, Registry>::new(EnvFilter::new(USUAL));
        let writer = Writer(counted.clone());
        let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
        tracing_subscriber::registry().with(filter).with(lines).try_init()?;
        Ok(Self { counted, filter: handle })
    }

    /// How much was logged since the last call.
    pub fn take(&self) -> Logged {
        Logged {
            lines: self.counted.lines.swap(0, Ordering::Relaxed),
            bytes: self.counted.bytes.swap(0, Ordering::Relaxed),
        }
    }

    /// Sets the log filter: that of an operator who looks for a fault, or the usual one.
    ///
    /// # Errors
    /// None after [`Self::start`].
    pub fn look_closer(&self, closer: bool) -> Result<()> {
        Ok(self.filter.reload(EnvFilter::try_new(if closer { DEBUG } else { USUAL })?)?)
    }
}

#[derive(Clone)]
struct Writer(Arc<Counted>);

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Each line arrives in one write.
        self.0.lines.fetch_add(1, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Writer {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}
