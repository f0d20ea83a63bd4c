//! Audit events and the hash chains that hold them: one chain per request, and one named `system`
//! for facts of no request. An event is sealed by the commit that it describes, so no second
//! writer exists.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::catalog::ProviderName;
use crate::digest::Digest;
use crate::policy::{Right, Who};
use crate::principal::{Principal, PrincipalId};
use crate::provider::{ErrorKind, Parameters, Presence, Target};
use crate::request::{
    AccessRequest, Approver, CancelReason, Cause, End, Mismatch, Reason, RequestId, Status, Stuck,
};
use crate::time::{Timestamp, Ttl};

/// The newest shape of an event that this release reads and writes.
pub const EVENT_SHAPE: u32 = 1;

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "actor")]
pub enum Actor {
    /// A person or an agent.
    Principal {
        /// Their canonical id.
        id: PrincipalId,
        /// As whom they were authenticated, and where they came in.
        via: Principal,
    },
    /// The service, because of its policy or its clock.
    System,
    /// An operator with the store open.
    Operator,
}

/// What a provider said, or how it failed, as the audit keeps it: never a message of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum CallResult {
    /// It did it.
    Applied,
    /// It took it and is applying it.
    Accepted,
    /// It said that it did nothing.
    DidNothing {
        /// The kind of the error.
        error: ErrorKind,
    },
    /// It may have happened.
    Unknown {
        /// The kind of the error.
        error: ErrorKind,
    },
}

/// What happened, in the chain of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact")]
pub enum Fact {
    /// It was opened.
    Requested {
        /// The digest of everything that was asked.
        digest: Digest,
        /// Who gets the access.
        beneficiary: PrincipalId,
        /// What was asked for.
        entitlements: Vec<crate::catalog::EntitlementId>,
        /// With which parameters, in the same order; none where nothing has any.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        parameters: Vec<Parameters>,
        /// For how long.
        ttl: Ttl,
        /// Why.
        reason: Reason,
        /// How many people must approve.
        approvals_needed: u8,
    },
    /// One approval; the last needed one is followed by `Granted`.
    Approved {
        /// Who, or nobody.
        by: Approver,
        /// The shorter time that they chose.
        ttl: Option<Ttl>,
        /// How many approvals count now.
        count: u8,
        /// How many are needed.
        needed: u8,
    },
    /// An earlier approval no longer counts, because its author lost the authority.
    ApprovalDropped {
        /// Whose.
        by: PrincipalId,
    },
    /// An approver took their own approval back.
    ApprovalRetracted {
        /// Who.
        by: PrincipalId,
    },
    /// Enough people approved.
    Granted {
        /// When the access will end.
        expires_at: Timestamp,
        /// It is given up if it is not provisioned or collected by then.
        provision_by: Timestamp,
    },
    /// An approver said no.
    Denied {
        /// Why.
        reason: Reason,
    },
    /// The requester or the beneficiary took it back.
    Withdrawn,
    /// Nobody decided so far, so that others may as well.
    Escalated {
        /// Which later step of the ladder, from 1.
        step: u8,
        /// Who.
        to: BTreeSet<Who>,
    },
    /// Nobody decided in time.
    Lapsed,
    /// It is no longer what would be given.
    Invalidated {
        /// How so.
        why: Mismatch,
        /// In whose words.
        reason: Option<Reason>,
    },
    /// Over before any call was sent.
    Cancelled {
        /// Why.
        why: CancelReason,
        /// In whose words.
        reason: Option<Reason>,
    },
    /// A grant call is about to be sent.
    GrantIntended {
        /// Its epoch.
        epoch: u32,
        /// It is sent before this or not at all.
        send_before: Timestamp,
        /// Where.
        target: Target,
        /// The grant whose slot was taken over.
        took_over: Option<RequestId>,
    },
    /// The credential is made elsewhere, because the provider said that it did not make it.
    FellBack {
        /// What is given instead.
        to: crate::catalog::EntitlementId,
    },
    /// What became of a grant call.
    GrantAnswered {
        /// Of which epoch.
        epoch: u32,
        /// What the provider said.
        answer: CallResult,
    },
    /// The access is there.
    Activated {
        /// It ends then.
        expires_at: Timestamp,
    },
    /// The asker has the credential.
    Collected,
    /// The ending began.
    Ending {
        /// Why.
        cause: Cause,
        /// In whose words.
        reason: Option<Reason>,
    },
    /// Deletes are about to be sent.
    RevokeIntended {
        /// The number of this try.
        attempt: u32,
    },
    /// What became of the latest deletes.
    RevokeAnswered {
        /// The number of the try.
        attempt: u32,
        /// What the provider said.
        answer: CallResult,
        /// What reading it back showed, if it could be read.
        read_back: Option<Presence>,
    },
    /// Deletes were sent while the store did not answer, by a process that knew of the grant. It is
    /// the intent and the outcome of all of them, written when the store answered again.
    StoreAway {
        /// When the first of them was sent.
        from: Timestamp,
        /// When the last of them was.
        until: Timestamp,
        /// How many there were.
        deletes: u32,
        /// What the provider said to the last one.
        answer: CallResult,
        /// What reading it back showed last, if it could be read.
        read_back: Option<Presence>,
    },
    /// Verified absent, and watched.
    Settling {
        /// Until then.
        until: Timestamp,
    },
    /// It was absent and is there again.
    Reappeared,
    /// A call of ours took effect late.
    LateEffect {
        /// Of which epoch.
        epoch: u32,
    },
    /// Access found missing while it should be there.
    Missing,
    /// The ending is late.
    Stuck {
        /// How so.
        why: Stuck,
    },
    /// It is no longer late.
    Unstuck,
    /// Over.
    Closed {
        /// How.
        end: End,
    },
}

