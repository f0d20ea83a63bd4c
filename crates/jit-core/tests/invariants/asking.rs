//! What agents may ask for, how much of it, and with which parameters: judged before anybody is
//! asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use jit_core::Refusal;
use jit_core::audit::Fact;
use jit_core::catalog::{Catalog, Entitlement, ParameterRule, ParameterSchema};
use jit_core::engine::{EngineError, NewRequest, Use, Verb};
use jit_core::ports::{Clock, PortError, Provisioner, RequestStore};
use jit_core::principal::{AgentCaps, PrincipalKind, Profile};
use jit_core::provider::{Parameters, Resolved};
use jit_core::request::{AccessRequest, RequestId, Status};
use jit_testkit::front::{Front, Meddle};
use jit_testkit::hostile::HostileHandle;
use jit_testkit::sample;
use jit_testkit::stage::{Stage, catalog, id, ttl, via};
use serde_json::json;

const CAPS: AgentCaps = AgentCaps {
    open: 3,
    per_hour: 6,
    ttl_max: jit_core::Ttl::HOUR,
};

/// `agent:bot`, which acts for `ana`.
fn with_bot(stage: &Stage, caps: AgentCaps) {
    let bot = Profile {
        id: id("agent:bot"),
        kind: PrincipalKind::Agent {
            acts_for: id("ana"),
            caps,
        },
        active: true,
        groups: Default::default(),
        groups_unknown: Default::default(),
        manager: None,
        subjects: Default::default(),
    };
    let mut profiles = stage.people.profiles.lock().unwrap();
    profiles.insert(id("agent:bot"), bot);
}

fn refusal(answer: Result<AccessRequest, EngineError>) -> Refusal {
    match answer {
        Err(EngineError::Refused(refusal)) => refusal,
        other => panic!("it was not refused: {other:?}"),
    }
}

/// What agents ask for at once must not be the same thing twice, or it is held already.
fn ask_number(stage: &Stage, number: usize) -> NewRequest {
    let parameters = json!({"number": number}).as_object().unwrap().clone();
    NewRequest {
        parts: vec![("stage/admins".parse().unwrap(), parameters)],
        ..stage.ask("30m")
    }
}

async fn asks(stage: &Stage, number: usize) -> Result<AccessRequest, EngineError> {
    let ask = ask_number(stage, number);
    stage.engine.open(&via("agent:bot"), ask).await
}

#[tokio::test]
async fn an_agent_has_as_many_requests_at_once_as_its_cap_allows_and_no_more() {
    let stage = Stage::new();
    with_bot(&stage, CAPS);
    let mut open = vec![];
    for number in 0..3 {
        open.push(asks(&stage, number).await.unwrap());
    }
    let refused = refusal(asks(&stage, 3).await);
    assert_eq!(refused, Refusal::TooManyOpen { ceiling: 3 });
    // What is denied is not open any more, and what is granted is.
    stage.approve("bob", &open[0]).await;
    stage.work().await;
    assert_eq!(stage.status(open[0].id).await, Status::Active);
    assert!(asks(&stage, 3).await.is_err());
    let deny = Verb::Deny {
        reason: "not today".parse().unwrap(),
        digest: open[1].digest().to_string(),
    };
    stage.say("bob", open[1].id, deny).await.unwrap();
    assert!(asks(&stage, 3).await.is_ok());
    assert!(asks(&stage, 4).await.is_err());
}

/// Lets everybody else go first.
struct Patient(HostileHandle);

