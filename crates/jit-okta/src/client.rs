//! One organization: how it is asked. Everything that is asked waits for its turn, bears the token,
//! and what the answer teaches is kept for the next. What is made of answers is decided elsewhere.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::catalog::ProviderName;
use jit_core::ports::{Clock, Effect, Purpose};
use jit_wire::{Gate, Passage, Wire};
use reqwest::{Method, StatusCode, Url};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::answer::Answer;
use crate::budget::{Budget, Counted};
use crate::pages::Pages;
use crate::shapes::{Group, Organization, User, check_name, is_organization_id};
use crate::token::Tokens;
use crate::trouble::{NotDone, Reason, Trouble};
use crate::wire;

/// How many users a page has: Okta recommends 200 ("List all member users").
pub(crate) const PAGE_SIZE: &str = "200";

/// A client of one Okta organization; behind an [`Arc`] the groups that access is given by and the
/// directory of people are made from it.
pub struct Okta {
    pub(crate) provider: ProviderName,
    pub(crate) residual: Duration,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) origin: Url,
    pub(crate) budget: Budget,
    pub(crate) tokens: Tokens,
    pub(crate) wire: Wire,
    /// The id of the organization, asked for once.
    pub(crate) organization: std::sync::OnceLock<String>,
}

impl fmt::Debug for Okta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Okta")
            .field("provider", &self.provider)
            .field("origin", &self.origin.as_str())
            .finish_non_exhaustive()
    }
}

/// What a call changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Join,
    Leave,
}

impl Change {
    fn purpose(self) -> Purpose {
        match self {
            Self::Join => Purpose::Give,
            Self::Leave => Purpose::TakeAway,
        }
    }
}

impl Okta {
    /// An address of the organization; whatever is in a part of it stays in that part.
    fn url(&self, parts: &[&str]) -> Url {
        let mut url = self.origin.clone();
        url.path_segments_mut()
            .expect("an https address has a path")
            .clear()
            .extend(parts);
        url
    }

    /// Asks for something, once more where the token was not accepted and another one may be.
    async fn get(
        &self,
        purpose: Purpose,
        what: Counted,
        action: &'static str,
        url: &Url,
    ) -> Result<Answer, Trouble> {
        let mut refusals = 0;
        loop {
            let turn = self.budget.turn(purpose, what).await;
            let _turn = turn.map_err(Trouble::Busy)?;
            let bearer = self.tokens.bearer(&self.wire, self.clock.as_ref()).await?;
            let answer = wire::get(&self.wire, action, url.clone(), Some(&bearer)).await?;
            match self.judged(purpose, what, action, &answer, StatusCode::OK) {
                Ok(()) => return Ok(answer),
                Err(not_done) => {
                    let another = not_done.reason() == Reason::Token
                        && self.tokens.refused(&bearer)
                        && refusals == 0;
                    if !another {
                        return Err(not_done.into());
                    }
                    refusals += 1;
                }
            }
        }
    }

    /// What an answer means, and what it teaches.
    fn judged(
        &self,
        purpose: Purpose,
        what: Counted,
        action: &'static str,
        answer: &Answer,
        wanted: StatusCode,
    ) -> Result<(), Box<NotDone>> {
        let counters = answer.counters(self.clock.now());
        self.budget.learn(what, &counters);
        if answer.status == wanted {
            return Ok(());
        }
        let not_done = NotDone::answered(action, answer, counters.reset_in);
        if let Reason::Throttled(wait) = not_done.reason() {
            self.budget.pause(purpose, wait);
        }
        Err(not_done)
    }

