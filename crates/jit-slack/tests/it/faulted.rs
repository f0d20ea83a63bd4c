//! Every call of Slack's that this adapter makes, gone wrong in every way. Whoever did something is
//! told or sees it done, others are served, nothing is told twice but one card at most, and access
//! comes and goes on time. Time is simulated: a call that hangs costs nothing.

#![allow(
    clippy::print_stdout,
    reason = "a failure is told by its row of the table"
)]

use std::cell::Cell;
use std::time::Duration;

use jit_core::engine::{NewRequest, Verb};
use jit_core::ports::RequestStore;
use jit_core::principal::{Door, Principal};
use jit_core::request::{AccessRequest, Status};
use jit_testkit::stage::id;
use serde_json::json;
use slack_sim::{Disconnect, Fault, Times};

use crate::world::World;

const GROUPS: &str = "usergroups.list";
const OPEN: &str = "apps.connections.open";
const POST: &str = "chat.postMessage";
const RESPONSE: &str = "response_url";
const UPDATE_VIEW: &str = "views.update";

/// All that `src` calls while it serves.
const METHODS: [&str; 12] = [
    "auth.test",
    "users.info",
    GROUPS,
    OPEN,
    "views.open",
    UPDATE_VIEW,
    "views.publish",
    "conversations.open",
    POST,
    "chat.update",
    "chat.postEphemeral",
    RESPONSE,
];

const STEP: Duration = Duration::from_millis(20);
/// Longer than the deadline of a call, and shorter than anybody would wait.
const SOON_SECS: u64 = 15;
/// Time for several attempts at a delivery.
const LATER_SECS: u64 = 150;
/// What the tick of a worker takes, and no call that hangs.
const AT_ONCE_SECS: u64 = 2;

/// Whether this becomes so.
async fn comes(secs: u64, mut is_so: impl AsyncFnMut() -> bool) -> bool {
    let steps = Duration::from_secs(secs).as_millis() / STEP.as_millis();
    for _ in 0..steps {
        if is_so().await {
            return true;
        }
        tokio::time::sleep(STEP).await;
    }
    is_so().await
}

/// What somebody was told alone.
async fn told(world: &World, who: &str) -> Vec<String> {
    let person = world.slack.user(who);
    let here = person.messages("C0SEC").await;
    let here = here.into_iter().filter(|it| it.ephemeral);
    let told = here.chain(person.dm().await);
    told.map(|message| message.words()).collect()
}

async fn was_told(world: &World, who: &str, words: &str) -> bool {
    told(world, who).await.iter().any(|it| it.contains(words))
}

async fn failures(world: &World, who: &str) -> usize {
    let told = told(world, who).await;
    told.iter().filter(|it| it.contains("not applied")).count()
}

/// Does it, and again each time that it is said to have failed, until it is done. Nothing done and
/// nothing said is what must not be.
async fn insists(
    world: &World,
    who: &str,
    what: &str,
    mut act: impl AsyncFnMut(),
    mut is_done: impl AsyncFnMut() -> bool,
) {
    for _ in 0..3 {
        let before = failures(world, who).await;
        act().await;
        let mut done = false;
        let answered = comes(SOON_SECS, async || {
            done = is_done().await;
            done || failures(world, who).await > before
        });
        assert!(
            answered.await,
            "{what}: neither done nor said to have failed"
        );
        if done {
            return;
        }
    }
    panic!("{what}: three attempts were in vain");
}

async fn messages(world: &World) -> Vec<slack_sim::Message> {
    let seen = world.slack.user("U0BOB").messages("C0SEC").await;
    let cards = seen
        .into_iter()
        .filter(|it| it.thread_ts.is_none() && !it.ephemeral);
    cards.collect()
}

async fn cards(world: &World) -> Vec<String> {
    let cards = messages(world).await;
    cards.iter().map(slack_sim::Message::words).collect()
}

async fn is_in(world: &World, request: &AccessRequest, status: Status) -> bool {
    let all = world.requests().await;
    all.iter()
        .any(|it| it.id == request.id && it.status() == status)
}

