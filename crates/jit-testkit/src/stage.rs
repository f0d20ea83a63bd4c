//! A whole service in memory, with a clock set by hand: an engine, three deciders, a requester,
//! and a provider that fails when it is told to.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a fixture that breaks is a test that fails"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::hostile::{Apply, HostileProvider, Nature};
use crate::sample;
use crate::store::MemoryStore;
use crate::time::{ManualClock, SeededRandom};
use async_trait::async_trait;
use jit_core::catalog::{Catalog, Entitlement, Family, ParameterRule};
use jit_core::engine::{ClockTrust, Engine, EngineError, EngineParts, NewRequest, Verb};
use jit_core::policy::{Effect, Exemption, Policy, Quota, Right, Rule, Tier};
use jit_core::ports::{
    Alarm, Clock, Directory, ErrorKind, Pager, PortError, Provisioner, RequestStore,
};
use jit_core::principal::{Door, GroupName, Principal, PrincipalId, PrincipalKind, Profile};
use jit_core::provider::{Description, Kind, Parameters, Target};
use jit_core::request::{AccessRequest, RequestId, Status};
use jit_core::{Refusal, Timestamp, Ttl};

/// A directory that is written by hand.
#[derive(Debug, Default)]
pub struct People {
    /// Everybody, by canonical id.
    pub profiles: Mutex<BTreeMap<PrincipalId, Profile>>,
    /// Other ids of theirs.
    pub aliases: Mutex<BTreeMap<PrincipalId, PrincipalId>>,
    /// Whether no lookup is answered.
    pub is_down: Mutex<bool>,
    /// Each lookup moves this clock on, as a slow directory does.
    pub slow: Mutex<Option<(Arc<ManualClock>, Duration)>>,
}

impl People {
    /// Somebody leaves.
    pub fn leaves(&self, name: &str) {
        let mut profiles = self.profiles.lock().unwrap();
        profiles.get_mut(&id(name)).unwrap().active = false;
    }
}

#[async_trait]
impl Directory for People {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        let canonical = self.aliases.lock().unwrap().get(id).cloned();
        let found = self
            .profiles
            .lock()
            .unwrap()
            .get(canonical.as_ref().unwrap_or(id))
            .cloned();
        if let Some((clock, by)) = &*self.slow.lock().unwrap() {
            clock.advance(*by);
        }
        if *self.is_down.lock().unwrap() {
            let kind = ErrorKind::Unavailable;
            return Err(PortError::nothing_done("people", "look up", kind));
        }
        Ok(found)
    }

    async fn members(&self, group: &GroupName) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        if *self.is_down.lock().unwrap() {
            let kind = ErrorKind::Unavailable;
            return Err(PortError::nothing_done("people", "list a group", kind));
        }
        let profiles = self.profiles.lock().unwrap();
        let members = profiles
            .values()
            .filter(|it| it.active && it.groups.contains(group));
        Ok(Some(members.map(|profile| profile.id.clone()).collect()))
    }
}

/// A pager that keeps what it was told.
#[derive(Debug, Default)]
pub struct Beeper(pub Mutex<Vec<Alarm>>);

#[async_trait]
impl Pager for Beeper {
    async fn page(&self, alarm: &Alarm) -> Result<(), PortError> {
        self.0.lock().unwrap().push(alarm.clone());
        Ok(())
    }
}

/// The service, and everything around it.
#[derive(Debug)]
pub struct Stage {
    /// The one clock, set by hand.
    pub clock: Arc<ManualClock>,
    /// The one store.
    pub store: Arc<MemoryStore>,
    /// `ana` and `cleo` ask; `bob`, `dora` and `eve` approve; `sven` revokes, operates and audits.
    pub people: Arc<People>,
    /// Who was woken up.
    pub pager: Arc<Beeper>,
    /// The provider behind `stage/admins` and `stage/ops`.
    pub provider: HostileProvider,
    /// The service itself.
    pub engine: Arc<Engine>,
}

