//! What is asked of Vault, and what is made of what it gives.

use std::time::Duration;

use jit_core::ports::{Clock, Effect, ErrorKind, InspectCall, Provisioner, Purpose, RevokeCall};
use jit_core::provider::{Handle, Parameters, Presence};
use serde_json::json;
use vault_sim::{End, Fault, NewToken, Rule, TokenRole};

use super::{LIFE, Scene, accessor, ask, request, setup};

#[tokio::test]
async fn s15_a_token_ends_at_its_end_and_holds_what_was_asked_for_alone() {
    let scene = Scene::new();
    let now = scene.clock.now();
    let end = now + Duration::from_millis(899_900);
    let minted = scene.mint_until("reader", end).await.unwrap();
    let handle = minted.handle.unwrap();
    let token = scene.world().token(accessor(&handle)).unwrap();
    assert_eq!(token.id, minted.secret.expose());
    assert_eq!((token.ttl_secs, token.explicit_max_ttl_secs), (894, 894));
    assert_eq!(minted.ends_at, Some(now + Duration::from_secs(894)));
    assert_eq!(token.policies, ["reader"]);
    assert_eq!(
        (token.renewable, token.batch, token.num_uses),
        (false, false, 0)
    );
    assert_eq!(token.parent, None);
    let mark = [("jit_request".to_owned(), request().to_string())];
    assert_eq!(token.meta, mark.into());
    assert_eq!(token.display_name, format!("token-jit-{}", request()));
    let notes = [("backend", "static"), ("type", "vault_token")];
    assert_eq!(minted.notes, notes.map(|(k, v)| (k, v.to_owned())).into());
    scene.pass(Duration::from_millis(899_900));
    let (at, how) = scene.world().death(accessor(&handle)).unwrap();
    assert!(at <= end.unix_micros() && how == End::Expired);
}

#[tokio::test]
async fn a_role_gives_what_was_asked_for_or_its_own() {
    let scene = Scene::new();
    for (resource, policies) in [
        ("reader@agents", vec!["reader"]),
        ("@agents", vec!["reader", "writer"]),
    ] {
        let minted = scene.mint(resource).await.unwrap();
        let token = scene
            .world()
            .token(accessor(&minted.handle.unwrap()))
            .unwrap();
        assert_eq!(token.policies, policies);
        assert_eq!(token.role.as_deref(), Some("agents"));
        assert_eq!(token.parent, None);
    }
}

#[tokio::test]
async fn a_role_that_allows_less_gives_less_and_whoever_asked_knows() {
    let scene = Scene::new();
    scene.world().put_token_role(TokenRole {
        explicit_max_ttl_secs: 60,
        ..TokenRole::new("short", &["reader"])
    });
    let minted = scene.mint("reader@short").await.unwrap();
    let end = scene.clock.now() + Duration::from_secs(60);
    assert_eq!(minted.ends_at, Some(end));
}

#[tokio::test]
async fn a_role_that_allows_nothing_would_give_what_we_may_ourselves() {
    let scene = Scene::new();
    scene.world().put_token_role(TokenRole::new("open", &[]));
    let error = scene.mint("@open").await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert_eq!(scene.given(), 0);
}

#[tokio::test]
async fn what_would_end_in_less_than_a_second_is_not_asked_for() {
    let scene = Scene::new();
    let end = scene.clock.now() + Duration::from_millis(999);
    let error = scene.mint_until("reader", end).await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Unavailable, Effect::None)
    );
    assert!(scene.calls("auth/token/create-orphan").is_empty());
}

#[tokio::test]
async fn s3_each_change_has_a_connection_of_its_own() {
    let scene = Scene::new();
    scene.ask().await.unwrap();
    for _ in 0..2 {
        let minted = scene.mint("reader").await.unwrap();
        scene.revoke(&minted.handle.unwrap()).await.unwrap();
    }
    let mut changes = scene.calls("auth/token/create-orphan");
    changes.extend(scene.calls("auth/token/revoke-accessor"));
    assert_eq!(changes.len(), 4);
    for change in changes {
        let calls = scene.world().calls();
        let on_it = calls.iter().filter(|it| it.connection == change.connection);
        assert_eq!(on_it.count(), 1, "{} shares a connection", change.path);
    }
}

