//! Who is on call: the rota that is written in the configuration, and the directory that knows
//! whoever is on call as members of a group. What a rota is worth is the policy's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{join, join_all, try_join_all};
use jit_core::Timestamp;
use jit_core::policy::Hours;
use jit_core::ports::{Clock, Directory, ErrorKind, PROFILE_REMEMBERED_FOR, PortError, Rota};
use jit_core::principal::{GroupName, PrincipalId, Profile};
use serde::{Deserialize, Serialize};
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Date, Weekday};
use tokio::time::{Instant, timeout_at};

/// How old an answer of a rota may be for whoever only looks before it is found out again.
const FRESH: Duration = Duration::from_secs(60);
/// How old it may be at most. A rota hands over at full hours, so what it said long ago is nothing
/// that anybody should be told.
const LATELY: Duration = Duration::from_secs(600);
/// The longest that a profile takes, the rotas and the directory behind them included; the contract
/// allows 3 s.
const PROFILE_LIMIT: Duration = Duration::from_millis(2_950);
/// The longest that a rota may hold up what is asked of a person: decisions and requests wait for it,
/// also those of whoever is on call by none.
const ROTA_LIMIT: Duration = Duration::from_millis(1_500);
/// A rota that failed is not asked again for so long, or for as long as it wants to be left alone.
const FAILED_FOR: Duration = Duration::from_secs(3);
const LEFT_ALONE_MAX: Duration = Duration::from_secs(60);
/// The longest that the members of a group take; the contract allows 10 s.
const MEMBERS_LIMIT: Duration = Duration::from_millis(9_500);
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
    rotas: BTreeMap<GroupName, Arc<Remembered>>,
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
    /// How it failed last, and until when it is left alone.
    failed: Mutex<Option<(ErrorKind, Timestamp)>>,
    /// Held by whoever asks, so that everybody else waits for that answer.
    asking: tokio::sync::Mutex<()>,
}

impl Remembered {
    fn said(&self) -> MutexGuard<'_, Option<(BTreeSet<PrincipalId>, Timestamp)>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever was on call at this instant or later.
    fn said_since(&self, since: Timestamp) -> Option<BTreeSet<PrincipalId>> {
        let said = self.said();
        let (people, _) = said.as_ref().filter(|(_, at)| *at >= since)?;
        Some(people.clone())
    }

    /// Whoever is on call, as it was found out at most so long ago as a decision allows.
    async fn now(&self, clock: &dyn Clock) -> Answer {
        let since = clock.now() - PROFILE_REMEMBERED_FOR;
        if let Some(people) = self.said_since(since) {
            return Ok(people);
        }
        let _asking = self.asking.lock().await;
        // Whoever asked meanwhile asked for everybody.
        if let Some(people) = self.said_since(since) {
            return Ok(people);
        }
        let at = clock.now();
        if let Some(kind) = self.is_left_alone(at) {
            let what = "ask again so soon";
            return Err(PortError::nothing_done("rotas", what, kind));
        }
        let said = self.rota.on_call(at).await;
        match &said {
            Ok(people) => *self.said() = Some((people.clone(), at)),
            Err(error) => self.note(error.kind, clock.now()),
        }
        said
    }

    /// It did not answer, or not in time: nobody else waits for that for a while.
    fn note(&self, kind: ErrorKind, now: Timestamp) {
        let wanted = match kind {
            ErrorKind::RateLimited {
                retry_after_ms: Some(wait),
            } => Duration::from_millis(wait).min(LEFT_ALONE_MAX),
            _ => FAILED_FOR,
        };
        *self.failed() = Some((kind, now + wanted.max(FAILED_FOR)));
    }

    /// Why it is not asked at this instant.
    fn is_left_alone(&self, now: Timestamp) -> Option<ErrorKind> {
        let (kind, until) = (*self.failed())?;
        (now < until).then_some(kind)
    }

    fn failed(&self) -> MutexGuard<'_, Option<(ErrorKind, Timestamp)>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever was on call lately; it is found out again behind the back of whoever looks.
    async fn lately(self: &Arc<Self>, clock: &Arc<dyn Clock>) -> Answer {
        let now = clock.now();
        let Some(people) = self.said_since(now - LATELY) else {
            return self.now(clock.as_ref()).await;
        };
        let is_asked_for = self.asking.try_lock().is_err();
        if self.said_since(now - FRESH).is_none() && !is_asked_for {
            let (rota, clock) = (Arc::clone(self), Arc::clone(clock));
            tokio::spawn(async move {
                if let Err(error) = rota.now(clock.as_ref()).await {
                    let error = error.chain();
                    tracing::warn!(%error, "who is on call could not be found out again");
                }
            });
        }
        Ok(people)
    }

