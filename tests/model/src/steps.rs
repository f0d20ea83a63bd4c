//! The steps of a process, in the order of the engine: load, decide, commit, look up, decide, commit,
//! check, sign and send, hear, load, decide, commit. Each is one transition; a process may pause
//! before any of them for as long as it likes, or die.

use std::time::Duration;

use jit_core::Timestamp;
use jit_core::engine::CLOCK_OFF;
use jit_core::lifecycle::{Duty, SEND_WITHIN, owed, sends_after_lease};
use jit_core::request::{Phase, Status};

use crate::model::{Does, Fate, Model};
use crate::provider::Seen;
use crate::record::Record;
use crate::setting::{at, ticks};
use crate::shortcut::Shortcut;
use crate::store::{Committed, dropped};
use crate::verdict::{Ask, Left};
use crate::world::{Click, Errand, Flaw, Step, Why, Worker, World};

/// After this many deletes whoever gives up does.
const GIVES_UP_AFTER: u32 = 2;

impl Worker {
    pub(crate) fn clock(&self, tick: u8) -> Timestamp {
        at(tick) - ticks(self.behind)
    }

    /// The instant by which it judges (K1): its clock, and its lead, which stands where it is more
    /// than clocks may differ. Nobody here has another clock to compare with.
    pub(crate) fn now(&self, tick: u8) -> Timestamp {
        let clock = self.clock(tick);
        self.lead.map_or(clock, |(lead, since)| {
            let made_up_for = match lead > CLOCK_OFF {
                true => Duration::ZERO,
                false => clock.since(since) / 4,
            };
            clock + lead.saturating_sub(made_up_for)
        })
    }

    /// Learns from the newest commit what time it is.
    fn observe(&mut self, tick: u8, newest: Timestamp) {
        let clock = self.clock(tick);
        let behind = newest.since(clock);
        if behind > self.now(tick).since(clock) {
            self.lead = Some((behind, clock));
        }
    }

    /// By how much its clock is behind, as far as it knows.
    fn clock_off(&self, tick: u8) -> Option<Duration> {
        let off_by = self.now(tick).since(self.clock(tick));
        self.lead
            .filter(|_| !off_by.is_zero())
            .map(|(lead, _)| lead)
    }
}

impl Model {
    /// What this process would take of this record, if anything is due.
    pub(crate) fn due(
        &self,
        world: &World,
        worker: &Worker,
        request: usize,
    ) -> Option<(Errand, Ask)> {
        let record = world.store.record(request)?;
        let now = worker.now(world.tick);
        // The store lists what is due by this instant alone.
        if record.due_at()? > now || self.hides(worker, request, record, now) {
            return None;
        }
        let errand = match owed(record, now)? {
            Duty::Lapse | Duty::Escalate | Duty::Cancel(_) | Duty::Close | Duty::Stick(_) => {
                return Some((Errand::Save, Ask::Due));
            }
            Duty::Finish(_) => return Some((Errand::Revoke, Ask::Due)),
            Duty::Lease => Errand::Lease,
            Duty::Verify => Errand::Look(Why::Verify),
            Duty::Check => Errand::Look(Why::Check),
            Duty::Look => Errand::Look(Why::Settle),
            Duty::Revoke => Errand::Revoke,
        };
        Some((errand, Ask::Take))
    }

    /// Whether a shortcut makes a due record invisible.
    fn hides(&self, worker: &Worker, request: usize, record: &Record, now: Timestamp) -> bool {
        let Some(grant) = record.grant() else {
            return false;
        };
        match (self.shortcut(), &grant.phase) {
            (Some(Shortcut::TtlOnLiveRow), _) => grant.expires_at <= now,
            (Some(Shortcut::TimerInMemory), Phase::Active) => {
                !worker.remembers.get(request).copied().unwrap_or_default()
            }
            (Some(Shortcut::GivesUp), Phase::Revoking { ending }) => {
                ending.attempts >= GIVES_UP_AFTER && ending.accepted_at.is_none()
            }
            _ => false,
        }
    }

    /// Takes one step.
    pub(crate) fn step(&self, world: &World, number: usize, does: Does) -> Option<World> {
        let mut world = world.clone();
        let worker = world.workers.get_mut(number)?;
        let step = std::mem::replace(&mut worker.step, Step::Idle);
        let next = match (does, step) {
            (Does::Loads(request), Step::Idle) => self.load(&mut world, number, request)?,
            (Does::TakesClick(click), Step::Idle) => {
                let clicks = &mut world.people.clicks;
                let which = clicks.iter().position(|it| *it == click)?;
                clicks.remove(which);
                Step::Clicked { click }
            }
            (Does::Sends(fate), step) => self.send(&mut world, number, step, fate)?,
            (Does::Goes, step) => self.go(&mut world, number, step, Reply::Heard)?,
            (Does::HearsNothing, step) => self.go(&mut world, number, step, Reply::Lost)?,
            (Does::LooksInVain, step) => self.look(&mut world, number, step, None)?,
            (Does::Loads(_) | Does::TakesClick(_), _) => return None,
        };
        world.workers.get_mut(number)?.step = next;
        Some(world)
    }