#[async_trait]
impl Meddle for Patient {
    fn behind(&self) -> &dyn Provisioner {
        &self.0
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, PortError> {
        tokio::task::yield_now().await;
        self.0.resolve(beneficiary, entitlement, parameters).await
    }
}

#[tokio::test]
async fn an_agent_that_asks_many_times_at_once_passes_its_cap_in_none_of_them() {
    let stage = Stage::new();
    let patient = Patient(stage.provider.as_seen_by(stage.clock.clone()));
    let stage = stage.around(Arc::new(Front(patient)));
    with_bot(&stage, CAPS);
    let answers = join_all((0..20).map(|number| asks(&stage, number))).await;
    let opened = answers.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(opened, 3, "{answers:?}");
}

#[tokio::test]
async fn f10_ten_thousand_requests_in_a_minute_are_as_many_as_the_cap_allows() {
    let stage = Stage::new();
    with_bot(&stage, CAPS);
    let mut opened = 0;
    for number in 0..10_000 {
        stage.clock.advance(Duration::from_millis(6));
        match asks(&stage, number).await {
            Ok(_) => opened += 1,
            other => assert_eq!(refusal(other), Refusal::TooManyOpen { ceiling: 3 }),
        }
    }
    assert_eq!(opened, 3);
}

#[tokio::test]
async fn an_agent_opens_as_many_requests_in_an_hour_as_its_cap_allows_and_no_more() {
    let stage = Stage::new();
    with_bot(&stage, CAPS);
    for number in 0..6 {
        let request = asks(&stage, number).await.unwrap();
        stage
            .say("agent:bot", request.id, Verb::Withdraw)
            .await
            .unwrap();
    }
    // A provider that was asked could not have answered.
    stage
        .provider
        .outage_until(stage.clock.now() + Duration::from_secs(60));
    let refused = refusal(asks(&stage, 6).await);
    assert_eq!(refused, Refusal::TooManyRequests { ceiling: 6 });
    stage.pass(61).await;
    // A person is not held to the caps of the agent that acts for them.
    for _ in 0..7 {
        let request = stage.open("ana", "30m").await;
        stage.say("ana", request.id, Verb::Withdraw).await.unwrap();
    }
    stage.pass(3_600).await;
    assert!(asks(&stage, 6).await.is_ok());
}

#[tokio::test]
async fn an_agent_is_given_its_own_ceiling_where_that_is_shorter_than_the_tier() {
    let stage = Stage::new();
    let ttl_max = ttl("10m");
    with_bot(&stage, AgentCaps { ttl_max, ..CAPS });
    let refused = refusal(stage.engine.open(&via("agent:bot"), stage.ask("11m")).await);
    let (asked, ceiling) = (ttl("11m"), ttl_max);
    assert_eq!(refused, Refusal::TtlAboveCeiling { asked, ceiling });
    // Nothing is said of the time, and the tier's half an hour is too long.
    let ask = NewRequest {
        ttl: None,
        ..stage.ask("10m")
    };
    let request = stage.engine.open(&via("agent:bot"), ask).await.unwrap();
    assert_eq!((request.ttl, request.terms.ttl_max), (ttl_max, ttl_max));
    // The same of a person is longer.
    assert_eq!(stage.open("ana", "1h").await.ttl, ttl("1h"));
}

/// A stage of one entitlement whose parameters are `{"region": "eu-west-1"}`; counts how often they
/// are judged.
fn with_schema() -> (Stage, Arc<AtomicUsize>) {
    let stage = Stage::new();
    let judged = Arc::new(AtomicUsize::new(0));
    let counted = judged.clone();
    let schema = ParameterSchema::new(json!({"region": "eu-west-1"}), move |parameters| {
        counted.fetch_add(1, Ordering::Relaxed);
        let fits = *parameters == json!({"region": "eu-west-1"});
        fits.then_some(()).ok_or("no such region".to_owned())
    });
    let known = catalog("tier");
    let entry = known.get(&"stage/admins".parse().unwrap()).unwrap();
    let entry = Entitlement {
        parameters: ParameterRule::Schema(schema),
        display: Some("Admins in {region}".parse().unwrap()),
        ..entry.into_owned()
    };
    let catalog: Catalog = [entry].into_iter().collect();
    (stage.offering(catalog), judged)
}

async fn in_region(
    stage: &Stage,
    parameters: serde_json::Value,
) -> Result<AccessRequest, EngineError> {
    let parameters: Parameters = parameters.as_object().unwrap().clone();
    let ask = NewRequest {
        parts: vec![("stage/admins".parse().unwrap(), parameters)],
        ..stage.ask("30m")
    };
    stage.engine.open(&via("ana"), ask).await
}

#[tokio::test]
async fn parameters_that_do_not_fit_are_refused_before_anybody_is_asked() {
    let (stage, judged) = with_schema();
    // A provider that was asked could not have answered.
    stage.provider.outage_until(jit_core::Timestamp::MAX);
    for parameters in [
        json!({}),
        json!({"region": "*"}),
        json!({"region": "eu-west-1", "a": 1}),
    ] {
        let refused = refusal(in_region(&stage, parameters).await);
        let entitlement = "stage/admins".parse().unwrap();
        let why = "no such region".to_owned();
        assert_eq!(refused, Refusal::ParametersDoNotFit { entitlement, why });
    }
    assert!(stage.store.records().is_empty());
    // What is too large is not even held against the schema.
    let before = judged.load(Ordering::Relaxed);
    let long = in_region(&stage, json!({"region": "x".repeat(5_000)})).await;
    assert!(matches!(refusal(long), Refusal::ParametersTooLarge { .. }));
    assert_eq!(judged.load(Ordering::Relaxed), before);
}

#[tokio::test]
async fn s12_what_fits_is_in_the_digest_and_the_audit_and_has_a_name() {
    let (stage, _) = with_schema();
    let request = in_region(&stage, json!({"region": "eu-west-1"}))
        .await
        .unwrap();
    let part = request.parts.first();
    assert_eq!(part.label.as_deref(), Some("Admins in eu-west-1"));
    let reading = stage.engine.read(&via("ana"), request.id).await.unwrap();
    let told = reading
        .events
        .iter()
        .find_map(|event| match &event.event.what {
            Fact::Requested { parameters, .. } => Some(parameters.clone()),
            _ => None,
        });
    assert_eq!(told, Some(vec![part.parameters.clone()]));
    let mut parts: Vec<_> = request.parts.clone().into();
    parts[0].parameters.insert("region".to_owned(), json!("*"));
    let other = AccessRequest {
        parts: parts.try_into().unwrap(),
        ..request.clone()
    };
    assert_ne!(request.digest(), other.digest());
}

/// Ana's closed requests for this, the oldest first: so many for herself, then so many for Cleo.
async fn had_before(stage: &Stage, own: u16, for_cleo: u16) -> Vec<RequestId> {
    let mut ids = vec![];
    for number in 0..own + for_cleo {
        let mut request = sample::request_in(number, Status::Closed);
        request.requester = id("ana");
        request.beneficiary = if number < own { id("ana") } else { id("cleo") };
        request.parts = sample::parts(&["stage/admins"]);
        ids.push(request.id);
        let change = sample::creation(request);
        stage.store.commit(sample::commit([change])).await.unwrap();
    }
    ids
}

#[tokio::test]
async fn what_somebody_asked_for_others_hides_none_of_their_own_uses_within_two_hundred() {
    // So many for others came later; so many of the own ones are found.
    for (for_cleo, own, found) in [(150, 6, 5), (198, 6, 2), (240, 6, 0)] {
        let stage = Stage::new();
        let before = had_before(&stage, own, for_cleo).await;
        let request = stage.open("ana", "30m").await;
        let asked = stage.engine.background(&via("bob"), request.id).await;
        let uses = asked.unwrap().by_person;
        let ids: Vec<RequestId> = uses.iter().map(|it| it.request).collect();
        let latest = before[..usize::from(own)].iter().rev().copied();
        let latest: Vec<RequestId> = latest.take(found).collect();
        assert_eq!(ids, latest, "behind {for_cleo} for others");
        assert!(uses.iter().all(|it| it.who == id("ana")));
    }
}

#[tokio::test]
async fn whoever_decides_learns_who_had_it_who_has_it_and_what_it_can_do() {
    let stage = Stage::new();
    let known = catalog("tier");
    let entries = known.iter().map(|entry| Entitlement {
        allows: "Everything".to_owned(),
        ..entry.clone()
    });
    let stage = stage.offering(entries.collect());
    // Ana had it six times, Cleo has it, Bob asked and nobody answered.
    let mut before = vec![];
    for _ in 0..6 {
        let request = stage.active("10m").await;
        stage.say("ana", request.id, Verb::End).await.unwrap();
        stage.pass(60).await;
        before.push(request.id);
    }
    let cleos = stage.open("cleo", "1h").await;
    stage.approve("bob", &cleos).await;
    stage.work().await;
    stage.open("bob", "30m").await;
    let request = stage.open("ana", "30m").await;
    let background = stage
        .engine
        .background(&via("bob"), request.id)
        .await
        .unwrap();
    let ids = |uses: &[Use]| uses.iter().map(|it| it.request).collect::<Vec<_>>();
    before.reverse();
    assert_eq!(ids(&background.by_person), before[..5]);
    assert_eq!(ids(&background.of_entitlement)[0], cleos.id);
    assert_eq!(ids(&background.of_entitlement)[1..], before[..4]);
    assert_eq!(ids(&background.holders), [cleos.id]);
    assert_eq!(background.allows, "Everything");
    assert!(background.strangers.is_empty());
    // It tells of other people: whoever asked is not told.
    let asked = stage.engine.background(&via("ana"), request.id).await;
    assert!(matches!(
        asked,
        Err(EngineError::Refused(Refusal::NotAllowed { .. }))
    ));
    let nobody = stage.engine.background(&via("cleo"), request.id).await;
    assert!(matches!(
        nobody,
        Err(EngineError::Refused(Refusal::UnknownRequest))
    ));
}
