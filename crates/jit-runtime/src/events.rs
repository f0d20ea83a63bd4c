//! What happened to requests as lines of the log, one name per fact, for whoever collects and counts
//! them. The names are those that the approval service always had; the audit is the store's.

use std::collections::BTreeMap;

use async_trait::async_trait;
use jit_core::audit::{AuditEvent, CallResult, Fact};
use jit_core::catalog::{EntitlementId, ProviderName};
use jit_core::ports::{Announcement, Notifier, PortError, Told};
use jit_core::provider::{Kind, Presence};
use jit_core::request::{AccessRequest, Approver, CancelReason};
use jit_http::go_duration;

/// What a provider is in these lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backend {
    /// Its name there: `static`, `grafana`, `influxdb`.
    pub name: &'static str,
    /// Whether it makes credentials of its own, rather than a key to one that stands.
    pub dynamic: bool,
}

/// Writes the lines.
#[derive(Debug)]
pub struct EventLines {
    backends: BTreeMap<ProviderName, Backend>,
    resources: BTreeMap<EntitlementId, String>,
}

impl EventLines {
    /// For these providers, and for what programs ask for by these names; others are called by the
    /// names that they have.
    pub fn new(
        backends: BTreeMap<ProviderName, Backend>,
        resources: BTreeMap<EntitlementId, String>,
    ) -> Self {
        Self {
            backends,
            resources,
        }
    }

    /// Says what credentials can be made here.
    pub fn registered(&self) {
        for (provider, backend) in &self.backends {
            let backend = backend.name;
            tracing::info!(event = "backend_registered", backend, %provider, "a backend is ready");
        }
    }
}

#[async_trait]
impl Notifier for EventLines {
    fn name(&self) -> &'static str {
        "events"
    }

    fn targets(&self, _: &AccessRequest) -> Vec<String> {
        vec!["log".to_owned()]
    }

    async fn announce(&self, announcement: Announcement<'_>) -> Result<Told, PortError> {
        for event in announcement.news {
            self.write(announcement.request, event);
        }
        Ok(Told::default())
    }
}

impl EventLines {
    fn write(&self, request: &AccessRequest, event: &AuditEvent) {
        // What came before the turn, and the turn itself, was about what was asked for.
        let made = matches!(
            event.event.what,
            Fact::GrantAnswered { .. }
                | Fact::Collected
                | Fact::RevokeIntended { .. }
                | Fact::RevokeAnswered { .. }
                | Fact::StoreAway { .. }
                | Fact::Stuck { .. }
        );
        let provider = match made {
            true => request.place().entitlement.provider(),
            false => request.parts.first().entitlement.provider(),
        };
        let known = self.backends.get(&provider).copied();
        let backend = known.map_or(provider.as_str(), |it| it.name);
        let dynamic = known.is_none_or(|it| it.dynamic);
        let Some(name) = name(request, &event.event.what, dynamic, backend) else {
            return;
        };
        let asked = &request.parts.first().entitlement;
        let named = self.resources.get(asked).map(String::as_str);
        let tier = request.terms.tier.as_str();
        let number = tier.strip_prefix("tier").and_then(|tier| tier.parse().ok());
        let (resource, at) = (named.unwrap_or(asked.as_str()), event.at);
        let (tier, ttl) = (number.unwrap_or(0_u64), go_duration(request.ttl.duration()));
        let request_id = request.id;
        const SAID: &str = "what happened to a request";
        match &event.event.what {
            Fact::Stuck { .. } => {
                tracing::error!(event = name, %request_id, resource, backend, tier, ttl, %at, "{SAID}");
            }
            Fact::FellBack { .. } => {
                tracing::warn!(event = name, %request_id, resource, backend, tier, ttl, %at, "{SAID}");
            }
            _ => {
                tracing::info!(event = name, %request_id, resource, backend, tier, ttl, %at, "{SAID}");
            }
        }
    }
}

/// The name of a fact; none for what nobody counts.
fn name(
    request: &AccessRequest,
    fact: &Fact,
    dynamic: bool,
    backend: &str,
) -> Option<&'static str> {
    let minted = request.place().provider.kind == Kind::Minted;
    let of_influxdb = backend == "influxdb";
    let gone = |presence: &Option<Presence>| *presence == Some(Presence::Absent);
    match fact {
        Fact::Requested { .. } => Some("request_received"),
        Fact::Approved {
            by: Approver::Automatic,
            ..
        } => Some("approved"),
        Fact::Approved { count, needed, .. } => (count >= needed).then_some("approved"),
        Fact::Denied { .. } | Fact::Withdrawn | Fact::Invalidated { .. } => Some("denied"),
        Fact::Lapsed => Some("timeout"),
        Fact::Cancelled { why, .. } => Some(match why {
            CancelReason::NotCollected | CancelReason::NotProvisioned => "timeout",
            CancelReason::PolicyChanged
            | CancelReason::NoLongerEligible
            | CancelReason::AlreadyStands
            | CancelReason::Ended
            | CancelReason::Revoked => "denied",
        }),
        Fact::FellBack { .. } => Some("dynamic_backend_failed_fallback"),
        Fact::GrantAnswered {
            answer: CallResult::Applied,
            ..
        } if minted && dynamic => Some("backend_credential_minted"),
        Fact::GrantAnswered {
            answer: CallResult::Applied,
            ..
        } if minted => Some("token_issued"),
        Fact::Collected => Some("credential_claimed"),
        Fact::RevokeIntended { .. } if of_influxdb => Some("influxdb_cleanup_start"),
        // One that was seen to be gone without the store is not read back once more.
        Fact::RevokeAnswered { read_back, .. } | Fact::StoreAway { read_back, .. }
            if of_influxdb && gone(read_back) =>
        {
            Some("influxdb_cleanup_success")
        }
        Fact::Stuck { .. } => Some("error"),
        Fact::ApprovalDropped { .. }
        | Fact::ApprovalRetracted { .. }
        | Fact::Granted { .. }
        | Fact::Escalated { .. }
        | Fact::GrantIntended { .. }
        | Fact::GrantAnswered { .. }
        | Fact::Activated { .. }
        | Fact::Ending { .. }
        | Fact::RevokeIntended { .. }
        | Fact::RevokeAnswered { .. }
        | Fact::StoreAway { .. }
        | Fact::Settling { .. }
        | Fact::Reappeared
        | Fact::LateEffect { .. }
        | Fact::Missing
        | Fact::Unstuck
        | Fact::Closed { .. } => None,
    }
}
