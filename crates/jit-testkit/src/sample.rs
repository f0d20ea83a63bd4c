//! Records to begin with: one request in every status, with an audit chain that verifies. They are
//! shaped by hand, not by the lifecycle, so that a store or a card can be tested without it.

use std::future::ready;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use jit_core::audit::{Actor, ChainHead, EVENT_SHAPE, Fact, Link, RequestEvent, Sealed};
use jit_core::digest::Digest;
use jit_core::ports::{Change, Commit, CommitError, RequestStore, Wake};
use jit_core::provider::{Description, Parameters, Target};
use jit_core::request::{
    AccessRequest, Approval, Approver, CancelReason, Cause, End, Ending, Grant, Mismatch, Part,
    Parts, Phase, REQUEST_SHAPE, RequestId, Sent, Stage, Status, Terms, Watch,
};
use jit_core::{Timestamp, Ttl};

/// When the samples begin: 2026-01-01T00:00:00Z.
pub fn start() -> Timestamp {
    Timestamp::from_unix_micros(1_767_225_600_000_000)
}

/// So many seconds after [`start`].
pub fn at(secs: u64) -> Timestamp {
    start() + Duration::from_secs(secs)
}

/// The id of the sample with this number. Later numbers sort behind earlier ones.
pub fn id(number: u16) -> RequestId {
    let [high, low] = number.to_be_bytes();
    RequestId::new(
        at(u64::from(number)),
        [0x5a, 0xa5, 0x5a, 0xa5, 0x5a, 0xa5, 0x5a, 0xa5, high, low],
    )
}

/// The id with this number, for those who need more than [`id`] has. Later numbers sort behind
/// earlier ones.
pub fn numbered(number: u64) -> RequestId {
    let mut random = [0x5a; 10];
    for (place, byte) in random.iter_mut().zip(number.to_be_bytes()) {
        *place = byte;
    }
    RequestId::new(at(number / 1_000), random)
}

/// What the samples say of their provider: standing access, nothing ends it by itself.
pub fn standing() -> Description {
    Description {
        accepted_within: Duration::from_secs(20),
        applied_within: Duration::from_secs(10),
        ..Description::immediate()
    }
}

/// A part for the subject `ana`; the resource is the entitlement without its provider.
pub fn part(entitlement: &str) -> Part {
    let resource = entitlement
        .split_once('/')
        .map_or(entitlement, |(_, name)| name)
        .to_owned();
    Part {
        entitlement: entitlement
            .parse()
            .expect("a test names entitlements as provider/name"),
        parameters: Parameters::new(),
        label: None,
        target: Target {
            realm: "groups".to_owned(),
            subject: "ana".parse().expect("ana is a subject"),
            resource,
        },
        provider: standing(),
        fallback: None,
    }
}

/// Parts for these entitlements.
pub fn parts(entitlements: &[&str]) -> Parts {
    let parts: Vec<Part> = entitlements.iter().map(|name| part(name)).collect();
    Parts::try_from(parts).expect("a test names one to eight entitlements")
}

/// The pending request with this number, opened that many seconds after [`start`] by
/// `ana@example.com` for herself: `groupfile/admins` for an hour. Version 1, and no events yet.
pub fn request(number: u16) -> AccessRequest {
    let (id, opened_at) = (id(number), at(u64::from(number)));
    let ana = || "ana@example.com".parse().expect("ana is a principal");
    let hour = Ttl::from_secs(3_600).expect("an hour is a TTL");
    AccessRequest {
        shape: REQUEST_SHAPE,
        id,
        version: 1,
        chain: ChainHead::start(&id.to_string()),
        requester: ana(),
        beneficiary: ana(),
        parts: parts(&["groupfile/admins"]),
        ttl: hour,
        reason: "the disk is full"
            .parse()
            .expect("a few words are a reason"),
        terms: Terms {
            tier: "standard".parse().expect("standard is a tier"),
            ttl_max: hour,
            approvals: 1,
            residual_max_secs: 0,
            policy: Digest::of(b"policy"),
        },
        opened_at,
        decide_by: opened_at + Duration::from_secs(900),
        ladder: vec![],
        updated_at: opened_at,
        approvals: Vec::new(),
        stage: Stage::Pending,
    }
}

