//! What was sent: after its intent, in its time, and with its outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::audit::Fact;
use jit_core::request::RequestId;
use jit_testkit::hostile::{HostileProvider, Operation};

use super::Judge;
use crate::sim::ClockWeather;
use crate::sim::diary::{Asked, Attempt, Heard, Trouble};

/// A worker saves an outcome within this time, or not at all: five tries on a slow store.
const SAVED_WITHIN: Duration = Duration::from_secs(5);
/// A worker gives a record up after this long, with whatever it heard.
const RECORD_DEADLINE: Duration = Duration::from_secs(60);

impl Judge<'_> {
    /// S1, S16: every call that was sent was intended first, once, and within its time.
    pub(super) fn calls(&mut self, provider: &HostileProvider) {
        // The sender's clock decides, and it may be behind. Where the sender knew that, it fenced the
        // call by so much earlier.
        let clocks = *self.world.diary.clocks.lock().unwrap();
        let (behind, known) = (clocks.behind, clocks.ahead + clocks.behind);
        let mut sent: BTreeMap<(RequestId, Timestamp), usize> = BTreeMap::new();
        for call in provider.ledger().calls() {
            let id = call.request;
            let Some(story) = self.stories.get(&id) else {
                self.violation("S1", format!("a call for {id}, which does not exist"));
                continue;
            };
            match call.operation {
                Operation::Grant | Operation::Mint => {
                    let intended = story.events.iter().filter(|(at, event)| {
                        let send_before = match &event.event.what {
                            Fact::GrantIntended { send_before, .. } => *send_before,
                            _ => return false,
                        };
                        let fenced = send_before >= call.send_before
                            && send_before.since(call.send_before) <= known;
                        fenced && *at <= call.signed_at
                    });
                    // Two attempts may have one deadline: that of the grant.
                    let times = sent.entry((id, call.send_before)).or_default();
                    *times += 1;
                    if intended.count() < *times {
                        self.violation("S1", format!("{id}: a grant call without its intent"));
                    }
                    if call.signed_at >= call.send_before + behind {
                        self.violation("S3", format!("{id}: a grant call was sent too late"));
                    }
                }
                Operation::Revoke => {
                    let room = self.clock_room();
                    let intended = story
                        .events
                        .iter()
                        .any(|(at, event)| match event.event.what {
                            Fact::RevokeIntended { .. } => *at <= call.signed_at,
                            // L4: written down when the store was back.
                            Fact::StoreAway { from, until, .. } => {
                                from <= call.signed_at + room && call.signed_at <= until + room
                            }
                            _ => false,
                        });
                    if !intended && !self.died_without_a_store(id, call.signed_at) {
                        self.violation("S16", format!("{id}: a delete without intent"));
                    }
                    let behind = match self.world.weather {
                        ClockWeather::OneHost => self.world.diary.set_back_at(call.signed_at),
                        ClockWeather::Steady | ClockWeather::Jumping => behind,
                    };
                    if call.signed_at >= call.send_before + behind {
                        self.violation("S3", format!("{id}: a delete was sent too late"));
                    }
                }
            }
        }
    }

    /// S16: what a worker heard and lived to write down has an outcome event. Of deletes a series
    /// of like failures has one, at tries 1, 2, 4, 8 …
    pub(super) fn outcomes(&mut self) {
        let attempts = self.world.diary.attempts.lock().unwrap().clone();
        let mut used: BTreeMap<RequestId, Vec<usize>> = BTreeMap::new();
        let mut found = vec![];
        for attempt in &attempts {
            let Some((heard_at, heard)) = attempt.heard else {
                continue;
            };
            let Some(story) = self.stories.get(&attempt.request) else {
                continue;
            };
            if attempt.asked == Asked::Inspect || self.could_not_save(attempt, heard_at) {
                continue;
            }
            let used = used.entry(attempt.request).or_default();
            let id = attempt.request;
            let outcome = story
                .events
                .iter()
                .enumerate()
                .position(
                    |(number, (at, event))| match (attempt.asked, &event.event.what) {
                        (Asked::Grant | Asked::Mint, Fact::GrantAnswered { .. }) => {
                            *at >= heard_at && !used.contains(&number)
                        }
                        (Asked::Revoke, Fact::RevokeAnswered { .. } | Fact::StoreAway { .. }) => {
                            *at >= heard_at
                        }
                        _ => false,
                    },
                );
            match (outcome, attempt.asked) {
                (Some(number), Asked::Grant | Asked::Mint) => used.push(number),
                (Some(_), _) => {}
                (None, Asked::Revoke) if heard == Heard::No => {}
                (None, asked) => {
                    found.push(format!(
                        "{id}: {asked:?} was answered at {heard_at}, nothing says how"
                    ));
                }
            }
        }
        found
            .into_iter()
            .for_each(|what| self.violation("S16", what));
    }

    /// What is heard of a record that was handed over is saved with a look at the slot's owner.
    fn share_a_slot(&self, one: RequestId, other: RequestId) -> bool {
        let slot = |id| {
            let story = self.stories.get(&id)?;
            Some(story.record.parts.first().slot_key())
        };
        one == other || slot(one).is_some_and(|key| slot(other) == Some(key))
    }

    /// Whether whoever sent this delete did so while the store was away, and died before it was back:
    /// then its log alone says so.
    fn died_without_a_store(&self, id: RequestId, signed_at: Timestamp) -> bool {
        let mishaps = self.world.diary.mishaps.lock().unwrap();
        let of = |replica, trouble| {
            let mishaps = mishaps.iter();
            mishaps.filter(move |it| it.replica == replica && it.trouble == trouble)
        };
        let attempts = self.attempts.get(&id).map_or(&[][..], Vec::as_slice);
        attempts.iter().any(|attempt| {
            let heard_at = attempt.heard.map_or(Timestamp::MAX, |(at, _)| at);
            let sent = attempt.began <= signed_at && signed_at <= heard_at;
            let mut outages = of(attempt.replica, Trouble::Away);
            let outage = outages.find(|it| it.from <= signed_at && signed_at <= it.until);
            attempt.asked == Asked::Revoke
                && sent
                && outage.is_some_and(|outage| {
                    let mut deaths = of(attempt.replica, Trouble::Death);
                    deaths.any(|it| it.from >= signed_at && it.from <= outage.until + SAVED_WITHIN)
                })
        })
    }

    /// Whether whoever heard this died, or was failed by the store, before they could save it.
    fn could_not_save(&self, attempt: &Attempt, heard_at: Timestamp) -> bool {
        let slowest = jit_testkit::hostile::SLOWEST_CALL;
        let read_back = match attempt.asked {
            Asked::Revoke => slowest,
            Asked::Grant | Asked::Mint | Asked::Inspect => Duration::ZERO,
        };
        let until = heard_at + SAVED_WITHIN + read_back;
        let gave_up = until > attempt.began + RECORD_DEADLINE;
        let mishaps = self.world.diary.mishaps.lock().unwrap();
        gave_up
            || mishaps.iter().any(|mishap| {
                let there = match mishap.trouble {
                    Trouble::Away => mishap.from <= until && mishap.until >= heard_at,
                    Trouble::Death | Trouble::Blind | Trouble::Store => {
                        mishap.from >= heard_at && mishap.from <= until
                    }
                };
                let theirs = match mishap.trouble {
                    Trouble::Death => mishap.replica == attempt.replica,
                    Trouble::Store => {
                        mishap.replica == attempt.replica
                            && mishap
                                .request
                                .is_none_or(|id| self.share_a_slot(id, attempt.request))
                    }
                    Trouble::Away => mishap.replica == attempt.replica,
                    Trouble::Blind => false,
                };
                there && theirs
            })
    }
}
