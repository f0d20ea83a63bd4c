//! What people look at besides messages: homes and windows. It remembers who opened what lately, in
//! this process alone, and which of it shows what is no longer so: what this process announces at
//! once, what others do when the store is looked at next. It draws nothing: whoever opens a home
//! sees the truth in any case, so that what is forgotten here is only seen later.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::audit::{AuditEvent, Fact};
use jit_core::principal::PrincipalId;
use jit_core::request::{AccessRequest, RequestId, Stage};
use tokio::sync::Notify;

use crate::people::UserId;

/// A home that was not opened for so long is not kept up to date.
const HOME_KEPT: Duration = Duration::from_secs(86_400);
/// The same of a window: nobody leaves one open for long.
const WINDOW_KEPT: Duration = Duration::from_secs(3_600);
/// Homes, and windows, that are remembered at most: past that the one that was opened first is
/// forgotten.
const REMEMBERED: usize = 1_000;
/// Requests of which is remembered what was shown of them.
const NOTED: usize = 10_000;

/// Whether somebody decides anything at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decides {
    Something,
    Nothing,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Screen {
    /// The home of this person.
    Home(PrincipalId, UserId),
    /// The window with this id of Slack's, in which this person looks at this request.
    Window(String, PrincipalId, RequestId),
}

#[derive(Debug)]
struct Home {
    user: UserId,
    decides: Decides,
    opened_at: Timestamp,
}

#[derive(Debug)]
struct Window {
    reader: PrincipalId,
    request: RequestId,
    opened_at: Timestamp,
}

/// Screens that wait to be drawn, the longest stale first, each once.
#[derive(Debug, Default)]
struct Queue {
    order: VecDeque<Screen>,
    waiting: HashSet<Screen>,
}

impl Queue {
    fn push(&mut self, screen: Screen) {
        if self.waiting.insert(screen.clone()) {
            self.order.push_back(screen);
        }
    }

    fn put_back(&mut self, screen: Screen) {
        if self.waiting.insert(screen.clone()) {
            self.order.push_front(screen);
        }
    }

    fn take(&mut self, at_most: usize) -> Vec<Screen> {
        let taken = self.order.drain(..at_most.min(self.order.len()));
        let taken: Vec<Screen> = taken.collect();
        for screen in &taken {
            self.waiting.remove(screen);
        }
        taken
    }
}

/// How a request was when its screens were last said to be stale.
#[derive(Debug, Clone, Copy)]
struct Noted {
    version: u64,
    pending: bool,
}

#[derive(Debug, Default)]
struct Open {
    homes: HashMap<PrincipalId, Home>,
    windows: HashMap<String, Window>,
    /// Somebody has a window before their eyes, and decides by what it shows.
    stale_windows: Queue,
    stale_homes: Queue,
    noted: HashMap<RequestId, Noted>,
}

impl Open {
    /// Remembers that this is known here, and gives what was known before.
    fn note(&mut self, request: &AccessRequest) -> Option<Noted> {
        let before = self.noted.get(&request.id).copied();
        if before.is_some_and(|before| before.version >= request.version) {
            return before;
        }
        if self.noted.len() >= NOTED {
            self.noted.clear();
        }
        let now = Noted {
            version: request.version,
            pending: request.stage == Stage::Pending,
        };
        self.noted.insert(request.id, now);
        before
    }
}

/// Makes room for one more, where there is none.
fn forget_oldest<K: Clone + Eq + Hash, V>(
    all: &mut HashMap<K, V>,
    opened_at: impl Fn(&V) -> Timestamp,
) {
    if all.len() < REMEMBERED {
        return;
    }
    let oldest = all.iter().min_by_key(|(_, one)| opened_at(one));
    if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
        all.remove(&oldest);
    }
}

/// Everything that is open.
#[derive(Debug, Default)]
pub(crate) struct Screens {
    open: Mutex<Open>,
    changed: Notify,
}

impl Screens {
    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody opened their home.
    pub(crate) fn home_opened(
        &self,
        reader: &PrincipalId,
        user: &UserId,
        decides: Decides,
        now: Timestamp,
    ) {
        let homes = &mut self.open().homes;
        homes.retain(|_, home| now.since(home.opened_at) < HOME_KEPT);
        homes.remove(reader);
        forget_oldest(homes, |home| home.opened_at);
        let home = Home {
            user: user.clone(),
            decides,
            opened_at: now,
        };
        homes.insert(reader.clone(), home);
    }

    /// Somebody looks at a request in a window of its own.
    pub(crate) fn window_opened(
        &self,
        view: &str,
        reader: &PrincipalId,
        request: RequestId,
        now: Timestamp,
    ) {
        let windows = &mut self.open().windows;
        windows.retain(|_, window| now.since(window.opened_at) < WINDOW_KEPT);
        forget_oldest(windows, |window| window.opened_at);
        let window = Window {
            reader: reader.clone(),
            request,
            opened_at: now,
        };
        windows.insert(view.to_owned(), window);
    }

    /// It was closed, or shows something else.
    pub(crate) fn window_closed(&self, view: &str) {
        self.open().windows.remove(view);
    }

