//! The contract of [`Directory`], checked on any adapter through one function, so that no adapter
//! can run less of it. Where people are really known is its fixture's business.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::ports::{Directory, ErrorKind, PROFILE_REMEMBERED_FOR, PortError};
use jit_core::principal::{GroupName, PrincipalId, Profile};

/// The longest that a call for one profile may take.
const PROFILE_LIMIT: Duration = Duration::from_secs(3);
/// The longest that a call for the members of a group may take.
const MEMBERS_LIMIT: Duration = Duration::from_secs(10);
/// What is not waiting, on a machine that has other things to do as well.
const AT_ONCE: Duration = Duration::from_millis(500);
/// By now nothing that was found out before may count any more.
const FORGOTTEN: Duration = PROFILE_REMEMBERED_FOR.saturating_add(Duration::from_micros(1));
/// What was true so long ago is shown to nobody.
const NOT_LATELY: Duration = Duration::from_secs(3_601);
/// Longer than anybody should call an answer fresh, and short enough to be lately.
const A_WHILE: Duration = Duration::from_secs(120);

/// Runs every clause of the contract of [`Directory`], and prints what the counterpart cannot show.
///
/// # Panics
/// Where the adapter, or the fixture, breaks its contract: this is an assertion.
pub async fn directory_contract(fixture: &mut dyn DirectoryFixture) {
    let counterpart = fixture.counterpart();
    for (sight, why) in &counterpart.cannot_show {
        eprintln!("{} cannot show {sight}: {why}", counterpart.name);
    }
    let mut suite = Suite {
        counterpart,
        fixture,
    };
    suite.every_name_leads_to_one_canonical_id().await;
    suite.none_and_several_are_nobody().await;
    suite.profiles_and_members_agree("at the beginning").await;
    suite.who_joins_and_leaves_is_seen().await;
    suite.whoever_is_inactive_is_no_member().await;
    suite.a_new_name_is_the_same_person().await;
    for how in Breakage::ALL {
        if suite.counterpart.shows(Sight::Breakage(how)) {
            suite.a_failure_is_never_an_answer(how).await;
            suite.whoever_looks_does_not_wait(how).await;
        }
    }
}

/// One of the two people whom the suite knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Someone {
    /// Active, and in the group when the suite begins.
    Ana,
    /// Active, and not in the group when the suite begins.
    Bob,
}

/// Something that happens in the directory, by other hands than ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// One of their names is replaced by this one.
    Rename(Someone, PrincipalId),
    /// Their account may not be used any more.
    Deactivate(Someone),
    /// It may be used again.
    Activate(Someone),
    /// They come into the group.
    Join(Someone),
    /// They are taken out of it.
    Leave(Someone),
}

/// A way in which the calls of a directory can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breakage {
    /// The other side says no, and trying again does not help.
    Refusal,
    /// The other side says: too fast.
    Throttling,
    /// The other side cannot be reached.
    Outage,
    /// The other side answers something that makes no sense.
    Garbage,
    /// The other side takes every call and answers none.
    Hang,
}

impl Breakage {
    /// Each of them.
    pub const ALL: [Self; 5] = [
        Self::Refusal,
        Self::Throttling,
        Self::Outage,
        Self::Garbage,
        Self::Hang,
    ];

    /// Checks that an error says what happened.
    pub(crate) fn check(self, error: &PortError) {
        let fits = match self {
            Self::Refusal => !error.kind.is_retryable(),
            Self::Throttling => matches!(error.kind, ErrorKind::RateLimited { .. }),
            Self::Outage | Self::Hang => error.kind.is_retryable(),
            Self::Garbage => true,
        };
        assert!(fits, "{self:?} was reported as {}", error.chain());
    }
}

impl fmt::Display for Breakage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refusal => "a refused call",
            Self::Throttling => "a throttled call",
            Self::Outage => "an outage",
            Self::Garbage => "an answer that makes no sense",
            Self::Hang => "a call that is never answered",
        })
    }
}

/// Something that a counterpart shows, or cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Several names of one person.
    Alias,
    /// One name of several people.
    SharedName,
    /// A person who gets another name.
    Renaming,
    /// Calls that fail in this way.
    Breakage(Breakage),
    /// Whoever only looks is answered at once while calls fail. Where people themselves, and not
    /// their groups alone, are asked of the other side, that would be an answer about somebody who
    /// may be inactive by now.
    LatelyAtOnce,
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alias => "several names of one person",
            Self::SharedName => "one name of several people",
            Self::Renaming => "a person with another name",
            Self::Breakage(how) => return how.fmt(f),
            Self::LatelyAtOnce => "answers for whoever only looks while calls fail",
        })
    }
}

