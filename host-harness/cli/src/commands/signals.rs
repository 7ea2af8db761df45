//! Signals: which of them end the program, and which one must not.

/// Keeps the signal SIGXFSZ from ending the program without a message: a write beyond the file size limit (`ulimit -f`)
/// then fails with an error. Must be called within the Tokio runtime.
pub(crate) fn survive_limits_of_files() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // A signal that the program listens to does not end it. If listening fails, the signal still ends the program.
        let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
    }
}

/// Resolves when the program is asked to end, by Ctrl-C or, on Unix, by SIGTERM.
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
    // If the program cannot listen to Ctrl-C, the operating system ends the program by itself.
    if ctrl_c.await.is_err() {
        std::future::pending::<()>().await;
    }
}
