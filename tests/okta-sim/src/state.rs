//! All that a simulated organization knows, and how time makes things true in it. Whoever looks
//! first brings it up to date, so nothing depends on a timer.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use crate::api::{self, Access, Operation, Request};
use crate::clock::{SimClock, micros};
use crate::deed::Deed;
use crate::directory::{Group, User, Versions};
use crate::hostile::{Away, Hostility, Rules, Stage};
use crate::ledger::{By, Entry, What};
use crate::limits::Buckets;
use crate::pagerduty::Account;
use crate::setup::{ApiToken, ServiceApp, Setup};

/// A call that arrived, whatever became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    /// When, in microseconds since 1970.
    pub at_micros: i64,
    /// Such as `PUT`.
    pub method: String,
    /// The path with its query, as it was sent.
    pub path: String,
    /// What it asks for, if there is such a thing.
    pub operation: Option<Operation>,
    /// The id of the token it came with, if it is one that counts: an API token's id, or the
    /// client id of a service app.
    pub token: Option<String>,
    /// Which connection it came on: two calls with one number shared a connection.
    pub connection: u64,
    /// When that connection was opened, in microseconds since 1970.
    pub connected_at_micros: i64,
    /// What it was answered, if it was answered.
    pub status: Option<u16>,
    /// The `X-Okta-Request-Id` it was answered with.
    pub request_id: String,
    /// What became of it: `ok`, an error's code, or what went wrong on the wire.
    pub outcome: String,
}

/// What is going to happen.
#[derive(Debug, Clone)]
enum Event {
    /// A lost call arrives after all.
    Late(Box<Request>, Access),
    /// Somebody does something.
    Deed(Deed),
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) setup: Setup,
    /// Where the organization answers, such as `http://127.0.0.1:40123`.
    pub(crate) base: String,
    pub(crate) clock: SimClock,
    /// The instant that is being looked at: the clock's, or an event's while it happens.
    pub(crate) moment: i64,
    pub(crate) tokens: BTreeMap<String, ApiToken>,
    pub(crate) apps: BTreeMap<String, ServiceApp>,
    /// By the access token itself.
    pub(crate) accesses: BTreeMap<String, (Access, i64)>,
    /// The assertions that were used, by client and `jti`.
    pub(crate) assertions: BTreeSet<(String, String)>,
    pub(crate) users: BTreeMap<String, Versions<User>>,
    pub(crate) groups: BTreeMap<String, Versions<Group>>,
    /// Who is in which group.
    pub(crate) members: BTreeMap<String, BTreeSet<String>>,
    pub(crate) pagerduty: Account,
    due: BTreeMap<(i64, u64), Event>,
    pub(crate) ledger: Vec<Entry>,
    pub(crate) calls: Vec<Call>,
    pub(crate) buckets: Buckets,
    /// How many calls are unanswered.
    pub(crate) in_flight: usize,
    pub(crate) rules: Rules,
    pub(crate) away: Option<Away>,
    random: u64,
    answers: u64,
    sequence: u64,
}

