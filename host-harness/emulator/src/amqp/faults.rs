//! What fault rules do to a connection.

use super::connection::{Connection, End, FaultOutcome, GRACE_TIME, Step};
use super::error::AmqpError;
use crate::faults::FaultAction;

impl Connection {
    /// Applies the fault rules for an operation. Returns the outcome that replaces the operation, if a rule sets one.
    pub(super) async fn fault(&mut self, operation: &str, path: &str) -> Step<Option<FaultOutcome>> {
        for action in self.world.faults.pick(self.service, operation, path) {
            match action {
                FaultAction::Latency(duration) => tokio::time::sleep(duration).await,
                FaultAction::DropConnection => {
                    // Frames that were queued before the rule fired are still sent.
                    self.release();
                    self.flush().await?;
                    tokio::time::sleep(GRACE_TIME).await;
                    return Err(End::Drop);
                }
                FaultAction::Close(condition) => {
                    self.close(&condition, "A fault rule closed the connection.")?;
                }
                FaultAction::HalfFrame => {
                    // Frames that wait for the client's window must go first; otherwise the rule would cut one of them
                    // in half.
                    self.release();
                    self.half_at = Some(self.out.len());
                }
                FaultAction::Cut(bytes) => self.cut_after = Some(self.out.len() + bytes as usize),
                FaultAction::StallBody => self.stalled = true,
                FaultAction::Garbage => self.out.extend_from_slice(b"\x00\x00\x00\x03HTTP/1.1 502 Bad Gateway\r\n\r\n"),
                FaultAction::ExpireTokens => {
                    self.claims.clear();
                    self.drop_unclaimed(i64::MAX)?;
                }
                FaultAction::Detach(condition) => return Ok(Some(FaultOutcome::Detach(condition))),
                FaultAction::End(condition) => return Ok(Some(FaultOutcome::End(condition))),
                FaultAction::Reject(condition) => return Ok(Some(FaultOutcome::Reject(condition))),
                FaultAction::Status { status, .. } => return Ok(Some(FaultOutcome::Status(status))),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Detaches the link or ends the session, as a rule says.
    pub(super) fn apply(&mut self, channel: u16, handle: u32, instead: &FaultOutcome) {
        let error = AmqpError::of_rule;
        match instead {
            FaultOutcome::Detach(condition) | FaultOutcome::Reject(condition) => {
                self.detach(channel, handle, &error(condition));
            }
            FaultOutcome::End(condition) => self.end_session(channel, &error(condition)),
            FaultOutcome::Status(status) => {
                let error = AmqpError::new("amqp:internal-error", format!("status {status}"));
                self.detach(channel, handle, &error);
            }
        }
    }
}
