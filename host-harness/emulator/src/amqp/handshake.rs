//! Protocol headers and SASL.

use super::claims::{Claim, Refusal};
use super::codec::{AMQP_HEADER, Frame, SASL_HEADER};
use super::connection::{Connection, End, Step};
use super::registrant::Registrant;
use super::{claims, codec, performatives};
use crate::options::PasswordLogin;
use crate::service::Service;

const MECHANISMS: &[&str] = &["MSSBCBS", "PLAIN", "ANONYMOUS"];

impl Connection {
    pub(super) async fn handshake(&mut self) -> Step {
        let header = self.header().await?;
        if header == *AMQP_HEADER && self.service == Service::HubAmqp {
            // Microsoft's JavaScript clients of IoT Hub skip SASL and put a token on `$cbs` instead.
            self.out.extend_from_slice(AMQP_HEADER);
            return self.flush().await;
        }
        if header != *SASL_HEADER {
            // The AMQP standard demands that an unexpected header is answered with the expected header, and that the
            // connection ends.
            self.out.extend_from_slice(SASL_HEADER);
            return Err(End::Flush);
        }
        self.out.extend_from_slice(SASL_HEADER);
        let offered = |mechanism: &&str| *mechanism != "PLAIN" || self.passwords() != PasswordLogin::NotOffered;
        let mechanisms: Vec<&str> = MECHANISMS.iter().copied().filter(offered).collect();
        codec::put_frame(&mut self.out, 1, 0, &performatives::sasl_mechanisms(&mechanisms), &[]);
        self.flush().await?;
        let init = loop {
            match self.next_frame()? {
                Some(Frame::SaslInit(init)) => break init,
                Some(_) => return Err(End::Drop),
                None => self.fill().await?,
            }
        };
        let claim = match init.mechanism.as_str() {
            "ANONYMOUS" | "MSSBCBS" => Ok(None),
            "PLAIN" if self.passwords() == PasswordLogin::Refused => {
                codec::put_frame(&mut self.out, 1, 0, &performatives::sasl_outcome(1), &[]);
                return Err(End::Flush);
            }
            "PLAIN" if self.passwords() == PasswordLogin::Taken => {
                let response = init.initial_response.map(|response| response.into_vec()).unwrap_or_default();
                self.log_in(&response)
            }
            _ => {
                codec::put_frame(&mut self.out, 1, 0, &performatives::sasl_outcome(1), &[]);
                return Err(End::Flush);
            }
        };
        match claim {
            Ok(claim) => {
                self.dies_with_claims = claim.is_some();
                self.claims.extend(claim);
            }
            Err(refusal) => {
                tracing::debug!(%refusal.description, "SASL PLAIN refused");
                codec::put_frame(&mut self.out, 1, 0, &performatives::sasl_outcome(1), &[]);
                return Err(End::Flush);
            }
        }
        codec::put_frame(&mut self.out, 1, 0, &performatives::sasl_outcome(0), &[]);
        self.flush().await?;
        let header = self.header().await?;
        self.out.extend_from_slice(AMQP_HEADER);
        if header == *AMQP_HEADER { self.flush().await } else { Err(End::Flush) }
    }

    /// Accepts a password: that of a back end or a device, which becomes a claim, or that of a device that registers.
    fn log_in(&mut self, response: &[u8]) -> Result<Option<Claim>, Refusal> {
        if self.service == Service::HubAmqp
            && let Some(registrant) = Registrant::from_plain(&self.world, response)?
        {
            self.registrant = Some(registrant);
            return Ok(None);
        }
        claims::from_plain(&self.world, self.service, self.host_name.as_deref(), response).map(Some)
    }

    /// Whether this endpoint offers and accepts passwords.
    fn passwords(&self) -> PasswordLogin {
        if self.service == Service::HubAmqp { self.world.options.amqp.passwords } else { PasswordLogin::Taken }
    }

    async fn header(&mut self) -> Step<[u8; 8]> {
        loop {
            if let Some(header) = self.inbound.first_chunk::<8>().copied() {
                let _ = self.inbound.split_to(8);
                return Ok(header);
            }
            self.fill().await?;
        }
    }
}
