//! Credentials that are made elsewhere where their provider says that it did not make them, and
//! services that ask for themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use jit_core::Refusal;
use jit_core::audit::Fact;
use jit_core::catalog::{Catalog, Entitlement};
use jit_core::engine::{
    BadParts, ClockTrust, Collected, Engine, EngineError, EngineParts, Verb, verify_audit,
};
use jit_core::policy::{Effect, Policy, Right, Rule};
use jit_core::ports::{Provisioner, RequestStore};
use jit_core::principal::{PrincipalKind, Profile};
use jit_core::request::{AccessRequest, RequestId, Status};
use jit_testkit::hostile::{Fault, HostileProvider, Operation};
use jit_testkit::stage::{Stage, catalog, id, minted, rule, rules, secs, standing, tier, via};
use jit_testkit::time::SeededRandom;

/// A stage whose `stage/admins` falls back to `spare/admins`.
struct Spared {
    stage: Stage,
    spare: HostileProvider,
}

fn entry(id: &str, fallback: Option<&str>) -> Entitlement {
    let known = catalog("tier");
    let entry = known.get(&"stage/admins".parse().unwrap()).unwrap();
    Entitlement {
        id: id.parse().unwrap(),
        fallback: fallback.map(|id| id.parse().unwrap()),
        ..entry.into_owned()
    }
}

fn parts_of(stage: &Stage, spare: &HostileProvider, catalog: Catalog) -> EngineParts {
    parts_under(stage, spare, catalog, rules())
}

fn parts_under(
    stage: &Stage,
    spare: &HostileProvider,
    catalog: Catalog,
    rules: Vec<Rule>,
) -> EngineParts {
    let seen = |it: &HostileProvider| -> Arc<dyn Provisioner> {
        Arc::new(it.as_seen_by(stage.clock.clone()))
    };
    EngineParts {
        store: stage.store.clone(),
        directory: stage.people.clone(),
        provisioners: BTreeMap::from([
            ("stage".parse().unwrap(), seen(&stage.provider)),
            ("spare".parse().unwrap(), seen(spare)),
        ]),
        notifiers: vec![],
        pager: stage.pager.clone(),
        clock: stage.clock.clone(),
        random: Arc::new(SeededRandom::new(9)),
        policy: Policy::new(vec![tier("tier", 1)], rules).unwrap(),
        catalog,
    }
}

/// What falls back, and to what.
fn both() -> Catalog {
    let entries = [
        entry("stage/admins", Some("spare/admins")),
        entry("spare/admins", None),
    ];
    entries.into_iter().collect()
}

/// A rule that takes these rights over what is fallen back to.
fn denies(who: &str, rights: &[Right]) -> Rule {
    Rule {
        effect: Effect::Deny,
        entitlements: vec!["spare/*".parse().unwrap()],
        ..rule(who, rights)
    }
}

impl Spared {
    /// The same service under other rules.
    fn under(self, rules: Vec<Rule>) -> Self {
        let parts = parts_under(&self.stage, &self.spare, both(), rules);
        let engine = Arc::new(Engine::new(parts, ClockTrust::Compared).unwrap());
        let stage = Stage {
            engine,
            ..self.stage
        };
        Self { stage, ..self }
    }

    fn new() -> Self {
        let stage = Stage::with(minted(), 1);
        let mut nature = minted();
        nature.realm = "spare".to_owned();
        let random = Arc::new(SeededRandom::new(8));
        let spare =
            HostileProvider::new(nature, stage.clock.clone(), random).named("admins", "admins");
        let parts = parts_of(&stage, &spare, both());
        let engine = Arc::new(Engine::new(parts, ClockTrust::Compared).unwrap());
        let stage = Stage { engine, ..stage };
        Self { stage, spare }
    }

    async fn approved(&self) -> AccessRequest {
        let request = self.stage.open("ana", "10m").await;
        self.stage.approve("bob", &request).await
    }