/// What the adapter is tested against, and what that cannot show.
#[derive(Debug, Clone)]
pub struct Counterpart {
    /// What it is: `a map in memory`, `okta-sim`.
    pub name: &'static str,
    /// Each thing that it cannot show, and why.
    pub cannot_show: Vec<(Sight, &'static str)>,
}

impl Counterpart {
    fn shows(&self, sight: Sight) -> bool {
        self.cannot_show.iter().all(|(hidden, _)| *hidden != sight)
    }
}

/// An adapter with everything around it that the suite must move.
///
/// # Contract
/// [`Someone::Ana`] and [`Someone::Bob`] are people, known and active. The group is one whose
/// members the adapter can list. The adapter's time stands still but for `pass`. Nothing else
/// changes but by `change`.
#[async_trait]
pub trait DirectoryFixture: Send + Sync {
    /// What the adapter is tested against.
    fn counterpart(&self) -> Counterpart;

    /// The adapter, as it is after every change so far.
    fn directory(&self) -> Arc<dyn Directory>;

    /// Every name that leads to this person now, as it is written at the counterpart. Two at least,
    /// unless the counterpart cannot show that.
    fn names(&self, who: Someone) -> Vec<String>;

    /// The group.
    fn group(&self) -> GroupName;

    /// A name that leads to nobody.
    fn nobody(&self) -> PrincipalId;

    /// A name that leads to several people.
    fn several(&self) -> Option<PrincipalId> {
        None
    }

    /// Makes this so.
    async fn change(&mut self, change: Change);

    /// Makes calls fail in this way from now on: those for the group at least.
    async fn break_calls(&mut self, how: Breakage);

    /// Calls work again.
    async fn mend(&mut self);

    /// Lets time pass for the adapter.
    async fn pass(&mut self, time: Duration);
}

/// Whether somebody is in the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    In,
    Out,
}

struct Suite<'a> {
    counterpart: Counterpart,
    fixture: &'a mut dyn DirectoryFixture,
}

type Members = Option<BTreeSet<PrincipalId>>;

fn principal(name: &str) -> PrincipalId {
    name.parse().expect("a fixture's name is that of somebody")
}

// What the suite asks, within the limits.
impl Suite<'_> {
    fn name(&self, who: Someone) -> PrincipalId {
        let names = self.fixture.names(who);
        principal(names.first().expect("everybody has a name"))
    }

    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        let directory = self.fixture.directory();
        let asked = tokio::time::timeout(PROFILE_LIMIT, directory.profile(id)).await;
        asked.expect("a call for a profile ends within 3 s")
    }

    async fn members(&self) -> Result<Members, PortError> {
        let (directory, group) = (self.fixture.directory(), self.fixture.group());
        let asked = tokio::time::timeout(MEMBERS_LIMIT, directory.members(&group)).await;
        asked.expect("a call for the members of a group ends within 10 s")
    }

    /// The profile of somebody who is known, while nothing is broken.
    async fn known(&self, id: &PrincipalId) -> Profile {
        let found = self.profile(id).await;
        let found = found.expect("nothing is broken, so they can be looked up");
        assert!(found.is_some(), "{id} leads to somebody");
        found.expect("it is some")
    }

    async fn listed(&self) -> BTreeSet<PrincipalId> {
        let members = self.members().await;
        let members = members.expect("nothing is broken, so the group can be listed");
        members.expect("the fixture's group is one that can be listed")
    }

    async fn becomes(&mut self, change: Change) {
        self.fixture.change(change).await;
        self.fixture.pass(FORGOTTEN).await;
    }
}

