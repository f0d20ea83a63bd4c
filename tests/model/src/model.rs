//! The graph: which transitions a state has, and which promises are checked in every state.
//!
//! A run has two parts. In the *storm* every process may step, pause or die at any point, calls are
//! lost, late or answered, and people do what they may. In the *calm* after it nothing fails any more
//! and whoever has something to do does it before time passes; calls of the storm are still under way.
//! A state in the calm's last tick that is not clean is a violation, so a clean end is reached from
//! every state of the storm, whatever still arrives.

use jit_core::request::{End, Phase, Stage, Status};
use stateright::Property;

use crate::promise;
use crate::provider::{Call, Effects, Leg, Nature, Provider};
use crate::record::{Grid, Record};
use crate::scenario::{Deletes, Looks, Saves, Scenario};
use crate::setting::{Person, at};
use crate::shortcut::{Shortcut, declared};
use crate::store::Committed;
use crate::verdict::{Ask, Asked, Judge, Move, Pending};
use crate::world::{Click, Flaw, Flaws, People, Step, Store, Worker, World};

/// One transition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// A tick passes.
    Tick,
    /// A process takes a step.
    Worker(usize, Does),
    /// A process dies, and another starts in its place.
    Dies(usize),
    /// A call that was given up arrives all the same.
    Arrives(Call),
    /// A call that was taken takes effect.
    TakesEffect(Call),
    /// The asker asks for the same again.
    AsksAgain,
    /// The asker ends a grant early.
    Ends(usize),
    /// Somebody leaves the group that gives them their right.
    Leaves(Person),
}

/// What a process does in its step, where there is a choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Does {
    /// Reads a record that is due and decides to take it.
    Loads(usize),
    /// Takes a click.
    TakesClick(Click),
    /// Goes on.
    Goes,
    /// Goes on, and does not hear that its commit was done.
    HearsNothing,
    /// Checks the time, signs and sends.
    Sends(Fate),
    /// Looks, and is told nothing.
    LooksInVain,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It takes effect and is answered.
    Applied,
    /// It is taken and answered, and takes effect later.
    Accepted,
    /// It is refused for now.
    NothingDone,
    /// Its sender hears nothing. It arrives at once, later, or never.
    Late,
}

/// A scenario, with or without a shortcut.
#[derive(Debug)]
pub struct Model {
    scenario: Scenario,
    shortcut: Option<Shortcut>,
    judge: Judge,
}

impl Model {
    /// The scenario as it is, or broken by a shortcut.
    pub fn new(scenario: Scenario, shortcut: Option<Shortcut>) -> Self {
        let judge = Judge::new(scenario.approvals, scenario.grid(), shortcut);
        Self {
            scenario,
            shortcut,
            judge,
        }
    }

    pub(crate) fn shortcut(&self) -> Option<Shortcut> {
        self.shortcut
    }

    pub(crate) fn judge(&self) -> &Judge {
        &self.judge
    }

    pub(crate) fn nature(&self) -> &Nature {
        &self.scenario.nature
    }

    /// What the provider is like for the calls of this request.
    pub(crate) fn nature_for(&self, request: usize) -> Nature {
        let nature = self.scenario.nature;
        let accepted_within = match request {
            0 => nature.accepted_within,
            _ => self.scenario.second_accepted_within,
        };
        Nature {
            accepted_within,
            ..nature
        }
    }

    pub(crate) fn grid(&self) -> Grid {
        self.scenario.grid()
    }

    pub(crate) fn late_deletes(&self) -> bool {
        self.scenario.deletes == Deletes::MayBeLate
    }

    pub(crate) fn hands_over(&self) -> bool {
        self.scenario.second.is_some()
    }

    pub(crate) fn saves_in_one(&self) -> bool {
        self.scenario.saves == Saves::InOneStep
    }

    pub(crate) fn calls_at_once(&self) -> usize {
        self.scenario.calls_at_once
    }

    /// Whether this is as far as it goes: the last tick, with nothing to do in it.
    pub(crate) fn is_last(&self, world: &World) -> bool {
        world.tick >= self.scenario.end && self.calm(world).is_none()
    }

    /// Whether the access of an Active grant is gone and nobody will look, a tick after no delete of
    /// an earlier owner can land any more and nobody pauses any more. That tick is for one more look
    /// where the last one failed or saw something being applied.
    pub(crate) fn overlooks(&self, world: &World) -> bool {
        world.tick > world.deletes_land_by.max(self.scenario.storm)
            && world.is_hit(self.nature())
            && self.calm(world).is_none()
    }

    fn storms(&self, world: &World) -> bool {
        world.tick < self.scenario.storm
    }

    // ------------------------------------------------------------------------------- provider