/// Ana asks in Slack; the request.
async fn ana_asks(world: &World, method: &str, fail: impl Fn()) -> AccessRequest {
    let ana = world.slack.user("U0ANA");
    let type_it = async || {
        assert!(ana.slash("/jit", "").in_channel("C0SEC").await.acked());
    };
    let opened = async || ana.modal_now().is_some();
    insists(world, "U0ANA", "/jit", type_it, opened).await;
    let choose = async || {
        let form = ana.modal_now().unwrap();
        form.try_pick("target", "memory/admins").await.unwrap();
    };
    let drawn = async || {
        let form = ana.modal_now();
        form.is_some_and(|it| it.view().to_string().contains("\"policy\""))
    };
    insists(world, "U0ANA", "the choice", choose, drawn).await;
    if method == UPDATE_VIEW {
        fail();
    }
    let form = ana.modal_now().unwrap();
    form.fill("reason", "the checkout is down");
    let sent = form.submit().await;
    assert!(matches!(sent, slack_sim::Submitted::Updated(_)), "{sent:?}");
    let request = world.request(Status::Pending).await;
    let heard = comes(SOON_SECS, async || {
        let form = ana.modal_now();
        let shown = form.is_some_and(|it| it.view().to_string().contains("Sent to"));
        shown || was_told(world, "U0ANA", &request.id.to_string()).await
    });
    assert!(heard.await, "she does not hear that it was sent");
    request
}

/// A whole story in which the call fails once wherever it comes first, and the card is posted so
/// often.
async fn story(world: &World, method: &str, posts: usize, fail: impl Fn()) -> AccessRequest {
    let (ana, bob) = (world.slack.user("U0ANA"), world.slack.user("U0BOB"));
    let request = ana_asks(world, method, &fail).await;
    let shown = async || cards(world).await.len() == posts;
    assert!(comes(LATER_SECS, shown).await, "{posts} cards are missing");
    let cards_now = messages(world).await;
    let (first, card) = (&cards_now[0], &cards_now[posts - 1]);
    // She may not decide, and a reaction has no address to answer to. Where the card is is written
    // down a moment after it is there.
    tokio::time::sleep(Duration::from_secs(1)).await;
    ana.react(card, "white_check_mark").await;
    let hinted = async || was_told(world, "U0ANA", "that you made").await;
    assert!(comes(SOON_SECS, hinted).await, "nobody tells her why not");
    if method == GROUPS {
        // What was heard of the group before is stale by now.
        tokio::time::sleep(Duration::from_secs(5)).await;
        fail();
    }
    let approve = async || {
        assert!(bob.stale_click(first, "jit_approve").await.acked());
    };
    let active = async || is_in(world, &request, Status::Active).await;
    insists(world, "U0BOB", "approving", approve, active).await;
    let go_home = async || {
        assert!(bob.open_home().await.acked());
    };
    let at_home = async || bob.home().await.is_some();
    insists(world, "U0BOB", "the home", go_home, at_home).await;
    bob.slash("/jit", "list").in_channel("C0SEC").await;
    let listed = async || was_told(world, "U0BOB", "asked for nothing here yet").await;
    assert!(comes(SOON_SECS, listed).await, "the list does not come");
    let given = async || was_told(world, "U0ANA", "is yours until").await;
    assert!(comes(LATER_SECS, given).await, "she does not hear of it");
    let shown = async || {
        cards(world)
            .await
            .iter()
            .any(|it| it.contains("active until"))
    };
    assert!(comes(LATER_SECS, shown).await, "the card is left behind");
    request
}

/// Whoever comes while the call is failing is answered before one that hangs is given up.
async fn another_is_served(world: &World, was_set: &Cell<bool>) {
    let faults = world.slack.faults();
    let failing = async || was_set.get() && faults.left() == 0;
    assert!(comes(2 * LATER_SECS, failing).await, "it was never called");
    let cleo = world.slack.user("U0CLEO");
    assert!(cleo.slash("/jit", "list").in_channel("C0SEC").await.acked());
    let listed = async || was_told(world, "U0CLEO", "asked for nothing here yet").await;
    assert!(comes(AT_ONCE_SECS, listed).await, "Cleo waits");
}

