//! What people look at: lists to choose from, their requests, their home.

use std::sync::Arc;
use std::time::Duration;

use jit_core::engine::{Extent, Listed, Verb};
use jit_core::ports::Query;
use jit_core::principal::{Door, Principal};
use jit_core::request::{AccessRequest, RequestId, Status};
use serde_json::{Value, json};

use super::{Desk, Marked, Origin, Trouble, usage};
use crate::commands::Typed;
use crate::input::Input;
use crate::people::{TeamId, UserId};
use crate::screens::Decides;
use crate::surface::{
    Home, Reply, help, home, home_for_strangers, listing, more_options, no_reason, not_understood,
    option,
};

/// Options that Slack takes.
const OPTIONS: usize = 100;
/// The longest that options may take to come.
const OPTIONS_WITHIN: Duration = Duration::from_millis(80);
/// Access that is there, or about to be.
const LIVE: [Status; 2] = [Status::Provisioning, Status::Active];
/// What is still for others, or for the clock, to decide.
const WAITING: [Status; 2] = [Status::Pending, Status::Approved];

impl Desk {
    /// What can be chosen. Slack waits for it while somebody types, so that it comes from what was
    /// known lately. Where nothing is known yet there is nothing to choose from, and by the next
    /// letter that is typed it is known.
    pub(super) async fn options(
        self: &Arc<Self>,
        user: &UserId,
        team: Option<&TeamId>,
        query: &str,
    ) -> Result<Vec<Value>, Trouble> {
        let (desk, user, team) = (Arc::clone(self), user.clone(), team.cloned());
        let query = query.to_owned();
        // What it has to ask for is asked for to its end, whether somebody waits or not.
        let found = tokio::spawn(async move { desk.choices(&user, team.as_ref(), &query).await });
        match tokio::time::timeout(OPTIONS_WITHIN, found).await {
            Ok(Ok(found)) => found,
            Ok(Err(ended)) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
            Ok(Err(_)) | Err(_) => Ok(vec![]),
        }
    }

    async fn choices(
        &self,
        user: &UserId,
        team: Option<&TeamId>,
        query: &str,
    ) -> Result<Vec<Value>, Trouble> {
        let id = self.notifier.roster.person_lately(user, team).await?;
        let via = Principal {
            id,
            door: Door::Slack,
        };
        let found = self.engine.search(&via, query, OPTIONS).await?;
        let shown = match found.more {
            0 => OPTIONS,
            _ => OPTIONS - 1,
        };
        let mut options: Vec<Value> = found.entries.iter().take(shown).map(option).collect();
        if found.more > 0 {
            options.push(more_options(found.more + 1));
        }
        Ok(options)
    }

    pub(super) async fn typed(
        &self,
        input: &Input,
        via: &Principal,
        typed: &Typed,
        origin: Origin<'_>,
    ) -> Result<Marked, Trouble> {
        match typed {
            Typed::Help => self.tell(input, &help(self.commands())).await,
            Typed::NoReason => self.tell(input, &no_reason(self.commands())).await,
            Typed::Unknown => self.tell(input, &not_understood(self.commands())).await,
            Typed::List => {
                let mine = self.mine(via, &[], 20).await?;
                let names = self.notifier.roster.names();
                let scenes: Vec<_> = mine
                    .iter()
                    .map(|request| self.notifier.scene(request, &names))
                    .collect();
                self.tell(input, &listing(&scenes)).await
            }
            Typed::Status { id } => {
                let id = self.engine.find(via, id).await?;
                let request = self.engine.read(via, id).await?.request;
                self.show(input, &request).await
            }
            Typed::Done { id } => {
                let id = match id {
                    Some(id) => self.engine.find(via, id).await?,
                    None => self.only_live(via).await?,
                };
                let marked = self.carry_out(via, id, Verb::End, origin).await?;
                let said = Reply::Done("The access is ending.");
                self.answer(input, &said, Some(id)).await;
                return Ok(marked);
            }
        }?;
        Ok(Marked::NotYet)
    }

    async fn only_live(&self, via: &Principal) -> Result<RequestId, Trouble> {
        match self.mine(via, &LIVE, 2).await?.as_slice() {
            [request] => Ok(request.id),
            [] => Err(usage("You have no access to return.")),
            _ => Err(usage(
                "You have more than one access; add the end of its id, as `/jit list` shows it.",
            )),
        }
    }

    async fn mine(
        &self,
        via: &Principal,
        statuses: &[Status],
        limit: usize,
    ) -> Result<Vec<AccessRequest>, Trouble> {
        let query = Query {
            principal: Some(via.id.clone()),
            statuses: statuses.to_vec(),
            limit,
            ..Query::default()
        };
        Ok(self.engine.list(via, query).await?.requests)
    }

    pub(super) async fn show_home(&self, input: &Input) -> Result<(), Trouble> {
        let view = match self.via(input).await {
            Ok(via) => {
                let (view, decides) = self.home_of(&via).await?;
                let now = self.engine.now();
                let screens = &self.notifier.screens;
                screens.home_opened(&via.id, &input.user, decides, now);
                view
            }
            Err(Trouble::Say(Reply::Stranger(stranger), _)) => home_for_strangers(stranger),
            Err(trouble) => return Err(trouble),
        };
        let body = json!({"user_id": input.user.as_str(), "view": view});
        let shown = self.notifier.web.post("views.publish", &body).await;
        shown
            .map(drop)
            .map_err(|error| Trouble::Failed(error.into_port("show the home")))
    }

    /// The home of this person, and whether decisions of others change it.
    pub(super) async fn home_of(&self, via: &Principal) -> Result<(Value, Decides), Trouble> {
        let mine = self.mine(via, &[], 100).await?;
        let to_decide = self.engine.awaiting(via, 100).await?;
        let decides = match &to_decide {
            Some(_) => Decides::Something,
            None => Decides::Nothing,
        };
        let Listed {
            requests: to_decide,
            extent,
        } = to_decide.unwrap_or(Listed {
            requests: vec![],
            extent: Extent::Whole,
        });
        let names = self.notifier.roster.names();
        let draw = |from: &'_ [AccessRequest], keep: fn(&AccessRequest) -> bool| {
            let kept = from.iter().filter(|request| keep(request)).cloned();
            kept.collect::<Vec<AccessRequest>>()
        };
        let is_live = |it: &AccessRequest| LIVE.contains(&it.status());
        let is_waiting = |it: &AccessRequest| WAITING.contains(&it.status());
        let active = draw(&mine, is_live);
        let waiting = draw(&mine, is_waiting);
        // What is ending is there until it is verified gone.
        let recent = draw(&mine, |it| {
            !LIVE.contains(&it.status()) && !WAITING.contains(&it.status())
        });
        let scene = |request| self.notifier.scene(request, &names);
        let active: Vec<_> = active.iter().map(scene).collect();
        let waiting: Vec<_> = waiting.iter().map(scene).collect();
        let recent: Vec<_> = recent.iter().map(scene).collect();
        let to_decide: Vec<_> = to_decide.iter().map(scene).collect();
        let drawn = home(&Home {
            active: &active,
            to_decide: &to_decide,
            extent,
            waiting: &waiting,
            recent: &recent,
        });
        Ok((drawn, decides))
    }
}
