//! What the lifecycle says: a step's question turned into a command of the domain, judged by
//! `jit_core::lifecycle`, and its answer as part of a state. Every judgement in the model is made
//! here, by [`decide`] and [`open`]; asking the same question of the same record again is answered
//! from memory, because both are pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::lifecycle::{
    Automatic, Command, Facts, GrantAnswer, LeaseFacts, MintedAs, OpenFacts, Opening, Owned,
    Readiness, Refusal, Secret, Transition, decide, open,
};
use jit_core::principal::{PrincipalId, Profile};
use jit_core::provider::{Description, Handle, Parameters};
use jit_core::request::{AccessRequest, Phase, Sent, Slot, Stage};

use crate::provider::{Said, Seen};
use crate::record::{Grid, Record, VERSION};
use crate::setting::{ALIAS, ENTITLEMENT, Person, Setting, Standing, id, slot_key, target, ttl};
use crate::shortcut::{self, Shortcut};

/// Who owns a slot, as it was looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner {
    /// Which request.
    pub request: usize,
    /// Its record.
    pub record: Record,
}

/// Who had left their group when people were looked up.
pub type Left = Vec<Person>;

/// What a step asks of the lifecycle.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(
    missing_docs,
    reason = "each is the command of the domain by that name"
)]
pub enum Ask {
    Take,
    Due,
    Lease {
        owner: Option<Owner>,
        seen: Option<Seen>,
        left: Left,
        clock_off: Option<Duration>,
    },
    GrantAnswered {
        epoch: u32,
        said: Said,
        owner: Option<Owner>,
    },
    Verified {
        epoch: u32,
        seen_at: Timestamp,
        seen: Option<Seen>,
    },
    Checked {
        epoch: u32,
        seen_at: Timestamp,
        seen: Option<Option<Seen>>,
    },
    RevokeAnswered {
        epoch: u32,
        attempt: u32,
        said: Option<Said>,
        read_back: Option<Seen>,
        seen_at: Timestamp,
    },
    Looked {
        epoch: u32,
        seen_at: Timestamp,
        seen: Option<Seen>,
    },
    Collect,
    MintAnswered {
        epoch: u32,
        said: Said,
        ends_at: Option<Timestamp>,
        in_hand: bool,
    },
    Approve {
        by: Person,
        ttl: Option<u8>,
        left: Left,
    },
    Deny {
        by: Person,
        left: Left,
    },
    End,
}

/// A slot that is to change hands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Move {
    /// The realm that the slot is keyed by.
    pub realm: &'static str,
    /// The owner that it is to have.
    pub to: usize,
    /// The owner that it must have now.
    pub from: Option<usize>,
}

/// What is to be committed, all of it or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pending {
    /// Records as they are to be, that of the question first.
    pub changes: Vec<(usize, Record)>,
    /// Records that must not have changed.
    pub unchanged: Vec<usize>,
    /// The slot that changes hands.
    pub slot: Option<Move>,
}

impl Pending {
    /// The record of the question as it is to be.
    pub fn first(&self) -> Option<&Record> {
        self.changes.first().map(|(_, record)| record)
    }

    /// The epoch under which this lets a grant call be sent.
    pub fn leased(&self, before: &Record) -> Option<u32> {
        let sent = Sent::MaybeApplied;
        let grant = self.first()?.grant()?;
        let newer = before
            .grant()
            .is_none_or(|before| before.epoch < grant.epoch);
        (grant.phase == Phase::Provisioning { sent } && newer).then_some(grant.epoch)
    }
}

/// What was said before. All of it is pure: the same question has the same answer.
#[derive(Debug, Default)]
struct Memory {
    decided: HashMap<(u64, Ask, Timestamp), Option<Arc<Pending>>>,
    opened: HashMap<(usize, Asked, Timestamp), Option<Arc<Pending>>>,
    aged: HashMap<(u64, Timestamp), Record>,
}

/// The lifecycle under the rules of one scenario.
#[derive(Debug)]
pub struct Judge {
    setting: Setting,
    grid: Grid,
    shortcut: Option<Shortcut>,
    memory: Mutex<Memory>,
}

impl Judge {
    /// Under rules by which so many approvals are needed.
    pub fn new(approvals: u8, grid: Grid, shortcut: Option<Shortcut>) -> Self {
        Self {
            setting: Setting::new(approvals),
            grid,
            shortcut,
            memory: Mutex::default(),
        }
    }

