//! Sessions that are made: what they let do, how long, and that nothing of them is said.

use std::time::Duration;

use aws_sim::{Deed, Role};
use jit_core::Timestamp;
use jit_core::ports::ErrorKind::{Forbidden, Misconfigured, Unavailable};
use jit_core::ports::{Effect, Minted, PortError, Provisioner, Purpose};
use jit_core::provider::{Handle, Presence, Target};
use jit_testkit::provisioner::Ask;
use jit_testkit::sample;
use serde_json::{Value, json};

use super::{Given, HOUR, LOGS, READ, READ_IN, Scene, ask, key, mint, of_role, refused, resolve};
use super::{sessions, settings};
use crate::MINT_ACTIONS;

const TICK: Duration = Duration::from_micros(1);

async fn target(scene: &Scene, ask: &Ask) -> Target {
    resolve(scene.sessions.as_ref(), ask).await.unwrap().target
}

async fn open(scene: &Scene, ask: &Ask, expires_at: Timestamp) -> Result<Minted, PortError> {
    let target = target(scene, ask).await;
    let given = Given {
        request: sample::id(1),
        ask,
        target: &target,
        expires_at,
    };
    mint(&scene.sessions, &given, scene.soon()).await
}

fn deploy(template: Option<&str>, parameters: Value) -> Ask {
    of_role(ask("ana@example.com", template, parameters), "deploy")
}

fn may(scene: &Scene, minted: &Minted, object: &str, at: Timestamp) -> bool {
    let key: Value = serde_json::from_str(minted.secret.expose()).unwrap();
    let deed = Deed {
        context: &[("aws:RequestedRegion", "eu-central-1")],
        ..Deed::new("s3:GetObject", object)
    };
    let key = key["AccessKeyId"].as_str().unwrap();
    scene.world().session_allows(key, deed, at.unix_micros())
}

#[tokio::test]
async fn a_session_is_what_the_role_and_the_template_both_allow_until_its_end() {
    let scene = Scene::new();
    // The role may read logs and web, the template logs.
    let expires_at = scene.now() + HOUR;
    let parameters = json!({"bucket": "logs", "regions": "eu-central-1"});
    let logs = deploy(Some(READ_IN), parameters);
    let minted = open(&scene, &logs, expires_at).await.unwrap();
    assert!(may(&scene, &minted, LOGS, scene.now()));
    assert!(may(&scene, &minted, LOGS, expires_at - TICK));
    assert!(!may(&scene, &minted, LOGS, expires_at));
    assert!(!may(&scene, &minted, "arn:aws:s3:::web/x", scene.now()));
    let whole = open(&scene, &deploy(None, json!({})), expires_at)
        .await
        .unwrap();
    assert!(may(&scene, &whole, "arn:aws:s3:::web/x", scene.now()));
    assert!(!may(&scene, &whole, "arn:aws:s3:::other/x", scene.now()));
    assert!(!may(&scene, &whole, "arn:aws:s3:::web/x", expires_at));
    let parameters = json!({"bucket": "other", "regions": "eu-central-1"});
    let other = deploy(Some(READ_IN), parameters);
    let other = open(&scene, &other, expires_at).await.unwrap();
    assert!(!may(&scene, &other, "arn:aws:s3:::other/x", scene.now()));
}

#[tokio::test]
async fn a_session_lasts_a_quarter_of_an_hour_at_least_and_its_policy_ends_it_before() {
    let scene = Scene::new();
    let expires_at = scene.now() + Duration::from_secs(60);
    let minted = open(&scene, &deploy(None, json!({})), expires_at)
        .await
        .unwrap();
    assert!(may(&scene, &minted, LOGS, expires_at - TICK));
    assert!(!may(&scene, &minted, LOGS, expires_at));
    assert_eq!(minted.ends_at, Some(expires_at));
    let session = &scene.world().sessions()[0];
    let credentials_end = scene.now() + Duration::from_secs(900);
    assert_eq!(session.expires_at_micros, credentials_end.unix_micros());
}

#[tokio::test]
async fn a_session_lasts_as_long_as_aws_gives() {
    let scene = Scene::new();
    let asked = |secs: u64| {
        scene.world().take_calls();
        scene.now() + Duration::from_secs(secs)
    };
    for (left, wanted) in [
        (900, "900"),
        (901, "901"),
        (43_200, "43200"),
        (43_201, "43200"),
    ] {
        let expires_at = asked(left);
        let minted = open(&scene, &deploy(None, json!({})), expires_at)
            .await
            .unwrap();
        let calls = scene.world().take_calls();
        let call = calls
            .iter()
            .find(|it| it.action == "sts:AssumeRole")
            .unwrap();
        assert_eq!(call.body["DurationSeconds"], wanted);
        let longest = scene.now() + 12 * HOUR;
        assert_eq!(minted.ends_at, Some(expires_at.min(longest)));
    }
    // Who runs as a session itself asks for an hour.
    let mut chained = settings(&scene.sim);
    chained.longest_session = HOUR;
    let chained = sessions(chained, &scene.clock, key());
    let ask = deploy(None, json!({}));
    let target = target(&scene, &ask).await;
    let given = Given {
        request: sample::id(1),
        ask: &ask,
        target: &target,
        expires_at: scene.now() + 3 * HOUR,
    };
    let minted = mint(&chained, &given, scene.soon()).await.unwrap();
    assert_eq!(minted.ends_at, Some(scene.now() + HOUR));
    // A role whose sessions are shorter says so, and nothing was done.
    scene.world().add_role(&Role::new("short"));
    let short = of_role(ask.clone(), "short");
    let error = open(&scene, &short, scene.now() + 2 * HOUR)
        .await
        .unwrap_err();
    assert_eq!(error.effect, Effect::None);
    refused(Err::<(), _>(error), Misconfigured, "MaxSessionDuration");
    let over = open(&scene, &ask, scene.now()).await;
    refused(over, Unavailable, "over");
}

