//! What is put, and what it lets whom do until when.

use std::time::Duration;

use jit_core::Timestamp;
use jit_core::digest::Digest;
use jit_core::ports::ErrorKind::Misconfigured;
use jit_core::ports::{Effect, Provisioner, Purpose};
use jit_core::provider::{Answer, Presence};
use jit_testkit::sample;
use serde_json::Value;

use super::{Given, HOUR, LOGS, READ, Scene, as_subject, holder, in_bucket, plain, refused};
use crate::POLICY_ACTIONS;

const TICK: Duration = Duration::from_micros(1);

#[tokio::test]
async fn access_is_for_its_person_within_its_parameters_until_its_end_and_no_longer() {
    let scene = Scene::new();
    // Not at a whole second: access ends at the second before.
    scene.pass(Duration::from_micros(1_500_000));
    for subject in [
        "role/developers:ana@example.com",
        "role/ana-own",
        "user/ana",
    ] {
        let ask = as_subject(in_bucket("logs"), subject);
        let target = scene.target(&ask).await;
        let expires_at = scene.now() + HOUR;
        let given = Given {
            request: sample::id(1),
            ask: &ask,
            target: &target,
            expires_at,
        };
        assert!(!scene.may_read(&target, LOGS, scene.now()));
        assert_eq!(scene.grant(&given).await.unwrap(), Answer::Accepted);
        assert_eq!(
            scene.inspect(&given, Purpose::Give).await,
            Presence::Present
        );
        let end = expires_at - Duration::from_micros(500_000);
        assert!(scene.may_read(&target, LOGS, scene.now()));
        assert!(scene.may_read(&target, LOGS, end - TICK));
        assert!(!scene.may_read(&target, LOGS, end));
        assert!(!scene.may_read(&target, LOGS, expires_at));
        assert!(!scene.may_read(&target, "arn:aws:s3:::other/x", scene.now()));
        let (holder, session) = holder(&target);
        let world = scene.world();
        let may = |session: Option<&str>, action: &str, region: &str| {
            let deed = aws_sim::Deed {
                context: &[("aws:RequestedRegion", region)],
                ..aws_sim::Deed::new(action, LOGS)
            };
            world.is_allowed(&holder, session, deed, scene.now().unix_micros())
        };
        let session = session.as_deref();
        assert!(may(session, "s3:GetObject", "eu-west-1"));
        assert!(!may(session, "s3:GetObject", "us-east-1"));
        assert!(!may(session, "s3:PutObject", "eu-west-1"));
        if session.is_some() {
            assert!(!may(Some("bob@example.com"), "s3:GetObject", "eu-west-1"));
        }
        scene.revoke(&given).await.unwrap();
        assert!(!scene.may_read(&target, LOGS, scene.now()));
        assert_eq!(
            scene.inspect(&given, Purpose::TakeAway).await,
            Presence::Absent
        );
    }
}

#[tokio::test]
async fn the_policy_has_the_name_of_its_slot_and_says_whose_it_is() {
    let scene = Scene::new();
    let ask = in_bucket("logs");
    let target = scene.target(&ask).await;
    let given = Given {
        request: sample::id(1),
        ask: &ask,
        target: &target,
        expires_at: scene.now() + HOUR,
    };
    scene.grant(&given).await.unwrap();
    let put = scene.world().policies("role/developers");
    let (name, text) = put.first_key_value().unwrap();
    let slot = target.slot_key(&ask.parameters).to_string();
    let resource = Digest::of(target.resource.as_bytes()).prefix();
    assert_eq!(*name, format!("jit-{resource}-{slot}"));
    assert!(name.len() <= 128, "as long as IAM takes a name");
    let document: Value = serde_json::from_str(text).unwrap();
    let statement = &document["Statement"][0];
    let id = given.request.to_string();
    assert_eq!(statement["Sid"], format!("Jit{}1", &id[4..]));
    let condition = &statement["Condition"];
    let person = format!("{}:ana@example.com", scene.developers);
    assert_eq!(condition["StringEquals"]["aws:userid"], person);
    assert_eq!(
        condition["DateLessThan"]["aws:CurrentTime"],
        "2026-01-01T01:00:00Z"
    );
    assert_eq!(
        condition["StringEquals"]["aws:RequestedRegion"][1],
        "eu-west-1"
    );
    // Other parameters are another slot, beside it.
    let other = in_bucket("web");
    let given = Given {
        ask: &other,
        ..given
    };
    scene.grant(&given).await.unwrap();
    assert_eq!(scene.world().policies("role/developers").len(), 2);
}

