//! What goes wrong, and what becomes of it.

use std::time::Duration;

use jit_core::ports::{
    Clock, Effect, ErrorKind, GrantCall, InspectCall, Provisioner, Purpose, RevokeCall,
};
use jit_core::provider::{Parameters, Presence};
use services_sim::{Fault, Grafana, HomeAssistant, InfluxDb};

use super::{Kept, clock, mint, now_of, request, settings, target};
use crate::Tokens;

const ORGANIZATION: &str = "00000000000000aa";

/// All that anybody could print of an error.
fn printed(error: &jit_core::ports::PortError) -> String {
    format!(
        "{error} {error:?} {error:#?} {} {:?}",
        error.chain(),
        error.told
    )
}

#[tokio::test]
async fn e7_grafana_is_told_for_how_long_in_whole_seconds_that_are_left() {
    let clock = clock();
    let sim = Grafana::start(5, "admin", now_of(&clock)).await;
    let kept = Kept::with(&[("jit_admin_token", "admin"), ("service_account_id", "5")]);
    let tokens = Tokens::of_grafana(settings(sim.url(), &kept, &clock)).unwrap();
    let on = target(&tokens, "service_account").await.unwrap();
    clock.advance(Duration::from_millis(1));
    let (began, none) = (clock.now(), Parameters::new());
    let call = |life: Duration| GrantCall {
        request: request(1),
        target: &on,
        parameters: &none,
        template: None,
        expires_at: began + life,
        send_before: began + Duration::from_secs(30),
    };
    let refused = tokens
        .mint(call(Duration::from_millis(999)))
        .await
        .unwrap_err();
    assert_eq!(refused.effect, Effect::None, "less than a second is left");
    assert!(sim.tokens().is_empty());
    let minted = tokens
        .mint(call(Duration::from_millis(300_999)))
        .await
        .unwrap();
    let made = &sim.tokens()[0];
    let ends = (began + Duration::from_secs(300)).unix_micros();
    assert_eq!(made.expires_at, Some(ends), "no later than it is to end");
    assert_eq!(made.name, format!("jit {}", request(1)));
    let notes = [
        ("backend", "grafana"),
        ("service_account_id", "5"),
        ("type", "service_account_token"),
    ];
    let notes = notes.map(|(name, value)| (name, value.to_owned()));
    assert_eq!(minted.notes, notes.into());
}

#[tokio::test]
async fn e7_an_authorization_of_influxdb_only_reads() {
    let clock = clock();
    let sim = InfluxDb::start(ORGANIZATION, "admin").await;
    let kept = Kept::with(&[("admin_token", "admin"), ("org_id", ORGANIZATION)]);
    let tokens = Tokens::of_influxdb(settings(sim.url(), &kept, &clock)).unwrap();
    let two = "00000000000000b1,00000000000000b2";
    for (number, resource) in [(1, "buckets"), (2, two)] {
        let on = target(&tokens, resource).await.unwrap();
        mint(&tokens, &on, clock.now(), number).await.unwrap();
    }
    let made = sim.authorizations();
    for permission in made.iter().flat_map(|it| &it.permissions) {
        assert_eq!(permission["action"], "read", "{permission}");
        assert_eq!(permission["resource"]["orgID"], ORGANIZATION);
    }
    assert_eq!(made[1].permissions.len(), 2);
    assert_eq!(made[1].permissions[1]["resource"]["id"], "00000000000000b2");
}