/// `ana` as `ana@example.com`; a name with a colon as it is.
pub fn id(name: &str) -> PrincipalId {
    let text = if name.contains(':') {
        name.to_owned()
    } else {
        format!("{name}@example.com")
    };
    text.parse().unwrap()
}

/// The caller of that name.
pub fn via(name: &str) -> Principal {
    Principal {
        id: id(name),
        door: Door::Embedded,
    }
}

/// A duration that is right.
pub fn ttl(text: &str) -> Ttl {
    text.parse().unwrap()
}

/// So many seconds.
pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A provider of standing access whose windows are V and A.
pub fn standing(v: u64, a: u64) -> Nature {
    Nature {
        realm: "stage".to_owned(),
        description: Description {
            accepted_within: secs(v),
            applied_within: secs(a),
            pending_visible: true,
            ..sample::standing()
        },
        apply: Apply::AtOnce,
        skew_allowance: Duration::ZERO,
    }
}

/// The same for credentials, which the provider finds by their marker.
pub fn minted() -> Nature {
    let mut nature = standing(0, 0);
    nature.description.kind = Kind::Minted;
    nature
}

/// A tier that needs so many approvals; without any, two an hour are automatic.
pub fn tier(name: &str, approvals: u8) -> Tier {
    Tier {
        name: name.parse().unwrap(),
        ttl_default: ttl("30m"),
        ttl_max: ttl("1h"),
        approvals,
        decision_window: ttl("10m"),
        automatic: (approvals == 0).then_some(Quota {
            ceiling: 2,
            per: ttl("1h"),
        }),
        residual_max_secs: 60,
    }
}

/// A rule that gives these rights over everything.
pub fn rule(who: &str, rights: &[Right]) -> Rule {
    Rule {
        name: who.to_owned(),
        effect: Effect::Allow,
        rights: rights.iter().copied().collect(),
        entitlements: vec!["*".parse().unwrap()],
        principals: vec![who.parse().unwrap()],
        hours: None,
        after: None,
    }
}

/// Who may do what on the stage.
pub fn rules() -> Vec<Rule> {
    vec![
        rule("group:askers", &[Right::Request]),
        rule("agent:*", &[Right::Request]),
        rule("group:approvers", &[Right::Request, Right::Approve]),
        rule(
            "group:security",
            &[
                Right::Revoke,
                Right::OnBehalfOf,
                Right::Operate,
                Right::Audit,
            ],
        ),
    ]
}

/// `stage/admins`, `stage/ops` and the family `stage/team-*` in this tier.
pub fn catalog(tier: &str) -> Catalog {
    ["admins", "ops"]
        .map(|name| Entitlement {
            id: format!("stage/{name}").parse().unwrap(),
            resource: name.to_owned(),
            title: name.to_owned(),
            how_to_use: String::new(),
            tier: tier.parse().unwrap(),
            parameters: ParameterRule::Free,
            display: None,
            template: None,
            allows: String::new(),
            fallback: None,
        })
        .into_iter()
        .collect::<Catalog>()
        .with_families([Family {
            pattern: "stage/team-*".parse().unwrap(),
            title: "A team's group".to_owned(),
            how_to_use: String::new(),
            tier: tier.parse().unwrap(),
        }])
}

impl Stage {
    /// One approval is needed; the provider is friendly.
    #[allow(clippy::new_without_default, reason = "a stage is set up, not assumed")]
    pub fn new() -> Self {
        Self::with(standing(0, 0), 1)
    }