/// While it fails for good, a grant asked for elsewhere comes on time, and every end.
async fn lifecycle(world: &World, method: &str, first: &AccessRequest) {
    let via = |name: &str| Principal {
        id: id(name),
        door: Door::Http,
    };
    let cleo = world.slack.user("U0CLEO");
    assert!(cleo.slash("/jit", "help").in_channel("C0SEC").await.acked());
    let mut last = first.clone();
    if method != GROUPS {
        // Who decides is a fact that a grant needs, and the others are not.
        let new = NewRequest {
            beneficiary: None,
            parts: vec![("memory/account-001".parse().unwrap(), Default::default())],
            ttl: None,
            reason: "the disk is full".parse().unwrap(),
            idempotency_key: None,
        };
        let second = world.engine.open(&via("cleo"), new).await.unwrap();
        let verb = Verb::Approve {
            ttl: None,
            digest: second.digest().prefix(),
        };
        let approved = world.engine.handle(&via("bob"), second.id, verb).await;
        approved.unwrap();
        let active = async || is_in(world, &second, Status::Active).await;
        assert!(comes(AT_ONCE_SECS, active).await, "the grant waits");
        last = second;
    }
    let all = world.requests().await;
    let last = all.iter().find(|it| it.id == last.id).unwrap();
    world.clock.set(last.grant().unwrap().expires_at);
    let gone = async || !world.is_there(first) && !world.is_there(last);
    assert!(comes(AT_ONCE_SECS, gone).await, "the end waits");
}

/// What was asked, and the answer never comes; or the one like it that leaves nothing behind.
fn for_good(fault: &Fault) -> Fault {
    match fault {
        Fault::Hang => Fault::Silence,
        Fault::InvalidJson => Fault::NotJson,
        other => other.clone(),
    }
}

