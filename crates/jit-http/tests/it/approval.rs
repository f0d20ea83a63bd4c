//! The approval service, field by field, as the programs that use it know it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use jit_core::catalog::{Catalog, Entitlement, ParameterRule};
use jit_core::engine::{ClockTrust, Engine, EngineParts, Verb};
use jit_core::policy::{Policy, Quota, Right, Tier};
use jit_core::ports::Provisioner;
use jit_core::principal::{PrincipalId, PrincipalKind, Profile};
use jit_core::request::{AccessRequest, RequestId};
use jit_http::{ApiKey, ApiState, ApprovalService, api};
use jit_testkit::hostile::Fault;
use jit_testkit::stage::{Stage, minted, rule, rules, tier, ttl, via};
use jit_testkit::time::SeededRandom;
use secrecy::SecretString;
use serde_json::{Value, json};
use tower::ServiceExt;

const KEY: &str = "the-key-of-prometheus";

/// `prometheus` and `grafana` file; `radarr` is of tier 1, automatic, and `gitlab` of tier 2.
struct Service {
    stage: Stage,
    state: ApiState,
    service: ApprovalService,
}

fn service_named(name: &str) -> (PrincipalId, Profile) {
    let id: PrincipalId = name.parse().unwrap();
    let profile = Profile {
        id: id.clone(),
        kind: PrincipalKind::Service,
        active: true,
        groups: Default::default(),
        groups_unknown: Default::default(),
        manager: None,
        subjects: BTreeMap::new(),
    };
    (id, profile)
}

fn entry(name: &str, tier: &str) -> Entitlement {
    Entitlement {
        id: format!("stage/{name}").parse().unwrap(),
        resource: name.to_owned(),
        title: name.to_owned(),
        how_to_use: String::new(),
        tier: tier.parse().unwrap(),
        parameters: ParameterRule::Refused,
        display: None,
        template: None,
        allows: String::new(),
        fallback: None,
    }
}

fn tiers() -> Vec<Tier> {
    let (quarter, half) = (ttl("15m"), ttl("30m"));
    let one = Tier {
        ttl_default: quarter,
        ttl_max: quarter,
        automatic: Some(Quota {
            ceiling: 3,
            per: ttl("1h"),
        }),
        ..tier("tier1", 0)
    };
    let two = Tier {
        ttl_default: half,
        ttl_max: half,
        decision_window: ttl("300s"),
        ..tier("tier2", 1)
    };
    vec![one, two]
}

fn key(text: &str) -> SecretString {
    SecretString::from(text)
}

impl Service {
    fn new() -> Self {
        Self::with(vec![ApiKey::shared(&key(KEY))])
    }

    fn with(keys: Vec<ApiKey>) -> Self {
        let stage = Stage::with(minted(), 1);
        let names = ["prometheus", "grafana", "stranger"];
        let services = names.map(service_named);
        stage.people.profiles.lock().unwrap().extend(services);
        let provider = stage.provider.clone();
        let provider = provider.named("admins", "admins");
        let seen: Arc<dyn Provisioner> = Arc::new(provider.as_seen_by(stage.clock.clone()));
        let mut rules = rules();
        rules.extend(names.map(|name| rule(name, &[Right::Request])));
        let entries = [entry("admins", "tier1"), entry("ops", "tier2")];
        let parts = EngineParts {
            store: stage.store.clone(),
            directory: stage.people.clone(),
            provisioners: BTreeMap::from([("stage".parse().unwrap(), seen)]),
            notifiers: vec![],
            pager: stage.pager.clone(),
            clock: stage.clock.clone(),
            random: Arc::new(SeededRandom::new(5)),
            policy: Policy::new(tiers(), rules).unwrap(),
            catalog: entries.into_iter().collect::<Catalog>(),
        };
        let engine = Arc::new(Engine::new(parts, ClockTrust::Compared).unwrap());
        let state = ApiState::new(engine.clone(), Arc::new(SeededRandom::new(6)));
        let service = ApprovalService {
            keys,
            requesters: ["prometheus", "grafana"]
                .map(|it| it.parse().unwrap())
                .into(),
            resources: BTreeMap::from([
                ("radarr".to_owned(), "stage/admins".parse().unwrap()),
                ("gitlab".to_owned(), "stage/ops".parse().unwrap()),
            ]),
            nobody_decides: None,
            vault: Arc::new(|| Box::pin(async { "ok" })),
        };
        let stage = Stage { engine, ..stage };
        Self {
            stage,
            state,
            service,
        }
    }

