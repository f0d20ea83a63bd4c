//! The engine on the in-memory adapters, told the same as the reference: a case's people behind the
//! port of the directory, its policy in the engine's own types, its steps as commands. What comes out
//! is put into the case's words. Nothing is judged here.

mod book;
mod words;

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::audit::Fact;
use jit_core::engine::{ClockTrust, Engine, EngineParts, NewRequest, Verb as Command};
use jit_core::policy::{Case as Over, Finding, Reason, When};
use jit_core::ports::{
    Clock, Commit, CommitError, Delivery, Directory as _, Provisioner, RequestStore,
};
use jit_core::provider::Parameters;
use jit_core::request::{AccessRequest, Approver, RequestId};
use jit_testkit::hostile::memory_standing;
use jit_testkit::sample;
use jit_testkit::stage::{Beeper, id, ttl, via};
use jit_testkit::store::MemoryStore;
use jit_testkit::time::{ManualClock, SeededRandom};

use super::case::{
    Answer, Ask, Case, Happening, LOOK_SECS, Name, Pace, Picture, Policy, Right, SLOW_SECS, State,
    Step, Verb, WORK_SECS,
};
use super::sabotage::Lie;
use crate::sim::tap::{Tap, Tapped};
use book::{Book, short};
use words::{answered, right, rules, state};

// ------------------------------------------------------------------------------------- the store

type Act = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// Lets something happen while a commit that was judged on facts is about to be stored.
struct Gate {
    clock: Arc<ManualClock>,
    armed: Mutex<Option<(Act, Pace)>>,
    lie: Option<Lie>,
}

#[async_trait]
impl Tap for Arc<Gate> {
    async fn commit(
        &self,
        inner: &dyn RequestStore,
        commit: Commit,
    ) -> Result<Vec<Delivery>, CommitError> {
        if let Some(good_for) = commit.good_for {
            let armed = self.armed.lock().unwrap().take();
            if let Some((act, pace)) = armed {
                act().await;
                if pace == Pace::Slow {
                    let waited = Duration::from_secs(SLOW_SECS);
                    self.clock.advance(waited);
                    if waited > good_for && self.lie != Some(Lie::StaleFactsAreFresh) {
                        return Err(CommitError::Conflict);
                    }
                }
            }
        }
        inner.commit(commit).await
    }
}

// ------------------------------------------------------------------------------------ the subject

/// The engine of a case.
pub(crate) struct Subject {
    clock: Arc<ManualClock>,
    random: Arc<SeededRandom>,
    memory: Arc<MemoryStore>,
    store: Arc<dyn RequestStore>,
    gate: Arc<Gate>,
    book: Arc<Book>,
    provisioner: Arc<dyn Provisioner>,
    engine: Mutex<Arc<Engine>>,
    request: Mutex<Option<RequestId>>,
    lie: Option<Lie>,
}

impl Subject {
    pub(crate) fn new(case: &Case, lie: Option<Lie>) -> Arc<Self> {
        let start = sample::start() + Duration::from_secs(case.starts_at);
        let clock = Arc::new(ManualClock::at(start));
        let random = Arc::new(SeededRandom::new(case.seed));
        let memory = Arc::new(MemoryStore::new());
        let gate = Arc::new(Gate {
            clock: clock.clone(),
            armed: Mutex::default(),
            lie,
        });
        let store = Arc::new(Tapped {
            inner: memory.clone(),
            tap: gate.clone(),
        });
        let provider = memory_standing(clock.clone(), random.clone()).named("readers", "readers");
        let book = Arc::new(Book {
            now: Mutex::new(case.directory.clone()),
            at_first: case.directory.clone(),
            lie,
        });
        let provisioner: Arc<dyn Provisioner> = Arc::new(provider.as_seen_by(clock.clone()));
        let parts = Parts {
            clock: &clock,
            random: &random,
            store: &(store.clone() as Arc<dyn RequestStore>),
            book: &book,
            provisioner: &provisioner,
            lie,
        };
        let engine = parts.engine(&case.policy);
        Arc::new(Self {
            engine: Mutex::new(engine),
            clock,
            random,
            memory,
            store,
            gate,
            book,
            provisioner,
            request: Mutex::default(),
            lie,
        })
    }

    fn engine(&self) -> Arc<Engine> {
        self.engine.lock().unwrap().clone()
    }

    pub(crate) async fn open(&self, ask: Ask) -> Answer {
        let new = NewRequest {
            beneficiary: ask.named.map(id),
            parts: vec![(ask.what.parse().unwrap(), Parameters::new())],
            ttl: Some(ttl("1h")),
            reason: "the wiki is down".parse().unwrap(),
            idempotency_key: None,
        };
        let opened = self.engine().open(&via(ask.by), new).await;
        if let Ok(request) = &opened {
            *self.request.lock().unwrap() = Some(request.id);
        }
        answered(opened)
    }

    async fn load(&self) -> Option<AccessRequest> {
        let id = (*self.request.lock().unwrap())?;
        self.memory.load(id).await.unwrap()
    }

    /// How far the request is, as it is stored, and what its audit says of approvals.
    pub(crate) async fn picture(&self) -> Picture {
        let id = *self.request.lock().unwrap();
        let Some(id) = id else {
            return Picture {
                state: State::NotOpened,
                approvals: Default::default(),
                dropped: vec![],
            };
        };
        let (request, events) = self.memory.story(id).await.unwrap().unwrap();
        let approvals = request.approvals.iter().filter_map(|it| match &it.by {
            Approver::Person(by) => Some(short(by)),
            Approver::Automatic => None,
        });
        let dropped = events.iter().filter_map(|sealed| {
            // Most events are something else, and reading them takes most of the time.
            let maybe = sealed.body.contains("approval_dropped");
            let what = maybe.then(|| sealed.event().unwrap().event.what);
            match what {
                Some(Fact::ApprovalDropped { by }) => Some(short(&by)),
                _ => None,
            }
        });
        Picture {
            state: state(&request),
            approvals: approvals.collect(),
            dropped: dropped.collect(),
        }
    }

