//! How many calls are answered: a bucket a minute for each family of endpoints.
//! <https://developer.okta.com/docs/reference/rl-best-practices/>

use std::collections::BTreeMap;

use crate::setup::Setup;

const MINUTE: i64 = 60_000_000;

/// Endpoints that share a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    Groups,
    Group,
    Users,
    User,
    Token,
    Other,
    PagerDuty,
}

impl Family {
    fn limit(self, setup: &Setup) -> u32 {
        match self {
            Self::Groups => setup.limits.groups,
            Self::Group => setup.limits.group,
            Self::Users => setup.limits.users,
            Self::User => setup.limits.user,
            Self::Token => setup.limits.token,
            Self::Other => setup.limits.other,
            Self::PagerDuty => setup.pagerduty_per_minute,
        }
    }
}

/// How a bucket stands once a call was taken out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) limit: u32,
    pub(crate) remaining: u32,
    /// When it is full again, in microseconds since 1970.
    pub(crate) reset: i64,
    /// Whether the call was too many.
    pub(crate) is_over: bool,
}

/// When each bucket's minute began, and what was taken out since.
#[derive(Debug, Default)]
pub(crate) struct Buckets(BTreeMap<Family, (i64, u32)>);

impl Buckets {
    /// Takes one call out of a bucket, if there is one in it.
    pub(crate) fn take(&mut self, family: Family, setup: &Setup, now: i64) -> Standing {
        let limit = family.limit(setup);
        let (since, used) = self.0.entry(family).or_insert((now, 0));
        // A clock that was set back begins another minute, so that nobody waits for the old one.
        if now.saturating_sub(*since) >= MINUTE || now < *since {
            (*since, *used) = (now, 0);
        }
        let is_over = *used >= limit;
        if !is_over {
            *used += 1;
        }
        Standing {
            limit,
            remaining: limit.saturating_sub(*used),
            reset: since.saturating_add(MINUTE),
            is_over,
        }
    }
}
