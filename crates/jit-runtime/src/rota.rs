//! Who is on call: the rota that is written in the configuration, and the directory that knows
//! whoever is on call as members of a group. What a rota is worth is the policy's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join, join_all, try_join_all};
use jit_core::Timestamp;
use jit_core::policy::Hours;
use jit_core::ports::{Clock, Directory, PROFILE_REMEMBERED_FOR, PortError, Rota};
use jit_core::principal::{GroupName, PrincipalId, Profile};
use serde::{Deserialize, Serialize};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, Weekday};

/// How old an answer of a rota may be for whoever only looks.
const LATELY: Duration = Duration::from_secs(60);
const DAY: &[BorrowedFormatItem<'static>] = format_description!("[year]-[month]-[day]");

/// The first day of a week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Monday(i64);

impl FromStr for Monday {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "write the date of a Monday, as in 2026-11-23";
        let date = Date::parse(text, DAY).map_err(|_| wrong)?;
        if date.weekday() != Weekday::Monday {
            return Err(wrong);
        }
        // Counted like the days of Hours.
        let epoch = time::OffsetDateTime::UNIX_EPOCH.date();
        Ok(Self((date - epoch).whole_days()))
    }
}

/// Hours of every week, and who has them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shift {
    /// When.
    pub hours: Hours,
    /// Who.
    pub people: Vec<PrincipalId>,
    /// They take turns, a week each; the first of them has the week that begins on this day. Where
    /// unset all of them are on call together.
    pub turns_from: Option<Monday>,
}

impl Shift {
    /// Whoever has it at this instant.
    fn on_call(&self, at: Timestamp) -> &[PrincipalId] {
        let Some(day) = self.hours.began_on(at) else {
            return &[];
        };
        let Some(Monday(first)) = self.turns_from else {
            return &self.people;
        };
        let people = i64::try_from(self.people.len()).unwrap_or(i64::MAX).max(1);
        let turn = (day - first).div_euclid(7).rem_euclid(people);
        let turn = usize::try_from(turn).unwrap_or_default();
        self.people.get(turn..=turn).unwrap_or_default()
    }
}

/// A rota that is the same every week, or that a few people share week by week.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeeklyRota {
    /// Its shifts; they may overlap.
    pub shifts: Vec<Shift>,
}

impl WeeklyRota {
    /// Everybody who ever is on call.
    pub fn people(&self) -> impl Iterator<Item = &PrincipalId> {
        self.shifts.iter().flat_map(|shift| &shift.people)
    }
}

#[async_trait]
impl Rota for WeeklyRota {
    async fn on_call(&self, at: Timestamp) -> Result<BTreeSet<PrincipalId>, PortError> {
        let on_call = self.shifts.iter().flat_map(|shift| shift.on_call(at));
        Ok(on_call.cloned().collect())
    }
}

/// A directory in which whoever is on call is in a group: `oncall:primary`.
pub(crate) struct WithRotas {
    inner: Arc<dyn Directory>,
    rotas: BTreeMap<GroupName, Remembered>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for WithRotas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithRotas")
            .field("rotas", &self.rotas.keys())
            .finish_non_exhaustive()
    }
}

/// A rota, and what it said last.
struct Remembered {
    rota: Arc<dyn Rota>,
    said: Mutex<Option<(BTreeSet<PrincipalId>, Timestamp)>>,
}

impl Remembered {
    /// Whoever is on call now, as it was found out at most so long ago.
    async fn on_call(
        &self,
        now: Timestamp,
        at_most: Duration,
    ) -> Result<BTreeSet<PrincipalId>, PortError> {
        let said = || self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((people, at)) = said().as_ref()
            && now.since(*at) <= at_most
            && *at <= now
        {
            return Ok(people.clone());
        }
        let people = self.rota.on_call(now).await?;
        *said() = Some((people.clone(), now));
        Ok(people)
    }
}

impl WithRotas {
    /// Puts these rotas, by the groups that rules name, over this directory.
    pub(crate) fn new(
        inner: Arc<dyn Directory>,
        rotas: BTreeMap<GroupName, Arc<dyn Rota>>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let remembered = rotas.into_iter().map(|(group, rota)| {
            let said = Mutex::default();
            (group, Remembered { rota, said })
        });
        Self {
            inner,
            rotas: remembered.collect(),
            clock,
        }
    }

    /// What each rota says, all of them asked at once.
    async fn said(&self, at_most: Duration) -> Vec<(&GroupName, Answer)> {
        let now = self.clock.now();
        let asked = self.rotas.iter().map(|(group, rota)| async move {
            let said = rota.on_call(now, at_most).await;
            (group, said)
        });
        join_all(asked).await
    }

    /// The profile with the rotas by which they are on call, and those that could not say so.
    async fn with_duties(&self, mut profile: Profile, said: Vec<(&GroupName, Answer)>) -> Profile {
        // A program answers no call.
        if profile.is_agent() {
            return profile;
        }
        for (group, said) in said {
            let among = match said {
                Ok(named) => self.is_among(&profile.id, &named).await,
                Err(error) => Err(error),
            };
            match among {
                Ok(true) => drop(profile.groups.insert(group.clone())),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%group, error = %error.chain(), "who is on call is not known");
                    profile.groups_unknown.insert(group.clone());
                }
            }
        }
        profile
    }

    /// Whether one of these names leads to this person.
    async fn is_among(
        &self,
        id: &PrincipalId,
        named: &BTreeSet<PrincipalId>,
    ) -> Result<bool, PortError> {
        if named.contains(id) {
            return Ok(true);
        }
        let asked = named.iter().map(|name| self.inner.profile_lately(name));
        let found = try_join_all(asked).await?;
        Ok(found.into_iter().flatten().any(|it| it.id == *id))
    }

    /// The people whom these names lead to, as far as they are active.
    async fn people(
        &self,
        rota: &Remembered,
        at_most: Duration,
    ) -> Result<BTreeSet<PrincipalId>, PortError> {
        let named = rota.on_call(self.clock.now(), at_most).await?;
        let asked = named.iter().map(|name| self.inner.profile_lately(name));
        let found = try_join_all(asked).await?.into_iter().flatten();
        let active = found.filter(|profile| profile.active && !profile.is_agent());
        Ok(active.map(|profile| profile.id).collect())
    }
}

type Answer = Result<BTreeSet<PrincipalId>, PortError>;

#[async_trait]
impl Directory for WithRotas {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        let asked = (self.inner.profile(id), self.said(PROFILE_REMEMBERED_FOR));
        let (profile, said) = join(asked.0, asked.1).await;
        match profile? {
            Some(profile) => Ok(Some(self.with_duties(profile, said).await)),
            None => Ok(None),
        }
    }

    async fn profile_lately(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        let asked = (self.inner.profile_lately(id), self.said(LATELY));
        let (profile, said) = join(asked.0, asked.1).await;
        match profile? {
            Some(profile) => Ok(Some(self.with_duties(profile, said).await)),
            None => Ok(None),
        }
    }

    async fn members(&self, group: &GroupName) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        match self.rotas.get(group) {
            Some(rota) => self.people(rota, PROFILE_REMEMBERED_FOR).await.map(Some),
            None => self.inner.members(group).await,
        }
    }

    async fn members_lately(
        &self,
        group: &GroupName,
    ) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        match self.rotas.get(group) {
            Some(rota) => self.people(rota, LATELY).await.map(Some),
            None => self.inner.members_lately(group).await,
        }
    }
}
