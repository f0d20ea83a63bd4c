//! What may become of a request, and how people bring that about.

use std::time::Duration;

use jit_core::engine::Verb;
use jit_core::ports::Clock;
use jit_core::provider::{Kind, Parameters, Target};
use jit_core::request::{AccessRequest, RequestId, Status};
use jit_testkit::hostile::Poison;

use super::{Ask, Script, requester};
use crate::sim::Mood;
use crate::sim::diary::Want;
use crate::sim::people::{Away, Loss, id};
use crate::sim::setting::REALM;

/// What is to become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Approved, and left to the clock.
    Expires,
    /// Approved, and returned early.
    Ends,
    /// Approved, and taken away by security.
    Revoked,
    /// Ended while its grant call is under way, whose reply comes very late.
    LateReply,
    /// Denied.
    Denied,
    /// Taken back.
    Withdrawn,
    /// Nobody decides.
    Lapses,
    /// The requester loses what they need before the decision.
    Invalidated,
    /// The requester loses it between the decision and the grant.
    LeavesApproved,
    /// An approver loses it between the first approval and the last.
    ApproverLeaves,
    /// Ended or revoked as soon as it is approved.
    CancelledAtOnce,
    /// Revoked by security while it waits for its decision.
    RevokedPending,
    /// Asked for again while it is there, for longer.
    Extended,
    /// Returned, and asked for again while it settles, sometimes for a very short time.
    Resumed,
    /// Ended while its grant call is under way.
    EndsInFlight,
    /// Asked for under both of its names.
    Alias,
    /// Asked for twice at once, for a long and a short time.
    Twins,
    /// The provider is away from the decision on.
    Outage,
    /// Other hands give the same access between the decision and the grant.
    Preempted,
    /// The policy changes before the decision.
    PolicyPending,
    /// The policy changes between the decision and the grant.
    PolicyApproved,
    /// An agent asks for its person.
    Agent,
    /// Somebody asks for somebody else.
    OnBehalf,
    /// Who asked tries to decide under another name, and who decides does so twice under two.
    OtherNames,
    /// At its end there is no directory, no such person, or no such entitlement any more.
    Orphaned,
    /// From before its end on, the provider fails for this slot alone.
    Poisoned,
    /// Taken over, and then taken away by other hands.
    Robbed,
    /// Given again by other hands after its end.
    Returned,
    /// Others give the same to somebody who never asked.
    Stranger,
}

/// The fates, and how often each is drawn: the rarer what comes of it, the more often.
const FATES: [(Fate, u64); 29] = [
    (Fate::Preempted, 60),
    (Fate::Expires, 90),
    (Fate::Ends, 70),
    (Fate::Revoked, 40),
    (Fate::LateReply, 480),
    (Fate::EndsInFlight, 40),
    (Fate::Alias, 15),
    (Fate::Extended, 20),
    (Fate::Resumed, 50),
    (Fate::Twins, 150),
    (Fate::Outage, 30),
    (Fate::PolicyPending, 60),
    (Fate::PolicyApproved, 55),
    (Fate::Denied, 110),
    (Fate::Withdrawn, 80),
    (Fate::Lapses, 65),
    (Fate::Invalidated, 75),
    (Fate::LeavesApproved, 180),
    (Fate::ApproverLeaves, 75),
    (Fate::CancelledAtOnce, 90),
    (Fate::RevokedPending, 60),
    (Fate::Agent, 20),
    (Fate::OnBehalf, 20),
    (Fate::OtherNames, 60),
    (Fate::Orphaned, 80),
    (Fate::Poisoned, 190),
    (Fate::Robbed, 130),
    (Fate::Returned, 150),
    (Fate::Stranger, 75),
];

impl Fate {
    /// Whether it is about a slot that nothing else touches.
    pub(super) fn slot(self) -> Slot {
        match self {
            Self::LateReply
            | Self::EndsInFlight
            | Self::Alias
            | Self::Extended
            | Self::Resumed
            | Self::Twins
            | Self::Outage
            | Self::Preempted
            | Self::OnBehalf
            | Self::Orphaned
            | Self::Poisoned
            | Self::Returned
            | Self::Robbed => Slot::OfItsOwn,
            Self::Expires
            | Self::Ends
            | Self::Revoked
            | Self::Denied
            | Self::Withdrawn
            | Self::Lapses
            | Self::Invalidated
            | Self::LeavesApproved
            | Self::ApproverLeaves
            | Self::CancelledAtOnce
            | Self::RevokedPending
            | Self::PolicyPending
            | Self::PolicyApproved
            | Self::Agent
            | Self::Stranger
            | Self::OtherNames => Slot::Any,
        }
    }
}

