//! Whoever is on call by a schedule or by an escalation policy, as PagerDuty works it out.
//! <https://developer.pagerduty.com/api-reference/3a6b910f11050-list-all-of-the-on-calls>

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::ports::{PortError, Rota};
use jit_core::principal::PrincipalId;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};

use crate::address::Address;
use crate::trouble::{Operation, Trouble};
use crate::wire;

/// The longest that it takes to find out who is on call; the contract allows 3 s.
pub(crate) const DEADLINE: Duration = Duration::from_millis(2_900);
/// Entries on a page, as many as PagerDuty gives.
/// Source: <https://developer.pagerduty.com/docs/rest-api-v2/pagination/>
const PAGE: usize = 100;
/// The most pages that are read: whoever has more people on call at once than that means something
/// else by it.
const PAGES: usize = 10;
/// The version of the API that these shapes are of.
/// Source: <https://github.com/PagerDuty/developer-docs/blob/main/docs/REST-API/03-Versioning.md>
const VERSION: &str = "application/vnd.pagerduty+json;version=2";

/// The id of something at PagerDuty, such as `PI7DH85`: the last part of its address in the browser.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

/// A text that is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id of PagerDuty is 1 to 40 letters and digits, as in PI7DH85")]
pub struct BadId;

impl FromStr for Id {
    type Err = BadId;
    fn from_str(text: &str) -> Result<Self, BadId> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match (1..=40).contains(&text.len()) && is_plain {
            true => Ok(Self(text.to_owned())),
            false => Err(BadId),
        }
    }
}

impl TryFrom<String> for Id {
    type Error = BadId;
    fn try_from(text: String) -> Result<Self, BadId> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What somebody is on call by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Duty {
    /// A schedule. One that stands in no escalation policy calls nobody.
    Schedule(Id),
    /// An escalation policy, whoever its levels name.
    EscalationPolicy(Id),
}

/// How many levels of an escalation policy count as being called first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Levels {
    /// The first one, which is what the port asks for.
    #[default]
    First,
    /// The second one as well, where an organization means both by its rota.
    FirstAndSecond,
}

impl Levels {
    fn count(self, level: u32) -> bool {
        match self {
            Self::First => level == 1,
            Self::FirstAndSecond => level == 1 || level == 2,
        }
    }
}

/// Which rota, and how it is asked for.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A key of the REST API; one that may only read is enough.
    pub token: SecretString,
    /// Where the REST API is: [`Address::of_api`], or that of another region.
    pub api: Address,
    /// What people are on call by.
    pub duty: Duty,
    /// Which of its levels count.
    pub levels: Levels,
}

/// Who is on call, by their e-mail addresses in lower case.
pub struct PagerDuty {
    client: Client,
    settings: Settings,
    deadline: Duration,
}

impl fmt::Debug for PagerDuty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PagerDuty")
            .field("duty", &self.settings.duty)
            .field("levels", &self.settings.levels)
            .finish_non_exhaustive()
    }
}

impl PagerDuty {
    /// The rota of these settings. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Misconfigured`](jit_core::ports::ErrorKind::Misconfigured) where the key cannot be one, or
    /// where no HTTPS client can be made, for example for want of root certificates.
    pub fn rota(settings: Settings) -> Result<Self, PortError> {
        Self::with_deadline(settings, DEADLINE)
    }

    pub(crate) fn with_deadline(settings: Settings, deadline: Duration) -> Result<Self, PortError> {
        let made = authorization(&settings.token)
            .and_then(|_| wire::client(&settings.api, deadline))
            .map_err(|trouble| trouble.during(Operation::WhoIsOnCall))?;
        Ok(Self {
            client: made,
            settings,
            deadline,
        })
    }

    async fn found(&self, at: Timestamp) -> Result<BTreeSet<PrincipalId>, Trouble> {
        let mut people = BTreeSet::new();
        let mut nameless = 0_usize;
        for page in 0..PAGES {
            let read = self.page(at, page * PAGE).await?;
            for entry in &read.oncalls {
                self.is_asked_for(entry)?;
                if !self.settings.levels.count(entry.escalation_level) || !entry.is_on(at) {
                    continue;
                }
                match entry.user.as_ref().and_then(User::name) {
                    Some(name) => drop(people.insert(name)),
                    None => {
                        nameless += 1;
                        let user = entry.user.as_ref().and_then(|user| user.id.as_ref());
                        tracing::warn!(
                            pagerduty.user = user.map(tracing::field::display),
                            "somebody on call has no e-mail address that can be a name here"
                        );
                    }
                }
            }
            match read.more {
                false if people.is_empty() && nameless > 0 => return Err(Trouble::Nameless),
                false => return Ok(people),
                true if read.oncalls.is_empty() => {
                    return Err(Trouble::Garbage("a page is empty and not the last one"));
                }
                true => {}
            }
        }
        Err(Trouble::Garbage("there are more pages than a rota has"))
    }

