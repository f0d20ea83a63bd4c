//! Who is who at AWS, and what can never be granted.

use aws_sim::Role;
use jit_core::ports::ErrorKind::{Misconfigured, NotFound};
use jit_core::ports::Provisioner;
use serde_json::json;

use super::{READ, READ_IN, Scene, as_subject, ask, in_bucket, of_role, plain, policies, refused};
use super::{key, resolve, settings};
use crate::{SessionNames, Template};

#[tokio::test]
async fn a_person_is_a_session_of_the_role_that_all_have_unless_it_is_written_down() {
    let scene = Scene::new();
    let target = scene.target(&plain()).await;
    assert_eq!(target.realm, "arn:aws:iam::111111111111");
    let session = format!("role/developers/{}:ana@example.com", scene.developers);
    assert_eq!(target.subject.as_str(), session);
    let digest = Template::read(READ).unwrap().digest();
    assert_eq!(target.resource, format!("read-logs#{digest}"));
    for (subject, wanted) in [
        ("user/ana", "user/ana".to_owned()),
        ("role/ana-own", "role/ana-own".to_owned()),
        (
            "role/developers:bob",
            format!("role/developers/{}:bob", scene.developers),
        ),
    ] {
        let target = scene.target(&as_subject(plain(), subject)).await;
        assert_eq!(target.subject.as_str(), wanted);
    }
}

#[tokio::test]
async fn who_cannot_be_told_apart_or_changed_is_refused() {
    let scene = Scene::new();
    for (subject, kind, why) in [
        ("user/nobody", NotFound, "no user nobody"),
        ("role/nobody", NotFound, "no role nobody"),
        ("role/nobody:ana", NotFound, "no role nobody"),
        ("role/developers", Misconfigured, "role/developers:SESSION"),
        ("role/protected", Misconfigured, "AWS's own"),
        ("role/protected:ana", Misconfigured, "AWS's own"),
        ("ana", Misconfigured, "user/NAME"),
        ("role/a b", Misconfigured, "user/NAME"),
        ("user/*", Misconfigured, "user/NAME"),
    ] {
        let refusal = scene.resolve(&as_subject(plain(), subject)).await;
        refused(refusal, kind, why);
    }
    let agent = ask("agent:deploy-bot", Some(READ), json!({}));
    refused(
        scene.resolve(&agent).await,
        Misconfigured,
        "name of a session",
    );
    let mut alone = settings(&scene.sim);
    alone.role = None;
    let alone = policies(alone, &scene.clock, key());
    let refusal = resolve(alone.as_ref(), &plain()).await;
    refused(refusal, Misconfigured, "which role or user");
}

#[tokio::test]
async fn whatever_would_fail_at_the_grant_is_refused_before_anybody_is_asked() {
    let scene = Scene::new();
    let bucket = |bucket: serde_json::Value| {
        let parameters = json!({"bucket": bucket, "regions": "eu-central-1"});
        ask("ana@example.com", Some(READ_IN), parameters)
    };
    for value in [
        "*", "a?", "a$b", "{a}", "a\"b", "a\\b", "a b", "a\nb", "a/b", "",
    ] {
        let error = scene.resolve(&bucket(json!(value))).await.unwrap_err();
        assert_eq!(error.kind, Misconfigured);
        assert!(error.told.is_some(), "{value:?}: {}", error.chain());
        assert!(error.chain().to_string().contains("\"bucket\""));
    }
    for (ask, why) in [
        (ask("ana@example.com", None, json!({})), "no template"),
        (
            ask("ana@example.com", Some("{}"), json!({})),
            "lacks a Statement",
        ),
        (
            ask("ana@example.com", Some(READ_IN), json!({})),
            "is missing",
        ),
        (
            ask("ana@example.com", Some(READ), json!({"x": 1})),
            "\"x\" has no place",
        ),
    ] {
        let error = scene.resolve(&ask).await.unwrap_err();
        assert!(error.told.is_some());
        refused(Err::<(), _>(error), Misconfigured, why);
    }
    assert!(scene.resolve(&in_bucket("logs")).await.is_ok());
    assert!(scene.world().policies("role/developers").is_empty());
}