/// A fact of no request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fact")]
pub enum SystemFact {
    /// A process started with this policy and catalogue.
    Configured {
        /// Their digest.
        digest: Digest,
    },
    /// A bearer token was made.
    TokenMade {
        /// Its public id.
        token: String,
        /// Whose it is.
        principal: PrincipalId,
        /// When it ends.
        expires_at: Timestamp,
    },
    /// A bearer token was revoked.
    TokenRevoked {
        /// Its public id.
        token: String,
        /// Whose it was.
        principal: PrincipalId,
    },
    /// Somebody tried to do what they have no right to.
    AuthorityRefused {
        /// Which right was missing.
        right: Right,
        /// On which request.
        request: Option<RequestId>,
    },
    /// Access stands at a provider that no live grant explains.
    DriftFound {
        /// The configured provider.
        provider: ProviderName,
        /// Whose, and what.
        targets: Vec<Target>,
    },
    /// Such access is gone, or has a live grant.
    DriftGone {
        /// The configured provider.
        provider: ProviderName,
        /// Whose, and what.
        targets: Vec<Target>,
    },
    /// No new grants from here on.
    Paused,
    /// New grants again.
    Resumed,
    /// The chains of requests as they stood. A request that is listed here and later missing, or
    /// shorter, was cut.
    Checkpoint {
        /// Request, newest event and its hash.
        heads: Vec<(RequestId, ChainHead)>,
    },
}

/// How far a chain has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    /// The number of the newest event; 0 before the first.
    pub seq: u64,
    /// The hash of the newest event; before the first, a digest of the chain's name.
    pub hash: Digest,
}

/// The name of the chain for facts of no request.
pub const SYSTEM_CHAIN: &str = "system";

impl ChainHead {
    /// The head of an empty chain with this name: a request id, or [`SYSTEM_CHAIN`].
    pub fn start(chain: &str) -> Self {
        Self {
            seq: 0,
            hash: Digest::of_parts(&[b"jit audit chain v1:", chain.as_bytes()]),
        }
    }

    /// Seals an event behind this head and moves the head.
    fn seal<E: Serialize>(
        &mut self,
        chain: &str,
        at: Timestamp,
        actor: &Actor,
        event: E,
    ) -> Sealed {
        let seq = self.seq + 1;
        let body = serde_json::to_string(&Link {
            shape: EVENT_SHAPE,
            chain: chain.to_owned(),
            seq,
            at,
            actor: actor.clone(),
            event,
            prev: self.hash,
        })
        .expect("an event has string keys and finite numbers, so it serialises");
        let hash = Digest::of(body.as_bytes());
        *self = Self { seq, hash };
        Sealed {
            chain: chain.to_owned(),
            seq,
            at,
            body,
            hash,
        }
    }

    /// Seals a fact of no request.
    pub fn seal_system(&mut self, at: Timestamp, actor: &Actor, fact: SystemFact) -> Sealed {
        self.seal(SYSTEM_CHAIN, at, actor, fact)
    }
}

