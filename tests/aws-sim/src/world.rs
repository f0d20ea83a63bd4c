//! The organization as tests hold it: what is in it, what was true when, what goes wrong.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::api::is_operation;
use crate::assignment::{Assignment, By, Entry, PrincipalType, What};
use crate::clock::micros;
use crate::hostile::{Away, Hostility, Rule};
use crate::people::{Account, PermissionSet, User};
use crate::setup::{AccessKey, Setup};
use crate::state::{Call, State};

/// The simulated organization. Its clones are the same one. No method waits for anything but a
/// lock; every method first makes true what is due.
#[derive(Debug, Clone)]
pub struct World {
    state: Arc<Mutex<State>>,
    /// Counts how often it became calm, for calls that hang until it does.
    calmed: watch::Sender<u64>,
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new(setup))),
            calmed: watch::Sender::new(0),
        }
    }

    /// Looks at the state, or changes it, as of now.
    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        // A test that panicked while it held the lock has failed already.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.settle();
        look(&mut state)
    }

    pub(crate) fn calmed(&self) -> watch::Receiver<u64> {
        self.calmed.subscribe()
    }

    // --- what there is

    /// The ARN of the Identity Center instance.
    pub fn instance_arn(&self) -> String {
        self.with(|state| state.instance_arn())
    }

    /// The id of the identity store.
    pub fn identity_store_id(&self) -> String {
        self.with(|state| state.identity_store())
    }

    /// The region that requests are signed for.
    pub fn region(&self) -> String {
        self.with(|state| state.setup.region.clone())
    }

    /// The management account's id.
    pub fn management_account(&self) -> String {
        self.with(|state| state.setup.management_account.clone())
    }

    /// Adds an account, or gives one another name.
    pub fn add_account(&self, id: &str, name: &str) {
        self.with(|state| {
            let account = Account {
                name: name.to_owned(),
                email: format!("aws-{id}@example.com"),
                suspended: false,
                joined_at: state.moment,
            };
            state.accounts.insert(id.to_owned(), account);
        });
    }

    /// Suspends an account; new assignments in it fail.
    pub fn suspend_account(&self, id: &str) {
        self.with(|state| {
            if let Some(account) = state.accounts.get_mut(id) {
                account.suspended = true;
            }
        });
    }

    /// An account leaves the organization, and its assignments with it.
    pub fn remove_account(&self, id: &str) {
        self.with(|state| {
            state.accounts.remove(id);
            take_all(state, |it| it.account == id);
        });
    }

    /// Adds a user and returns the id; an empty address is none. A user name that is taken
    /// returns the id of who has it.
    pub fn add_user(&self, user_name: &str, email: &str) -> String {
        self.with(|state| {
            let taken = (state.users.iter()).find(|(_, user)| user.user_name == user_name);
            if let Some((id, _)) = taken {
                return id.clone();
            }
            let id = format!("{}-{}", state.directory(), state.draw_uuid());
            let user = User {
                user_name: user_name.to_owned(),
                email: (!email.is_empty()).then(|| email.to_owned()),
                external_ids: Vec::new(),
                disabled: false,
                created_at: state.moment,
            };
            state.users.insert(id.clone(), user);
            id
        })
    }

    /// Gives a user another address; an empty one is none.
    pub fn set_email(&self, user_id: &str, email: &str) {
        self.with(|state| {
            if let Some(user) = state.users.get_mut(user_id) {
                user.email = (!email.is_empty()).then(|| email.to_owned());
            }
        });
    }

    /// Gives a user an external id, as provisioning from an identity provider does.
    pub fn add_external_id(&self, user_id: &str, issuer: &str, id: &str) {
        self.with(|state| {
            if let Some(user) = state.users.get_mut(user_id) {
                user.external_ids.push((issuer.to_owned(), id.to_owned()));
            }
        });
    }

    /// Disables a user's access, or enables it again; assignments stay.
    pub fn set_disabled(&self, user_id: &str, disabled: bool) {
        self.with(|state| {
            if let Some(user) = state.users.get_mut(user_id) {
                user.disabled = disabled;
            }
        });
    }

    /// Deletes a user; [`crate::Orphans`] says what becomes of the assignments.
    pub fn delete_user(&self, user_id: &str) {
        self.with(|state| {
            state.users.remove(user_id);
            if state.setup.orphans == crate::setup::Orphans::Cleared {
                take_all(state, |it| it.principal == user_id);
            }
        });
    }

    /// Adds a group and returns the id.
    pub fn add_group(&self, name: &str) -> String {
        self.with(|state| {
            let id = format!("{}-{}", state.directory(), state.draw_uuid());
            state.groups.insert(id.clone(), name.to_owned());
            id
        })
    }

    /// Adds a permission set whose sessions are this long and returns the ARN.
    pub fn add_permission_set(&self, name: &str, session: Duration) -> String {
        self.with(|state| {
            let arn = format!(
                "arn:aws:sso:::permissionSet/{}/ps-{:016x}",
                state.instance_id(),
                state.draw()
            );
            let set = PermissionSet {
                name: name.to_owned(),
                session_s: session.as_secs(),
                created_at: state.moment,
            };
            state.sets.insert(arn.clone(), set);
            arn
        })
    }

    /// Deletes a permission set by hand, its assignments first.
    pub fn delete_permission_set(&self, arn: &str) {
        self.with(|state| {
            take_all(state, |it| it.permission_set == arn);
            state.sets.remove(arn);
        });
    }

    /// Fills a big organization with so many accounts and permission sets.
    pub fn fill(&self, accounts: u32, sets: u32) {
        for number in 0..accounts {
            self.add_account(&format!("3{number:011}"), &format!("account-{number:05}"));
        }
        for number in 0..sets {
            let name = format!("Set{number:05}");
            self.add_permission_set(&name, Duration::from_secs(3600));
        }
    }

    /// Lets a key call, or changes what it may.
    pub fn set_key(&self, key: AccessKey) {
        self.with(|state| state.keys.insert(key.id.clone(), key));
    }

    /// Changes the setup while it runs: how long things take, what is limited. What is already
    /// under way stays as it was, and so do seed, time and keys.
    pub fn configure(&self, change: impl FnOnce(&mut Setup)) {
        self.with(|state| change(&mut state.setup));
    }

    // --- assignments

    /// Assigns by hand, at once; false if it was so already.
    pub fn assign(&self, account: &str, permission_set: &str, principal: &str) -> bool {
        self.hand(What::Given, account, permission_set, principal)
    }

    /// Removes by hand, at once; false if there was nothing.
    pub fn unassign(&self, account: &str, permission_set: &str, principal: &str) -> bool {
        self.hand(What::Taken, account, permission_set, principal)
    }

    fn hand(&self, what: What, account: &str, permission_set: &str, principal: &str) -> bool {
        self.with(|state| {
            let principal_type = if state.groups.contains_key(principal) {
                PrincipalType::Group
            } else {
                PrincipalType::User
            };
            let assignment = Assignment {
                account: account.to_owned(),
                permission_set: permission_set.to_owned(),
                principal: principal.to_owned(),
                principal_type,
            };
            state.change(assignment, what, By::Hand, None)
        })
    }

    /// Whether this principal, user or group, has this access now.
    pub fn is_assigned(&self, account: &str, permission_set: &str, principal: &str) -> bool {
        let mut asked = Assignment {
            account: account.to_owned(),
            permission_set: permission_set.to_owned(),
            principal: principal.to_owned(),
            principal_type: PrincipalType::User,
        };
        self.with(|state| {
            let as_user = state.assignments.contains(&asked);
            asked.principal_type = PrincipalType::Group;
            as_user || state.assignments.contains(&asked)
        })
    }

    /// Every assignment there is.
    pub fn assignments(&self) -> Vec<Assignment> {
        self.with(|state| state.assignments.iter().cloned().collect())
    }

    /// How many creations and deletions are in progress.
    pub fn in_progress(&self) -> usize {
        self.with(|state| state.in_progress().len())
    }

    /// Everything that became true, in order, when it did.
    pub fn ledger(&self) -> Vec<Entry> {
        self.with(|state| state.ledger.clone())
    }

    // --- calls

    /// Every call that arrived, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.with(|state| state.calls.clone())
    }

    /// Every call that arrived; they are forgotten, so that long runs stay small.
    pub fn take_calls(&self) -> Vec<Call> {
        self.with(|state| std::mem::take(&mut state.calls))
    }

    /// The IAM actions that a key called, for what it needs and no more.
    pub fn actions(&self, access_key: &str) -> BTreeSet<String> {
        self.with(|state| {
            (state.calls.iter())
                .filter(|it| it.access_key == access_key)
                .map(|it| it.action.clone())
                .collect()
        })
    }

    // --- time

    /// Now, in microseconds since 1970.
    pub fn now(&self) -> i64 {
        self.with(|state| state.moment)
    }

    /// Moves time on; what is due by then is true afterwards.
    pub fn advance(&self, by: Duration) {
        self.with(|state| {
            let to = state.moment.saturating_add(micros(by));
            state.clock.set(to);
            state.settle();
        });
    }

    /// Sets the time, in microseconds since 1970. Going back undoes nothing.
    pub fn set_now_micros(&self, to: i64) {
        self.with(|state| {
            state.clock.set(to);
            state.settle();
        });
    }

    // --- what goes wrong

    /// Every call of this operation (`*` for all) goes wrong until it is calm.
    ///
    /// # Panics
    /// If there is no such operation, as [`World::rule`] does.
    pub fn hostile(&self, operation: &str, hostility: Hostility) {
        self.rule(Rule::new(operation, hostility));
    }

    /// The next calls of this operation go wrong.
    ///
    /// # Panics
    /// If there is no such operation, as [`World::rule`] does.
    pub fn hostile_times(&self, operation: &str, hostility: Hostility, times: u32) {
        self.rule(Rule::new(operation, hostility).times(times));
    }

    /// Some calls go wrong. The oldest rule that is meant counts.
    ///
    /// # Panics
    /// If there is no such operation: a test that misspells one would show nothing.
    pub fn rule(&self, rule: Rule) {
        let known = rule.operation == "*" || is_operation(&rule.operation);
        assert!(known, "there is no operation {}", rule.operation);
        self.with(|state| state.rules.add(rule));
    }

    /// The region is away until it is calm.
    pub fn away(&self, how: Away) {
        self.with(|state| state.away = Some(how));
    }

    /// Nothing goes wrong any more. What was frozen happens now; what hangs is cut off.
    pub fn calm(&self) {
        self.with(State::calm);
        self.calmed.send_modify(|times| *times += 1);
    }

    /// Forgets everything and begins again with this.
    pub fn reset(&self, setup: Setup) {
        self.with(|state| *state = State::new(setup));
        self.calmed.send_modify(|times| *times += 1);
    }
}

/// Takes away by hand whatever is meant.
fn take_all(state: &mut State, is_meant: impl Fn(&Assignment) -> bool) {
    let meant: Vec<Assignment> = (state.assignments.iter())
        .filter(|it| is_meant(it))
        .cloned()
        .collect();
    for assignment in meant {
        state.change(assignment, What::Taken, By::Hand, None);
    }
}