/// A template whose filled policy has exactly so many characters.
async fn of_size(scene: &Scene, subject: &str, size: usize) -> bool {
    let template = |padding: usize| {
        let name = format!("arn:aws:s3:::{}", "a".repeat(padding));
        let statement = json!({"Effect": "Allow", "Action": "s3:*", "Resource": name});
        json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
    };
    // How long it is with ten characters: read back from what was put.
    let probe = as_subject(
        ask("ana@example.com", Some(&template(10)), json!({})),
        subject,
    );
    let target = scene.target(&probe).await;
    let given = super::Given {
        request: jit_testkit::sample::id(1),
        ask: &probe,
        target: &target,
        expires_at: scene.now() + super::HOUR,
    };
    scene.grant(&given).await.unwrap();
    let (holder, _) = super::holder(&target);
    let put = scene.world().policies(&holder);
    let length = put.values().next().unwrap().len();
    scene.revoke(&given).await.unwrap();
    let template = template(10 + size - length);
    let ask = as_subject(ask("ana@example.com", Some(&template), json!({})), subject);
    let target = match scene.resolve(&ask).await {
        Ok(resolved) => resolved.target,
        Err(error) => {
            assert!(error.told.is_some());
            refused(Err::<(), _>(error), Misconfigured, "characters");
            return false;
        }
    };
    let given = super::Given {
        ask: &ask,
        target: &target,
        ..given
    };
    // What resolves is what IAM takes.
    scene.grant(&given).await.unwrap();
    let put = scene.world().policies(&holder);
    assert_eq!(put.values().next().unwrap().len(), size);
    scene.revoke(&given).await.unwrap();
    true
}

#[tokio::test]
async fn a_policy_is_as_long_as_iam_takes_and_not_longer() {
    let scene = Scene::new();
    for (subject, limit) in [
        ("user/ana", 2_048),
        ("role/ana-own", 10_240),
        // One grant leaves room for everybody else's.
        ("role/developers:ana", 2_048),
    ] {
        assert!(of_size(&scene, subject, limit).await, "{subject}");
        assert!(!of_size(&scene, subject, limit + 1).await, "{subject}");
    }
}

/// Whoever chooses the name of a session chooses who they are.
#[tokio::test]
async fn a_role_whose_sessions_anybody_names_gives_nothing_to_one_of_them() {
    let scene = Scene::new();
    scene.world().add_role(&Role::new("open"));
    let open = as_subject(plain(), "role/open:ana@example.com");
    let error = scene.resolve(&open).await.unwrap_err();
    assert!(
        error
            .told
            .unwrap()
            .contains("choose the name of the session")
    );
    let why =
        "the trust policy of role open lets whoever assumes it choose the name of the session";
    refused(Err::<(), _>(error), Misconfigured, why);
    // As a role of one's own it is nobody else's, and on a role that binds them names are who people are.
    let own = as_subject(plain(), "role/open");
    assert!(scene.resolve(&own).await.is_ok());
    assert!(scene.resolve(&plain()).await.is_ok());
    let mut trusting = settings(&scene.sim);
    trusting.session_names = SessionNames::Trusted;
    let trusting = policies(trusting, &scene.clock, key());
    assert!(resolve(trusting.as_ref(), &open).await.is_ok());
}

/// Sessions that were opened within a grant know nothing of its end.
#[tokio::test]
async fn how_long_sessions_go_on_that_its_holder_may_open_is_said() {
    let scene = Scene::new();
    let template = |action: &str| {
        json!({"Statement": {"Effect": "Allow", "Action": action, "Resource": "*"}}).to_string()
    };
    let with = |action: &str| ask("ana@example.com", Some(&template(action)), json!({}));
    let (hour, longest) = (Some(super::HOUR), Some(12 * super::HOUR));
    for (subject, opening) in [
        ("role/developers:ana", hour),
        ("role/ana-own", hour),
        ("user/ana", longest),
    ] {
        for (action, residual) in [("s3:*", None), ("sts:AssumeRole", opening)] {
            let resolved = scene.resolve(&as_subject(with(action), subject)).await;
            assert_eq!(resolved.unwrap().residual, residual, "{subject} {action}");
        }
    }
    let whole = of_role(ask("ana@example.com", None, json!({})), "deploy");
    for (ask, residual) in [
        (whole, hour),
        (of_role(with("sts:Assume*"), "deploy"), hour),
        (of_role(with("s3:*"), "deploy"), None),
    ] {
        let resolved = resolve(scene.sessions.as_ref(), &ask).await.unwrap();
        assert_eq!(resolved.residual, residual);
    }
}