/// An event in its chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link<E> {
    /// The shape of this event as stored.
    pub shape: u32,
    /// The chain that it belongs to.
    pub chain: String,
    /// Its number in the chain, from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: Actor,
    /// What.
    pub event: E,
    /// The hash of the event before it.
    pub prev: Digest,
}

/// What happened to a request, and how it stood afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestEvent {
    /// What happened.
    pub what: Fact,
    /// The status afterwards.
    pub status: Status,
    /// When the access ends, once that is known.
    pub expires_at: Option<Timestamp>,
}

/// An event of a request.
pub type AuditEvent = Link<RequestEvent>;
/// An event of the system chain.
pub type SystemEvent = Link<SystemFact>;

/// An event as a store keeps it. The hash is SHA-256 over the bytes of `body`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The chain that it belongs to.
    pub chain: String,
    /// Its number, from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// The event as JSON; its `prev` is the hash of the event before it.
    pub body: String,
    /// SHA-256 of `body`.
    pub hash: Digest,
}

impl Sealed {
    /// Reads the event of a request.
    pub fn event(&self) -> Result<AuditEvent, serde_json::Error> {
        serde_json::from_str(&self.body)
    }

    /// Reads an event of the system chain.
    pub fn system_event(&self) -> Result<SystemEvent, serde_json::Error> {
        serde_json::from_str(&self.body)
    }
}

/// Writes what happened into the chain of a request. Called by the lifecycle after each change, so
/// that every event carries the state it led to.
pub(crate) fn record(
    request: &mut AccessRequest,
    at: Timestamp,
    actor: &Actor,
    facts: Vec<Fact>,
) -> Vec<Sealed> {
    let status = request.status();
    let expires_at = request.grant().map(|grant| grant.expires_at);
    let chain = request.id.to_string();
    let seal = |what| {
        let event = RequestEvent {
            what,
            status,
            expires_at,
        };
        request.chain.seal(&chain, at, actor, event)
    };
    facts.into_iter().map(seal).collect()
}

/// How a chain is broken, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Not the event that follows the one before it.
    #[error("chain {chain}: event {expected} is missing, {found} stands in its place")]
    Order {
        /// Which chain.
        chain: String,
        /// The number that should follow.
        expected: u64,
        /// The number that does.
        found: u64,
    },
    /// The text was edited.
    #[error("chain {chain}: event {seq} was changed after it was written")]
    Edited {
        /// Which chain.
        chain: String,
        /// Which event.
        seq: u64,
    },
    /// The text does not follow the event before it.
    #[error("chain {chain}: event {seq} does not follow the event before it")]
    Unlinked {
        /// Which chain.
        chain: String,
        /// Which event.
        seq: u64,
    },
    /// It cannot be read.
    #[error("chain {chain}: event {seq} cannot be read by this release")]
    Unreadable {
        /// Which chain.
        chain: String,
        /// Which event.
        seq: u64,
    },
    /// Events were cut off its end.
    #[error("chain {chain}: {recorded} events were written, {found} are there")]
    Truncated {
        /// Which chain.
        chain: String,
        /// How many there should be.
        recorded: u64,
        /// How many there are.
        found: u64,
    },
    /// The record says something else than its audit.
    #[error("chain {chain}: the record disagrees with its audit: {how}")]
    Disagrees {
        /// Which chain.
        chain: String,
        /// In what.
        how: &'static str,
    },
}

/// Checks that these events, in order, are the whole of a chain; returns its head.
pub fn verify_chain(chain: &str, events: &[Sealed]) -> Result<ChainHead, Broken> {
    let (head, _) = verified_links::<IgnoredAny>(chain, events)?;
    Ok(head)
}

/// A link of a chain: what holds it together, and what is wanted of its event.
#[derive(Deserialize)]
struct Written<'e, E> {
    #[serde(borrow)]
    chain: Cow<'e, str>,
    seq: u64,
    at: Timestamp,
    event: E,
    prev: Digest,
}

/// The head of a chain that is whole, and what is wanted of its events.
fn verified_links<E: DeserializeOwned>(
    chain: &str,
    events: &[Sealed],
) -> Result<(ChainHead, Vec<E>), Broken> {
    let mut head = ChainHead::start(chain);
    let mut wanted = Vec::with_capacity(events.len());
    for sealed in events {
        let event;
        (head, event) = verified_link(chain, head, sealed)?;
        wanted.push(event);
    }
    Ok((head, wanted))
}

