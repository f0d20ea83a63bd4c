//! Okta's Core API behind one door: what a request asks for, whether its token may, and doing it.

mod groups;
mod oauth;
mod page;
mod search;
mod users;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{Fault, OktaError, Refusal};
use crate::limits::Family;
use crate::pagerduty;
use crate::setup::Scope;
use crate::state::State;

/// What can be asked for, by the names of Okta's own definition of its API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Operation {
    /// `GET /.well-known/okta-organization`
    Organization,
    /// `POST /oauth2/v1/token`
    Token,
    /// `GET /api/v1/users`
    ListUsers,
    /// `GET /api/v1/users/{id or login}`
    GetUser,
    /// `GET /api/v1/users/{id or login}/groups`
    ListUserGroups,
    /// `GET /api/v1/groups`
    ListGroups,
    /// `GET /api/v1/groups/{id}`
    GetGroup,
    /// `GET /api/v1/groups/{id}/users`
    ListGroupUsers,
    /// `PUT /api/v1/groups/{id}/users/{id}`
    AddUserToGroup,
    /// `DELETE /api/v1/groups/{id}/users/{id}`
    RemoveUserFromGroup,
    /// PagerDuty's `GET /oncalls`
    ListOnCalls,
    /// PagerDuty's `GET /users/{id}`
    GetPagerDutyUser,
    /// PagerDuty's `POST /v2/enqueue`
    EnqueueEvent,
}

/// A request that was read.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path without its query.
    pub(crate) path: String,
    pub(crate) query: Vec<(String, String)>,
    /// The path with its query, as it was sent.
    pub(crate) target: String,
    pub(crate) body: String,
    pub(crate) authorization: String,
    pub(crate) content_type: String,
    /// What the answer is known by.
    pub(crate) id: String,
}

impl Request {
    /// Everything that a rule may be about.
    pub(crate) fn text(&self) -> String {
        format!("{}\n{}", self.target, self.body)
    }

    pub(crate) fn operation(&self) -> Option<Operation> {
        Some(Wanted::of(self).ok()?.operation())
    }

    /// The path below PagerDuty's, if it is meant.
    fn pagerduty(&self) -> Option<&str> {
        let below = self.path.strip_prefix("/pagerduty")?;
        below.starts_with('/').then_some(below)
    }

    /// Whether Okta is meant, whose limit on concurrent calls counts it.
    pub(crate) fn is_oktas(&self) -> bool {
        self.pagerduty().is_none()
    }

    /// Which bucket it is taken out of, if there is one.
    pub(crate) fn family(&self) -> Option<Family> {
        match self.operation() {
            Some(operation) => operation.family(),
            None if self.path.starts_with("/api/v1/") => Some(Family::Other),
            None => None,
        }
    }

    /// What a fault of the vendor is like, in its words.
    pub(crate) fn fault(&self, fault: Fault) -> Refusal {
        match self.pagerduty() {
            Some(path) => pagerduty::fault(path, fault).into(),
            None => OktaError::of(fault).into(),
        }
    }

    /// The first value of a query parameter; an empty one is none.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.as_str())
            .filter(|it| !it.is_empty())
    }
}

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Organization,
    Token,
    Users,
    User(String),
    UserGroups(String),
    Groups,
    Group(String),
    Members(String),
    Join(String, String),
    Leave(String, String),
    PagerDuty(pagerduty::Wanted),
}

