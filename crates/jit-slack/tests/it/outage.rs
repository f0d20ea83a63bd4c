//! B9, S9, S10: what goes on with Slack away, how old what it said may be, and who somebody is after
//! everything was started again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jit_core::Refusal;
use jit_core::engine::{EngineError, NewRequest, Verb};
use jit_core::policy::{Effect, Right, Rule};
use jit_core::ports::{ErrorKind, Query};
use jit_core::principal::{Door, GroupName, Principal, Profile};
use jit_core::request::{AccessRequest, Status};
use jit_slack::{EmailMatch, Names, Settings};
use jit_testkit::stage::id;
use jit_testkit::store::MemoryStore;
use serde_json::json;
use slack_sim::{Fault, SlackSim, Switch, Times, Workspace};
use tokio::time::Instant;

use crate::world::{By, World, rule, settings};

/// Somebody at a terminal.
fn http(name: &str) -> Principal {
    Principal {
        id: id(name),
        door: Door::Http,
    }
}

async fn open(world: &World, name: &str) -> Result<AccessRequest, EngineError> {
    let ask = NewRequest {
        beneficiary: None,
        parts: vec![("memory/admins".parse().unwrap(), Default::default())],
        ttl: None,
        reason: "the checkout is down".parse().unwrap(),
        idempotency_key: None,
    };
    world.engine.open(&http(name), ask).await
}

async fn say(
    world: &World,
    name: &str,
    request: &AccessRequest,
    verb: Verb,
) -> Result<AccessRequest, EngineError> {
    world.engine.handle(&http(name), request.id, verb).await
}

fn approval(request: &AccessRequest) -> Verb {
    Verb::Approve {
        ttl: None,
        digest: request.digest().prefix(),
    }
}

/// Nothing that is asked of Slack is answered, and nothing comes from it.
fn away(world: &World, how: Fault) {
    world.slack.faults().fail("*", how, Times::Always);
    world.slack.refuse_sockets(Switch::On);
    world.slack.cut_sockets();
}

fn back(world: &World) {
    world.slack.faults().clear();
    world.slack.refuse_sockets(Switch::Off);
    world.clock.advance(Duration::from_secs(2));
}

#[tokio::test]
async fn b9_with_slack_away_access_is_asked_for_read_returned_and_taken_away_at_a_terminal() {
    for how in [Fault::ServerError, Fault::Silence] {
        let world = World::new().await;
        // Nothing is known of the groups yet.
        away(&world, how);
        let person = id("ana");
        let known = world.directory.profile(&person);
        let known = tokio::time::timeout(Duration::from_secs(3), known).await;
        assert!(known.is_ok(), "it waited for Slack longer than it may");
        let request = open(&world, "ana").await.unwrap();
        let all = Query {
            limit: 10,
            ..Query::default()
        };
        for name in ["ana", "bob"] {
            let listed = world.engine.list(&http(name), all.clone()).await.unwrap();
            assert_eq!(listed.requests.len(), 1, "{name}");
            let read = world.engine.read(&http(name), request.id).await;
            assert!(read.is_ok(), "{name}: {read:?}");
        }
        // His right does not come from the group.
        say(&world, "bob", &request, approval(&request))
            .await
            .unwrap();
        let active = world.request(Status::Active).await;
        say(&world, "ana", &active, Verb::End).await.unwrap();
        world.request(Status::Settling).await;
        world.request(Status::Settling).await;
        let another = open(&world, "ana").await.unwrap();
        let revoke = Verb::Revoke { reason: None };
        say(&world, "bob", &another, revoke).await.unwrap();
    }
}

