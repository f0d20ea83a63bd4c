//! The suite is worth what it catches: every clause, broken once, by a directory that is sound but
//! for that. And the directory of the stage keeps the contract.

use std::collections::BTreeMap;
use std::sync::Mutex;

use jit_core::principal::PrincipalKind;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::stage::People;

/// For how long whoever only looks sees what was.
const LATELY: Duration = Duration::from_secs(3_600);

/// A promise that is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    EachNameIsAPerson,
    CapitalsMatter,
    SeveralAreTheFirst,
    UnknownIsSomebody,
    FailureIsNobody,
    FailureIsNoGroups,
    FailureIsNoMembers,
    FailureIsNoList,
    FailuresAreForEver,
    RefusalsAreTriedAgain,
    ThrottlingIsAnOutage,
    HangsWithTheOtherSide,
    ListHangsWithTheOtherSide,
    WhoeverLooksWaits,
    WhoeverLooksSeesNoGroups,
    WhoeverLooksSeesNoMembers,
    ShowsForEverWhatWasOnce,
    RemembersForEver,
    ListsTheInactive,
    ListsPrograms,
    ListsByAnotherName,
    ListsOthers,
    ListsTheFirstOnly,
    ListsNone,
    ANewNameIsANewPerson,
}

const ALL: [Broken; 25] = [
    Broken::EachNameIsAPerson,
    Broken::CapitalsMatter,
    Broken::SeveralAreTheFirst,
    Broken::UnknownIsSomebody,
    Broken::FailureIsNobody,
    Broken::FailureIsNoGroups,
    Broken::FailureIsNoMembers,
    Broken::FailureIsNoList,
    Broken::FailuresAreForEver,
    Broken::RefusalsAreTriedAgain,
    Broken::ThrottlingIsAnOutage,
    Broken::HangsWithTheOtherSide,
    Broken::ListHangsWithTheOtherSide,
    Broken::WhoeverLooksWaits,
    Broken::WhoeverLooksSeesNoGroups,
    Broken::WhoeverLooksSeesNoMembers,
    Broken::ShowsForEverWhatWasOnce,
    Broken::RemembersForEver,
    Broken::ListsTheInactive,
    Broken::ListsPrograms,
    Broken::ListsByAnotherName,
    Broken::ListsOthers,
    Broken::ListsTheFirstOnly,
    Broken::ListsNone,
    Broken::ANewNameIsANewPerson,
];

const GROUP: &str = "operations";
const SHARED: &str = "ops@example.com";
/// When a call that is not answered is given up.
const GIVEN_UP: Duration = Duration::from_millis(2_900);

/// What is written of somebody.
#[derive(Debug, Clone)]
struct Page {
    id: PrincipalId,
    /// As they were written, the canonical id not among them.
    names: Vec<String>,
    kind: PrincipalKind,
    active: bool,
    is_in: bool,
}

#[derive(Debug)]
struct Book {
    pages: Vec<Page>,
    failing: Option<Breakage>,
    /// What was answered, by whom it was asked for.
    kept: BTreeMap<PrincipalId, (Profile, Instant)>,
}

/// A book of people that is kept elsewhere: people are known here, and their groups are asked for.
#[derive(Clone)]
struct Shelf {
    book: Arc<Mutex<Book>>,
    broken: Option<Broken>,
}

fn page(id: &str, names: &[&str], is_in: bool) -> Page {
    Page {
        id: principal(id),
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        kind: PrincipalKind::Person,
        active: true,
        is_in,
    }
}

impl Shelf {
    fn new(broken: Option<Broken>) -> Self {
        let mut robot = page("agent:robot", &[], false);
        robot.kind = PrincipalKind::Agent {
            acts_for: principal("ana@example.com"),
            caps: Default::default(),
        };
        let pages = vec![
            page("ana@example.com", &["Ana.Lopez@example.com", SHARED], true),
            page("bob@example.com", &["bob", SHARED], false),
            robot,
        ];
        let book = Book {
            pages,
            failing: None,
            kept: BTreeMap::new(),
        };
        Self {
            book: Arc::new(Mutex::new(book)),
            broken,
        }
    }