    /// Whether there is anything to keep up to date.
    pub(crate) fn is_any_open(&self) -> bool {
        let open = self.open();
        !open.homes.is_empty() || !open.windows.is_empty()
    }

    /// What shows this request shows what is no longer so: this process announces why.
    pub(crate) fn changed(&self, request: &AccessRequest, news: &[AuditEvent], now: Timestamp) {
        // What waits for somebody's decision changes with decisions alone.
        let is_decision = news.iter().any(|event| is_of_deciders(&event.event.what));
        let deciders = match is_decision {
            true => Decides::Something,
            false => Decides::Nothing,
        };
        let mut open = self.open();
        open.note(request);
        self.mark(&mut open, request, deciders, now);
    }

    /// The same, where the store shows a change of which nothing was heard here yet.
    pub(crate) fn changed_elsewhere(&self, request: &AccessRequest, now: Timestamp) {
        let mut open = self.open();
        let before = open.note(request);
        if before.is_some_and(|before| before.version >= request.version) {
            return;
        }
        // What is no more pending, and was not either, concerns nobody who decides.
        let was_pending = before.is_none_or(|before| before.pending);
        let deciders = match was_pending || request.stage == Stage::Pending {
            true => Decides::Something,
            false => Decides::Nothing,
        };
        self.mark(&mut open, request, deciders, now);
    }

    /// Screens of this request are stale; those of deciders too, where these decide something.
    fn mark(&self, open: &mut Open, request: &AccessRequest, concerns: Decides, now: Timestamp) {
        if open.homes.is_empty() && open.windows.is_empty() {
            return;
        }
        let concerned = |reader: &PrincipalId, home: &Home| {
            *reader == request.requester
                || *reader == request.beneficiary
                || (concerns == Decides::Something && home.decides == Decides::Something)
        };
        let homes = open.homes.iter().filter(|(reader, home)| {
            now.since(home.opened_at) < HOME_KEPT && concerned(reader, home)
        });
        let homes = homes.map(|(reader, home)| Screen::Home(reader.clone(), home.user.clone()));
        let windows = open.windows.iter();
        let windows = windows.filter(|(_, window)| window.request == request.id);
        let windows = windows.map(|(view, window)| {
            Screen::Window(view.clone(), window.reader.clone(), window.request)
        });
        let (homes, windows): (Vec<_>, Vec<_>) = (homes.collect(), windows.collect());
        if homes.is_empty() && windows.is_empty() {
            return;
        }
        homes.into_iter().for_each(|it| open.stale_homes.push(it));
        windows
            .into_iter()
            .for_each(|it| open.stale_windows.push(it));
        self.changed.notify_one();
    }

    /// Waits until something is stale, and takes it: windows, then homes, the longest stale first.
    /// However often it changed since, it is drawn once.
    pub(crate) async fn stale(&self, at_most: usize) -> Vec<Screen> {
        loop {
            let stale = {
                let mut open = self.open();
                let mut stale = open.stale_windows.take(at_most);
                let room = at_most.saturating_sub(stale.len());
                stale.extend(open.stale_homes.take(room));
                stale
            };
            if !stale.is_empty() {
                return stale;
            }
            self.changed.notified().await;
        }
    }

    /// These could not be drawn yet, and are the next.
    pub(crate) fn put_back(&self, left: impl DoubleEndedIterator<Item = Screen>) {
        let mut open = self.open();
        for screen in left.rev() {
            match screen {
                Screen::Home(..) => open.stale_homes.put_back(screen),
                Screen::Window(..) => open.stale_windows.put_back(screen),
            }
        }
    }
}