#[tokio::test]
async fn a_child_of_our_own_token_is_taken_back() {
    let scene = Scene::new();
    scene.world().put_token_role(TokenRole {
        orphan: false,
        ..TokenRole::new("children", &["reader"])
    });
    let error = scene.mint("reader@children").await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Misconfigured, Effect::Unknown)
    );
    assert!(
        error.chain().to_string().contains("orphan=true"),
        "{}",
        error.chain()
    );
    assert_eq!(scene.given(), 0, "it was revoked");
    assert_eq!(scene.calls("auth/token/create/children").len(), 1);
}

#[tokio::test]
async fn a_token_that_is_not_what_was_asked_for_is_taken_back() {
    let scene = Scene::new();
    // A policy that is not there; and what a server says that does otherwise than it is told.
    let error = scene.mint("nobody-wrote-it").await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Misconfigured, Effect::Unknown)
    );
    assert_eq!(scene.given(), 0);
    let said = |change: serde_json::Value| {
        let mut auth = json!({
            "client_token": "hvs.canary", "accessor": "theaccessor", "lease_duration": 895,
            "renewable": false, "token_policies": ["reader"], "token_type": "service",
            "orphan": true,
        });
        for (name, value) in change.as_object().unwrap() {
            auth[name] = value.clone();
        }
        json!({"auth": auth, "warnings": null}).to_string()
    };
    for odd in [
        json!({"orphan": false}),
        json!({"orphan": null}),
        json!({"token_type": "batch"}),
        json!({"lease_duration": 896}),
        json!({"lease_duration": 0}),
        json!({"token_policies": ["reader", "default"]}),
        json!({"token_policies": []}),
    ] {
        let before = scene.calls("auth/token/revoke-accessor").len();
        scene.world().calm();
        let fault = Fault::Instead(said(odd.clone()));
        scene.world().rule(Rule::at("auth/token/create", fault));
        let error = scene.mint("reader").await.unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::Misconfigured, Effect::Unknown),
            "{odd}"
        );
        let after = scene.calls("auth/token/revoke-accessor");
        assert_eq!(after.len(), before + 1, "{odd} was revoked");
        assert_eq!(after.last().unwrap().body["accessor"], "theaccessor");
    }
    scene.world().calm();
    let right = Fault::Instead(said(json!({})));
    scene.world().rule(Rule::at("auth/token/create", right));
    assert!(scene.mint("reader").await.is_ok(), "the rest is right");
}

#[tokio::test]
async fn a_policy_that_may_not_be_given_is_refused_and_nothing_was_done() {
    let scene = Scene::new();
    for resource in ["jit-access@agents", "reader@nobody"] {
        let error = scene.mint(resource).await.unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::Misconfigured, Effect::None)
        );
    }
    assert_eq!(scene.given(), 0);
}

#[tokio::test]
async fn uses_are_counted_where_that_is_configured() {
    let scene = Scene::of(setup(), |settings, _| settings.num_uses = Some(3));
    let minted = scene.mint("reader").await.unwrap();
    let token = scene
        .world()
        .token(accessor(&minted.handle.unwrap()))
        .unwrap();
    assert_eq!(token.num_uses, 3);
}