    fn load(&self, world: &mut World, number: usize, request: usize) -> Option<Step> {
        let tick = world.tick;
        let newest = world.store.all().map(|it| it.updated_at).max()?;
        let record = world.store.record(request)?.clone();
        world.workers.get_mut(number)?.observe(tick, newest);
        let worker = world.workers.get(number)?;
        let (errand, ask) = self.due(world, worker, request)?;
        let pending = self
            .judge()
            .decide(request, &record, &ask, worker.now(tick))?;
        Some(Step::Taking {
            request,
            errand,
            read_at: worker.clock(tick),
            pending,
        })
    }

    fn go(&self, world: &mut World, number: usize, step: Step, reply: Reply) -> Option<Step> {
        Some(match step {
            Step::Idle | Step::Sending { .. } | Step::Deleting { .. } => return None,
            Step::Taking {
                request,
                errand,
                read_at,
                pending,
            } => match self.commit(world, Some(number), &pending) {
                Committed::Done => self.taken(world, number, request, errand, read_at)?,
                Committed::Conflict => Step::Idle,
            },
            Step::LookingUp { request } => self.look_up(world, number, request)?,
            Step::Leasing {
                request,
                looked_up,
                epoch,
                pending,
            } => {
                // The store takes nothing that was judged on facts that are too old by now.
                if looked_up != world.tick {
                    return Some(Step::Idle);
                }
                match (self.commit(world, Some(number), &pending), epoch) {
                    (Committed::Done, Some(epoch)) => leased(request, epoch, pending.first()?)?,
                    (Committed::Done, None) => Step::Idle,
                    (Committed::Conflict, _) => Step::LookingUp { request },
                }
            }
            Step::ReadingBack { .. } | Step::Looking { .. } => {
                let look = self.seen(world, &step)?;
                self.look(world, number, step, look)?
            }
            Step::Recording { request, outcome } => self.record(world, number, request, outcome)?,
            Step::Saving {
                request,
                outcome,
                pending,
            } => match self.commit(world, Some(number), &pending) {
                Committed::Done => self.saved(world, number, request, outcome, reply)?,
                Committed::Conflict => Step::Recording {
                    request,
                    outcome: dropped(outcome),
                },
            },
            Step::Clicked { click } => self.judge_click(world, number, click)?,
            Step::Judging {
                click,
                looked_up,
                pending,
            } => {
                if looked_up != world.tick {
                    return Some(Step::Clicked { click });
                }
                match (self.commit(world, Some(number), &pending), click) {
                    (Committed::Done, Click::Collect) => {
                        let record = pending.first()?;
                        let epoch = record.grant()?.epoch;
                        match record.status() {
                            Status::Provisioning => leased(0, epoch, record)?,
                            _ => Step::Idle,
                        }
                    }
                    (Committed::Done | Committed::Conflict, _) => Step::Idle,
                }
            }
        })
    }

    /// What follows once a record is taken.
    fn taken(
        &self,
        world: &mut World,
        number: usize,
        request: usize,
        errand: Errand,
        read_at: Timestamp,
    ) -> Option<Step> {
        let record = world.store.record(request)?;
        let grant = record.grant();
        let epoch = grant.map_or(0, |grant| grant.epoch);
        let now = world.workers.get(number)?.now(world.tick);
        Some(match errand {
            Errand::Save => Step::Idle,
            Errand::Lease => Step::LookingUp { request },
            Errand::Revoke => {
                let Phase::Revoking { ending } = &grant?.phase else {
                    return Some(Step::Idle);
                };
                let attempt = ending.attempts;
                if ending.accepted_at.is_some() || !record.place().provider.revocable {
                    Step::ReadingBack {
                        request,
                        epoch,
                        attempt,
                        said: None,
                    }
                } else {
                    Step::Deleting {
                        request,
                        epoch,
                        attempt,
                        send_before: read_at + SEND_WITHIN,
                    }
                }
            }
            Errand::Look(Why::Check) if grant?.rechecks.iter().all(|at| *at > now) => {
                let (seen_at, seen) = (now, None);
                Step::Recording {
                    request,
                    outcome: Ask::Checked {
                        epoch,
                        seen_at,
                        seen,
                    },
                }
            }
            Errand::Look(why) => Step::Looking {
                request,
                epoch,
                why,
            },
        })
    }

