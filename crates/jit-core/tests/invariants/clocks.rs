//! K1: what time it is, and that a clock that is off gives nothing and goes on taking away.

use std::sync::Arc;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::engine::{ClockOffset, EngineError, Verb, Witness};
use jit_core::lifecycle::Refusal;
use jit_core::ports::RequestStore;
use jit_core::request::Status;
use jit_testkit::stage::{Stage, secs, via};
use jit_testkit::time::ManualClock;

/// Another system says that it is so many seconds later, or earlier, there.
fn says(stage: &Stage, of: &str, seconds: i64) {
    let now = stage.now();
    let said = now.unix_micros() + seconds * 1_000_000;
    let said = Timestamp::from_unix_micros(said);
    stage
        .engine
        .hear_date(of, Witness::Elsewhere, said, now, now);
}

async fn is_refused(stage: &Stage) -> bool {
    let asked = stage.engine.open(&via("ana"), stage.ask("10m")).await;
    match asked {
        Ok(request) => {
            stage.say("ana", request.id, Verb::Withdraw).await.unwrap();
            false
        }
        Err(EngineError::Refused(Refusal::ClockOff { .. })) => true,
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn k1_more_than_five_seconds_beside_other_clocks_grant_nothing() {
    let stage = Stage::new();
    assert!(!is_refused(&stage).await, "nobody said anything");
    // A date is in whole seconds: it may be up to one later there than was said.
    for (seconds, refused) in [
        (0, false),
        (5, false),
        (6, true),
        (600, true),
        (-6, false),
        (-7, true),
        (-86_400, true),
    ] {
        says(&stage, "okta", seconds);
        assert_eq!(is_refused(&stage).await, refused, "{seconds}");
    }
    says(&stage, "okta", 6);
    assert_eq!(stage.engine.clock_offset(), ClockOffset::Behind(secs(6)));
    says(&stage, "okta", -7);
    assert_eq!(stage.engine.clock_offset(), ClockOffset::Ahead(secs(6)));
}

#[tokio::test]
async fn k1_what_a_slow_answer_leaves_open_is_not_counted() {
    let stage = Stage::new();
    let now = stage.now();
    // Asked ten seconds ago, and the clock there was read at some instant since.
    let asked_at = now - secs(10);
    for said in [asked_at, now] {
        let elsewhere = Witness::Elsewhere;
        stage
            .engine
            .hear_date("okta", elsewhere, said, asked_at, now);
        assert_eq!(stage.engine.clock_offset(), ClockOffset::None);
    }
}

#[tokio::test]
async fn k1_a_clock_that_is_off_ends_what_was_given() {
    let stage = Stage::new();
    let request = stage.active("10m").await;
    says(&stage, "okta", 600);
    assert!(is_refused(&stage).await);
    stage.pass(601).await;
    assert!(!stage.is_there(&request));
    let other = stage.status(request.id).await;
    assert!(
        matches!(other, Status::Settling | Status::Closed),
        "{other}"
    );
}

#[tokio::test]
async fn k1_one_wrong_clock_among_others_stops_nothing() {
    let stage = Stage::new();
    says(&stage, "okta", 600);
    assert!(is_refused(&stage).await, "nobody else says anything");
    says(&stage, "vault", 0);
    assert!(!is_refused(&stage).await, "one of two agrees with ours");
    says(&stage, "aws", 590);
    assert!(is_refused(&stage).await, "two of three do not");
    says(&stage, "aws", 0);
    assert!(!is_refused(&stage).await);
}

#[tokio::test]
async fn k1_what_was_said_is_forgotten_after_ten_minutes() {
    let stage = Stage::new();
    says(&stage, "okta", 600);
    stage.clock.advance(Duration::from_secs(599));
    assert!(is_refused(&stage).await);
    stage.clock.advance(secs(1));
    assert!(!is_refused(&stage).await);
}

#[tokio::test]
async fn k1_a_clock_that_is_behind_grants_nothing_and_goes_on_revoking() {
    let stage = Stage::new();
    let request = stage.active("10m").await;
    let pending = stage.open("cleo", "10m").await;
    // This process believes that it is ten seconds earlier than what was committed.
    let clock = Arc::new(ManualClock::at(stage.now() - secs(10)));
    let other = stage.other(clock.clone(), 1);
    other.tend(request.id).await.unwrap();
    let approved = other
        .handle(&via("bob"), pending.id, Stage::approval(&pending))
        .await;
    assert!(
        matches!(approved, Err(EngineError::Refused(Refusal::ClockOff { off_by })) if off_by == secs(10))
    );
    stage.say("ana", request.id, Verb::End).await.unwrap();
    other.tend(request.id).await.unwrap();
    assert!(!stage.is_there(&request));
}

#[tokio::test]
async fn k1_expiry_is_judged_by_the_newest_commit() {
    let stage = Stage::new();
    let request = stage.active("10m").await;
    let clock = Arc::new(ManualClock::at(stage.now()));
    let other = stage.other(clock, 1);
    stage.clock.set(request.grant().unwrap().expires_at);
    // A commit of another process tells this one that it is later than its own clock says.
    let newer = stage.open("cleo", "10m").await;
    other.tend(newer.id).await.unwrap();
    other.tend(request.id).await.unwrap();
    assert!(!stage.is_there(&request));
}

#[tokio::test]
async fn k1_time_goes_on_after_a_commit_from_the_future() {
    let stage = Stage::new();
    let request = stage.active("10m").await;
    // Another process is an hour ahead, and commits.
    let ahead = Arc::new(ManualClock::at(stage.now() + secs(3_600)));
    let other = stage.other(ahead, 1);
    other.open(&via("cleo"), stage.ask("10m")).await.unwrap();
    // This one believes it, ends what is over by that time, and goes on trying.
    stage.provider.outage_until(stage.now() + secs(10));
    stage.pass(60).await;
    assert!(!stage.is_there(&request));
    let refused = stage.engine.open(&via("ana"), stage.ask("10m")).await;
    assert!(matches!(
        refused,
        Err(EngineError::Refused(Refusal::ClockOff { .. }))
    ));
}

/// How far the time of this engine is ahead of the right one.
fn lead(stage: &Stage, engine: &jit_core::Engine) -> Duration {
    engine.now().since(stage.now())
}

/// The stage and another process, whose clock was so far ahead when it committed. It is set right.
async fn after_a_commit_from_the_future(
    by: Duration,
) -> (Stage, Arc<ManualClock>, Arc<jit_core::Engine>) {
    let stage = Stage::new();
    let ahead = Arc::new(ManualClock::at(stage.now() + by));
    let other = stage.other(ahead.clone(), 1);
    other.open(&via("cleo"), stage.ask("10m")).await.unwrap();
    ahead.set(stage.now());
    (stage, ahead, other)
}

/// Ten seconds pass, in which both do what is due, and tell each other what time it is.
async fn both_go_on(stage: &Stage, clock: &ManualClock, other: &jit_core::Engine) {
    stage.clock.advance(secs(10));
    clock.set(stage.now());
    for engine in [&stage.engine, other] {
        for due in engine.due(100).await.unwrap() {
            engine.tend(due.id).await.unwrap();
        }
        engine.checkpoint().await.unwrap();
    }
}

#[tokio::test]
async fn k1_one_commit_from_the_future_is_made_up_for_where_providers_agree() {
    let (stage, clock, other) = after_a_commit_from_the_future(secs(60)).await;
    let mut before = secs(61);
    for _ in 0..30 {
        for engine in [&stage.engine, &other] {
            let now = stage.now();
            engine.hear_date("okta", Witness::Elsewhere, now, now, now);
        }
        both_go_on(&stage, &clock, &other).await;
        let now = lead(&stage, &stage.engine).max(lead(&stage, &other));
        assert!(now < before || now.is_zero(), "{now:?} after {before:?}");
        assert_eq!(is_refused(&stage).await, now > secs(5), "{now:?}");
        before = now;
    }
    assert!(before.is_zero(), "{before:?}");
    assert_eq!(stage.engine.clock_offset(), ClockOffset::None);
}

#[tokio::test]
async fn k1_a_lead_stands_while_nobody_knows_better() {
    for (by, stands) in [(secs(6), true), (secs(5), false)] {
        let (stage, clock, other) = after_a_commit_from_the_future(by).await;
        stage.work().await;
        assert_eq!(lead(&stage, &stage.engine), by);
        for _ in 0..70 {
            both_go_on(&stage, &clock, &other).await;
        }
        let expected = if stands { by } else { Duration::ZERO };
        assert_eq!(lead(&stage, &stage.engine), expected);
        assert_eq!(is_refused(&stage).await, stands);
    }
}

#[tokio::test]
async fn k1_a_lead_stands_where_one_of_them_says_that_the_clock_is_off_or_none_can_know() {
    // Who says what, from where.
    let cases: [&[(&str, i64, Witness)]; 4] = [
        &[("okta", 5, Witness::Elsewhere)],
        &[
            ("okta", 600, Witness::Elsewhere),
            ("vault", 0, Witness::Elsewhere),
        ],
        &[("vault", 0, Witness::ThisHost)],
        &[
            ("okta", 600, Witness::Elsewhere),
            ("vault", 0, Witness::ThisHost),
        ],
    ];
    for said in cases {
        let (stage, clock, other) = after_a_commit_from_the_future(secs(600)).await;
        stage.work().await;
        for _ in 0..70 {
            let now = stage.now();
            for (of, by, witness) in said {
                let said = Timestamp::from_unix_micros(now.unix_micros() + by * 1_000_000);
                stage.engine.hear_date(of, *witness, said, now, now);
            }
            both_go_on(&stage, &clock, &other).await;
        }
        assert_eq!(lead(&stage, &stage.engine), secs(600), "{said:?}");
    }
    // What took long to come may be of any instant since it was asked for.
    for (took, stands) in [(secs(4), false), (secs(5), true)] {
        let (stage, clock, other) = after_a_commit_from_the_future(secs(600)).await;
        stage.work().await;
        let now = stage.now();
        let elsewhere = Witness::Elsewhere;
        stage
            .engine
            .hear_date("okta", elsewhere, now - took, now - took, now);
        both_go_on(&stage, &clock, &other).await;
        assert_eq!(lead(&stage, &stage.engine) == secs(600), stands, "{took:?}");
    }
    // It counts for two and a half minutes.
    let (stage, clock, other) = after_a_commit_from_the_future(secs(600)).await;
    stage.work().await;
    let now = stage.now();
    stage
        .engine
        .hear_date("okta", Witness::Elsewhere, now, now, now);
    for _ in 0..70 {
        both_go_on(&stage, &clock, &other).await;
    }
    assert_eq!(lead(&stage, &stage.engine), secs(600) - secs(140) / 4);
}

#[tokio::test]
async fn k1_whose_clock_is_right_believes_no_note_that_is_ahead_and_replaces_it() {
    let noted = async |ahead: Duration| {
        let stage = Stage::new();
        let clock = Arc::new(ManualClock::at(stage.now() + ahead));
        stage.other(clock, 1).keep_time().await.unwrap();
        assert_eq!(kept(&stage).await, Some(stage.now() + ahead));
        stage
    };
    // Nobody knows better.
    let stage = noted(secs(600)).await;
    stage.engine.keep_time().await.unwrap();
    assert_eq!(kept(&stage).await, Some(stage.now() + secs(600)));
    assert_eq!(stage.engine.clock_offset(), ClockOffset::Behind(secs(600)));
    // Others agree with this clock.
    let stage = noted(secs(600)).await;
    says(&stage, "okta", 0);
    stage.engine.keep_time().await.unwrap();
    assert_eq!(kept(&stage).await, Some(stage.now()));
    assert_eq!(stage.engine.clock_offset(), ClockOffset::None);
    // They say that it is ahead.
    let stage = Stage::new();
    for (ahead, writes) in [(-7, false), (-6, true)] {
        says(&stage, "okta", ahead);
        stage.engine.keep_time().await.unwrap();
        assert_eq!(kept(&stage).await.is_some(), writes, "{ahead}");
    }
}

#[tokio::test]
async fn k1_a_process_that_starts_with_a_slow_clock_learns_it_from_the_store() {
    let stage = Stage::new();
    let request = stage.active("10m").await;
    let ends = request.grant().unwrap().expires_at;
    stage.clock.set(ends);
    stage.open("cleo", "10m").await;
    let slow = Arc::new(ManualClock::at(ends - secs(3_600)));
    let late = stage.other(slow, 1);
    let due = late.due(10).await.unwrap();
    assert!(due.iter().any(|due| due.id == request.id), "{due:?}");
    late.tend(request.id).await.unwrap();
    assert!(!stage.is_there(&request));
    assert_eq!(late.clock_offset(), ClockOffset::Behind(secs(3_600)));
}

/// Nobody tells it the time but what the last one wrote that had a right clock.
#[tokio::test]
async fn k1_a_process_that_is_behind_and_alone_ends_on_time() {
    for behind in [secs(600), secs(86_400)] {
        let stage = Stage::new();
        let request = stage.active("50m").await;
        let ends = request.grant().unwrap().expires_at;
        let slow = Arc::new(ManualClock::at(stage.now() - behind));
        let alone = stage.other(slow.clone(), 1);
        let one_pass = async || {
            for due in alone.due(10).await.unwrap() {
                alone.tend(due.id).await.unwrap();
            }
        };
        while stage.now() < ends {
            one_pass().await;
            assert!(stage.is_there(&request), "at {}", stage.now());
            stage.clock.advance(secs(5));
            slow.advance(secs(5));
        }
        one_pass().await;
        assert!(!stage.is_there(&request), "{behind:?} behind");
        assert_eq!(alone.clock_offset(), ClockOffset::Behind(behind));
    }
}

#[tokio::test]
async fn k1_a_clock_that_is_put_forward_by_what_it_was_behind_ends_nothing_early() {
    let stage = Stage::new();
    let request = stage.active("50m").await;
    let slow = Arc::new(ManualClock::at(stage.now() - secs(600)));
    let alone = stage.other(slow.clone(), 1);
    alone.due(10).await.unwrap();
    assert_eq!(alone.now(), stage.now());
    slow.put_forward(secs(200));
    assert_eq!(alone.now(), stage.now());
    assert_eq!(alone.clock_offset(), ClockOffset::Behind(secs(400)));
    slow.put_forward(secs(400));
    assert_eq!(alone.now(), stage.now());
    assert_eq!(alone.clock_offset(), ClockOffset::None);
    alone.tend(request.id).await.unwrap();
    assert!(stage.is_there(&request));
}

/// What time it is, as somebody wrote it down.
async fn kept(stage: &Stage) -> Option<Timestamp> {
    let row = stage.store.row("flag", "time").await.unwrap();
    row.map(|row| row.value.parse().unwrap())
}

#[tokio::test]
async fn k1_the_time_is_written_down_every_ten_seconds() {
    let stage = Stage::new();
    stage.open("ana", "10m").await;
    stage.clock.advance(secs(9));
    assert_eq!(stage.engine.keep_time().await.unwrap(), secs(1));
    assert_eq!(kept(&stage).await, None, "the request says what time it is");
    stage.clock.advance(secs(1));
    assert_eq!(stage.engine.keep_time().await.unwrap(), secs(10));
    let first = stage.now();
    assert_eq!(kept(&stage).await, Some(first));
    // Another process is content with it, and writes the next.
    let other = stage.other(stage.clock.clone(), 1);
    stage.clock.advance(secs(9));
    other.keep_time().await.unwrap();
    assert_eq!(kept(&stage).await, Some(first));
    stage.clock.advance(secs(1));
    other.keep_time().await.unwrap();
    assert_eq!(kept(&stage).await, Some(stage.now()));
}

#[tokio::test]
async fn k1_a_process_that_starts_behind_after_a_quiet_time_ends_on_time() {
    let stage = Stage::new();
    let request = stage.active("50m").await;
    let ends = request.grant().unwrap().expires_at;
    while stage.now() + secs(20) < ends {
        stage.clock.advance(secs(10));
        stage.engine.keep_time().await.unwrap();
    }
    // Whoever wrote it down is gone; nine seconds later the next one starts, a day behind.
    stage.clock.advance(secs(9));
    let slow = Arc::new(ManualClock::at(stage.now() - secs(86_400)));
    let alone = stage.other(slow.clone(), 1);
    alone.due(10).await.unwrap();
    assert_eq!(alone.now(), stage.now() - secs(9));
    // Were it to die too, the next one would know of this second.
    slow.advance(secs(1));
    stage.clock.advance(secs(1));
    assert_eq!(alone.keep_time().await.unwrap(), secs(1));
    assert_eq!(kept(&stage).await, Some(stage.now() - secs(9)));
    slow.advance(secs(20));
    for due in alone.due(10).await.unwrap() {
        alone.tend(due.id).await.unwrap();
    }
    assert!(!stage.is_there(&request));
}
