//! C6, D8: whose manager somebody is, and what it is worth where it cannot be found out or was
//! otherwise lately.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jit_core::Refusal;
use jit_core::engine::{ClockTrust, Engine, EngineError, EngineParts, Extent, Verb};
use jit_core::policy::{Effect, Policy, Right, Rule};
use jit_core::ports::{Directory, ErrorKind, PortError, Query};
use jit_core::principal::{GroupName, PrincipalId, Profile};
use jit_core::request::{RequestId, Status};
use jit_testkit::stage::{People, Stage, catalog, id, rule, secs, tier, via};
use jit_testkit::time::{ManualClock, SeededRandom};

/// The people of the stage, and who asked about whom.
struct Watched {
    people: Arc<People>,
    clock: Arc<ManualClock>,
    /// What was known lately; the truth where unset.
    lately: Mutex<Option<BTreeMap<PrincipalId, Profile>>>,
    /// Whoever asks about these waits for three seconds and hears nothing.
    away: Mutex<BTreeSet<PrincipalId>>,
    /// About whom somebody asked.
    asked: Mutex<Vec<PrincipalId>>,
    /// How many groups were listed.
    listed: Mutex<usize>,
    /// How many questions are open, and how many were at most.
    open: Mutex<(usize, usize)>,
}

impl Watched {
    async fn answer(
        &self,
        id: &PrincipalId,
        known: Option<Profile>,
    ) -> Result<Option<Profile>, PortError> {
        self.asked.lock().unwrap().push(id.clone());
        {
            let mut open = self.open.lock().unwrap();
            open.0 += 1;
            open.1 = open.1.max(open.0);
        }
        tokio::task::yield_now().await;
        self.open.lock().unwrap().0 -= 1;
        if self.away.lock().unwrap().contains(id) {
            self.clock.advance(secs(3));
            let kind = ErrorKind::Unavailable;
            return Err(PortError::nothing_done("watched", "look up", kind));
        }
        Ok(known)
    }

    fn is_away(&self, name: &str) {
        self.away.lock().unwrap().insert(id(name));
    }

    /// From now on whoever only looks sees what is so now.
    fn stands_still(&self) {
        let now = self.people.profiles.lock().unwrap().clone();
        *self.lately.lock().unwrap() = Some(now);
    }

    /// About whom somebody asked since this was last called.
    fn asked(&self) -> Vec<PrincipalId> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

#[async_trait]
impl Directory for Watched {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        let known = self.people.profile(id).await?;
        self.answer(id, known).await
    }

    async fn profile_lately(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        let lately = self.lately.lock().unwrap().clone();
        let known = match lately {
            Some(lately) => lately.get(id).cloned(),
            None => self.people.profile(id).await?,
        };
        self.answer(id, known).await
    }

    async fn members(&self, group: &GroupName) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        *self.listed.lock().unwrap() += 1;
        self.people.members(group).await
    }
}

/// Where each of these has that manager, under such rules; one approval is needed.
fn stage(managers: &[(&str, &str)], rules: Vec<Rule>) -> (Stage, Arc<Watched>) {
    with(1, managers, rules)
}

fn with(approvals: u8, managers: &[(&str, &str)], rules: Vec<Rule>) -> (Stage, Arc<Watched>) {
    let stage = Stage::new();
    for (of, manager) in managers {
        is_managed_by(&stage, of, manager);
    }
    let watched = Arc::new(Watched {
        people: stage.people.clone(),
        clock: stage.clock.clone(),
        lately: Mutex::default(),
        away: Mutex::default(),
        asked: Mutex::default(),
        listed: Mutex::default(),
        open: Mutex::default(),
    });
    let provisioner = Arc::new(stage.provider.as_seen_by(stage.clock.clone()));
    let parts = EngineParts {
        store: stage.store.clone(),
        directory: watched.clone(),
        provisioners: BTreeMap::from([("stage".parse().unwrap(), provisioner as _)]),
        notifiers: vec![],
        pager: stage.pager.clone(),
        clock: stage.clock.clone(),
        random: Arc::new(SeededRandom::new(5)),
        policy: Policy::new(vec![tier("tier", approvals)], rules).unwrap(),
        catalog: catalog("tier"),
    };
    let engine = Arc::new(Engine::new(parts, ClockTrust::Compared).unwrap());
    (Stage { engine, ..stage }, watched)
}