fn is_of_deciders(fact: &Fact) -> bool {
    matches!(
        fact,
        Fact::Requested { .. }
            | Fact::Approved { .. }
            | Fact::ApprovalDropped { .. }
            | Fact::ApprovalRetracted { .. }
            | Fact::Denied { .. }
            | Fact::Withdrawn
            | Fact::Escalated { .. }
            | Fact::Lapsed
            | Fact::Invalidated { .. }
    )
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use jit_core::request::Status;
    use jit_testkit::sample;

    use super::*;
    use crate::surface::events;

    fn id(name: &str) -> PrincipalId {
        format!("{name}@example.com").parse().unwrap()
    }

    fn user(name: &str) -> UserId {
        format!("U0{}", name.to_uppercase()).parse().unwrap()
    }

    fn readers(screens: &Screens) -> Vec<String> {
        let mut readers = next(screens, usize::MAX);
        readers.sort();
        readers
    }

    fn next(screens: &Screens, at_most: usize) -> Vec<String> {
        let stale = screens.stale(at_most).now_or_never().unwrap_or_default();
        let reader = |screen: Screen| match screen {
            Screen::Home(reader, _) => reader.to_string(),
            Screen::Window(view, ..) => view,
        };
        stale.into_iter().map(reader).collect()
    }

    #[test]
    fn only_what_was_opened_lately_by_somebody_concerned_is_drawn_again_and_once() {
        let screens = Screens::default();
        let request = sample::request_in(1, Status::Pending);
        let decisions = events(&request);
        let at = sample::at;
        for (name, decides) in [
            ("ana", Decides::Nothing),
            ("bob", Decides::Something),
            ("cleo", Decides::Nothing),
        ] {
            screens.home_opened(&id(name), &user(name), decides, at(0));
        }
        screens.window_opened("V1", &id("bob"), request.id, at(0));
        screens.window_opened("V2", &id("bob"), sample::id(2), at(0));
        for _ in 0..3 {
            screens.changed(&request, &decisions, at(1));
        }
        assert_eq!(
            readers(&screens),
            ["V1", "ana@example.com", "bob@example.com"]
        );
        assert!(readers(&screens).is_empty());
        // What is no decision changes nothing for those who decide.
        screens.window_closed("V1");
        screens.changed(&request, &[], at(1));
        assert_eq!(readers(&screens), ["ana@example.com"]);
        screens.changed(&request, &decisions, at(86_400));
        assert!(readers(&screens).is_empty(), "opened yesterday");
    }

    #[test]
    fn no_more_homes_are_remembered_than_can_be_drawn() {
        let screens = Screens::default();
        for number in 0..2 * REMEMBERED {
            let reader = id(&format!("p{number}"));
            screens.home_opened(&reader, &user("ana"), Decides::Something, sample::at(0));
        }
        let request = sample::request_in(1, Status::Pending);
        screens.changed(&request, &events(&request), sample::at(0));
        assert_eq!(readers(&screens).len(), REMEMBERED);
    }

    #[test]
    fn a_window_is_drawn_before_homes_and_nobody_waits_for_who_changes_more_often() {
        let screens = Screens::default();
        let request = sample::request_in(1, Status::Pending);
        let names = ["zoe", "cleo", "bob"];
        for name in names {
            let reader = id(name);
            screens.home_opened(&reader, &user(name), Decides::Nothing, sample::at(0));
        }
        let changes = |name: &str| {
            let (requester, beneficiary) = (id(name), id(name));
            let request = AccessRequest {
                requester,
                beneficiary,
                ..request.clone()
            };
            screens.changed(&request, &[], sample::at(1));
        };
        names.into_iter().for_each(changes);
        screens.window_opened("V1", &id("bob"), request.id, sample::at(0));
        changes("bob");
        assert_eq!(next(&screens, 2), ["V1", "zoe@example.com"]);
        // What is drawn and changes again goes behind those that wait.
        changes("zoe");
        let mut drawn = next(&screens, 2);
        assert_eq!(drawn.remove(0), "V1", "it shows the request that changed");
        assert_eq!(drawn, ["cleo@example.com"]);
        assert_eq!(next(&screens, 1), ["bob@example.com"]);
        assert_eq!(next(&screens, 1), ["zoe@example.com"]);
    }

    #[test]
    fn what_could_not_be_drawn_is_the_next_and_in_the_same_order() {
        let screens = Screens::default();
        let request = sample::request_in(1, Status::Pending);
        let decisions = events(&request);
        for number in 0..5 {
            let reader = id(&format!("p{number}"));
            screens.home_opened(&reader, &user("ana"), Decides::Something, sample::at(0));
        }
        screens.changed(&request, &decisions, sample::at(0));
        let taken = screens.stale(3).now_or_never().unwrap();
        screens.put_back(taken.clone().into_iter());
        assert_eq!(screens.stale(3).now_or_never().unwrap(), taken);
    }

    #[test]
    fn the_window_that_was_opened_last_is_kept_up_to_date_however_many_there_are() {
        let screens = Screens::default();
        let request = sample::request_in(1, Status::Pending);
        for number in 0..=REMEMBERED {
            let at = sample::at(u64::try_from(number).unwrap());
            screens.window_opened(&format!("V{number}"), &id("bob"), request.id, at);
        }
        screens.changed(&request, &[], sample::at(2_000));
        let windows = readers(&screens);
        assert_eq!(windows.len(), REMEMBERED);
        assert!(windows.contains(&format!("V{REMEMBERED}")));
        assert!(!windows.contains(&"V0".to_owned()));
    }

    #[test]
    fn what_another_process_changed_is_stale_once_and_for_deciders_while_they_decide() {
        let screens = Screens::default();
        for (name, decides) in [("ana", Decides::Nothing), ("bob", Decides::Something)] {
            screens.home_opened(&id(name), &user(name), decides, sample::at(0));
        }
        let mut request = sample::request_in(1, Status::Pending);
        let elsewhere = |request: &AccessRequest| {
            screens.changed_elsewhere(request, sample::at(1));
            readers(&screens)
        };
        let both = ["ana@example.com", "bob@example.com"];
        screens.changed(&request, &events(&request), sample::at(1));
        assert_eq!(readers(&screens), both);
        assert!(elsewhere(&request).is_empty(), "it was announced here");
        for (status, seen) in [(Status::Active, &both[..]), (Status::Closed, &both[..1])] {
            let version = request.version + 1;
            request = AccessRequest {
                version,
                ..sample::request_in(1, status)
            };
            assert_eq!(elsewhere(&request), seen, "{status}");
            assert!(elsewhere(&request).is_empty(), "{status}");
        }
    }
}
