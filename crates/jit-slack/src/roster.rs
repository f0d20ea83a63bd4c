//! Who a Slack user is, and whether they may be anybody here (S10).

use std::collections::{HashMap, HashSet};
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
/// How old the members of user groups may be before they are found out again for whoever only
/// looks. Slack answers about twenty such questions in a minute, which is one in three seconds:
/// as long as a decision may remember the answer.
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

/// Who is in which user group. One that Slack does not name, as it is deleted or disabled, is not
/// here, and nobody can say who is in it: were it empty, a rule that denies it would fail open.
#[derive(Debug, Default)]
pub(crate) struct Members(HashMap<UserGroupId, HashSet<UserId>>);

impl Members {
    /// Everybody in this group; none where Slack does not say who is.
    pub(crate) fn of(&self, group: &UserGroupId) -> Option<Vec<UserId>> {
        let users = self.0.get(group)?;
        Some(users.iter().cloned().collect())
    }

    /// Whether this user is in this group; none where Slack does not say who is.
    pub(crate) fn has(&self, group: &UserGroupId, user: &UserId) -> Option<bool> {
        self.0.get(group).map(|users| users.contains(user))
    }

    /// From an answer to `usergroups.list` with the users; none where it is no such answer.
    fn read(said: &Value) -> Option<Self> {
        let group = |group: &Value| {
            let id = group.get("id")?.as_str()?.parse().ok()?;
            let users = group.get("users")?.as_array()?.iter();
            let users = users.filter_map(|user| user.as_str()?.parse().ok());
            Some((id, users.collect()))
        };
        let groups = said.get("usergroups")?.as_array()?;
        Some(Self(groups.iter().filter_map(group).collect()))
    }
}

/// All user groups: they are asked for in one call, whoever asks for which.
#[derive(Debug, Default)]
struct Groups {
    known: Mutex<Known>,
    /// Held by whoever asks Slack, so that everybody else waits for that answer.
    asking: Arc<tokio::sync::Mutex<()>>,
}

/// What Slack said of the user groups.
#[derive(Debug, Default)]
struct Known {
    /// Who is in them, and when that was asked.
    members: Option<(Arc<Members>, Timestamp)>,
    /// Slack is not asked again before this.
    not_before: Timestamp,
    /// How often it was heard that somebody came or went.
    changes: u64,
}

