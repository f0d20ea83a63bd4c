//! All that a simulated organization knows, and how time makes things true in it. Whoever looks
//! first brings it up to date, so nothing depends on a timer.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::api::{self, Target};
use crate::assignment::{Assignment, By, Entry, Kind, Operation, PrincipalType, Status, What};
use crate::clock::SimClock;
use crate::hostile::{Away, Hostility, Rules, Stage};
use crate::identity::Identities;
use crate::people::{Account, PermissionSet, User};
use crate::setup::{AccessKey, Orphans, Setup};

/// A call that arrived, whatever became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    /// When, in microseconds since 1970.
    pub at_micros: i64,
    /// The access key id it came with, if any.
    pub access_key: String,
    /// The IAM action, such as `sso:CreateAccountAssignment`.
    pub action: String,
    /// The request.
    pub body: Value,
    /// The `x-amzn-RequestId` it was answered with.
    pub request_id: String,
    /// What became of it: `ok`, an error's name, or what went wrong on the wire.
    pub outcome: String,
}

/// What is going to happen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A lost call arrives after all.
    Late {
        target: Target,
        body: String,
        caller: Caller,
    },
    /// An operation takes effect.
    Effect { request_id: String },
}

/// Who makes a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Caller {
    pub(crate) arn: String,
    pub(crate) user_id: String,
    pub(crate) is_session: bool,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) setup: Setup,
    pub(crate) clock: SimClock,
    /// The instant that is being looked at: the clock's, or an event's while it happens.
    pub(crate) moment: i64,
    pub(crate) keys: BTreeMap<String, AccessKey>,
    pub(crate) accounts: BTreeMap<String, Account>,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) groups: BTreeMap<String, String>,
    pub(crate) sets: BTreeMap<String, PermissionSet>,
    pub(crate) assignments: BTreeSet<Assignment>,
    pub(crate) identities: Identities,
    /// Whose call is being done.
    pub(crate) caller: Caller,
    /// By request id.
    pub(crate) operations: BTreeMap<String, Operation>,
    /// The request ids in the order they were made.
    pub(crate) history: Vec<String>,
    /// The operations that may still be in progress.
    open: BTreeSet<String>,
    due: BTreeMap<(i64, u64), Event>,
    pub(crate) ledger: Vec<Entry>,
    pub(crate) calls: Vec<Call>,
    pub(crate) rules: Rules,
    pub(crate) away: Option<Away>,
    /// What the `sso-admin` bucket holds, in millionths of a call, and when it was looked at.
    bucket: Option<(i64, i64)>,
    random: u64,
    answers: u64,
    sequence: u64,
}

impl State {
    pub(crate) fn new(setup: Setup) -> Self {
        let clock = SimClock::new(setup.time);
        let moment = clock.now();
        let keys = (setup.keys.iter())
            .map(|key| (key.id.clone(), key.clone()))
            .collect();
        let management = Account {
            name: "management".to_owned(),
            email: "management@example.com".to_owned(),
            suspended: false,
            joined_at: moment,
        };
        Self {
            random: setup.seed,
            answers: !setup.seed,
            accounts: BTreeMap::from([(setup.management_account.clone(), management)]),
            setup,
            clock,
            moment,
            keys,
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            sets: BTreeMap::new(),
            assignments: BTreeSet::new(),
            identities: Identities::default(),
            caller: Caller::default(),
            operations: BTreeMap::new(),
            history: Vec::new(),
            open: BTreeSet::new(),
            due: BTreeMap::new(),
            ledger: Vec::new(),
            calls: Vec::new(),
            rules: Rules::default(),
            away: None,
            bucket: None,
            sequence: 0,
        }
    }

    /// The next number of the seed's sequence.
    pub(crate) fn draw(&mut self) -> u64 {
        mixed(&mut self.random)
    }

    /// A new id.
    pub(crate) fn draw_uuid(&mut self) -> String {
        uuid(&mut self.random)
    }