    fn is(&self, broken: Broken) -> bool {
        self.broken == Some(broken)
    }

    fn group() -> GroupName {
        GROUP.parse().unwrap()
    }

    fn leads_to(&self, page: &Page, id: &PrincipalId) -> bool {
        let spelt = |name: &String| match self.is(Broken::CapitalsMatter) {
            true => name == id.as_str(),
            false => principal(name) == *id,
        };
        page.id == *id || page.names.iter().any(spelt)
    }

    /// Everything that is known of this page.
    fn shown(&self, page: &Page, asked_for: &PrincipalId) -> Profile {
        let id = match self.broken {
            Some(Broken::EachNameIsAPerson) => asked_for.clone(),
            Some(Broken::ANewNameIsANewPerson) if asked_for.as_str().starts_with("robert") => {
                asked_for.clone()
            }
            _ => page.id.clone(),
        };
        Profile {
            id,
            kind: page.kind.clone(),
            active: page.active,
            groups: page.is_in.then(Self::group).into_iter().collect(),
            groups_unknown: BTreeSet::new(),
            manager: None,
            subjects: BTreeMap::new(),
        }
    }

    /// What is known here, without anybody being asked.
    fn found(&self, id: &PrincipalId) -> Option<Profile> {
        let book = self.book.lock().unwrap();
        let mut pages = book.pages.iter().filter(|page| self.leads_to(page, id));
        match (pages.next(), pages.next()) {
            (Some(page), None) => Some(self.shown(page, id)),
            (Some(page), Some(_)) if self.is(Broken::SeveralAreTheFirst) => {
                Some(self.shown(page, id))
            }
            (None, None) if self.is(Broken::UnknownIsSomebody) => {
                Some(self.shown(&page(id.as_str(), &[], false), id))
            }
            _ => None,
        }
    }

    /// Asks the other side.
    async fn answered(&self, hangs: Broken) -> Result<(), PortError> {
        let failing = self.book.lock().unwrap().failing;
        let Some(how) = failing else { return Ok(()) };
        if how == Breakage::Hang {
            match self.is(hangs) {
                true => std::future::pending::<()>().await,
                false => tokio::time::sleep(GIVEN_UP).await,
            }
        }
        let kind = match how {
            _ if self.is(Broken::FailuresAreForEver) => ErrorKind::Misconfigured,
            Breakage::Refusal if !self.is(Broken::RefusalsAreTriedAgain) => ErrorKind::Forbidden,
            Breakage::Throttling if !self.is(Broken::ThrottlingIsAnOutage) => {
                ErrorKind::RateLimited {
                    retry_after_ms: None,
                }
            }
            _ => ErrorKind::Unavailable,
        };
        Err(PortError::nothing_done("shelf", "look up", kind))
    }