    async fn send(&self, request: Request<Body>) -> (u16, Value) {
        let router = api(self.state.clone().serving(self.service.clone()));
        let response = router.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    async fn file_with(&self, key: &str, body: &Value) -> (u16, Value) {
        let request = Request::post("/request")
            .header("content-type", "application/json")
            .header("x-jit-api-key", key);
        let request = request.body(Body::from(body.to_string())).unwrap();
        self.send(request).await
    }

    async fn file(&self, resource: &str, tier: u64) -> String {
        let (status, filed) = self.file_with(KEY, &ask(resource, tier)).await;
        assert_eq!(status, 200, "{filed}");
        let id = filed["request_id"].as_str().unwrap().to_owned();
        assert_eq!(filed, json!({"request_id": id, "status": "pending"}));
        id
    }

    async fn poll_with(&self, key: &str, id: &str) -> (u16, Value) {
        let request = Request::get(format!("/status/{id}")).header("x-jit-api-key", key);
        self.send(request.body(Body::empty()).unwrap()).await
    }

    async fn poll(&self, id: &str) -> Value {
        let (status, polled) = self.poll_with(KEY, id).await;
        assert_eq!((status, &polled["request_id"]), (200, &json!(id)));
        polled
    }

    async fn record(&self, id: &str) -> AccessRequest {
        let id: RequestId = id.parse().unwrap();
        self.stage.load(id).await
    }
}

fn ask(resource: &str, tier: u64) -> Value {
    json!({"requester": "prometheus", "resource": resource, "tier": tier,
           "reason": "Check sensor readings"})
}

#[tokio::test]
async fn e2_what_was_approved_by_itself_is_collected_by_the_first_poll_alone() {
    let it = Service::new();
    let id = it.file("radarr", 1).await;
    let first = it.poll(&id).await;
    assert_eq!(first["status"], "approved");
    assert_eq!(first["credential"]["lease_ttl"], "15m0s");
    assert_eq!(first["credential"]["metadata"], json!({}));
    let token = first["credential"]["token"].as_str().unwrap();
    assert!(it.stage.provider.ledger().works(token));
    for _ in 0..2 {
        let later = it.poll(&id).await;
        assert_eq!(later, json!({"request_id": id, "status": "approved"}));
    }
    it.stage.pass(15 * 60 + 60).await;
    assert!(!it.stage.provider.ledger().works(token));
    assert_eq!(it.poll(&id).await["status"], "approved");
}

#[tokio::test]
async fn e2_a_person_decides_and_the_poll_tells() {
    let it = Service::new();
    let id = it.file("gitlab", 2).await;
    assert_eq!(
        it.poll(&id).await,
        json!({"request_id": id, "status": "pending"})
    );
    it.stage.approve("bob", &it.record(&id).await).await;
    let polled = it.poll(&id).await;
    assert_eq!(polled["credential"]["lease_ttl"], "30m0s", "{polled}");

    let id = it.file("gitlab", 2).await;
    let record = it.record(&id).await;
    let verb = Verb::Deny {
        reason: "no".parse().unwrap(),
        digest: record.digest().prefix(),
    };
    it.stage.say("bob", record.id, verb).await.unwrap();
    assert_eq!(
        it.poll(&id).await,
        json!({"request_id": id, "status": "denied"})
    );
}

#[tokio::test]
async fn e11_what_nobody_decides_and_what_nobody_collects_times_out() {
    let it = Service::new();
    let (undecided, uncollected) = (it.file("gitlab", 2).await, it.file("radarr", 1).await);
    it.stage.pass(299).await;
    assert_eq!(it.poll(&undecided).await["status"], "pending");
    it.stage.pass(1).await;
    assert_eq!(it.poll(&undecided).await["status"], "timeout");
    it.stage.pass(300).await;
    assert_eq!(
        it.poll(&uncollected).await,
        json!({"request_id": uncollected, "status": "timeout"})
    );
    assert!(it.stage.provider.ledger().calls().is_empty());
}

#[tokio::test]
async fn e2_polls_at_once_get_one_credential_between_them() {
    let it = Service::new();
    let id = it.file("radarr", 1).await;
    let polls = [(); 8].map(|()| it.poll(&id));
    let answers = futures_util::future::join_all(polls).await;
    let given = answers.iter().filter(|it| it.get("credential").is_some());
    assert_eq!(given.count(), 1, "{answers:#?}");
    let record = it.record(&id).await;
    assert_eq!(it.stage.provider.ledger().minted(record.id).len(), 1);
}

#[tokio::test]
async fn e1_a_key_that_is_missing_empty_or_wrong_is_401_and_changes_nothing() {
    let it = Service::new();
    let id = it.file("radarr", 1).await;
    let body = ask("radarr", 1);
    for wrong in [
        "",
        " ",
        "the-key",
        &format!("{KEY} "),
        "THE-KEY-OF-PROMETHEUS",
    ] {
        assert_eq!(it.file_with(wrong, &body).await.0, 401, "{wrong:?}");
        assert_eq!(it.poll_with(wrong, &id).await.0, 401, "{wrong:?}");
    }
    let none = Request::get(format!("/status/{id}")).body(Body::empty());
    assert_eq!(it.send(none.unwrap()).await.0, 401);
    let twice = Request::get(format!("/status/{id}"))
        .header("x-jit-api-key", KEY)
        .header("x-jit-api-key", KEY);
    assert_eq!(it.send(twice.body(Body::empty()).unwrap()).await.0, 401);
    assert_eq!(it.stage.store.records().len(), 1);
    // Nobody took the credential meanwhile.
    assert!(it.poll(&id).await.get("credential").is_some());
}

#[tokio::test]
async fn e1_two_keys_are_accepted_while_one_is_being_changed() {
    let keys = ["the-old-key", KEY].map(|it| ApiKey::shared(&key(it)));
    let it = Service::with(keys.into());
    let id = it.file("radarr", 1).await;
    assert!(
        it.poll_with("the-old-key", &id)
            .await
            .1
            .get("credential")
            .is_some()
    );
}

#[tokio::test]
async fn e1_a_key_of_ones_own_files_and_polls_for_its_requester_alone() {
    let own = |name: &str, text: &str| ApiKey::of(name.parse().unwrap(), &key(text));
    let it = Service::with(vec![own("prometheus", KEY), own("grafana", "grafanas-key")]);
    let id = it.file("radarr", 1).await;
    let (status, told) = it.poll_with("grafanas-key", &id).await;
    assert_eq!(
        (status, told["error"]["code"].as_str()),
        (404, Some("unknown_request"))
    );
    let (status, _) = it.file_with("grafanas-key", &ask("radarr", 1)).await;
    assert_eq!(status, 403, "in somebody else's name");
    assert!(it.poll(&id).await.get("credential").is_some());
}

#[tokio::test]
async fn e1_bad_asks_are_told_and_nobody_is_asked() {
    let it = Service::new();
    let with = |field: &str, value: Value| {
        let mut body = ask("radarr", 1);
        body[field] = value;
        body
    };
    let long = "x".repeat(1_001);
    for (body, status, code) in [
        (with("requester", json!("stranger")), 403, "not_allowed"),
        (with("requester", json!("nobody")), 403, "not_allowed"),
        (with("resource", json!("sonarr")), 400, "unknown_resource"),
        (with("resource", json!("")), 400, "unknown_resource"),
        (with("tier", json!(2)), 400, "wrong_tier"),
        (with("tier", json!(-1)), 422, "bad_value"),
        (with("tier", json!("one")), 422, "bad_value"),
        (with("reason", json!("")), 422, "bad_value"),
        (with("reason", json!(long)), 422, "bad_value"),
        (with("requester", json!("a b")), 422, "bad_value"),
        (json!({"resource": "radarr"}), 422, "bad_value"),
        (json!([]), 422, "bad_value"),
    ] {
        let (found, told) = it.file_with(KEY, &body).await;
        assert_eq!(found, status, "{body} {told}");
        assert_eq!(told["error"]["code"], code, "{body}");
    }
    let text = Request::post("/request")
        .header("content-type", "application/json")
        .header("x-jit-api-key", KEY)
        .body(Body::from("{"));
    assert_eq!(it.send(text.unwrap()).await.0, 400);
    let large = Request::post("/request")
        .header("content-type", "application/json")
        .header("x-jit-api-key", KEY)
        .body(Body::from(" ".repeat(64 * 1024 + 1)));
    assert_eq!(it.send(large.unwrap()).await.0, 413);
    assert!(it.stage.store.records().is_empty());
    // What the old service never looked at is not looked at now.
    let more = with("comment", json!("from cron"));
    assert_eq!(it.file_with(KEY, &more).await.0, 200);
    let loud = with("resource", json!(" Radarr "));
    assert_eq!(it.file_with(KEY, &loud).await.0, 200);
}

#[tokio::test]
async fn e2_whatever_is_no_request_of_a_service_is_not_found() {
    let it = Service::new();
    // A person's own request: the key is no way to it.
    let mut ask = it.stage.ask("10m");
    ask.parts[0].0 = "stage/ops".parse().unwrap();
    let anas = it.stage.engine.open(&via("ana"), ask).await.unwrap();
    it.stage.approve("bob", &anas).await;
    for unknown in [
        anas.id.to_string(),
        "req-a1b2c3d4e5f6".to_owned(),
        "..%2F..%2Fv1".to_owned(),
        "x".repeat(5_000),
    ] {
        let (status, told) = it.poll_with(KEY, &unknown).await;
        assert_eq!(status, 404, "{unknown}");
        assert_eq!(told["error"]["code"], "unknown_request");
    }
    assert!(it.stage.provider.ledger().minted(anas.id).is_empty());
}

#[tokio::test]
async fn e5_automatic_approval_is_capped_per_asker_and_hour() {
    let it = Service::new();
    for _ in 0..3 {
        it.file("radarr", 1).await;
    }
    let (status, told) = it.file_with(KEY, &ask("radarr", 1)).await;
    assert_eq!(
        (status, told["error"]["code"].as_str()),
        (429, Some("quota_used"))
    );
    let mut other = ask("radarr", 1);
    other["requester"] = json!("grafana");
    assert_eq!(it.file_with(KEY, &other).await.0, 200);
    it.stage.pass(3_600).await;
    it.file("radarr", 1).await;
}

#[tokio::test]
async fn e2_what_could_not_be_made_is_told_and_made_by_a_later_poll() {
    let it = Service::new();
    let id = it.file("radarr", 1).await;
    it.stage.provider.fail_next_write(Fault::ErrorBefore);
    let failed = it.poll(&id).await;
    let error = "the credential could not be made";
    assert_eq!(
        failed,
        json!({"request_id": id, "status": "approved", "error": error})
    );
    assert!(it.poll(&id).await.get("credential").is_some());
}

#[tokio::test]
async fn e2_what_may_have_been_made_is_given_to_nobody_and_taken_back() {
    let it = Service::new();
    let id = it.file("radarr", 1).await;
    it.stage.provider.fail_next_write(Fault::LostReply);
    assert_eq!(it.poll(&id).await["status"], "approved");
    it.stage.pass(700).await;
    let later = it.poll(&id).await;
    assert_eq!(
        later["error"], "the credential could not be made",
        "{later}"
    );
    assert!(later.get("credential").is_none());
    let record = it.record(&id).await;
    let (lost, now) = (it.stage.provider.ledger().minted(record.id), it.stage.now());
    assert!(lost.len() == 1 && !lost[0].covers(now), "{lost:?}");
}

#[tokio::test(start_paused = true)]
async fn e3_health_tells_of_vault_and_counts_what_is_not_over() {
    let mut it = Service::new();
    it.file("radarr", 1).await;
    let health = || Request::get("/health").body(Body::empty()).unwrap();
    let (status, told) = it.send(health()).await;
    assert_eq!(status, 200);
    assert_eq!(
        told,
        json!({"status": "ok", "vault": "ok", "requests_in_store": 1})
    );
    it.service.vault = Arc::new(|| Box::pin(async { "sealed" }));
    // Whoever asks at once is told what was seen a moment ago.
    assert_eq!(it.send(health()).await.1["vault"], "ok");
    let later = || tokio::time::advance(std::time::Duration::from_secs(2));
    later().await;
    let (_, told) = it.send(health()).await;
    assert_eq!(told["status"], "degraded");
    assert_eq!(told["vault"], "sealed");
    it.stage.pass(700).await;
    later().await;
    assert_eq!(it.send(health()).await.1["requests_in_store"], 0);
}

#[tokio::test]
async fn without_the_service_its_paths_are_none() {
    let it = Service::new();
    let router = api(it.state.clone());
    let request = Request::post("/request").header("x-jit-api-key", KEY);
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.unwrap().status().as_u16(), 404);
}

