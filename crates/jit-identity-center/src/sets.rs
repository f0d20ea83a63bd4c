//! Permission sets: found by name or ARN, described, remembered for a while. Nothing is changed here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use jit_aws::Errand;
use jit_core::Timestamp;

use crate::lookup::lock;
use crate::trouble::Trouble;
use crate::{IdentityCenter, Pages, SESSION_LIMIT};

/// How long the description of a permission set is believed while it is looked for by name.
const SET_REMEMBERED_FOR: Duration = Duration::from_secs(300);
/// The session of a permission set that says nothing: `PT1H` ("Set session duration for AWS
/// accounts", IAM Identity Center User Guide).
const SESSION_DEFAULT: Duration = Duration::from_secs(3_600);

/// A permission set as it was described.
#[derive(Debug, Clone)]
pub(crate) struct Set {
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) session: Duration,
    described_at: Timestamp,
}

/// The permission sets that were described lately.
#[derive(Debug, Default)]
pub(crate) struct Sets(Mutex<BTreeMap<String, Set>>);

impl Sets {
    fn named(&self, name: &str) -> Vec<Set> {
        let known = lock(&self.0);
        known
            .values()
            .filter(|set| set.name == name)
            .cloned()
            .collect()
    }

    fn fresh(&self, arn: &str, now: Timestamp) -> Option<Set> {
        let known = lock(&self.0).get(arn).cloned()?;
        (now < known.described_at + SET_REMEMBERED_FOR).then_some(known)
    }

    fn keep(&self, set: Set) {
        lock(&self.0).insert(set.arn.clone(), set);
    }

    fn forget(&self, arn: &str) {
        lock(&self.0).remove(arn);
    }

    fn keep_only(&self, arns: &[String]) {
        let arns: BTreeSet<&String> = arns.iter().collect();
        lock(&self.0).retain(|arn, _| arns.contains(arn));
    }
}