    async fn ask(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        if self.is(Broken::RemembersForEver) {
            let kept = self.book.lock().unwrap().kept.get(id).cloned();
            if let Some((kept, _)) = kept {
                return Ok(Some(kept));
            }
        }
        let found = self.found(id);
        match self.answered(Broken::HangsWithTheOtherSide).await {
            Err(_) if self.is(Broken::FailureIsNobody) => return Ok(None),
            Err(_) if self.is(Broken::FailureIsNoGroups) => {
                return Ok(found.map(|found| Profile {
                    groups: BTreeSet::new(),
                    ..found
                }));
            }
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        if let Some(found) = &found {
            let kept = (found.clone(), Instant::now());
            self.book.lock().unwrap().kept.insert(id.clone(), kept);
        }
        Ok(found)
    }

    fn listed(&self) -> BTreeSet<PrincipalId> {
        let book = self.book.lock().unwrap();
        let is_listed = |page: &&Page| {
            let kind_fits = page.kind == PrincipalKind::Person;
            let others = self.is(Broken::ListsOthers);
            (page.is_in || others && kind_fits || self.is(Broken::ListsPrograms) && !kind_fits)
                && (page.active || self.is(Broken::ListsTheInactive))
        };
        let name = |page: &Page| match (self.is(Broken::ListsByAnotherName), page.names.first()) {
            (true, Some(name)) => principal(name),
            _ => page.id.clone(),
        };
        let most = match self.broken {
            Some(Broken::ListsTheFirstOnly) => 1,
            Some(Broken::ListsNone) => 0,
            _ => usize::MAX,
        };
        let listed = book.pages.iter().filter(is_listed).map(name);
        listed.take(most).collect()
    }
}

#[async_trait]
impl Directory for Shelf {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        self.ask(id).await
    }

    async fn profile_lately(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        if self.is(Broken::WhoeverLooksWaits) {
            return self.ask(id).await;
        }
        let kept = self.book.lock().unwrap().kept.get(id).cloned();
        let for_ever = self.is(Broken::ShowsForEverWhatWasOnce);
        let Some((kept, _)) = kept.filter(|(_, at)| for_ever || at.elapsed() < LATELY) else {
            return self.ask(id).await;
        };
        let mut lately = kept;
        if self.is(Broken::WhoeverLooksSeesNoGroups) {
            lately.groups.clear();
        }
        Ok(Some(lately))
    }

    async fn members(&self, _: &GroupName) -> Result<Members, PortError> {
        match self.answered(Broken::ListHangsWithTheOtherSide).await {
            Err(_) if self.is(Broken::FailureIsNoMembers) => Ok(Some(BTreeSet::new())),
            Err(_) if self.is(Broken::FailureIsNoList) => Ok(None),
            Err(error) => Err(error),
            Ok(()) => Ok(Some(self.listed())),
        }
    }

    async fn members_lately(&self, _: &GroupName) -> Result<Members, PortError> {
        let is_empty = self.is(Broken::WhoeverLooksSeesNoMembers);
        Ok(Some(match is_empty {
            true => BTreeSet::new(),
            false => self.listed(),
        }))
    }
}

#[async_trait]
impl DirectoryFixture for Shelf {
    fn counterpart(&self) -> Counterpart {
        Counterpart {
            name: "a book in memory",
            cannot_show: vec![],
        }
    }
    fn directory(&self) -> Arc<dyn Directory> {
        Arc::new(self.clone())
    }
    fn names(&self, who: Someone) -> Vec<String> {
        let book = self.book.lock().unwrap();
        let page = &book.pages[who as usize];
        let own = page.names.iter().filter(|name| *name != SHARED).cloned();
        std::iter::once(page.id.to_string()).chain(own).collect()
    }
    fn group(&self) -> GroupName {
        Self::group()
    }
    fn nobody(&self) -> PrincipalId {
        principal("nobody@example.com")
    }
    fn several(&self) -> Option<PrincipalId> {
        Some(principal(SHARED))
    }
    async fn change(&mut self, change: Change) {
        let mut book = self.book.lock().unwrap();
        let pages = &mut book.pages;
        match change {
            Change::Rename(who, to) => pages[who as usize].names[0] = to.to_string(),
            Change::Deactivate(who) => pages[who as usize].active = false,
            Change::Activate(who) => pages[who as usize].active = true,
            Change::Join(who) => pages[who as usize].is_in = true,
            Change::Leave(who) => pages[who as usize].is_in = false,
        }
    }
    async fn break_calls(&mut self, how: Breakage) {
        self.book.lock().unwrap().failing = Some(how);
    }
    async fn mend(&mut self) {
        self.book.lock().unwrap().failing = None;
    }
    async fn pass(&mut self, time: Duration) {
        tokio::time::advance(time).await;
    }
}

