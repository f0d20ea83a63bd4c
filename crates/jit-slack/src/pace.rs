//! How fast a conversation is written to. It calls nothing and sleeps nowhere: it says who is to
//! come again, and when.
//!
//! Slack takes about one message a second in a conversation and lets short bursts pass, without
//! saying how short. To pace from the start would make every burst that Slack would have taken
//! late; to go on after it said no would have it say no to everything. So a conversation is
//! written to as fast as there is something to say until Slack wants a pause there, and once a
//! second from then on, until nothing had to wait there for a minute.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::request::RequestId;

/// Between two messages where Slack wanted a pause lately, and the pause where it does not say how
/// long.
const GAP: Duration = Duration::from_secs(1);
/// A conversation in which nothing had to wait for so long is written to freely again.
const QUIET: Duration = Duration::from_secs(60);
/// Whoever did not come back so long after their turn was told elsewhere, or is not told any more.
const TURN_KEPT: Duration = Duration::from_secs(5);
/// The longest pause that is believed.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// A conversation in which Slack wanted a pause.
#[derive(Debug)]
struct Lane {
    /// Nothing is sent there before.
    closed_until: Timestamp,
    /// The next turn.
    next_at: Timestamp,
    /// Whoever waits, from the oldest request to the newest, and until when they were told to.
    waiting: BTreeMap<RequestId, Timestamp>,
    /// When somebody had to wait last.
    waited_at: Timestamp,
}

impl Lane {
    fn is_quiet(&self, now: Timestamp) -> bool {
        now.since(self.waited_at.max(self.closed_until)) >= QUIET
    }
}

/// In whole milliseconds, as waits are told: whoever comes back a moment too early waits twice.
fn wait(now: Timestamp, until: Timestamp) -> Duration {
    let millis = until.since(now).as_micros().div_ceil(1_000);
    Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
}

/// What Slack wanted of late, by conversation.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    lanes: Mutex<HashMap<String, Lane>>,
}

impl Pace {
    fn lanes(&self) -> MutexGuard<'_, HashMap<String, Lane>> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is to be said of this request may be said now; else how long it is to wait.
    /// The older request goes first, so that cards stand in the order in which people asked.
    pub(crate) fn turn(
        &self,
        channel: &str,
        request: RequestId,
        now: Timestamp,
    ) -> Result<(), Duration> {
        let mut lanes = self.lanes();
        let Some(lane) = lanes.get_mut(channel) else {
            return Ok(());
        };
        if lane.is_quiet(now) {
            lanes.remove(channel);
            return Ok(());
        }
        lane.waiting.retain(|_, turn| now < *turn + TURN_KEPT);
        let first = lane.waiting.range(..request).count();
        if now >= lane.next_at && first == 0 {
            lane.waiting.remove(&request);
            lane.next_at = now + GAP;
            return Ok(());
        }
        let before = u32::try_from(first).unwrap_or(u32::MAX);
        let turn = lane.next_at.max(now) + GAP.saturating_mul(before);
        lane.waiting.insert(request, turn);
        lane.waited_at = now;
        Err(wait(now, turn))
    }

    /// Whether anything may be sent there at all; else how long not.
    pub(crate) fn is_open(&self, channel: &str, now: Timestamp) -> Result<(), Duration> {
        match self.lanes().get(channel) {
            Some(lane) if now < lane.closed_until => Err(wait(now, lane.closed_until)),
            Some(_) | None => Ok(()),
        }
    }

    /// Slack took a message there. The gap counts from its answer: what it counts from is between
    /// the call and that.
    pub(crate) fn sent(&self, channel: &str, now: Timestamp) {
        if let Some(lane) = self.lanes().get_mut(channel) {
            lane.next_at = lane.next_at.max(now + GAP);
        }
    }

    /// Slack wants a pause there.
    pub(crate) fn close(&self, channel: &str, pause: Option<Duration>, now: Timestamp) {
        let until = now + pause.unwrap_or(GAP).min(LONGEST_PAUSE);
        let mut lanes = self.lanes();
        lanes.retain(|_, lane| !lane.is_quiet(now));
        let lane = lanes.entry(channel.to_owned()).or_insert_with(|| Lane {
            closed_until: until,
            next_at: until,
            waiting: BTreeMap::new(),
            waited_at: now,
        });
        lane.closed_until = lane.closed_until.max(until);
        lane.next_at = lane.next_at.max(until);
        lane.waited_at = now;
    }
}

#[cfg(test)]
mod tests {
    use jit_testkit::sample::{at, id};

    use super::*;

    const HERE: &str = "C0SEC";

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn nothing_waits_where_slack_never_wanted_a_pause() {
        let pace = Pace::default();
        pace.close("C0OTHER", None, at(0));
        for number in 1..1_000 {
            assert_eq!(pace.turn(HERE, id(number), at(0)), Ok(()));
            assert_eq!(pace.is_open(HERE, at(0)), Ok(()));
            pace.sent(HERE, at(0));
        }
    }

    #[test]
    fn nothing_is_sent_before_the_pause_is_over_and_then_one_a_second_the_oldest_first() {
        let pace = Pace::default();
        pace.close(HERE, Some(secs(3)), at(0));
        assert_eq!(pace.is_open(HERE, at(2)), Err(secs(1)));
        // They come in another order than they asked in.
        assert_eq!(pace.turn(HERE, id(2), at(0)), Err(secs(3)));
        assert_eq!(pace.turn(HERE, id(3), at(0)), Err(secs(4)));
        assert_eq!(pace.turn(HERE, id(1), at(0)), Err(secs(3)));
        assert_eq!(
            pace.turn(HERE, id(2), at(3)),
            Err(secs(1)),
            "the first is first"
        );
        assert_eq!(pace.turn(HERE, id(1), at(3)), Ok(()));
        pace.sent(HERE, at(3));
        assert_eq!(pace.turn(HERE, id(3), at(4)), Err(secs(1)));
        assert_eq!(pace.turn(HERE, id(2), at(4)), Ok(()));
        pace.sent(HERE, at(4));
        assert_eq!(pace.turn(HERE, id(3), at(5)), Ok(()));
    }

    #[test]
    fn whoever_does_not_come_back_holds_up_nobody_for_long() {
        let pace = Pace::default();
        pace.close(HERE, None, at(0));
        assert_eq!(pace.turn(HERE, id(1), at(0)), Err(secs(1)));
        assert_eq!(pace.turn(HERE, id(2), at(5)), Err(secs(1)));
        assert_eq!(pace.turn(HERE, id(2), at(6)), Ok(()));
    }

    #[test]
    fn a_conversation_is_written_to_freely_again_when_nothing_had_to_wait_for_a_minute() {
        let pace = Pace::default();
        pace.close(HERE, None, at(0));
        assert_eq!(pace.turn(HERE, id(1), at(1)), Ok(()));
        assert_eq!(pace.turn(HERE, id(2), at(1)), Err(secs(1)));
        assert_eq!(pace.turn(HERE, id(2), at(2)), Ok(()));
        assert!(pace.turn(HERE, id(3), at(2)).is_err());
        for number in 3..100 {
            assert_eq!(pace.turn(HERE, id(number), at(62)), Ok(()));
        }
    }
}
