//! Alarms as events that open an alert.
//! <https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::digest::Digest;
use jit_core::ports::{Alarm, Pager, PortError};
use jit_core::request::RequestId;
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::address::Address;
use crate::trouble::Operation;
use crate::wire;

/// The longest that a call takes; the contract allows 15 s.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);
/// The longest summary that PagerDuty takes, in characters.
const SUMMARY_LIMIT: usize = 1_024;
/// What an alarm is about: this service, which has no other place.
const SOURCE: &str = "jit-access";
/// What kind of alarm it is, by which rules at PagerDuty may sort them.
const CLASS: &str = "privileged access";

/// The integration key of an Events API v2 integration: 32 letters and digits. It cannot be printed.
#[derive(Debug, Clone)]
pub struct RoutingKey(SecretString);

/// A secret that is no integration key. It does not repeat the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an integration key of PagerDuty has 32 letters and digits")]
pub struct BadRoutingKey;

impl TryFrom<SecretString> for RoutingKey {
    type Error = BadRoutingKey;
    fn try_from(secret: SecretString) -> Result<Self, BadRoutingKey> {
        let key = secret.expose_secret();
        match key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            true => Ok(Self(secret)),
            false => Err(BadRoutingKey),
        }
    }
}

/// Where alarms go.
#[derive(Debug, Clone)]
pub struct EventsSettings {
    /// What says which service is called.
    pub routing_key: RoutingKey,
    /// Where the Events API is: [`Address::of_events`], or that of another region.
    pub events: Address,
}

/// Opens an alert at PagerDuty for each alarm. The same alarm again is the same alert while that is
/// open.
pub struct PagerDutyEvents {
    client: Client,
    settings: EventsSettings,
}

impl fmt::Debug for PagerDutyEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagerDutyEvents").finish_non_exhaustive()
    }
}

impl PagerDutyEvents {
    /// The pager of these settings. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Misconfigured`](jit_core::ports::ErrorKind::Misconfigured) where no HTTPS client can be made,
    /// for example for want of root certificates.
    pub fn new(settings: EventsSettings) -> Result<Self, PortError> {
        Self::with_deadline(settings, DEADLINE)
    }

    pub(crate) fn with_deadline(
        settings: EventsSettings,
        deadline: Duration,
    ) -> Result<Self, PortError> {
        let made = wire::client(&settings.events, deadline);
        Ok(Self {
            client: made.map_err(|trouble| trouble.during(Operation::Page))?,
            settings,
        })
    }
}

#[async_trait]
impl Pager for PagerDutyEvents {
    async fn page(&self, alarm: &Alarm) -> Result<(), PortError> {
        let event = Event::of(alarm, self.settings.routing_key.0.expose_secret());
        let url = self.settings.events.at("/v2/enqueue");
        // 202 says that the event was taken; anything else, a 200 too, is not PagerDuty saying so.
        let sent = wire::sent(self.client.post(url).json(&event), StatusCode::ACCEPTED).await;
        sent.map(drop)
            .map_err(|trouble| trouble.during(Operation::Page))
    }
}

/// The body of `POST /v2/enqueue`.
#[derive(Serialize)]
struct Event<'a> {
    routing_key: &'a str,
    event_action: &'static str,
    dedup_key: String,
    payload: Payload<'a>,
}

#[derive(Serialize)]
struct Payload<'a> {
    summary: &'a str,
    source: &'static str,
    severity: &'static str,
    timestamp: Timestamp,
    class: &'static str,
    custom_details: Details,
}

#[derive(Serialize)]
struct Details {
    request: Option<RequestId>,
}

impl<'a> Event<'a> {
    fn of(alarm: &'a Alarm, routing_key: &'a str) -> Self {
        Self {
            routing_key,
            event_action: "trigger",
            dedup_key: dedup_key(alarm),
            payload: Payload {
                summary: shortened(&alarm.summary),
                source: SOURCE,
                severity: "critical",
                timestamp: alarm.at,
                class: CLASS,
                custom_details: Details {
                    request: alarm.request,
                },
            },
        }
    }
}

/// One alarm has one key, however often it is handed over; PagerDuty takes 255 characters.
fn dedup_key(alarm: &Alarm) -> String {
    let summary = Digest::of(alarm.summary.as_bytes()).prefix();
    match alarm.request {
        Some(request) => format!("jit/{request}/{summary}"),
        None => format!("jit/{summary}"),
    }
}

fn shortened(summary: &str) -> &str {
    let end = summary.char_indices().nth(SUMMARY_LIMIT);
    let end = end.map_or(summary.len(), |(end, _)| end);
    summary.get(..end).unwrap_or(summary)
}