impl State {
    pub(crate) fn new(setup: Setup, base: &str) -> Self {
        let clock = SimClock::new(setup.time);
        let moment = clock.now();
        let tokens = setup.tokens.iter().map(|it| (it.id.clone(), it.clone()));
        let apps = (setup.apps.iter()).map(|it| (it.client_id.clone(), it.clone()));
        Self {
            random: setup.seed,
            answers: !setup.seed,
            tokens: tokens.collect(),
            apps: apps.collect(),
            setup,
            base: base.to_owned(),
            clock,
            moment,
            accesses: BTreeMap::new(),
            assertions: BTreeSet::new(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            members: BTreeMap::new(),
            pagerduty: Account::default(),
            due: BTreeMap::new(),
            ledger: Vec::new(),
            calls: Vec::new(),
            buckets: Buckets::default(),
            in_flight: 0,
            rules: Rules::default(),
            away: None,
            sequence: 0,
        }
    }

    /// A new id of this kind: three characters, and seventeen of the seed's sequence.
    pub(crate) fn draw_id(&mut self, kind: &str) -> String {
        format!("{kind}{}", word(&mut self.random, 17))
    }

    /// A new id as PagerDuty's are: `P`, and six capitals or digits.
    pub(crate) fn draw_pager_id(&mut self) -> String {
        format!("P{}", word(&mut self.random, 6).to_uppercase())
    }

    /// The id of an answer. It is of a sequence of its own, so that how often somebody asks does
    /// not change what is drawn for what they do.
    pub(crate) fn draw_answer_id(&mut self) -> String {
        word(&mut self.answers, 24)
    }

    /// The organization's id.
    pub(crate) fn organization(&self) -> String {
        format!("00o{}", word(&mut self.setup.seed.wrapping_mul(31), 17))
    }

    /// What goes wrong with this call at this stage.
    pub(crate) fn hostility(&mut self, stage: Stage, request: &Request) -> Option<Hostility> {
        let operation = request.operation()?;
        self.rules.take(stage, operation, &request.text())
    }

    /// Somebody does what the rules say at this stage of this call.
    pub(crate) fn interfere(&mut self, stage: Stage, request: &Request) {
        let Some(operation) = request.operation() else {
            return;
        };
        for deed in self.rules.deeds(stage, operation, &request.text()) {
            self.perform(deed);
        }
    }

    /// The instant that the answer to this call shows.
    pub(crate) fn seen(&mut self, request: &Request) -> i64 {
        match self.hostility(Stage::Stale, request) {
            Some(Hostility::Stale(lag)) => self.moment.saturating_sub(micros(lag)),
            _ => self.moment,
        }
    }

    pub(crate) fn calm(&mut self) {
        self.rules.clear();
        self.away = None;
    }

    fn plan(&mut self, at: i64, event: Event) {
        self.sequence += 1;
        self.due.insert((at, self.sequence), event);
    }

    /// A lost call arrives at this time, with the right it was let in with.
    pub(crate) fn plan_late(&mut self, at: i64, request: Request, access: Access) {
        self.plan(at, Event::Late(Box::new(request), access));
    }

    /// Somebody does this at this time.
    pub(crate) fn plan_deed(&mut self, at: i64, deed: Deed) {
        self.plan(at, Event::Deed(deed));
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
                Event::Late(request, access) => {
                    // Nobody is there any more to hear how it went.
                    let _ = api::run(self, &request, &access);
                }
                Event::Deed(deed) => self.perform(deed),
            }
        }
        self.moment = now;
    }

    /// The users there are, at an instant.
    pub(crate) fn user_at(&self, id: &str, then: i64) -> Option<&User> {
        self.users.get(id).and_then(|it| it.at(then))
    }

    /// The groups there are, at an instant.
    pub(crate) fn group_at(&self, id: &str, then: i64) -> Option<&Group> {
        self.groups.get(id).and_then(|it| it.at(then))
    }

    pub(crate) fn user(&self, id: &str) -> Option<&User> {
        self.users.get(id).and_then(Versions::now)
    }

    pub(crate) fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id).and_then(Versions::now)
    }

    pub(crate) fn is_member(&self, group: &str, user: &str) -> bool {
        self.members.get(group).is_some_and(|it| it.contains(user))
    }

    /// The members of a group as they were then.
    pub(crate) fn members_at(&self, group: &str, then: i64) -> BTreeSet<String> {
        let now = self.members.get(group).cloned().unwrap_or_default();
        let of = |entry: &Entry| (entry.group == group).then(|| entry.user.clone());
        self.rewound(now, of, then)
    }

    /// The groups of a user as they were then.
    pub(crate) fn groups_at(&self, user: &str, then: i64) -> BTreeSet<String> {
        let now = (self.members.iter())
            .filter(|(_, members)| members.contains(user))
            .map(|(group, _)| group.clone())
            .collect();
        let of = |entry: &Entry| (entry.user == user).then(|| entry.group.clone());
        self.rewound(now, of, then)
    }

    /// What is so now, without what the ledger says came after then; `of` is what an entry is
    /// about, if it is meant.
    fn rewound(
        &self,
        mut ids: BTreeSet<String>,
        of: impl Fn(&Entry) -> Option<String>,
        then: i64,
    ) -> BTreeSet<String> {
        let later = self
            .ledger
            .iter()
            .rev()
            .take_while(|it| it.at_micros > then);
        for (entry, id) in later.filter_map(|entry| Some((entry, of(entry)?))) {
            match entry.what {
                What::Joined => ids.remove(&id),
                What::Left => ids.insert(id),
            };
        }
        ids
    }

    /// Makes a membership true or untrue, and writes it down if that is new.
    pub(crate) fn change(&mut self, pair: (&str, &str), what: What, by: By, call: Option<&str>) {
        let (group, user) = pair;
        let changed = match what {
            What::Joined => {
                let members = self.members.entry(group.to_owned()).or_default();
                members.insert(user.to_owned())
            }
            What::Left => (self.members.get_mut(group)).is_some_and(|it| it.remove(user)),
        };
        if !changed {
            return;
        }
        let moment = self.moment;
        if let Some(versions) = self.groups.get_mut(group) {
            versions.amend(|it| it.members_changed_at = moment);
        }
        self.ledger.push(Entry {
            at_micros: moment,
            group: group.to_owned(),
            user: user.to_owned(),
            what,
            by,
            request_id: call.map(str::to_owned),
        });
    }

    /// Ends memberships by hand.
    fn leave_all(&mut self, pairs: impl IntoIterator<Item = (String, String)>) {
        for (group, user) in pairs {
            self.change((&group, &user), What::Left, By::Control, None);
        }
    }

    /// Gives a user another version.
    fn change_user(&mut self, id: &str, change: impl FnOnce(&mut User)) {
        let moment = self.moment;
        let Some(versions) = self.users.get_mut(id) else {
            return;
        };
        if let Some(mut user) = versions.now().cloned() {
            change(&mut user);
            user.updated_at = moment;
            versions.set(moment, Some(user));
        }
    }

    /// Does what somebody does.
    pub(crate) fn perform(&mut self, deed: Deed) {
        let moment = self.moment;
        match deed {
            Deed::Join { group, user } => {
                if self.group(&group).is_some() && self.user(&user).is_some() {
                    self.change((&group, &user), What::Joined, By::Control, None);
                }
            }
            Deed::Leave { group, user } => {
                self.change((&group, &user), What::Left, By::Control, None);
            }
            Deed::Rename { user, login } => self.change_user(&user, |it| {
                it.profile.insert("login".to_owned(), json!(login));
            }),
            Deed::SetProfile {
                user,
                attribute,
                value,
            } => self.change_user(&user, |it| {
                if value == Value::Null {
                    it.profile.remove(&attribute);
                } else {
                    it.profile.insert(attribute, value);
                }
            }),
            Deed::SetStatus { user, status } => self.change_user(&user, |it| {
                it.status = status;
                it.status_changed_at = moment;
            }),
            Deed::DeleteUser { user } => {
                let groups = self.groups_at(&user, moment).into_iter();
                self.leave_all(groups.map(|group| (group, user.clone())));
                if let Some(versions) = self.users.get_mut(&user) {
                    versions.set(moment, None);
                }
            }
            Deed::DeleteGroup { group } => {
                let members = self.members_at(&group, moment).into_iter();
                self.leave_all(members.map(|user| (group.clone(), user)));
                if let Some(versions) = self.groups.get_mut(&group) {
                    versions.set(moment, None);
                }
            }
            Deed::RevokeToken { token } => {
                self.tokens.remove(&token);
                self.accesses.retain(|_, (access, _)| access.token != token);
            }
        }
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

/// The next letters and digits of a sequence.
fn word(random: &mut u64, length: usize) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    (0..length)
        .filter_map(|_| {
            let at = usize::try_from(mixed(random) % 62).ok()?;
            LETTERS.get(at).map(|it| char::from(*it))
        })
        .collect()
}