async fn every_call_fails_with(fault: Fault) {
    for method in METHODS {
        // Slack answers an answer with a plain "ok", and the client does not show us what was said.
        if method == RESPONSE && fault == Fault::NotJson {
            continue;
        }
        println!("{method} with {fault:?}");
        let mut world = World::new().await;
        world.clock_runs(Duration::from_millis(1));
        // Acknowledgements are not the point here.
        world.slack.time_scale(10.0);
        let faults = world.slack.faults();
        // A post that was made and not answered is made again: nobody could know.
        let unseen = method == POST && matches!(fault, Fault::Hang | Fault::InvalidJson);
        let posts = 1 + usize::from(unseen);
        let was_set = Cell::new(false);
        let fail = || {
            was_set.set(true);
            faults.fail(method, fault.clone(), Times::Once);
        };
        if method != GROUPS {
            fail();
        }
        if method == OPEN {
            world.slack.disconnect_one(Disconnect::RefreshRequested);
        }
        let (request, ()) = tokio::join!(
            story(&world, method, posts, fail),
            another_is_served(&world, &was_set)
        );
        faults.fail(method, for_good(&fault), Times::Always);
        lifecycle(&world, method, &request).await;
        faults.clear();
        let over = async || {
            let cards = cards(&world).await;
            cards.iter().any(|it| it.contains("Ended: its time is up"))
        };
        assert!(comes(LATER_SECS, over).await, "the card stays behind");
        let requests = world.requests().await;
        let first = requests.iter().find(|it| it.id == request.id).unwrap();
        assert_eq!(first.approvals.len(), 1);
        let cards = cards(&world).await;
        assert!(cards.len() < requests.len() + posts, "{cards:#?}");
        assert_eq!(world.slack.violations(), Vec::<String>::new());
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_never_answered_lose_nothing_and_hold_nothing_up() {
    every_call_fails_with(Fault::Hang).await;
}

#[tokio::test(start_paused = true)]
async fn calls_that_come_too_often_lose_nothing_and_hold_nothing_up() {
    every_call_fails_with(Fault::RateLimited { retry_after_s: 2 }).await;
}

#[tokio::test(start_paused = true)]
async fn calls_that_slack_fails_at_lose_nothing_and_hold_nothing_up() {
    every_call_fails_with(Fault::ServerError).await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_broken_off_lose_nothing_and_hold_nothing_up() {
    every_call_fails_with(Fault::InvalidJson).await;
}

#[tokio::test(start_paused = true)]
async fn answers_of_somebody_else_lose_nothing_and_hold_nothing_up() {
    every_call_fails_with(Fault::NotJson).await;
}

/// Answering somebody whom no call reaches takes longer than an input is left to its process.
#[tokio::test(start_paused = true)]
async fn what_takes_long_is_not_taken_over_by_who_works_on_it() {
    let mut world = World::new().await;
    world.clock_runs(Duration::from_millis(1));
    world.slack.time_scale(10.0);
    let faults = world.slack.faults();
    faults.fail("users.info", Fault::SlowMs(8_000), Times::Once);
    for method in ["views.open", RESPONSE, "conversations.open", POST] {
        faults.fail(method, Fault::Silence, Times::Always);
    }
    // Every ten seconds it is looked what was left.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let ana = world.slack.user("U0ANA");
    assert!(ana.slash("/jit", "").in_channel("C0SEC").await.acked());
    let done = async || world.store.inputs_left() == 0;
    assert!(comes(LATER_SECS, done).await, "it is given up");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.slack.calls("views.open").len(), 1);
}

/// What another process left is worked on side by side: the first of them waits for Slack, which
/// answers nothing about its person.
#[tokio::test(start_paused = true)]
async fn one_left_input_that_hangs_holds_up_none_of_the_others() {
    let mut world = World::new().await;
    world.clock_runs(Duration::from_millis(1));
    world.slack.time_scale(10.0);
    let via = |name: &str| Principal {
        id: id(name),
        door: Door::Http,
    };
    let mut opened = vec![];
    for number in 0..5 {
        let new = NewRequest {
            beneficiary: None,
            parts: vec![(
                format!("memory/account-{number:03}").parse().unwrap(),
                Default::default(),
            )],
            ttl: None,
            reason: "the disk is full".parse().unwrap(),
            idempotency_key: None,
        };
        opened.push(world.engine.open(&via("ana"), new).await.unwrap());
    }
    // Bob is known already.
    let bob = world.slack.user("U0BOB");
    bob.slash("/jit", "list").in_channel("C0SEC").await;
    let listed = async || was_told(&world, "U0BOB", "asked for nothing").await;
    assert!(comes(SOON_SECS, listed).await, "the list does not come");
    let faults = world.slack.faults();
    faults.fail("users.info", Fault::Silence, Times::Always);
    let now = jit_core::ports::Clock::now(&*world.clock);
    let left = async |key: String, user: &str, request: &AccessRequest, ago: u64| {
        let click = json!({
            "user": user, "team": "T0EXAMPLE1", "channel": "C0SEC",
            "said": {"said": "approve", "about": {
                "id": request.id.to_string(), "digest": request.digest().prefix(),
            }},
        });
        let at = now - Duration::from_secs(ago);
        let text = click.to_string();
        world.store.inbox_put(&key, &text, at).await.unwrap();
    };
    // The oldest comes first.
    for number in 0..10 {
        left(format!("click/a{number}"), "U0CLEO", &opened[0], 60).await;
    }
    for request in &opened {
        left(format!("click/b{}", request.id), "U0BOB", request, 31).await;
    }
    let again = world.another_door();
    let approved = async || {
        let all = world.requests().await;
        all.iter().all(|it| it.status() != Status::Pending)
    };
    let in_time = comes(AT_ONCE_SECS, approved).await;
    assert!(in_time, "they wait for the one that hangs");
    again.abort();
}
