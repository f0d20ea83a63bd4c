//! The suite is worth what it catches: every clause, broken once, by a rota that is sound but for
//! that.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jit_core::ports::ErrorKind;
use jit_core::principal::{PrincipalKind, Profile};
use tokio::task::JoinHandle;

use super::*;
use crate::sample;
use crate::stage::{People, id};

/// A promise that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    NobodyIsAnError,
    NobodyIsWhoeverWasLast,
    TheFirstOfSeveral,
    TheSecondToo,
    TheSecondWhereThereIsNoFirst,
    NotWhoeverIsBoth,
    NamesThatNobodyKnows,
    TheClockCounts,
    TheEndCounts,
    TheBeginningDoesNot,
    FailureIsNobody,
    FailureIsWhoeverWasLast,
    FailuresAreForEver,
    RefusalsAreTriedAgain,
    ThrottlingIsAnOutage,
    HangsWithTheOtherSide,
}

const ALL: [Broken; 16] = [
    Broken::NobodyIsAnError,
    Broken::NobodyIsWhoeverWasLast,
    Broken::TheFirstOfSeveral,
    Broken::TheSecondToo,
    Broken::TheSecondWhereThereIsNoFirst,
    Broken::NotWhoeverIsBoth,
    Broken::NamesThatNobodyKnows,
    Broken::TheClockCounts,
    Broken::TheEndCounts,
    Broken::TheBeginningDoesNot,
    Broken::FailureIsNobody,
    Broken::FailureIsWhoeverWasLast,
    Broken::FailuresAreForEver,
    Broken::RefusalsAreTriedAgain,
    Broken::ThrottlingIsAnOutage,
    Broken::HangsWithTheOtherSide,
];

/// When a call that is not answered is given up.
const GIVEN_UP: Duration = Duration::from_millis(2_900);

#[derive(Debug, Default)]
struct Sheet {
    duties: Vec<Duty>,
    failing: Option<Breakage>,
    last: BTreeSet<PrincipalId>,
}

/// A sheet of paper with everybody's turns, on a wall elsewhere.
#[derive(Clone)]
struct Wall {
    sheet: Arc<Mutex<Sheet>>,
    broken: Option<Broken>,
}

fn name(who: Someone) -> &'static str {
    match who {
        Someone::Ana => "ana",
        Someone::Bob => "bob",
    }
}

impl Wall {
    fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    fn failure(&self, how: Option<Breakage>) -> PortError {
        let kind = match how {
            _ if self.is(Broken::FailuresAreForEver) => ErrorKind::Misconfigured,
            Some(Breakage::Refusal) if !self.is(Broken::RefusalsAreTriedAgain) => {
                ErrorKind::Forbidden
            }
            Some(Breakage::Throttling) if !self.is(Broken::ThrottlingIsAnOutage) => {
                ErrorKind::RateLimited {
                    retry_after_ms: Some(1_000),
                }
            }
            _ => ErrorKind::Unavailable,
        };
        PortError::nothing_done("wall", "read", kind)
    }

    fn is_on(&self, duty: &Duty, at: Timestamp) -> bool {
        let at = match self.is(Broken::TheClockCounts) {
            true => sample::start(),
            false => at,
        };
        let begun = |from| match self.is(Broken::TheBeginningDoesNot) {
            true => from < at,
            false => from <= at,
        };
        let goes_on = |until| match self.is(Broken::TheEndCounts) {
            true => at <= until,
            false => at < until,
        };
        duty.from.is_none_or(begun) && duty.until.is_none_or(goes_on)
    }