#[tokio::test]
async fn credentials_of_another_account_are_not_believed() {
    let scene = Scene::new();
    let mut settings = settings(&scene.sim);
    settings.account_id = "222222222222".to_owned();
    let other = policies(settings, &scene.clock, key());
    let refusal = resolve(other.as_ref(), &plain()).await;
    refused(refusal, Misconfigured, "account 111111111111");
    // Where nothing is asked but whether a policy is there, neither.
    let mut target = scene.target(&plain()).await;
    target.realm = "arn:aws:iam::222222222222".to_owned();
    let ask = plain();
    let given = super::Given {
        request: jit_testkit::sample::id(1),
        ask: &ask,
        target: &target,
        expires_at: scene.now(),
    };
    let look = given.look(jit_core::ports::Purpose::TakeAway);
    refused(
        other.inspect(look).await,
        Misconfigured,
        "account 111111111111",
    );
}

#[tokio::test]
async fn a_role_to_assume_is_one_of_the_account_by_its_one_name() {
    let scene = Scene::new();
    let asked = |role: &str| of_role(ask("ana@example.com", None, json!({})), role);
    let arn = "arn:aws:iam::111111111111:role/ci/deploy";
    for role in ["deploy", arn] {
        let target = resolve(scene.sessions.as_ref(), &asked(role))
            .await
            .unwrap()
            .target;
        assert_eq!(target.realm, "arn:aws:sts::111111111111");
        assert_eq!(target.subject.as_str(), "ana@example.com");
        assert!(
            target.resource.starts_with(&format!("{arn}#")),
            "{target:?}"
        );
    }
    for (role, kind) in [
        ("nobody", NotFound),
        ("arn:aws:iam::111111111111:role/deploy", Misconfigured),
        ("arn:aws:iam::222222222222:role/ci/deploy", Misconfigured),
        ("ci/deploy", Misconfigured),
        ("", Misconfigured),
    ] {
        let error = resolve(scene.sessions.as_ref(), &asked(role))
            .await
            .unwrap_err();
        assert_eq!(error.kind, kind, "{role}: {}", error.chain());
    }
    let unused = of_role(ask("ana@example.com", None, json!({"x": 1})), "deploy");
    let refusal = resolve(scene.sessions.as_ref(), &unused).await;
    refused(refusal, Misconfigured, "\"x\" has no place");
}

#[tokio::test]
async fn settings_that_cannot_be_right_are_refused() {
    use super::{budget, config};
    use crate::{AssumedRole, Settings, TemporaryPolicy};
    use std::time::Duration;
    let scene = Scene::new();
    let refuse = |change: fn(&mut Settings)| {
        let mut settings = settings(&scene.sim);
        change(&mut settings);
        let (clock, budget) = (scene.clock.clone(), budget(&scene.clock));
        let one = TemporaryPolicy::with_sdk_config(
            settings.clone(),
            budget.clone(),
            clock.clone(),
            config(key()),
        );
        refused(one, Misconfigured, "");
        let other = AssumedRole::with_sdk_config(settings, budget, clock, config(key()));
        refused(other, Misconfigured, "");
    };
    refuse(|it| it.account_id = "12345".to_owned());
    refuse(|it| it.account_id = "12345678901x".to_owned());
    refuse(|it| it.role = Some("a role".to_owned()));
    refuse(|it| it.region.clear());
    refuse(|it| it.longest_session = Duration::from_secs(899));
    refuse(|it| it.longest_session = Duration::from_secs(12 * 3_600 + 1));
}