    /// One page of a list, and where the next one is said to be.
    async fn page<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        what: Counted,
        action: &'static str,
        url: &Url,
    ) -> Result<(Vec<T>, Option<String>), Trouble> {
        let answer = self.get(purpose, what, action, url).await?;
        let next = answer.next().map(str::to_owned);
        Ok((answer.json()?, next))
    }

    /// The user of this id or login, if there is one, and no one else.
    pub(crate) async fn user(&self, purpose: Purpose, name: &str) -> Result<User, Trouble> {
        let url = self.url(&["api", "v1", "users", check_name(name)?]);
        let answer = self.get(purpose, Counted::User, "find the user", &url);
        let answer = answer.await.map_err(|trouble| match trouble {
            trouble if trouble.is_not_found() => Trouble::NoSuchUser,
            trouble => trouble,
        })?;
        let user: User = answer.json()?;
        match user.is_called(name) {
            true => Ok(user),
            false => Err(Trouble::OtherUser),
        }
    }

    /// The group of this id.
    pub(crate) async fn group(&self, purpose: Purpose, id: &str) -> Result<Group, Trouble> {
        let url = self.url(&["api", "v1", "groups", id]);
        let answer = self.get(purpose, Counted::Group, "find the group", &url);
        let answer = answer.await.map_err(|trouble| match trouble {
            trouble if trouble.is_not_found() => Trouble::NoSuchGroup(id.to_owned()),
            trouble => trouble,
        })?;
        let group: Group = answer.json()?;
        match group.id == id {
            true => Ok(group),
            false => Err(Trouble::NoSuchGroup(id.to_owned())),
        }
    }

    /// The ids of the groups that a user is in; none where Okta has no such user.
    pub(crate) async fn groups_of(
        &self,
        purpose: Purpose,
        user: &str,
    ) -> Result<Option<HashSet<String>>, Trouble> {
        let list = self.url(&["api", "v1", "users", check_name(user)?, "groups"]);
        let (what, action) = (Counted::UserGroups, "list the groups of a user");
        let mut pages = Pages::of(list.clone());
        let mut found = HashSet::new();
        let mut at = Some(list);
        while let Some(url) = at {
            let page = self.page::<Group>(purpose, what, action, &url).await;
            let (groups, next) = match page {
                Err(trouble) if trouble.is_not_found() => return Ok(None),
                page => page?,
            };
            found.extend(groups.into_iter().map(|group| group.id));
            at = pages.turn(next.as_deref())?;
        }
        Ok(Some(found))
    }

    /// Where the list of a group's members begins.
    pub(crate) fn members_url(&self, group: &str) -> Url {
        let mut url = self.url(&["api", "v1", "groups", group, "users"]);
        url.query_pairs_mut().append_pair("limit", PAGE_SIZE);
        url
    }

    /// One page of a group's members, whatever their status, and where the next one is said to be.
    pub(crate) async fn members_page(
        &self,
        purpose: Purpose,
        url: &Url,
    ) -> Result<(Vec<User>, Option<String>), Trouble> {
        let action = "list the members of a group";
        self.page(purpose, Counted::Members, action, url).await
    }

    /// The users, whatever their status, of whom an attribute of the profile has one of these values
    /// without regard to case. What is found lags behind what is true ("List all users").
    pub(crate) async fn search(
        &self,
        purpose: Purpose,
        attribute: &str,
        values: &[&str],
    ) -> Result<Vec<User>, Trouble> {
        let literal = |value: &&str| {
            let literal = serde_json::to_string(value).expect("a text is always written");
            format!("profile.{attribute} eq {literal}")
        };
        let wanted: Vec<String> = values.iter().map(literal).collect();
        let mut list = self.url(&["api", "v1", "users"]);
        list.query_pairs_mut()
            .append_pair("search", &wanted.join(" or "))
            .append_pair("limit", PAGE_SIZE);
        let mut pages = Pages::of(list.clone());
        let mut found = Vec::new();
        let mut at = Some(list);
        while let Some(url) = at {
            let page = self.page(purpose, Counted::Search, "search for users", &url);
            let (users, next) = page.await?;
            found.extend::<Vec<User>>(users);
            at = pages.turn(next.as_deref())?;
        }
        Ok(found)
    }

    /// The id of the organization, found out once. Nobody waits for another who asks: what ends access
    /// would wait for what gives it.
    pub(crate) async fn organization(&self, purpose: Purpose) -> Result<&str, Trouble> {
        if let Some(known) = self.organization.get() {
            return Ok(known);
        }
        let found = self.organization_now(purpose).await?;
        Ok(self.organization.get_or_init(|| found))
    }

    /// The id of the organization that answers at this address now.
    pub(crate) async fn organization_now(&self, purpose: Purpose) -> Result<String, Trouble> {
        const ACTION: &str = "say which organization it is";
        let what = Counted::Organization;
        let turn = self.budget.turn(purpose, what).await;
        let _turn = turn.map_err(Trouble::Busy)?;
        let url = self.url(&[".well-known", "okta-organization"]);
        // Everybody may ask this, so that the token is not shown to whoever answers.
        let answer = wire::get(&self.wire, ACTION, url, None).await?;
        self.judged(purpose, what, ACTION, &answer, StatusCode::OK)?;
        let organization: Organization = answer.json()?;
        match is_organization_id(&organization.id) {
            true => Ok(organization.id),
            false => Err(Trouble::Unreadable { line: 0, column: 0 }),
        }
    }

    /// Makes a user join or leave a group: one call, over a connection of its own, that is sent only
    /// while its time is not over. It is given up at `until`.
    pub(crate) async fn change(
        &self,
        change: Change,
        (group, user): (&str, &str),
        send_before: Timestamp,
        until: Instant,
    ) -> Result<(), Trouble> {
        let gate = Gate::new(Arc::clone(&self.clock), send_before);
        let changed = self.changed(change, group, user, &gate);
        let changed = tokio::time::timeout_at(until, changed).await;
        changed.unwrap_or_else(|_| {
            Err(Trouble::NoAnswer(match gate.passage() {
                Passage::NotReached | Passage::TooLate => Effect::None,
                Passage::Through => Effect::Unknown,
            }))
        })
    }

    async fn changed(
        &self,
        change: Change,
        group: &str,
        user: &str,
        gate: &Gate,
    ) -> Result<(), Trouble> {
        let (purpose, what) = (change.purpose(), Counted::Membership);
        let (method, action) = match change {
            Change::Join => (Method::PUT, "add the user to the group"),
            Change::Leave => (Method::DELETE, "remove the user from the group"),
        };
        let url = self.url(&["api", "v1", "groups", group, "users", check_name(user)?]);
        let turn = self.budget.turn(purpose, what).await;
        let _turn = turn.map_err(Trouble::Busy)?;
        let bearer = self.tokens.bearer(&self.wire, self.clock.as_ref()).await?;
        if gate.is_late() {
            return Err(Trouble::TooLate);
        }
        let answer = wire::send_once(&self.wire, action, method, url, &bearer, gate);
        let answer = answer.await?;
        let judged = self.judged(purpose, what, action, &answer, StatusCode::NO_CONTENT);
        judged.map_err(|not_done| {
            // It is not sent again here, whatever the token; the next call has another one.
            let another = not_done.reason() == Reason::Token && self.tokens.refused(&bearer);
            match another {
                true => not_done.worth_another_token().into(),
                false => not_done.into(),
            }
        })
    }
}