/// The request with this number in this status, with the fields that the status brings. The last
/// change is 60 s after the opening.
pub fn request_in(number: u16, status: Status) -> AccessRequest {
    let mut request = request(number);
    let stage = stage(&request, status);
    request.updated_at = request.opened_at + Duration::from_secs(60);
    if matches!(stage, Stage::Granted(_)) {
        request.approvals = vec![Approval {
            by: Approver::Person("bob@example.com".parse().expect("bob is a principal")),
            ttl: None,
            at: request.updated_at,
        }];
    }
    request.stage = stage;
    request
}

fn stage(request: &AccessRequest, status: Status) -> Stage {
    let approved_at = request.opened_at + Duration::from_secs(60);
    let expires_at = approved_at + request.ttl.duration();
    let after = |secs| expires_at + Duration::from_secs(secs);
    let ending = || Ending {
        cause: Cause::Expired,
        since: expires_at,
        call_outstanding: false,
        attempts: 1,
        refused: 0,
        accepted_at: Some(after(1)),
    };
    let phase = match status {
        Status::Pending => return Stage::Pending,
        Status::Denied => {
            return Stage::Denied {
                by: "bob@example.com".parse().expect("bob is a principal"),
                reason: "not today".parse().expect("a few words are a reason"),
            };
        }
        Status::Withdrawn => {
            return Stage::Withdrawn {
                by: request.requester.clone(),
            };
        }
        Status::Lapsed => return Stage::Lapsed,
        Status::Invalidated => {
            return Stage::Invalidated {
                why: Mismatch::PolicyChanged,
            };
        }
        Status::Approved => Phase::Approved,
        Status::Provisioning => Phase::Provisioning {
            sent: Sent::MaybeApplied,
        },
        Status::Active => Phase::Active,
        Status::Revoking => Phase::Revoking { ending: ending() },
        Status::Settling => Phase::Settling {
            ending: ending(),
            watch: Watch {
                absent_at: after(2),
                until: after(22),
                looks: 1,
                by_provider_clock: false,
            },
        },
        Status::Closed => Phase::Closed {
            end: End::Gone {
                cause: Cause::Expired,
            },
        },
        Status::Cancelled => Phase::Cancelled {
            why: CancelReason::NotProvisioned,
        },
    };
    let sent = !matches!(phase, Phase::Approved | Phase::Cancelled { .. });
    let send_before = sent.then(|| approved_at + Duration::from_secs(30));
    Stage::Granted(Box::new(Grant {
        phase,
        approved_at,
        expires_at,
        provision_by: approved_at + Duration::from_secs(600),
        epoch: u32::from(sent),
        send_before,
        slot_send_before: send_before,
        slot_settles_until: None,
        slot_left_revoking_at: None,
        took_over: None,
        told_until: None,
        fell_back: false,
        handle: None,
        active_at: sent.then(|| approved_at + Duration::from_secs(1)),
        missing_since: None,
        rechecks: Vec::new(),
        next_at: expires_at,
        failures: 0,
        stuck: None,
    }))
}

/// The same record as it is to be after one more commit at this instant.
pub fn next(request: &AccessRequest, at: Timestamp) -> AccessRequest {
    AccessRequest {
        version: request.version + 1,
        updated_at: at,
        ..request.clone()
    }
}

/// Writes a fact into the chain of this record, as the lifecycle does.
pub fn seal(request: &mut AccessRequest, at: Timestamp, fact: Fact) -> Sealed {
    let (chain, seq) = (request.id.to_string(), request.chain.seq + 1);
    let link = Link {
        shape: EVENT_SHAPE,
        chain: chain.clone(),
        seq,
        at,
        actor: Actor::System,
        event: RequestEvent {
            what: fact,
            status: request.status(),
            expires_at: request.grant().map(|grant| grant.expires_at),
        },
        prev: request.chain.hash,
    };
    let body = serde_json::to_string(&link)
        .expect("an event has string keys and finite numbers, so it serialises");
    let hash = Digest::of(body.as_bytes());
    request.chain = ChainHead { seq, hash };
    Sealed {
        chain,
        seq,
        at,
        body,
        hash,
    }
}

