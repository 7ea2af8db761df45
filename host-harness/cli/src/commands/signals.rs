//! When to end, and when not to.

/// A file that may not grow (`ulimit -f`) fails the write, which has an error of its own, instead of ending the program
/// without a word. To be called within the runtime.
pub(crate) fn survive_limits_of_files() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // Once listened to, a signal ends no program any more. Where it cannot be, it does as ever.
        let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    }
}

/// Resolves once the program is asked to end: Ctrl-C or, where there is such a thing, SIGTERM.
pub(crate) async fn interrupted() {
    let ctrl_c = tokio::signal::ctrl_c();
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = ctrl_c => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    // Where signals cannot be listened to, the operating system ends the program by itself.
    if ctrl_c.await.is_err() {
        std::future::pending::<()>().await;
    }
}
