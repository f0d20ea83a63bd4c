//! What people do in the simulation: each lifecycle is asked for, decided, ended or left alone, on
//! whichever replica answers.

use std::sync::Arc;
use std::time::Duration;

use jit_core::engine::{EngineError, NewRequest, Verb};
use jit_core::ports::RequestStore;
use jit_core::principal::{Door, Principal};
use jit_core::provider::{Kind, Parameters};
use jit_core::request::{AccessRequest, RequestId, Status};
use jit_core::{Timestamp, Ttl};

use super::{Mood, Replica, World, id};

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
    /// The requester leaves before the decision.
    Invalidated,
    /// The requester leaves between the decision and the grant.
    LeavesApproved,
    /// An approver leaves between the first approval and the last.
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
    /// The policy changes before the decision.
    PolicyPending,
    /// The policy changes between the decision and the grant.
    PolicyApproved,
}

const FATES: [(Fate, u64); 20] = [
    (Fate::Expires, 20),
    (Fate::Ends, 10),
    (Fate::Revoked, 8),
    (Fate::LateReply, 90),
    (Fate::EndsInFlight, 20),
    (Fate::Alias, 6),
    (Fate::Extended, 10),
    (Fate::Resumed, 14),
    (Fate::Twins, 36),
    (Fate::Outage, 10),
    (Fate::PolicyPending, 8),
    (Fate::PolicyApproved, 7),
    (Fate::Denied, 18),
    (Fate::Withdrawn, 14),
    (Fate::Lapses, 9),
    (Fate::Invalidated, 9),
    (Fate::LeavesApproved, 38),
    (Fate::ApproverLeaves, 6),
    (Fate::CancelledAtOnce, 18),
    (Fate::RevokedPending, 12),
];

type Replicas = Vec<Arc<Replica>>;

const ASKERS: [&str; 3] = ["ana", "cleo", "finn"];

#[derive(Debug, Clone)]
struct Ask {
    key: String,
    who: &'static str,
    entitlement: &'static str,
    parameters: Parameters,
    secs: u64,
}

struct Script {
    world: Arc<World>,
    replicas: Replicas,
}

pub(crate) async fn lifecycle(world: Arc<World>, replicas: Replicas, number: u64) {
    let script = Script { world, replicas };
    let window = if script.world.plan.mood == Mood::Calm {
        900_000
    } else {
        1_500_000
    };
    script.pause(window).await;
    let fate = script.draw_fate();
    let ask = script.ask(number, fate);
    let Some(request) = script.open(&ask).await else {
        return;
    };
    script.play(&ask, request, fate).await;
}

/// Things that happen to everybody: people leave and return, the directory is away.
pub(crate) async fn upheaval(world: Arc<World>) {
    loop {
        tokio::time::sleep(Duration::from_secs(60 + world.random.below(240))).await;
        match world.random.below(3) {
            0 => {
                let now = tokio_now(&world);
                *world.people.down_until.lock().unwrap() =
                    now + Duration::from_secs(world.random.below(30));
            }
            1 => {
                let who = ["ana", "cleo", "finn", "bob", "dora", "eve"];
                let who = id(who[usize::try_from(world.random.below(6)).unwrap()]);
                world.people.set_active(&who, false);
                tokio::time::sleep(Duration::from_secs(1 + world.random.below(40))).await;
                world.people.set_active(&who, true);
            }
            _ => {}
        }
    }
}

fn tokio_now(world: &World) -> Timestamp {
    use jit_core::ports::Clock;
    world.truth.now()
}

fn via(name: &str) -> Principal {
    Principal {
        id: id(name),
        door: Door::Embedded,
    }
}

impl Script {
    fn below(&self, limit: u64) -> u64 {
        self.world.random.below(limit)
    }

    async fn pause(&self, most_millis: u64) {
        tokio::time::sleep(Duration::from_millis(self.below(most_millis))).await;
    }