    /// The id of an answer. It is of a sequence of its own, so that how often somebody asks does
    /// not change what is drawn for what they do.
    pub(crate) fn draw_answer_id(&mut self) -> String {
        uuid(&mut self.answers)
    }

    /// Ten hexadecimal digits that identify this directory.
    pub(crate) fn directory(&self) -> String {
        let mixed = self.setup.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("9{:09x}", mixed & 0xf_ffff_ffff)
    }

    pub(crate) fn identity_store(&self) -> String {
        format!("d-{}", self.directory())
    }

    pub(crate) fn instance_id(&self) -> String {
        format!("ssoins-722{}abc", self.directory())
    }

    pub(crate) fn instance_arn(&self) -> String {
        format!("arn:aws:sso:::instance/{}", self.instance_id())
    }

    pub(crate) fn organization(&self) -> String {
        format!("o-{}", self.directory())
    }

    /// What goes wrong with this call at this stage.
    pub(crate) fn hostility(
        &mut self,
        stage: Stage,
        operation: &str,
        body: &str,
    ) -> Option<Hostility> {
        self.rules.take(stage, operation, body)
    }

    /// Ends everything that goes wrong; what was frozen happens now.
    pub(crate) fn calm(&mut self) {
        self.rules.clear();
        self.away = None;
        let now = self.moment;
        let frozen: Vec<String> = (self.operations.values())
            .filter(|it| it.due.is_none() && it.outcome.is_none())
            .map(|it| it.request_id.clone())
            .collect();
        for request_id in frozen {
            if let Some(operation) = self.operations.get_mut(&request_id) {
                operation.due = Some(now);
            }
            self.plan(now, Event::Effect { request_id });
        }
        self.settle();
    }

    fn plan(&mut self, at: i64, event: Event) {
        self.sequence += 1;
        self.due.insert((at, self.sequence), event);
    }

    /// A lost call arrives at this time.
    pub(crate) fn plan_late(&mut self, at: i64, target: Target, body: String) {
        let caller = self.caller.clone();
        let event = Event::Late {
            target,
            body,
            caller,
        };
        self.plan(at, event);
    }

    /// Takes an operation on.
    pub(crate) fn begin(&mut self, operation: Operation) {
        let request_id = operation.request_id.clone();
        self.history.push(request_id.clone());
        self.open.insert(request_id.clone());
        let due = operation.due;
        self.operations.insert(request_id.clone(), operation);
        if let Some(at) = due {
            self.plan(at, Event::Effect { request_id });
        }
    }

    /// Brings the world up to the clock: everything that is due happens, in the order of its time.
    pub(crate) fn settle(&mut self) {
        let now = self.clock.now();
        while let Some(next) = self.due.first_entry() {
            if next.key().0 > now {
                break;
            }
            let ((at, _), event) = next.remove_entry();
            self.moment = at;
            match event {
                Event::Effect { request_id } => self.take_effect(&request_id),
                Event::Late {
                    target,
                    body,
                    caller,
                } => {
                    self.caller = caller;
                    // Nobody is there any more to hear how it went.
                    let _ = api::run(self, target, &body);
                }
            }
        }
        self.moment = now;
    }

    fn take_effect(&mut self, request_id: &str) {
        let Some(operation) = self.operations.get(request_id).cloned() else {
            return;
        };
        let outcome = match (
            &operation.doomed,
            self.refusal(operation.kind, &operation.assignment),
        ) {
            (Some(why), _) => Err(why.clone()),
            (None, Some(why)) => Err(why),
            (None, None) => Ok(()),
        };
        if outcome.is_ok() {
            let what = match operation.kind {
                Kind::Create => What::Given,
                Kind::Delete => What::Taken,
            };
            let id = Some(request_id.to_owned());
            self.change(operation.assignment, what, By::Ours, id);
        }
        let moment = self.moment;
        if let Some(operation) = self.operations.get_mut(request_id) {
            operation.outcome = Some((moment, outcome));
        }
    }

