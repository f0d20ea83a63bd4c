//! Stories of people: each is one promise of the product, lived through the workspace.

use std::time::Duration;

use jit_core::audit::Fact;
use jit_core::engine::Verb;
use jit_core::policy::{Effect, Right, Rule};
use jit_core::principal::{Door, Principal};
use jit_core::request::{Approver, Status};
use jit_slack::{EmailMatch, Route, Settings};
use serde_json::json;

use crate::world::{By, World, long, rule, settings};

/// Ana asks, Bob approves, the access is there until the clock takes it away, and everybody sees it.
async fn ask_approve_expire(by: By) {
    let world = World::with(by, settings()).await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    assert!(
        card.words().contains("the checkout is down"),
        "{}",
        card.words()
    );
    let bob = world.slack.user("U0BOB");
    assert!(bob.click(&card, "jit_approve").await.acked());
    let active = world.card("U0BOB", "active until").await;
    assert!(!active.shows("jit_approve"));
    assert!(active.shows("jit_revoke"));
    let request = world.request(Status::Active).await;
    assert!(world.is_there(&request));
    let ana = world.slack.user("U0ANA");
    let given = world
        .slack
        .wait_for(&ana, "dm", |message| {
            message.words().contains("is yours until")
        })
        .await;
    assert!(given.shows("jit_done"));
    assert!(given.words().contains("Sign in again."), "how to use it");
    // An instant that Slack shows in the time zone of whoever reads it.
    let ends = request.grant().unwrap().expires_at.unix_micros() / 1_000_000;
    let until = format!("is yours until <!date^{ends}^");
    assert!(given.text.contains(&until), "{}", given.text);
    assert!(given.blocks[0].to_string().contains(&until), "{given:?}");
    // Ten minutes, or a fifth of the whole, before the end she is warned.
    world
        .clock
        .set(request.grant().unwrap().expires_at - Duration::from_secs(359));
    let warning = world
        .slack
        .wait_for(&ana, "dm", |message| message.words().contains("ends"))
        .await;
    assert!(warning.shows("jit_done"));
    world.clock.set(request.grant().unwrap().expires_at);
    let told = world
        .slack
        .wait_for(&ana, "dm", |message| {
            message.ts > warning.ts && message.words().contains("Ended: its time is up")
        })
        .await;
    assert!(told.shows("jit_again"));
    // No button is left that does nothing, on what was said before either.
    let said = ana.dm().await;
    assert!(
        said.len() == 3 && !said.iter().any(|message| message.shows("jit_done")),
        "{said:#?}"
    );
    let over = world.card("U0BOB", "Ended: its time is up").await;
    assert!(!over.shows("jit_revoke"));
    assert!(!world.is_there(&request));
    // Its thread says each step once.
    let said = bob.messages("C0SEC").await;
    let lines = said
        .iter()
        .filter(|it| it.thread_ts.as_ref() == Some(&card.ts));
    let lines: Vec<String> = lines.map(slack_sim::Message::words).collect();
    for step in ["pproved", "ctive", "nded"] {
        let told = lines.iter().filter(|line| line.contains(step));
        assert_eq!(told.count(), 1, "{step}: {lines:#?}");
    }
    assert_eq!(world.slack.seen_errors(), Vec::<String>::new());
    assert_eq!(world.slack.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn b1_b2_b5_b8_c9_what_is_asked_in_slack_is_decided_there_and_ends_by_the_clock() {
    ask_approve_expire(By::Socket).await;
}

#[tokio::test]
async fn a2_the_same_over_http() {
    ask_approve_expire(By::Http).await;
}

#[tokio::test]
async fn d2_of_two_who_click_at_once_one_decides_and_the_other_is_told_who() {
    let world = World::new().await;
    world
        .slack
        .edit_group("S0OFFICERS", &["U0BOB", "U0CLEO"])
        .await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    let (bob, cleo) = (world.slack.user("U0BOB"), world.slack.user("U0CLEO"));
    let seen = world.card("U0CLEO", "Pending").await;
    let (one, other) = tokio::join!(
        bob.click(&card, "jit_approve"),
        cleo.click(&seen, "jit_approve")
    );
    assert!(one.acked() && other.acked());
    let request = world.request(Status::Active).await;
    assert_eq!(request.approvals.len(), 1);
    let id = request.id.to_string();
    let Approver::Person(winner) = &request.approvals[0].by else {
        panic!("nobody approved");
    };
    let by_whom = format!("by {winner}");
    let told = async |who| {
        let person = world.slack.user(who);
        let messages = person.messages("C0SEC").await;
        messages.into_iter().any(|message| {
            let words = message.words();
            let says = |what: &str| words.contains(what);
            message.ephemeral && says("Already") && says(&by_whom) && says(&id)
        })
    };
    for _ in 0..100 {
        if told("U0BOB").await || told("U0CLEO").await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        told("U0BOB").await != told("U0CLEO").await,
        "one of the two"
    );
}

#[tokio::test]
async fn a_denial_carries_its_reason_to_the_requester() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    let bob = world.slack.user("U0BOB");
    bob.click(&card, "jit_deny").await;
    let form = bob.modal().await;
    form.fill("reason", "not today,\n<!channel> *ever*");
    assert!(matches!(form.submit().await, slack_sim::Submitted::Closed));
    let denied = world.card("U0BOB", "Denied by").await;
    assert!(!denied.shows("jit_approve"));
    let ana = world.slack.user("U0ANA");
    let told = world
        .slack
        .wait_for(&ana, "dm", |message| message.words().contains("Denied by"))
        .await;
    assert!(
        told.words().contains("not today, <!channel> *ever*"),
        "{}",
        told.words()
    );
    assert!(told.shows("jit_again"));
    let request = world.request(Status::Denied).await;
    assert!(!world.is_there(&request));
    // What was decided is decided, also for somebody who still sees the buttons.
    assert!(bob.stale_click(&card, "jit_approve").await.acked());
    world.told(&bob, "C0SEC", "Already denied").await;
}

#[tokio::test]
async fn c7_d3_an_approver_may_choose_a_shorter_time() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    let bob = world.slack.user("U0BOB");
    bob.click(&card, "jit_approve_edit").await;
    let form = bob.modal().await;
    form.pick("duration", "300").await;
    form.submit().await;
    let active = world.card("U0BOB", "active until").await;
    assert!(
        active.words().contains("for 5 min (asked 30 min)"),
        "{}",
        active.words()
    );
    let request = world.request(Status::Active).await;
    let grant = request.grant().unwrap();
    assert_eq!(
        grant.expires_at.since(grant.approved_at),
        Duration::from_secs(300)
    );
}