#[tokio::test]
async fn what_is_not_written_as_it_has_to_be_is_refused() {
    let clock = clock();
    let sim = InfluxDb::start(ORGANIZATION, "admin").await;
    let kept = Kept::with(&[("admin_token", "admin"), ("org_id", ORGANIZATION)]);
    let tokens = Tokens::of_influxdb(settings(sim.url(), &kept, &clock)).unwrap();
    let many = vec!["00000000000000b1"; 50].join(",");
    let more = vec!["00000000000000b1"; 51].join(",");
    assert!(target(&tokens, &many).await.is_ok());
    for wrong in [
        "",
        "b1",
        "buckets,b1",
        "00000000000000b1,",
        "../buckets",
        &more,
    ] {
        let refused = target(&tokens, wrong).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Misconfigured, "{wrong:?}");
        assert!(refused.told.is_some());
    }
    kept.set("org_id", "the one");
    assert!(target(&tokens, "buckets").await.is_err());
    let grafana = Tokens::of_grafana(settings(sim.url(), &kept, &clock)).unwrap();
    for wrong in ["", "5/..", "-5", "five"] {
        assert!(target(&grafana, wrong).await.is_err(), "{wrong:?}");
    }
    let lacking = target(&grafana, "service_account").await.unwrap_err();
    assert_eq!(lacking.kind, ErrorKind::Misconfigured);
    assert!(
        lacking.chain().contains("service_account_id"),
        "{}",
        lacking.chain()
    );
}

#[tokio::test]
async fn e12_an_authorization_whose_answer_was_lost_is_found_and_deleted() {
    let clock = clock();
    let sim = InfluxDb::start(ORGANIZATION, "admin").await;
    let kept = Kept::with(&[("admin_token", "admin"), ("org_id", ORGANIZATION)]);
    let tokens = Tokens::of_influxdb(settings(sim.url(), &kept, &clock)).unwrap();
    let on = target(&tokens, "buckets").await.unwrap();
    sim.set_fault(Some(Fault::Elsewhere));
    let elsewhere = mint(&tokens, &on, clock.now(), 1).await.unwrap_err();
    assert_eq!(elsewhere.effect, Effect::None, "it was sent elsewhere");
    assert!(sim.authorizations().is_empty());
    for fault in [Fault::LoseReply, Fault::Garbage] {
        sim.set_fault(Some(fault));
        let lost = mint(&tokens, &on, clock.now(), 1).await.unwrap_err();
        assert_eq!(lost.effect, Effect::Unknown, "{fault:?}");
        sim.set_fault(None);
    }
    assert_eq!(sim.authorizations().len(), 2);
    let parameters = Parameters::new();
    let call = RevokeCall {
        request: request(1),
        target: &on,
        parameters: &parameters,
        handle: None,
        send_before: clock.now() + Duration::from_secs(30),
    };
    tokens.revoke(call).await.unwrap();
    assert!(
        sim.authorizations().iter().all(|it| it.is_deleted),
        "both are gone"
    );
}

#[tokio::test]
async fn an_end_goes_on_while_nobody_can_read_what_opens_the_door() {
    let clock = clock();
    let sim = InfluxDb::start(ORGANIZATION, "admin").await;
    let kept = Kept::with(&[("admin_token", "admin"), ("org_id", ORGANIZATION)]);
    let tokens = Tokens::of_influxdb(settings(sim.url(), &kept, &clock)).unwrap();
    let on = target(&tokens, "buckets").await.unwrap();
    mint(&tokens, &on, clock.now(), 1).await.unwrap();
    kept.goes_away();
    let refused = mint(&tokens, &on, clock.now(), 2).await.unwrap_err();
    assert_eq!(
        (refused.kind, refused.effect),
        (ErrorKind::Unavailable, Effect::None)
    );
    let parameters = Parameters::new();
    let call = RevokeCall {
        request: request(1),
        target: &on,
        parameters: &parameters,
        handle: None,
        send_before: clock.now() + Duration::from_secs(30),
    };
    tokens.revoke(call).await.unwrap();
    assert!(sim.authorizations()[0].is_deleted);
}