#[tokio::test]
async fn what_is_handed_over_is_what_the_tools_of_aws_read() {
    let scene = Scene::new();
    let expires_at = scene.now() + HOUR;
    let minted = open(&scene, &deploy(Some(READ), json!({})), expires_at)
        .await
        .unwrap();
    let key: Value = serde_json::from_str(minted.secret.expose()).unwrap();
    let session = &scene.world().sessions()[0];
    assert_eq!(
        key,
        json!({
            "Version": 1, "AccessKeyId": session.access_key, "SecretAccessKey": session.secret,
            "SessionToken": session.token, "Expiration": "2026-01-01T01:00:00Z",
        })
    );
    assert_eq!(session.name, sample::id(1).to_string());
    assert_eq!(minted.handle, Some(Handle(session.assumed_role_id.clone())));
    assert_eq!(minted.notes["type"], "credential_process");
    let shown = format!("{minted:?} {:?} {:?}", minted.notes, scene.sessions);
    for secret in [&session.secret, &session.token, &session.access_key] {
        assert!(!shown.contains(secret.as_str()), "{shown}");
    }
}

#[tokio::test]
async fn a_policy_of_a_session_is_as_long_as_sts_takes_and_not_longer() {
    let scene = Scene::new();
    let template = |padding: usize| {
        let name = format!("arn:aws:s3:::{}", "a".repeat(padding));
        json!({"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": name}}).to_string()
    };
    let expires_at = scene.now() + HOUR;
    open(&scene, &deploy(Some(&template(10)), json!({})), expires_at)
        .await
        .unwrap();
    let length = scene.world().sessions()[0].policy.as_ref().unwrap().len();
    let at_most = deploy(Some(&template(10 + 2_048 - length)), json!({}));
    open(&scene, &at_most, expires_at).await.unwrap();
    let over = deploy(Some(&template(11 + 2_048 - length)), json!({}));
    let refusal = resolve(scene.sessions.as_ref(), &over).await;
    assert!(refusal.as_ref().unwrap_err().told.is_some());
    refused(refusal, Misconfigured, "2049 characters");
    // AWS packs it, and how well is known when it is asked.
    scene
        .world()
        .configure(|setup| setup.packed_policy_max = 1_000);
    let error = open(&scene, &at_most, expires_at).await.unwrap_err();
    assert_eq!(error.effect, Effect::None);
    assert!(error.told.is_some());
    refused(Err::<(), _>(error), Misconfigured, "PackedPolicyTooLarge");
}

#[tokio::test]
async fn a_role_that_trusts_others_and_a_template_that_changed_give_nothing() {
    let scene = Scene::new();
    let nobody = "arn:aws:iam::111111111111:user/nobody";
    scene
        .world()
        .add_role(&Role::new("closed").trusting(&[nobody]));
    let closed = of_role(ask("ana@example.com", None, json!({})), "closed");
    let error = open(&scene, &closed, scene.now() + HOUR).await.unwrap_err();
    assert_eq!(error.effect, Effect::None);
    refused(Err::<(), _>(error), Forbidden, "AccessDenied");
    let before = deploy(Some(READ), json!({}));
    let target = target(&scene, &before).await;
    for changed in [
        deploy(None, json!({})),
        deploy(Some(&format!("{READ} ")), json!({})),
    ] {
        let given = Given {
            request: sample::id(1),
            ask: &changed,
            target: &target,
            expires_at: scene.now() + HOUR,
        };
        let refusal = mint(&scene.sessions, &given, scene.soon()).await;
        refused(refusal, Misconfigured, "not the one");
    }
    assert!(scene.world().sessions().is_empty());
}

#[tokio::test]
async fn a_session_is_known_by_its_end_alone() {
    let scene = Scene::new();
    let ask = deploy(None, json!({}));
    let target = target(&scene, &ask).await;
    let given = Given {
        request: sample::id(1),
        ask: &ask,
        target: &target,
        expires_at: scene.now() + HOUR,
    };
    let handle = Handle("AROAX:req".to_owned());
    let look = |handle, send_before| jit_core::ports::InspectCall {
        handle,
        send_before,
        ..given.look(Purpose::TakeAway)
    };
    let seen = |look| async { scene.sessions.inspect(look).await.unwrap() };
    assert_eq!(seen(look(None, None)).await, Presence::Absent);
    let gone_by = Presence::GoneBy(given.expires_at);
    assert_eq!(seen(look(None, Some(scene.now()))).await, gone_by);
    let held = || look(Some(&handle), Some(scene.now()));
    assert_eq!(seen(held()).await, Presence::Present);
    scene.pass(HOUR);
    assert_eq!(seen(held()).await, Presence::Absent);
}

#[tokio::test]
async fn it_needs_no_more_than_it_says() {
    let scene = Scene::new();
    let ask = deploy(Some(READ), json!({}));
    open(&scene, &ask, scene.now() + HOUR).await.unwrap();
    let key = aws_sim::AccessKey::default().id;
    let mut used = scene.world().actions(&key);
    assert!(
        used.remove("sts:GetCallerIdentity"),
        "which needs no permission"
    );
    let used: Vec<&str> = used.iter().map(String::as_str).collect();
    assert_eq!(used, MINT_ACTIONS);
}