#[tokio::test]
async fn e2_past_its_time_a_mint_that_nobody_heard_of_is_told() {
    let it = Service::new();
    let id = it.file("radarr", 1).await;
    it.stage.provider.fail_next_write(Fault::LostReply);
    it.poll(&id).await;
    let at_once = it.poll(&id).await;
    assert!(
        at_once.get("error").is_none(),
        "it may be on its way: {at_once}"
    );
    it.stage.clock.advance(std::time::Duration::from_secs(30));
    let later = it.poll(&id).await;
    assert_eq!(later["error"], "the credential could not be made");
}

#[tokio::test]
async fn e2_a_shared_key_collects_nothing_that_programs_do_not_ask_for_by_name() {
    let it = Service::new();
    let mut ask = it.stage.ask("10m");
    ask.parts[0].0 = "stage/ops".parse().unwrap();
    let by = via("prometheus:own");
    let by = jit_core::principal::Principal {
        id: "prometheus".parse().unwrap(),
        ..by
    };
    let own = it.stage.engine.open(&by, ask).await.unwrap();
    let mut without = it.service.clone();
    without.resources.remove("gitlab");
    let it = Service {
        service: without,
        ..it
    };
    assert_eq!(it.poll_with(KEY, &own.id.to_string()).await.0, 404);
}