    async fn say(&self, who: Name, verb: Verb) -> Answer {
        let Some(request) = self.load().await else {
            return Answer::Done;
        };
        let digest = request.digest().prefix();
        let command = match verb {
            Verb::Approve => Command::Approve { ttl: None, digest },
            Verb::ApproveStale => Command::Approve {
                ttl: None,
                digest: digest.chars().rev().collect(),
            },
            Verb::Deny => Command::Deny {
                reason: "not now".parse().unwrap(),
                digest,
            },
            Verb::Retract => Command::Retract,
            Verb::Withdraw => Command::Withdraw,
            Verb::End => Command::End,
            Verb::Revoke => Command::Revoke { reason: None },
        };
        let engine = self.engine();
        answered(engine.handle(&via(who), request.id, command).await)
    }

    async fn tend(&self) {
        if let Some(request) = self.load().await {
            self.engine().tend(request.id).await.unwrap();
        }
    }

    /// Half a minute later. What was given is looked after by [`Step::Look`] alone.
    async fn work(&self) {
        let given = self.load().await;
        if given.is_some_and(|it| state(&it) != State::Active) {
            self.tend().await;
        }
    }

    fn advance(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }

    fn happens(&self, happening: Happening) {
        self.book.now.lock().unwrap().apply(happening);
    }

    fn put_under(&self, policy: &Policy) {
        if self.lie != Some(Lie::PolicyNeverRefreshed) {
            let parts = Parts {
                clock: &self.clock,
                random: &self.random,
                store: &self.store,
                book: &self.book,
                provisioner: &self.provisioner,
                lie: self.lie,
            };
            *self.engine.lock().unwrap() = parts.engine(policy);
        }
    }

    /// One step; two answers where two things happen at once.
    pub(crate) async fn step(self: &Arc<Self>, step: &Step) -> Vec<Answer> {
        match step {
            Step::Race {
                first,
                meanwhile,
                pace,
            } => return self.race(first, meanwhile, *pace).await,
            _ => vec![self.one(step).await],
        }
    }

    async fn one(&self, step: &Step) -> Answer {
        match step {
            Step::Say(who, verb) => return self.say(who, *verb).await,
            Step::People(happening) => self.happens(*happening),
            Step::Policy(policy) => self.put_under(policy),
            Step::WaitMinutes(minutes) => self.advance(minutes * 60),
            Step::Work => {
                self.advance(WORK_SECS);
                self.work().await;
            }
            Step::Look => {
                self.advance(LOOK_SECS);
                self.tend().await;
            }
            Step::Race { .. } => unreachable!("there is no race within a race"),
        }
        Answer::Done
    }

    async fn race(self: &Arc<Self>, first: &Step, meanwhile: &Step, pace: Pace) -> Vec<Answer> {
        let answer = Arc::new(Mutex::new(None));
        let (this, step, told) = (self.clone(), meanwhile.clone(), answer.clone());
        let act: Act = Box::new(move || {
            Box::pin(async move {
                let one = this.one(&step).await;
                *told.lock().unwrap() = Some(one);
            })
        });
        *self.gate.armed.lock().unwrap() = Some((act, pace));
        let one = self.one(first).await;
        // Where nothing was to be stored it happens afterwards.
        let left = self.gate.armed.lock().unwrap().take();
        if let Some((act, _)) = left {
            act().await;
        }
        let other = answer.lock().unwrap().take().expect("it happened");
        vec![one, other]
    }

    /// Whether somebody has a right by the engine's policy, and the rules that say something to it.
    pub(crate) async fn explain(
        &self,
        who: Name,
        asked: Right,
        on: Name,
        of: Name,
        waited: u64,
    ) -> Option<(bool, BTreeSet<String>)> {
        let by = self.book.profile(&id(who)).await.ok()??;
        let beneficiary = self.book.profile(&id(of)).await.ok()?;
        let waited = Duration::from_secs(waited);
        let engine = self.engine();
        let (on, at) = (on.parse().unwrap(), self.now() + waited);
        let over = Over::new(&on, When::At { at, waited }).of(beneficiary.as_ref());
        let verdict = engine.policy().evaluate(right(asked), &by, &over);
        let said = verdict.trace.into_iter().filter_map(|reason| match reason {
            Reason::Rule {
                rule,
                finding: Finding::Allows | Finding::Denies,
            } => Some(rule),
            _ => None,
        });
        Some((verdict.allowed, said.collect()))
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// What an engine of a case is made of.
struct Parts<'a> {
    clock: &'a Arc<ManualClock>,
    random: &'a Arc<SeededRandom>,
    store: &'a Arc<dyn RequestStore>,
    book: &'a Arc<Book>,
    provisioner: &'a Arc<dyn Provisioner>,
    lie: Option<Lie>,
}

impl Parts<'_> {
    fn engine(&self, policy: &Policy) -> Arc<Engine> {
        let mut policy = policy.clone();
        if let Some(lie) = self.lie {
            lie.of_policy(&mut policy);
        }
        let (policy, catalog) = rules(&policy);
        let parts = EngineParts {
            store: self.store.clone(),
            directory: self.book.clone(),
            provisioners: [("wiki".parse().unwrap(), self.provisioner.clone())].into(),
            notifiers: vec![],
            pager: Arc::new(Beeper::default()),
            clock: self.clock.clone(),
            random: self.random.clone(),
            policy,
            catalog,
        };
        Arc::new(Engine::new(parts, ClockTrust::Compared).unwrap())
    }
}
