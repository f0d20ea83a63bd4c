//! Tokens of a Grafana service account, which Grafana ends by itself.
//!
//! Source: <https://grafana.com/docs/grafana/latest/developers/http_api/serviceaccount/>

use std::collections::BTreeMap;

use async_trait::async_trait;
use jit_core::ports::{GrantCall, InspectCall, Minted, RevokeCall};
use jit_core::provider::{Description, Handle, NativeExpiry, Presence};
use jit_core::request::RequestId;
use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::json;

use crate::service::{self, Minter, Service, delete, description, dressed, field, marker, read};
use crate::trouble::Trouble;

/// The resource that stands for the service account named beside the admin token.
const KEPT: &str = "service_account";
/// What opens the door, and how it is shown.
const SCHEME: &str = "Bearer";
const ADMIN: &str = "jit_admin_token";

/// Makes tokens of service accounts.
#[derive(Debug)]
pub(crate) struct Grafana(pub(crate) Service);

/// A token as it is made. Its key is told this once.
#[derive(Deserialize)]
struct Made {
    id: u64,
    key: String,
}

/// A token as it is listed.
#[derive(Deserialize)]
struct Listed {
    id: u64,
    name: String,
    #[serde(default, rename = "hasExpired")]
    has_expired: bool,
}

impl Grafana {
    fn tokens(&self, account: &str) -> reqwest::Url {
        let parts = ["api", "serviceaccounts", account, "tokens"];
        self.0.address.at(parts)
    }

    /// The tokens of this request, by their numbers: one, unless a reply was lost.
    async fn found(
        &self,
        account: &str,
        request: RequestId,
        handle: Option<&Handle>,
        admin: &HeaderValue,
    ) -> Result<Vec<String>, Trouble> {
        let listed: Vec<Listed> = self.0.get(self.tokens(account), admin).await?;
        let there = listed.into_iter().filter(|it| !it.has_expired);
        let named = there.map(|it| (it.id.to_string(), it.name));
        Ok(service::ours(named, request, handle))
    }
}

#[async_trait]
impl Minter for Grafana {
    fn service(&self) -> &Service {
        &self.0
    }

    fn describe(&self) -> Description {
        description(NativeExpiry::Exact)
    }

    async fn resource(&self, asked: &str) -> Result<String, Trouble> {
        let account = match asked {
            KEPT => field(self.0.fields().await?.as_ref(), "service_account_id")?.to_owned(),
            account => account.to_owned(),
        };
        match !account.is_empty() && account.bytes().all(|byte| byte.is_ascii_digit()) {
            true => Ok(account),
            false => Err(Trouble::BadResource(
                "write the number of a service account, or service_account",
            )),
        }
    }

    async fn make(&self, call: GrantCall<'_>) -> Result<Minted, Trouble> {
        let admin = self.0.opener(SCHEME, ADMIN).await?;
        let account = &call.target.resource;
        let body = json!({
            "name": marker(call.request),
            "secondsToLive": self.0.seconds_until(call.expires_at)?,
        });
        let sent = self.0.send(call.send_before, |client| {
            dressed(client.post(self.tokens(account)), &admin).json(&body)
        });
        let made: Made = read(&sent.await?)?;
        Ok(Minted {
            secret: service::made(made.key)?,
            handle: Some(Handle(made.id.to_string())),
            ends_at: None,
            notes: BTreeMap::from([
                ("backend", "grafana".to_owned()),
                ("type", "service_account_token".to_owned()),
                ("service_account_id", account.clone()),
            ]),
        })
    }

    async fn take(&self, call: RevokeCall<'_>) -> Result<(), Trouble> {
        let admin = self.0.opener_at_last(SCHEME, ADMIN).await?;
        let account = &call.target.resource;
        for id in self
            .found(account, call.request, call.handle, &admin)
            .await?
        {
            let parts = ["api", "serviceaccounts", account, "tokens", &id];
            let url = self.0.address.at(parts);
            self.0
                .send_delete(call.send_before, |client| delete(client, url, &admin))
                .await?;
        }
        Ok(())
    }

    async fn look(&self, call: InspectCall<'_>) -> Result<Presence, Trouble> {
        let admin = self.0.opener_at_last(SCHEME, ADMIN).await?;
        let account = &call.target.resource;
        let found = self
            .found(account, call.request, call.handle, &admin)
            .await?;
        Ok(Presence::of(!found.is_empty()))
    }
}