    async fn collect(&self, id: RequestId) -> Result<Collected, EngineError> {
        self.stage.engine.collect(&via("ana"), id).await
    }

    async fn facts(&self, id: RequestId) -> Vec<Fact> {
        let (_, events) = self.stage.store.story(id).await.unwrap().unwrap();
        events
            .into_iter()
            .map(|it| it.event().unwrap().event.what)
            .collect()
    }
}

#[tokio::test]
async fn what_could_not_be_made_is_made_where_it_falls_back_to_and_ends_there() {
    let it = Spared::new();
    let request = it.approved().await;
    it.stage.provider.fail_next_write(Fault::ErrorBefore);
    let collected = it.collect(request.id).await.unwrap();
    assert!(it.spare.ledger().works(collected.secret.expose()));
    assert!(it.stage.provider.ledger().minted(request.id).is_empty());
    let record = it.stage.load(request.id).await;
    assert_eq!(record.status(), Status::Active);
    assert_eq!(record.place().entitlement.to_string(), "spare/admins");
    let to = "spare/admins".parse().unwrap();
    assert!(it.facts(request.id).await.contains(&Fact::FellBack { to }));
    it.stage.pass(660).await;
    assert!(!it.spare.ledger().works(collected.secret.expose()));
    assert_eq!(it.stage.status(request.id).await, Status::Closed);
}

#[tokio::test]
async fn what_may_have_been_made_is_made_nowhere_else() {
    let it = Spared::new();
    let request = it.approved().await;
    it.stage.provider.fail_next_write(Fault::LostReply);
    it.collect(request.id).await.unwrap_err();
    let again = it.collect(request.id).await;
    assert!(
        matches!(again, Err(EngineError::Refused(Refusal::AlreadyCollected))),
        "{again:?}"
    );
    assert!(it.spare.ledger().minted(request.id).is_empty());
    it.stage.pass(900).await;
    let now = it.stage.now();
    let lost = it.stage.provider.ledger().minted(request.id);
    assert!(lost.iter().all(|interval| !interval.covers(now)));
    assert_eq!(it.stage.status(request.id).await, Status::Closed);
}

#[tokio::test]
async fn what_fell_back_stays_there_and_may_be_tried_again() {
    let it = Spared::new();
    let request = it.approved().await;
    it.stage.provider.fail_next_write(Fault::ErrorBefore);
    it.spare.fail_next_write(Fault::ErrorBefore);
    it.collect(request.id).await.unwrap_err();
    let collected = it.collect(request.id).await.unwrap();
    assert!(it.spare.ledger().works(collected.secret.expose()));
    assert!(it.stage.provider.ledger().minted(request.id).is_empty());
}

#[tokio::test]
async fn what_works_does_not_fall_back() {
    let it = Spared::new();
    let request = it.approved().await;
    let collected = it.collect(request.id).await.unwrap();
    assert!(it.stage.provider.ledger().works(collected.secret.expose()));
    assert!(!it.stage.load(request.id).await.grant().unwrap().fell_back);
}

#[tokio::test]
async fn s12_the_fallback_is_part_of_what_is_approved() {
    let it = Spared::new();
    let request = it.stage.open("ana", "10m").await;
    let mut parts: Vec<_> = request.parts.iter().cloned().collect();
    parts[0].fallback = None;
    let without = AccessRequest {
        parts: parts.clone().try_into().unwrap(),
        ..request.clone()
    };
    assert_ne!(request.digest(), without.digest());
}