#[tokio::test]
async fn b5_whoever_is_done_returns_the_access_early_and_asks_again_with_one_click() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    world.slack.user("U0BOB").click(&card, "jit_approve").await;
    let ana = world.slack.user("U0ANA");
    let given = world
        .slack
        .wait_for(&ana, "dm", |message| message.shows("jit_done"))
        .await;
    ana.click(&given, "jit_done").await;
    let over = world
        .slack
        .wait_for(&ana, "dm", |message| {
            message.words().contains("returned early")
        })
        .await;
    let request = world.requests().await.remove(0);
    assert!(!world.is_there(&request));
    ana.click(&over, "jit_again").await;
    let form = ana
        .modal_where(|view| view.to_string().contains("\"policy\""))
        .await;
    let view = form.view().to_string();
    assert!(
        view.contains("memory/admins") && view.contains("the checkout is down"),
        "{view}"
    );
}

#[tokio::test]
async fn nobody_decides_their_own_request_and_nobody_else_hears_that_they_tried() {
    let world = World::new().await;
    world.ask("U0BOB", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    let bob = world.slack.user("U0BOB");
    bob.click(&card, "jit_approve").await;
    let told = world.told(&bob, "C0SEC", "You may not decide").await;
    let id = world.request(Status::Pending).await.id.to_string();
    assert!(told.words().contains(&id), "{}", told.words());
    // Ana may not approve at all: she is told that there is nothing for her.
    let ana = world.slack.user("U0ANA");
    let card = world.card("U0ANA", "Pending").await;
    ana.click(&card, "jit_approve").await;
    let told = world.told(&ana, "C0SEC", "no such request").await;
    assert!(told.words().contains(&id), "{}", told.words());
    let cleo = world.slack.user("U0CLEO");
    let seen = cleo.messages("C0SEC").await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    world.request(Status::Pending).await;
}

#[tokio::test]
async fn b10_more_time_is_a_fresh_request_with_a_fresh_decision_and_no_gap() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    let (ana, bob) = (world.slack.user("U0ANA"), world.slack.user("U0BOB"));
    bob.click(&card, "jit_approve").await;
    let first = world.request(Status::Active).await;
    let expires_at = first.grant().unwrap().expires_at;
    let given = world.dm("U0ANA", "is yours until").await;
    world.clock.set(expires_at - Duration::from_secs(359));
    let warning = world.dm("U0ANA", "Nothing is renewed by itself").await;
    // The form has in it what she asked for before, and it is a request like any other.
    ana.click(&warning, "jit_again").await;
    let form = ana
        .modal_where(|view| view.to_string().contains("\"policy\""))
        .await;
    let view = form.view().to_string();
    assert!(
        view.contains("memory/admins") && view.contains("the checkout is down"),
        "{view}"
    );
    form.submit().await;
    let pending = world.request(Status::Pending).await;
    let fresh = world.card("U0BOB", "Pending").await;
    assert_ne!(fresh.ts, card.ts, "a card of its own");
    // Asking moves nothing.
    let asked_again = world.load(&first).await;
    assert_eq!(asked_again.grant().unwrap().expires_at, expires_at);
    bob.click(&fresh, "jit_approve").await;
    let first = world.request(Status::Closed).await;
    let second = world.request(Status::Active).await;
    assert_eq!(second.id, pending.id);
    assert_eq!(first.grant().unwrap().expires_at, expires_at, "never moved");
    assert!(second.grant().unwrap().expires_at > expires_at);
    // Both say that the one goes on with the other, and nothing is left to click on the old one.
    let over = world.card("U0BOB", "Taken over by").await;
    assert_eq!(over.ts, card.ts);
    assert!(over.words().contains(&second.id.to_string()));
    assert!(!over.shows("jit_revoke"), "{}", over.words());
    for told in [given, warning] {
        let now = world.dm_at("U0ANA", &told.ts, "Taken over by").await;
        assert!(!now.shows("jit_done") && !now.shows("jit_again"), "{now:?}");
    }
    let longer = world.dm("U0ANA", "is yours until").await;
    assert!(longer.shows("jit_done"));
    // Past the old end the access is there still, and it was there all the time.
    world.clock.set(expires_at + Duration::from_secs(1));
    assert!(world.is_there(&second));
    let part = second.parts.first();
    let slot = part.target.slot_key(&part.parameters);
    let held = world.provider.ledger().effective_intervals(&slot);
    assert_eq!(held.len(), 1, "without a gap: {held:?}");
    world.clock.set(second.grant().unwrap().expires_at);
    world.dm("U0ANA", "Ended: its time is up").await;
    assert!(!world.is_there(&second));
}

