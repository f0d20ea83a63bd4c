//! Who a Slack user is, and whether they may be anybody here (S10).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::{
    Clock, Commit, CommitError, Directory, ErrorKind, PROFILE_REMEMBERED_FOR, PortError,
    RequestStore, Row, RowChange,
};
use jit_core::principal::PrincipalId;
use serde_json::Value;

use crate::ADAPTER;
use crate::people::{Names, TeamId, UserGroupId, UserId};
use crate::settings::EmailMatch;
use crate::surface::Stranger;
use crate::web::Web;

/// The small rows that say for ever whom a Slack user was first found to be.
const PINNED: &str = "slack_user";
/// The small rows that say which user a person was last met as: to whom other processes, and this
/// one after it was started again, write, and in whose groups that person is.
const MET: &str = "slack_person";
/// What Slack said of a user is believed for this long, unless it says that it changed.
const BELIEVED_FOR: Duration = Duration::from_secs(300);
/// For how long whoever only looks may see what was known then, while it is found out again.
const LATELY: Duration = Duration::from_secs(3_600);
/// How old the members of a user group may be before they are found out again for whoever only
/// looks. Slack answers about twenty such questions in a minute.
const LOOKED_AT_FOR: Duration = Duration::from_secs(10);
/// The longest that somebody waits to hear who is in a user group.
const ASK_WITHIN: Duration = Duration::from_secs(2);
/// After Slack did not say who is in a user group, nobody else waits for it for this long, or for as
/// long as Slack wants to be left alone.
const LEFT_ALONE: Duration = Duration::from_secs(1);
const LEFT_ALONE_MAX: Duration = Duration::from_secs(60);
/// How often what another process wrote at the same time is read again.
const TRIES: u32 = 3;
/// Users remembered at once.
const REMEMBERED: usize = 10_000;

/// Why somebody is nobody.
#[derive(Debug)]
pub(crate) enum NotKnown {
    /// They are not anybody here.
    Stranger(Stranger),
    /// It could not be found out.
    Failed(PortError),
}

impl From<PortError> for NotKnown {
    fn from(error: PortError) -> Self {
        Self::Failed(error)
    }
}

/// What Slack says of one user.
#[derive(Debug, Clone)]
struct Account {
    stranger: Option<Stranger>,
    email: Option<String>,
    seen_at: Timestamp,
}

/// How recent what is known of somebody has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recent {
    /// As recent as a decision needs it.
    Now,
    /// What was known lately, for whoever only looks. It is found out again behind their back.
    Lately,
}

/// A user group.
#[derive(Debug, Default)]
struct Group {
    known: Mutex<Known>,
    /// Held by whoever asks Slack, so that everybody else waits for that answer.
    asking: Arc<tokio::sync::Mutex<()>>,
}

/// What Slack said of a user group.
#[derive(Debug, Default)]
struct Known {
    /// Who is in it, and when that was asked.
    members: Option<(Vec<UserId>, Timestamp)>,
    /// It is not asked again before this.
    not_before: Timestamp,
}

impl Known {
    /// Whether this user is in it, by an answer to what was asked since then.
    fn says(&self, user: &UserId, since: Timestamp) -> Option<bool> {
        let (users, asked_at) = self.members.as_ref()?;
        (*asked_at >= since).then(|| users.contains(user))
    }
}

