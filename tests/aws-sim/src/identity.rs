//! Who there is in the account besides the people of Identity Center: roles, users and sessions, and
//! the inline policies they have had. Nothing is forgotten, so what was true when can be asked.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::clock::micros;
use crate::document::{self, Question};
use crate::state::State;

/// A role, as a test makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name, unique in the account.
    pub name: String,
    /// Its path, such as `/` or `/teams/`.
    pub path: String,
    /// The ARNs that its trust policy names; `*` is everybody.
    pub trusted: Vec<String>,
    /// What its trust policy holds `sts:RoleSessionName` to, as a pattern with `${aws:username}`; none
    /// where whoever assumes it chooses.
    pub session_name: Option<String>,
    /// The longest session of it.
    pub max_session: Duration,
}

impl Role {
    /// A role that everybody may assume for an hour.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: "/".to_owned(),
            trusted: vec!["*".to_owned()],
            session_name: None,
            max_session: Duration::from_secs(3_600),
        }
    }

    /// The same under this path.
    #[must_use]
    pub fn at(mut self, path: &str) -> Self {
        self.path = path.to_owned();
        self
    }

    /// The same, for these ARNs only.
    #[must_use]
    pub fn trusting(mut self, arns: &[&str]) -> Self {
        self.trusted = arns.iter().map(|it| (*it).to_owned()).collect();
        self
    }

    /// The same, with sessions that are called like this only.
    #[must_use]
    pub fn naming(mut self, pattern: &str) -> Self {
        self.session_name = Some(pattern.to_owned());
        self
    }

    /// The same with sessions up to this long.
    #[must_use]
    pub fn lasting(mut self, time: Duration) -> Self {
        self.max_session = time;
        self
    }
}

/// Whether somebody is a role or a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sort {
    Role,
    User,
}

impl Sort {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::User => "user",
        }
    }
}

/// A role or user by its name.
pub(crate) type Who = (Sort, String);

#[derive(Debug, Clone)]
pub(crate) struct Identity {
    pub(crate) path: String,
    /// `AROA…` or `AIDA…`.
    pub(crate) id: String,
    pub(crate) created_at: i64,
    pub(crate) trusted: Vec<String>,
    pub(crate) session_name: Option<String>,
    pub(crate) max_session_s: u64,
}

/// One moment of an inline policy: what it became, nothing where it was deleted.
pub(crate) type Moment = (i64, Option<String>);

/// A session that STS opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The role's name.
    pub role: String,
    /// `AROA…:name`.
    pub assumed_role_id: String,
    /// What it was called.
    pub name: String,
    /// Its credentials.
    pub access_key: String,
    /// The secret of them.
    pub secret: String,
    /// The token of them.
    pub token: String,
    /// Its own policy, if it has one.
    pub policy: Option<String>,
    /// When the credentials end, in microseconds since 1970.
    pub expires_at_micros: i64,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    pub(crate) known: BTreeMap<Who, Identity>,
    pub(crate) policies: BTreeMap<(Who, String), Vec<Moment>>,
    /// By access key.
    pub(crate) sessions: BTreeMap<String, Session>,
}

impl Identities {
    /// The inline policies as they were then.
    pub(crate) fn policies_at(&self, who: &Who, then: i64) -> BTreeMap<&str, &str> {
        let theirs = self.policies.iter().filter(|((of, _), _)| of == who);
        theirs
            .filter_map(|((_, name), moments)| {
                let last = moments.iter().rev().find(|(at, _)| *at <= then);
                let document = last.and_then(|(_, document)| document.as_deref())?;
                Some((name.as_str(), document))
            })
            .collect()
    }
}

/// The letters of unique ids and access keys.
const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

impl State {
    /// So many letters behind a prefix.
    pub(crate) fn draw_id(&mut self, prefix: &str, letters: usize) -> String {
        let mut id = prefix.to_owned();
        for _ in 0..letters {
            let place = usize::try_from(self.draw() % 32).unwrap_or_default();
            let letter = LETTERS.get(place).copied().unwrap_or(b'A');
            id.push(char::from(letter));
        }
        id
    }

