//! S8: access that nobody granted is found, in the slots that were granted lately within five
//! minutes and anywhere else in the scope within one look at everything; it is told, and it is taken
//! away where it may be ours.

use std::collections::BTreeMap;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::audit::{Fact, SystemFact};
use jit_core::ports::Clock;
use jit_core::provider::{SlotKey, Target};
use jit_testkit::hostile::Hand;

use super::{Judge, Story};
use crate::sim::diary::{Committed, Trouble};
use crate::sim::setting::REALM;

/// The promise for slots that were granted in the last day.
const FRESH_WITHIN: Duration = Duration::from_secs(300);
/// One look at everything: how often it begins, and how long it takes.
const LOOK_WITHIN: Duration = Duration::from_secs(16 * 60);
/// Whoever dies, or is failed by the store, while it looks leaves that to the next look.
const FRESH_AGAIN: Duration = Duration::from_secs(150);
const LOOK_AGAIN: Duration = Duration::from_secs(15 * 60);

/// From looking at the clock to the commit.
const MOMENT: Duration = Duration::from_secs(5);

/// When somebody was told of access, or that it is gone.
type Told = BTreeMap<Target, Vec<(Timestamp, Known)>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Found,
    Gone,
}

fn told(journal: &[Committed]) -> Told {
    let mut told = Told::new();
    for committed in journal {
        let Ok(event) = committed.sealed.system_event() else {
            continue;
        };
        let (targets, known) = match event.event {
            SystemFact::DriftFound { targets, .. } => (targets, Known::Found),
            SystemFact::DriftGone { targets, .. } => (targets, Known::Gone),
            _ => continue,
        };
        for target in targets {
            told.entry(target).or_default().push((committed.at, known));
        }
    }
    told
}

impl Judge<'_> {
    pub(super) fn drift(&mut self, journal: &[Committed]) {
        let told = told(journal);
        let mut stories: BTreeMap<SlotKey, Vec<&Story>> = BTreeMap::new();
        for story in self.stories.values() {
            let part = story.record.parts.first();
            let realm = REALM.to_owned();
            let target = Target {
                realm,
                ..part.target.clone()
            };
            let slot = target.slot_key(&part.parameters);
            stories.entry(slot).or_default().push(story);
        }
        let ledger = self.world.standing.ledger();
        let mut found = vec![];
        for (slot, target, parameters) in ledger.slots() {
            let of_slot = stories.get(&slot).map_or(&[][..], Vec::as_slice);
            let intervals = ledger.effective_intervals(&slot).into_iter();
            for interval in intervals.filter(|it| it.by == Hand::Foreign) {
                let until = interval.until.unwrap_or(Timestamp::MAX);
                for (from, until) in self.alone(of_slot, interval.from, until) {
                    let was_ours = of_slot.iter().any(|story| self.was_ours(story, from));
                    // What has parameters is known by its slot alone.
                    if !was_ours && !parameters.is_empty() {
                        continue;
                    }
                    self.world.diary.counts.add(match was_ours {
                        true => "drift in a fresh slot",
                        false => "drift anywhere",
                    });
                    let by = self.found_by(from, was_ours);
                    if until <= by || by >= self.world.truth.now() {
                        continue;
                    }
                    let known = told.get(&target).map_or(&[][..], Vec::as_slice);
                    let last = known.iter().take_while(|(at, _)| *at <= by).last();
                    if last.map(|(_, known)| *known) != Some(Known::Found) {
                        let what = format!("{target:?} stands alone since {from}, unseen by {by}");
                        found.push(("S8", what));
                    } else if was_ours {
                        let what = format!("{target:?} stands alone from {from} to {until}");
                        found.push(("S8", what));
                    }
                }
            }
        }
        let pages = self.world.pages.lock().unwrap();
        let pages = pages
            .iter()
            .filter(|it| it.summary.contains("that no grant explains"));
        // Each says when the last of what it speaks of was found.
        let last_paged = pages.map(|it| it.at + self.clock_room() + MOMENT).max();
        for (target, known) in &told {
            for (at, _) in known.iter().filter(|(_, known)| *known == Known::Found) {
                let by = self.found_by(*at, true) + FRESH_AGAIN;
                if by < self.world.truth.now() && last_paged.is_none_or(|last| last < *at) {
                    let what = format!("{target:?}, found at {at}: nobody was paged");
                    found.push(("S8", what));
                }
            }
        }
        found
            .into_iter()
            .for_each(|(invariant, what)| self.violation(invariant, what));
    }

    /// The parts of this time in which no grant owned the slot.
    fn alone(
        &self,
        stories: &[&Story],
        from: Timestamp,
        until: Timestamp,
    ) -> Vec<(Timestamp, Timestamp)> {
        let mut lives: Vec<_> = stories.iter().flat_map(|story| self.lives(story)).collect();
        lives.sort_by_key(|life| life.from);
        let (mut alone, mut at) = (vec![], from);
        for life in lives {
            if life.from > at {
                alone.push((at, life.from.min(until)));
            }
            at = at.max(life.until);
            if at >= until {
                return alone;
            }
        }
        alone.push((at, until));
        alone
    }

    /// Whether a grant call of this request was sent before this instant, and the request is over: in
    /// a run every one of them is younger than a day.
    fn was_ours(&self, story: &Story, at: Timestamp) -> bool {
        let events = story.events.iter().take_while(|(when, _)| *when <= at);
        let mut sent = events.filter(|(_, event)| {
            matches!(
                event.event.what,
                Fact::GrantIntended { .. } | Fact::Closed { .. }
            )
        });
        sent.next().is_some()
            && story
                .events
                .iter()
                .any(|(when, event)| *when <= at && matches!(event.event.what, Fact::Closed { .. }))
    }

    /// When it must have been found that stands alone since then.
    fn found_by(&self, from: Timestamp, was_ours: bool) -> Timestamp {
        let (within, again) = match was_ours {
            true => (FRESH_WITHIN, FRESH_AGAIN),
            false => (LOOK_WITHIN, LOOK_AGAIN),
        };
        let mut by = self.bounds_from(from) + within + self.clock_room();
        let mishaps = self.world.diary.mishaps.lock().unwrap();
        let mut mishaps: Vec<_> = mishaps
            .iter()
            .filter(|it| matches!(it.trouble, Trouble::Death | Trouble::Store))
            .map(|it| it.from)
            .filter(|at| *at >= from)
            .collect();
        mishaps.sort();
        // Each may have cost the look of its time.
        for at in mishaps {
            if at < by {
                by = by + again;
            }
        }
        by
    }
}