    pub(crate) fn take_effect(&self, world: &mut World, effects: Effects) {
        let gives = matches!(effects, Effects::Grant | Effects::Mint);
        if gives && world.store.live() == 0 {
            world.flaws.add(Flaw::Resurrection);
        }
        match effects {
            Effects::Grant => world.provider.stands = true,
            Effects::Mint => {
                world.provider.stands = true;
                world.provider.minted += 1;
                world.provider.dies_at = self.nature().life.map(|life| world.tick + life);
                if world.provider.minted > 1 {
                    world.flaws.add(Flaw::Secret);
                }
            }
            Effects::Delete => {
                world.provider.stands = false;
                if std::mem::take(&mut world.provider.foreign) {
                    world.flaws.add(Flaw::TookForeign);
                }
            }
        }
    }

    fn arrive(&self, world: &mut World, call: Call) -> Option<()> {
        let calls = &mut world.provider.calls;
        let which = calls.iter().position(|it| *it == call)?;
        calls.remove(which);
        let within = self.nature().applied_within;
        if call.leg == Leg::Travelling && within > 0 {
            world.provider.add(Call {
                leg: Leg::Accepted,
                until: world.tick + within,
                ..call
            });
        } else {
            self.take_effect(world, call.effects);
        }
        Some(())
    }

    // --------------------------------------------------------------------------------- people

    fn open(&self, world: &World, request: usize, ttl: u8) -> Option<World> {
        let mut world = world.clone();
        let owner = world.store.owner(self.judge.realm(request));
        let owner = owner.as_ref().map(|it| &it.record);
        let lives = owner.is_some_and(|it| it.status().is_live());
        let running = owner.and_then(|it| it.grant());
        let running = running.filter(|it| it.phase == Phase::Active);
        let asked = Asked {
            ttl,
            seen: (!lives).then(|| world.provider.look(self.nature())),
            running_until: running.map(|it| it.expires_at),
        };
        let declared = declared(self.shortcut, self.nature_for(request).declared());
        let opened = self.judge.open(request, asked, declared, at(world.tick))?;
        let mut opened = Pending::clone(&opened);
        if self.shortcut == Some(Shortcut::HandsOverAtApproval) {
            self.hand_over(&world, request, &mut opened);
        }
        match self.commit(&mut world, None, &opened) {
            Committed::Done => Some(world),
            Committed::Conflict => None,
        }
    }

    /// What whoever hands over at approval commits along.
    fn hand_over(&self, world: &World, request: usize, opened: &mut Pending) {
        let realm = self.judge.realm(request);
        let active = |it: &crate::verdict::Owner| it.record.status() == Status::Active;
        let Some(owner) = world.store.owner(realm).filter(active) else {
            return;
        };
        let Some((_, newcomer)) = opened.changes.first() else {
            return;
        };
        let by = newcomer.id;
        let mut closed = jit_core::request::AccessRequest::clone(&owner.record);
        if let Stage::Granted(grant) = &mut closed.stage {
            grant.phase = Phase::Closed {
                end: End::Superseded { by },
            };
        }
        let closed = Record::new(closed, self.grid(), at(world.tick));
        opened.changes.push((owner.request, closed));
        opened.slot = Some(Move {
            realm,
            to: request,
            from: Some(owner.request),
        });
    }

    fn end(&self, world: &World, request: usize) -> Option<World> {
        let mut world = world.clone();
        let record = world.store.record(request)?.clone();
        let now = at(world.tick);
        let pending = self.judge.decide(request, &record, &Ask::End, now)?;
        world.people.ends = world.people.ends.checked_sub(1)?;
        match self.commit(&mut world, None, &pending) {
            Committed::Done => Some(world),
            Committed::Conflict => None,
        }
    }

    // ----------------------------------------------------------------------------------- time

    fn tick(&self, world: &World) -> Option<World> {
        let mut world = world.clone();
        world.tick += 1;
        let (tick, provider) = (world.tick, &mut world.provider);
        // What was not taken within V never will be.
        provider
            .calls
            .retain(|call| call.leg == Leg::Accepted || call.until >= tick);
        if provider.dies_at.is_some_and(|dies_at| dies_at <= tick) {
            provider.dies_at = None;
            provider.stands = false;
        }
        for record in world.store.records.iter_mut().flatten() {
            *record = self.judge.aged(record, at(tick));
        }
        Some(world)
    }

    // -------------------------------------------------------------------------------- actions

