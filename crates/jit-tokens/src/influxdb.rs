//! Authorizations of InfluxDB 2 that only read. InfluxDB ends none by itself: our delete does, and
//! one whose making was never answered is found by its description.
//!
//! Source: <https://docs.influxdata.com/influxdb/v2/api/#tag/Authorizations-(API-tokens)>

use std::collections::BTreeMap;

use async_trait::async_trait;
use jit_core::ports::{GrantCall, InspectCall, Minted, RevokeCall};
use jit_core::provider::{Description, Handle, NativeExpiry, Presence, Target};
use jit_core::request::RequestId;
use reqwest::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::service::{self, Minter, Service, delete, description, dressed, field, marker, read};
use crate::trouble::Trouble;

/// The resource that stands for every bucket of the organization.
const ALL: &str = "buckets";
/// The most buckets of one authorization.
const BUCKETS_LIMIT: usize = 50;
const SCHEME: &str = "Token";
const ADMIN: &str = "admin_token";
const PATH: [&str; 3] = ["api", "v2", "authorizations"];

#[derive(Debug)]
pub(crate) struct InfluxDb(pub(crate) Service);

#[derive(Deserialize)]
struct Made {
    id: String,
    token: String,
}

/// A list of them. What opens a door is in it too, and is not read.
#[derive(Deserialize)]
struct List {
    authorizations: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    #[serde(default)]
    description: String,
}

impl InfluxDb {
    async fn found(
        &self,
        target: &Target,
        request: RequestId,
        handle: Option<&Handle>,
    ) -> Result<Vec<String>, Trouble> {
        let mut url = self.0.address.at(PATH);
        let (organization, _) = parts(&target.resource);
        url.query_pairs_mut().append_pair("orgID", organization);
        let List { authorizations } = self
            .0
            .get(url, &self.0.opener_at_last(SCHEME, ADMIN).await?)
            .await?;
        let named = authorizations.into_iter().map(|it| (it.id, it.description));
        Ok(service::ours(named, request, handle))
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The organization and the buckets of a target.
fn parts(resource: &str) -> (&str, &str) {
    resource.split_once('/').unwrap_or((resource, ALL))
}

/// Reading these buckets, or all of them.
fn permissions(organization: &str, buckets: &str) -> Vec<Value> {
    let read = |resource: Value| json!({"action": "read", "resource": resource});
    let one = |id: &str| json!({"type": "buckets", "orgID": organization, "id": id});
    match buckets {
        ALL => vec![read(json!({"type": "buckets", "orgID": organization}))],
        ids => ids.split(',').map(|id| read(one(id))).collect(),
    }
}

#[async_trait]
impl Minter for InfluxDb {
    fn service(&self) -> &Service {
        &self.0
    }

    fn describe(&self) -> Description {
        description(NativeExpiry::None)
    }

    async fn resource(&self, asked: &str) -> Result<String, Trouble> {
        let ids: Vec<&str> = asked.split(',').collect();
        let known = asked == ALL || (ids.len() <= BUCKETS_LIMIT && ids.iter().all(|id| is_id(id)));
        let fields = self.0.fields().await?;
        let organization = field(&fields, "org_id")?;
        let rule = "write buckets, or at most 50 ids of buckets with commas between them";
        match (known, is_id(organization)) {
            (true, true) => Ok(format!("{organization}/{asked}")),
            (false, _) => Err(Trouble::BadResource(rule)),
            (true, false) => Err(Trouble::BadResource("org_id is no id of an organization")),
        }
    }

    async fn make(&self, call: GrantCall<'_>) -> Result<Minted, Trouble> {
        self.0.seconds_until(call.expires_at)?;
        let admin = self.0.opener(SCHEME, ADMIN).await?;
        let (organization, buckets) = parts(&call.target.resource);
        let body = json!({
            "orgID": organization,
            "description": marker(call.request),
            "permissions": permissions(organization, buckets),
        });
        let sent = self.0.send(call.send_before, |client| {
            dressed(client.post(self.0.address.at(PATH)), &admin).json(&body)
        });
        let made: Made = read(&sent.await?)?;
        Ok(Minted {
            secret: service::made(made.token)?,
            handle: Some(Handle(made.id)),
            ends_at: None,
            notes: BTreeMap::from([
                ("backend", "influxdb".to_owned()),
                ("type", "authorization_token".to_owned()),
                ("org_id", organization.to_owned()),
            ]),
        })
    }

    async fn take(&self, call: RevokeCall<'_>) -> Result<(), Trouble> {
        let admin = self.0.opener_at_last(SCHEME, ADMIN).await?;
        for id in self.found(call.target, call.request, call.handle).await? {
            let url = self.0.address.at(PATH.into_iter().chain([id.as_str()]));
            let sent = |client: &Client| delete(client, url, &admin);
            self.0.send_delete(call.send_before, sent).await?;
        }
        Ok(())
    }

    async fn look(&self, call: InspectCall<'_>) -> Result<Presence, Trouble> {
        let found = self.found(call.target, call.request, call.handle);
        Ok(Presence::of(!found.await?.is_empty()))
    }
}
