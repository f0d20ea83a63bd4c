//! The organization as tests hold it: what is in it, what was true when, what goes wrong.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use crate::api::Operation;
use crate::clock::micros;
use crate::deed::Deed;
use crate::directory::{Group, GroupType, User, UserStatus, Versions};
use crate::hostile::{Away, Hostility, Rule};
use crate::ledger::{By, Entry, Period, What};
use crate::pagerduty::{OnCall, PagerEvent, Responder};
use crate::setup::{ApiToken, ServiceApp, Setup};
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
    pub(crate) fn new(setup: Setup, base: &str) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new(setup, base))),
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

    /// The organization's id.
    pub fn organization_id(&self) -> String {
        self.with(|state| state.organization())
    }

    /// Adds an active user and returns the id. A login that is taken, in whatever case, returns
    /// the id of who has it.
    pub fn add_user(&self, login: &str, email: &str) -> String {
        self.with(|state| {
            let taken = state.users.iter().find(|(_, versions)| {
                (versions.now()).is_some_and(|it| it.text("login").eq_ignore_ascii_case(login))
            });
            if let Some((id, _)) = taken {
                return id.clone();
            }
            add_user(state, login, email)
        })
    }

    /// Gives a profile attribute a value; `null` takes the attribute away.
    pub fn set_profile(&self, user: &str, attribute: &str, value: impl Into<Value>) {
        self.perform(Deed::SetProfile {
            user: user.to_owned(),
            attribute: attribute.to_owned(),
            value: value.into(),
        });
    }

    /// Moves a user to another status. Memberships stay, deactivated or not.
    pub fn set_status(&self, user: &str, status: UserStatus) {
        let user = user.to_owned();
        self.perform(Deed::SetStatus { user, status });
    }

    /// Gives a user another login.
    pub fn rename(&self, user: &str, login: &str) {
        let (user, login) = (user.to_owned(), login.to_owned());
        self.perform(Deed::Rename { user, login });
    }

    /// Deletes a user for good, and every membership.
    pub fn delete_user(&self, user: &str) {
        let user = user.to_owned();
        self.perform(Deed::DeleteUser { user });
    }

    /// Adds a group of Okta's own and returns the id.
    pub fn add_group(&self, name: &str) -> String {
        self.add_group_of(name, GroupType::OktaGroup)
    }

    /// Adds a group of this type and returns the id.
    pub fn add_group_of(&self, name: &str, kind: GroupType) -> String {
        self.with(|state| {
            let (id, now) = (state.draw_id("00g"), state.moment);
            let group = Group {
                name: name.to_owned(),
                kind,
                created_at: now,
                members_changed_at: now,
            };
            state.groups.insert(id.clone(), Versions::new(now, group));
            id
        })
    }

    /// Deletes a group, and every membership.
    pub fn delete_group(&self, group: &str) {
        let group = group.to_owned();
        self.perform(Deed::DeleteGroup { group });
    }

    /// Adds a group with so many new members and returns its id.
    pub fn fill(&self, name: &str, members: u32) -> String {
        let group = self.add_group(name);
        self.with(|state| {
            for number in 0..members {
                let login = format!("{name}-{number:06}@example.com").to_lowercase();
                let user = add_user(state, &login, &login);
                state.change((&group, &user), What::Joined, By::Control, None);
            }
        });
        group
    }

    /// Lets an API token call, or changes what it may.
    pub fn set_token(&self, token: ApiToken) {
        self.with(|state| state.tokens.insert(token.id.clone(), token));
    }

    /// Registers a service app, or changes its keys and what it was granted. Access tokens that
    /// it has stay good.
    pub fn set_app(&self, app: ServiceApp) {
        self.with(|state| state.apps.insert(app.client_id.clone(), app));
    }

    /// Revokes an API token, by its id, or every access token of a service app, by its client id.
    pub fn revoke_token(&self, token: &str) {
        let token = token.to_owned();
        self.perform(Deed::RevokeToken { token });
    }

    /// Changes the setup while it runs: limits, pages, lags. Seed, time and tokens stay.
    pub fn configure(&self, change: impl FnOnce(&mut Setup)) {
        self.with(|state| change(&mut state.setup));
    }

    /// Somebody does this now.
    pub fn perform(&self, deed: Deed) {
        self.with(|state| state.perform(deed));
    }

    /// Somebody does this after so much time, by the simulator's clock.
    pub fn later(&self, after: Duration, deed: Deed) {
        self.with(|state| state.plan_deed(state.moment.saturating_add(micros(after)), deed));
    }

    // --- memberships

    /// Makes a user a member, at once and by hand; nothing if either does not exist.
    pub fn join(&self, group: &str, user: &str) {
        let (group, user) = (group.to_owned(), user.to_owned());
        self.perform(Deed::Join { group, user });
    }

    /// Ends a membership, at once and by hand.
    pub fn leave(&self, group: &str, user: &str) {
        let (group, user) = (group.to_owned(), user.to_owned());
        self.perform(Deed::Leave { group, user });
    }

    /// Whether this user is a member now.
    pub fn is_member(&self, group: &str, user: &str) -> bool {
        self.with(|state| state.is_member(group, user))
    }

    /// The ids of a group's members.
    pub fn members(&self, group: &str) -> Vec<String> {
        let members = |state: &mut State| state.members.get(group).cloned().unwrap_or_default();
        self.with(members).into_iter().collect()
    }

    /// Everything that became true, in order, when it did.
    pub fn ledger(&self) -> Vec<Entry> {
        self.with(|state| state.ledger.clone())
    }

    /// When this user really was a member, from when to when.
    pub fn periods(&self, group: &str, user: &str) -> Vec<Period> {
        let mut periods: Vec<Period> = Vec::new();
        let entries = self.ledger().into_iter();
        for entry in entries.filter(|it| it.group == group && it.user == user) {
            match entry.what {
                What::Joined => periods.push(Period {
                    from_micros: entry.at_micros,
                    until_micros: None,
                }),
                What::Left => {
                    if let Some(last) = periods.last_mut() {
                        last.until_micros = Some(entry.at_micros);
                    }
                }
            }
        }
        periods
    }

    // --- who is on call

    /// Adds a user of PagerDuty and returns the id.
    pub fn add_responder(&self, name: &str, email: &str) -> String {
        self.with(|state| {
            let id = state.draw_pager_id();
            let (name, email) = (name.to_owned(), email.to_owned());
            let responder = Responder { name, email };
            state.pagerduty.responders.insert(id.clone(), responder);
            id
        })
    }

    /// Deletes a user of PagerDuty, who is on call no more.
    pub fn delete_responder(&self, id: &str) {
        self.with(|state| state.pagerduty.responders.remove(id));
    }

    /// Adds a schedule and returns the id.
    pub fn add_schedule(&self, name: &str) -> String {
        self.with(|state| {
            let id = state.draw_pager_id();
            state
                .pagerduty
                .schedules
                .insert(id.clone(), name.to_owned());
            id
        })
    }

    /// Adds an escalation policy and returns the id.
    pub fn add_escalation_policy(&self, name: &str) -> String {
        self.with(|state| {
            let id = state.draw_pager_id();
            state.pagerduty.policies.insert(id.clone(), name.to_owned());
            id
        })
    }

    /// Puts somebody on call.
    pub fn put_on_call(&self, entry: OnCall) {
        self.with(|state| state.pagerduty.on_calls.push(entry));
    }

    /// Nobody is on call any more.
    pub fn clear_on_calls(&self) {
        self.with(|state| state.pagerduty.on_calls.clear());
    }

    /// Every event that PagerDuty accepted, in order.
    pub fn events(&self) -> Vec<PagerEvent> {
        self.with(|state| state.pagerduty.events.clone())
    }

    /// The keys of the alerts that were opened and not resolved.
    pub fn open_alerts(&self) -> Vec<String> {
        self.with(|state| state.pagerduty.open.iter().cloned().collect())
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

    // --- time

    /// Now, in microseconds since 1970.
    pub fn now(&self) -> i64 {
        self.with(|state| state.moment)
    }

    /// Moves time on; what is due by then is true afterwards.
    pub fn pass(&self, time: Duration) {
        self.with(|state| {
            let to = state.moment.saturating_add(micros(time));
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

    /// Every call of this operation goes wrong until it is calm.
    pub fn hostile(&self, operation: Operation, hostility: Hostility) {
        self.rule(Rule::new(operation, hostility));
    }

    /// The next calls of this operation go wrong.
    pub fn hostile_times(&self, operation: Operation, hostility: Hostility, times: u32) {
        self.rule(Rule::new(operation, hostility).times(times));
    }

    /// Some calls go wrong. The oldest rule that is meant counts.
    pub fn rule(&self, rule: Rule) {
        self.with(|state| state.rules.add(rule));
    }

    /// The organization is away until it is calm.
    pub fn away(&self, how: Away) {
        self.with(|state| state.away = Some(how));
    }

    /// Nothing goes wrong any more; what hangs is cut off. A late effect stays on its way.
    pub fn calm(&self) {
        self.with(State::calm);
        self.calmed.send_modify(|times| *times += 1);
    }

    /// Forgets everything and begins again with this.
    pub fn reset(&self, setup: Setup) {
        self.with(|state| {
            let base = state.base.clone();
            let in_flight = state.in_flight;
            *state = State::new(setup, &base);
            state.in_flight = in_flight;
        });
        self.calmed.send_modify(|times| *times += 1);
    }
}

fn add_user(state: &mut State, login: &str, email: &str) -> String {
    let (id, now) = (state.draw_id("00u"), state.moment);
    let user = User::new(login, email, now);
    state.users.insert(id.clone(), Versions::new(now, user));
    id
}