#[tokio::test]
async fn a_pending_request_is_withdrawn_by_its_requester_alone() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    let bob = world.slack.user("U0BOB");
    bob.click(&card, "jit_withdraw").await;
    world.told(&bob, "C0SEC", "Only the requester").await;
    let card = world.card("U0ANA", "Pending").await;
    world.slack.user("U0ANA").click(&card, "jit_withdraw").await;
    world.card("U0BOB", "Withdrawn by").await;
    world.request(Status::Withdrawn).await;
}

#[tokio::test]
async fn b11_a_request_that_nobody_answers_is_brought_up_again_and_lapses_on_its_card() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    world.card("U0BOB", "Pending").await;
    let bob = world.slack.user("U0BOB");
    let reminders = async || {
        let seen = bob.messages("C0SEC").await;
        seen.iter()
            .filter(|it| it.words().contains("still waits"))
            .count()
    };
    // After ten minutes, and then after twenty more.
    for (minutes, expected) in [(9, 0), (10, 1), (29, 1), (30, 2)] {
        world
            .clock
            .set(jit_testkit::sample::start() + Duration::from_secs(minutes * 60));
        world.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(reminders().await, expected, "after {minutes} minutes");
    }
    let reminder = world
        .slack
        .wait_for(&bob, "C0SEC", |message| {
            message.words().contains("still waits")
        })
        .await;
    assert!(reminder.thread_ts.is_some(), "in the thread");
    assert!(
        reminder.text.contains("<!subteam^S0OFFICERS>"),
        "{}",
        reminder.text
    );
    world.clock.advance(Duration::from_secs(3_600));
    let lapsed = world.card("U0BOB", "Nobody answered in time").await;
    assert!(!lapsed.shows("jit_approve"));
    world.request(Status::Lapsed).await;
}

#[tokio::test]
async fn b11_a_reminder_mentions_whoever_may_decide_and_has_not_yet() {
    let with = |remind| {
        let mut settings = settings();
        settings.routes[0].remind = remind;
        settings
    };
    let reminded = async |world: &World| {
        world.clock.advance(Duration::from_secs(600));
        let bob = world.slack.user("U0BOB");
        let reminder = world.slack.wait_for(&bob, "C0SEC", |message| {
            message.words().contains("still waits")
        });
        let text = reminder.await.text;
        text.split(" still waits").next().unwrap().to_owned()
    };
    // A user group and Bob by rules of their own; Cleo and Ana by their group, but it is Ana's own.
    let wiki = || rule("group:wiki", &[Right::Approve]);
    let world = World::ruled(with(None), vec![wiki()]).await;
    world.ask("U0ANA", "memory/vault").await;
    let card = world.card("U0BOB", "Pending").await;
    assert_eq!(
        reminded(&world).await,
        ":bell: <!subteam^S0OFFICERS> <@U0BOB> <@U0CLEO> <@U0ANA>",
        "and then who waits"
    );
    // Whoever approved waits for others as well.
    world.slack.user("U0BOB").click(&card, "jit_approve").await;
    world.card("U0BOB", "1 of 2").await;
    world.clock.advance(Duration::from_secs(1_200));
    let bob = world.slack.user("U0BOB");
    let second = world.slack.wait_for(&bob, "C0SEC", |message| {
        let text = message.text.as_str();
        text.contains("still waits") && !text.contains("<@U0BOB>")
    });
    assert!(second.await.text.contains("<@U0CLEO>"));

    // A rule that takes the right takes the mention.
    let never = |who| Rule {
        effect: Effect::Deny,
        ..rule(who, &[Right::Approve])
    };
    let denied = vec![
        wiki(),
        never("bob@example.com"),
        never("group:slack:S0OFFICERS"),
    ];
    let world = World::ruled(with(None), denied).await;
    world.ask("U0ANA", "memory/vault").await;
    world.card("U0CLEO", "Pending").await;
    assert_eq!(reminded(&world).await, ":bell: <@U0CLEO> <@U0ANA>");

    // What the operator says comes first.
    let world = World::ruled(with(Some("S0OTHER".parse().unwrap())), vec![wiki()]).await;
    world.ask("U0ANA", "memory/vault").await;
    world.card("U0BOB", "Pending").await;
    assert_eq!(reminded(&world).await, ":bell: <!subteam^S0OTHER> <@U0ANA>");
}

#[tokio::test]
async fn an_approval_that_races_the_lapse_counts_whole_or_not_at_all() {
    for early in [0, 1] {
        let world = World::new().await;
        world.ask("U0ANA", "memory/admins").await;
        let card = world.card("U0BOB", "Pending").await;
        let request = world.request(Status::Pending).await;
        let bob = world.slack.user("U0BOB");
        // The last microsecond is in time; the instant itself is not.
        world
            .clock
            .set(request.decide_by - Duration::from_micros(early));
        assert!(bob.click(&card, "jit_approve").stale().await.acked());
        if early == 0 {
            world.told(&bob, "C0SEC", "Nobody decided by").await;
            world.card("U0BOB", "Nobody answered in time").await;
            let lapsed = world.request(Status::Lapsed).await;
            assert!(lapsed.approvals.is_empty() && !world.is_there(&lapsed));
        } else {
            let active = world.request(Status::Active).await;
            assert!(world.is_there(&active));
        }
    }
}

