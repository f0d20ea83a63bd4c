//! How soon, and how often again: the revoke is sent in time whatever else is wrong (L1), again and
//! again (L2), whatever fails elsewhere (L3), and needs nothing but the record (S7).
//!
//! The bounds are those of the design. What is added to them is named, and is added only where the
//! diary holds a mishap of a replica in that very time: a replica that died or was failed by the
//! store while it had the record is one take ([`TAKE`]) late, because whoever takes the record is
//! given that long.

use std::time::Duration;

use jit_core::Timestamp;
use jit_core::audit::{AuditEvent, Fact};
use jit_core::provider::Kind;
use jit_core::request::{RequestId, Status};
use jit_testkit::hostile::{Operation, SLOWEST_CALL};

use super::{Judge, Story};
use crate::sim::diary::{Asked, Attempt, Heard, Mishap, Trouble};
use crate::sim::{ClockWeather, TICK};

/// L1: the delete is sent by the end and this long.
const SENT_WITHIN: Duration = Duration::from_secs(5);
/// L2: the longest pause between two tries, without what the tries themselves take.
const AGAIN_WITHIN: Duration = Duration::from_secs(60);
/// Whoever takes a record is given 5 s; then another finds it at their next look, takes it and
/// sends.
const TAKE: Duration = Duration::from_secs(5 + 2);
/// A call that takes longer than this is slow, and another worker may come first.
const SLOW: Duration = Duration::from_secs(2);
/// Everything is read once a minute; the store may fail one of these readings.
const KNOWN_TO_ALL: Duration = Duration::from_secs(125);
/// L4: so long the store is waited for.
const STORE_AWAITED: Duration = Duration::from_secs(5);
/// A replica that starts knows all live grants after this long.
const MIRRORED: Duration = Duration::from_secs(2);
/// What happened so long before the end may still be in its way.
const BEFORE: Duration = Duration::from_secs(10);

/// One ending: from when on the access had to be taken away, and until when the record said so.
#[derive(Debug, Clone, Copy)]
struct EndingTime {
    due: Timestamp,
    entered: Timestamp,
    left: Timestamp,
}