#[tokio::test]
async fn s15_a_credential_whose_asker_has_hung_up_is_ended() {
    let it = Service::new();
    let id = it.file("radarr", 1).await;
    let router = api(it.state.clone().serving(it.service.clone()));
    let request = Request::get(format!("/status/{id}")).header("x-jit-api-key", KEY);
    let mut call = Box::pin(router.oneshot(request.body(Body::empty()).unwrap()));
    // They hang up while it is made.
    let once = std::future::poll_fn(|context| {
        std::task::Poll::Ready(call.as_mut().poll(context).is_pending())
    });
    assert!(once.await, "it is not answered at once");
    drop(call);
    let record = it.record(&id).await.id;
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    it.stage.pass(60).await;
    let (made, now) = (it.stage.provider.ledger().minted(record), it.stage.now());
    assert!(
        made.iter().all(|interval| !interval.covers(now)),
        "{made:?}"
    );
    assert_eq!(
        it.stage.status(record).await,
        jit_core::request::Status::Closed
    );
}

#[tokio::test]
async fn e4_whoever_asks_for_what_nobody_can_decide_is_told_why() {
    let mut it = Service::new();
    let people = &it.stage.people;
    for name in ["bob", "dora", "eve"] {
        people.leaves(name);
    }
    let (status, told) = it.file_with(KEY, &ask("gitlab", 2)).await;
    assert_eq!(
        (status, &told["error"]["code"]),
        (422, &json!("nobody_eligible"))
    );
    it.service.nobody_decides = Some("TELEGRAM_CHAT_ID is not set".to_owned());
    let (_, told) = it.file_with(KEY, &ask("gitlab", 2)).await;
    assert_eq!(told["error"]["message"], "TELEGRAM_CHAT_ID is not set");
}
