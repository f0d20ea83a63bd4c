//! What stood at the provider: only while a grant owned its slot, one at a time, and not for too
//! long.

use std::collections::BTreeMap;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::audit::{AuditEvent, Fact};
use jit_core::provider::{Kind, SlotKey, Target};
use jit_core::request::{RequestId, Status};
use jit_testkit::hostile::{Hand, Interval};

use super::{Judge, Story};
use crate::sim::setting::REALM;

/// A time in which a grant owned its slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Life {
    owner: RequestId,
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
    /// When the access had to end: the end that counted, and the time to take it away.
    ends_by: Timestamp,
}

/// How often A a grant may take to go: twice where a grant call of ours may still have been under
/// way when it had to.
pub(super) fn applying(story: &Story) -> u32 {
    let ending = |(_, it): &&(Timestamp, AuditEvent)| {
        !matches!(it.event.status, Status::Revoking | Status::Settling)
    };
    let before = story.events.iter().take_while(ending).last();
    let stood = before.is_some_and(|(_, it)| it.event.status == Status::Active);
    let late = |(_, it): &(Timestamp, AuditEvent)| matches!(it.event.what, Fact::LateEffect { .. });
    if stood && !story.events.iter().any(late) {
        1
    } else {
        2
    }
}

impl Judge<'_> {
    /// The times in which this request's grant owned its slot.
    pub(super) fn lives(&self, story: &Story) -> Vec<Life> {
        let provider = story.record.place().provider;
        let expires_at = story.record.grant().map(|grant| grant.expires_at);
        let mut ends_by = self.bounds_from(expires_at.unwrap_or(Timestamp::MAX))
            + Duration::from_secs(30)
            + provider.applied_within * applying(story)
            + self.clock_room();
        let poisoned = self.world.diary.poisoned.lock().unwrap();
        if let Some(until) = poisoned.get(&story.record.id) {
            // What the provider refused for this slot alone is tried at least every minute.
            ends_by = ends_by.max(*until + Duration::from_secs(120) + provider.applied_within * 2);
        }
        drop(poisoned);
        if provider.kind == Kind::Minted {
            let gone_by = story.record.grant().and_then(|grant| {
                // What the provider was told last, which no end moves.
                provider.gone_by(
                    grant.send_before.unwrap_or(grant.expires_at),
                    grant.told_until.unwrap_or(grant.expires_at),
                )
            });
            ends_by = ends_by.max(gone_by.unwrap_or(Timestamp::MIN) + self.clock_room());
        }
        let mut lives: Vec<Life> = vec![];
        let mut open: Option<Timestamp> = None;
        for (at, event) in &story.events {
            match (event.event.status.is_live(), open) {
                (true, None) => open = Some(*at),
                (false, Some(from)) => {
                    // A grant that a late effect re-opened must end soon after that.
                    let ends_by = if lives.is_empty() {
                        ends_by
                    } else {
                        self.bounds_from(ends_by.max(from)) + Duration::from_secs(90)
                    };
                    lives.push(Life {
                        owner: story.record.id,
                        from,
                        until: *at,
                        ends_by,
                    });
                    open = None;
                }
                (true, Some(_)) | (false, None) => {}
            }
        }
        if let Some(from) = open {
            let until = Timestamp::MAX;
            lives.push(Life {
                owner: story.record.id,
                from,
                until,
                ends_by,
            });
        }
        lives
    }

    /// Whether access that this grant gave still stood at this instant.
    pub(super) fn stood_at(&self, story: &Story, at: Timestamp) -> bool {
        let part = story.record.parts.first();
        let realm = REALM.to_owned();
        let target = Target {
            realm,
            ..part.target.clone()
        };
        let slot = target.slot_key(&part.parameters);
        let mut stood = self.world.standing.ledger().effective_intervals(&slot);
        stood.retain(|it| it.by == Hand::Ours(story.record.id));
        stood
            .iter()
            .any(|it| it.from <= at && it.until.is_none_or(|until| until > at))
    }

    /// S2, S3, S4, L1: access stands only while a grant owns its slot, one at a time, and goes in
    /// time.
    pub(super) fn slots(&mut self) {
        let mut by_slot: BTreeMap<SlotKey, Vec<Life>> = BTreeMap::new();
        for story in self.stories.values() {
            let part = story.record.parts.first();
            if part.provider.kind == Kind::Standing {
                // What the slot really is, whatever the record calls it.
                let realm = REALM.to_owned();
                let target = Target {
                    realm,
                    ..part.target.clone()
                };
                let slot = target.slot_key(&part.parameters);
                by_slot.entry(slot).or_default().extend(self.lives(story));
            }
        }
        let mut found = vec![];
        let ahead = self.world.diary.clocks.lock().unwrap().ahead;
        for (slot, lives) in &mut by_slot {
            lives.sort_by_key(|life| life.from);
            for pair in lives.windows(2) {
                if let [one, two] = pair
                    && two.from < one.until
                {
                    found.push(("S4", format!("{} and {} at once", one.owner, two.owner)));
                }
            }
            let intervals = self.world.standing.ledger().effective_intervals(slot);
            found.extend(covered(&intervals, lives, ahead));
        }
        for (slot, ..) in self.world.standing.ledger().slots() {
            if !by_slot.contains_key(&slot) {
                let intervals = self.world.standing.ledger().effective_intervals(&slot);
                found.extend(covered(&intervals, &[], ahead));
            }
        }
        found
            .into_iter()
            .for_each(|(invariant, what)| self.violation(invariant, what));
    }

    /// The same for credentials, whose slot is the request itself.
    pub(super) fn credentials(&mut self) {
        let (minter, spare) = (self.world.minter.ledger(), self.world.spare.ledger());
        let ahead = self.world.diary.clocks.lock().unwrap().ahead;
        let mut found = vec![];
        for (id, story) in &self.stories {
            let (first, second) = (minter.minted(*id), spare.minted(*id));
            // What may have been made is made nowhere else.
            if !first.is_empty() && !second.is_empty() {
                found.push(("E8", format!("{id}: made at both providers")));
            }
            let lives = self.lives(story);
            found.extend(covered(&first, &lives, ahead));
            found.extend(covered(&second, &lives, ahead));
        }
        found
            .into_iter()
            .for_each(|(invariant, what)| self.violation(invariant, what));
    }
}

/// Every instant of every interval must lie in the life of a grant that had not ended for long.
/// What the provider's own clock ends is closed by ours, which may be so far ahead of it.
fn covered(intervals: &[Interval], lives: &[Life], ahead: Duration) -> Vec<(&'static str, String)> {
    let mut found = vec![];
    for interval in intervals
        .iter()
        .filter(|interval| matches!(interval.by, Hand::Ours(_)))
    {
        let until = interval.until.unwrap_or(Timestamp::MAX);
        let mut at = interval.from;
        for life in lives
            .iter()
            .filter(|life| life.until > interval.from && life.from < until)
        {
            if life.from > at {
                found.push((
                    "S3",
                    format!("{:?} stands since {at} without owner", interval.by),
                ));
            }
            let end = until.min(life.until);
            if end > life.ends_by {
                let (owner, by) = (life.owner, life.ends_by);
                found.push((
                    "L1",
                    format!("{owner} should be gone by {by}, is there until {end}"),
                ));
            }
            at = at.max(life.until);
        }
        let by_its_clock = interval.ended_by == Some(Hand::ProviderClock);
        let spared = if by_its_clock { ahead } else { Duration::ZERO };
        if at + spared < until {
            let by = interval.by;
            found.push((
                "S2",
                format!("{by:?} stands from {at} to {until} without owner"),
            ));
        }
    }
    found
}