    fn named(&self, at: Timestamp) -> BTreeSet<PrincipalId> {
        let sheet = self.sheet.lock().unwrap();
        let on: Vec<&Duty> = sheet
            .duties
            .iter()
            .filter(|it| self.is_on(it, at))
            .collect();
        let first = on.iter().filter(|it| it.turn == Turn::First).count();
        let second_too = self.is(Broken::TheSecondToo)
            || self.is(Broken::TheSecondWhereThereIsNoFirst) && first == 0;
        let is_both = |who| on.iter().filter(|it| it.who == who).count() > 1;
        let counts = |it: &&Duty| {
            (it.turn == Turn::First || second_too)
                && !(self.is(Broken::NotWhoeverIsBoth) && is_both(it.who))
        };
        let most = match self.is(Broken::TheFirstOfSeveral) {
            true => 1,
            false => usize::MAX,
        };
        let counted = on.iter().copied().filter(counts).take(most);
        let named = |it: &Duty| match self.is(Broken::NamesThatNobodyKnows) {
            true => format!("{}@pager.example.com", name(it.who)),
            false => name(it.who).to_owned(),
        };
        counted.map(|it| named(it).parse().unwrap()).collect()
    }
}

#[async_trait]
impl Rota for Wall {
    async fn on_call(&self, at: Timestamp) -> Result<BTreeSet<PrincipalId>, PortError> {
        let failing = self.sheet.lock().unwrap().failing;
        let last = self.sheet.lock().unwrap().last.clone();
        if let Some(how) = failing {
            match how {
                Breakage::Hang if self.is(Broken::HangsWithTheOtherSide) => {
                    std::future::pending::<()>().await;
                }
                Breakage::Hang => tokio::time::sleep(GIVEN_UP).await,
                _ => {}
            }
            return match self.broken {
                Some(Broken::FailureIsNobody) => Ok(BTreeSet::new()),
                Some(Broken::FailureIsWhoeverWasLast) => Ok(last),
                _ => Err(self.failure(Some(how))),
            };
        }
        let named = self.named(at);
        match self.broken {
            Some(Broken::NobodyIsAnError) if named.is_empty() => return Err(self.failure(None)),
            Some(Broken::NobodyIsWhoeverWasLast) if named.is_empty() => return Ok(last),
            _ => {}
        }
        self.sheet.lock().unwrap().last = named.clone();
        Ok(named)
    }
}

#[async_trait]
impl RotaFixture for Wall {
    fn counterpart(&self) -> Counterpart {
        Counterpart {
            name: "a sheet of paper",
            cannot_show: vec![],
        }
    }
    fn rota(&self) -> Arc<dyn Rota> {
        Arc::new(self.clone())
    }
    fn directory(&self) -> Arc<dyn Directory> {
        let people = People::default();
        for who in [Someone::Ana, Someone::Bob] {
            let alias = name(who).parse().unwrap();
            people.aliases.lock().unwrap().insert(alias, self.id(who));
            let profile = Profile {
                id: self.id(who),
                kind: PrincipalKind::Person,
                active: true,
                groups: BTreeSet::new(),
                groups_unknown: BTreeSet::new(),
                manager: None,
                subjects: BTreeMap::new(),
            };
            people
                .profiles
                .lock()
                .unwrap()
                .insert(self.id(who), profile);
        }
        Arc::new(people)
    }
    fn id(&self, who: Someone) -> PrincipalId {
        id(name(who))
    }
    fn now(&self) -> Timestamp {
        sample::start()
    }
    async fn duties(&mut self, duties: &[Duty]) {
        self.sheet.lock().unwrap().duties = duties.to_vec();
    }
    async fn break_calls(&mut self, how: Breakage) {
        self.sheet.lock().unwrap().failing = Some(how);
    }
    async fn mend(&mut self) {
        self.sheet.lock().unwrap().failing = None;
    }
}

fn run(broken: Option<Broken>) -> JoinHandle<()> {
    let mut wall = Wall {
        sheet: Arc::default(),
        broken,
    };
    tokio::spawn(async move { rota_contract(&mut wall).await })
}

#[tokio::test(start_paused = true)]
async fn a_sheet_of_paper_keeps_the_contract() {
    run(None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_broken_promise_is_caught() {
    for broken in ALL {
        let caught = run(Some(broken)).await.is_err();
        assert!(caught, "{broken:?} is not caught");
    }
}