#[tokio::test]
async fn a3_a_check_mark_approves_where_the_tier_allows_it() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    // Anybody else's reaction decides nothing, and so does any other one.
    let (ana, bob) = (world.slack.user("U0ANA"), world.slack.user("U0BOB"));
    ana.react(&card, "white_check_mark").await;
    let hint = world.told(&ana, "C0SEC", "You may not decide").await;
    let request = world.request(Status::Pending).await;
    assert!(hint.words().contains(&request.id.to_string()));
    bob.react(&card, "eyes").await;
    world.worked_through().await;
    world.request(Status::Pending).await;
    bob.react(&card, "white_check_mark::skin-tone-3").await;
    let active = world.request(Status::Active).await;
    world.card("U0BOB", "active until").await;
    // Taking the reaction back takes nothing away.
    let name = "white_check_mark::skin-tone-3";
    assert!(bob.unreact(&card, name).await.acked());
    world.worked_through().await;
    let still = world.request(Status::Active).await;
    assert!(world.is_there(&active) && still.approvals.len() == 1);
    let seen = bob.messages("C0SEC").await;
    assert!(!seen.iter().any(|it| it.ephemeral), "{seen:#?}");
}

#[tokio::test]
async fn a3_whoever_reacts_and_decides_nothing_gets_one_private_hint_and_no_more() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    // Ana asked for it herself, and Cleo is nobody here.
    let alias = "slack:U0CLEO".parse().unwrap();
    world.people.aliases.lock().unwrap().remove(&alias);
    for who in ["U0ANA", "U0CLEO"] {
        let person = world.slack.user(who);
        for _ in 0..2 {
            assert!(person.react(&card, "white_check_mark").await.acked());
            world.told(&person, "C0SEC", "").await;
            world.worked_through().await;
            person.unreact(&card, "white_check_mark").await;
        }
        let seen = person.messages("C0SEC").await;
        let hints: Vec<_> = seen.into_iter().filter(|it| it.ephemeral).collect();
        assert_eq!(hints.len(), 1, "{who}: {hints:#?}");
        let request = world.request(Status::Pending).await;
        assert!(hints[0].words().contains(&request.id.to_string()));
    }
    let seen = world.slack.user("U0BOB").messages("C0SEC").await;
    assert_eq!(seen.len(), 1, "nobody else hears of it: {seen:#?}");
}

#[tokio::test]
async fn a3_a_check_mark_counts_on_the_oldest_card_however_much_is_pending() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    for number in 1..=2_500 {
        let another = jit_testkit::sample::request(number);
        let stored = serde_json::to_string(&another).unwrap();
        world.store.put_stored(another.id, &stored);
    }
    let bob = world.slack.user("U0BOB");
    bob.react(&card, "white_check_mark").await;
    world.card("U0BOB", "active until").await;
}

#[tokio::test]
async fn a3_a_check_mark_on_what_somebody_else_wrote_decides_nothing() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    for (number, author) in ["U0ANA", "U0JITBOT"].into_iter().enumerate() {
        let event = json!({
            "type": "event_callback", "team_id": world.slack.team(),
            "event_id": format!("Ev{number}"),
            "event": {
                "type": "reaction_added", "user": "U0BOB", "reaction": "white_check_mark",
                "item_user": author,
                "item": {"type": "message", "channel": "C0SEC", "ts": card.ts},
            },
        });
        world.request(Status::Pending).await;
        assert!(world.slack.raw(None, "events_api", event).await.acked());
        world.worked_through().await;
    }
    world.request(Status::Active).await;
}

#[tokio::test]
async fn a_reaction_that_means_nothing_is_answered_by_nothing_whoever_makes_it() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0CLEO", "Pending").await;
    // Cleo is nobody here, and likes what she sees.
    let alias = "slack:U0CLEO".parse().unwrap();
    world.people.aliases.lock().unwrap().remove(&alias);
    let cleo = world.slack.user("U0CLEO");
    cleo.react(&card, "eyes").await;
    let thread = world.slack.user("U0BOB");
    thread.say("C0SEC", "looks fine to me").await;
    let chat = world
        .slack
        .wait_for(&cleo, "C0SEC", |message| {
            message.words().contains("looks fine to me")
        })
        .await;
    cleo.react(&chat, "white_check_mark").await;
    world.worked_through().await;
    let seen = cleo.messages("C0SEC").await;
    assert!(!seen.iter().any(|it| it.ephemeral), "{seen:#?}");
    // A check mark on the card is meant for us, and she is told what to do.
    cleo.react(&card, "white_check_mark").await;
    world.told(&cleo, "C0SEC", "not linked to a person").await;
    world.request(Status::Pending).await;
}

#[tokio::test]
async fn a3_a_check_mark_decides_nothing_in_a_tier_that_does_not_allow_it() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/vault").await;
    let card = world.card("U0BOB", "Pending").await;
    let bob = world.slack.user("U0BOB");
    bob.react(&card, "white_check_mark").await;
    world
        .told(&bob, "C0SEC", "decides nothing in this tier")
        .await;
    let request = world.request(Status::Pending).await;
    assert!(request.approvals.is_empty());
}

