//! What the services have in common: where they answer, what opens their door, how a call is sent to
//! them, and what the status of an answer means.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::catalog::ProviderName;
use jit_core::ports::{Clock, Credential, GrantCall, InspectCall, Minted, RevokeCall};
use jit_core::principal::Profile;
use jit_core::provider::{Description, Handle, Kind, NativeExpiry, Presence, Target};
use jit_core::request::RequestId;
use jit_wire::{Address, Answer, Gate, Passage, Wire, whole};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue, RETRY_AFTER};
use reqwest::{Client, Method, RequestBuilder, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::trouble::Trouble;
use crate::{Settings, Upstream};

/// The longest answer that is read: a list of a few thousand tokens.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// How long a call may still be accepted after its connection was made: we give up after 10 s and
/// close it, and a proxy that has it by then passes it on within a minute, the default of most
/// (nginx, `proxy_read_timeout`: <https://nginx.org/en/docs/http/ngx_http_proxy_module.html>).
const ACCEPTED_WITHIN: Duration = Duration::from_secs(90);
/// The longest pause that a service is believed to want.
const PAUSE_LIMIT_SECS: u64 = 60;

/// What lies where a service's credentials are kept, by field.
pub(crate) type Fields = BTreeMap<String, SecretString>;

/// What one kind of service does. Whatever they have in common, and the port, is around it.
#[async_trait]
pub(crate) trait Minter: Send + Sync + fmt::Debug {
    /// The service itself.
    fn service(&self) -> &Service;

    /// See [`jit_core::ports::Provisioner::describe`].
    fn describe(&self) -> Description;

    /// The service's own name for what is asked for.
    async fn resource(&self, asked: &str) -> Result<String, Trouble>;

    /// Makes a token.
    async fn make(&self, call: GrantCall<'_>) -> Result<Minted, Trouble>;

    /// Takes every token of a request back.
    async fn take(&self, call: RevokeCall<'_>) -> Result<(), Trouble>;

    /// Whether there is any.
    async fn look(&self, call: InspectCall<'_>) -> Result<Presence, Trouble>;
}

/// One service.
pub(crate) struct Service {
    pub(crate) word: &'static str,
    provider: ProviderName,
    pub(crate) address: Address,
    path: String,
    upstream: Arc<dyn Upstream>,
    pub(crate) clock: Arc<dyn Clock>,
    wire: Wire,
    /// What opened the door last: an end does not wait for whoever keeps it.
    remembered: Mutex<Option<Arc<Fields>>>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service")
            .field("provider", &self.provider)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

/// A token whose making and taking is seen at once.
pub(crate) fn description(native_expiry: NativeExpiry) -> Description {
    Description {
        kind: Kind::Minted,
        native_expiry,
        revocable: true,
        pending_visible: true,
        listable: true,
        accepted_within: ACCEPTED_WITHIN,
        applied_within: Duration::ZERO,
        residual: Duration::ZERO,
    }
}

/// The name of a token: the marker by which it is found.
pub(crate) fn marker(request: RequestId) -> String {
    format!("jit {request}")
}

/// The field of this name.
pub(crate) fn field<'f>(fields: &'f Fields, name: &'static str) -> Result<&'f str, Trouble> {
    let value = fields.get(name).ok_or(Trouble::Lacks(name))?;
    Ok(value.expose_secret())
}

impl Service {
    /// `word` begins the realm of its targets.
    pub(crate) fn new(word: &'static str, settings: Settings) -> Result<Self, Trouble> {
        let wire = Wire::new(settings.address.url()).map_err(Trouble::Wire)?;
        Ok(Self {
            word,
            provider: settings.provider,
            address: settings.address,
            path: settings.path,
            upstream: settings.upstream,
            clock: settings.clock,
            wire,
            remembered: Mutex::new(None),
        })
    }

    fn realm(&self) -> String {
        format!("{}:{}", self.word, self.address)
    }

    /// The target of this resource for somebody.
    pub(crate) fn target(&self, beneficiary: &Profile, resource: String) -> Target {
        let named = beneficiary.subjects.get(&self.provider).cloned();
        let subject = named.unwrap_or_else(|| beneficiary.id.to_subject());
        Target::new(self.realm(), subject, resource)
    }

    /// Refuses a record of another service.
    pub(crate) fn check(&self, target: &Target) -> Result<(), Trouble> {
        match target.realm == self.realm() {
            true => Ok(()),
            false => Err(Trouble::ForeignRealm),
        }
    }

    /// What opens the service's door.
    pub(crate) async fn fields(&self) -> Result<Arc<Fields>, Trouble> {
        let fields = self.upstream.fields(&self.path).await;
        let fields = Arc::new(fields.map_err(Trouble::Upstream)?);
        *self.remembered() = Some(Arc::clone(&fields));
        Ok(fields)
    }

    /// The same for an end, which goes on with what opened the door last.
    async fn fields_at_last(&self) -> Result<Arc<Fields>, Trouble> {
        match self.fields().await {
            Ok(fields) => Ok(fields),
            Err(trouble) => {
                let remembered = self.remembered().clone();
                if remembered.is_some() {
                    let provider = &self.provider;
                    tracing::warn!(%provider, "its credentials cannot be read; the last ones are used");
                }
                remembered.ok_or(trouble)
            }
        }
    }

    /// What is sent as `Authorization`: the secret in this field.
    pub(crate) async fn opener(
        &self,
        scheme: &str,
        name: &'static str,
    ) -> Result<HeaderValue, Trouble> {
        bearing(scheme, field(self.fields().await?.as_ref(), name)?)
    }

    /// The same for an end.
    pub(crate) async fn opener_at_last(
        &self,
        scheme: &str,
        name: &'static str,
    ) -> Result<HeaderValue, Trouble> {
        bearing(scheme, field(self.fields_at_last().await?.as_ref(), name)?)
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, Option<Arc<Fields>>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whole seconds from now on until then.
    pub(crate) fn seconds_until(&self, end: Timestamp) -> Result<u64, Trouble> {
        match end.since(self.clock.now()).as_secs() {
            0 => Err(Trouble::NothingLeft),
            seconds => Ok(seconds),
        }
    }

    /// Reads something.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        url: Url,
        bearing: &HeaderValue,
    ) -> Result<T, Trouble> {
        let request = self.wire.pooled().get(url);
        let sent = dressed(request, bearing).send().await;
        let answer = whole(sent, BODY_LIMIT).await;
        let answer = answer.map_err(|error| Trouble::unanswered(error, Passage::Through))?;
        read(&good(answer)?)
    }

    /// Sends one call that changes something, once, over a connection of its own and strictly before
    /// its time.
    pub(crate) async fn send(
        &self,
        send_before: Timestamp,
        build: impl FnOnce(&Client) -> RequestBuilder,
    ) -> Result<Answer, Trouble> {
        let gate = Gate::new(Arc::clone(&self.clock), send_before);
        if gate.is_late() {
            return Err(Trouble::TooLate);
        }
        let client = self.wire.once(&gate).map_err(Trouble::Wire)?;
        let sent = build(&client).send().await;
        let answer = whole(sent, BODY_LIMIT).await;
        good(answer.map_err(|error| Trouble::unanswered(error, gate.passage()))?)
    }
}

impl Service {
    /// Sends a delete; what is gone already is gone.
    pub(crate) async fn send_delete(
        &self,
        send_before: Timestamp,
        build: impl FnOnce(&Client) -> RequestBuilder,
    ) -> Result<(), Trouble> {
        match self.send(send_before, build).await {
            Ok(_) | Err(Trouble::NotFound) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }
}

/// A call with what every call bears.
pub(crate) fn dressed(request: RequestBuilder, bearing: &HeaderValue) -> RequestBuilder {
    request
        .header(ACCEPT, "application/json")
        .header(AUTHORIZATION, bearing)
}

/// A delete.
pub(crate) fn delete(client: &Client, url: Url, bearing: &HeaderValue) -> RequestBuilder {
    dressed(client.request(Method::DELETE, url), bearing)
}

fn bearing(scheme: &str, secret: &str) -> Result<HeaderValue, Trouble> {
    let header = Zeroizing::new(format!("{scheme} {secret}"));
    let header = HeaderValue::from_str(&header);
    let mut header = header.map_err(|_| Trouble::BadSecret)?;
    header.set_sensitive(true);
    Ok(header)
}

/// Those of a list, by id and name, that are this request's: one, unless a reply was lost.
pub(crate) fn ours(
    listed: impl Iterator<Item = (String, String)>,
    request: RequestId,
    handle: Option<&Handle>,
) -> Vec<String> {
    let marker = marker(request);
    let is_ours = |(id, name): &(String, String)| {
        *name == marker || handle.is_some_and(|handle| handle.0 == *id)
    };
    listed.filter(is_ours).map(|(id, _)| id).collect()
}

/// A secret that was made; an empty one is none.
pub(crate) fn made(secret: String) -> Result<Credential, Trouble> {
    match secret.is_empty() {
        true => Err(Trouble::Unreadable),
        false => Ok(Credential::new(secret)),
    }
}

/// What a good answer holds.
pub(crate) fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T, Trouble> {
    // The error would quote what it could not read.
    serde_json::from_slice(&answer.body).map_err(|_| Trouble::Unreadable)
}

/// The answer, if it is a good one.
fn good(answer: Answer) -> Result<Answer, Trouble> {
    let status = answer.status;
    match status {
        _ if status.is_success() => Ok(answer),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Trouble::Forbidden(status)),
        StatusCode::NOT_FOUND => Err(Trouble::NotFound),
        StatusCode::TOO_MANY_REQUESTS => {
            let wait = answer.headers.get(RETRY_AFTER);
            let wait = wait.and_then(|wait| wait.to_str().ok()?.parse::<u64>().ok());
            let wait = wait.map(|secs| Duration::from_secs(secs.min(PAUSE_LIMIT_SECS)));
            Err(Trouble::TooFast(wait))
        }
        // Whoever sends elsewhere did nothing here.
        _ if status.is_client_error() || status.is_redirection() => Err(Trouble::Refused(status)),
        _ => Err(Trouble::Failed(status)),
    }
}
