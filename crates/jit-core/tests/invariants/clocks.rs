//! K1: a clock that other systems contradict gives nothing, and goes on taking away.

use std::time::Duration;

use jit_core::Timestamp;
use jit_core::engine::{ClockOffset, EngineError, Verb};
use jit_core::lifecycle::Refusal;
use jit_core::request::Status;
use jit_testkit::stage::{Stage, secs, via};

/// Another system says that it is so many seconds later, or earlier, there.
fn says(stage: &Stage, of: &str, seconds: i64) {
    let now = stage.now();
    let said = now.unix_micros() + seconds * 1_000_000;
    let said = Timestamp::from_unix_micros(said);
    stage.engine.hear_date(of, said, now, now);
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
        stage.engine.hear_date("okta", said, asked_at, now);
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