/// Finds people.
pub(crate) struct Roster {
    web: Arc<Web>,
    directory: Arc<dyn Directory>,
    store: Arc<dyn RequestStore>,
    clock: Arc<dyn Clock>,
    email_match: EmailMatch,
    team: Mutex<Option<TeamId>>,
    accounts: Mutex<HashMap<UserId, Account>>,
    pinned: Mutex<HashMap<UserId, PrincipalId>>,
    names: Mutex<Arc<Names>>,
    groups: Mutex<HashMap<UserGroupId, Arc<Group>>>,
    /// The user groups that the policy names.
    named: OnceLock<Vec<UserGroupId>>,
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster")
            .field("team", &self.team)
            .finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Roster {
    pub(crate) fn new(
        web: Arc<Web>,
        directory: Arc<dyn Directory>,
        store: Arc<dyn RequestStore>,
        clock: Arc<dyn Clock>,
        email_match: EmailMatch,
        names: Names,
    ) -> Self {
        Self {
            web,
            directory,
            store,
            clock,
            email_match,
            team: Mutex::default(),
            accounts: Mutex::default(),
            pinned: Mutex::default(),
            names: Mutex::new(Arc::new(names)),
            groups: Mutex::default(),
            named: OnceLock::new(),
        }
    }

    /// Which users the principals are that were met so far.
    pub(crate) fn names(&self) -> Arc<Names> {
        Arc::clone(&locked(&self.names))
    }

    /// The workspace that this service belongs to.
    pub(crate) async fn team(&self) -> Result<TeamId, PortError> {
        if let Some(team) = locked(&self.team).clone() {
            return Ok(team);
        }
        let said = self.web.post("auth.test", &serde_json::json!({})).await;
        let said = said.map_err(|error| error.into_port("look up the workspace"))?;
        let team = said.pointer("/team_id").and_then(Value::as_str);
        let team: Option<TeamId> = team.and_then(|team| team.parse().ok());
        let team = team.ok_or_else(|| {
            let kind = jit_core::ports::ErrorKind::Misconfigured;
            PortError::nothing_done(ADAPTER, "look up the workspace", kind)
        })?;
        *locked(&self.team) = Some(team.clone());
        Ok(team)
    }

    /// What is remembered of this user is stale.
    pub(crate) fn forget(&self, user: &UserId) {
        locked(&self.accounts).remove(user);
    }

    /// Who is in which user group may have changed.
    pub(crate) fn forget_groups(&self) {
        locked(&self.groups).clear();
    }

    /// Whether this user is in this user group; none where that cannot be found out.
    pub(crate) async fn is_member(
        self: &Arc<Self>,
        id: &UserGroupId,
        user: &UserId,
        how: Recent,
    ) -> Option<bool> {
        let group = self.group(id);
        // However long it takes, it counts from here.
        let called_at = self.clock.now();
        let known = |at_most| locked(&group.known).says(user, called_at - at_most);
        if how == Recent::Lately
            && let Some(is_member) = known(LATELY)
        {
            if known(LOOKED_AT_FOR).is_none() {
                self.ask_behind(id, &group);
            }
            return Some(is_member);
        }
        if let Some(is_member) = known(PROFILE_REMEMBERED_FOR) {
            return Some(is_member);
        }
        let asked = async {
            let _asking = group.asking.lock().await;
            // Whoever asked meanwhile asked for everybody.
            if known(PROFILE_REMEMBERED_FOR).is_none() {
                self.ask(id, &group).await;
            }
        };
        if tokio::time::timeout(ASK_WITHIN, asked).await.is_err() {
            leave_alone(&group, self.clock.now() + LEFT_ALONE);
        }
        known(PROFILE_REMEMBERED_FOR)
    }

    /// These user groups matter.
    pub(crate) fn name_groups(&self, groups: impl Iterator<Item = UserGroupId>) {
        let _ = self.named.set(groups.collect());
    }

    /// Somebody is about to look at what depends on user groups: who is in them is asked now where
    /// nothing is known, so that they need not wait.
    pub(crate) fn look_ahead(self: &Arc<Self>) {
        let since = self.clock.now() - LATELY;
        for id in self.named.get().into_iter().flatten() {
            let group = self.group(id);
            let asked_at = locked(&group.known).members.as_ref().map(|(_, at)| *at);
            if asked_at.is_none_or(|at| at < since) {
                self.ask_behind(id, &group);
            }
        }
    }

    fn group(&self, id: &UserGroupId) -> Arc<Group> {
        Arc::clone(locked(&self.groups).entry(id.clone()).or_default())
    }

    /// Asks who is in a user group, while nobody waits for it; once at a time.
    fn ask_behind(self: &Arc<Self>, id: &UserGroupId, group: &Arc<Group>) {
        let Ok(asking) = Arc::clone(&group.asking).try_lock_owned() else {
            return;
        };
        let (roster, id, group) = (Arc::clone(self), id.clone(), Arc::clone(group));
        tokio::spawn(async move {
            let _asking = asking;
            roster.ask(&id, &group).await;
        });
    }

    /// Asks Slack who is in a user group, unless it is to be left alone.
    async fn ask(&self, id: &UserGroupId, group: &Group) {
        let now = self.clock.now();
        if now < locked(&group.known).not_before {
            return;
        }
        let arguments = [("usergroup", id.as_str())];
        let said = self.web.get("usergroups.users.list", &arguments).await;
        let users = said
            .map_err(|error| error.into_port("list a user group"))
            .and_then(|said| {
                let users = said.get("users").and_then(Value::as_array).cloned();
                users.ok_or_else(|| {
                    PortError::nothing_done(ADAPTER, "list a user group", ErrorKind::Unavailable)
                })
            });
        match users {
            Ok(users) => {
                let ids = users.iter().filter_map(|user| user.as_str()?.parse().ok());
                locked(&group.known).members = Some((ids.collect(), now));
            }
            Err(error) => {
                tracing::warn!(error = %error.chain(), "who is in a user group is not known now");
                let pause = match error.kind {
                    ErrorKind::RateLimited { retry_after_ms } => {
                        retry_after_ms.map_or(LEFT_ALONE, Duration::from_millis)
                    }
                    _ => LEFT_ALONE,
                };
                let pause = pause.clamp(LEFT_ALONE, LEFT_ALONE_MAX);
                leave_alone(group, self.clock.now() + pause);
            }
        }
    }

    /// The person that this user is.
    pub(crate) async fn person(
        &self,
        user: &UserId,
        team: Option<&TeamId>,
    ) -> Result<PrincipalId, NotKnown> {
        self.check_team(team).await?;
        let account = self.account(user).await?;
        self.person_of(user, account).await
    }

    /// The same for whoever only looks.
    pub(crate) async fn person_lately(
        self: &Arc<Self>,
        user: &UserId,
        team: Option<&TeamId>,
    ) -> Result<PrincipalId, NotKnown> {
        self.check_team(team).await?;
        let account = self.account_lately(user).await?;
        self.person_of(user, account).await
    }

    async fn check_team(&self, team: Option<&TeamId>) -> Result<(), NotKnown> {
        match team == Some(&self.team().await?) {
            true => Ok(()),
            false => Err(NotKnown::Stranger(Stranger::Foreign)),
        }
    }

    async fn person_of(&self, user: &UserId, account: Account) -> Result<PrincipalId, NotKnown> {
        if let Some(stranger) = account.stranger {
            return Err(NotKnown::Stranger(stranger));
        }
        let found = self.found(user, &account).await?;
        let pinned = self.pin(user, &found).await?;
        // Whoever this user once was, they stay: an address or an entry that was changed since
        // gives nobody the rights of another.
        if pinned != found {
            return Err(NotKnown::Stranger(Stranger::Ambiguous));
        }
        self.remember_name(&found, user);
        Ok(found)
    }

    /// Whom the directory says this is, by Slack's id or, where that is wanted, by the address.
    async fn found(&self, user: &UserId, account: &Account) -> Result<PrincipalId, NotKnown> {
        let unmapped = || NotKnown::Stranger(Stranger::Unmapped);
        let by_id: PrincipalId = alias(user).ok_or_else(unmapped)?;
        if let Some(profile) = self.directory.profile(&by_id).await? {
            return Ok(profile.id);
        }
        if self.email_match == EmailMatch::Off {
            return Err(unmapped());
        }
        let address = account.email.as_deref();
        let address: Option<PrincipalId> = address.and_then(|address| address.parse().ok());
        let profile = self
            .directory
            .profile(&address.ok_or_else(unmapped)?)
            .await?;
        Ok(profile.ok_or_else(unmapped)?.id)
    }

    /// Writes down whom this user was first found to be, and says whom; and that this person was
    /// met as this user.
    async fn pin(&self, user: &UserId, found: &PrincipalId) -> Result<PrincipalId, NotKnown> {
        let pinned = locked(&self.pinned).get(user).cloned();
        if let Some(pinned) = pinned
            && (pinned != *found || self.names().user(found) == Some(user))
        {
            return Ok(pinned);
        }
        for _ in 0..TRIES {
            let (pinned, met) = futures_util::future::try_join(
                self.store.row(PINNED, user.as_str()),
                self.store.row(MET, found.as_str()),
            )
            .await?;
            let ambiguous = |_| NotKnown::Stranger(Stranger::Ambiguous);
            let whom = match &pinned {
                Some(row) => row.value.parse::<PrincipalId>().map_err(ambiguous)?,
                None => found.clone(),
            };
            let row = |table, key: &str, value: &str, expected| RowChange {
                row: Row {
                    table,
                    key: key.to_owned(),
                    value: value.to_owned(),
                },
                expected,
            };
            let mut rows = vec![];
            if pinned.is_none() {
                rows.push(row(PINNED, user.as_str(), found.as_str(), None));
            }
            // Somebody else is not met as this user because the directory says so today.
            let met = met.map(|row| row.value);
            if whom == *found && met.as_deref() != Some(user.as_str()) {
                rows.push(row(MET, found.as_str(), user.as_str(), met));
            }
            let written = if rows.is_empty() {
                Ok(())
            } else {
                let at = Some(self.clock.now());
                let commit = Commit {
                    rows,
                    at,
                    ..Commit::default()
                };
                self.store.commit(commit).await.map(drop)
            };
            match written {
                Ok(()) => {
                    locked(&self.pinned).insert(user.clone(), whom.clone());
                    return Ok(whom);
                }
                Err(CommitError::Port(error)) => return Err(error.into()),
                // Another replica wrote it meanwhile.
                Err(_) => {}
            }
        }
        let kind = ErrorKind::Conflict;
        Err(PortError::nothing_done(ADAPTER, "write down who a user is", kind).into())
    }

    fn remember_name(&self, id: &PrincipalId, user: &UserId) {
        let mut names = locked(&self.names);
        if names.user(id) != Some(user) {
            Arc::make_mut(&mut names).insert(id.clone(), user.clone());
        }
    }

    /// Which user this person is: by the configuration, or as whom they were last met, by whichever
    /// process.
    pub(crate) async fn user_of(&self, id: &PrincipalId) -> Result<Option<UserId>, PortError> {
        if let Some(user) = self.names().user(id) {
            return Ok(Some(user.clone()));
        }
        let met = self.store.row(MET, id.as_str()).await?;
        let user: Option<UserId> = met.and_then(|row| row.value.parse().ok());
        if let Some(user) = &user {
            self.remember_name(id, user);
        }
        Ok(user)
    }

    /// What was known lately of this user; asked again behind the back of whoever looks.
    async fn account_lately(self: &Arc<Self>, user: &UserId) -> Result<Account, PortError> {
        let age = |account: &Account| self.clock.now().since(account.seen_at);
        let known = locked(&self.accounts).get(user).cloned();
        match known.filter(|account| age(account) < LATELY) {
            Some(account) => {
                if age(&account) >= BELIEVED_FOR {
                    let (roster, user) = (Arc::clone(self), user.clone());
                    tokio::spawn(async move { roster.account(&user).await.map(drop) });
                }
                Ok(account)
            }
            None => self.account(user).await,
        }
    }

    async fn account(&self, user: &UserId) -> Result<Account, PortError> {
        let now = self.clock.now();
        let fresh = |account: &&Account| now.since(account.seen_at) < BELIEVED_FOR;
        if let Some(known) = locked(&self.accounts).get(user).filter(fresh) {
            return Ok(known.clone());
        }
        let arguments = [("user", user.as_str())];
        let said = match self.web.get("users.info", &arguments).await {
            Ok(said) => said,
            Err(error) if error.code() == Some("user_not_found") => {
                return Ok(Account {
                    stranger: Some(Stranger::Foreign),
                    email: None,
                    seen_at: now,
                });
            }
            Err(error) => return Err(error.into_port("look up a user")),
        };
        let account = account(&said, &self.team().await?, now);
        let mut accounts = locked(&self.accounts);
        if accounts.len() >= REMEMBERED {
            accounts.clear();
        }
        accounts.insert(user.clone(), account.clone());
        Ok(account)
    }
}

/// Slack is not asked about this user group again before then.
fn leave_alone(group: &Group, until: Timestamp) {
    let mut known = locked(&group.known);
    known.not_before = known.not_before.max(until);
}

/// The name by which the directory knows a Slack user.
pub fn alias(user: &UserId) -> Option<PrincipalId> {
    format!("slack:{user}").parse().ok()
}

/// Why this user is nobody here, by what Slack says of the account alone.
pub(crate) fn standing(said: &Value, team: &str) -> Option<Stranger> {
    let is = |field: &str| said.pointer(field).and_then(Value::as_bool) == Some(true);
    let home = said.pointer("/user/team_id").and_then(Value::as_str);
    if said.pointer("/user/id").is_none() {
        // An answer without a user says nothing good of them.
        Some(Stranger::Unmapped)
    } else if is("/user/deleted") {
        Some(Stranger::Deactivated)
    } else if is("/user/is_bot") || is("/user/is_workflow_bot") {
        Some(Stranger::Bot)
    } else if is("/user/is_stranger") || home.is_some_and(|home| home != team) {
        Some(Stranger::Foreign)
    } else if is("/user/is_restricted") || is("/user/is_ultra_restricted") {
        Some(Stranger::Guest)
    } else {
        None
    }
}

fn account(said: &Value, team: &TeamId, now: Timestamp) -> Account {
    let stranger = standing(said, team.as_str());
    let email = said.pointer("/user/profile/email").and_then(Value::as_str);
    Account {
        stranger,
        email: email.map(str::to_owned),
        seen_at: now,
    }
}