/// Checks that this event is the next one of a chain that goes up to `head`; returns the new head.
pub(crate) fn verify_link(
    chain: &str,
    head: ChainHead,
    sealed: &Sealed,
) -> Result<ChainHead, Broken> {
    let (head, _) = verified_link::<IgnoredAny>(chain, head, sealed)?;
    Ok(head)
}

fn verified_link<E: DeserializeOwned>(
    chain: &str,
    head: ChainHead,
    sealed: &Sealed,
) -> Result<(ChainHead, E), Broken> {
    let seq = sealed.seq;
    if seq != head.seq + 1 {
        return Err(Broken::Order {
            chain: chain.to_owned(),
            expected: head.seq + 1,
            found: seq,
        });
    }
    let link: Written<'_, E> =
        serde_json::from_str(&sealed.body).map_err(|_| unreadable(chain, seq))?;
    let true_to_text = Digest::of(sealed.body.as_bytes()) == sealed.hash
        && (link.seq, link.at, link.chain.as_ref()) == (seq, sealed.at, chain);
    if !true_to_text {
        let chain = chain.to_owned();
        return Err(Broken::Edited { chain, seq });
    }
    if link.prev != head.hash {
        let chain = chain.to_owned();
        return Err(Broken::Unlinked { chain, seq });
    }
    let hash = sealed.hash;
    Ok((ChainHead { seq, hash }, link.event))
}

fn unreadable(chain: &str, seq: u64) -> Broken {
    let chain = chain.to_owned();
    Broken::Unreadable { chain, seq }
}

fn read(sealed: &Sealed) -> Result<RequestEvent, Broken> {
    let read = sealed.event().map(|link| link.event);
    read.map_err(|_| unreadable(&sealed.chain, sealed.seq))
}

/// What an event is about.
#[derive(Deserialize)]
struct Named {
    what: NamedFact,
}

#[derive(Deserialize)]
struct NamedFact {
    fact: FactName,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum FactName {
    Approved,
    ApprovalDropped,
    ApprovalRetracted,
    #[serde(other)]
    Other,
}

/// Whose approvals count at the end of these events, in the order that they were given.
fn approvers(events: &[Sealed], named: &[Named]) -> Result<Vec<Approver>, Broken> {
    let mut approvers = vec![];
    for (sealed, named) in events.iter().zip(named) {
        if matches!(named.what.fact, FactName::Other) {
            continue;
        }
        match read(sealed)?.what {
            Fact::Approved { by, .. } => approvers.push(by),
            Fact::ApprovalDropped { by } | Fact::ApprovalRetracted { by } => {
                approvers.retain(|it| !matches!(it, Approver::Person(person) if *person == by));
            }
            _ => {}
        }
    }
    Ok(approvers)
}

/// Checks that these events are the whole story of this record: the chain is whole, ends where the
/// record says, and agrees with it about what was asked, its status and its end. Of an event whose
/// content the record says nothing of, only its place in the chain and its name are read.
pub fn verify_request(request: &AccessRequest, events: &[Sealed]) -> Result<ChainHead, Broken> {
    let chain = request.id.to_string();
    let (head, named) = verified_links::<Named>(&chain, events)?;
    if head.seq < request.chain.seq {
        let (recorded, found) = (request.chain.seq, head.seq);
        return Err(Broken::Truncated {
            chain,
            recorded,
            found,
        });
    }
    let disagrees = |how| {
        Err(Broken::Disagrees {
            chain: chain.clone(),
            how,
        })
    };
    if head != request.chain {
        return disagrees("the newest event");
    }
    let (Some(first), Some(last)) = (events.first(), events.last()) else {
        return disagrees("how it began");
    };
    match read(first)?.what {
        Fact::Requested {
            digest,
            approvals_needed,
            ..
        } => {
            if digest != request.digest() {
                return disagrees("what was asked");
            }
            if approvals_needed != request.terms.approvals {
                return disagrees("how many approvals it needs");
            }
        }
        _ => return disagrees("how it began"),
    }
    let approved = request.approvals.iter().map(|it| &it.by);
    if !approvers(events, &named)?.iter().eq(approved) {
        return disagrees("who approved");
    }
    let last = read(last)?;
    if last.status != request.status() {
        return disagrees("its status");
    }
    if last.expires_at != request.grant().map(|grant| grant.expires_at) {
        return disagrees("when the access ends");
    }
    Ok(head)
}