impl Wanted {
    fn of(request: &Request) -> Result<Self, Refusal> {
        if let Some(path) = request.pagerduty() {
            let wanted = pagerduty::Wanted::of(&request.method, path)?;
            return Ok(Self::PagerDuty(wanted));
        }
        let path = request.path.trim_matches('/');
        let parts: Vec<String> = path.split('/').map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let owned = |it: &&str| (*it).to_owned();
        let wanted = match (request.method.as_str(), parts.as_slice()) {
            ("GET", [".well-known", "okta-organization"]) => Self::Organization,
            ("POST", ["oauth2", "v1", "token"]) => Self::Token,
            ("GET", ["api", "v1", "users"]) => Self::Users,
            ("GET", ["api", "v1", "users", user]) => Self::User(owned(user)),
            ("GET", ["api", "v1", "users", user, "groups"]) => Self::UserGroups(owned(user)),
            ("GET", ["api", "v1", "groups"]) => Self::Groups,
            ("GET", ["api", "v1", "groups", group]) => Self::Group(owned(group)),
            ("GET", ["api", "v1", "groups", group, "users"]) => Self::Members(owned(group)),
            ("PUT", ["api", "v1", "groups", group, "users", user]) => {
                Self::Join(owned(group), owned(user))
            }
            ("DELETE", ["api", "v1", "groups", group, "users", user]) => {
                Self::Leave(owned(group), owned(user))
            }
            (
                _,
                [".well-known", "okta-organization"]
                | ["oauth2", "v1", "token"]
                | ["api", "v1", "users" | "groups"]
                | ["api", "v1", "users" | "groups", _]
                | ["api", "v1", "users", _, "groups"]
                | ["api", "v1", "groups", _, "users"]
                | ["api", "v1", "groups", _, "users", _],
            ) => return Err(OktaError::no_method().into()),
            _ => return Err(OktaError::no_path().into()),
        };
        Ok(wanted)
    }

    fn operation(&self) -> Operation {
        match self {
            Self::Organization => Operation::Organization,
            Self::Token => Operation::Token,
            Self::Users => Operation::ListUsers,
            Self::User(_) => Operation::GetUser,
            Self::UserGroups(_) => Operation::ListUserGroups,
            Self::Groups => Operation::ListGroups,
            Self::Group(_) => Operation::GetGroup,
            Self::Members(_) => Operation::ListGroupUsers,
            Self::Join(..) => Operation::AddUserToGroup,
            Self::Leave(..) => Operation::RemoveUserFromGroup,
            Self::PagerDuty(wanted) => wanted.operation(),
        }
    }
}

impl Operation {
    /// Which bucket its calls are taken out of; what is for anybody has none.
    fn family(self) -> Option<Family> {
        match self {
            Self::Organization | Self::EnqueueEvent => None,
            Self::ListOnCalls | Self::GetPagerDutyUser => Some(Family::PagerDuty),
            Self::Token => Some(Family::Token),
            Self::ListUsers => Some(Family::Users),
            Self::GetUser => Some(Family::User),
            Self::ListGroups => Some(Family::Groups),
            Self::GetGroup => Some(Family::Group),
            Self::ListUserGroups
            | Self::ListGroupUsers
            | Self::AddUserToGroup
            | Self::RemoveUserFromGroup => Some(Family::Other),
        }
    }

    /// What a token needs for it; nothing, where none is asked for.
    fn scope(self) -> Option<Scope> {
        match self {
            Self::Organization
            | Self::Token
            | Self::ListOnCalls
            | Self::GetPagerDutyUser
            | Self::EnqueueEvent => None,
            Self::ListUsers | Self::GetUser | Self::ListUserGroups => Some(Scope::UsersRead),
            Self::ListGroups | Self::GetGroup | Self::ListGroupUsers => Some(Scope::GroupsRead),
            Self::AddUserToGroup | Self::RemoveUserFromGroup => Some(Scope::GroupsManage),
        }
    }
}

/// What a call may do, and by which token: an API token's id, or a service app's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) token: String,
    pub(crate) scopes: BTreeSet<Scope>,
}

/// An answer that is no error.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Option<Value>,
    /// The values of the `Link` headers.
    pub(crate) links: Vec<String>,
}

impl Reply {
    pub(crate) fn ok(body: Value) -> Self {
        Self {
            status: 200,
            body: Some(body),
            links: Vec::new(),
        }
    }

    /// 204.
    fn nothing() -> Self {
        Self {
            status: 204,
            body: None,
            links: Vec::new(),
        }
    }
}

