//! Who and what exists in a simulated workspace: people, channels, groups, and what the app may
//! do. Built by hand before the simulator starts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// What sort of account this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A full member.
    Member,
    /// A guest of several channels (`is_restricted`).
    Guest,
    /// A bot.
    Bot,
    /// Somebody of another organisation, in through a shared channel.
    Foreign,
}

/// Whether an account may still sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It works.
    Active,
    /// It was deactivated (`deleted`).
    Deactivated,
}

/// One account.
#[derive(Debug, Clone)]
pub struct User {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) email: String,
    pub(crate) tz: String,
    pub(crate) tz_offset_s: i32,
    pub(crate) team: Option<String>,
    pub(crate) kind: Kind,
    pub(crate) standing: Standing,
}

impl User {
    fn new(id: &str, name: &str, email: &str, kind: Kind) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            email: email.to_owned(),
            tz: "Etc/UTC".to_owned(),
            tz_offset_s: 0,
            team: None,
            kind,
            standing: Standing::Active,
        }
    }

    /// A full member.
    pub fn member(id: &str, name: &str, email: &str) -> Self {
        Self::new(id, name, email, Kind::Member)
    }

    /// A guest.
    pub fn guest(id: &str, name: &str, email: &str) -> Self {
        Self::new(id, name, email, Kind::Guest)
    }

    /// Another app's bot.
    pub fn bot(id: &str, name: &str) -> Self {
        Self::new(id, name, "", Kind::Bot)
    }

    /// Somebody whose account lives in `team`, not here.
    pub fn foreign(id: &str, name: &str, email: &str, team: &str) -> Self {
        let mut user = Self::new(id, name, email, Kind::Foreign);
        user.team = Some(team.to_owned());
        user
    }

    /// The same account, deactivated.
    pub fn deactivated(mut self) -> Self {
        self.standing = Standing::Deactivated;
        self
    }

    /// Sets the IANA time zone; the offset is known for a few zones and else 0 (set it with
    /// [`User::tz_offset`]).
    pub fn tz(mut self, tz: &str) -> Self {
        self.tz_offset_s = match tz {
            "Europe/Vienna" | "Europe/Berlin" => 3600,
            "America/New_York" => -18_000,
            "America/Los_Angeles" => -28_800,
            "Asia/Tokyo" => 32_400,
            _ => 0,
        };
        self.tz = tz.to_owned();
        self
    }

    /// Sets the offset from UTC in seconds.
    pub fn tz_offset(mut self, seconds: i32) -> Self {
        self.tz_offset_s = seconds;
        self
    }

    /// The account as `users.info` shows it; the address only to an app that may read it.
    pub(crate) fn json(&self, home: &str, email: Email) -> Value {
        let team = self.team.as_deref().unwrap_or(home);
        let deleted = self.standing == Standing::Deactivated;
        let mut profile = json!({
            "real_name": self.name, "real_name_normalized": self.name,
            "display_name": self.name, "display_name_normalized": self.name,
            "avatar_hash": "g0000000", "team": team,
        });
        if email == Email::Shown && !self.email.is_empty() {
            profile["email"] = json!(self.email);
        }
        let mut user = json!({
            "id": self.id, "team_id": team, "name": self.name, "real_name": self.name,
            "deleted": deleted, "profile": profile, "updated": 1_790_000_000,
            "is_bot": self.kind == Kind::Bot, "is_app_user": false,
        });
        if !deleted {
            let guest = self.kind == Kind::Guest;
            user["tz"] = json!(self.tz);
            user["tz_label"] = json!(self.tz);
            user["tz_offset"] = json!(self.tz_offset_s);
            for role in ["is_admin", "is_owner", "is_primary_owner"] {
                user[role] = json!(false);
            }
            user["is_restricted"] = json!(guest);
            user["is_ultra_restricted"] = json!(false);
            user["is_email_confirmed"] = json!(true);
        }
        if self.kind == Kind::Foreign {
            user["is_stranger"] = json!(true);
        }
        user
    }
}

/// Whether addresses are shown in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Email {
    Shown,
    Hidden,
}

/// Who may find a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Everybody.
    Public,
    /// Its members.
    Private,
    /// One person and the bot.
    Direct,
}

/// Whether a channel still takes messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    Live,
    Archived,
}

/// One conversation.
#[derive(Debug, Clone)]
pub struct Channel {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) visibility: Visibility,
    pub(crate) age: Age,
    pub(crate) members: BTreeSet<String>,
    pub(crate) wants_bot: bool,
}

impl Channel {
    fn new(id: &str, name: &str, visibility: Visibility) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            visibility,
            age: Age::Live,
            members: BTreeSet::new(),
            wants_bot: false,
        }
    }

    /// A public channel.
    pub fn public(id: &str, name: &str) -> Self {
        Self::new(id, name, Visibility::Public)
    }

    /// A private channel.
    pub fn private(id: &str, name: &str) -> Self {
        Self::new(id, name, Visibility::Private)
    }

    pub(crate) fn direct(id: &str, user: &str, bot: &str) -> Self {
        let mut channel = Self::new(id, user, Visibility::Direct);
        channel.members.extend([user.to_owned(), bot.to_owned()]);
        channel
    }

    /// The app's bot is a member.
    pub fn with_bot(mut self) -> Self {
        self.wants_bot = true;
        self
    }

    /// These people are members.
    pub fn members(mut self, users: &[&str]) -> Self {
        self.members.extend(users.iter().map(|it| (*it).to_owned()));
        self
    }

    /// The channel is archived.
    pub fn archived(mut self) -> Self {
        self.age = Age::Archived;
        self
    }

    pub(crate) fn json(&self, team: &str, bot: &str) -> Value {
        if self.visibility == Visibility::Direct {
            return json!({
                "id": self.id, "created": 1_790_000_000, "is_im": true, "is_archived": false,
                "is_org_shared": false, "user": self.name, "is_user_deleted": false,
                "is_open": true, "context_team_id": team, "priority": 0,
            });
        }
        let private = self.visibility == Visibility::Private;
        json!({
            "id": self.id, "name": self.name, "name_normalized": self.name,
            "is_channel": !private, "is_group": private, "is_im": false, "is_mpim": false,
            "is_private": private, "is_archived": self.age == Age::Archived,
            "is_general": false, "is_shared": false, "is_org_shared": false,
            "is_ext_shared": false, "is_member": self.members.contains(bot),
            "created": 1_790_000_000, "creator": "U0ADMIN", "unlinked": 0,
            "context_team_id": team, "num_members": self.members.len(),
            "topic": {"value": "", "creator": "", "last_set": 0},
            "purpose": {"value": "", "creator": "", "last_set": 0},
        })
    }
}

