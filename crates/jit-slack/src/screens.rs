//! What people look at besides messages: homes and windows. It remembers who opened what lately, in
//! this process alone, and which of it shows what is no longer so. It draws nothing: whoever opens
//! a home sees the truth in any case, so that what is forgotten here is only seen later.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::audit::{AuditEvent, Fact};
use jit_core::principal::PrincipalId;
use jit_core::request::{AccessRequest, RequestId};
use tokio::sync::Notify;

use crate::people::UserId;

/// A home that was not opened for so long is not kept up to date.
const HOME_KEPT: Duration = Duration::from_secs(86_400);
/// The same of a window: nobody leaves one open for long.
const WINDOW_KEPT: Duration = Duration::from_secs(3_600);
/// Homes, and windows, that are remembered at most.
const REMEMBERED: usize = 1_000;

/// Whether somebody decides anything at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decides {
    Something,
    Nothing,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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

#[derive(Debug, Default)]
struct Open {
    homes: HashMap<PrincipalId, Home>,
    windows: HashMap<String, Window>,
    stale: BTreeSet<Screen>,
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
        if homes.len() >= REMEMBERED && !homes.contains_key(reader) {
            return;
        }
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
        if windows.len() >= REMEMBERED {
            return;
        }
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

    /// What shows this request shows what is no longer so.
    pub(crate) fn changed(&self, request: &AccessRequest, news: &[AuditEvent], now: Timestamp) {
        let mut open = self.open();
        if open.homes.is_empty() && open.windows.is_empty() {
            return;
        }
        // What waits for somebody's decision changes with decisions alone.
        let is_decision = news.iter().any(|event| is_of_deciders(&event.event.what));
        let concerned = |reader: &PrincipalId, home: &Home| {
            *reader == request.requester
                || *reader == request.beneficiary
                || (is_decision && home.decides == Decides::Something)
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
        let stale: Vec<Screen> = homes.chain(windows).collect();
        if !stale.is_empty() {
            open.stale.extend(stale);
            self.changed.notify_one();
        }
    }

    /// Waits until something is stale, and takes it. However often it changed since, it is drawn
    /// once.
    pub(crate) async fn stale(&self) -> BTreeSet<Screen> {
        loop {
            let stale = std::mem::take(&mut self.open().stale);
            if !stale.is_empty() {
                return stale;
            }
            self.changed.notified().await;
        }
    }

    /// These could not be drawn yet.
    pub(crate) fn put_back(&self, left: impl IntoIterator<Item = Screen>) {
        self.open().stale.extend(left);
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
        let stale = screens.stale().now_or_never().unwrap_or_default();
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
            ["ana@example.com", "bob@example.com", "V1"]
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
}
