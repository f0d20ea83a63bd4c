//! The contract of [`Rota`], checked on any adapter through one function, so that no adapter can run
//! less of it. How somebody is put on call is its fixture's business.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::ports::{Directory, PortError, Rota};
use jit_core::principal::PrincipalId;

pub use crate::directory::{Breakage, Someone};

/// The longest that a call may take.
const CALL_LIMIT: Duration = Duration::from_secs(3);
/// The shortest step of a [`Timestamp`].
const TICK: Duration = Duration::from_micros(1);
/// By now whoever was on call before hands over.
const TURN: Duration = Duration::from_secs(3_600);

/// Runs every clause of the contract of [`Rota`], and prints what the counterpart cannot show.
///
/// # Panics
/// Where the adapter, or the fixture, breaks its contract: this is an assertion.
pub async fn rota_contract(fixture: &mut dyn RotaFixture) {
    let counterpart = fixture.counterpart();
    for (sight, why) in &counterpart.cannot_show {
        eprintln!("{} cannot show {sight}: {why}", counterpart.name);
    }
    let mut suite = Suite {
        counterpart,
        fixture,
    };
    suite.nobody_is_an_answer().await;
    suite.whoever_is_on_call_is_named().await;
    suite.only_the_first_are_named().await;
    suite.the_instant_counts_and_not_the_clock().await;
    for how in Breakage::ALL {
        if suite.counterpart.shows(Sight::Breakage(how)) {
            suite.a_failure_is_never_nobody(how).await;
        }
    }
}

/// Who is called when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// At once.
    First,
    /// When whoever is first does not answer.
    Second,
}

/// Somebody's time on call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duty {
    /// Who.
    pub who: Someone,
    /// When they are called.
    pub turn: Turn,
    /// From when on; for ever already, if there is none.
    pub from: Option<Timestamp>,
    /// They are not on call at this instant any more; for ever, if there is none.
    pub until: Option<Timestamp>,
}

/// Something that a counterpart shows, or cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// Somebody who is called only when the first does not answer.
    SecondTurn,
    /// Calls that fail in this way.
    Breakage(Breakage),
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecondTurn => f.write_str("somebody who is called second"),
            Self::Breakage(how) => how.fmt(f),
        }
    }
}

/// What the adapter is tested against, and what that cannot show.
#[derive(Debug, Clone)]
pub struct Counterpart {
    /// What it is: `a table of shifts`, `okta-sim`.
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
/// The directory is not the adapter's own. In it each [`Someone`] is an active person. The adapter's
/// time stands still.
#[async_trait]
pub trait RotaFixture: Send + Sync {
    /// What the adapter is tested against.
    fn counterpart(&self) -> Counterpart;

    /// The adapter, as it is after every change so far.
    fn rota(&self) -> Arc<dyn Rota>;

    /// A directory that knows people by the names that the adapter calls them.
    fn directory(&self) -> Arc<dyn Directory>;

    /// The canonical id of this person in that directory.
    fn id(&self, who: Someone) -> PrincipalId;

    /// The time by the adapter's clock: a full hour, and not the last two of a day in UTC.
    fn now(&self) -> Timestamp;

    /// Exactly these are on call from now on. Where turns begin or end they do so at a full hour of
    /// the same day.
    async fn duties(&mut self, duties: &[Duty]);

    /// Makes calls fail in this way from now on.
    async fn break_calls(&mut self, how: Breakage);

    /// Calls work again, also for whoever was told to wait.
    async fn mend(&mut self);
}

struct Suite<'a> {
    counterpart: Counterpart,
    fixture: &'a mut dyn RotaFixture,
}

fn always(who: Someone, turn: Turn) -> Duty {
    Duty {
        who,
        turn,
        from: None,
        until: None,
    }
}

