//! When to end.

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