#[tokio::test]
async fn a_token_in_a_wrapping_is_found_by_its_own_accessor() {
    let scene = Scene::of(setup(), |settings, _| {
        settings.wrap_ttl = Some(Duration::from_secs(120));
    });
    let minted = scene.mint("reader").await.unwrap();
    let wrapping = minted.secret.expose();
    let inside = scene.world().inside(wrapping).unwrap();
    assert!(
        !scene.world().is_alive(wrapping),
        "the wrapping opens nothing by itself"
    );
    assert!(scene.world().is_alive(&inside));
    assert_eq!(
        minted.notes.get("wrapped").map(String::as_str),
        Some("true")
    );
    let handle = minted.handle.unwrap();
    let token = scene.world().token(accessor(&handle)).unwrap();
    assert_eq!(
        (token.id, token.policies),
        (inside.clone(), vec!["reader".to_owned()])
    );
    assert_eq!(
        scene.inspect(Some(&handle)).await.unwrap(),
        Presence::Present
    );

    scene.revoke(&handle).await.unwrap();
    assert_eq!(
        scene.inspect(Some(&handle)).await.unwrap(),
        Presence::Absent
    );
    assert!(
        !scene.world().is_alive(&inside),
        "what comes out of the wrapping is of no use"
    );
}

#[tokio::test]
async fn a_wrapping_is_good_no_longer_than_what_is_in_it() {
    let scene = Scene::of(setup(), |settings, _| {
        settings.wrap_ttl = Some(Duration::from_secs(120));
    });
    for (life, wanted) in [(900, 120), (50, 50)] {
        let end = scene.clock.now() + Duration::from_secs(life);
        scene.mint_until("reader", end).await.unwrap();
        let call = scene.calls("auth/token/create-orphan").pop().unwrap();
        assert_eq!(call.wrap_ttl_secs, Some(wanted));
    }
}

#[tokio::test]
async fn a_wrapped_child_is_taken_back_too() {
    let scene = Scene::of(setup(), |settings, _| {
        settings.wrap_ttl = Some(Duration::from_secs(120));
    });
    scene.world().put_token_role(TokenRole {
        orphan: false,
        ..TokenRole::new("children", &["reader"])
    });
    let error = scene.mint("reader@children").await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Misconfigured, Effect::Unknown)
    );
    assert_eq!(scene.given(), 0);
    // And one that cannot be looked at.
    scene
        .world()
        .rule(Rule::at("auth/token/lookup-accessor", Fault::Denied));
    let error = scene.mint("reader").await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Unavailable, Effect::Unknown)
    );
    assert_eq!(scene.given(), 0);
}

#[tokio::test]
async fn what_is_not_there_is_revoked_and_absent() {
    let scene = Scene::new();
    let nobody = Handle("nobody".to_owned());
    assert_eq!(
        scene.inspect(Some(&nobody)).await.unwrap(),
        Presence::Absent
    );
    scene.revoke(&nobody).await.unwrap();
    for odd in ["", "a b", "../x"] {
        let error = scene.revoke(&Handle(odd.to_owned())).await.unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::Misconfigured, Effect::None)
        );
    }
}

#[tokio::test]
async fn resolving_names_the_vault_its_namespace_and_the_token() {
    let scene = Scene::of(setup(), |settings, _| {
        settings.namespace = Some("team-a".to_owned());
    });
    let mut ask = ask("writer,reader@agents");
    let resolve = async |ask: &jit_testkit::provisioner::Ask| {
        let tokens = &scene.tokens;
        tokens
            .resolve(&ask.beneficiary, &ask.entitlement, &ask.parameters)
            .await
    };
    let target = resolve(&ask).await.unwrap().target;
    assert_eq!(target.realm, format!("vault:{}/team-a", scene.sim.url()));
    assert_eq!(target.subject.as_str(), "ana@example.com");
    assert_eq!(target.resource, "reader,writer@agents");
    let subjects = [("vault".parse().unwrap(), "ana".parse().unwrap())];
    ask.beneficiary.subjects = subjects.into();
    assert_eq!(resolve(&ask).await.unwrap().target.subject.as_str(), "ana");
    ask.entitlement.resource = "Reader".to_owned();
    let error = resolve(&ask).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert!(error.told.is_some());
    let here = jit_core::provider::Target {
        resource: "reader".to_owned(),
        ..target
    };
    let now = scene.clock.now();
    super::mint(&scene.tokens, &here, now, now + LIFE)
        .await
        .unwrap();
    // Its health has neither: a server says it to everybody.
    let calls = scene.world().calls().into_iter();
    let mut calls = calls.filter(|it| it.path != "sys/health");
    assert!(calls.all(|it| it.marked && it.namespace.as_deref() == Some("team-a")));
}

