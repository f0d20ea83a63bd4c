//! Committing: all of it or nothing, on what was read and nothing newer. Each commit is held against
//! the promises that can be told by what changes.

use jit_core::request::{AccessRequest, Approver, End, Phase, Status};

use crate::model::Model;
use crate::setting::{Person, SENT_WITHIN, TICK, at};
use crate::shortcut::Shortcut;
use crate::verdict::{Ask, Pending, decision};
use crate::world::{Flaw, Step, World};

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Committed {
    /// It is stored.
    Done,
    /// The slot had another owner.
    Conflict,
}

impl Model {
    /// Commits. What any other process read of the records that this replaces is worth nothing from
    /// now on, and its next step is the one that a conflict leads to.
    pub(crate) fn commit(
        &self,
        world: &mut World,
        by: Option<usize>,
        pending: &Pending,
    ) -> Committed {
        let compares = !matches!(
            self.shortcut(),
            Some(Shortcut::SlotNotCompared | Shortcut::LastWriteWins)
        );
        if let Some(slot) = &pending.slot {
            if compares && world.store.slots.get(slot.realm).copied() != slot.from {
                return Committed::Conflict;
            }
            world.store.slots.insert(slot.realm, slot.to);
        }
        for (request, record) in &pending.changes {
            let before = world.store.record(*request).cloned();
            if let Some(before) = &before {
                judge(world, *request, before, record);
                self.leaves_revoking(world, before, record);
            }
            let aged = self.judge().aged(record, at(world.tick));
            if let Some(stored) = world.store.records.get_mut(*request) {
                *stored = Some(aged);
            }
        }
        if self.shortcut() != Some(Shortcut::LastWriteWins) {
            self.outdate(world, by, pending);
        }
        Committed::Done
    }

    /// Notes by when a delete of a record that leaves Revoking has landed, by the longest V and A.
    fn leaves_revoking(&self, world: &mut World, before: &AccessRequest, after: &AccessRequest) {
        let revoking = |it: &AccessRequest| it.status() == Status::Revoking;
        if self.hands_over() && revoking(before) && !revoking(after) {
            let window = |request| {
                let nature = self.nature_for(request);
                nature.accepted_within + nature.applied_within
            };
            world.deletes_land_by = world.tick + SENT_WITHIN + window(0).max(window(1));
        }
    }

    /// Tells the other processes what is not as they read it any more.
    fn outdate(&self, world: &mut World, by: Option<usize>, committed: &Pending) {
        let changed = |request: usize| committed.changes.iter().any(|it| it.0 == request);
        let mut given = None;
        for (number, worker) in world.workers.iter_mut().enumerate() {
            if by == Some(number) {
                continue;
            }
            let holds = worker.step.pending();
            let outdated = holds.is_some_and(|held| {
                let owner = held.unchanged.iter().any(|it| changed(*it));
                let compares = self.shortcut() != Some(Shortcut::ClosedOwnerNotCompared);
                held.changes.iter().any(|it| changed(it.0)) || (owner && compares)
            });
            let step = std::mem::replace(&mut worker.step, Step::Idle);
            worker.step = match step {
                Step::LookingUp { request } if changed(request) => Step::Idle,
                step if !outdated => step,
                Step::Leasing { request, .. } if !changed(request) => Step::LookingUp { request },
                Step::Saving {
                    request, outcome, ..
                } => {
                    let unsaved = matches!(outcome, Ask::MintAnswered { in_hand: true, .. });
                    if unsaved && self.shortcut() == Some(Shortcut::HandsOutUnsaved) {
                        given = Some(request);
                    }
                    Step::Recording {
                        request,
                        outcome: dropped(outcome),
                    }
                }
                Step::Judging { click, .. } => Step::Clicked { click },
                Step::Taking { .. } | Step::Leasing { .. } => Step::Idle,
                other => other,
            };
        }
        if let Some(request) = given {
            self.hand_out(world, request);
        }
    }
}

/// The same outcome, where the secret cannot be given any more.
pub(crate) fn dropped(outcome: Ask) -> Ask {
    match outcome {
        Ask::MintAnswered {
            epoch,
            said,
            ends_at,
            ..
        } => Ask::MintAnswered {
            epoch,
            said,
            ends_at,
            in_hand: false,
        },
        other => other,
    }
}

/// Holds what changes against the promises.
fn judge(world: &mut World, request: usize, before: &AccessRequest, after: &AccessRequest) {
    let (decided, now) = (decision(before), decision(after));
    let again = decided.is_some() && (decided != now || before.approvals != after.approvals);
    let newly = decided.is_none() && now == Some("approved");
    if again || (newly && !enough(world, after)) {
        world.flaws.add(Flaw::Decision);
    }
    let (before, after_grant) = (before.grant(), after.grant());
    match (before, after_grant) {
        (Some(before), Some(now)) if now.expires_at > before.expires_at => {
            world.flaws.add(Flaw::LaterEnd);
        }
        (None, Some(now)) => {
            let chosen = after.approvals.iter().filter_map(|it| it.ttl);
            let longest = chosen.fold(after.ttl, std::cmp::Ord::min).duration();
            if now.expires_at > at(world.tick) + longest {
                world.flaws.add(Flaw::LaterEnd);
            }
        }
        _ => {}
    }
    let Some(now) = after_grant else {
        return;
    };
    let leased = before.is_some_and(|before| before.epoch < now.epoch)
        && matches!(now.phase, Phase::Provisioning { .. });
    if leased && !stale_approvers(world, after).is_empty() {
        world.flaws.add(Flaw::StaleAuthority);
    }
    let gone = matches!(
        now.phase,
        Phase::Closed {
            end: End::Gone { .. }
        }
    );
    let others = world.store.records.iter().enumerate();
    let mut others = others.filter(|(number, _)| *number != request);
    let owned = others.any(|(_, it)| it.as_ref().is_some_and(|it| it.status().is_live()));
    if gone && world.provider.stands && !owned {
        world.flaws.add(Flaw::QuietEnd);
    }
}

/// Whether so many different people approved as had to, each with their right until now.
fn enough(world: &World, request: &AccessRequest) -> bool {
    let mut people: Vec<Person> = approvers(request).collect();
    people.sort_unstable();
    people.dedup();
    let needed = usize::from(request.terms.approvals);
    people.len() >= needed && stale_approvers(world, request).is_empty()
}

/// Who approved, each by who they really are.
fn approvers(request: &AccessRequest) -> impl Iterator<Item = Person> {
    let people = request.approvals.iter().filter_map(|it| match &it.by {
        Approver::Person(id) => Some(id.clone()),
        Approver::Automatic => None,
    });
    people.filter_map(|id| {
        let all = [Person::Ann, Person::Bob, Person::Cid, Person::Asker];
        if id == Person::AnnAgain.id() {
            return Some(Person::Ann);
        }
        all.into_iter().find(|person| person.id() == id)
    })
}

/// Those of them who had lost their right in an earlier tick. Facts may be a few seconds old.
fn stale_approvers(world: &World, request: &AccessRequest) -> Vec<Person> {
    debug_assert!(TICK.as_secs() > 5, "a tick is longer than facts may be old");
    let left = &world.people.left;
    let lost = |person: &Person| left.iter().any(|it| it.0 == *person && it.1 < world.tick);
    approvers(request).filter(lost).collect()
}