/// Which slot a fate is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// Standing access that nobody else asks for.
    OfItsOwn,
    /// Whatever is drawn.
    Any,
}

impl Script {
    pub(super) fn draw_fate(&self) -> Fate {
        if let Some(focus) = self.world.plan.focus {
            let number = usize::try_from(self.below(focus.fates.len() as u64)).unwrap();
            return focus.fates[number];
        }
        let mut left = self.below(FATES.iter().map(|(_, weight)| weight).sum());
        for (fate, weight) in FATES {
            if left < weight {
                return fate;
            }
            left -= weight;
        }
        Fate::Expires
    }

    /// Plays a request to its end, or until nobody cares any more.
    pub(super) async fn play(&self, ask: &Ask, request: AccessRequest, fate: Fate) {
        let id = request.id;
        match fate {
            Fate::Lapses | Fate::Denied | Fate::RevokedPending | Fate::Invalidated => {
                return self.never_granted(&request, fate).await;
            }
            Fate::Withdrawn => {
                self.pause(20_000).await;
                let who = requester(&request);
                tokio::join!(
                    self.say(&who, id, Verb::Withdraw),
                    self.say("bob", id, self.approve(&request)),
                );
            }
            Fate::ApproverLeaves => self.approver_leaves(&request).await,
            Fate::OtherNames => self.other_names(&request).await,
            Fate::Extended | Fate::Resumed | Fate::Alias | Fate::Twins | Fate::Robbed => {
                self.again_and_again(ask, &request, fate).await;
            }
            Fate::EndsInFlight | Fate::LateReply => self.ends_in_flight(ask, &request, fate).await,
            Fate::Outage => {
                self.away_for(45);
                self.approve_twice(&request).await;
            }
            Fate::Preempted => {
                self.unreadable(&request);
                self.approve_twice(&request).await;
                let part = request.parts.first();
                let standing = &self.world.standing;
                standing.foreign_grant(&part.target, &part.parameters);
            }
            Fate::Returned => self.returned(&request).await,
            Fate::Stranger => {
                let stranger = Target::new(
                    REALM,
                    format!("stranger-{id}").parse().unwrap(),
                    self.pick(&["ops", "admins"]),
                );
                let standing = &self.world.standing;
                standing.foreign_grant(&stranger, &Parameters::new());
            }
            Fate::PolicyPending => {
                self.change_policy();
                self.pause(9_000).await;
                self.approve_twice(&request).await;
            }
            Fate::PolicyApproved => {
                self.approve_twice(&request).await;
                self.change_policy();
            }
            Fate::Orphaned => self.orphan(&request).await,
            Fate::Poisoned => self.poison(&request).await,
            Fate::LeavesApproved => {
                self.unreadable(&request);
                self.approve_twice(&request).await;
                let loss = self.lose(&request.requester);
                tokio::time::sleep(Duration::from_secs(8 + self.below(20))).await;
                self.regain(&request.requester, loss);
            }
            Fate::CancelledAtOnce => {
                self.decide(&request).await;
                if self.below(2) == 0 {
                    self.say("sven", id, Verb::Revoke { reason: None }).await;
                } else {
                    self.say(&requester(&request), id, Verb::End).await;
                }
            }
            Fate::Expires | Fate::Ends | Fate::Revoked | Fate::Agent | Fate::OnBehalf => {
                self.decide(&request).await;
            }
        }
        let minted = request.parts.first().provider.kind == Kind::Minted;
        if minted && self.below(8) > 0 {
            self.collect(id, &requester(&request)).await;
        }
        match fate {
            Fate::Ends => {
                self.pause(90_000).await;
                self.say(&requester(&request), id, Verb::End).await;
            }
            Fate::Revoked => {
                self.pause(120_000).await;
                self.say("sven", id, Verb::Revoke { reason: None }).await;
            }
            _ => {}
        }
        self.watch(id, Duration::from_secs(900)).await;
    }

    async fn never_granted(&self, request: &AccessRequest, fate: Fate) {
        let id = request.id;
        match fate {
            Fate::Lapses => {
                if request.terms.approvals > 1 {
                    // One of two approvals is not enough, and is taken back.
                    self.say("bob", id, self.approve(request)).await;
                    self.say(self.known_as("bob"), id, Verb::Retract).await;
                }
                self.watch(id, Duration::from_secs(330)).await;
            }
            Fate::Denied => {
                self.pause(20_000).await;
                let digest = request.digest().prefix();
                let deny = Verb::Deny {
                    reason: "use the runbook".parse().unwrap(),
                    digest,
                };
                let (one, two) = (self.approve(request), deny.clone());
                // A denial races an approval: exactly one of them counts.
                tokio::join!(self.say("bob", id, one), self.say("dora", id, two));
                self.say("dora", id, deny).await;
            }
            Fate::RevokedPending => {
                self.say("sven", id, Verb::Revoke { reason: None }).await;
            }
            _ => {
                self.pause(10_000).await;
                let loss = self.lose(&request.requester);
                self.say("bob", id, self.approve(request)).await;
                self.pause(10_000).await;
                self.regain(&request.requester, loss);
            }
        }
    }

