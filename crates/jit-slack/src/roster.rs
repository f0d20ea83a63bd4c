//! Who a Slack user is, and whether they may be anybody here (S10).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::{
    Clock, Commit, CommitError, Directory, PortError, RequestStore, Row, RowChange,
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
/// What Slack said of a user is believed for this long, unless it says that it changed.
const BELIEVED_FOR: Duration = Duration::from_secs(300);
/// The members of a user group are asked for again after this: a decision needs facts that are at
/// most five seconds old.
const MEMBERS_FOR: Duration = Duration::from_secs(4);
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

/// The members of a user group, and when Slack said so.
#[derive(Debug, Clone)]
struct Members {
    users: Vec<UserId>,
    seen_at: Timestamp,
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
    groups: Mutex<HashMap<UserGroupId, Members>>,
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

    /// Whether this user is in this user group, by what Slack said at most four seconds ago.
    pub(crate) async fn is_member(
        &self,
        group: &UserGroupId,
        user: &UserId,
    ) -> Result<bool, PortError> {
        let now = self.clock.now();
        let fresh = |members: &&Members| now.since(members.seen_at) < MEMBERS_FOR;
        if let Some(members) = locked(&self.groups).get(group).filter(fresh) {
            return Ok(members.users.contains(user));
        }
        let arguments = [("usergroup", group.as_str())];
        let said = self.web.get("usergroups.users.list", &arguments).await;
        let said = said.map_err(|error| error.into_port("list a user group"))?;
        let users = said.get("users").and_then(Value::as_array);
        let users = users.ok_or_else(|| {
            let kind = jit_core::ports::ErrorKind::Unavailable;
            PortError::nothing_done(ADAPTER, "list a user group", kind)
        })?;
        let users: Vec<UserId> = users
            .iter()
            .filter_map(|user| user.as_str()?.parse().ok())
            .collect();
        let is_member = users.contains(user);
        let members = Members {
            users,
            seen_at: now,
        };
        locked(&self.groups).insert(group.clone(), members);
        Ok(is_member)
    }

    /// The person that this user is.
    pub(crate) async fn person(
        &self,
        user: &UserId,
        team: Option<&TeamId>,
    ) -> Result<PrincipalId, NotKnown> {
        if team != Some(&self.team().await?) {
            return Err(NotKnown::Stranger(Stranger::Foreign));
        }
        let account = self.account(user).await?;
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

    /// Writes down whom this user was first found to be, and says whom.
    async fn pin(&self, user: &UserId, found: &PrincipalId) -> Result<PrincipalId, NotKnown> {
        if let Some(pinned) = locked(&self.pinned).get(user) {
            return Ok(pinned.clone());
        }
        let row = Row {
            table: PINNED,
            key: user.to_string(),
            value: found.to_string(),
        };
        let commit = Commit {
            rows: vec![RowChange {
                row,
                expected: None,
            }],
            at: Some(self.clock.now()),
            ..Commit::default()
        };
        let before = self.store.row(PINNED, user.as_str()).await?;
        let before = match before {
            Some(row) => Some(row),
            None => match self.store.commit(commit).await {
                Ok(_) => None,
                Err(CommitError::Port(error)) => return Err(error.into()),
                // Another replica wrote it meanwhile.
                Err(_) => self.store.row(PINNED, user.as_str()).await?,
            },
        };
        let pinned = match before {
            None => found.clone(),
            Some(row) => row
                .value
                .parse()
                .map_err(|_| NotKnown::Stranger(Stranger::Ambiguous))?,
        };
        locked(&self.pinned).insert(user.clone(), pinned.clone());
        Ok(pinned)
    }

    fn remember_name(&self, id: &PrincipalId, user: &UserId) {
        let mut names = locked(&self.names);
        if names.user(id) != Some(user) {
            Arc::make_mut(&mut names).insert(id.clone(), user.clone());
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