/// The event that a request begins with.
pub fn requested(request: &mut AccessRequest) -> Sealed {
    let fact = Fact::Requested {
        digest: request.digest(),
        beneficiary: request.beneficiary.clone(),
        entitlements: request
            .parts
            .iter()
            .map(|part| part.entitlement.clone())
            .collect(),
        parameters: vec![],
        ttl: request.ttl,
        reason: request.reason.clone(),
        approvals_needed: request.terms.approvals,
    };
    seal(request, request.opened_at, fact)
}

/// A wake-up at `groupfile` for anything but a revoke.
pub fn wake(at: Timestamp) -> Wake {
    Wake {
        at,
        provider: "groupfile".parse().expect("groupfile is a provider"),
        revoke_at: None,
    }
}

/// The change that stores this record for the first time, with its first event. It is not due.
pub fn creation(mut request: AccessRequest) -> Change {
    let event = requested(&mut request);
    Change {
        record: request,
        expected: None,
        events: vec![event],
        wake: None,
    }
}

/// The change that stores a request that is over.
pub fn over(id: RequestId) -> Change {
    let mut request = request_in(0, Status::Closed);
    request.id = id;
    request.chain = ChainHead::start(&id.to_string());
    creation(request)
}

/// The change that stores a grant of this part for the first time: Active, and due at its end.
pub fn active_until(id: RequestId, part: Part, end: Timestamp) -> Change {
    let mut request = request_in(0, Status::Active);
    request.id = id;
    request.chain = ChainHead::start(&id.to_string());
    request.parts = Parts::try_from(vec![part]).expect("one part is not too many");
    if let Stage::Granted(grant) = &mut request.stage {
        grant.expires_at = end;
        grant.next_at = end;
    }
    let due = Wake {
        revoke_at: Some(end),
        ..wake(end)
    };
    Change {
        wake: Some(due),
        ..creation(request)
    }
}

/// The change that stores this record over the version before it, without events. It is not due.
pub fn update(record: AccessRequest) -> Change {
    let expected = record.version.checked_sub(1);
    Change {
        record,
        expected,
        events: Vec::new(),
        wake: None,
    }
}

/// A commit of these changes, decided when the last of its records was.
pub fn commit(changes: impl IntoIterator<Item = Change>) -> Commit {
    let changes: Vec<Change> = changes.into_iter().collect();
    let at = changes.iter().map(|change| change.record.updated_at).max();
    Commit {
        changes,
        at,
        ..Commit::default()
    }
}

/// Writes these, eight to a commit and many commits at once.
///
/// # Errors
/// What the first commit that failed said; others may be written.
pub async fn write(
    store: &dyn RequestStore,
    changes: impl Iterator<Item = Change>,
) -> Result<(), CommitError> {
    let mut changes = changes.peekable();
    let commits = std::iter::from_fn(|| {
        changes.peek()?;
        Some(commit(changes.by_ref().take(8)))
    });
    let written = stream::iter(commits).map(|commit| store.commit(commit));
    let written = written.buffer_unordered(64);
    written.try_for_each(|_| ready(Ok(()))).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use jit_core::audit::verify_request;

    #[test]
    fn there_is_a_sample_in_every_status_and_it_is_stored_and_read() {
        for (number, status) in (0_u16..).zip(Status::ALL) {
            let mut request = request_in(number, status);
            assert_eq!(request.status(), status);
            let mut events = vec![requested(&mut request)];
            for approval in request.approvals.clone() {
                let approved = Fact::Approved {
                    by: approval.by,
                    ttl: approval.ttl,
                    count: 1,
                    needed: 1,
                };
                events.push(seal(&mut request, approval.at, approved));
            }
            assert_eq!(
                verify_request(&request, &events).unwrap(),
                request.chain,
                "{status}"
            );
            let read = AccessRequest::from_stored(&request.to_stored()).unwrap();
            assert_eq!(read, request);
        }
        assert!(id(1) < id(2));
    }
}
