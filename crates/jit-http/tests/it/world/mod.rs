//! A small world for tests over HTTP: a real engine on a store in memory, a clock set by hand, a
//! directory of a handful of people, a provider of standing access and one of credentials. The
//! tests of the command line stand on it too.

#![allow(dead_code, reason = "each test binary uses a part of the world")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Ttl;
use jit_core::catalog::{Catalog, Entitlement, ParameterRule};
use jit_core::engine::{ClockTrust, Engine, EngineParts};
use jit_core::policy::{Effect, Policy, Quota, Right, Rule, Tier};
use jit_core::ports::{
    Alarm, Clock, Credential, Directory, ErrorKind, GrantCall, InspectCall, Minted, Page, Pager,
    PortError, Provisioner, RequestStore, RevokeCall, Standing,
};
use jit_core::principal::{PrincipalId, PrincipalKind, Profile};
use jit_core::provider::{
    Answer, Description, Handle, Kind, NativeExpiry, Parameters, Presence, Resolved, Target,
};
use jit_http::token::{self, NewToken};
use jit_http::{ApiState, api};
use jit_testkit::sample::start;
use jit_testkit::store::MemoryStore;
use jit_testkit::time::{ManualClock, SeededRandom};
use secrecy::ExposeSecret;

pub(crate) const ADMINS: &str = "groupfile/admins";
pub(crate) const CORE: &str = "groupfile/core";
pub(crate) const QUICK: &str = "groupfile/quick";
pub(crate) const SECRET: &str = "vault/billing";

/// Everything that a test needs to reach.
pub(crate) struct World {
    pub(crate) store: Arc<MemoryStore>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) random: Arc<SeededRandom>,
    pub(crate) people: Arc<People>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) state: ApiState,
}

impl World {
    /// Ana asks, Bob and Carl approve, Rita revokes, Olga audits, Otto operates, Eve may nothing.
    /// `ana.old@example.com` is an alias of Ana, `agent:bot` files requests for her.
    pub(crate) fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        Self::on(store.clone(), store)
    }

    /// The same with another store behind the engine than the one that keeps the tokens.
    pub(crate) fn on(store: Arc<MemoryStore>, behind: Arc<dyn RequestStore>) -> Self {
        let clock = Arc::new(ManualClock::at(start()));
        let random = Arc::new(SeededRandom::new(7));
        let people = Arc::new(People::new());
        let groups = Arc::new(Groups::default());
        let mut provisioners: BTreeMap<_, Arc<dyn Provisioner>> = BTreeMap::new();
        provisioners.insert("groupfile".parse().unwrap(), groups.clone());
        provisioners.insert("vault".parse().unwrap(), Arc::new(Secrets));
        let parts = EngineParts {
            store: behind,
            directory: people.clone(),
            provisioners,
            notifiers: vec![],
            pager: Arc::new(NoPager),
            clock: clock.clone(),
            random: random.clone(),
            policy: policy(),
            catalog: catalog(),
        };
        let engine = Arc::new(Engine::new(parts, ClockTrust::Compared).unwrap());
        let state = ApiState::new(engine.clone(), random.clone());
        Self {
            store,
            clock,
            random,
            people,
            groups,
            engine,
            state,
        }
    }

    pub(crate) fn router(&self) -> axum::Router {
        api(self.state.clone())
    }

    /// The text of a new token.
    pub(crate) async fn token(&self, principal: &str) -> String {
        let ask = NewToken {
            principal: principal.parse().unwrap(),
            label: "test".to_owned(),
            lifetime: None,
        };
        let (store, now) = (self.store.as_ref(), self.clock.now());
        let made = token::new_token(store, self.random.as_ref(), now, ask).await;
        made.unwrap().text.expose_secret().to_owned()
    }

    /// Pays what every record owes, as a worker does.
    pub(crate) async fn tend(&self) {
        for due in self.engine.due(100).await.unwrap() {
            self.engine.tend(due.id).await.unwrap();
        }
    }
}

