//! What a record owes, and when: derived from the record alone, so that any worker finds it.

use std::time::Duration;

use crate::change::Wake;
use crate::provider::Kind;
use crate::request::{
    AccessRequest, CancelReason, Cause, Ending, Grant, Phase, Sent, Stage, Stuck,
};
use crate::time::Timestamp;

/// How long after the end a revoke may go unaccepted or unverified before people are paged,
/// without the time that the provider needs to apply it.
pub const STUCK_AFTER: Duration = Duration::from_secs(60);

/// One thing that is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Duty {
    /// Nobody decided in time: save that.
    Lapse,
    /// Nobody decided so far and a later step of the ladder is due: save that.
    Escalate,
    /// It was not provisioned or collected in time, and no call was sent: save that.
    Cancel(CancelReason),
    /// Lease the record for a grant call.
    Lease,
    /// Read whether the grant call took effect.
    Verify,
    /// Begin to take the access away, for this cause.
    Finish(Cause),
    /// Look after an Active grant: is its person still active, is it still there?
    Check,
    /// Take the access away.
    Revoke,
    /// Look for a late effect.
    Look,
    /// The provider's own clock ended it: save that.
    Close,
    /// The ending is late: save that and page.
    Stick(Stuck),
}

impl Duty {
    /// Whether it takes access away, or watches that it stays away. What gives access, and what
    /// asks a directory, must never stand before it.
    fn takes_away(self) -> bool {
        match self {
            Self::Finish(_) | Self::Revoke | Self::Look | Self::Close | Self::Stick(_) => true,
            Self::Lapse
            | Self::Escalate
            | Self::Cancel(_)
            | Self::Lease
            | Self::Verify
            | Self::Check => false,
        }
    }
}

/// Everything that the record owes and since when, the most important first.
fn duties(request: &AccessRequest) -> Vec<(Timestamp, Duty)> {
    match &request.stage {
        Stage::Pending => {
            let mut duties = vec![(request.decide_by, Duty::Lapse)];
            let next = request.ladder.iter().find(|it| it.reached_at.is_none());
            duties.extend(next.map(|rung| (rung.at, Duty::Escalate)));
            duties
        }
        Stage::Denied { .. }
        | Stage::Withdrawn { .. }
        | Stage::Lapsed
        | Stage::Invalidated { .. } => vec![],
        Stage::Granted(grant) => grant_duties(request, grant),
    }
}

fn grant_duties(request: &AccessRequest, grant: &Grant) -> Vec<(Timestamp, Duty)> {
    let provider = request.place().provider;
    match (&grant.phase, provider.kind) {
        (Phase::Approved, Kind::Standing) => vec![
            (
                grant.provision_by,
                Duty::Cancel(CancelReason::NotProvisioned),
            ),
            (grant.next_at, Duty::Lease),
        ],
        (Phase::Approved, Kind::Minted) => {
            vec![(grant.provision_by, Duty::Cancel(CancelReason::NotCollected))]
        }
        (Phase::Provisioning { sent }, Kind::Standing) => {
            let mut duties = vec![(grant.expires_at, Duty::Finish(Cause::Expired))];
            let send_before = grant.send_before.unwrap_or(grant.next_at);
            match sent {
                Sent::Nothing | Sent::Absent => {
                    duties.push((grant.provision_by, Duty::Finish(Cause::Failed)));
                    duties.push((grant.next_at, Duty::Lease));
                }
                Sent::Accepted => duties.push((grant.next_at, Duty::Verify)),
                Sent::MaybeApplied => duties.push((grant.next_at.max(send_before), Duty::Verify)),
            }
            duties
        }
        (Phase::Provisioning { sent }, Kind::Minted) => {
            let send_before = grant.send_before.unwrap_or(grant.next_at);
            let mut duties = vec![(
                grant.provision_by.max(send_before),
                Duty::Finish(Cause::Failed),
            )];
            match sent {
                Sent::Nothing | Sent::Absent => {}
                Sent::MaybeApplied | Sent::Accepted => {
                    duties.push((grant.next_at.max(send_before), Duty::Verify));
                }
            }
            duties
        }
        (Phase::Active, _) => vec![
            (grant.expires_at, Duty::Finish(Cause::Expired)),
            (grant.next_at, Duty::Check),
        ],
        (Phase::Revoking { ending }, _) => {
            let mut duties = vec![];
            if grant.stuck.is_none() {
                duties.push(stuck_at(request, ending));
            }
            duties.push((grant.next_at, Duty::Revoke));
            duties
        }
        (Phase::Settling { watch, .. }, _) if watch.by_provider_clock => {
            vec![(watch.until, Duty::Close)]
        }
        (Phase::Settling { .. }, _) => vec![(grant.next_at, Duty::Look)],
        (Phase::Closed { .. } | Phase::Cancelled { .. }, _) => vec![],
    }
}

/// When an ending that makes no progress counts as stuck, and why.
pub(super) fn stuck_at(request: &AccessRequest, ending: &Ending) -> (Timestamp, Duty) {
    if ending.refused >= 3 {
        return (ending.since, Duty::Stick(Stuck::Refused));
    }
    if ending.accepted_at.is_none() {
        return (ending.since + STUCK_AFTER, Duty::Stick(Stuck::NotAccepted));
    }
    let applied_within = request.place().provider.applied_within;
    let times = if ending.call_outstanding { 2 } else { 1 };
    (
        ending.since + STUCK_AFTER + applied_within.saturating_mul(times),
        Duty::Stick(Stuck::NotVerified),
    )
}

/// The most important thing that is owed now, if any.
pub fn owed(request: &AccessRequest, now: Timestamp) -> Option<Duty> {
    duties(request)
        .into_iter()
        .find(|(since, _)| *since <= now)
        .map(|(_, duty)| duty)
}

/// When anything is owed next, and when the first thing that takes access away. Computed at every
/// commit and stored beside the record.
pub fn wake(request: &AccessRequest) -> Option<Wake> {
    let duties = duties(request);
    let at = duties.iter().map(|(since, _)| *since).min()?;
    let revokes = duties.iter().filter(|(_, duty)| duty.takes_away());
    let revoke_at = revokes.map(|(since, _)| *since).min();
    let provider = request.place().entitlement.provider();
    Some(Wake {
        at,
        revoke_at,
        provider,
    })
}
