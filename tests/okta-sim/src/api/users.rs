//! Users: one by id or login, lists, and the groups of one.
//! <https://developer.okta.com/docs/api/openapi/okta-management/management/tag/User/>

use serde_json::Value;

use super::page::{Sizes, page};
use super::search::Expression;
use super::{Reply, Request};
use crate::clock::micros;
use crate::directory::{User, UserStatus};
use crate::error::OktaError;
use crate::state::State;

/// How many users there are on a page if `q` is asked and nothing else is said.
const USUAL_FOR_Q: usize = 10;

/// What `filter` knows of a user.
const FILTERED: [&str; 6] = [
    "id",
    "status",
    "profile.login",
    "profile.email",
    "profile.firstName",
    "profile.lastName",
];

pub(super) fn get(state: &mut State, request: &Request, key: &str) -> Result<Reply, OktaError> {
    let then = state.seen(request);
    let id = find(state, key, then)?;
    let shown = state
        .user_at(&id, then)
        .map(|it| it.shown_alone(&state.base, &id));
    Ok(Reply::ok(shown.ok_or_else(|| no_such_user(key))?))
}

pub(super) fn list(state: &mut State, request: &Request) -> Result<Reply, OktaError> {
    let mut then = state.seen(request);
    let most = state.setup.users_page_max;
    let mut sizes = Sizes::linked(most);
    let wanted = if let Some(search) = request.parameter("search") {
        then = then.saturating_sub(micros(state.setup.search_lag));
        Wanted::Matching(Expression::search(search).ok_or_else(OktaError::search)?)
    } else if let Some(filter) = request.parameter("filter") {
        then = then.saturating_sub(micros(state.setup.search_lag));
        let parsed = Expression::filter(filter, &FILTERED);
        Wanted::Matching(parsed.ok_or_else(|| OktaError::filter(filter))?)
    } else if let Some(q) = request.parameter("q") {
        sizes = Sizes::first_only(most, USUAL_FOR_Q);
        Wanted::Beginning(q.to_lowercase())
    } else {
        Wanted::Present
    };
    let ids = (state.users.iter())
        .filter_map(|(id, versions)| Some((id, versions.at(then)?)))
        .filter(|(id, user)| wanted.takes(id, user))
        .map(|(id, _)| id.clone())
        .collect();
    let page = page(state, request, ids, sizes)?;
    let shown = (page.ids.iter())
        .filter_map(|id| Some(state.user_at(id, then)?.shown(&state.base, id)))
        .collect();
    Ok(Reply {
        links: page.links,
        ..Reply::ok(Value::Array(shown))
    })
}

/// Which users are meant.
enum Wanted {
    /// Those who have not been deactivated.
    Present,
    /// Those of them whose name or address begins like this.
    Beginning(String),
    Matching(Expression),
}

impl Wanted {
    fn takes(&self, id: &str, user: &User) -> bool {
        let is_there = user.status != UserStatus::Deprovisioned;
        match self {
            Self::Present => is_there,
            Self::Beginning(q) => {
                let names = ["firstName", "lastName", "email"];
                let is_it = |it: &str| user.text(it).to_lowercase().starts_with(q);
                is_there && names.into_iter().any(is_it)
            }
            Self::Matching(expression) => expression.takes(&(id, user)),
        }
    }
}

pub(super) fn groups(state: &mut State, request: &Request, key: &str) -> Result<Reply, OktaError> {
    let then = state.seen(request);
    let id = find(state, key, then)?;
    let groups = state.groups_at(&id, then).into_iter().collect();
    let most = state.setup.user_groups_page_max.unwrap_or(usize::MAX);
    let page = page(state, request, groups, Sizes::linked(most))?;
    let shown = (page.ids.iter())
        .filter_map(|id| Some(state.group_at(id, then)?.shown(&state.base, id)))
        .collect();
    Ok(Reply {
        links: page.links,
        ..Reply::ok(Value::Array(shown))
    })
}

/// The id of the user who is meant by an id, a login in whatever case, or the part of a login
/// before the `@` where that is one user's alone. A login with a slash in it cannot be asked for.
pub(super) fn find(state: &State, key: &str, then: i64) -> Result<String, OktaError> {
    if state.user_at(key, then).is_some() {
        return Ok(key.to_owned());
    }
    let key_lower = key.to_lowercase();
    let logins: Vec<(&String, String)> = (state.users.iter())
        .filter_map(|(id, versions)| Some((id, versions.at(then)?.text("login").to_lowercase())))
        .collect();
    let whole = logins.iter().find(|(_, login)| *login == key_lower);
    if let Some((id, _)) = whole.filter(|_| !key.contains('/')) {
        return Ok((*id).clone());
    }
    let begins = |login: &str| login.split('@').next() == Some(key_lower.as_str());
    let mut short = logins.iter().filter(|(_, login)| begins(login));
    match (short.next(), short.next()) {
        (Some((id, _)), None) if !key.contains('/') => Ok((*id).clone()),
        _ => Err(no_such_user(key)),
    }
}

pub(super) fn no_such_user(key: &str) -> OktaError {
    OktaError::not_found(key, "User")
}
