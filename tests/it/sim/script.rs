//! What people do in the simulation: each lifecycle is asked for, decided, ended or left alone, on
//! whichever replica answers.

mod fates;
mod weather;

use std::sync::Arc;
use std::time::Duration;

use jit_core::Ttl;
use jit_core::engine::{EngineError, NewRequest, Verb};
use jit_core::ports::RequestStore;
use jit_core::principal::{Door, Principal, PrincipalId};
use jit_core::provider::Parameters;
use jit_core::request::{AccessRequest, RequestId, Status};
use jit_testkit::hostile::Fault;

pub(crate) use fates::Fate;
use fates::Slot;
pub(crate) use weather::{clocks, dates, onlooker, outages, upheaval};

use super::people::id;
use super::setting::ttl;
use super::{Mood, Replica, World};

type Replicas = Vec<Arc<Replica>>;

const ASKERS: [&str; 3] = ["ana", "cleo", "finn"];

#[derive(Debug, Clone)]
struct Ask {
    key: String,
    who: &'static str,
    beneficiary: Option<PrincipalId>,
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

    fn pick(&self, names: &[&'static str]) -> &'static str {
        names[usize::try_from(self.below(names.len() as u64)).unwrap()]
    }

    fn replica(&self) -> Arc<Replica> {
        let number = usize::try_from(self.below(self.replicas.len() as u64)).unwrap();
        self.replicas[number].clone()
    }

    /// What the lifecycle of this number asks for.
    fn ask(&self, number: u64, fate: Fate) -> Ask {
        let own = fate.slot() == Slot::OfItsOwn;
        let entitlement = match self.below(10) {
            _ if matches!(fate, Fate::Alias | Fate::OnBehalf) => "st/ops",
            _ if fate == Fate::Orphaned => "st/gone",
            _ if matches!(fate, Fate::ApproverLeaves | Fate::OtherNames) => "st/admins",
            _ if fate == Fate::Lapses => "st/admins",
            _ if matches!(fate, Fate::Expires | Fate::Ends) => "mt/token",
            0..=4 if own => "st/ops",
            0..=4 => "mt/token",
            5..=6 => "st/admins",
            7..=8 => "st/ops",
            _ => "st/auto",
        };
        let secs = match fate {
            Fate::Outage => 15 + self.below(20),
            Fate::Extended | Fate::Resumed | Fate::Robbed => 60 + self.below(120),
            Fate::Orphaned => 40 + self.below(60),
            Fate::Poisoned => 60 + self.below(600),
            _ if self.below(3) == 0 => 15 + self.below(60),
            _ => 60 + self.below(600),
        };
        // Parameters make a slot of their own, so that some grants are alone.
        let mut parameters = Parameters::new();
        if own || self.below(3) == 0 {
            parameters.insert("lifecycle".to_owned(), number.into());
        }
        let (who, beneficiary) = match fate {
            Fate::Agent => ("robot", None),
            Fate::OnBehalf => ("hugo", Some(id("cleo"))),
            Fate::OtherNames => ("gwen", None),
            _ => (self.pick(&ASKERS), None),
        };
        Ask {
            key: number.to_string(),
            who,
            beneficiary,
            entitlement,
            parameters,
            secs,
        }
    }

    async fn open(&self, ask: &Ask) -> Option<AccessRequest> {
        let new = NewRequest {
            beneficiary: ask.beneficiary.clone(),
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
                    self.world
                        .diary
                        .counts
                        .add(format!("refused {}", refusal.code()));
                    return None;
                }
                Some(Err(EngineError::Failed(_))) | None => self.pause(3_000).await,
            }
        }
        None
    }

    /// Waits until the request is in one of these; none where that does not come.
    async fn reaches(&self, id: RequestId, statuses: &[Status]) -> Option<()> {
        for _ in 0..120 {
            let status = self.record(id).await.map(|record| record.status());
            if status.is_none_or(|status| statuses.contains(&status)) {
                return Some(());
            }
            if status.is_some_and(Status::is_over) {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        None
    }

    async fn record(&self, id: RequestId) -> Option<AccessRequest> {
        self.world.store.load(id).await.unwrap()
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
        self.say(self.known_as("eve"), request.id, self.approve(request))
            .await;
        self.say("dora", request.id, self.approve(request)).await;
    }

    /// One of the names of this person.
    fn known_as(&self, who: &'static str) -> &'static str {
        let private = match who {
            "bob" => "bob.private",
            "dora" => "dora.private",
            "eve" => "eve.private",
            _ => who,
        };
        if self.below(3) == 0 { private } else { who }
    }

    /// Every replica takes another policy.
    fn change_policy(&self) {
        let before = *self.world.ttl_max.lock().unwrap();
        let after = if before == ttl("1h") { "50m" } else { "1h" };
        *self.world.ttl_max.lock().unwrap() = ttl(after);
        self.world.configure(&self.replicas);
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
                    self.world
                        .diary
                        .counts
                        .add(format!("refused {}", refusal.code()));
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

    /// Three people approve, in any order, sometimes two at the same instant.
    async fn decide(&self, request: &AccessRequest) {
        let id = request.id;
        self.pause(20_000).await;
        let first = self.pick(&["bob", "dora", "eve"]);
        let second = if first == "dora" { "eve" } else { "dora" };
        if self.below(2) == 0 {
            tokio::join!(
                self.say(self.known_as(first), id, self.approve(request)),
                self.say(self.known_as(second), id, self.approve(request)),
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
                        self.world.diary.counts.add("collected");
                        let secret = collected.secret.expose().to_owned();
                        self.world.secrets.lock().unwrap().push((id, secret));
                        return;
                    }
                    Some(Err(EngineError::Refused(refusal))) => {
                        self.world
                            .diary
                            .counts
                            .add(format!("refused {}", refusal.code()));
                        return;
                    }
                    Some(Err(EngineError::Failed(_))) | None => self.pause(4_000).await,
                }
            }
        };
        self.pause(4_000).await;
        if self.below(2) == 0 {
            // Their service is not there when they come for it.
            self.world.minter.fail_next_write(Fault::ErrorBefore);
        }
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
            let record = self.world.store.load(id).await.unwrap();
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