// The clauses.
impl Suite<'_> {
    async fn mended(&mut self) {
        self.fixture.mend().await;
        // Whoever was told to wait may wait for a while.
        self.fixture.pass(A_WHILE).await;
    }

    async fn every_name_leads_to_one_canonical_id(&self) {
        let mut people = BTreeSet::new();
        for who in [Someone::Ana, Someone::Bob] {
            let names = self.fixture.names(who);
            assert!(
                names.len() > 1 || !self.counterpart.shows(Sight::Alias),
                "a fixture has several names of {who:?} or says why not"
            );
            let id = self.known(&self.name(who)).await.id;
            let spelt = names.iter().flat_map(|name| {
                let (small, large) = (name.to_ascii_lowercase(), name.to_ascii_uppercase());
                [name.clone(), small, large]
            });
            for name in spelt {
                let found = self.known(&principal(&name)).await;
                assert_eq!(found.id, id, "{name} is a name of {who:?}");
                assert!(found.active && !found.is_program(), "{who:?} is there");
                let directory = self.fixture.directory();
                let lately = directory.profile_lately(&principal(&name)).await;
                let lately = lately.expect("nothing is broken");
                let lately = lately.map(|profile| profile.id);
                assert_eq!(lately.as_ref(), Some(&id), "{name} for whoever only looks");
            }
            let again = self.known(&id).await.id;
            assert_eq!(again, id, "a canonical id is a name of its own");
            assert!(people.insert(id), "two people have two canonical ids");
        }
    }

    async fn none_and_several_are_nobody(&self) {
        let mut names = vec![self.fixture.nobody()];
        if self.counterpart.shows(Sight::SharedName) {
            let shared = self.fixture.several();
            names.push(shared.expect("a fixture has a name of several or says why not"));
        }
        for name in names {
            let found = self.profile(&name).await.expect("that is an answer");
            assert_eq!(found, None, "{name} leads to none or to several");
            let lately = self.fixture.directory().profile_lately(&name).await;
            let lately = lately.expect("that is an answer");
            assert_eq!(lately, None, "{name} for whoever only looks");
        }
    }

    /// Whoever is listed has the group in their profile, and whoever has it is listed.
    async fn profiles_and_members_agree(&self, when: &str) {
        let group = self.fixture.group();
        let members = self.listed().await;
        for id in &members {
            let found = self.known(id).await;
            assert_eq!(found.id, *id, "{when}: members are listed by canonical id");
            assert!(
                found.active && !found.is_program(),
                "{when}: {id} is listed, so {id} is an active person"
            );
            assert!(
                found.groups.contains(&group),
                "{when}: {id} is listed, so the group is in the profile"
            );
        }
        for who in [Someone::Ana, Someone::Bob] {
            let found = self.known(&self.name(who)).await;
            assert!(
                !found.groups_unknown.contains(&group),
                "{when}: nothing is broken, so it is known whether {who:?} is in the group"
            );
            if found.active && found.groups.contains(&group) {
                assert!(
                    members.contains(&found.id),
                    "{when}: {who:?} is in the group and not among {members:?}"
                );
            }
        }
    }

    /// Whether somebody is in the group, by both answers.
    async fn standing(&self, who: Someone, when: &str) -> Standing {
        let found = self.known(&self.name(who)).await;
        let has_it = found.groups.contains(&self.fixture.group());
        let is_listed = self.listed().await.contains(&found.id);
        assert_eq!(
            is_listed, has_it,
            "{when}: {who:?} is listed where the group is in the profile, and only there"
        );
        self.profiles_and_members_agree(when).await;
        match has_it {
            true => Standing::In,
            false => Standing::Out,
        }
    }

    async fn ana_is_in(&self, when: &str) {
        let standing = self.standing(Someone::Ana, when).await;
        assert_eq!(standing, Standing::In, "{when}: Ana is in the group");
    }

    async fn who_joins_and_leaves_is_seen(&mut self) {
        use Someone::{Ana, Bob};
        let begin = [Standing::In, Standing::Out];
        self.stand("at the beginning", begin).await;
        for (change, expected) in [
            (Change::Join(Bob), [Standing::In, Standing::In]),
            (Change::Leave(Ana), [Standing::Out, Standing::In]),
            (Change::Leave(Bob), [Standing::Out, Standing::Out]),
            (Change::Join(Ana), begin),
        ] {
            let when = format!("after {change:?}");
            self.becomes(change).await;
            self.stand(&when, expected).await;
        }
    }

    /// Ana and Bob stand like this, in this order.
    async fn stand(&self, when: &str, expected: [Standing; 2]) {
        let ana = self.standing(Someone::Ana, when).await;
        let bob = self.standing(Someone::Bob, when).await;
        assert_eq!([ana, bob], expected, "{when}: who is in the group");
        if expected == [Standing::Out, Standing::Out] {
            let members = self.listed().await;
            assert!(members.is_empty(), "{when}: a group of nobody is empty");
        }
    }

    async fn whoever_is_inactive_is_no_member(&mut self) {
        let ana = self.known(&self.name(Someone::Ana)).await.id;
        self.becomes(Change::Deactivate(Someone::Ana)).await;
        let found = self.profile(&ana).await.expect("nothing is broken");
        assert!(
            found.is_none_or(|profile| !profile.active),
            "whoever was deactivated is not active"
        );
        let members = self.listed().await;
        assert!(!members.contains(&ana), "whoever is inactive is no member");
        self.profiles_and_members_agree("after Ana was deactivated")
            .await;
        self.becomes(Change::Activate(Someone::Ana)).await;
        self.ana_is_in("after Ana was activated").await;

        self.becomes(Change::Deactivate(Someone::Ana)).await;
        self.fixture.pass(NOT_LATELY).await;
        let directory = self.fixture.directory();
        let lately = directory.profile_lately(&ana).await;
        let lately = lately.expect("nothing is broken");
        assert!(
            lately.is_none_or(|profile| !profile.active),
            "what was so an hour ago is shown to nobody"
        );
        self.becomes(Change::Activate(Someone::Ana)).await;
        self.ana_is_in("after Ana was activated").await;
    }

    async fn a_new_name_is_the_same_person(&mut self) {
        if !self.counterpart.shows(Sight::Renaming) {
            return;
        }
        let before = self.fixture.names(Someone::Bob);
        let new = principal("robert@example.com");
        self.becomes(Change::Rename(Someone::Bob, new.clone()))
            .await;
        let names = self.fixture.names(Someone::Bob);
        let found = self.known(&new).await;
        for name in &names {
            let same = self.known(&principal(name)).await.id;
            assert_eq!(same, found.id, "{name} leads to the same as the new name");
        }
        let again = self.known(&found.id).await.id;
        assert_eq!(again, found.id, "the canonical id leads to itself");
        for name in before.iter().filter(|name| !names.contains(name)) {
            let old = self.profile(&principal(name)).await;
            let old = old.expect("nothing is broken").map(|profile| profile.id);
            assert!(
                old.as_ref().is_none_or(|id| *id == found.id),
                "the old name {name} leads to {old:?}, and not to nobody or the same person"
            );
        }
        let ana = self.known(&self.name(Someone::Ana)).await.id;
        assert_ne!(ana, found.id, "nobody else is that person");
    }

    async fn a_failure_is_never_an_answer(&mut self, how: Breakage) {
        let (ana, group) = (self.name(Someone::Ana), self.fixture.group());
        self.fixture.break_calls(how).await;
        self.fixture.pass(FORGOTTEN).await;
        let found = self.profile(&ana).await;
        let names_it = |found: &Option<Profile>| {
            found
                .as_ref()
                .is_some_and(|it| it.groups_unknown.contains(&group))
        };
        assert!(
            found.as_ref().map_or(true, names_it),
            "{how}: a failure is an error, or the group that it is about is named: {found:?}"
        );
        if let Err(error) = &found {
            how.check(error);
        }
        let members = self.members().await;
        let error = members.expect_err("a failure is no list of members");
        how.check(&error);
        self.mended().await;
        self.ana_is_in("after calls work again").await;
    }

    async fn whoever_looks_does_not_wait(&mut self, how: Breakage) {
        let (directory, group) = (self.fixture.directory(), self.fixture.group());
        let ana = self.known(&self.name(Someone::Ana)).await.id;
        let known = directory.profile_lately(&ana).await;
        assert!(
            known.is_ok_and(|found| found.is_some_and(|found| found.groups.contains(&group))),
            "nothing is broken, so whoever only looks sees the group"
        );
        let known = directory.members_lately(&group).await;
        let known = known.expect("nothing is broken");
        assert!(
            known.is_some_and(|members| members.contains(&ana)),
            "nothing is broken, so whoever only looks sees the members"
        );
        self.fixture.break_calls(how).await;
        self.fixture.pass(A_WHILE).await;
        if self.counterpart.shows(Sight::LatelyAtOnce) {
            let asked = tokio::time::timeout(AT_ONCE, directory.profile_lately(&ana)).await;
            let found = asked.expect("whoever only looks does not wait for anybody");
            let found = found
                .expect("what is known is an answer")
                .expect("it is known");
            assert!(
                found.groups.contains(&group),
                "{how}: the groups are those that were known: {found:?}"
            );
            let asked = tokio::time::timeout(AT_ONCE, directory.members_lately(&group)).await;
            let found = asked.expect("whoever only looks does not wait for anybody");
            let found = found
                .expect("what is known is an answer")
                .expect("it is known");
            assert!(found.contains(&ana), "{how}: the members are those known");
        } else {
            let asked = tokio::time::timeout(PROFILE_LIMIT, directory.profile_lately(&ana)).await;
            let found = asked.expect("a call for a profile ends within 3 s");
            let is_truthful = found.as_ref().map_or(true, |found| {
                let named =
                    |it: &Profile| it.groups.contains(&group) || it.groups_unknown.contains(&group);
                found.as_ref().is_some_and(named)
            });
            assert!(
                is_truthful,
                "{how}: a failure takes nothing away: {found:?}"
            );
            let asked = tokio::time::timeout(MEMBERS_LIMIT, directory.members_lately(&group)).await;
            let found = asked.expect("a call for the members of a group ends within 10 s");
            assert!(
                !matches!(found, Ok(None)),
                "{how}: a failure is no proof that the group is unknown"
            );
        }
        self.mended().await;
        self.ana_is_in("after calls work again").await;
    }
}