#[tokio::test]
async fn s6_no_fallback_lives_on_longer_than_the_tier_allows() {
    let it = Spared::new();
    let mut nature = minted();
    nature.description.residual = secs(61);
    let random = Arc::new(SeededRandom::new(8));
    let longer = HostileProvider::new(nature, it.stage.clock.clone(), random);
    let longer = longer.named("admins", "admins");
    let parts = parts_of(&it.stage, &longer, both());
    let engine = Engine::new(parts, ClockTrust::Compared).unwrap();
    let refused = engine.open(&via("ana"), it.stage.ask("10m")).await;
    assert!(
        matches!(
            refused,
            Err(EngineError::Refused(Refusal::ResidualAboveCeiling { residual, .. }))
                if residual == secs(61)
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_fallback_that_could_never_be_given_is_refused_at_the_start() {
    let it = Spared::new();
    let bad = |spare: &HostileProvider, entries: Vec<Entitlement>| {
        let parts = parts_of(&it.stage, spare, entries.into_iter().collect());
        let made = Engine::new(parts, ClockTrust::Compared);
        matches!(made, Err(BadParts::Fallback { .. }))
    };
    let other_tier = Entitlement {
        tier: "higher".parse().unwrap(),
        ..entry("spare/admins", None)
    };
    let falls = || entry("stage/admins", Some("spare/admins"));
    assert!(bad(&it.spare, vec![falls()]), "it leads nowhere");
    assert!(bad(&it.spare, vec![falls(), other_tier]));
    let chain = entry("spare/admins", Some("stage/admins"));
    assert!(bad(&it.spare, vec![falls(), chain]));
    let random = Arc::new(SeededRandom::new(8));
    let stands = HostileProvider::new(standing(0, 0), it.stage.clock.clone(), random);
    assert!(bad(&stands, vec![falls(), entry("spare/admins", None)]));
    assert!(!bad(&it.spare, vec![falls(), entry("spare/admins", None)]));
}

#[tokio::test]
async fn s9_nobody_gets_by_a_failure_what_they_may_not_ask_for() {
    let mut denied = rules();
    denied.push(denies("ana@example.com", &[Right::Request]));
    let it = Spared::new().under(denied.clone());
    let refused = it.stage.engine.open(&via("ana"), it.stage.ask("10m")).await;
    assert!(
        matches!(
            refused,
            Err(EngineError::Refused(Refusal::NotAllowed { .. }))
        ),
        "{refused:?}"
    );
    // The right was there when it was approved, and is not when it is collected.
    let it = Spared::new();
    let request = it.approved().await;
    let it = it.under(denied);
    it.stage.provider.fail_next_write(Fault::ErrorBefore);
    it.collect(request.id).await.unwrap_err();
    assert_eq!(it.stage.status(request.id).await, Status::Cancelled);
    assert!(it.spare.ledger().minted(request.id).is_empty());
}

#[tokio::test]
async fn s9_whoever_approves_may_decide_over_both() {
    let mut denied = rules();
    denied.push(denies("bob@example.com", &[Right::Approve]));
    let it = Spared::new().under(denied);
    let request = it.stage.open("ana", "10m").await;
    let refused = it
        .stage
        .refused("bob", request.id, Stage::approval(&request))
        .await;
    assert!(matches!(refused, Refusal::NotAllowed { .. }), "{refused:?}");
    it.stage.approve("dora", &request).await;
    it.collect(request.id).await.unwrap();
}

#[tokio::test]
async fn s11_a_right_that_goes_between_the_two_tries_is_gone() {
    let it = Spared::new();
    let request = it.approved().await;
    // Neither is there, so that the turn is made and nothing given.
    it.stage.provider.fail_next_write(Fault::ErrorBefore);
    it.spare.fail_next_write(Fault::ErrorBefore);
    it.collect(request.id).await.unwrap_err();
    let mut denied = rules();
    denied.push(denies("ana@example.com", &[Right::Request]));
    let it = it.under(denied);
    it.collect(request.id).await.unwrap_err();
    assert!(it.spare.ledger().minted(request.id).is_empty());
    it.stage.pass(120).await;
    assert_eq!(it.stage.status(request.id).await, Status::Closed);
}

#[tokio::test]
async fn f1_what_fell_back_is_returned_early_where_it_is_and_its_audit_holds() {
    let it = Spared::new();
    let request = it.approved().await;
    it.stage.provider.fail_next_write(Fault::ErrorBefore);
    let collected = it.collect(request.id).await.unwrap();
    it.stage.say("ana", request.id, Verb::End).await.unwrap();
    it.stage.pass(60).await;
    assert!(!it.spare.ledger().works(collected.secret.expose()));
    assert_eq!(it.stage.status(request.id).await, Status::Closed);
    let calls = it.stage.provider.ledger().calls();
    let deleted = calls.iter().any(|call| call.operation == Operation::Revoke);
    assert!(!deleted, "the first provider has nothing to take back");
    let report = verify_audit(it.stage.store.as_ref()).await.unwrap();
    assert!(report.problems.is_empty(), "{report:?}");
}

// ------------------------------------------------------------------------------------ services

fn with_service(stage: Stage, rights: &[Right]) -> Stage {
    let name = id("svc:prometheus");
    let profile = Profile {
        id: name.clone(),
        kind: PrincipalKind::Service,
        active: true,
        groups: Default::default(),
        groups_unknown: Default::default(),
        manager: None,
        subjects: BTreeMap::new(),
    };
    let mut people = stage.people.profiles.lock().unwrap();
    people.insert(name, profile);
    drop(people);
    let mut rules = rules();
    rules.push(rule("svc:prometheus", rights));
    rules.push(rule("*", &[Right::OnBehalfOf]));
    stage.under(1, rules)
}

#[tokio::test]
async fn s9_a_service_asks_for_itself_and_decides_nothing() {
    let stage = Stage::with(minted(), 1);
    let every = [Right::Request, Right::Approve, Right::OnBehalfOf];
    let stage = with_service(stage, &every);
    let request = stage.open("svc:prometheus", "10m").await;
    assert_eq!(request.requester, request.beneficiary);
    let own = stage
        .refused("svc:prometheus", request.id, Stage::approval(&request))
        .await;
    assert_ne!(own.code(), "already_decided");
    let anas = stage.open("ana", "10m").await;
    let refused = stage
        .refused("svc:prometheus", anas.id, Stage::approval(&anas))
        .await;
    assert!(
        matches!(
            refused,
            Refusal::UnknownRequest | Refusal::NotAllowed { .. }
        ),
        "{refused:?}"
    );
    stage.approve("bob", &request).await;
    let asker = via("svc:prometheus");
    let collected = stage.engine.collect(&asker, request.id).await.unwrap();
    assert!(stage.provider.ledger().works(collected.secret.expose()));
}

#[tokio::test]
async fn s9_nobody_gets_access_through_a_service_nor_a_service_through_them() {
    let stage = with_service(Stage::new(), &[Right::Request, Right::OnBehalfOf]);
    let mut ask = stage.ask("10m");
    ask.beneficiary = Some(id("ana"));
    let refused = stage.engine.open(&via("svc:prometheus"), ask).await;
    assert!(
        matches!(
            refused,
            Err(EngineError::Refused(Refusal::NotAllowed { .. }))
        ),
        "{refused:?}"
    );
    let mut ask = stage.ask("10m");
    ask.beneficiary = Some(id("svc:prometheus"));
    let refused = stage.engine.open(&via("sven"), ask).await;
    assert!(
        matches!(
            refused,
            Err(EngineError::Refused(Refusal::BeneficiaryIsProgram { .. }))
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn every_agent_is_no_service_and_every_person_neither() {
    let stage = with_service(Stage::new(), &[Right::Audit]);
    for rights in ["*", "agent:*"] {
        let rules = vec![rule(rights, &[Right::Request])];
        let policy = Policy::new(vec![tier("tier", 1)], rules).unwrap();
        let people = stage.people.profiles.lock().unwrap();
        let service = people.get(&id("svc:prometheus")).unwrap();
        let anywhere = policy.evaluate_anywhere(Right::Request, service, stage.now());
        assert!(!anywhere.allowed, "{rights}");
    }
}