    async fn on_call(self: &Arc<Self>, clock: &Arc<dyn Clock>, how: Recent) -> Answer {
        match how {
            Recent::Now => self.now(clock.as_ref()).await,
            Recent::Lately => self.lately(clock).await,
        }
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
            let remembered = Remembered {
                rota,
                said: Mutex::default(),
                failed: Mutex::default(),
                asking: tokio::sync::Mutex::default(),
            };
            (group, Arc::new(remembered))
        });
        Self {
            inner,
            rotas: remembered.collect(),
            clock,
        }
    }

    /// What is known of somebody, and by which rotas they are on call. The rotas are asked while the
    /// directory is; whatever is not known by the deadline is not known.
    async fn profile_of(
        &self,
        id: &PrincipalId,
        how: Recent,
    ) -> Result<Option<Profile>, PortError> {
        let deadline = Instant::now() + PROFILE_LIMIT;
        let (profile, said) = join(self.known(id, how), self.said(how)).await;
        match profile? {
            // A program answers no call.
            Some(profile) if !profile.is_program() => {
                let profile = self.with_duties(profile, said, how, deadline);
                Ok(Some(profile.await))
            }
            other => Ok(other),
        }
    }

    /// What the directory behind this one knows.
    async fn known(&self, id: &PrincipalId, how: Recent) -> Result<Option<Profile>, PortError> {
        match how {
            Recent::Now => self.inner.profile(id).await,
            Recent::Lately => self.inner.profile_lately(id).await,
        }
    }

    /// What each rota says, all of them asked at once.
    async fn said(&self, how: Recent) -> Vec<(&GroupName, Answer)> {
        let deadline = Instant::now() + ROTA_LIMIT;
        let asked = self.rotas.iter().map(|(group, rota)| async move {
            let said = timeout_at(deadline, rota.on_call(&self.clock, how)).await;
            let said = said.unwrap_or_else(|_| {
                rota.note(ErrorKind::Unavailable, self.clock.now());
                Err(too_late())
            });
            (group, said)
        });
        join_all(asked).await
    }

    /// The profile with the rotas by which they are on call, and those that could not say so.
    async fn with_duties(
        &self,
        mut profile: Profile,
        said: Vec<(&GroupName, Answer)>,
        how: Recent,
        deadline: Instant,
    ) -> Profile {
        for (group, said) in said {
            let among = match said {
                Ok(named) => by(deadline, self.is_among(&profile.id, &named, how)).await,
                Err(error) => Err(error),
            };
            match among {
                Ok(Among::Them) => drop(profile.groups.insert(group.clone())),
                Ok(Among::Others) => {}
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
        how: Recent,
    ) -> Result<Among, PortError> {
        if named.contains(id) {
            return Ok(Among::Them);
        }
        let asked = named.iter().map(|name| self.known(name, how));
        let found = try_join_all(asked).await?;
        Ok(match found.into_iter().flatten().any(|it| it.id == *id) {
            true => Among::Them,
            false => Among::Others,
        })
    }

    /// The people on call by this rota, as far as they are active.
    async fn people(&self, rota: &Arc<Remembered>, how: Recent) -> Answer {
        by(Instant::now() + MEMBERS_LIMIT, async {
            let named = rota.on_call(&self.clock, how).await?;
            let asked = named.iter().map(|name| self.known(name, how));
            let found = try_join_all(asked).await?.into_iter().flatten();
            let active = found.filter(|profile| profile.active && !profile.is_program());
            Ok(active.map(|profile| profile.id).collect())
        })
        .await
    }
}

type Answer = Result<BTreeSet<PrincipalId>, PortError>;

/// How old an answer may be.
#[derive(Debug, Clone, Copy)]
enum Recent {
    /// As fresh as a decision needs it.
    Now,
    /// As it was known lately.
    Lately,
}

/// Where somebody is.
#[derive(Debug, Clone, Copy)]
enum Among {
    Them,
    Others,
}

/// What was found out by the deadline.
async fn by<T>(
    deadline: Instant,
    asked: impl Future<Output = Result<T, PortError>>,
) -> Result<T, PortError> {
    let found = timeout_at(deadline, asked).await;
    found.unwrap_or_else(|_| Err(too_late()))
}

fn too_late() -> PortError {
    let what = "find out who is on call in time";
    PortError::nothing_done("rotas", what, ErrorKind::Unavailable)
}

#[async_trait]
impl Directory for WithRotas {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        self.profile_of(id, Recent::Now).await
    }

    async fn profile_lately(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        self.profile_of(id, Recent::Lately).await
    }

    async fn members(&self, group: &GroupName) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        match self.rotas.get(group) {
            Some(rota) => self.people(rota, Recent::Now).await.map(Some),
            None => self.inner.members(group).await,
        }
    }

    async fn members_lately(
        &self,
        group: &GroupName,
    ) -> Result<Option<BTreeSet<PrincipalId>>, PortError> {
        match self.rotas.get(group) {
            Some(rota) => self.people(rota, Recent::Lately).await.map(Some),
            None => self.inner.members_lately(group).await,
        }
    }
}

#[cfg(test)]
mod tests;