    fn pick<'a>(&self, names: &[&'a str]) -> &'a str {
        names[usize::try_from(self.below(names.len() as u64)).unwrap()]
    }

    fn draw_fate(&self) -> Fate {
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

    fn replica(&self) -> Arc<Replica> {
        let number = usize::try_from(self.below(self.replicas.len() as u64)).unwrap();
        self.replicas[number].clone()
    }

    /// What the lifecycle of this number asks for.
    fn ask(&self, number: u64, fate: Fate) -> Ask {
        let alone = matches!(
            fate,
            Fate::LateReply
                | Fate::EndsInFlight
                | Fate::Alias
                | Fate::Extended
                | Fate::Resumed
                | Fate::Twins
                | Fate::Outage
        );
        let entitlement = match self.below(10) {
            _ if fate == Fate::Alias => "st/ops",
            0..=4 if alone => "st/ops",
            0..=4 => "mt/token",
            5..=6 => "st/admins",
            7..=8 => "st/ops",
            _ => "st/auto",
        };
        let secs = match fate {
            Fate::Outage => 15 + self.below(20),
            Fate::Extended | Fate::Resumed => 60 + self.below(120),
            _ if self.below(3) == 0 => 15 + self.below(60),
            _ => 60 + self.below(600),
        };
        // Parameters make a slot of their own, so that some grants are alone.
        let mut parameters = Parameters::new();
        if alone || self.below(3) == 0 {
            parameters.insert("lifecycle".to_owned(), number.into());
        }
        Ask {
            key: number.to_string(),
            who: self.pick(&ASKERS),
            entitlement,
            parameters,
            secs,
        }
    }

    async fn open(&self, ask: &Ask) -> Option<AccessRequest> {
        let new = NewRequest {
            beneficiary: None,
            parts: vec![(ask.entitlement.parse().unwrap(), ask.parameters.clone())],
            ttl: Some(Ttl::from_secs(ask.secs).unwrap()),
            reason: "simulated".parse().unwrap(),
            idempotency_key: Some(ask.key.parse().unwrap()),
        };
        for _ in 0..6 {
            let (new, who) = (new.clone(), ask.who);
            let replica = self.replica();
            let opened = replica.call(|engine| async move { engine.open(&via(who), new).await });
            match opened.await {
                Some(Ok(request)) => return Some(request),
                Some(Err(EngineError::Refused(refusal))) => {
                    self.world.counts.add(format!("refused {}", refusal.code()));
                    return None;
                }
                Some(Err(EngineError::Failed(_))) | None => self.pause(3_000).await,
            }
        }
        None
    }

    /// Waits until the request is in one of these; false where that does not come.
    async fn reaches(&self, id: RequestId, statuses: &[Status]) -> bool {
        for _ in 0..120 {
            let record = self.world.store.memory.load(id).await.unwrap();
            let status = record.map(|record| record.status());
            if status.is_none_or(|status| statuses.contains(&status)) {
                return true;
            }
            if status.is_some_and(Status::is_over) {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        false
    }

    /// Asks for the same again, for this long, and has it approved.
    async fn again(&self, ask: &Ask, secs: u64) {
        let ask = Ask {
            key: format!("{}-again", ask.key),
            secs,
            ..ask.clone()
        };
        let Some(request) = self.open(&ask).await else {
            return;
        };
        self.approve_twice(&request).await;
        self.watch(request.id, Duration::from_secs(900)).await;
    }

    async fn approve_twice(&self, request: &AccessRequest) {
        self.say("eve", request.id, self.approve(request)).await;
        self.say("dora", request.id, self.approve(request)).await;
    }

    /// Every replica takes another policy.
    async fn change_policy(&self) {
        let before = *self.world.ttl_max.lock().unwrap();
        let after = if before.to_string() == "1h" {
            "50m"
        } else {
            "1h"
        };
        *self.world.ttl_max.lock().unwrap() = after.parse().unwrap();
        for replica in &self.replicas {
            replica.chaos.deaths.send_modify(|deaths| *deaths += 1);
        }
    }

    async fn say(&self, who: &str, request: RequestId, verb: Verb) -> Option<AccessRequest> {
        for _ in 0..6 {
            let verb = verb.clone();
            let replica = self.replica();
            let said =
                replica.call(|engine| async move { engine.handle(&via(who), request, verb).await });
            match said.await {
                Some(Ok(request)) => return Some(request),
                Some(Err(EngineError::Refused(refusal))) => {
                    self.world.counts.add(format!("refused {}", refusal.code()));
                    return None;
                }
                Some(Err(EngineError::Failed(_))) | None => self.pause(2_000).await,
            }
        }
        None
    }

    fn approve(&self, request: &AccessRequest) -> Verb {
        let secs = u64::from(request.ttl.as_secs());
        let shorter = (self.below(4) == 0).then(|| Ttl::from_secs(secs / 2 + 1).unwrap());
        Verb::Approve {
            ttl: shorter,
            digest: request.digest().prefix(),
        }
    }

    async fn play(&self, ask: &Ask, request: AccessRequest, fate: Fate) {
        let id = request.id;
        let digest = request.digest().prefix();
        if fate == Fate::LateReply {
            self.world.slow_replies.lock().unwrap().insert(id);
        }
        match fate {
            Fate::Lapses => {
                if self.below(2) == 0 {
                    // One of two approvals is not enough, and is taken back.
                    self.say("bob", id, self.approve(&request)).await;
                    self.say("bob", id, Verb::Retract).await;
                }
                return self.watch(id, Duration::from_secs(330)).await;
            }
            Fate::Denied => {
                self.pause(20_000).await;
                let deny = Verb::Deny {
                    reason: None,
                    digest,
                };
                let (one, two) = (self.approve(&request), deny.clone());
                // A denial races an approval: exactly one of them counts.
                tokio::join!(self.say("bob", id, one), self.say("dora", id, two));
                self.say("dora", id, deny).await;
                return;
            }
            Fate::Withdrawn => {
                self.pause(20_000).await;
                let who = requester(&request);
                tokio::join!(
                    self.say(&who, id, Verb::Withdraw),
                    self.say("bob", id, self.approve(&request)),
                );
            }
            Fate::RevokedPending => {
                self.say("sven", id, Verb::Revoke { reason: None }).await;
                return;
            }
            Fate::Invalidated => {
                self.pause(10_000).await;
                self.world.people.set_active(&request.requester, false);
                self.say("bob", id, self.approve(&request)).await;
                self.pause(10_000).await;
                self.world.people.set_active(&request.requester, true);
                return;
            }
            Fate::ApproverLeaves => {
                self.say("bob", id, self.approve(&request)).await;
                self.world.people.set_active(&super::id("bob"), false);
                tokio::time::sleep(Duration::from_secs(1)).await;
                self.say("dora", id, self.approve(&request)).await;
                self.pause(15_000).await;
                self.world.people.set_active(&super::id("bob"), true);
                self.say("eve", id, self.approve(&request)).await;
            }
            Fate::Extended => {
                self.approve_twice(&request).await;
                if self.reaches(id, &[Status::Active]).await {
                    self.pause(10_000).await;
                    self.again(ask, ask.secs * 2).await;
                }
            }
            Fate::Resumed => {
                self.approve_twice(&request).await;
                self.reaches(id, &[Status::Provisioning, Status::Active])
                    .await;
                self.pause(4_000).await;
                self.say(&requester(&request), id, Verb::End).await;
                self.reaches(id, &[Status::Settling]).await;
                let secs = if self.below(2) == 0 { 15 } else { 200 };
                self.again(ask, secs).await;
            }
            Fate::EndsInFlight => {
                self.approve_twice(&request).await;
                self.reaches(id, &[Status::Provisioning]).await;
                self.pause(3_000).await;
                self.say(&requester(&request), id, Verb::End).await;
            }
            Fate::Alias => {
                self.approve_twice(&request).await;
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
                tokio::join!(self.approve_twice(&twin), self.approve_twice(&request));
                self.watch(twin.id, Duration::from_secs(60)).await;
                self.say("sven", twin.id, Verb::Revoke { reason: None })
                    .await;
            }
            Fate::Outage => {
                if self.world.plan.mood == Mood::Hostile {
                    let until = tokio_now(&self.world) + Duration::from_secs(45);
                    self.world.standing.outage_until(until);
                }
                self.approve_twice(&request).await;
            }
            Fate::PolicyPending => {
                self.change_policy().await;
                self.pause(9_000).await;
                self.approve_twice(&request).await;
            }
            Fate::PolicyApproved => {
                self.approve_twice(&request).await;
                self.change_policy().await;
            }
            Fate::Expires
            | Fate::Ends
            | Fate::Revoked
            | Fate::LateReply
            | Fate::LeavesApproved
            | Fate::CancelledAtOnce => self.decide(&request).await,
        }
        if fate == Fate::CancelledAtOnce {
            let security = self.below(2) == 0;
            let (who, verb) = if security {
                ("sven".to_owned(), Verb::Revoke { reason: None })
            } else {
                (requester(&request), Verb::End)
            };
            self.say(&who, id, verb).await;
        }
        if fate == Fate::LeavesApproved {
            self.world.people.set_active(&request.requester, false);
            tokio::time::sleep(Duration::from_secs(8 + self.below(20))).await;
            self.world.people.set_active(&request.requester, true);
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
            Fate::LateReply => {
                tokio::time::sleep(Duration::from_secs(3)).await;
                self.say(&requester(&request), id, Verb::End).await;
                if self.below(6) == 0 && self.reaches(id, &[Status::Settling]).await {
                    // Somebody has the slot by the time that the reply comes.
                    self.again(ask, 200).await;
                }
            }
            Fate::Revoked => {
                self.pause(120_000).await;
                self.say("sven", id, Verb::Revoke { reason: None }).await;
            }
            _ => {}
        }
        self.watch(id, Duration::from_secs(900)).await;
    }

    /// Three people approve, in any order, sometimes two at the same instant.
    async fn decide(&self, request: &AccessRequest) {
        let id = request.id;
        self.pause(20_000).await;
        let first = self.pick(&["bob", "dora", "eve"]);
        let second = if first == "dora" { "eve" } else { "dora" };
        if self.below(2) == 0 {
            tokio::join!(
                self.say(first, id, self.approve(request)),
                self.say(second, id, self.approve(request)),
            );
        } else {
            self.say(first, id, self.approve(request)).await;
            self.pause(5_000).await;
            self.say(second, id, self.approve(request)).await;
        }
    }

    /// The asker polls; sometimes two of their processes do at once.
    async fn collect(&self, id: RequestId, who: &str) {
        let once = async || {
            for _ in 0..10 {
                let replica = self.replica();
                let collected =
                    replica.call(|engine| async move { engine.collect(&via(who), id).await });
                match collected.await {
                    Some(Ok(collected)) => {
                        self.world.counts.add("collected");
                        let secret = collected.secret.expose().to_owned();
                        self.world.secrets.lock().unwrap().push((id, secret));
                        return;
                    }
                    Some(Err(EngineError::Refused(refusal))) => {
                        self.world.counts.add(format!("refused {}", refusal.code()));
                        return;
                    }
                    Some(Err(EngineError::Failed(_))) | None => self.pause(4_000).await,
                }
            }
        };
        self.pause(4_000).await;
        if self.below(3) == 0 {
            tokio::join!(once(), once());
        } else {
            once().await;
        }
    }

    /// Stays until the request is over or this time has passed.
    async fn watch(&self, id: RequestId, longest: Duration) {
        let mut waited = Duration::ZERO;
        while waited < longest {
            tokio::time::sleep(Duration::from_secs(10)).await;
            waited += Duration::from_secs(10);
            let record = self.world.store.memory.load(id).await.unwrap();
            if record.is_none_or(|record| record.status().is_over()) {
                return;
            }
        }
    }
}

fn requester(request: &AccessRequest) -> String {
    request
        .requester
        .as_str()
        .trim_end_matches("@example.com")
        .to_owned()
}
