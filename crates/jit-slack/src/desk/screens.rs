//! Keeping homes and windows up to date, never in the way of anything else.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use jit_core::ports::Query;
use jit_core::principal::{Door, Principal, PrincipalId};
use jit_core::request::RequestId;
use serde_json::json;

use super::{Desk, Trouble};
use crate::input::Input;
use crate::people::UserId;
use crate::screens::Screen;
use crate::surface::{card, review_view};
use crate::web::WebError;

/// The pause after a round for each screen that was drawn in it: Slack publishes about two a second
/// for long, more in a moment, and whoever opens their home must find some of that left. What
/// changes meanwhile is collected.
const PAUSE_EACH: Duration = Duration::from_millis(500);
/// The pause where Slack wants one and does not say how long.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest pause that is believed.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Screens that are drawn in a round.
const AT_ONCE: usize = 20;
/// How often other processes' changes are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Their clocks may be so far behind ours, and their commits under way for so long.
const OVERLAP: Duration = Duration::from_secs(60);

/// Why a screen shows what is no longer so.
enum NotDrawn {
    /// Slack wants a pause; it is drawn later.
    Later(Duration),
    /// It is left as it is: whoever opens it again sees what is true.
    Never,
}

impl From<Trouble> for NotDrawn {
    fn from(_: Trouble) -> Self {
        Self::Never
    }
}

impl From<WebError> for NotDrawn {
    fn from(error: WebError) -> Self {
        match error {
            WebError::RateLimited(pause) => Self::Later(pause.unwrap_or(PAUSE).min(LONGEST_PAUSE)),
            _ => Self::Never,
        }
    }
}

impl Desk {
    /// Draws anew what people look at whenever it is no longer so.
    pub(crate) async fn redraw_for_ever(&self) {
        loop {
            let mut stale = self.notifier.screens.stale(AT_ONCE).await.into_iter();
            let mut pause = Duration::ZERO;
            while let Some(screen) = stale.next() {
                pause += PAUSE_EACH;
                let drawing = AssertUnwindSafe(self.redraw(&screen)).catch_unwind();
                let drawn = drawing.await.unwrap_or(Err(NotDrawn::Never));
                match drawn {
                    Ok(()) => {}
                    Err(NotDrawn::Later(wait)) => {
                        let left = std::iter::once(screen).chain(stale);
                        self.notifier.screens.put_back(left);
                        pause = pause.max(wait);
                        break;
                    }
                    Err(NotDrawn::Never) => tracing::debug!("a screen could not be drawn anew"),
                }
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Looks for what other processes changed, as long as somebody looks at anything here: what
    /// they announce is not heard of in this one.
    pub(crate) async fn look_for_ever(&self) {
        let screens = &self.notifier.screens;
        let mut looked_at = self.engine.now();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = self.engine.now();
            if !screens.is_any_open() {
                looked_at = now;
                continue;
            }
            // What changes more than that in a moment is seen when it is opened again.
            let changed = Query {
                updated_since: Some(looked_at - OVERLAP),
                limit: 1_000,
                ..Query::default()
            };
            match self.engine.store().query(&changed).await {
                Ok(changed) => {
                    for request in &changed {
                        screens.changed_elsewhere(request, now);
                    }
                    looked_at = now;
                }
                Err(error) => {
                    tracing::debug!(error = %error.chain(), "what others changed cannot be read");
                }
            }
        }
    }

    async fn redraw(&self, screen: &Screen) -> Result<(), NotDrawn> {
        match screen {
            Screen::Home(reader, user) => self.publish_home(reader, user).await,
            Screen::Window(view, reader, request) => {
                self.redraw_window(view, reader, *request).await
            }
        }
    }

    async fn publish_home(&self, reader: &PrincipalId, user: &UserId) -> Result<(), NotDrawn> {
        let (view, _) = self.home_of(&by_slack(reader)).await?;
        let body = json!({"user_id": user.as_str(), "view": view});
        Ok(self
            .notifier
            .web
            .post("views.publish", &body)
            .await
            .map(drop)?)
    }

    async fn redraw_window(
        &self,
        view: &str,
        reader: &PrincipalId,
        request: RequestId,
    ) -> Result<(), NotDrawn> {
        let request = self.engine.read(&by_slack(reader), request).await;
        let request = request.map_err(Trouble::from)?.request;
        let names = self.notifier.roster.names();
        let shown = review_view(&card(&self.notifier.scene(&request, &names)));
        let body = json!({"view_id": view, "view": shown});
        let updated = self.notifier.web.post("views.update", &body).await;
        if let Err(error) = &updated
            && error.code() == Some("not_found")
        {
            self.notifier.screens.window_closed(view);
        }
        Ok(updated.map(drop)?)
    }

    /// What was decided in a window shows there at once.
    pub(super) async fn refresh_window(&self, input: &Input, via: &Principal, about: RequestId) {
        let Some(view) = &input.window else { return };
        if self.redraw_window(view, &via.id, about).await.is_err() {
            tracing::debug!("a window could not be drawn anew");
        }
    }
}

fn by_slack(id: &PrincipalId) -> Principal {
    Principal {
        id: id.clone(),
        door: Door::Slack,
    }
}
