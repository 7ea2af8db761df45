//! What happens because time has passed: heartbeats, idle connections and links, tokens that expire.

use std::time::{Duration, Instant};

use super::codec;
use super::connection::{Connection, Step};
use super::error::AmqpError;
use super::session::{Link, LinkKind, Session};
use crate::clock::milliseconds;

impl Connection {
    pub(super) fn next_deadline(&self) -> Instant {
        let now = Instant::now();
        let options = &self.world.options.amqp;
        let mut next = now + Duration::from_secs(3600);
        let mut at = |time: Instant| next = next.min(time);
        if let Some(idle) = options.idle_time_out {
            at(self.last_read + idle * 2);
        }
        if let Some(heartbeat) = self.heartbeat {
            at(self.last_write + heartbeat);
        }
        if let Some(no_link) = options.no_link.filter(|_| self.is_without_link()) {
            at(self.without_link + no_link);
        }
        let clock = milliseconds(self.world.token_time());
        for deadline in self.claims.iter().filter_map(|claim| claim.deadline) {
            let left = deadline.saturating_add(1).saturating_mul(1000).saturating_sub(clock);
            // The timer must fire after the deadline, and may be a little late.
            at(now + Duration::from_millis(u64::try_from(left).unwrap_or(0).clamp(10, 3_600_000)));
        }
        for link in self.sessions.values().flat_map(|session| session.links.values()).filter(|link| !link.detached) {
            if let Some(idle) = options.link_idle.filter(|_| link.ends_idle()) {
                at(link.active + idle);
            }
            if let LinkKind::Notices { queue, .. } = &link.kind
                && link.credit > 0
            {
                let ready = self.world.service_bound.ready_in(*queue, options.feedback_wait);
                // A message to a device can expire without any other event, and then gives feedback: look once a
                // second.
                at(now
                    + ready.unwrap_or(Duration::from_secs(1)).clamp(Duration::from_millis(5), Duration::from_secs(1)));
            }
        }
        next
    }

    fn is_without_link(&self) -> bool {
        self.sessions.values().all(Session::is_idle)
    }

    pub(super) fn tick(&mut self) -> Step {
        let options = self.world.options.amqp.clone();
        let now = Instant::now();
        if options.idle_time_out.is_some_and(|idle| now >= self.last_read + idle * 2) {
            return self.close("amqp:resource-limit-exceeded", "The connection was idle for longer than was agreed.");
        }
        if self.heartbeat.is_some_and(|heartbeat| now >= self.last_write + heartbeat) && self.out.is_empty() {
            codec::put_frame(&mut self.out, 0, 0, &[], &[]);
        }
        if !self.is_without_link() {
            self.without_link = now;
        } else if let Some(no_link) = options.no_link.filter(|no_link| now >= self.without_link + *no_link) {
            let millis = no_link.as_millis();
            let description = format!(
                "The connection was inactive for more than the allowed {millis} milliseconds and is closed by container \
                 'LinkTracker'."
            );
            return self.close("amqp:connection:forced", &description);
        }
        self.check_claims()?;
        for (channel, handle) in self.links() {
            let idle =
                |link: &Link| options.link_idle.is_some_and(|idle| now >= link.active + idle) && link.ends_idle();
            if self.link(channel, handle).is_some_and(|link| idle(link)) {
                let description = "The link is force detached. Details: idle timeout.";
                self.detach(channel, handle, &AmqpError::new("amqp:link:detach-forced", description));
            }
        }
        Ok(())
    }

    /// Drops expired claims and detaches the links that no claim covers any more.
    fn check_claims(&mut self) -> Step {
        let now = self.world.token_time().unix_timestamp();
        let before = self.claims.len();
        self.claims.retain(|claim| claim.deadline.is_none_or(|deadline| now <= deadline));
        if self.claims.len() == before {
            return Ok(());
        }
        self.drop_unclaimed(now)
    }
}