/// Whether whoever calls may have what is asked for. `None` is nobody, who may ask for some.
pub(crate) fn admit(state: &State, request: &Request) -> Result<Option<Access>, Refusal> {
    match Wanted::of(request)? {
        Wanted::PagerDuty(wanted) => Ok(wanted.admit(state, request)?),
        wanted => match wanted.operation().scope() {
            Some(needed) => Ok(Some(admit_for(needed, state, request)?)),
            None => Ok(None),
        },
    }
}

/// Whether whoever calls has a token that is good for this.
fn admit_for(needed: Scope, state: &State, request: &Request) -> Result<Access, OktaError> {
    let challenge = |error: &str, description: &str| {
        let base = &state.base;
        format!(
            "Bearer authorization_uri=\"{base}/oauth2/v1/authorize\", realm=\"{base}\", \
             scope=\"{}\", error=\"{error}\", error_description=\"{description}\", \
             resource=\"{}\"",
            needed.name(),
            request.path
        )
    };
    let allows = |access: &Access| access.scopes.iter().any(|it| it.includes(needed));
    match request.authorization.split_once(' ') {
        Some(("SSWS", secret)) => {
            let token = state.tokens.values().find(|it| it.secret == secret);
            let access = token.map(|it| Access {
                token: it.id.clone(),
                scopes: it.scopes.clone(),
            });
            let access = access.ok_or_else(OktaError::token)?;
            if !allows(&access) {
                return Err(OktaError::denied());
            }
            Ok(access)
        }
        Some(("Bearer", secret)) => {
            let known = state.accesses.get(secret);
            let Some((access, _)) = known.filter(|(_, until)| state.moment < *until) else {
                let why = challenge(
                    "invalid_token",
                    "The access token is invalid or has expired.",
                );
                return Err(OktaError::token().challenged(why));
            };
            if !allows(access) {
                let why = "The access token provided does not contain the required scopes.";
                return Err(OktaError::denied().challenged(challenge("insufficient_scope", why)));
            }
            Ok(access.clone())
        }
        Some(_) => Err(OktaError::token()),
        None => Err(OktaError::session()),
    }
}

/// Does what was asked for, as of the state's moment.
pub(crate) fn run(state: &mut State, request: &Request, access: &Access) -> Result<Reply, Refusal> {
    let reply = match Wanted::of(request)? {
        Wanted::Organization => Reply::ok(organization(state)),
        Wanted::Token => return oauth::token(state, request),
        Wanted::Users => users::list(state, request)?,
        Wanted::User(user) => users::get(state, request, &user)?,
        Wanted::UserGroups(user) => users::groups(state, request, &user)?,
        Wanted::Groups => groups::list(state, request)?,
        Wanted::Group(group) => groups::get(state, request, &group)?,
        Wanted::Members(group) => groups::members(state, request, &group)?,
        Wanted::Join(group, user) => groups::join(state, request, access, (&group, &user))?,
        Wanted::Leave(group, user) => groups::leave(state, request, access, (&group, &user))?,
        Wanted::PagerDuty(wanted) => pagerduty::run(state, request, &wanted)?,
    };
    Ok(reply)
}

/// What the organization says of itself to anybody.
/// <https://developer.okta.com/docs/api/openapi/okta-management/management/tag/OrgSettingMetadata/>
fn organization(state: &State) -> Value {
    let base = &state.base;
    json!({
        "id": state.organization(), "pipeline": "idx",
        "_links": {"organization": {"href": base}},
    })
}

/// A part of a path without its percent signs. A plus sign is one there.
fn decoded(part: &str) -> String {
    let query = part
        .replace('+', "%2B")
        .replace('&', "%26")
        .replace('=', "%3D");
    let pairs = form_urlencoded::parse(query.as_bytes());
    pairs.map(|(name, _)| name.into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::decoded;

    #[test]
    fn a_login_in_a_path_is_read_as_it_was_meant() {
        assert_eq!(decoded("ana%2Btest%40example.com"), "ana+test@example.com");
        assert_eq!(decoded("ana+test@example.com"), "ana+test@example.com");
        assert_eq!(decoded("ana%20b"), "ana b");
        assert_eq!(decoded("a%2Fb"), "a/b");
    }
}