    pub(crate) fn add_identity(&mut self, sort: Sort, role: &Role) -> String {
        let who = (sort, role.name.clone());
        if let Some(known) = self.identities.known.get(&who) {
            return known.id.clone();
        }
        let prefix = match sort {
            Sort::Role => "AROA",
            Sort::User => "AIDA",
        };
        let id = self.draw_id(prefix, 17);
        let identity = Identity {
            path: role.path.clone(),
            id: id.clone(),
            created_at: self.moment,
            trusted: role.trusted.clone(),
            session_name: role.session_name.clone(),
            max_session_s: role.max_session.as_secs(),
        };
        self.identities.known.insert(who, identity);
        id
    }

    pub(crate) fn arn(&self, who: &Who) -> String {
        let path = self.identities.known.get(who);
        let path = path.map_or("/", |it| it.path.as_str());
        let account = &self.setup.management_account;
        format!("arn:aws:iam::{account}:{}{path}{}", who.0.word(), who.1)
    }

    /// Makes an inline policy so, or gone, from now on.
    pub(crate) fn set_policy(&mut self, who: &Who, name: &str, document: Option<&str>) {
        let moment = (self.moment, document.map(str::to_owned));
        let key = (who.clone(), name.to_owned());
        self.identities
            .policies
            .entry(key)
            .or_default()
            .push(moment);
    }

    /// The inline policies that a read shows now.
    pub(crate) fn policies_read(&self, who: &Who) -> BTreeMap<&str, &str> {
        let then = self.moment.saturating_sub(micros(self.setup.iam_reads_lag));
        self.identities.policies_at(who, then)
    }

    /// The inline policies as they are kept, whatever reads show.
    pub(crate) fn policies_kept(&self, who: &Who) -> BTreeMap<&str, &str> {
        self.identities.policies_at(who, i64::MAX)
    }

    /// Whether the inline policies of a role or user let them do this at that time. A user, and a
    /// session of a role, are told apart by `aws:userid`.
    pub(crate) fn is_allowed(
        &self,
        who: &Who,
        session_name: Option<&str>,
        mut question: Question<'_>,
    ) -> bool {
        let Some(identity) = self.identities.known.get(who) else {
            return false;
        };
        let user_id = match session_name {
            Some(session) => format!("{}:{session}", identity.id),
            None => identity.id.clone(),
        };
        question.context.insert("aws:userid".to_owned(), user_id);
        if who.0 == Sort::User {
            let name = who.1.clone();
            question.context.insert("aws:username".to_owned(), name);
        }
        let lag = micros(self.setup.iam_effects_lag);
        let then = question.at.saturating_sub(lag);
        let documents = self.identities.policies_at(who, then);
        document::allow(documents.into_values(), &question)
    }

    /// Whether a session may do this at that time: by its role and by its own policy.
    pub(crate) fn session_allows(&self, session: &Session, question: Question<'_>) -> bool {
        let own = session.policy.as_deref();
        let mut own_question = Question {
            context: question.context.clone(),
            ..question
        };
        let user_id = session.assumed_role_id.clone();
        own_question
            .context
            .insert("aws:userid".to_owned(), user_id);
        let by_policy = own.is_none_or(|policy| document::allow([policy], &own_question));
        let role = (Sort::Role, session.role.clone());
        question.at < session.expires_at_micros
            && by_policy
            && self.is_allowed(&role, Some(&session.name), question)
    }
}

/// `role/NAME` or `user/NAME`.
pub(crate) fn who(text: &str) -> Option<Who> {
    let (sort, name) = text.split_once('/')?;
    let sort = match sort {
        "role" => Sort::Role,
        "user" => Sort::User,
        _ => return None,
    };
    Some((sort, name.to_owned()))
}
