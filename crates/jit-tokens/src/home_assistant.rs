//! Access tokens of Home Assistant, made by the refresh flow. They live for half an hour, and nothing
//! takes one of them back alone: what is left of that after an end is the residual.
//!
//! Source: <https://developers.home-assistant.io/docs/auth_api/#refresh-token>

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::ports::{GrantCall, InspectCall, Minted, RevokeCall};
use jit_core::provider::{Description, NativeExpiry, Presence};
use reqwest::header::ACCEPT;
use serde::Deserialize;

use crate::service::{self, Minter, Service, description, field, read};
use crate::trouble::Trouble;

/// How long an access token lives: `ACCESS_TOKEN_EXPIRATION` of Home Assistant.
/// Source: <https://github.com/home-assistant/core/blob/dev/homeassistant/auth/const.py>
const LIFE: Duration = Duration::from_secs(30 * 60);
/// The one resource.
const ACCESS: &str = "access_token";

/// Makes access tokens of one user.
#[derive(Debug)]
pub(crate) struct HomeAssistant(pub(crate) Service);

/// A token as it is made.
#[derive(Deserialize)]
struct Made {
    access_token: String,
    token_type: String,
    expires_in: u64,
}

#[async_trait]
impl Minter for HomeAssistant {
    fn service(&self) -> &Service {
        &self.0
    }

    fn describe(&self) -> Description {
        Description {
            revocable: false,
            listable: false,
            residual: LIFE,
            ..description(NativeExpiry::AtMost(LIFE))
        }
    }

    async fn resource(&self, asked: &str) -> Result<String, Trouble> {
        match asked {
            ACCESS => Ok(asked.to_owned()),
            _ => Err(Trouble::BadResource("write access_token")),
        }
    }

    async fn make(&self, call: GrantCall<'_>) -> Result<Minted, Trouble> {
        self.0.seconds_until(call.expires_at)?;
        let fields = self.0.fields().await?;
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", field(&fields, "refresh_token")?),
            ("client_id", field(&fields, "client_id")?),
        ];
        let url = self.0.address.at(["auth", "token"]);
        let sent = self.0.send(call.send_before, |client| {
            client
                .post(url)
                .header(ACCEPT, "application/json")
                .form(&form)
        });
        let made: Made = read(&sent.await?)?;
        let life = Duration::from_secs(made.expires_in);
        // One that lives longer than it is declared to would outlive its record.
        if life > LIFE || !made.token_type.eq_ignore_ascii_case("bearer") {
            return Err(Trouble::Unreadable);
        }
        Ok(Minted {
            secret: service::made(made.access_token)?,
            handle: None,
            ends_at: Some(self.0.clock.now() + life),
            notes: BTreeMap::from([
                ("backend", "homeassistant".to_owned()),
                ("type", "access_token".to_owned()),
            ]),
        })
    }

    async fn take(&self, _: RevokeCall<'_>) -> Result<(), Trouble> {
        Err(Trouble::NotRevocable)
    }

    async fn look(&self, call: InspectCall<'_>) -> Result<Presence, Trouble> {
        // A call that was never sent left nothing.
        let gone_by = |sent| self.describe().gone_by(sent, call.expires_at);
        let gone_by = call.send_before.and_then(gone_by);
        Ok(gone_by.map_or(Presence::Absent, Presence::GoneBy))
    }
}