#[tokio::test]
async fn b9_a_decision_by_a_member_of_a_user_group_waits_for_slack_and_loses_nothing() {
    let world = World::new().await;
    let officers = ["U0BOB", "U0CLEO"];
    world.slack.edit_group("S0OFFICERS", &officers).await;
    let request = open(&world, "ana").await.unwrap();
    away(&world, Fault::ServerError);
    world.clock.advance(Duration::from_secs(4));
    let said = say(&world, "cleo", &request, approval(&request)).await;
    assert!(
        matches!(said, Err(EngineError::Refused(Refusal::CannotTell))),
        "{said:?}"
    );
    let chains = world.store.all_chains();
    assert!(
        chains.get("system").is_none_or(Vec::is_empty),
        "nobody lacked a right"
    );
    world.request(Status::Pending).await;
    back(&world);
    say(&world, "cleo", &request, approval(&request))
        .await
        .unwrap();
    world.request(Status::Active).await;
}

#[tokio::test]
async fn s9_who_was_taken_out_of_a_user_group_three_seconds_ago_decides_nothing() {
    let world = World::new().await;
    let officers = ["U0BOB", "U0CLEO"];
    world.slack.edit_group("S0OFFICERS", &officers).await;
    let request = open(&world, "ana").await.unwrap();
    let read = world.engine.read(&http("cleo"), request.id).await;
    assert!(read.is_ok(), "{read:?}");
    // Nobody hears of it.
    world.slack.refuse_sockets(Switch::On);
    world.slack.cut_sockets();
    world
        .until("no connection", |slack| slack.connections() == 0)
        .await;
    world.slack.edit_group("S0OFFICERS", &["U0BOB"]).await;
    world.clock.advance(Duration::from_millis(3_001));
    let said = say(&world, "cleo", &request, approval(&request)).await;
    assert!(matches!(said, Err(EngineError::Refused(_))), "{said:?}");
    world.request(Status::Pending).await;
}