    async fn approver_leaves(&self, request: &AccessRequest) {
        let request_id = request.id;
        self.say("bob", request_id, self.approve(request)).await;
        let loss = self.lose(&id("bob"));
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.say("dora", request_id, self.approve(request)).await;
        self.pause(15_000).await;
        self.regain(&id("bob"), loss);
        self.say("eve", request_id, self.approve(request)).await;
    }

    /// Nobody decides their own request, and nobody counts twice, whatever they are called.
    async fn other_names(&self, request: &AccessRequest) {
        let id = request.id;
        let own = format!("{}.private", requester(request));
        self.say(&own, id, self.approve(request)).await;
        self.say("bob", id, self.approve(request)).await;
        self.say("bob.private", id, self.approve(request)).await;
        self.say("dora.private", id, self.approve(request)).await;
    }

    /// The same access is asked for more than once.
    async fn again_and_again(&self, ask: &Ask, request: &AccessRequest, fate: Fate) {
        let id = request.id;
        match fate {
            Fate::Alias => {
                self.approve_twice(request).await;
                self.pause(20_000).await;
                let alias = Ask {
                    entitlement: "st/alias",
                    ..ask.clone()
                };
                self.again(&alias, ask.secs).await;
            }
            Fate::Twins => {
                let twin = Ask {
                    key: format!("{}-twin", ask.key),
                    secs: 2_000,
                    ..ask.clone()
                };
                let Some(twin) = self.open(&twin).await else {
                    return;
                };
                // Both are approved before either can be leased.
                self.unreadable(request);
                tokio::join!(self.approve_twice(&twin), self.approve_twice(request));
                self.watch(twin.id, Duration::from_secs(60)).await;
                self.say("sven", twin.id, Verb::Revoke { reason: None })
                    .await;
            }
            Fate::Resumed => {
                self.approve_twice(request).await;
                self.reaches(id, &[Status::Provisioning, Status::Active])
                    .await;
                self.pause(4_000).await;
                self.say(&requester(request), id, Verb::End).await;
                self.reaches(id, &[Status::Settling]).await;
                let secs = if self.below(2) == 0 { 15 } else { 200 };
                self.again(ask, secs).await;
            }
            Fate::Robbed => self.rob(ask, request).await,
            _ => {
                self.approve_twice(request).await;
                if self.reaches(id, &[Status::Active]).await.is_some() {
                    self.pause(10_000).await;
                    self.again(ask, ask.secs * 2).await;
                }
            }
        }
    }

    /// Other hands take away what was just taken over, and the look after it finds that.
    async fn rob(&self, ask: &Ask, request: &AccessRequest) {
        self.approve_twice(request).await;
        if self.reaches(request.id, &[Status::Active]).await.is_none() {
            return;
        }
        let longer = Ask {
            key: format!("{}-again", ask.key),
            secs: ask.secs * 3,
            ..ask.clone()
        };
        let Some(after) = self.open(&longer).await else {
            return;
        };
        self.approve_twice(&after).await;
        if self.reaches(after.id, &[Status::Active]).await.is_some() {
            let part = after.parts.first();
            self.world
                .standing
                .foreign_revoke(&part.target, &part.parameters);
        }
        self.watch(after.id, Duration::from_secs(900)).await;
    }

    async fn ends_in_flight(&self, ask: &Ask, request: &AccessRequest, fate: Fate) {
        let id = request.id;
        if fate == Fate::LateReply {
            self.world.slow_replies.lock().unwrap().insert(id);
        }
        self.approve_twice(request).await;
        self.reaches(id, &[Status::Provisioning]).await;
        self.pause(3_000).await;
        self.say(&requester(request), id, Verb::End).await;
        if fate == Fate::LateReply
            && self.below(6) == 0
            && self.reaches(id, &[Status::Settling]).await.is_some()
        {
            // Somebody has the slot by the time that the reply comes.
            self.again(ask, 200).await;
        }
    }