fn is_managed_by(stage: &Stage, of: &str, manager: &str) {
    let mut profiles = stage.people.profiles.lock().unwrap();
    profiles.get_mut(&id(of)).unwrap().manager = Some(id(manager));
}

/// Facts of no request: among them refused authority.
fn noted(stage: &Stage) -> usize {
    let chains = stage.store.all_chains();
    chains.get("system").map_or(0, Vec::len)
}

fn all() -> Query {
    Query {
        limit: 1_000,
        ..Query::default()
    }
}

// ------------------------------------------------------------------------------------ revoking

fn revoke() -> Verb {
    Verb::Revoke { reason: None }
}

/// The approvers may look, security revokes, and the rest is for `more` to say.
fn revoking(more: Rule) -> Vec<Rule> {
    vec![
        rule("group:askers", &[Right::Request]),
        rule("group:approvers", &[Right::Approve]),
        rule("group:security", &[Right::Revoke]),
        more,
    ]
}

#[tokio::test]
async fn c6_the_manager_of_whoever_it_is_for_revokes_where_a_rule_says_so() {
    let rules = revoking(rule("manager", &[Right::Revoke]));
    let (stage, watched) = stage(&[("ana", "bob")], rules);
    let request = stage.active("30m").await;
    let refused = stage.refused("dora", request.id, revoke()).await;
    assert!(matches!(refused, Refusal::NotAllowed { .. }), "{refused:?}");
    assert_eq!(noted(&stage), 1);

    // He may be the manager, and is told so and not refused.
    watched.is_away("ana");
    let refused = stage.refused("bob", request.id, revoke()).await;
    assert_eq!(refused, Refusal::CannotTell);
    assert_eq!(noted(&stage), 1);
    watched.away.lock().unwrap().clear();
    let revoked = stage.say("bob", request.id, revoke()).await.unwrap();
    assert_eq!(revoked.status(), Status::Revoking);
}

#[tokio::test]
async fn c6_a_manager_who_revokes_at_other_hours_is_told_so() {
    let rules = revoking(Rule {
        hours: Some("mon-sun 09:00-17:00 UTC".parse().unwrap()),
        ..rule("manager", &[Right::Revoke])
    });
    // The stage begins at midnight.
    let (stage, _) = stage(&[("ana", "bob")], rules);
    let request = stage.open("ana", "30m").await;
    let refused = stage.refused("bob", request.id, revoke()).await;
    assert!(matches!(refused, Refusal::NotNow { .. }), "{refused:?}");
    let refused = stage.refused("dora", request.id, revoke()).await;
    assert!(matches!(refused, Refusal::NotAllowed { .. }), "{refused:?}");
}

#[tokio::test]
async fn c6_whoever_revokes_by_another_right_waits_for_nobody_to_be_looked_up() {
    let rules = revoking(rule("manager", &[Right::Revoke]));
    let (stage, watched) = stage(&[("ana", "bob")], rules);
    let request = stage.active("30m").await;
    watched.is_away("ana");
    watched.asked();
    let revoked = stage.say("sven", request.id, revoke()).await.unwrap();
    assert_eq!(revoked.status(), Status::Revoking);
    assert_eq!(watched.asked(), [id("sven")]);
}

#[tokio::test]
async fn c6_a_manager_who_is_kept_out_revokes_nothing_and_access_is_taken_away_while_nobody_knows()
{
    let denied = Rule {
        effect: Effect::Deny,
        ..rule("manager", &[Right::Revoke])
    };
    let (stage, watched) = stage(&[("ana", "sven")], revoking(denied));
    let request = stage.active("30m").await;
    let refused = stage.refused("sven", request.id, revoke()).await;
    assert!(matches!(refused, Refusal::NotAllowed { .. }), "{refused:?}");
    watched.is_away("ana");
    let revoked = stage.say("sven", request.id, revoke()).await.unwrap();
    assert_eq!(revoked.status(), Status::Revoking);
}

// ------------------------------------------------------------------------------------- opening

#[tokio::test]
async fn c6_nobody_is_left_to_decide_where_whoever_was_there_lately_has_left() {
    let rules = vec![
        rule("group:askers", &[Right::Request]),
        rule("bob@example.com", &[Right::Approve]),
    ];
    let (stage, watched) = stage(&[], rules);
    watched.stands_still();
    stage.leaves("bob");
    let asked = stage.engine.open(&via("ana"), stage.ask("30m")).await;
    assert!(
        matches!(
            asked,
            Err(EngineError::Refused(Refusal::NobodyEligible { .. }))
        ),
        "{asked:?}"
    );
    // That he has left cannot be told.
    watched.is_away("bob");
    stage.open("ana", "30m").await;
}