#[tokio::test]
async fn s7_what_was_made_is_taken_back_whatever_the_rules_for_resources_are_now() {
    let scene = Scene::new();
    let minted = scene.mint("reader").await.unwrap();
    let handle = minted.handle.unwrap();
    // An earlier release took this.
    let target = scene.target("Reader Of Old, root");
    let (parameters, send_before) = (Parameters::new(), scene.clock.now() + LIFE);
    let inspect = async || {
        let call = InspectCall {
            purpose: Purpose::TakeAway,
            request: request(),
            target: &target,
            parameters: &parameters,
            handle: Some(&handle),
            expires_at: scene.clock.now() + LIFE,
            send_before: None,
        };
        scene.tokens.inspect(call).await.unwrap()
    };
    assert_eq!(inspect().await, Presence::Present);
    let call = RevokeCall {
        request: request(),
        target: &target,
        parameters: &parameters,
        handle: Some(&handle),
        send_before,
    };
    scene.tokens.revoke(call).await.unwrap();
    assert_eq!(inspect().await, Presence::Absent);
    assert!(scene.mint("Reader Of Old, root").await.is_err());
}

#[tokio::test]
async fn a_role_alone_is_refused_where_nobody_knows_what_we_may_ourselves() {
    let scene = Scene::new();
    let ours = scene.world().add_token(NewToken::with(&["jit-access"]));
    let auth = json!({
        "client_token": ours.id, "accessor": ours.accessor, "lease_duration": 3_600,
        "renewable": false,
    });
    let login = Fault::Instead(json!({ "auth": auth }).to_string());
    scene.world().rule(Rule::at("auth/approle/login", login));
    let error = scene.mint("@agents").await.unwrap_err();
    assert_eq!(
        (error.kind, error.effect),
        (ErrorKind::Misconfigured, Effect::None)
    );
    assert!(scene.calls("auth/token/create/agents").is_empty());
    assert!(scene.mint("reader@agents").await.is_ok());
}

#[tokio::test]
async fn a_policy_that_is_missing_is_seen_in_a_wrapping_where_vault_says_so() {
    let scene = Scene::of(setup(), |settings, _| {
        settings.wrap_ttl = Some(Duration::from_secs(120));
    });
    let made = scene.world().add_token(NewToken {
        ttl_secs: 895,
        renewable: false,
        ..NewToken::with(&["reader"])
    });
    let said = json!({
        "wrap_info": {"token": "hvs.wrapping", "wrapped_accessor": made.accessor},
        "warnings": ["Policy \"reader\" does not exist"],
    });
    let fault = Fault::Instead(said.to_string());
    scene.world().rule(Rule::at("auth/token/create", fault));
    let error = scene.mint("reader").await.unwrap_err();
    assert!(
        error.chain().to_string().contains("does not exist"),
        "{}",
        error.chain()
    );
    assert!(!scene.world().is_alive(&made.id), "it was taken back");
}