#[tokio::test]
async fn a1_asking_for_somebody_else_needs_the_right_to_and_neither_of_the_two_decides() {
    let world = World::new().await;
    // Both may approve, as far as the policy goes.
    world
        .slack
        .edit_group("S0OFFICERS", &["U0ANA", "U0BOB", "U0CLEO"])
        .await;
    let cleo = world.slack.user("U0CLEO");
    cleo.slash("/request-admin", "bob@example.com")
        .in_channel("C0SEC")
        .await;
    let form = cleo.modal().await;
    form.fill("reason", "the checkout is down");
    form.submit().await;
    let card = world.card("U0BOB", "Pending").await;
    assert!(card.words().contains("<@U0CLEO> for <@U0BOB>"));
    for either in ["U0BOB", "U0CLEO"] {
        let person = world.slack.user(either);
        let card = world.card(either, "Pending").await;
        person.click(&card, "jit_approve").await;
        let told = world.told(&person, "C0SEC", "You may not decide").await;
        let request = world.request(Status::Pending).await;
        assert!(told.words().contains(&request.id.to_string()));
    }
    let (ana, bob) = (world.slack.user("U0ANA"), world.slack.user("U0BOB"));
    let card = world.card("U0ANA", "Pending").await;
    ana.click(&card, "jit_approve").await;
    world.request(Status::Active).await;
    // Each is told who has what: Bob has it, and Cleo, who asked, has nothing.
    let his = world.dm("U0BOB", "is yours until").await;
    assert!(his.shows("jit_done") && his.words().contains("Sign in again."));
    let hers = world
        .dm("U0CLEO", "<@U0BOB> has `memory/admins` until")
        .await;
    assert!(!hers.words().contains("yours"), "{}", hers.words());
    assert!(
        !hers.words().contains("Sign in again."),
        "it is not for her"
    );
    // She asked for it and may return it.
    cleo.click(&hers, "jit_done").await;
    let over = world.dm("U0CLEO", "returned early").await;
    assert!(over.words().contains("`memory/admins` for <@U0BOB>"));
    let over = world.dm("U0BOB", "returned early").await;
    assert!(!over.words().contains(" for "), "{}", over.words());
    for person in [&bob, &cleo] {
        let left = person.dm().await;
        assert!(!left.iter().any(|it| it.shows("jit_done")), "{left:#?}");
    }
}

#[tokio::test]
async fn a1_whoever_has_no_right_to_ask_for_somebody_else_is_told_so_in_the_window() {
    let world = World::new().await;
    let ana = world.slack.user("U0ANA");
    ana.slash("/request-admin", "bob@example.com")
        .in_channel("C0SEC")
        .await;
    let form = ana.modal().await;
    form.fill("reason", "the checkout is down");
    form.submit().await;
    let refused = ana
        .modal_where(|view| view.to_string().contains("do not have the right"))
        .await;
    assert!(refused.view().to_string().contains("Not requested"));
    assert!(world.requests().await.is_empty());
    assert!(ana.dm().await.is_empty());
}

#[tokio::test]
async fn a1_without_an_address_administration_is_asked_for_oneself() {
    let world = World::new().await;
    let ana = world.slack.user("U0ANA");
    ana.slash("/request-admin", "").in_channel("C0SEC").await;
    let form = ana.modal().await;
    assert!(form.view().to_string().contains("memory/admins"));
    form.fill("reason", "the checkout is down");
    form.submit().await;
    let request = world.request(Status::Pending).await;
    assert_eq!(request.requester, jit_testkit::stage::id("ana"));
    assert_eq!(request.beneficiary, request.requester);
    let card = world.card("U0BOB", "Pending").await;
    assert!(!card.words().contains(" for <@"), "{}", card.words());
}

#[tokio::test]
async fn d1_production_access_without_a_reason_is_refused_in_private_with_help() {
    let world = World::new().await;
    let ana = world.slack.user("U0ANA");
    ana.slash("/prod-access", "").in_channel("C0SEC").await;
    let told = world.told(&ana, "C0SEC", "A reason is missing").await;
    let example = "/prod-access \"the checkout is down";
    assert!(told.words().contains(example), "{}", told.words());
    assert!(world.requests().await.is_empty());
    ana.slash("/prod-access", "\"the checkout is down\"")
        .in_channel("C0SEC")
        .await;
    let form = ana.modal().await;
    form.submit().await;
    let card = world.card("U0BOB", "the checkout is down").await;
    assert!(card.words().contains("memory/admins"));
    // It is in the record, and in the audit.
    let why = "the checkout is down";
    let request = world.request(Status::Pending).await;
    assert_eq!(request.reason.as_str(), why);
    let bob = jit_testkit::stage::via("bob");
    let read = world.engine.read(&bob, request.id);
    let events = read.await.unwrap().events;
    let kept = events.iter().any(|event| match &event.event.what {
        Fact::Requested { reason, .. } => reason.as_str() == why,
        _ => false,
    });
    assert!(kept, "{events:#?}");
}

#[tokio::test]
async fn s10_whoever_is_nobody_here_is_told_in_private_what_to_do() {
    let world = World::new().await;
    for (user, says) in [
        ("U0GUEST", "Guests of a workspace cannot"),
        ("U0FAR", "another workspace"),
    ] {
        let stranger = world.slack.user(user);
        stranger.slash("/jit", "").in_channel("C0RANDOM").await;
        let told = world.told(&stranger, "C0RANDOM", "").await;
        assert!(told.words().contains(says), "{user}: {}", told.words());
    }
    // A person whom the directory does not know.
    let alias = "slack:U0ANA".parse().unwrap();
    world.people.aliases.lock().unwrap().remove(&alias);
    let ana = world.slack.user("U0ANA");
    ana.slash("/jit", "list").in_channel("C0RANDOM").await;
    let told = world.told(&ana, "C0RANDOM", "").await;
    assert!(
        told.words().contains("not linked to a person"),
        "{}",
        told.words()
    );
    assert!(world.requests().await.is_empty());
}

#[tokio::test]
async fn s10_an_address_names_a_person_only_where_that_is_wanted() {
    for (email_match, says) in [
        (EmailMatch::Off, "not linked to a person"),
        (EmailMatch::On, "asked for nothing"),
    ] {
        let settings = Settings {
            email_match,
            ..settings()
        };
        let world = World::with(By::Socket, settings).await;
        let alias = "slack:U0ANA".parse().unwrap();
        world.people.aliases.lock().unwrap().remove(&alias);
        let ana = world.slack.user("U0ANA");
        ana.slash("/jit", "list").in_channel("C0SEC").await;
        world.told(&ana, "C0SEC", says).await;
    }
}