    /// Around such a provider, with so many approvals.
    pub fn with(nature: Nature, approvals: u8) -> Self {
        let clock = Arc::new(ManualClock::at(sample::start()));
        let people = Arc::new(People::default());
        let groups = [
            ("ana", "askers"),
            ("cleo", "askers"),
            ("bob", "approvers"),
            ("dora", "approvers"),
            ("eve", "approvers"),
            ("sven", "security"),
        ];
        for (name, group) in groups {
            people.profiles.lock().unwrap().insert(
                id(name),
                Profile {
                    id: id(name),
                    kind: PrincipalKind::Person,
                    active: true,
                    groups: [group.parse().unwrap()].into(),
                    groups_unknown: Default::default(),
                    manager: None,
                    subjects: BTreeMap::new(),
                },
            );
        }
        let random = Arc::new(SeededRandom::new(7));
        let provider = HostileProvider::new(nature, clock.clone(), random)
            .named("admins", "admins")
            .named("ops", "ops")
            .named("team-a", "team-a");
        let store = Arc::new(MemoryStore::new());
        let pager = Arc::new(Beeper::default());
        let parts = Parts {
            clock: clock.clone(),
            store: store.clone(),
            people: people.clone(),
            pager: pager.clone(),
            provisioner: Arc::new(provider.as_seen_by(clock.clone())),
            approvals,
            rules: rules(),
            exemptions: vec![],
        };
        let engine = parts.engine(1);
        Self {
            clock,
            store,
            people,
            pager,
            provider,
            engine,
        }
    }

    /// Another process on the same store, with its own clock and its own idea of the policy.
    pub fn other(&self, clock: Arc<ManualClock>, approvals: u8) -> Arc<Engine> {
        let parts = Parts {
            clock: clock.clone(),
            store: self.store.clone(),
            people: self.people.clone(),
            pager: self.pager.clone(),
            provisioner: Arc::new(self.provider.as_seen_by(clock)),
            approvals,
            rules: rules(),
            exemptions: vec![],
        };
        parts.engine(2)
    }

    /// The same service around another provisioner.
    pub fn around(self, provisioner: Arc<dyn Provisioner>) -> Self {
        let parts = Parts {
            clock: self.clock.clone(),
            store: self.store.clone(),
            people: self.people.clone(),
            pager: self.pager.clone(),
            provisioner,
            approvals: 1,
            rules: rules(),
            exemptions: vec![],
        };
        Self {
            engine: parts.engine(3),
            ..self
        }
    }

    /// The same service under other rules.
    pub fn under(self, approvals: u8, rules: Vec<Rule>) -> Self {
        let parts = Parts {
            clock: self.clock.clone(),
            store: self.store.clone(),
            people: self.people.clone(),
            pager: self.pager.clone(),
            provisioner: Arc::new(self.provider.as_seen_by(self.clock.clone())),
            approvals,
            rules,
            exemptions: vec![],
        };
        Self {
            engine: parts.engine(4),
            ..self
        }
    }

    /// The same service with this to ask for.
    pub fn offering(self, catalog: Catalog) -> Self {
        let parts = Parts {
            clock: self.clock.clone(),
            store: self.store.clone(),
            people: self.people.clone(),
            pager: self.pager.clone(),
            provisioner: Arc::new(self.provider.as_seen_by(self.clock.clone())),
            approvals: 1,
            rules: rules(),
            exemptions: vec![],
        };
        Self {
            engine: parts.engine_with(catalog, 6),
            ..self
        }
    }

    /// The same service where this is meant to stand without a grant.
    pub fn exempting(self, exemption: Exemption) -> Self {
        let parts = Parts {
            clock: self.clock.clone(),
            store: self.store.clone(),
            people: self.people.clone(),
            pager: self.pager.clone(),
            provisioner: Arc::new(self.provider.as_seen_by(self.clock.clone())),
            approvals: 1,
            rules: rules(),
            exemptions: vec![exemption],
        };
        Self {
            engine: parts.engine(5),
            ..self
        }
    }

    /// An ask for `stage/admins`.
    pub fn ask(&self, duration: &str) -> NewRequest {
        NewRequest {
            beneficiary: None,
            parts: vec![("stage/admins".parse().unwrap(), Parameters::new())],
            ttl: Some(ttl(duration)),
            reason: "the checkout is down".parse().unwrap(),
            idempotency_key: None,
        }
    }