#[tokio::test]
async fn a_template_that_was_changed_since_the_approval_gives_nothing() {
    let scene = Scene::new();
    let ask = plain();
    let target = scene.target(&ask).await;
    let mut changed = plain();
    changed.entitlement.template = Some(READ.replace("logs", "everything"));
    let mut gone = plain();
    gone.entitlement.template = None;
    scene.asked();
    for (ask, why) in [(&changed, "not the one"), (&gone, "no template")] {
        let given = Given {
            request: sample::id(1),
            ask,
            target: &target,
            expires_at: scene.now() + HOUR,
        };
        let error = scene.grant(&given).await.unwrap_err();
        assert_eq!(error.effect, Effect::None);
        refused(Err::<(), _>(error), Misconfigured, why);
    }
    assert_eq!(scene.asked(), [""; 0]);
    // What was granted by it is taken away all the same.
    let given = Given {
        request: sample::id(1),
        ask: &ask,
        target: &target,
        expires_at: scene.now() + HOUR,
    };
    scene.grant(&given).await.unwrap();
    let given = Given {
        ask: &gone,
        ..given
    };
    scene.revoke(&given).await.unwrap();
    assert!(scene.world().policies("role/developers").is_empty());
}

#[tokio::test]
async fn a_grant_that_takes_over_puts_its_own_over_the_other() {
    let scene = Scene::new();
    let ask = plain();
    let target = scene.target(&ask).await;
    let first = Given {
        request: sample::id(1),
        ask: &ask,
        target: &target,
        expires_at: scene.now() + HOUR,
    };
    let second = Given {
        request: sample::id(2),
        expires_at: scene.now() + 2 * HOUR,
        ..first.clone()
    };
    scene.grant(&first).await.unwrap();
    assert_eq!(
        scene.inspect(&second, Purpose::Give).await,
        Presence::Absent
    );
    scene.grant(&second).await.unwrap();
    assert_eq!(scene.world().policies("role/developers").len(), 1);
    assert_eq!(
        scene.inspect(&second, Purpose::Give).await,
        Presence::Present
    );
    assert_eq!(scene.inspect(&first, Purpose::Give).await, Presence::Absent);
    assert!(scene.may_read(&target, LOGS, first.expires_at));
    assert!(!scene.may_read(&target, LOGS, second.expires_at));
    // There was no moment in between.
    let name = scene.world().policies("role/developers");
    let name = name.first_key_value().unwrap().0.clone();
    let history = scene.world().policy_history("role/developers", &name);
    assert!(history.iter().all(|(_, document)| document.is_some()));
}

#[tokio::test]
async fn it_needs_no_more_than_it_says() {
    let scene = Scene::new();
    for subject in ["role/developers:ana@example.com", "user/ana"] {
        let ask = as_subject(plain(), subject);
        let target = scene.target(&ask).await;
        let given = Given {
            request: sample::id(1),
            ask: &ask,
            target: &target,
            expires_at: scene.now() + HOUR,
        };
        scene.grant(&given).await.unwrap();
        scene.inspect(&given, Purpose::Give).await;
        scene.revoke(&given).await.unwrap();
    }
    let key = aws_sim::AccessKey::default().id;
    let mut used = scene.world().actions(&key);
    assert!(
        used.remove("sts:GetCallerIdentity"),
        "which needs no permission"
    );
    let used: Vec<&str> = used.iter().map(String::as_str).collect();
    assert_eq!(used, POLICY_ACTIONS);
}

#[tokio::test]
async fn what_it_declares_can_be_used() {
    let scene = Scene::new();
    let described = scene.policies.describe();
    assert_eq!(described.check(), Ok(()));
    assert_eq!(described.settles_for(), Duration::from_secs(370));
    let described = scene.sessions.describe();
    assert_eq!(described.check(), Ok(()));
    let end = Timestamp::MAX;
    assert_eq!(described.gone_by(scene.now(), end), Some(end));
}