#[tokio::test]
async fn c6_where_everybody_may_decide_or_nobody_has_to_no_group_is_listed() {
    let mut rules = vec![
        rule("group:askers", &[Right::Request]),
        rule("group:approvers", &[Right::Approve]),
    ];
    let (automatic, watched) = with(0, &[], rules.clone());
    automatic.open("ana", "30m").await;
    assert_eq!(*watched.listed.lock().unwrap(), 0);
    rules.push(rule("*", &[Right::Approve]));
    let (open, watched) = stage(&[], rules);
    open.open("ana", "30m").await;
    assert_eq!(*watched.listed.lock().unwrap(), 0);
}

// ------------------------------------------------------------------------------------- reading

fn managed() -> Vec<Rule> {
    vec![
        rule("group:askers", &[Right::Request]),
        rule("manager", &[Right::Approve]),
        rule("group:security", &[Right::Audit]),
    ]
}

#[tokio::test]
async fn d8_whoever_became_the_manager_a_moment_ago_decides_and_reads() {
    let (stage, watched) = stage(&[("ana", "dora")], managed());
    watched.stands_still();
    is_managed_by(&stage, "ana", "bob");
    let request = stage.open("ana", "30m").await;
    assert!(stage.engine.read(&via("bob"), request.id).await.is_ok());
    let approved = stage.approve("bob", &request).await;
    assert_eq!(approved.status(), Status::Approved);
    assert_eq!(noted(&stage), 0, "nobody lacked a right");
}

#[tokio::test]
async fn c6_whoever_may_read_everything_waits_for_nobody_to_be_looked_up() {
    let (stage, watched) = stage(&[("ana", "bob"), ("cleo", "bob")], managed());
    for name in ["ana", "cleo"] {
        stage.open(name, "30m").await;
    }
    watched.asked();
    let listed = stage.engine.list(&via("sven"), all()).await.unwrap();
    assert_eq!((listed.requests.len(), listed.extent), (2, Extent::Whole));
    assert_eq!(watched.asked(), [id("sven")]);
}

#[tokio::test]
async fn c6_a_list_is_shown_although_somebody_in_it_cannot_be_looked_up() {
    let (stage, watched) = stage(&[("ana", "bob"), ("cleo", "bob")], managed());
    let request = stage.open("ana", "30m").await;
    stage.open("cleo", "30m").await;
    watched.is_away("cleo");
    let listed = stage.engine.list(&via("bob"), all()).await.unwrap();
    let waiting = stage.engine.awaiting(&via("bob"), 10).await.unwrap();
    for listed in [listed, waiting.unwrap()] {
        let shown: Vec<RequestId> = listed.requests.iter().map(|it| it.id).collect();
        assert_eq!(
            (shown, listed.extent),
            (vec![request.id], Extent::PerhapsMore)
        );
    }
}

#[tokio::test]
async fn c6_for_a_list_eight_people_are_looked_up_at_once_and_no_more_after_eight_failures() {
    let (stage, watched) = stage(&[("ana", "bob")], managed());
    let names: Vec<String> = (0..30).map(|number| format!("person-{number}")).collect();
    for name in &names {
        let person = Profile {
            id: id(name),
            ..stage.people.profiles.lock().unwrap()[&id("ana")].clone()
        };
        let mut profiles = stage.people.profiles.lock().unwrap();
        profiles.insert(person.id.clone(), person);
    }
    for name in &names {
        stage.open(name, "30m").await;
    }
    *watched.open.lock().unwrap() = (0, 0);
    let listed = stage.engine.list(&via("bob"), all()).await.unwrap();
    assert_eq!((listed.requests.len(), listed.extent), (30, Extent::Whole));
    assert_eq!(watched.open.lock().unwrap().1, 8);

    names.iter().for_each(|name| watched.is_away(name));
    watched.asked();
    let listed = stage.engine.list(&via("bob"), all()).await.unwrap();
    let found = (listed.requests.len(), listed.extent);
    assert_eq!(found, (0, Extent::PerhapsMore));
    let asked = watched.asked().len();
    assert!(asked <= 17, "{asked} were asked about");
}
