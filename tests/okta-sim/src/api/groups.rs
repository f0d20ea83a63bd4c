//! Groups: one, lists, the members of one, and making and ending memberships.
//! <https://developer.okta.com/docs/api/openapi/okta-management/management/tag/Group/>

use serde_json::Value;

use super::page::{Sizes, page};
use super::search::Expression;
use super::{Access, Reply, Request};
use crate::clock::micros;
use crate::directory::{Group, GroupType};
use crate::error::OktaError;
use crate::ledger::{By, What};
use crate::state::State;

/// How many groups are shown if `q` is asked and nothing else is said.
const USUAL_FOR_Q: usize = 300;

/// What `filter` knows of a group.
const FILTERED: [&str; 2] = ["id", "type"];

pub(super) fn get(state: &mut State, request: &Request, id: &str) -> Result<Reply, OktaError> {
    let then = state.seen(request);
    let shown = state.group_at(id, then).map(|it| it.shown(&state.base, id));
    Ok(Reply::ok(shown.ok_or_else(|| no_such_group(id))?))
}

pub(super) fn list(state: &mut State, request: &Request) -> Result<Reply, OktaError> {
    let mut then = state.seen(request);
    let most = state.setup.groups_page_max;
    let mut sizes = Sizes::linked(most);
    let wanted = if let Some(search) = request.parameter("search") {
        then = then.saturating_sub(micros(state.setup.search_lag));
        Wanted::Matching(Expression::search(search).ok_or_else(OktaError::search)?)
    } else if let Some(filter) = request.parameter("filter") {
        then = then.saturating_sub(micros(state.setup.search_lag));
        let parsed = Expression::filter(filter, &FILTERED);
        Wanted::Matching(parsed.ok_or_else(|| OktaError::filter(filter))?)
    } else if let Some(q) = request.parameter("q") {
        then = then.saturating_sub(micros(state.setup.search_lag));
        sizes = Sizes::first_only(most, USUAL_FOR_Q);
        Wanted::Beginning(q.to_lowercase())
    } else {
        Wanted::All
    };
    let ids = (state.groups.iter())
        .filter_map(|(id, versions)| Some((id, versions.at(then)?)))
        .filter(|(id, group)| wanted.takes(id, group))
        .map(|(id, _)| id.clone())
        .collect();
    let page = page(state, request, ids, sizes)?;
    let shown = (page.ids.iter())
        .filter_map(|id| Some(state.group_at(id, then)?.shown(&state.base, id)))
        .collect();
    Ok(Reply {
        links: page.links,
        ..Reply::ok(Value::Array(shown))
    })
}

/// Which groups are meant.
enum Wanted {
    All,
    /// Those whose name begins like this.
    Beginning(String),
    Matching(Expression),
}

impl Wanted {
    fn takes(&self, id: &str, group: &Group) -> bool {
        match self {
            Self::All => true,
            Self::Beginning(q) => group.name.to_lowercase().starts_with(q),
            Self::Matching(expression) => expression.takes(&(id, group)),
        }
    }
}

pub(super) fn members(state: &mut State, request: &Request, id: &str) -> Result<Reply, OktaError> {
    let then = state.seen(request);
    if state.group_at(id, then).is_none() {
        return Err(no_such_group(id));
    }
    let members = state.members_at(id, then).into_iter().collect();
    let most = state.setup.members_page_max;
    let page = page(state, request, members, Sizes::linked(most))?;
    let shown = (page.ids.iter())
        .filter_map(|id| Some(state.user_at(id, then)?.shown(&state.base, id)))
        .collect();
    Ok(Reply {
        links: page.links,
        ..Reply::ok(Value::Array(shown))
    })
}

pub(super) fn join(
    state: &mut State,
    request: &Request,
    access: &Access,
    pair: (&str, &str),
) -> Result<Reply, OktaError> {
    change(state, request, access, pair, What::Joined)
}

pub(super) fn leave(
    state: &mut State,
    request: &Request,
    access: &Access,
    pair: (&str, &str),
) -> Result<Reply, OktaError> {
    change(state, request, access, pair, What::Left)
}

/// Makes or ends a membership. Where there is nothing to do, it is done as well.
fn change(
    state: &mut State,
    request: &Request,
    access: &Access,
    (group, user): (&str, &str),
    what: What,
) -> Result<Reply, OktaError> {
    let found = state.group(group).ok_or_else(|| no_such_group(group))?;
    let kind = found.kind;
    if state.user(user).is_none() {
        return Err(super::users::no_such_user(user));
    }
    match kind {
        GroupType::OktaGroup => {}
        // Whoever asks, an administrator too, hears that it is not for them to do.
        // https://github.com/okta/terraform-provider-okta/pull/118
        GroupType::AppGroup | GroupType::BuiltIn => return Err(OktaError::denied()),
    }
    let by = By::Api(access.token.clone());
    state.change((group, user), what, by, Some(&request.id));
    Ok(Reply::nothing())
}

fn no_such_group(id: &str) -> OktaError {
    OktaError::not_found(id, "UserGroup")
}