fn policy() -> Policy {
    let ttl = |text: &str| text.parse::<Ttl>().unwrap();
    let tier = |name: &str, approvals, automatic| Tier {
        name: name.parse().unwrap(),
        ttl_default: ttl("30m"),
        ttl_max: ttl("1h"),
        approvals,
        decision_window: ttl("15m"),
        automatic,
        residual_max_secs: 60,
    };
    let quota = Quota {
        ceiling: 1,
        per: ttl("1d"),
    };
    let rule = |name: &str, rights: &[Right], on: &[&str], who: &[&str]| Rule {
        name: name.to_owned(),
        effect: Effect::Allow,
        rights: rights.iter().copied().collect(),
        entitlements: on.iter().map(|on| on.parse().unwrap()).collect(),
        principals: who.iter().map(|who| who.parse().unwrap()).collect(),
        hours: None,
        after: None,
    };
    let rules = vec![
        rule(
            "engineers ask",
            &[Right::Request],
            &["*"],
            &["group:engineers", "agent:*"],
        ),
        rule(
            "leads approve",
            &[Right::Approve],
            &["groupfile/*", "vault/*"],
            &["group:leads"],
        ),
        rule(
            "rita revokes",
            &[Right::Revoke],
            &["*"],
            &["rita@example.com"],
        ),
        rule(
            "olga audits",
            &[Right::Audit],
            &["*"],
            &["olga@example.com"],
        ),
        rule(
            "otto operates",
            &[Right::Operate],
            &["*"],
            &["otto@example.com"],
        ),
    ];
    let tiers = vec![
        tier("standard", 1, None),
        tier("critical", 2, None),
        tier("automatic", 0, Some(quota)),
    ];
    Policy::new(tiers, rules).unwrap()
}

fn catalog() -> Catalog {
    let entry = |id: &str, tier: &str, parameters| Entitlement {
        id: id.parse().unwrap(),
        resource: id.split_once('/').unwrap().1.to_owned(),
        title: format!("Membership of {id}"),
        how_to_use: format!("log in as usual; {id} is yours"),
        tier: tier.parse().unwrap(),
        parameters,
        display: None,
        template: None,
        allows: String::new(),
        fallback: None,
    };
    let entries = [
        entry(ADMINS, "standard", ParameterRule::Refused),
        entry(CORE, "critical", ParameterRule::Refused),
        entry(QUICK, "automatic", ParameterRule::Refused),
        entry(SECRET, "standard", ParameterRule::Free),
    ];
    entries.into_iter().collect()
}

/// A directory that a test may change.
#[derive(Debug)]
pub(crate) struct People {
    profiles: Mutex<BTreeMap<PrincipalId, Profile>>,
    /// How often anybody was looked up.
    pub(crate) lookups: AtomicUsize,
}

impl People {
    fn new() -> Self {
        let person = |name: &str, groups: &[&str]| Profile {
            id: format!("{name}@example.com").parse().unwrap(),
            kind: PrincipalKind::Person,
            active: true,
            groups: groups.iter().map(|group| group.parse().unwrap()).collect(),
            groups_unknown: Default::default(),
            manager: None,
            subjects: BTreeMap::new(),
        };
        let ana = person("ana", &["engineers", "leads"]);
        let bot = Profile {
            id: "agent:bot".parse().unwrap(),
            kind: PrincipalKind::Agent {
                acts_for: ana.id.clone(),
                caps: Default::default(),
            },
            ..person("bot", &[])
        };
        let mut all = BTreeMap::new();
        all.insert("ana.old@example.com".parse().unwrap(), ana.clone());
        let others = [
            person("dora", &["engineers"]),
            person("bob", &["leads"]),
            person("carl", &["leads"]),
            person("rita", &[]),
            person("olga", &[]),
            person("otto", &[]),
            person("eve", &[]),
            ana,
            bot,
        ];
        all.extend(others.map(|profile| (profile.id.clone(), profile)));
        Self {
            profiles: Mutex::new(all),
            lookups: AtomicUsize::new(0),
        }
    }

    /// Changes what is known of somebody.
    pub(crate) fn change(&self, id: &str, change: impl FnOnce(&mut Profile)) {
        let mut all = self.profiles.lock().unwrap();
        change(all.get_mut(&id.parse().unwrap()).unwrap());
    }

    /// Forgets somebody.
    pub(crate) fn forget(&self, id: &str) {
        self.profiles.lock().unwrap().remove(&id.parse().unwrap());
    }
}

#[async_trait]
impl Directory for People {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        Ok(self.profiles.lock().unwrap().get(id).cloned())
    }
}