    fn stormy(&self, world: &World, actions: &mut Vec<Action>) {
        for (number, worker) in world.workers.iter().enumerate() {
            // Processes that are alike are interchangeable.
            if number > 0 && world.workers.get(number - 1) == Some(worker) {
                continue;
            }
            let mut does = |does| actions.push(Action::Worker(number, does));
            match &worker.step {
                Step::Idle => {
                    // Whoever is behind learns what time it is when it looks.
                    let due =
                        |it: &usize| worker.behind > 0 || self.due(world, worker, *it).is_some();
                    let due = (0..2).filter(due).map(Does::Loads);
                    due.for_each(&mut does);
                    let mut clicks = world.people.clicks.clone();
                    clicks.dedup();
                    clicks.into_iter().for_each(|it| does(Does::TakesClick(it)));
                    continue;
                }
                Step::Sending { .. } => {
                    does(Does::Sends(Fate::Applied));
                    does(Does::Sends(Fate::NothingDone));
                    does(Does::Sends(Fate::Late));
                    if self.nature().applied_within > 0 {
                        does(Does::Sends(Fate::Accepted));
                    }
                }
                Step::Deleting { .. } => {
                    does(Does::Sends(Fate::Applied));
                    does(Does::Sends(Fate::Late));
                    if self.nature().applied_within > 0 {
                        does(Does::Sends(Fate::Accepted));
                    }
                }
                Step::Looking { .. } | Step::ReadingBack { .. } => {
                    does(Does::Goes);
                    if self.scenario.looks == Looks::MayFail {
                        does(Does::LooksInVain);
                    }
                }
                Step::Saving {
                    outcome: Ask::MintAnswered { in_hand: true, .. },
                    ..
                } => {
                    does(Does::Goes);
                    does(Does::HearsNothing);
                }
                Step::Taking { .. }
                | Step::LookingUp { .. }
                | Step::Leasing { .. }
                | Step::Recording { .. }
                | Step::Saving { .. }
                | Step::Clicked { .. }
                | Step::Judging { .. } => does(Does::Goes),
            }
            actions.push(Action::Dies(number));
        }
        if world.people.may_open {
            actions.push(Action::AsksAgain);
        }
        if world.people.ends > 0 {
            actions.extend([0, 1].map(Action::Ends));
        }
        let may_leave = world.people.may_leave.iter().copied();
        actions.extend(may_leave.map(Action::Leaves));
    }

    /// The one thing that happens next in the calm, if there is any.
    fn calm(&self, world: &World) -> Option<Action> {
        let mut busy = world.workers.iter().enumerate();
        let busy = busy.find(|(_, worker)| worker.step != Step::Idle);
        if let Some((number, worker)) = busy {
            let does = match worker.step {
                Step::Sending { .. } | Step::Deleting { .. } => Does::Sends(Fate::Applied),
                _ => Does::Goes,
            };
            return Some(Action::Worker(number, does));
        }
        let mut loads = (0..world.workers.len()).flat_map(|it| [0, 1].map(|request| (it, request)));
        let (number, request) = loads
            .find(|(number, request)| self.step(world, *number, Does::Loads(*request)).is_some())?;
        Some(Action::Worker(number, Does::Loads(request)))
    }
}

impl stateright::Model for Model {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let scenario = &self.scenario;
        let worker = |behind: &u8| Worker {
            step: Step::Idle,
            behind: *behind,
            lead: None,
            remembers: [false; 2],
        };
        let empty = World {
            tick: 0,
            store: Store {
                records: [None, None],
                slots: [].into(),
            },
            workers: scenario.behind.iter().map(worker).collect(),
            provider: Provider::default(),
            deletes_land_by: 0,
            people: People {
                may_open: scenario.second.is_some(),
                ends: scenario.ends,
                clicks: scenario.clicks.clone(),
                may_leave: scenario.may_leave.clone(),
                left: vec![],
            },
            handed_out: 0,
            flaws: Flaws::default(),
        };
        let opened = self.open(&empty, 0, scenario.first);
        let given = opened.map(|mut world| {
            world.provider.foreign = scenario.foreign;
            world
        });
        given.into_iter().collect()
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let calls = &world.provider.calls;
        let mut distinct = calls.clone();
        distinct.dedup();
        actions.extend(distinct.into_iter().map(|call| match call.leg {
            Leg::Travelling => Action::Arrives(call),
            Leg::Accepted => Action::TakesEffect(call),
        }));
        let mut passes = world.tick < self.scenario.end;
        if self.storms(world) {
            self.stormy(world, actions);
        } else if let Some(action) = self.calm(world) {
            actions.push(action);
            passes = false;
        }
        // What was taken takes effect within A.
        let overdue = |call: &Call| call.leg == Leg::Accepted && call.until <= world.tick;
        if passes && !calls.iter().any(overdue) {
            actions.push(Action::Tick);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut next = match action {
            Action::Tick => self.tick(last)?,
            Action::Worker(number, does) => self.step(last, number, does)?,
            Action::Dies(number) => {
                let mut world = last.clone();
                let worker = world.workers.get_mut(number)?;
                (worker.step, worker.lead, worker.remembers) = (Step::Idle, None, [false; 2]);
                world
            }
            Action::Arrives(call) | Action::TakesEffect(call) => {
                let mut world = last.clone();
                self.arrive(&mut world, call)?;
                world
            }
            Action::AsksAgain => {
                let mut world = self.open(last, 1, self.scenario.second?)?;
                world.people.may_open = false;
                world
            }
            Action::Ends(request) => self.end(last, request)?,
            Action::Leaves(person) => {
                let mut world = last.clone();
                world.people.may_leave.retain(|it| *it != person);
                world.people.left.push((person, world.tick));
                world
            }
        };
        if self.scenario.behind.iter().all(|behind| *behind == 0) {
            next.workers.sort_unstable();
        }
        if !self.storms(&next) {
            // Nobody clicks, asks or leaves any more.
            next.people.clicks.clear();
            next.people.may_leave.clear();
            (next.people.may_open, next.people.ends) = (false, 0);
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promise::all(&self.scenario.sees)
    }
}