    /// At its end something is gone that revoking must not need (S7).
    /// Other hands give again what was taken away.
    async fn returned(&self, request: &AccessRequest) {
        self.approve_twice(request).await;
        if self.reaches(request.id, &[Status::Active]).await.is_none() {
            return;
        }
        self.say(&requester(request), request.id, Verb::End).await;
        self.watch(request.id, Duration::from_secs(900)).await;
        self.pause(1_200_000).await;
        let part = request.parts.first();
        let standing = &self.world.standing;
        standing.foreign_grant(&part.target, &part.parameters);
    }

    async fn orphan(&self, request: &AccessRequest) {
        self.approve_twice(request).await;
        if self.reaches(request.id, &[Status::Active]).await.is_none() {
            return;
        }
        let end = self.ends_at(request.id).await;
        let now = self.world.truth.now();
        let before = Duration::from_secs(2 + self.below(4));
        tokio::time::sleep((end - before).since(now)).await;
        let from = self.world.truth.now();
        let until = end + Duration::from_secs(20 + self.below(20));
        let rest = until.since(from);
        let who = request.beneficiary.clone();
        let (what, of) = match self.below(4) {
            0 => ("the person", Some(request.id)),
            1 => ("the entitlement", Some(request.id)),
            2 => ("an answer of the directory", None),
            _ => ("the directory", None),
        };
        self.world.diary.want(Want {
            what,
            request: of,
            from,
            until,
        });
        match what {
            "the person" => {
                self.world.people.lose(&who, Loss::Person);
                tokio::time::sleep(rest).await;
                self.world.people.regain(&who, Loss::Person);
            }
            "the entitlement" => {
                self.world.removed.lock().unwrap().insert("st/gone");
                self.world.configure(&self.replicas);
                tokio::time::sleep(rest).await;
                self.world.removed.lock().unwrap().remove("st/gone");
                self.world.configure(&self.replicas);
            }
            _ => {
                let how = if of.is_none() && what == "the directory" {
                    Away::Down
                } else {
                    Away::Hanging
                };
                *self.world.people.away.lock().unwrap() = Some((how, until));
                tokio::time::sleep(rest).await;
            }
        }
    }

    /// The provider fails for this slot alone, for so long that it is stuck (L3, L5).
    async fn poison(&self, request: &AccessRequest) {
        self.approve_twice(request).await;
        if self.reaches(request.id, &[Status::Active]).await.is_none() {
            return;
        }
        let poison = match self.below(3) {
            0 => Poison::Refuses,
            1 => Poison::Hangs,
            _ => Poison::Unreadable,
        };
        let now = self.world.truth.now();
        let applied_within = request.parts.first().provider.applied_within;
        let lasts = Duration::from_secs(100 + self.below(30)) + applied_within * 2;
        let until = now + lasts;
        let slot = request.parts.first().slot_key();
        self.world.standing.poison(slot, poison, until);
        let poisoned = &self.world.diary.poisoned;
        poisoned.lock().unwrap().insert(request.id, until);
        self.say(&requester(request), request.id, Verb::End).await;
    }

    /// The standing provider is away for so many seconds, in a world where things fail.
    fn away_for(&self, secs: u64) {
        if self.world.plan.mood == Mood::Hostile {
            let until = self.world.truth.now() + Duration::from_secs(secs);
            self.world.standing.outage_until(until);
        }
    }

    /// Nothing can be leased in this slot for a moment, because it cannot be looked at.
    fn unreadable(&self, request: &AccessRequest) {
        let slot = request.parts.first().slot_key();
        let until = self.world.truth.now() + Duration::from_secs(6);
        self.world.standing.poison(slot, Poison::Unreadable, until);
    }

    /// Somebody loses what they need, in one way or another.
    fn lose(&self, who: &jit_core::principal::PrincipalId) -> Loss {
        let loss = match self.below(8) {
            0..=1 => Loss::Account,
            2..=3 => Loss::Groups,
            4..=5 => Loss::Person,
            _ => Loss::Rule,
        };
        self.world.diary.counts.add(format!("loss {loss:?}"));
        self.world.people.lose(who, loss);
        if loss == Loss::Rule {
            self.world.configure(&self.replicas);
        }
        loss
    }

    fn regain(&self, who: &jit_core::principal::PrincipalId, loss: Loss) {
        self.world.people.regain(who, loss);
        if loss == Loss::Rule {
            self.world.configure(&self.replicas);
        }
    }

    async fn ends_at(&self, id: RequestId) -> jit_core::Timestamp {
        let record = self.record(id).await;
        let grant = record.as_ref().and_then(AccessRequest::grant);
        grant.map_or(self.world.truth.now(), |grant| grant.expires_at)
    }
}