impl Known {
    /// What was answered to what was asked since then.
    fn since(&self, since: Timestamp) -> Option<Arc<Members>> {
        let (members, asked_at) = self.members.as_ref()?;
        (*asked_at >= since).then(|| Arc::clone(members))
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
    groups: Groups,
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
            groups: Groups::default(),
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

    /// Who is in which user group may have changed. A pause that Slack wanted goes on.
    pub(crate) fn forget_groups(&self) {
        let mut known = locked(&self.groups.known);
        known.members = None;
        known.changes += 1;
    }

    /// Who is in which user group; none where that cannot be found out.
    pub(crate) async fn members(self: &Arc<Self>, how: Recent) -> Option<Arc<Members>> {
        // However long it takes, it counts from here.
        let called_at = self.clock.now();
        let known = |at_most| locked(&self.groups.known).since(called_at - at_most);
        if how == Recent::Lately
            && let Some(members) = known(LATELY)
        {
            if known(LOOKED_AT_FOR).is_none() {
                self.ask_behind();
            }
            return Some(members);
        }
        if let Some(members) = known(PROFILE_REMEMBERED_FOR) {
            return Some(members);
        }
        let asked = async {
            let _asking = self.groups.asking.lock().await;
            // Whoever asked meanwhile asked for everybody.
            if known(PROFILE_REMEMBERED_FOR).is_none() {
                self.ask().await;
            }
        };
        if tokio::time::timeout(ASK_WITHIN, asked).await.is_err() {
            self.leave_alone(LEFT_ALONE);
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
        let matters = self.named.get().is_some_and(|named| !named.is_empty());
        if matters && locked(&self.groups.known).since(since).is_none() {
            self.ask_behind();
        }
    }

    /// Asks who is in the user groups, while nobody waits for it; once at a time.
    fn ask_behind(self: &Arc<Self>) {
        let Ok(asking) = Arc::clone(&self.groups.asking).try_lock_owned() else {
            return;
        };
        let roster = Arc::clone(self);
        tokio::spawn(async move {
            let _asking = asking;
            roster.ask().await;
        });
    }

    /// Asks Slack who is in the user groups, unless it is to be left alone. What changed while it
    /// was asked is asked for again, once.
    async fn ask(&self) {
        for _ in 0..2 {
            let (not_before, changes) = {
                let known = locked(&self.groups.known);
                (known.not_before, known.changes)
            };
            let now = self.clock.now();
            if now < not_before {
                return;
            }
            match self.list_groups().await {
                Ok(members) => {
                    self.miss(&members);
                    let mut known = locked(&self.groups.known);
                    known.members = Some((Arc::new(members), now));
                    if known.changes == changes {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(error = %error.chain(), "who is in a user group is not known now");
                    let pause = match error.kind {
                        ErrorKind::RateLimited { retry_after_ms } => {
                            retry_after_ms.map_or(LEFT_ALONE, Duration::from_millis)
                        }
                        _ => LEFT_ALONE,
                    };
                    self.leave_alone(pause.clamp(LEFT_ALONE, LEFT_ALONE_MAX));
                    return;
                }
            }
        }
    }

    /// One call for all of them: Slack takes about twenty in a minute, however much is asked for.
    async fn list_groups(&self) -> Result<Members, PortError> {
        let what = "list the user groups";
        let arguments = [("include_users", "true"), ("include_disabled", "false")];
        let said = self.web.get("usergroups.list", &arguments).await;
        let said = said.map_err(|error| error.into_port(what))?;
        let unreadable = || PortError::nothing_done(ADAPTER, what, ErrorKind::Unavailable);
        Members::read(&said).ok_or_else(unreadable)
    }

    /// Says so where Slack does not name a group that matters.
    fn miss(&self, members: &Members) {
        let named = self.named.get().into_iter().flatten();
        for group in named.filter(|group| !members.0.contains_key(group)) {
            tracing::warn!(
                %group,
                "Slack names no such user group, or it is disabled: who is in it cannot be found \
                 out"
            );
        }
    }

    /// Slack is not asked about user groups again for so long.
    fn leave_alone(&self, pause: Duration) {
        let until = self.clock.now() + pause;
        let mut known = locked(&self.groups.known);
        known.not_before = known.not_before.max(until);
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

    /// Whom this user would be found to be, who has not come in; none where that is nobody. Nothing
    /// is written down.
    pub(crate) async fn known_as(
        self: &Arc<Self>,
        user: UserId,
    ) -> Result<Option<PrincipalId>, PortError> {
        let names = self.names();
        if let Some((id, _)) = names.iter().find(|(_, met)| **met == user) {
            return Ok(Some(id.clone()));
        }
        let nothing = Account {
            stranger: None,
            email: None,
            seen_at: self.clock.now(),
        };
        let account = match self.email_match {
            EmailMatch::Off => nothing,
            EmailMatch::On => self.account_lately(&user).await?,
        };
        if account.stranger.is_some() {
            return Ok(None);
        }
        match self.found(&user, &account).await {
            Ok(id) => Ok(Some(id)),
            Err(NotKnown::Stranger(_)) => Ok(None),
            Err(NotKnown::Failed(error)) => Err(error),
        }
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

    /// Which user to tell something that is for this person: who they are, or whom the directory says
    /// they are.
    pub(crate) async fn reached_as(&self, id: &PrincipalId) -> Result<Option<UserId>, PortError> {
        match self.user_of(id).await? {
            Some(user) => Ok(Some(user)),
            None => Ok(listed_user(self.directory.as_ref(), id).await),
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

/// The name by which the directory knows a Slack user.
pub fn alias(user: &UserId) -> Option<PrincipalId> {
    format!("slack:{user}").parse().ok()
}

/// The user whom the directory says this person is, where it says so of nobody else as well. For
/// telling them something: no right follows from it.
pub(crate) async fn listed_user(directory: &dyn Directory, id: &PrincipalId) -> Option<UserId> {
    let known = async |id: &PrincipalId| directory.profile_lately(id).await.ok().flatten();
    let profile = known(id).await?;
    let mut subjects = profile.subjects.iter();
    let (_, user) = subjects.find(|(provider, _)| provider.as_str() == ADAPTER)?;
    let user: UserId = user.as_str().parse().ok()?;
    let back = known(&alias(&user)?).await?;
    (back.id == profile.id).then_some(user)
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