// What the suite asks, within the limit.
impl Suite<'_> {
    async fn asked(&self, at: Timestamp) -> Result<BTreeSet<PrincipalId>, PortError> {
        let rota = self.fixture.rota();
        let asked = tokio::time::timeout(CALL_LIMIT, rota.on_call(at)).await;
        asked.expect("a call ends within 3 s")
    }

    /// Whoever is on call by the directory's names, while nothing is broken.
    async fn on_call(&self, at: Timestamp) -> BTreeSet<PrincipalId> {
        let names = self.asked(at).await;
        let names = names.expect("nothing is broken, so who is on call can be found out");
        let directory = self.fixture.directory();
        let mut people = BTreeSet::new();
        for name in names {
            let known = directory.profile(&name).await;
            let known = known.expect("the fixture's directory always answers");
            assert!(known.is_some(), "{name} is nobody in the directory");
            people.extend(known.map(|known| known.id));
        }
        people
    }

    async fn expect(&self, at: Timestamp, who: &[Someone], what: &str) {
        let expected: BTreeSet<PrincipalId> = who.iter().map(|it| self.fixture.id(*it)).collect();
        assert_eq!(self.on_call(at).await, expected, "{what}");
        assert_eq!(self.on_call(at).await, expected, "{what}, asked again");
    }
}

// The clauses.
impl Suite<'_> {
    async fn nobody_is_an_answer(&mut self) {
        self.fixture.duties(&[]).await;
        let now = self.fixture.now();
        self.expect(now, &[], "nobody is on call").await;
    }

    async fn whoever_is_on_call_is_named(&mut self) {
        let (ana, bob) = (Someone::Ana, Someone::Bob);
        let now = self.fixture.now();
        for who in [&[ana][..], &[bob], &[ana, bob]] {
            let duties: Vec<Duty> = who.iter().map(|it| always(*it, Turn::First)).collect();
            self.fixture.duties(&duties).await;
            self.expect(now, who, "everybody who is called at once is named")
                .await;
        }
    }

    async fn only_the_first_are_named(&mut self) {
        if !self.counterpart.shows(Sight::SecondTurn) {
            return;
        }
        let (ana, bob) = (Someone::Ana, Someone::Bob);
        let now = self.fixture.now();
        let both = [always(bob, Turn::Second), always(ana, Turn::First)];
        self.fixture.duties(&both).await;
        let what = "whoever is called when the first does not answer is not named";
        self.expect(now, &[ana], what).await;
        self.fixture.duties(&[always(bob, Turn::Second)]).await;
        let what = "whoever is second is not first for want of another";
        self.expect(now, &[], what).await;
        // One person may be both, by two schedules.
        let twice = [always(ana, Turn::Second), always(ana, Turn::First)];
        self.fixture.duties(&twice).await;
        self.expect(now, &[ana], "whoever is first is named").await;
    }

    async fn the_instant_counts_and_not_the_clock(&mut self) {
        let (ana, bob) = (Someone::Ana, Someone::Bob);
        let now = self.fixture.now();
        let (over, end) = (now + TURN, now + TURN + TURN);
        let turns = [
            Duty {
                until: Some(over),
                ..always(ana, Turn::First)
            },
            Duty {
                from: Some(over),
                until: Some(end),
                ..always(bob, Turn::First)
            },
        ];
        self.fixture.duties(&turns).await;
        for (at, who, what) in [
            (now, &[ana][..], "the first has the first turn"),
            (over - TICK, &[ana], "a turn goes on until its end"),
            (
                over,
                &[bob],
                "a turn ends before its end, and the next begins",
            ),
            (over + TICK, &[bob], "the second has the second turn"),
            (end, &[], "nobody is on call behind the last turn"),
        ] {
            self.expect(at, who, what).await;
        }
    }

    async fn a_failure_is_never_nobody(&mut self, how: Breakage) {
        let now = self.fixture.now();
        let duties = [always(Someone::Ana, Turn::First)];
        self.fixture.duties(&duties).await;
        self.expect(now, &[Someone::Ana], "somebody is on call")
            .await;
        self.fixture.break_calls(how).await;
        let said = self.asked(now).await;
        let error = said.expect_err("what could not be found out is an error and never nobody");
        how.check(&error);
        self.fixture.mend().await;
        self.expect(now, &[Someone::Ana], "calls work again").await;
    }
}