/// A user group.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) id: String,
    pub(crate) handle: String,
    pub(crate) users: Vec<String>,
}

impl Group {
    pub(crate) fn json(&self, team: &str) -> Value {
        json!({
            "id": self.id, "team_id": team, "is_usergroup": true, "is_subteam": true,
            "name": self.handle, "handle": self.handle, "description": "",
            "is_external": false, "date_create": 1_790_000_000, "date_update": 1_790_000_000,
            "date_delete": 0, "auto_type": null, "auto_provision": false,
            "created_by": "U0ADMIN", "updated_by": "U0ADMIN", "deleted_by": null,
            "prefs": {"channels": [], "groups": []}, "user_count": self.users.len(),
        })
    }
}

/// The bot scopes of the manifest.
const SCOPES: [&str; 11] = [
    "commands",
    "chat:write",
    "im:write",
    "users:read",
    "users:read.email",
    "usergroups:read",
    "channels:read",
    "groups:read",
    "reactions:read",
    "app_mentions:read",
    "im:history",
];

/// A workspace with one app installed.
#[derive(Debug, Clone)]
pub struct Workspace {
    pub(crate) team: String,
    pub(crate) domain: String,
    pub(crate) app: String,
    pub(crate) bot_user: String,
    pub(crate) bot_id: String,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) channels: BTreeMap<String, Channel>,
    pub(crate) groups: BTreeMap<String, Group>,
    pub(crate) scopes: BTreeSet<String>,
}

impl Workspace {
    /// An empty workspace in which only our bot lives.
    pub fn new(team: &str) -> Self {
        let bot = User::bot("U0JITBOT", "jit");
        Self {
            team: team.to_owned(),
            domain: "example".to_owned(),
            app: "A0JITAPP1".to_owned(),
            bot_user: bot.id.clone(),
            bot_id: "B0JITBOT1".to_owned(),
            users: BTreeMap::from([(bot.id.clone(), bot)]),
            channels: BTreeMap::new(),
            groups: BTreeMap::new(),
            scopes: SCOPES.iter().map(|it| (*it).to_owned()).collect(),
        }
    }

    /// A small company: ana, bob and cleo, a guest, somebody who left, somebody of elsewhere,
    /// another bot; #security with the bot, #random without it, #old archived.
    pub fn example() -> Self {
        Self::new("T0EXAMPLE1")
            .user(User::member("U0ANA", "ana", "ana@example.com").tz("Europe/Vienna"))
            .user(User::member("U0BOB", "bob", "bob@example.com").tz("America/New_York"))
            .user(User::member("U0CLEO", "cleo", "cleo@example.com").tz("Asia/Tokyo"))
            .user(User::guest("U0GUEST", "gus", "gus@partner.example"))
            .user(User::member("U0GONE", "dan", "dan@example.com").deactivated())
            .user(User::foreign(
                "U0FAR",
                "eve",
                "eve@elsewhere.example",
                "T0ELSEWHR",
            ))
            .user(User::bot("U0OTHERBOT", "otherbot"))
            .channel(
                Channel::public("C0SEC", "security")
                    .with_bot()
                    .members(&["U0ANA", "U0BOB", "U0CLEO"]),
            )
            .channel(
                Channel::public("C0RANDOM", "random")
                    .members(&["U0ANA", "U0BOB", "U0CLEO", "U0GUEST", "U0FAR"]),
            )
            .channel(
                Channel::public("C0OLD", "old")
                    .with_bot()
                    .members(&["U0ANA"])
                    .archived(),
            )
            .group("S0OFFICERS", &["U0BOB"])
    }

    /// Adds or replaces a user.
    pub fn user(mut self, user: User) -> Self {
        self.users.insert(user.id.clone(), user);
        self
    }

    /// Adds or replaces a channel.
    pub fn channel(mut self, mut channel: Channel) -> Self {
        if channel.wants_bot {
            channel.members.insert(self.bot_user.clone());
        }
        self.channels.insert(channel.id.clone(), channel);
        self
    }

    /// Adds or replaces a user group; its handle is its id in small letters.
    pub fn group(mut self, id: &str, users: &[&str]) -> Self {
        let group = Group {
            id: id.to_owned(),
            handle: id.trim_start_matches("S0").to_lowercase(),
            users: users.iter().map(|it| (*it).to_owned()).collect(),
        };
        self.groups.insert(id.to_owned(), group);
        self
    }

    /// Takes a bot scope away.
    pub fn without_scope(mut self, scope: &str) -> Self {
        self.scopes.remove(scope);
        self
    }
}