fn run(broken: Option<Broken>) -> JoinHandle<()> {
    let mut shelf = Shelf::new(broken);
    tokio::spawn(async move { directory_contract(&mut shelf).await })
}

#[tokio::test(start_paused = true)]
async fn a_book_in_memory_keeps_the_contract() {
    run(None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn every_broken_promise_is_caught() {
    for broken in ALL {
        let caught = run(Some(broken)).await.is_err();
        assert!(caught, "{broken:?} is not caught");
    }
}

/// The directory of the stage, which holds still while nobody changes it.
struct OfTheStage(Arc<People>);

#[async_trait]
impl DirectoryFixture for OfTheStage {
    fn counterpart(&self) -> Counterpart {
        let no_other_side = "it is a map in memory, which is there or is not";
        let failing = |how| (Sight::Breakage(how), no_other_side);
        Counterpart {
            name: "a map in memory",
            cannot_show: vec![
                (Sight::SharedName, "a name leads to one entry of the map"),
                (Sight::LatelyAtOnce, "it remembers nothing but the truth"),
                failing(Breakage::Refusal),
                failing(Breakage::Throttling),
                failing(Breakage::Garbage),
                failing(Breakage::Hang),
            ],
        }
    }
    fn directory(&self) -> Arc<dyn Directory> {
        self.0.clone()
    }
    fn names(&self, who: Someone) -> Vec<String> {
        let id = crate::stage::id(match who {
            Someone::Ana => "ana",
            Someone::Bob => "bob",
        });
        let aliases = self.0.aliases.lock().unwrap();
        let own = aliases.iter().filter(|(_, leads_to)| **leads_to == id);
        let mut names: Vec<String> = own.map(|(alias, _)| alias.to_string()).collect();
        names.insert(0, id.to_string());
        names
    }
    fn group(&self) -> GroupName {
        GROUP.parse().unwrap()
    }
    fn nobody(&self) -> PrincipalId {
        principal("nobody@example.com")
    }
    async fn change(&mut self, change: Change) {
        let id = |who: Someone| principal(&self.names(who)[0]);
        let with = |who, change: &dyn Fn(&mut Profile)| {
            change(self.0.profiles.lock().unwrap().get_mut(&id(who)).unwrap());
        };
        match change {
            Change::Rename(who, to) => {
                let id = id(who);
                let mut aliases = self.0.aliases.lock().unwrap();
                aliases.retain(|_, leads_to| *leads_to != id);
                aliases.insert(to, id);
            }
            Change::Deactivate(who) => with(who, &|it| it.active = false),
            Change::Activate(who) => with(who, &|it| it.active = true),
            Change::Join(who) => with(who, &|it| it.groups.extend([GROUP.parse().unwrap()])),
            Change::Leave(who) => with(who, &|it| it.groups.clear()),
        }
    }
    async fn break_calls(&mut self, _: Breakage) {
        *self.0.is_down.lock().unwrap() = true;
    }
    async fn mend(&mut self) {
        *self.0.is_down.lock().unwrap() = false;
    }
    async fn pass(&mut self, _: Duration) {}
}

#[tokio::test]
async fn the_directory_of_the_stage_keeps_the_contract() {
    let people = People::default();
    for (name, groups) in [("ana", vec![GROUP.parse().unwrap()]), ("bob", vec![])] {
        let id = crate::stage::id(name);
        people
            .aliases
            .lock()
            .unwrap()
            .insert(principal(name), id.clone());
        let profile = Profile {
            id: id.clone(),
            kind: PrincipalKind::Person,
            active: true,
            groups: groups.into_iter().collect(),
            groups_unknown: BTreeSet::new(),
            manager: None,
            subjects: BTreeMap::new(),
        };
        people.profiles.lock().unwrap().insert(id, profile);
    }
    directory_contract(&mut OfTheStage(Arc::new(people))).await;
}