    /// Looks up the slot, the provider and people, and decides on a lease.
    fn look_up(&self, world: &mut World, number: usize, request: usize) -> Option<Step> {
        let record = world.store.record(request)?.clone();
        let owner = world.store.owner(self.judge().realm(request));
        let lives = owner
            .as_ref()
            .is_some_and(|it| it.record.status().is_live());
        let first = record.status() == Status::Approved;
        let seen = match self.shortcut() {
            _ if !first || lives => None,
            Some(Shortcut::Adopts) => Some(Seen::Absent),
            Some(_) | None => Some(world.provider.look(self.nature())),
        };
        let worker = world.workers.get(number)?;
        let ask = Ask::Lease {
            owner,
            seen,
            left: left(world),
            clock_off: worker.clock_off(world.tick),
        };
        let now = worker.now(world.tick);
        let Some(pending) = self.judge().decide(request, &record, &ask, now) else {
            return Some(Step::Idle);
        };
        let epoch = pending.leased(&record);
        if epoch.is_some() && self.shortcut() == Some(Shortcut::GrantFirst) {
            let sent = self.transmit(world, request, epoch?, Fate::Late);
            debug_assert!(sent.is_some(), "whoever sends first sends at once");
        }
        Some(Step::Leasing {
            request,
            epoch,
            looked_up: world.tick,
            pending,
        })
    }

    // --------------------------------------------------------------------------------- recording

    fn record(
        &self,
        world: &mut World,
        number: usize,
        request: usize,
        mut outcome: Ask,
    ) -> Option<Step> {
        let record = world.store.record(request)?.clone();
        let now = world.workers.get(number)?.now(world.tick);
        match &mut outcome {
            Ask::GrantAnswered { owner, .. } if record.status() == Status::Closed => {
                *owner = world.store.owner(self.judge().realm(request));
            }
            Ask::GrantAnswered { owner, .. } => *owner = None,
            Ask::Looked { seen_at, .. }
            | Ask::Verified { seen_at, .. }
            | Ask::RevokeAnswered { seen_at, .. }
                if self.shortcut() == Some(Shortcut::LooksStampedLate) =>
            {
                *seen_at = now;
            }
            _ => {}
        }
        let Some(pending) = self.judge().decide(request, &record, &outcome, now) else {
            return Some(Step::Idle);
        };
        if self.saves_in_one() {
            return match self.commit(world, Some(number), &pending) {
                Committed::Done => self.saved(world, number, request, outcome, Reply::Heard),
                Committed::Conflict => Some(Step::Recording { request, outcome }),
            };
        }
        Some(Step::Saving {
            request,
            outcome,
            pending,
        })
    }

    /// What follows once an outcome is saved.
    fn saved(
        &self,
        world: &mut World,
        number: usize,
        request: usize,
        outcome: Ask,
        reply: Reply,
    ) -> Option<Step> {
        let active = world.store.record(request)?.status() == Status::Active;
        if let Some(remembers) = world.workers.get_mut(number)?.remembers.get_mut(request) {
            *remembers = active && self.shortcut() == Some(Shortcut::TimerInMemory);
        }
        if let Ask::MintAnswered { in_hand: true, .. } = outcome {
            match reply {
                // Nobody knows whether it was saved: the secret is dropped.
                Reply::Lost => {
                    return Some(Step::Recording {
                        request,
                        outcome: dropped(outcome),
                    });
                }
                Reply::Heard if active && self.shortcut() != Some(Shortcut::HandsOutFirst) => {
                    self.hand_out(world, request);
                }
                Reply::Heard => {}
            }
        }
        Some(Step::Idle)
    }

    /// S15: a secret is given once, and only once its record says so.
    pub(crate) fn hand_out(&self, world: &mut World, request: usize) {
        world.handed_out += 1;
        let active = world
            .store
            .record(request)
            .is_some_and(|it| it.status() == Status::Active);
        if world.handed_out > 1 || !active {
            world.flaws.add(Flaw::Secret);
        }
    }

    fn judge_click(&self, world: &mut World, number: usize, click: Click) -> Option<Step> {
        let record = world.store.record(0)?.clone();
        let left = left(world);
        let ask = match click {
            Click::Approve(by, ttl) => Ask::Approve { by, ttl, left },
            Click::Deny(by) => Ask::Deny { by, left },
            Click::Collect => Ask::Collect,
        };
        let now = world.workers.get(number)?.now(world.tick);
        let judged = self.judge().decide(0, &record, &ask, now);
        Some(judged.map_or(Step::Idle, |pending| Step::Judging {
            click,
            looked_up: world.tick,
            pending,
        }))
    }
}

/// Whether whoever commits hears that it was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reply {
    Heard,
    Lost,
}

/// What follows a lease.
fn leased(request: usize, epoch: u32, record: &Record) -> Option<Step> {
    let send_before = record.grant()?.send_before?;
    Some(if sends_after_lease(record) {
        Step::Sending {
            request,
            epoch,
            send_before,
            checked: false,
        }
    } else {
        Step::Looking {
            request,
            epoch,
            why: Why::TakenOver,
        }
    })
}

fn left(world: &World) -> Left {
    world.people.left.iter().map(|it| it.0).collect()
}