    /// The realm that the slot of this request is keyed by.
    pub fn realm(&self, request: usize) -> &'static str {
        match self.shortcut {
            Some(Shortcut::TwoRecordsForOneSlot) if request == 1 => ALIAS,
            Some(_) | None => ENTITLEMENT,
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stored record some time later.
    pub fn aged(&self, record: &Record, now: Timestamp) -> Record {
        let key = (record.print(), now);
        if let Some(known) = self.memory().aged.get(&key) {
            return known.clone();
        }
        let aged = record.aged(self.grid, now);
        self.memory().aged.insert(key, aged.clone());
        aged
    }

    /// Makes a request. None where it is refused.
    pub fn open(
        &self,
        request: usize,
        asked: Asked,
        provider: Description,
        now: Timestamp,
    ) -> Option<Arc<Pending>> {
        let key = (request, asked, now);
        if let Some(known) = self.memory().opened.get(&key) {
            return known.clone();
        }
        let opened = self.open_anew(request, asked, provider, now).ok();
        let opened = opened.map(|it| Arc::new(self.pending(&it, None, now)));
        self.memory().opened.insert(key, opened.clone());
        opened
    }

    fn open_anew(
        &self,
        request: usize,
        asked: Asked,
        provider: Description,
        now: Timestamp,
    ) -> Result<Transition, Refusal> {
        let by = Person::Asker.by(Standing::InGroup);
        let beneficiary = Some(by.profile.clone());
        let opening = Opening {
            by,
            beneficiary: None,
            parts: vec![(
                ENTITLEMENT.parse().expect("the name above is a name"),
                Parameters::new(),
            )],
            ttl: Some(ttl(asked.ttl)),
            reason: "because".parse().expect("a reason"),
        };
        let facts = OpenFacts {
            id: id(request),
            beneficiary,
            target: Some(target(self.realm(request))),
            called: None,
            why_not: None,
            provider,
            fallback: None,
            presence: asked.seen.map(Into::into),
            running_until: asked.running_until,
            deciders: None,
            readiness: Readiness::Ready,
            automatic: Automatic::Try,
            open_now: 0,
        };
        open(self.setting.rules(), &opening, &facts, now)
    }

    /// Judges a question on a record. None where it is refused, or nothing changes.
    pub fn decide(
        &self,
        request: usize,
        record: &Record,
        ask: &Ask,
        now: Timestamp,
    ) -> Option<Arc<Pending>> {
        let key = (record.print(), ask.clone(), now);
        if let Some(known) = self.memory().decided.get(&key) {
            return known.clone();
        }
        let command = self.command(request, record, ask);
        let judged = decide(self.setting.rules(), record, &command, now);
        let judged = judged
            .ok()
            .filter(|transition| !transition.changes.is_empty());
        let judged = judged.map(|it| Arc::new(self.pending(&it, Some(ask), now)));
        self.memory().decided.insert(key, judged.clone());
        judged
    }

    fn pending(&self, transition: &Transition, ask: Option<&Ask>, now: Timestamp) -> Pending {
        let which = |wanted| usize::from(wanted == id(1));
        let changed = transition.changes.iter().map(|change| {
            let of_loaded = change.expected == ask.map(|_| VERSION);
            assert!(of_loaded, "a change names the version that was judged");
            let mut record = change.record.clone();
            shortcut::forge(self.shortcut, &mut record, ask, now);
            (which(record.id), Record::new(record, self.grid, now))
        });
        let slot = transition.slot.as_ref().map(|it| Move {
            realm: match it.slot.key == slot_key(ENTITLEMENT) {
                true => ENTITLEMENT,
                false => ALIAS,
            },
            to: which(it.slot.owner),
            from: it.expected.map(which),
        });
        Pending {
            changes: changed.collect(),
            unchanged: transition.unchanged.iter().map(|it| which(it.0)).collect(),
            slot,
        }
    }

    fn facts(&self, left: &Left, readiness: Readiness) -> Facts {
        let all = [
            Person::Asker,
            Person::Ann,
            Person::Bob,
            Person::Cid,
            Person::AnnAgain,
        ];
        let profile = |person: Person| {
            let profile = self.profile(person, left);
            (person.id(), profile)
        };
        let people: BTreeMap<PrincipalId, Profile> = all.map(profile).into_iter().collect();
        Facts {
            people,
            running_until: None,
            readiness,
        }
    }

    /// What the directory says of somebody: one person has one id, whatever name was looked up.
    fn profile(&self, person: Person, left: &Left) -> Profile {
        let really = match (person, self.shortcut) {
            (Person::AnnAgain, Some(Shortcut::NamesArePeople)) => Person::AnnAgain,
            (Person::AnnAgain, _) => Person::Ann,
            (Person::Asker | Person::Ann | Person::Bob | Person::Cid, _) => person,
        };
        let stays = self.shortcut == Some(Shortcut::StaleAuthority) || !left.contains(&really);
        really.profile(if stays {
            Standing::InGroup
        } else {
            Standing::LeftGroup
        })
    }

    fn lease_facts(
        &self,
        owner: Option<&Owner>,
        seen: Option<Seen>,
        left: &Left,
        readiness: Readiness,
        request: usize,
    ) -> LeaseFacts {
        LeaseFacts {
            facts: self.facts(left, readiness),
            resolved: Some(target(self.realm(request)).into()),
            owned: owner.map(|owner| self.owned(owner)),
            presence: seen.map(Into::into),
        }
    }

    fn owned(&self, owner: &Owner) -> Owned {
        Owned {
            slot: Slot {
                key: slot_key(self.realm(owner.request)),
                owner: id(owner.request),
            },
            owner: Some(AccessRequest::clone(&owner.record)),
        }
    }

    fn command(&self, request: usize, record: &AccessRequest, ask: &Ask) -> Command {
        let shown = || record.digest().to_string();
        let looked = |seen: Option<Seen>| match seen {
            Some(seen) => Ok(seen.into()),
            None => Err(failed()),
        };
        match ask {
            Ask::Take => Command::Take,
            Ask::Due => Command::Due,
            Ask::Lease {
                owner,
                seen,
                left,
                clock_off,
            } => {
                let readiness = match *clock_off {
                    Some(off_by) => Readiness::ClockOff { off_by },
                    None => Readiness::Ready,
                };
                let facts = self.lease_facts(owner.as_ref(), *seen, left, readiness, request);
                Command::Lease {
                    facts: Box::new(facts),
                }
            }
            Ask::GrantAnswered { epoch, said, owner } => {
                Command::GrantAnswered(Box::new(GrantAnswer {
                    epoch: *epoch,
                    answer: said.answer(),
                    owned: owner.as_ref().map(|owner| self.owned(owner)),
                }))
            }
            Ask::Verified {
                epoch,
                seen_at,
                seen,
            } => Command::Verified {
                epoch: *epoch,
                seen_at: *seen_at,
                presence: looked(*seen),
            },
            Ask::Checked {
                epoch,
                seen_at,
                seen,
            } => Command::Checked {
                epoch: *epoch,
                beneficiary: Ok(Some(Person::Asker.profile(Standing::InGroup))),
                presence: seen.map(looked),
                seen_at: *seen_at,
            },
            Ask::RevokeAnswered {
                epoch,
                attempt,
                said,
                read_back,
                seen_at,
            } => Command::RevokeAnswered {
                epoch: *epoch,
                attempt: *attempt,
                answer: said.map(Said::answer),
                read_back: looked(*read_back),
                seen_at: *seen_at,
            },
            Ask::Looked {
                epoch,
                seen_at,
                seen,
            } => Command::Looked {
                epoch: *epoch,
                seen_at: *seen_at,
                presence: looked(*seen),
            },
            Ask::Collect => Command::Collect {
                by: Person::Asker.by(Standing::InGroup),
                facts: Box::new(self.lease_facts(None, None, &vec![], Readiness::Ready, request)),
            },
            Ask::MintAnswered {
                epoch,
                said,
                ends_at,
                in_hand,
            } => Command::MintAnswered {
                epoch: *epoch,
                answer: said.answer().map(|_| MintedAs {
                    handle: Some(Handle("handle".to_owned())),
                    ends_at: *ends_at,
                }),
                secret: match in_hand {
                    true => Secret::InHand,
                    false => Secret::Dropped,
                },
            },
            Ask::Approve {
                by,
                ttl: chosen,
                left,
            } => {
                let mut by = by.by(Standing::InGroup);
                by.profile = self.profile_of(&by.via.id, left);
                Command::Approve {
                    by,
                    ttl: chosen.map(ttl),
                    digest: shown(),
                    facts: self.facts(left, Readiness::Ready),
                }
            }
            Ask::Deny { by, left } => {
                let mut by = by.by(Standing::InGroup);
                by.profile = self.profile_of(&by.via.id, left);
                Command::Deny {
                    by,
                    reason: "no".parse().expect("a reason"),
                    digest: shown(),
                    facts: self.facts(left, Readiness::Ready),
                }
            }
            Ask::End => Command::End {
                by: Person::Asker.by(Standing::InGroup),
            },
        }
    }

    fn profile_of(&self, id: &PrincipalId, left: &Left) -> Profile {
        let mut people = self.facts(left, Readiness::Ready).people;
        people.remove(id).expect("everybody in a scenario is known")
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked {
    /// For how many ticks.
    pub ttl: u8,
    /// What the provider shows, where nobody owns the slot.
    pub seen: Option<Seen>,
    /// When the running grant of the slot ends.
    pub running_until: Option<Timestamp>,
}

fn failed() -> jit_core::lifecycle::Failure {
    match Said::NoReply.answer() {
        Err(failure) => failure,
        Ok(_) => unreachable!("no reply is no answer"),
    }
}

/// Whether a request was decided, and how; none while it is pending.
pub fn decision(request: &AccessRequest) -> Option<&'static str> {
    match &request.stage {
        Stage::Pending => None,
        Stage::Denied { .. } => Some("denied"),
        Stage::Withdrawn { .. } => Some("withdrawn"),
        Stage::Lapsed => Some("lapsed"),
        Stage::Invalidated { .. } => Some("invalidated"),
        Stage::Granted(_) => Some("approved"),
    }
}
