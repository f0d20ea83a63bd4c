//! The steps at the provider: the time checked, a call signed and sent once, and looks.

use jit_core::Timestamp;
use jit_core::provider::Kind;

use crate::model::{Fate, Model};
use crate::provider::{Call, Effects, Leg, Said, Seen};
use crate::setting::at;
use crate::shortcut::Shortcut;
use crate::verdict::Ask;
use crate::world::{Flaw, Look, Step, Why, World};

impl Model {
    pub(crate) fn send(
        &self,
        world: &mut World,
        number: usize,
        step: Step,
        fate: Fate,
    ) -> Option<Step> {
        let worker = world.workers.get(number)?;
        let in_time = |send_before: Timestamp| match self.shortcut() {
            Some(Shortcut::SendsAtItsLimit) => worker.now(world.tick) <= send_before,
            Some(_) | None => worker.now(world.tick) < send_before,
        };
        let clock = worker.clock(world.tick);
        match step {
            Step::Sending {
                request,
                epoch,
                send_before,
                checked,
            } => {
                let pauses = self.shortcut() == Some(Shortcut::ChecksThenPauses) && !checked;
                if pauses && in_time(send_before) {
                    return Some(Step::Sending {
                        request,
                        epoch,
                        send_before,
                        checked: true,
                    });
                }
                let said = if checked || in_time(send_before) {
                    self.transmit(world, request, epoch, fate)?
                } else {
                    Said::NothingDone
                };
                Some(self.answered(world, request, epoch, said))
            }
            Step::Deleting {
                request,
                epoch,
                attempt,
                send_before,
            } => {
                let said = if clock < send_before {
                    self.transmit_delete(world, request, fate)?
                } else {
                    Said::NothingDone
                };
                Some(Step::ReadingBack {
                    request,
                    epoch,
                    attempt,
                    said: Some(said),
                })
            }
            _ => None,
        }
    }

    /// What is to be saved of an answer.
    fn answered(&self, world: &mut World, request: usize, epoch: u32, said: Said) -> Step {
        let outcome = match self.nature().kind {
            Kind::Standing => Ask::GrantAnswered {
                epoch,
                said,
                owner: None,
            },
            Kind::Minted => {
                if said == Said::Applied && self.shortcut() == Some(Shortcut::HandsOutFirst) {
                    self.hand_out(world, request);
                }
                let counts = match (said, self.shortcut()) {
                    (Said::NoReply, Some(Shortcut::TimeoutMeansNothing)) => Said::NothingDone,
                    (said, _) => said,
                };
                Ask::MintAnswered {
                    epoch,
                    said: counts,
                    ends_at: world.provider.dies_at.map(at),
                    in_hand: said == Said::Applied,
                }
            }
        };
        Step::Recording { request, outcome }
    }

    /// Sends a grant or mint call, once. None where the network is as full as the scenario lets it be.
    pub(crate) fn transmit(
        &self,
        world: &mut World,
        request: usize,
        epoch: u32,
        fate: Fate,
    ) -> Option<Said> {
        let stored = world.store.record(request).and_then(|it| it.grant());
        let intended = stored.is_some_and(|it| it.epoch >= epoch && it.send_before.is_some());
        if !intended {
            world.flaws.add(Flaw::NoIntent);
        }
        let effects = match self.nature().kind {
            Kind::Standing => Effects::Grant,
            Kind::Minted => Effects::Mint,
        };
        self.on_its_way(world, request, effects, fate)
    }

    fn transmit_delete(&self, world: &mut World, request: usize, fate: Fate) -> Option<Said> {
        match fate {
            // Whether it ever arrives makes no difference to whoever waits for the reply.
            Fate::Late if !self.late_deletes() => Some(Said::NoReply),
            _ => self.on_its_way(world, request, Effects::Delete, fate),
        }
    }

    fn on_its_way(
        &self,
        world: &mut World,
        request: usize,
        effects: Effects,
        fate: Fate,
    ) -> Option<Said> {
        let nature = self.nature_for(request);
        let (leg, within, said) = match fate {
            Fate::Late if self.shortcut() == Some(Shortcut::PooledConnection) => {
                (Leg::Travelling, nature.accepted_within + 3, Said::NoReply)
            }
            Fate::Late => (Leg::Travelling, nature.accepted_within, Said::NoReply),
            Fate::Accepted => (Leg::Accepted, nature.applied_within, Said::Accepted),
            Fate::Applied => {
                self.take_effect(world, effects);
                return Some(Said::Applied);
            }
            Fate::NothingDone => return Some(Said::NothingDone),
        };
        if world.provider.calls.len() >= self.calls_at_once() {
            return None;
        }
        let until = world.tick + within;
        world.provider.add(Call {
            effects,
            leg,
            until,
        });
        Some(said)
    }

    // ---------------------------------------------------------------------------------- looking

    pub(crate) fn seen(&self, world: &World, step: &Step) -> Option<Look> {
        let request = match step {
            Step::ReadingBack { request, .. } | Step::Looking { request, .. } => *request,
            _ => return None,
        };
        let nature = self.nature();
        if nature.life.is_some() {
            let record = world.store.record(request)?;
            let grant = record.grant()?;
            let ends = grant.told_until.unwrap_or(grant.expires_at);
            let sent = grant.slot_send_before.unwrap_or(ends);
            let gone_by = record.place().provider.gone_by(sent, ends)?;
            return Some(Some(Seen::GoneBy(gone_by)));
        }
        let mut seen = world.provider.look(nature);
        let guesses = self.shortcut() == Some(Shortcut::InFlightMeansAbsent);
        if guesses && seen == Seen::InFlight {
            seen = Seen::Absent;
        }
        Some(Some(seen))
    }

    pub(crate) fn look(
        &self,
        world: &mut World,
        number: usize,
        step: Step,
        seen: Look,
    ) -> Option<Step> {
        let seen_at = world.workers.get(number)?.now(world.tick);
        let (request, outcome) = match step {
            Step::ReadingBack {
                request,
                epoch,
                attempt,
                said,
            } => {
                let taken = matches!(said, Some(Said::Applied | Said::Accepted));
                let believes = self.shortcut() == Some(Shortcut::DeleteMeansRevoked) && taken;
                let read_back = match believes {
                    true => Some(Seen::Absent),
                    false => seen,
                };
                let outcome = Ask::RevokeAnswered {
                    epoch,
                    attempt,
                    said,
                    read_back,
                    seen_at,
                };
                (request, outcome)
            }
            Step::Looking {
                request,
                epoch,
                why: Why::TakenOver,
            } if seen == Some(Seen::Absent) => {
                let send_before = world.store.record(request)?.grant()?.send_before?;
                return Some(Step::Sending {
                    request,
                    epoch,
                    send_before,
                    checked: false,
                });
            }
            Step::Looking {
                request,
                epoch,
                why,
            } => {
                let seen = match (why, self.shortcut()) {
                    (Why::Settle, Some(Shortcut::DeleteMeansRevoked)) => Some(Seen::Absent),
                    _ => seen,
                };
                let outcome = match why {
                    Why::Verify | Why::TakenOver => Ask::Verified {
                        epoch,
                        seen_at,
                        seen,
                    },
                    Why::Check => Ask::Checked {
                        epoch,
                        seen_at,
                        seen: Some(seen),
                    },
                    Why::Settle => Ask::Looked {
                        epoch,
                        seen_at,
                        seen,
                    },
                };
                (request, outcome)
            }
            _ => return None,
        };
        Some(Step::Recording { request, outcome })
    }
}