#[tokio::test]
async fn e7_a_token_of_home_assistant_is_known_to_end() {
    let clock = clock();
    let sim = HomeAssistant::start("refresh", "client", now_of(&clock)).await;
    let kept = Kept::with(&[("refresh_token", "refresh"), ("client_id", "client")]);
    let tokens = Tokens::of_home_assistant(settings(sim.url(), &kept, &clock)).unwrap();
    let on = target(&tokens, "access_token").await.unwrap();
    let minted = mint(&tokens, &on, clock.now(), 1).await.unwrap();
    let half_an_hour = Duration::from_secs(1_800);
    assert_eq!(minted.ends_at, Some(clock.now() + half_an_hour));
    let parameters = Parameters::new();
    let look = |send_before| InspectCall {
        purpose: Purpose::TakeAway,
        request: request(1),
        target: &on,
        parameters: &parameters,
        handle: None,
        expires_at: clock.now() + Duration::from_secs(900),
        send_before,
    };
    let sent = clock.now() + Duration::from_secs(30);
    let gone = Presence::GoneBy(sent + Duration::from_secs(90) + half_an_hour);
    assert_eq!(tokens.inspect(look(Some(sent))).await.unwrap(), gone);
    assert_eq!(tokens.inspect(look(None)).await.unwrap(), Presence::Absent);
    kept.set("refresh_token", "taken back");
    let refused = mint(&tokens, &on, clock.now(), 2).await.unwrap_err();
    assert_eq!(
        (refused.kind, refused.effect),
        (ErrorKind::Misconfigured, Effect::None)
    );
}

#[tokio::test]
async fn s15_no_error_holds_a_secret() {
    let clock = clock();
    let sim = Grafana::start(5, "another", now_of(&clock)).await;
    let canary = "canary-admin-token";
    let kept = Kept::with(&[("jit_admin_token", canary), ("service_account_id", "5")]);
    let tokens = Tokens::of_grafana(settings(sim.url(), &kept, &clock)).unwrap();
    assert!(!format!("{tokens:?}").contains(canary));
    let on = target(&tokens, "5").await.unwrap();
    let refused = mint(&tokens, &on, clock.now(), 1).await.unwrap_err();
    assert_eq!(
        (refused.kind, refused.effect),
        (ErrorKind::Forbidden, Effect::None)
    );
    assert!(!printed(&refused).contains(canary));
    kept.set("jit_admin_token", "canary\nwith a line");
    let refused = mint(&tokens, &on, clock.now(), 2).await.unwrap_err();
    assert_eq!(refused.effect, Effect::None);
    assert!(!printed(&refused).contains("canary"));
    // The secret is in the answer that cannot be read.
    kept.set("jit_admin_token", "another");
    sim.set_fault(Some(Fault::Garbage));
    let unread = mint(&tokens, &on, clock.now(), 3).await.unwrap_err();
    assert_eq!(unread.effect, Effect::Unknown);
    let key = sim.tokens()[0].key.clone();
    assert!(!printed(&unread).contains(&key));
}

#[tokio::test]
async fn e8_a_service_that_is_not_there_did_nothing() {
    let clock = clock();
    let kept = Kept::with(&[("jit_admin_token", "admin"), ("service_account_id", "5")]);
    // Nobody listens on the discard port.
    let tokens = Tokens::of_grafana(settings("http://127.0.0.1:9", &kept, &clock)).unwrap();
    let on = target(&tokens, "5").await.unwrap();
    let refused = mint(&tokens, &on, clock.now(), 1).await.unwrap_err();
    assert_eq!(
        (refused.kind, refused.effect),
        (ErrorKind::Unavailable, Effect::None)
    );
}

#[tokio::test]
async fn e11_a_service_that_never_answers_is_given_up_after_ten_seconds() {
    let clock = clock();
    let sim = Grafana::start(5, "admin", now_of(&clock)).await;
    let kept = Kept::with(&[("jit_admin_token", "admin"), ("service_account_id", "5")]);
    let tokens = Tokens::of_grafana(settings(sim.url(), &kept, &clock)).unwrap();
    let on = target(&tokens, "5").await.unwrap();
    sim.set_fault(Some(Fault::Hang));
    // The runtime's clock moves on by itself where everything waits.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let given_up = mint(&tokens, &on, clock.now(), 1).await.unwrap_err();
    assert_eq!(
        (given_up.kind, given_up.effect),
        (ErrorKind::Unavailable, Effect::Unknown)
    );
    assert!(
        began.elapsed() <= Duration::from_secs(11),
        "{:?}",
        began.elapsed()
    );
}