/// Groups in memory: standing access that is there at once.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    members: Mutex<BTreeSet<(String, String)>>,
    /// How often any call came.
    pub(crate) calls: AtomicUsize,
    /// What every call fails with, if anything.
    pub(crate) failing: Mutex<Option<ErrorKind>>,
}

impl Groups {
    /// Whether this person is in this group.
    pub(crate) fn has(&self, group: &str, member: &str) -> bool {
        let key = (group.to_owned(), member.to_owned());
        self.members.lock().unwrap().contains(&key)
    }

    fn key(target: &Target) -> (String, String) {
        (target.resource.clone(), target.subject.to_string())
    }

    fn check(&self) -> Result<(), PortError> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let failing = *self.failing.lock().unwrap();
        failing.map_or(Ok(()), |kind| {
            let error = PortError::nothing_done("groupfile", "look", kind);
            Err(error.because("the disk behind /srv/groups is on fire"))
        })
    }
}

fn description(kind: Kind) -> Description {
    Description {
        kind,
        native_expiry: NativeExpiry::None,
        revocable: true,
        pending_visible: true,
        listable: true,
        accepted_within: Duration::ZERO,
        applied_within: Duration::ZERO,
        residual: Duration::ZERO,
    }
}

fn target(realm: &str, beneficiary: &Profile, entitlement: &Entitlement) -> Target {
    Target {
        realm: realm.to_owned(),
        subject: beneficiary.id.as_str().parse().unwrap(),
        resource: entitlement.resource.clone(),
    }
}

#[async_trait]
impl Provisioner for Groups {
    fn describe(&self) -> Description {
        description(Kind::Standing)
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        _: &Parameters,
    ) -> Result<Resolved, PortError> {
        self.check()?;
        Ok(target("groups", beneficiary, entitlement).into())
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        self.check()?;
        self.members.lock().unwrap().insert(Self::key(call.target));
        Ok(Answer::Applied)
    }

    async fn mint(&self, _: GrantCall<'_>) -> Result<Minted, PortError> {
        let kind = ErrorKind::Misconfigured;
        Err(PortError::nothing_done("groupfile", "mint", kind))
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        self.check()?;
        self.members.lock().unwrap().remove(&Self::key(call.target));
        Ok(Answer::Applied)
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        self.check()?;
        let there = self
            .members
            .lock()
            .unwrap()
            .contains(&Self::key(call.target));
        Ok(if there {
            Presence::Present
        } else {
            Presence::Absent
        })
    }

    async fn standing(&self, _: &str, _: Option<&str>) -> Result<Page<Standing>, PortError> {
        Ok(Page {
            items: vec![],
            next: None,
        })
    }
}

/// Makes credentials whose secret names the request.
#[derive(Debug)]
pub(crate) struct Secrets;

#[async_trait]
impl Provisioner for Secrets {
    fn describe(&self) -> Description {
        description(Kind::Minted)
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        _: &Parameters,
    ) -> Result<Resolved, PortError> {
        Ok(target("vault", beneficiary, entitlement).into())
    }

    async fn grant(&self, _: GrantCall<'_>) -> Result<Answer, PortError> {
        let kind = ErrorKind::Misconfigured;
        Err(PortError::nothing_done("vault", "grant", kind))
    }

    async fn mint(&self, call: GrantCall<'_>) -> Result<Minted, PortError> {
        Ok(Minted {
            secret: Credential::new(format!("s3cret-of-{}", call.request)),
            handle: Some(Handle("accessor-1".to_owned())),
            ends_at: Some(call.expires_at),
            notes: BTreeMap::new(),
        })
    }

    async fn revoke(&self, _: RevokeCall<'_>) -> Result<Answer, PortError> {
        Ok(Answer::Applied)
    }

    async fn inspect(&self, _: InspectCall<'_>) -> Result<Presence, PortError> {
        Ok(Presence::Absent)
    }

    async fn standing(&self, _: &str, _: Option<&str>) -> Result<Page<Standing>, PortError> {
        Ok(Page {
            items: vec![],
            next: None,
        })
    }
}

struct NoPager;

#[async_trait]
impl Pager for NoPager {
    async fn page(&self, _: &Alarm) -> Result<(), PortError> {
        Ok(())
    }
}