    async fn page(&self, at: Timestamp, offset: usize) -> Result<Page, Trouble> {
        // PagerDuty writes times in whole seconds. A window of one second has every shift that this
        // instant is in, however ends that touch are counted there; `is_on` says who it really is.
        let since = Timestamp::from_unix_micros(at.unix_micros().div_euclid(1_000_000) * 1_000_000);
        let until = since + Duration::from_secs(1);
        let (filter, id) = match &self.settings.duty {
            Duty::Schedule(id) => ("schedule_ids[]", id),
            Duty::EscalationPolicy(id) => ("escalation_policy_ids[]", id),
        };
        let query = [
            (filter, id.to_string()),
            ("include[]", "users".to_owned()),
            ("since", since.to_string()),
            ("until", until.to_string()),
            ("limit", PAGE.to_string()),
            ("offset", offset.to_string()),
        ];
        let call = (self.client.get(self.settings.api.at("/oncalls")))
            .header(ACCEPT, VERSION)
            .header(AUTHORIZATION, authorization(&self.settings.token)?)
            .query(&query);
        let page: Page = wire::read(wire::sent(call, StatusCode::OK).await?).await?;
        match page.offset {
            Some(other) if other != offset => Err(Trouble::Garbage("it is another page")),
            _ => Ok(page),
        }
    }

    /// Whoever is on call for something else is no answer: a filter that was not understood would
    /// name everybody who is on call for anything.
    fn is_asked_for(&self, entry: &Entry) -> Result<(), Trouble> {
        let (wanted, found) = match &self.settings.duty {
            Duty::Schedule(id) => (id, &entry.schedule),
            Duty::EscalationPolicy(id) => (id, &entry.escalation_policy),
        };
        match found {
            Some(found) if found.id == *wanted => Ok(()),
            _ => Err(Trouble::Garbage("it is about something else")),
        }
    }
}

#[async_trait]
impl Rota for PagerDuty {
    async fn on_call(&self, at: Timestamp) -> Result<BTreeSet<PrincipalId>, PortError> {
        let found = tokio::time::timeout(self.deadline, self.found(at)).await;
        let found = found.unwrap_or(Err(Trouble::Timeout));
        found.map_err(|trouble| trouble.during(Operation::WhoIsOnCall))
    }
}

/// Source: <https://github.com/PagerDuty/developer-docs/blob/main/docs/REST-API/02-Authentication.md>
fn authorization(token: &SecretString) -> Result<HeaderValue, Trouble> {
    let token = token.expose_secret();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Trouble::BadToken);
    }
    let value = HeaderValue::from_str(&format!("Token token={token}"));
    let mut value = value.map_err(|_| Trouble::BadToken)?;
    value.set_sensitive(true);
    Ok(value)
}

/// A page of `GET /oncalls`, as far as it matters.
#[derive(Deserialize)]
struct Page {
    oncalls: Vec<Entry>,
    offset: Option<usize>,
    more: bool,
}

/// That somebody is on call, for a time.
#[derive(Deserialize)]
struct Entry {
    escalation_level: u32,
    /// Since ever, if it is null. It must be there: what is missing is no beginning.
    #[serde(deserialize_with = "null_or")]
    start: Option<Timestamp>,
    /// For ever, if it is null.
    #[serde(deserialize_with = "null_or")]
    end: Option<Timestamp>,
    user: Option<User>,
    schedule: Option<Reference>,
    escalation_policy: Option<Reference>,
}

#[derive(Deserialize)]
struct Reference {
    id: Id,
}

#[derive(Deserialize)]
struct User {
    id: Option<Id>,
    email: Option<String>,
}

/// A value that may be null and may not be missing.
fn null_or<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    Option::deserialize(from)
}

impl Entry {
    fn is_on(&self, at: Timestamp) -> bool {
        self.start.is_none_or(|start| start <= at) && self.end.is_none_or(|end| at < end)
    }
}

impl User {
    /// Their e-mail address as a name, where it can be one. A colon would make another kind of name
    /// of it, such as that of a program.
    fn name(&self) -> Option<PrincipalId> {
        let address = self.email.as_deref()?.trim();
        let (local, domain) = address.split_once('@')?;
        let is_address = !local.is_empty()
            && !domain.is_empty()
            && !domain.contains('@')
            && !address.contains(':');
        is_address.then(|| address.parse().ok()).flatten()
    }
}