impl Judge<'_> {
    pub(super) fn timing(&mut self) {
        let mut found = vec![];
        for (id, story) in &self.stories {
            let provider = story.record.place().provider;
            // What cannot be taken away is not; what cannot be named is found by nobody.
            if !provider.revocable || (provider.kind == Kind::Minted && !provider.listable) {
                continue;
            }
            for ending in self.endings(story) {
                found.extend(self.first_delete(*id, story, ending));
                found.extend(self.tries(*id, ending));
            }
        }
        found
            .into_iter()
            .for_each(|(invariant, what)| self.violation(invariant, what));
    }

    /// The times in which the record was Revoking, each with the instant from which on it had to
    /// be. One whose end was seen without the store is Revoking for no time.
    fn endings(&self, story: &Story) -> Vec<EndingTime> {
        let mut endings: Vec<EndingTime> = vec![];
        let mut open: Option<EndingTime> = None;
        let mut begun = None;
        let expires_at = story.record.grant().map(|grant| grant.expires_at);
        for (at, event) in &story.events {
            let status = event.event.status;
            let again = matches!(
                event.event.what,
                Fact::LateEffect { .. } | Fact::Reappeared | Fact::Ending { .. }
            );
            match (status, &mut open) {
                (Status::Revoking, None) => {
                    let first = begun.is_none();
                    begun = Some(*at);
                    // The end that was promised, or the instant at which it was found again.
                    let due = match expires_at {
                        Some(expires_at) if first => expires_at,
                        Some(_) | None => *at,
                    };
                    open = Some(EndingTime {
                        due,
                        entered: *at,
                        left: Timestamp::MAX,
                    });
                }
                (Status::Revoking, Some(ending)) if again && *at > ending.entered => {
                    // It begins anew, under a new epoch.
                    let before = EndingTime {
                        left: *at,
                        ..*ending
                    };
                    endings.push(before);
                    open = Some(EndingTime {
                        due: *at,
                        entered: *at,
                        left: Timestamp::MAX,
                    });
                }
                (Status::Settling, None) if begun.is_none() => {
                    begun = Some(*at);
                    endings.extend(expires_at.map(|due| EndingTime {
                        due,
                        entered: *at,
                        left: *at,
                    }));
                }
                (Status::Revoking, Some(_)) | (_, None) => {}
                (_, Some(ending)) => {
                    endings.push(EndingTime {
                        left: *at,
                        ..*ending
                    });
                    open = None;
                }
            }
        }
        endings.extend(open);
        // Whoever never began must have begun at the end.
        if let (true, None, Some(expires_at)) = (story.record.status().is_live(), begun, expires_at)
        {
            endings.push(EndingTime {
                due: expires_at,
                entered: expires_at,
                left: Timestamp::MAX,
            });
        }
        endings
    }

    /// L1, and with it S7 and L3: the first delete of an ending is sent in time.
    fn first_delete(
        &self,
        id: RequestId,
        story: &Story,
        ending: EndingTime,
    ) -> Vec<(&'static str, String)> {
        // What is sent without the store is sent before the record says that it ends (L4).
        let told = |(_, event): &(Timestamp, AuditEvent)| {
            matches!(event.event.what, Fact::StoreAway { .. })
        };
        let since = match story.events.iter().any(told) {
            true => ending.entered.min(ending.due - self.clock_room()),
            false => ending.entered,
        };
        let sent = self.first_sent(id, story, since);
        let until = sent.unwrap_or(Timestamp::MAX);
        // The only host cannot know of time that passed while nobody wrote it down.
        let unknown = match self.world.weather {
            ClockWeather::OneHost => self.clock_room(),
            ClockWeather::Steady | ClockWeather::Jumping => Duration::ZERO,
        };
        let by = ending.due + SENT_WITHIN + unknown;
        // An ending that was over, or begun anew, before its time was up.
        if until <= by || ending.left <= by {
            return vec![];
        }
        let by = by + self.excused(id, ending.due - BEFORE, until.min(by + AGAIN_WITHIN * 5));
        if until.min(ending.left) <= by {
            return vec![];
        }
        let what = format!("{id}: no delete by {by}, the first at {until}");
        let mut found = vec![("L1", what.clone())];
        let wants = self.world.diary.wants.lock().unwrap();
        let without = wants.iter().find(|want| {
            let of_it = want.request.is_none_or(|of| of == id);
            of_it && want.from <= by && ending.due <= want.until
        });
        if let Some(without) = without {
            found.push(("S7", format!("{what}, without {}", without.what)));
        }
        let poisoned = self.world.diary.poisoned.lock().unwrap();
        let other_fails = poisoned
            .iter()
            .any(|(other, until)| *other != id && ending.due <= *until);
        if other_fails && !poisoned.contains_key(&id) {
            found.push(("L3", what));
        }
        found
    }

    /// When the first delete was signed since then. One that a poisoned slot kept from leaving
    /// counts from when it was tried.
    fn first_sent(&self, id: RequestId, story: &Story, since: Timestamp) -> Option<Timestamp> {
        let fell_back = story.record.grant().is_some_and(|grant| grant.fell_back);
        let calls = match (story.record.place().provider.kind, fell_back) {
            (Kind::Standing, _) => &self.standing_calls,
            (Kind::Minted, false) => &self.minter_calls,
            (Kind::Minted, true) => &self.spare_calls,
        };
        let mut sent = calls.iter().filter(|call| {
            call.request == id && call.operation == Operation::Revoke && call.signed_at >= since
        });
        let sent = sent.next().map(|call| call.signed_at);
        let poisoned = self.world.diary.poisoned.lock().unwrap().contains_key(&id);
        if !poisoned {
            return sent;
        }
        let tried = self.tried(id, since).map(|attempt| attempt.began).next();
        sent.min(tried).or(tried)
    }

    fn tried(&self, id: RequestId, since: Timestamp) -> impl Iterator<Item = &Attempt> {
        let attempts = self.attempts.get(&id).map_or(&[][..], Vec::as_slice);
        attempts
            .iter()
            .filter(move |attempt| attempt.asked == Asked::Revoke && attempt.began >= since)
    }

    /// L2: while access is owed to be taken away there is always another try, and after a delete
    /// that failed another delete.
    fn tries(&self, id: RequestId, ending: EndingTime) -> Vec<(&'static str, String)> {
        let attempts = self.attempts.get(&id).map_or(&[][..], Vec::as_slice);
        let during = attempts
            .iter()
            .filter(|it| it.began >= ending.entered && it.began < ending.left);
        let during: Vec<&Attempt> = during.collect();
        let mut found = vec![];
        let mut next: Vec<(&Attempt, Timestamp)> = vec![];
        for (number, attempt) in during.iter().enumerate() {
            // Where another delete was taken, it is looked after and not repeated.
            let taken = during.iter().any(|it| {
                let heard = it.heard.is_some_and(|(_, heard)| heard == Heard::Yes);
                it.asked == Asked::Revoke && heard
            });
            let failed = attempt.asked == Asked::Revoke
                && attempt.heard.is_none_or(|(_, heard)| heard == Heard::No)
                && !taken;
            let mut after = during[number + 1..].iter();
            let following = if failed {
                after.find(|it| it.asked == Asked::Revoke)
            } else {
                after.next()
            };
            next.push((attempt, following.map_or(ending.left, |it| it.began)));
        }
        for (attempt, again) in next {
            // A delete, its read-back, and the pause.
            let by = attempt.began + AGAIN_WITHIN + SLOWEST_CALL * 2 + TICK * 2;
            if again <= by {
                continue;
            }
            let by = by + self.excused(id, attempt.began, again.min(by + AGAIN_WITHIN * 5));
            if again > by {
                let began = attempt.began;
                found.push((
                    "L2",
                    format!("{id}: tried at {began}, not again before {again}"),
                ));
            }
        }
        found
    }

    /// Since when a reading of everything shows that there may be access: the lease, or the last time
    /// before this instant that a record which was over came back.
    fn live_since(&self, id: RequestId, by: Timestamp) -> Option<Timestamp> {
        let mut since = None;
        let mut was_live = false;
        for (at, event) in &self.stories.get(&id)?.events {
            let is_live = event.event.status.is_live();
            if is_live && !was_live && *at <= by {
                since = Some(*at);
            }
            was_live = is_live;
        }
        since
    }

    /// How much later than promised, because of the replicas themselves.
    fn excused(&self, id: RequestId, from: Timestamp, until: Timestamp) -> Duration {
        let mishaps = self.world.diary.mishaps.lock().unwrap();
        let within = |at: Timestamp| from <= at && at <= until;
        let mut excused = Duration::ZERO;
        for mishap in mishaps.iter() {
            let counts = within(mishap.from) || within(mishap.until);
            excused += match mishap.trouble {
                _ if !counts => Duration::ZERO,
                // Whoever dies may have had the record, and is missing for a while.
                Trouble::Death => TAKE,
                Trouble::Blind => TICK,
                Trouble::Store if mishap.request.is_none_or(|of| of == id) => TAKE,
                Trouble::Store => Duration::ZERO,
                // Not more for each replica: see below.
                Trouble::Away => Duration::ZERO,
            };
        }
        let attempts = self.attempts.get(&id).map_or(&[][..], Vec::as_slice);
        let slow = attempts.iter().filter(|attempt| {
            let over = attempt.heard.map_or(until, |(at, _)| at);
            over.since(attempt.began) > SLOW && attempt.began <= until && over >= from
        });
        let slow = u32::try_from(slow.count()).unwrap_or(u32::MAX);
        let live_since = self.live_since(id, until).unwrap_or(from);
        let away = store_away(&mishaps, live_since, from, until);
        excused + TAKE * slow + all_down(&mishaps, from, until) + away
    }
}