#[tokio::test]
async fn s10_a_slack_user_who_was_one_person_never_becomes_another() {
    let world = World::new().await;
    let ana = world.slack.user("U0ANA");
    ana.slash("/jit", "list").in_channel("C0SEC").await;
    world.told(&ana, "C0SEC", "asked for nothing").await;
    let (alias, bob) = (
        "slack:U0ANA".parse().unwrap(),
        jit_testkit::stage::id("bob"),
    );
    world.people.aliases.lock().unwrap().insert(alias, bob);
    ana.slash("/jit", "list").in_channel("C0SEC").await;
    world.told(&ana, "C0SEC", "more than one person").await;
}

#[tokio::test]
async fn b1_the_global_shortcut_opens_the_form_from_anywhere() {
    let world = World::new().await;
    let ana = world.slack.user("U0ANA");
    assert!(ana.shortcut("jit_request").await.acked());
    let form = ana.modal().await;
    assert_eq!(form.options("target", "admins").await.len(), 1);
}

#[tokio::test]
async fn a_typed_end_is_done_with_the_end_and_ends_nothing_that_comes_later() {
    let world = World::new().await;
    let (ana, bob) = (world.slack.user("U0ANA"), world.slack.user("U0BOB"));
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    assert!(bob.click(&card, "jit_approve").await.acked());
    let request = world.request(Status::Active).await;
    let listed = ana.slash("/jit", "list").in_channel("C0SEC").await;
    assert!(listed.acked());
    world.told(&ana, "C0SEC", "Your requests").await;
    let id = request.id.to_string();
    let short = &id[id.len() - 6..];
    let asked = ana.slash("/jit", &format!("status {short}"));
    assert!(asked.in_channel("C0SEC").await.acked());
    world.told(&ana, "C0SEC", "the checkout is down").await;
    world.worked_through().await;
    // Nobody can be answered for a while; by then she may have other access.
    let faults = world.slack.faults();
    for method in ["response_url", "chat.postMessage", "conversations.open"] {
        faults.fail(method, slack_sim::Fault::Silence, slack_sim::Times::Always);
    }
    let done = ana.slash("/jit", "done").in_channel("C0SEC").await;
    assert!(done.acked());
    world.request(Status::Settling).await;
    assert_eq!(world.store.inputs_left(), 0, "ended, and the input is done");
}

#[tokio::test]
async fn b2_c7_each_request_lands_with_the_owners_of_what_it_asks_for() {
    let owners = slack_sim::Channel::public("C0VAULT", "vault")
        .with_bot()
        .members(&["U0ANA", "U0BOB"]);
    let workspace = slack_sim::Workspace::example().channel(owners);
    let slack = slack_sim::SlackSim::start(workspace).await;
    let route = |entitlements: &str, channel: &str| Route {
        entitlements: entitlements.parse().unwrap(),
        channel: channel.parse().unwrap(),
        remind: None,
        warning: None,
    };
    let settings = Settings {
        routes: vec![
            route("memory/vault", "C0VAULT"),
            route("memory/account-*", "C0SEC"),
        ],
        ..settings()
    };
    let store = std::sync::Arc::new(jit_testkit::store::MemoryStore::new());
    let world = World::around(slack, store, By::Socket, settings).await;
    let (ana, bob) = (world.slack.user("U0ANA"), world.slack.user("U0BOB"));
    let mut said = vec![];
    for entitlement in ["memory/vault", "memory/account-007", "memory/admins"] {
        world.ask("U0ANA", entitlement).await;
        let window = ana
            .modal_where(|view| view.to_string().contains("Sent"))
            .await;
        said.push(window.view().to_string());
        window.close().await;
    }
    assert!(said[0].contains("Sent to <#C0VAULT>"), "{}", said[0]);
    assert!(said[1].contains("Sent to <#C0SEC>"), "{}", said[1]);
    let mut cards = vec![];
    assert!(
        said[2].contains("No channel here decides it"),
        "{}",
        said[2]
    );
    for (channel, asks_for) in [("C0VAULT", "memory/vault"), ("C0SEC", "memory/account-007")] {
        let card = world
            .slack
            .wait_for(&bob, channel, |message| message.words().contains("Pending"));
        let card = card.await;
        assert!(card.words().contains(asks_for), "{}", card.words());
        assert_eq!(bob.messages(channel).await.len(), 1);
        cards.push(card);
    }
    // Everything that comes after is said in that thread.
    let card = &cards[0];
    bob.click(card, "jit_approve").await;
    let line = world.slack.wait_for(&bob, "C0VAULT", |message| {
        message.thread_ts.as_ref() == Some(&card.ts)
    });
    assert!(line.await.words().contains("Approved by <@U0BOB>"));
    // What has no channel waits for whoever decides it elsewhere, and is in their home.
    bob.open_home().await;
    let home = world.home("U0BOB", "memory/admins").await;
    assert!(home.contains("jit_review"));
    ana.click(&world.card("U0ANA", "Pending").await, "jit_withdraw")
        .await;
    world.home_without("U0BOB", "memory/account-007").await;
    bob.click_home("jit_review").await;
    let window = bob
        .modal_where(|view| view.to_string().contains("jit_approve"))
        .await;
    window.click("jit_approve").await;
    world.dm("U0ANA", "`memory/admins` is yours until").await;
    world.home_without("U0BOB", "memory/admins").await;
}