#[tokio::test]
async fn s6_a_token_of_another_cluster_is_neither_revoked_nor_absent() {
    const OTHER: &str = "c0ffee00-0000-4000-8000-000000000002";
    let old = vault_sim::Setup {
        revoking_the_unknown: vault_sim::Unknown::Fails,
        ..setup()
    };
    for setup in [setup(), old] {
        let scene = Scene::of(setup, |_, _| {});
        let minted = scene.mint("reader").await.unwrap();
        let cluster = "c0ffee00-0000-4000-8000-000000000001";
        let handle = minted.handle.unwrap();
        assert!(handle.0.ends_with(&format!("@{cluster}")), "{handle:?}");
        // What this cluster does not know, as another one would not know the token above.
        let lost = Handle(format!("nobody@{cluster}"));
        assert_eq!(scene.inspect(Some(&lost)).await.unwrap(), Presence::Absent);
        scene.revoke(&lost).await.unwrap();
        let nothing = (ErrorKind::Unavailable, Effect::None);
        for other in [Some(OTHER), None] {
            scene.world().set_cluster(other);
            let error = scene.inspect(Some(&lost)).await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::Unavailable);
            let error = scene.revoke(&lost).await.unwrap_err();
            assert_eq!((error.kind, error.effect), nothing);
            // A handle of before this was looked at.
            let plain = Handle("nobody".to_owned());
            assert_eq!(scene.inspect(Some(&plain)).await.unwrap(), Presence::Absent);
            scene.revoke(&plain).await.unwrap();
        }
        scene.world().set_cluster(Some(cluster));
        for fault in [Fault::Status(502), Fault::Garbage, Fault::LoseReply] {
            scene.world().rule(Rule::at("sys/health", fault));
            assert!(scene.inspect(Some(&lost)).await.is_err());
            assert!(scene.revoke(&lost).await.is_err());
            scene.world().calm();
        }
        // What is over by itself is over in every cluster.
        scene.world().set_cluster(Some(OTHER));
        let call = InspectCall {
            purpose: Purpose::TakeAway,
            request: request(),
            target: &scene.target("reader"),
            parameters: &Parameters::new(),
            handle: Some(&lost),
            expires_at: scene.clock.now() - Duration::from_secs(95),
            send_before: None,
        };
        assert_eq!(scene.tokens.inspect(call).await.unwrap(), Presence::Absent);
        // Where it is, it is found and revoked, whatever the cluster says of itself.
        assert_eq!(
            scene.inspect(Some(&handle)).await.unwrap(),
            Presence::Present
        );
        scene.revoke(&handle).await.unwrap();
        assert!(!scene.world().is_alive(minted.secret.expose()));
    }
}

#[tokio::test]
async fn a_vault_that_does_not_say_which_cluster_it_is_makes_plain_handles() {
    let scene = Scene::new();
    scene.world().set_cluster(None);
    let minted = scene.mint("reader").await.unwrap();
    assert!(!minted.handle.unwrap().0.contains('@'));
    // And where it cannot be asked, nothing is asked for.
    for fault in [Fault::Status(502), Fault::Garbage, Fault::LoseReply] {
        scene.world().rule(Rule::at("sys/health", fault));
        let made = scene.calls("auth/token/create-orphan").len();
        let error = scene.mint("reader").await.unwrap_err();
        assert_eq!(
            (error.kind, error.effect),
            (ErrorKind::Unavailable, Effect::None)
        );
        assert_eq!(scene.calls("auth/token/create-orphan").len(), made);
        scene.world().calm();
    }
}

#[tokio::test]
async fn s2_a_token_that_vault_makes_a_little_late_does_not_outlive_its_end() {
    for (left, asked, outlives) in [(900, 895, 0), (61, 56, 0), (60, 60, 5), (10, 10, 5)] {
        let scene = Scene::new();
        scene.ask().await.unwrap();
        let end = scene.clock.now() + Duration::from_secs(left);
        // Vault takes it five seconds after it was counted.
        let late = Fault::Delay(Duration::from_secs(5));
        scene.world().rule(Rule::at("auth/token/create", late));
        let minted = scene.mint_until("reader", end).await.unwrap();
        let token = scene.world().token(accessor(&minted.handle.unwrap()));
        let token = token.unwrap();
        assert_eq!(token.ttl_secs, asked, "{left}");
        let latest = end + Duration::from_secs(outlives);
        assert_eq!(token.ends_micros, Some(latest.unix_micros()), "{left}");
    }
}