/// Slack answers about twenty such questions in a minute.
#[tokio::test]
async fn for_whoever_only_looks_slack_is_asked_for_members_every_ten_seconds_at_most() {
    let world = World::new().await;
    let asked = || world.slack.calls("usergroups.list").len();
    for _ in 0..=35 {
        world.directory.profile_lately(&id("ana")).await.unwrap();
        world.clock.advance(Duration::from_secs(1));
        // What is asked behind their back is answered meanwhile.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    world.until("a second question", |_| asked() > 1).await;
    assert!(asked() <= 4, "{} questions in 35 s", asked());
}

#[tokio::test]
async fn s10_who_was_matched_by_address_is_told_and_in_their_groups_after_a_restart() {
    let slack = Arc::new(
        SlackSim::start(Workspace::example().group("S0OFFICERS", &["U0ANA", "U0BOB"])).await,
    );
    let store = Arc::new(MemoryStore::new());
    let alias = "slack:U0ANA".parse().unwrap();
    let by_address = Settings {
        email_match: EmailMatch::On,
        ..settings()
    };
    let start = || async {
        let (slack, store, settings) = (slack.clone(), store.clone(), by_address.clone());
        let world = World::knowing(Names::default(), slack, store, By::Socket, settings).await;
        world.people.aliases.lock().unwrap().remove(&alias);
        world
    };
    let officers = "slack:S0OFFICERS".parse().unwrap();
    let mut before = start().await;
    let known = before.directory.profile(&id("ana")).await.unwrap().unwrap();
    assert!(!known.groups.contains(&officers), "she was never met");
    let ana = slack.user("U0ANA");
    ana.slash("/jit", "list").in_channel("C0SEC").await;
    before.told(&ana, "C0SEC", "asked for nothing").await;
    before.stop().await;
    drop(before);

    // Nobody has met her here.
    let after = start().await;
    let known = after.directory.profile(&id("ana")).await.unwrap().unwrap();
    assert!(known.groups.contains(&officers), "{known:?}");
    let request = open(&after, "ana").await.unwrap();
    say(&after, "bob", &request, approval(&request))
        .await
        .unwrap();
    slack
        .wait_for(&ana, "dm", |it| it.words().contains("is yours until"))
        .await;
}

/// Takes a right from whoever is in a user group.
fn denying(group: &str, rights: &[Right]) -> Rule {
    Rule {
        name: format!("nobody of {group}"),
        effect: Effect::Deny,
        ..rule(group, rights)
    }
}

/// A world in which the configuration does not say who is who in Slack.
async fn of_strangers(rules: Vec<Rule>) -> World {
    let slack = SlackSim::start(Workspace::example().group("S0LEAVING", &["U0BOB"])).await;
    let store = Arc::new(MemoryStore::new());
    let settings = settings();
    World::built(
        (Names::default(), rules),
        slack,
        store,
        By::Socket,
        settings,
    )
    .await
}

#[tokio::test]
async fn s10_what_a_user_group_takes_is_taken_from_whom_nobody_knows_in_slack_as_well() {
    let rules = vec![denying("group:slack:S0LEAVING", &[Right::Approve])];
    let world = of_strangers(rules).await;
    // She asks, reads and returns as ever.
    let request = open(&world, "ana").await.unwrap();
    assert!(world.engine.read(&http("ana"), request.id).await.is_ok());
    let said = say(&world, "bob", &request, approval(&request)).await;
    assert!(
        matches!(said, Err(EngineError::Refused(Refusal::CannotTell))),
        "{said:?}"
    );
    // Nobody denies him to take access away.
    let revoke = Verb::Revoke { reason: None };
    say(&world, "bob", &request, revoke).await.unwrap();
    // Once he was met he is known to be in it.
    let again = open(&world, "ana").await.unwrap();
    let bob = world.slack.user("U0BOB");
    bob.slash("/jit", "list").in_channel("C0SEC").await;
    world.told(&bob, "C0SEC", "asked for nothing").await;
    let said = say(&world, "bob", &again, approval(&again)).await;
    assert!(
        matches!(&said, Err(EngineError::Refused(refusal)) if *refusal != Refusal::CannotTell),
        "{said:?}"
    );
}

#[tokio::test]
async fn s10_who_is_unknown_in_slack_is_plainly_refused_what_a_user_group_would_give() {
    let world = of_strangers(vec![]).await;
    let request = open(&world, "ana").await.unwrap();
    let said = say(&world, "cleo", &request, approval(&request)).await;
    assert!(
        matches!(&said, Err(EngineError::Refused(refusal)) if *refusal != Refusal::CannotTell),
        "{said:?}"
    );
    say(&world, "bob", &request, approval(&request))
        .await
        .unwrap();
    world.request(Status::Active).await;
}

#[tokio::test]
async fn what_a_user_group_takes_is_taken_where_slack_names_no_such_group() {
    let rules = vec![denying("group:slack:S0DELETED", &[Right::Approve])];
    let world = World::ruled(settings(), rules).await;
    let request = open(&world, "ana").await.unwrap();
    let said = say(&world, "bob", &request, approval(&request)).await;
    assert!(
        matches!(said, Err(EngineError::Refused(Refusal::CannotTell))),
        "{said:?}"
    );
}

#[tokio::test]
async fn a_pause_that_slack_wants_is_kept_when_a_user_group_changes() {
    let world = World::new().await;
    let asked = || world.slack.calls("usergroups.list").len();
    let pause = Fault::RateLimited { retry_after_s: 30 };
    let faults = world.slack.faults();
    faults.fail("usergroups.list", pause, Times::Once);
    let officers = "slack:S0OFFICERS".parse().unwrap();
    let known = world.directory.profile(&id("bob")).await.unwrap().unwrap();
    assert!(known.groups_unknown.contains(&officers));
    let before = asked();
    world.slack.edit_group("S0OFFICERS", &["U0CLEO"]).await;
    world.clock.advance(Duration::from_secs(29));
    let known = world.directory.profile(&id("bob")).await.unwrap().unwrap();
    assert!(known.groups_unknown.contains(&officers));
    assert_eq!(asked(), before, "it was asked in its pause");
    world.clock.advance(Duration::from_secs(2));
    let known = world.directory.profile(&id("cleo")).await.unwrap().unwrap();
    assert!(known.groups.contains(&officers));
}

#[tokio::test]
async fn all_user_groups_are_asked_for_in_one_call_by_whoever_asks_at_once() {
    let groups = ["S0OFFICERS", "S0SECOND", "S0THIRD"];
    let rules = groups.map(|group| rule(&format!("group:slack:{group}"), &[Right::Audit]));
    let slack = Workspace::example().group("S0SECOND", &["U0BOB"]);
    let slack = SlackSim::start(slack.group("S0THIRD", &["U0CLEO"])).await;
    slack.latency_ms(50);
    let store = Arc::new(MemoryStore::new());
    let names = [("bob", "U0BOB"), ("cleo", "U0CLEO")];
    let names: Names = names
        .into_iter()
        .map(|(name, user)| (id(name), user.parse().unwrap()))
        .collect();
    let built = (names, rules.to_vec());
    let world = World::built(built, slack, store, By::Socket, settings()).await;
    let (bob, cleo) = (id("bob"), id("cleo"));
    let (bob, cleo) = tokio::join!(
        world.directory.profile(&bob),
        world.directory.profile(&cleo)
    );
    let of = |groups: &[&str]| {
        let names = groups.iter().map(|it| format!("slack:{it}").parse());
        names
            .collect::<Result<std::collections::BTreeSet<_>, _>>()
            .unwrap()
    };
    let (bob, cleo) = (bob.unwrap().unwrap(), cleo.unwrap().unwrap());
    assert_eq!(bob.groups, of(&["S0OFFICERS", "S0SECOND"]));
    assert!(cleo.groups.is_superset(&of(&["S0THIRD"])));
    assert_eq!(world.slack.calls("usergroups.list").len(), 1);
}

/// Twenty people in `slack:S0OFFICERS`, whom nobody met, and time that is simulated from now on.
async fn crowd() -> (World, GroupName) {
    let world = World::new().await;
    let users: Vec<String> = (0..20).map(|number| format!("U0CROWD{number}")).collect();
    for user in &users {
        let person = id(&user.to_lowercase());
        let alias = format!("slack:{user}").parse().unwrap();
        let mut profiles = world.people.profiles.lock().unwrap();
        let profile = Profile {
            id: person.clone(),
            ..profiles[&id("bob")].clone()
        };
        profiles.insert(person.clone(), profile);
        world.people.aliases.lock().unwrap().insert(alias, person);
    }
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    world.slack.edit_group("S0OFFICERS", &users).await;
    let group = "slack:S0OFFICERS".parse().unwrap();
    let mut listed = None;
    for _ in 0..500 {
        listed = world.directory.members(&group).await.unwrap();
        if listed.as_ref().is_some_and(|it| it.len() == users.len()) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(listed.map(|it| it.len()), Some(users.len()));
    tokio::time::pause();
    (world, group)
}

#[tokio::test]
async fn the_people_of_a_user_group_are_looked_up_eight_at_once() {
    let (world, group) = crowd().await;
    // Each of them is asked about twice: by the name of Slack, and by the own.
    *world.shaky.takes.lock().unwrap() = Duration::from_secs(1);
    let began = Instant::now();
    let listed = world.directory.members(&group).await.unwrap();
    assert_eq!(listed.map(|it| it.len()), Some(20));
    assert!(began.elapsed() < Duration::from_secs(7));
    assert_eq!(world.shaky.open_at_most.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn a_user_group_is_listed_within_ten_seconds_or_not_at_all() {
    let (world, group) = crowd().await;
    *world.shaky.takes.lock().unwrap() = Duration::from_millis(2_900);
    let asked = world.directory.members(&group);
    let listed = tokio::time::timeout(Duration::from_secs(10), asked).await;
    let error = listed.expect("it takes too long").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
}

/// Somebody does something every second and a half, and rights hang on three user groups.
#[tokio::test(start_paused = true)]
async fn forty_commands_a_minute_are_decided_within_what_slack_takes() {
    let groups = ["S0OFFICERS", "S0SECOND", "S0THIRD"];
    let rules = groups.map(|group| rule(&format!("group:slack:{group}"), &[Right::Audit]));
    let officers = ["U0BOB", "U0CLEO"];
    let slack = Workspace::example().group("S0OFFICERS", &officers);
    let slack = slack
        .group("S0SECOND", &["U0BOB"])
        .group("S0THIRD", &["U0ANA"]);
    let slack = SlackSim::start(slack).await;
    slack.limit_methods(Switch::On);
    let store = Arc::new(MemoryStore::new());
    let names: Names = [("ana", "U0ANA"), ("bob", "U0BOB"), ("cleo", "U0CLEO")]
        .into_iter()
        .map(|(name, user)| (id(name), user.parse().unwrap()))
        .collect();
    let built = (names, rules.to_vec());
    let mut world = World::built(built, slack, store, By::Socket, settings()).await;
    world.clock_runs(Duration::from_millis(1));
    world.slack.time_scale(10.0);
    for number in 0..35 {
        let ask = NewRequest {
            beneficiary: None,
            parts: vec![(
                format!("memory/account-{number:03}").parse().unwrap(),
                Default::default(),
            )],
            ttl: None,
            reason: "the checkout is down".parse().unwrap(),
            idempotency_key: None,
        };
        let request = world.engine.open(&http("ana"), ask).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        // Her right comes from the group.
        let said = say(&world, "cleo", &request, approval(&request)).await;
        assert!(said.is_ok(), "{number}: {said:?}");
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    let asked = world.slack.calls("usergroups.list");
    assert!(
        asked.iter().all(|call| call.answer["ok"] == true),
        "too many"
    );
    assert_eq!(world.slack.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn b1_options_come_without_waiting_for_slack() {
    let world = World::new().await;
    world.slack.latency_ms(150);
    let ana = world.slack.user("U0ANA");
    assert!(ana.slash("/jit", "").in_channel("C0SEC").await.acked());
    let form = ana.modal().await;
    world
        .until("a look at the groups", |slack| {
            let asked = slack.calls("usergroups.list");
            !asked.is_empty() && slack.calls("views.open").len() == 1
        })
        .await;
    form.pick("target", "memory/admins").await;
    world.worked_through().await;
    // Everything that is remembered is old, and nothing can be asked.
    world.clock.advance(Duration::from_secs(400));
    world
        .slack
        .faults()
        .fail("*", Fault::Silence, Times::Always);
    let asked = world.slack.calls("*").len();
    for typed in ["", "acc", "account-4"] {
        let options = form.options("target", typed).await;
        assert_eq!(options.len(), 100, "{typed:?}");
    }
    // They are asked about again all the same, behind her back.
    world
        .until("a question", |slack| slack.calls("*").len() > asked)
        .await;
}

#[tokio::test]
async fn b1_options_of_whom_nothing_is_known_yet_come_with_the_next_letter() {
    let world = World::new().await;
    let ana = world.slack.user("U0ANA");
    let suggest = json!({
        "type": "block_suggestion", "user": {"id": "U0ANA"}, "team": {"id": "T0EXAMPLE1"},
        "action_id": "target", "value": "admins",
    });
    world.slack.latency_ms(150);
    let mut shown = 0;
    for letter in 0.. {
        assert!(letter < 100, "there was never anything to choose from");
        let told = world
            .slack
            .raw(Some(&ana), "interactive", suggest.clone())
            .await;
        let options = told.payload().unwrap()["options"].as_array().unwrap().len();
        assert!(letter > 0 || options == 0, "it waited for Slack");
        shown = options;
        if shown > 0 {
            break;
        }
    }
    assert_eq!(shown, 1);
}