#[tokio::test]
async fn help_names_everything_that_can_be_typed() {
    let world = World::new().await;
    let ana = world.slack.user("U0ANA");
    ana.slash("/jit", "help").in_channel("C0RANDOM").await;
    let told = world.told(&ana, "C0RANDOM", "/jit help").await;
    for line in [
        "/jit: ask for access",
        "/jit list: ",
        "/jit status <id>: ",
        "/jit done [id]: return access early",
        "/request-admin [e-mail]: ",
        "/prod-access \"reason\": ",
    ] {
        assert!(told.words().contains(line), "{line} in {}", told.words());
    }
    // What is not understood is answered with the same.
    ana.slash("/jit", "halp").in_channel("C0RANDOM").await;
    let told = world
        .told(&ana, "C0RANDOM", "That was not understood")
        .await;
    assert!(told.words().contains("/jit done [id]"));
}

#[tokio::test]
async fn b1_five_hundred_entitlements_are_searched_from_memory() {
    let world = World::new().await;
    let ana = world.slack.user("U0ANA");
    ana.slash("/jit", "").in_channel("C0SEC").await;
    let form = ana.modal().await;
    let all = form.options("target", "").await;
    assert_eq!(all.len(), 100);
    assert!(
        all[99]["text"]["text"]
            .as_str()
            .unwrap()
            .contains("type to search")
    );
    let some = form.options("target", "account-4").await;
    assert_eq!(some.len(), 100);
    let one = form.options("target", "ACCOUNT-499").await;
    assert_eq!(one.len(), 1);
    assert_eq!(one[0]["value"], "memory/account-499");
    // The hint is no entitlement.
    form.pick("target", "-").await;
    form.fill("reason", "the checkout is down");
    let sent = form.submit().await;
    let slack_sim::Submitted::Errors(errors) = sent else {
        panic!("{sent:?}");
    };
    assert!(errors.contains_key("target"), "{errors:?}");
}

