//! Stories of people: each is one promise of the product, lived through the workspace.

use std::time::Duration;

use jit_core::request::{Approver, Status};
use jit_slack::{EmailMatch, Settings};

use crate::world::{By, World, settings};

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
    let Approver::Person(winner) = &request.approvals[0].by else {
        panic!("nobody approved");
    };
    let by_whom = format!("by {winner}");
    let told = async |who| {
        let person = world.slack.user(who);
        let messages = person.messages("C0SEC").await;
        messages.into_iter().any(|message| {
            let words = message.words();
            message.ephemeral && words.contains("Already") && words.contains(&by_whom)
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
    world.told(&bob, "C0SEC", "You may not decide").await;
    // Ana may not approve at all: she is told that there is nothing for her.
    let ana = world.slack.user("U0ANA");
    let card = world.card("U0ANA", "Pending").await;
    ana.click(&card, "jit_approve").await;
    world.told(&ana, "C0SEC", "no such request").await;
    let cleo = world.slack.user("U0CLEO");
    let seen = cleo.messages("C0SEC").await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    world.request(Status::Pending).await;
}

#[tokio::test]
async fn b10_withdrawing_is_for_the_requester() {
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
    world.told(&ana, "C0SEC", "").await;
    bob.react(&card, "eyes").await;
    world.worked_through().await;
    world.request(Status::Pending).await;
    bob.react(&card, "white_check_mark::skin-tone-3").await;
    let active = world.request(Status::Active).await;
    world.card("U0BOB", "active until").await;
    // Taking the reaction back takes nothing away.
    bob.unreact(&card, "white_check_mark::skin-tone-3").await;
    assert!(world.is_there(&active));
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
    let cleo = world.slack.user("U0CLEO");
    cleo.slash("/request-admin", "bob@example.com")
        .in_channel("C0SEC")
        .await;
    let form = cleo.modal().await;
    form.fill("reason", "the checkout is down");
    form.submit().await;
    let card = world.card("U0BOB", "Pending").await;
    let bob = world.slack.user("U0BOB");
    bob.click(&card, "jit_approve").await;
    world.told(&bob, "C0SEC", "You may not decide").await;
    // Ana has no such right, and is told so in the window.
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
    assert_eq!(world.requests().await.len(), 1);
}

#[tokio::test]
async fn d1_production_access_without_a_reason_is_refused_in_private_with_help() {
    let world = World::new().await;
    let ana = world.slack.user("U0ANA");
    ana.slash("/prod-access", "").in_channel("C0SEC").await;
    world.told(&ana, "C0SEC", "a reason is missing").await;
    ana.slash("/prod-access", "\"the checkout is down\"")
        .in_channel("C0SEC")
        .await;
    let form = ana.modal().await;
    form.submit().await;
    let card = world.card("U0BOB", "the checkout is down").await;
    assert!(card.words().contains("memory/admins"));
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
async fn the_home_shows_what_one_has_waits_for_and_must_decide() {
    let world = World::new().await;
    world.ask("U0ANA", "memory/admins").await;
    world.card("U0BOB", "Pending").await;
    let (ana, bob) = (world.slack.user("U0ANA"), world.slack.user("U0BOB"));
    ana.open_home().await;
    bob.open_home().await;
    for _ in 0..200 {
        if ana.home().await.is_some() && bob.home().await.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mine = ana.home().await.unwrap().to_string();
    assert!(
        mine.contains("Waiting for others") && mine.contains("memory/admins"),
        "{mine}"
    );
    let his = bob.home().await.unwrap().to_string();
    assert!(his.contains("jit_review"), "{his}");
    bob.click_home("jit_review").await;
    let review = world
        .slack
        .wait_for(&bob, "dm", |message| message.shows("jit_approve"))
        .await;
    bob.click(&review, "jit_approve").await;
    world.request(Status::Active).await;
    ana.open_home().await;
    let shown = async |wanted: &str| {
        for _ in 0..200 {
            let home = ana.home().await.unwrap().to_string();
            if home.contains(wanted) {
                return home;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("her home never shows {wanted}");
    };
    shown("jit_done").await;
    ana.click_home("jit_done").await;
    world.request(Status::Settling).await;
    // She did not open it again.
    let left = shown("returned early").await;
    assert!(!left.contains("jit_done"), "{left}");
}