    /// Why an operation fails at the moment it would take effect.
    pub(crate) fn refusal(&self, kind: Kind, it: &Assignment) -> Option<String> {
        let word = it.principal_type.word();
        let found = match it.principal_type {
            PrincipalType::User => self.users.contains_key(&it.principal),
            PrincipalType::Group => self.groups.contains_key(&it.principal),
        };
        let held = self.assignments.contains(it);
        let nobody = format!(
            "Received a 404 status error: the {word} assignee {} was not found in directory {}",
            it.principal,
            self.identity_store()
        );
        match kind {
            Kind::Delete if held && !found && self.setup.orphans == Orphans::Stuck => Some(nobody),
            Kind::Delete if held => None,
            Kind::Delete => Some(format!(
                "Received a 404 status error: the assignment of the {word} assignee {} was not found",
                it.principal
            )),
            Kind::Create if !self.sets.contains_key(&it.permission_set) => Some(format!(
                "Received a 404 status error: the permission set {} was not found",
                it.permission_set
            )),
            Kind::Create => match self.accounts.get(&it.account) {
                None => Some(format!(
                    "Received a 404 status error: the account {} was not found in the organization",
                    it.account
                )),
                Some(account) if account.suspended => Some(format!(
                    "Received a 403 status error: the account {} is suspended",
                    it.account
                )),
                Some(_) => (!found).then_some(nobody),
            },
        }
    }

    /// Makes something true, and writes it down if it was not.
    pub(crate) fn change(
        &mut self,
        assignment: Assignment,
        what: What,
        by: By,
        request_id: Option<String>,
    ) -> bool {
        let changed = match what {
            What::Given => self.assignments.insert(assignment.clone()),
            What::Taken => self.assignments.remove(&assignment),
        };
        if changed {
            self.ledger.push(Entry {
                at_micros: self.moment,
                assignment,
                what,
                by,
                request_id,
            });
        }
        changed
    }

    /// The assignments as they were then.
    pub(crate) fn assignments_at(&self, then: i64) -> BTreeSet<Assignment> {
        let mut held = self.assignments.clone();
        for entry in self.ledger.iter().rev() {
            if entry.at_micros <= then {
                break;
            }
            match entry.what {
                What::Given => held.remove(&entry.assignment),
                What::Taken => held.insert(entry.assignment.clone()),
            };
        }
        held
    }

    /// The operations whose status still says that they are in progress.
    pub(crate) fn in_progress(&mut self) -> Vec<&Operation> {
        let now = self.moment;
        let operations = &self.operations;
        self.open.retain(|id| {
            (operations.get(id)).is_some_and(|it| it.status(now) == Status::InProgress)
        });
        (self.open.iter())
            .filter_map(|id| self.operations.get(id))
            .collect()
    }

    /// Takes one call out of the bucket of `sso-admin`; not if it is empty.
    pub(crate) fn take_token(&mut self) -> bool {
        const CALL: i64 = 1_000_000;
        let Some(rate) = self.setup.calls_per_second else {
            return true;
        };
        let (rate, now) = (i64::from(rate), self.moment);
        let full = rate.saturating_mul(CALL);
        let (held, at) = self.bucket.unwrap_or((full, now));
        let gained = now.saturating_sub(at).max(0).saturating_mul(rate);
        let held = held.saturating_add(gained).min(full);
        let enough = held >= CALL;
        self.bucket = Some((if enough { held - CALL } else { held }, now));
        enough
    }
}

/// The next number of a sequence (SplitMix64).
fn mixed(random: &mut u64) -> u64 {
    *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *random;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn uuid(random: &mut u64) -> String {
    let (a, b) = (mixed(random), mixed(random));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        a >> 32,
        a >> 16 & 0xffff,
        a & 0xfff,
        0x8000 | b >> 48 & 0x3fff,
        b & 0xffff_ffff_ffff
    )
}