#[tokio::test]
async fn b1_the_longest_names_are_chosen_from_the_list_like_any_other() {
    let world = World::new().await;
    let ana = world.slack.user("U0ANA");
    ana.slash("/jit", "").in_channel("C0SEC").await;
    let form = ana.modal().await;
    let found = form.options("target", "memory/long-").await;
    assert_eq!(found.len(), 2, "{found:?}");
    form.pick("target", found[1]["value"].as_str().unwrap())
        .await;
    let id = format!("memory/{}", long("b"));
    assert_eq!(id.len(), 200);
    let form = ana
        .modal_where(|view| view.to_string().contains("\"policy\""))
        .await;
    assert!(form.view().to_string().contains(&id), "all of it is shown");
    form.fill("reason", "the checkout is down");
    form.submit().await;
    let request = world.request(Status::Pending).await;
    assert_eq!(request.parts.first().entitlement.as_str(), id);
    // A key that stands for nothing gives nothing.
    ana.modal().await.close().await;
    ana.slash("/jit", "request #0123").in_channel("C0SEC").await;
    let form = ana.modal().await;
    assert!(!form.view().to_string().contains("\"policy\""));
    assert_eq!(world.slack.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn the_home_shows_what_one_has_waits_for_and_must_decide() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    world.card("U0BOB", "Pending").await;
    let (ana, bob) = (world.slack.user("U0ANA"), world.slack.user("U0BOB"));
    ana.open_home().await;
    bob.open_home().await;
    let mine = world.home("U0ANA", "Waiting for others").await;
    assert!(mine.contains("memory/admins"), "{mine}");
    assert!(!mine.contains("jit_review"), "it is her own: {mine}");
    world.home("U0BOB", "jit_review").await;
    bob.click_home("jit_review").await;
    let review = bob
        .modal_where(|view| view.to_string().contains("the checkout is down"))
        .await;
    review.click("jit_approve").await;
    world.request(Status::Active).await;
    // Nobody opened theirs again, and both see what became of it.
    world.home("U0ANA", "jit_done").await;
    world.home_without("U0BOB", "jit_review").await;
    world.card("U0BOB", "active until").await;
    bob.modal_where(|view| view.to_string().contains("active until"))
        .await;
    assert_eq!(world.offers("jit_approve").await, Vec::<String>::new());
    assert_eq!(world.offers("jit_review").await, Vec::<String>::new());
    ana.click_home("jit_done").await;
    world.request(Status::Settling).await;
    let left = world.home("U0ANA", "returned early").await;
    assert!(!left.contains("jit_done"), "{left}");
    assert_eq!(world.slack.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_home_and_a_window_follow_what_another_process_changed() {
    let mut world = World::new().await;
    world.clock_runs(Duration::from_millis(1));
    world.ask("U0ANA", "memory/admins").await;
    world.card("U0BOB", "Pending").await;
    let (ana, bob) = (world.slack.user("U0ANA"), world.slack.user("U0BOB"));
    ana.open_home().await;
    bob.open_home().await;
    world.home("U0ANA", "Waiting for others").await;
    world.home("U0BOB", "jit_review").await;
    bob.click_home("jit_review").await;
    bob.modal_where(|view| view.to_string().contains("jit_approve"))
        .await;
    world.announced_elsewhere();
    let request = world.request(Status::Pending).await;
    let by = |name: &str| Principal {
        id: jit_testkit::stage::id(name),
        door: Door::Http,
    };
    let approve = Verb::Approve {
        ttl: None,
        digest: request.digest().prefix(),
    };
    let done = world.engine.handle(&by("bob"), request.id, approve).await;
    done.unwrap();
    world.request(Status::Active).await;
    tokio::time::sleep(Duration::from_secs(12)).await;
    world.home("U0ANA", "jit_done").await;
    world.home_without("U0BOB", "jit_review").await;
    bob.modal_where(|view| view.to_string().contains("active until"))
        .await;
    let ended = world.engine.handle(&by("ana"), request.id, Verb::End).await;
    ended.unwrap();
    tokio::time::sleep(Duration::from_secs(12)).await;
    world.home("U0ANA", "returned early").await;
}

#[tokio::test]
async fn a_home_shows_only_what_its_person_can_decide_and_has_not_yet() {
    // Cleo may see and revoke everything, and decides nothing.
    let watcher = rule("cleo@example.com", &[Right::Audit, Right::Revoke]);
    let world = World::ruled(settings(), vec![watcher]).await;
    world.ask("U0ANA", "memory/vault").await;
    let card = world.card("U0BOB", "Pending").await;
    let (bob, cleo) = (world.slack.user("U0BOB"), world.slack.user("U0CLEO"));
    cleo.open_home().await;
    let hers = world.home("U0CLEO", "Waiting for you").await;
    assert!(!hers.contains("jit_review"), "{hers}");
    bob.open_home().await;
    world.home("U0BOB", "jit_review").await;
    // He is the first of two who must approve; it waits for the other, and no longer for him.
    bob.click(&card, "jit_approve").await;
    world.card("U0BOB", "1 of 2").await;
    world.home_without("U0BOB", "jit_review").await;
}

#[tokio::test]
async fn d2_nothing_that_was_opened_to_decide_outlives_the_decision() {
    let world = World::new().await;
    world
        .slack
        .edit_group("S0OFFICERS", &["U0BOB", "U0CLEO"])
        .await;
    world.ask("U0ANA", "memory/admins").await;
    let card = world.card("U0BOB", "Pending").await;
    let (ana, bob, cleo) = (
        world.slack.user("U0ANA"),
        world.slack.user("U0BOB"),
        world.slack.user("U0CLEO"),
    );
    // Cleo has it in a window, Ana and Bob asked how far it is.
    cleo.open_home().await;
    world.home("U0CLEO", "jit_review").await;
    cleo.click_home("jit_review").await;
    cleo.modal_where(|view| view.to_string().contains("jit_approve"))
        .await;
    let id = world.request(Status::Pending).await.id.to_string();
    for person in [&ana, &bob] {
        let asked = person.slash("/jit", &format!("status {}", &id[id.len() - 6..]));
        asked.in_channel("C0RANDOM").await;
        let told = world.told(person, "C0RANDOM", "the checkout is down").await;
        assert!(told.shows("jit_review"));
    }
    bob.click(&card, "jit_approve").await;
    world.card("U0BOB", "active until").await;
    cleo.modal_where(|view| view.to_string().contains("active until"))
        .await;
    assert_eq!(world.offers("jit_approve").await, Vec::<String>::new());
    // What opens it opens it as it is now.
    let told = world.told(&bob, "C0RANDOM", "the checkout is down").await;
    bob.click(&told, "jit_review").await;
    let window = bob
        .modal_where(|view| view.to_string().contains("active until"))
        .await;
    assert!(!window.view().to_string().contains("jit_approve"));
    assert_eq!(world.slack.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn d2_what_is_told_because_a_window_cannot_be_shown_has_no_button_that_stays() {
    let world = World::new().await;
    let ana = world.slack.user("U0ANA");
    ana.slash("/request-admin", "").in_channel("C0SEC").await;
    let form = ana.modal().await;
    form.fill("reason", "the checkout is down");
    let faults = world.slack.faults();
    let broken = slack_sim::Fault::Api("internal_error");
    faults.fail("views.update", broken, slack_sim::Times::Once);
    form.submit().await;
    let told = world.dm("U0ANA", "the checkout is down").await;
    assert!(told.shows("jit_review") && !told.shows("jit_withdraw"));
    let card = world.card("U0BOB", "Pending").await;
    world.slack.user("U0BOB").click(&card, "jit_approve").await;
    world.card("U0BOB", "active until").await;
    assert_eq!(world.offers("jit_approve").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_denial_and_a_refusal_in_a_window_are_shown_there() {
    let world = World::new().await;
    world
        .slack
        .edit_group("S0OFFICERS", &["U0BOB", "U0CLEO"])
        .await;
    world.ask("U0ANA", "memory/admins").await;
    world.card("U0BOB", "Pending").await;
    let opened = async |who: &str| {
        let person = world.slack.user(who);
        person.open_home().await;
        world.home(who, "jit_review").await;
        person.click_home("jit_review").await;
        person
            .modal_where(|view| view.to_string().contains("jit_deny"))
            .await
    };
    let window = opened("U0BOB").await;
    window.click("jit_deny").await;
    let bob = world.slack.user("U0BOB");
    let form = bob
        .modal_where(|view| view.to_string().contains("Reason, shown"))
        .await;
    form.fill("reason", "not today");
    form.submit().await;
    let shown = bob
        .modal_where(|view| view.to_string().contains("Denied by"))
        .await;
    assert_eq!(shown.id(), window.id());
    assert!(shown.view().to_string().contains("not today"));
    world.card("U0BOB", "Denied by").await;
    assert_eq!(world.offers("jit_approve").await, Vec::<String>::new());

    // Only the requester withdraws, and Cleo is told so where she clicked.
    world.slack.user("U0ANA").modal().await.close().await;
    world.ask("U0ANA", "memory/account-001").await;
    let window = opened("U0CLEO").await;
    window.click("jit_withdraw").await;
    let cleo = world.slack.user("U0CLEO");
    let told = cleo
        .modal_where(|view| view.to_string().contains("Only the requester"))
        .await;
    let request = world.request(Status::Pending).await;
    assert!(told.view().to_string().contains(&request.id.to_string()));
    assert!(cleo.dm().await.is_empty(), "and nowhere else");
}