/// L4: how much later a store that is away may make the end of a grant that is live since then. A
/// replica that knows of it does not wait for longer than this. One that died knows nothing before the
/// store is back; and of what was leased lately, or came back, perhaps only one knew.
fn store_away(
    mishaps: &[Mishap],
    live_since: Timestamp,
    from: Timestamp,
    until: Timestamp,
) -> Duration {
    let overlaps = |it: &&Mishap| it.from <= until && it.until >= from;
    let away = mishaps
        .iter()
        .filter(|it| it.trouble == Trouble::Away)
        .filter(overlaps);
    let away: Vec<&Mishap> = away.collect();
    let excuse = |outage: &&Mishap| {
        let everybody = away.iter().filter(|it| it.from == outage.from).count() == 3;
        let died = |replica: u64| {
            mishaps.iter().any(|it| {
                let died = it.trouble == Trouble::Death && it.replica == replica;
                died && it.from <= outage.until && it.until + MIRRORED >= outage.from
            })
        };
        let dead = (0..3).filter(|replica| died(*replica)).count();
        let is_known = live_since + KNOWN_TO_ALL <= outage.from;
        let forgot = if is_known { dead == 3 } else { dead > 0 };
        match everybody && forgot {
            true => outage.until.since(outage.from) + TAKE,
            false => STORE_AWAITED + TICK * 2,
        }
    };
    away.iter().map(excuse).max().unwrap_or_default()
}

/// For how long no replica was up at all.
fn all_down(mishaps: &[Mishap], from: Timestamp, until: Timestamp) -> Duration {
    let downs = |replica: u64| {
        mishaps.iter().filter(move |it| {
            it.replica == replica
                && it.trouble == Trouble::Death
                && it.until >= from
                && it.from <= until
        })
    };
    let mut longest = Duration::ZERO;
    for one in downs(0) {
        for two in downs(1) {
            for three in downs(2) {
                let begin = one.from.max(two.from).max(three.from);
                let end = one.until.min(two.until).min(three.until);
                longest += end.since(begin);
            }
        }
    }
    longest
}