impl IdentityCenter {
    /// The permission set of this name or ARN.
    ///
    /// By name, the sets that were described lately are looked through first; what is found there is
    /// described again, so one that was deleted, or made anew under the same name, is never
    /// returned from memory. Only then all are listed, and those described that are not known.
    pub(crate) async fn find_set(&self, errand: Errand, text: &str) -> Result<Set, Trouble> {
        let missing = || Trouble::NoSuchSet(text.to_owned());
        if text.starts_with("arn:") {
            self.check_set_arn(text)?;
            return self.describe_set(errand, text).await?.ok_or_else(missing);
        }
        let mut found = Vec::new();
        for known in self.sets.named(text) {
            let set = self.describe_set(errand, &known.arn).await?;
            found.extend(set.filter(|set| set.name == text));
        }
        if found.is_empty() {
            let all = self.all_sets(errand).await?;
            found.extend(all.into_iter().filter(|set| set.name == text));
        }
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (None, _) => Err(missing()),
            (Some(set), None) => Ok(set),
            (Some(_), Some(_)) => Err(Trouble::SeveralSets(text.to_owned())),
        }
    }

    /// An ARN as AWS documents it names the instance; one of another instance is not ours.
    fn check_set_arn(&self, arn: &str) -> Result<(), Trouble> {
        let documented = arn.split_once(":permissionSet/");
        let instance = documented.and_then(|(_, rest)| rest.split_once('/'));
        match instance {
            Some((instance, _)) if Some(instance) != self.settings.instance_id() => {
                Err(Trouble::ForeignSet)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Every permission set of the instance.
    pub(crate) async fn all_sets(&self, errand: Errand) -> Result<Vec<Set>, Trouble> {
        let arns = self.list_sets(errand).await?;
        self.sets.keep_only(&arns);
        let mut sets = Vec::new();
        for arn in arns {
            // A listing that is cut off goes on from here the next time.
            let set = match self.sets.fresh(&arn, self.clock.now()) {
                Some(set) => Some(set),
                None => self.describe_set(errand, &arn).await?,
            };
            sets.extend(set);
        }
        Ok(sets)
    }

    pub(crate) async fn list_sets(&self, errand: Errand) -> Result<Vec<String>, Trouble> {
        let mut arns = Vec::new();
        let mut pages = Pages::default();
        loop {
            let clients = self.clients();
            let call = clients
                .sso
                .list_permission_sets()
                .instance_arn(&self.settings.instance_arn)
                .max_results(100)
                .set_next_token(pages.token());
            let page = self.ask(errand, "ListPermissionSets", call.send()).await;
            let page = match page {
                Ok(page) => page,
                Err(trouble) if trouble.is_not_found() => return Err(Trouble::NoSuchInstance),
                Err(trouble) => return Err(trouble),
            };
            arns.extend(page.permission_sets.unwrap_or_default());
            if !pages.turn(page.next_token)? {
                return Ok(arns);
            }
        }
    }

    pub(crate) async fn describe_set(
        &self,
        errand: Errand,
        arn: &str,
    ) -> Result<Option<Set>, Trouble> {
        let clients = self.clients();
        let call = clients
            .sso
            .describe_permission_set()
            .instance_arn(&self.settings.instance_arn)
            .permission_set_arn(arn);
        let answer = self.ask(errand, "DescribePermissionSet", call.send()).await;
        let described = match answer {
            Ok(answer) => answer.permission_set,
            Err(trouble) if trouble.is_not_found() => None,
            Err(trouble) => return Err(trouble),
        };
        let Some(described) = described else {
            self.sets.forget(arn);
            return Ok(None);
        };
        let session = match described.session_duration() {
            None => SESSION_DEFAULT,
            // What cannot be read may be as long as any.
            Some(text) => iso_duration(text).unwrap_or(SESSION_LIMIT),
        };
        let set = Set {
            name: described.name.unwrap_or_default(),
            arn: described
                .permission_set_arn
                .unwrap_or_else(|| arn.to_owned()),
            session,
            described_at: self.clock.now(),
        };
        self.sets.keep(set.clone());
        Ok(Some(set))
    }
}

/// The days, hours, minutes and seconds of an ISO 8601 duration; none where it has more than that.
fn iso_duration(text: &str) -> Option<Duration> {
    let rest = text.strip_prefix('P')?;
    let (days, time) = rest.split_once('T').unwrap_or((rest, ""));
    if days.is_empty() && time.is_empty() {
        return None;
    }
    let days = seconds(days, &[('D', 86_400)])?;
    let time = seconds(time, &[('H', 3_600), ('M', 60), ('S', 1)])?;
    Some(Duration::from_secs(days.checked_add(time)?))
}

/// The sum of numbers that each stand before one of these letters, in this order.
fn seconds(mut text: &str, units: &[(char, u64)]) -> Option<u64> {
    let mut sum = 0_u64;
    for (letter, worth) in units {
        if let Some((count, rest)) = text.split_once(*letter) {
            let count: u64 = count.parse().ok()?;
            sum = sum.checked_add(count.checked_mul(*worth)?)?;
            text = rest;
        }
    }
    text.is_empty().then_some(sum)
}

#[cfg(test)]
impl Set {
    pub(crate) fn sample(name: &str, tail: &str) -> Self {
        Self {
            arn: format!("arn:aws:sso:::permissionSet/ssoins-0123456789abcdef/{tail}"),
            name: name.to_owned(),
            session: SESSION_DEFAULT,
            described_at: Timestamp::MIN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_as_aws_writes_it() {
        let cases = [
            ("PT1H", Some(3_600)),
            ("PT8H", Some(28_800)),
            ("PT1H30M", Some(5_400)),
            ("PT90M", Some(5_400)),
            ("PT3600S", Some(3_600)),
            ("P1DT2H", Some(93_600)),
            ("P1D", Some(86_400)),
            ("PT", None),
            ("P", None),
            ("", None),
            ("8H", None),
            ("PT8", None),
            ("PT1M1H", None),
            ("PT1.5S", None),
            ("-PT1H", None),
            ("P1Y", None),
            ("PT99999999999999999999H", None),
            ("PT9999999999999999999S", Some(9_999_999_999_999_999_999)),
        ];
        for (text, wanted) in cases {
            assert_eq!(
                iso_duration(text),
                wanted.map(Duration::from_secs),
                "{text:?}"
            );
        }
    }
}