    /// Opens a request for `stage/admins`.
    pub async fn open(&self, who: &str, duration: &str) -> AccessRequest {
        self.engine
            .open(&via(who), self.ask(duration))
            .await
            .unwrap()
    }

    /// Yes to exactly this.
    pub fn approval(request: &AccessRequest) -> Verb {
        Verb::Approve {
            ttl: None,
            digest: request.digest().prefix(),
        }
    }

    /// Says yes.
    pub async fn approve(&self, who: &str, request: &AccessRequest) -> AccessRequest {
        let verb = Self::approval(request);
        self.engine
            .handle(&via(who), request.id, verb)
            .await
            .unwrap()
    }

    /// Says something to a request.
    pub async fn say(
        &self,
        who: &str,
        request: RequestId,
        verb: Verb,
    ) -> Result<AccessRequest, EngineError> {
        self.engine.handle(&via(who), request, verb).await
    }

    /// Says something that must be refused.
    pub async fn refused(&self, who: &str, request: RequestId, verb: Verb) -> Refusal {
        match self.say(who, request, verb).await {
            Err(EngineError::Refused(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// The record as it is.
    pub async fn load(&self, id: RequestId) -> AccessRequest {
        self.store.load(id).await.unwrap().unwrap()
    }

    /// Its status.
    pub async fn status(&self, id: RequestId) -> Status {
        self.load(id).await.status()
    }

    /// Pays everything that is owed now.
    pub async fn work(&self) {
        for due in self.engine.due(100).await.unwrap() {
            self.engine.tend(due.id).await.unwrap();
        }
        self.engine.announce_due(100).await.unwrap();
    }

    /// Lets time pass, a second at a time, and works.
    pub async fn pass(&self, seconds: u64) {
        for _ in 0..seconds {
            self.clock.advance(secs(1));
            self.work().await;
        }
    }

    /// Asked, approved and there.
    pub async fn active(&self, duration: &str) -> AccessRequest {
        let request = self.open("ana", duration).await;
        self.approve("bob", &request).await;
        self.work().await;
        assert_eq!(self.status(request.id).await, Status::Active);
        self.load(request.id).await
    }

    /// What the provider calls it.
    pub fn target(request: &AccessRequest) -> Target {
        request.parts.first().target.clone()
    }

    /// Whether the provider really has it.
    pub fn is_there(&self, request: &AccessRequest) -> bool {
        let part = request.parts.first();
        self.provider
            .ledger()
            .present(&part.target, &part.parameters, self.clock.now())
    }

    /// Somebody leaves.
    pub fn leaves(&self, name: &str) {
        self.people.leaves(name);
    }

    /// What the clock shows.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

struct Parts {
    clock: Arc<ManualClock>,
    store: Arc<MemoryStore>,
    people: Arc<People>,
    pager: Arc<Beeper>,
    provisioner: Arc<dyn Provisioner>,
    approvals: u8,
    rules: Vec<Rule>,
    exemptions: Vec<Exemption>,
}

impl Parts {
    fn engine(self, seed: u64) -> Arc<Engine> {
        self.engine_with(catalog("tier"), seed)
    }

    fn engine_with(self, catalog: Catalog, seed: u64) -> Arc<Engine> {
        let policy = Policy::new(vec![tier("tier", self.approvals)], self.rules);
        let parts = EngineParts {
            store: self.store,
            directory: self.people,
            provisioners: BTreeMap::from([("stage".parse().unwrap(), self.provisioner)]),
            notifiers: vec![],
            pager: self.pager,
            clock: self.clock,
            random: Arc::new(SeededRandom::new(seed)),
            policy: policy.unwrap().with_exemptions(self.exemptions),
            catalog,
        };
        Arc::new(Engine::new(parts, ClockTrust::Compared).unwrap())
    }
}
