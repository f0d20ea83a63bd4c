//! Reactions: a check mark on a card approves where the tier allows it.

use std::sync::PoisonError;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::engine::Verb;
use jit_core::ports::{PortError, Query};
use jit_core::request::{AccessRequest, Status};

use super::{Desk, Marked, Origin, Trouble, usage};
use crate::input::Input;
use crate::notifier::{NOTIFIER, Place};
use crate::people::{ChannelId, UserId};

/// Hints that are remembered, so that each is given once.
const HINTS: usize = 10_000;
/// Requests that are read at once, and how often: no card of more pending ones is looked for, so
/// that nobody keeps the store busy with a click on an old message.
const PAGE: usize = 1_000;
const PAGES: usize = 20;
/// Slack's clock, which dates messages, may be so far behind ours, which dates requests.
const SKEW: Duration = Duration::from_secs(300);

/// A reaction that somebody put on a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marking<'a> {
    pub(super) channel: &'a ChannelId,
    pub(super) message: &'a str,
    /// Who wrote the message, where Slack says so.
    pub(super) author: Option<&'a UserId>,
    pub(super) name: &'a str,
}

impl Desk {
    /// A reaction approves where the tier allows it, on a card of ours, by somebody who may.
    pub(super) async fn reacted(
        &self,
        input: &Input,
        on: Marking<'_>,
        origin: Origin<'_>,
    ) -> Result<Marked, Trouble> {
        let plain = on.name.split("::").next().unwrap_or(on.name);
        if !matches!(plain, "white_check_mark" | "heavy_check_mark") {
            return Ok(Marked::NotYet);
        }
        // Only where we post cards is there one.
        let mut routes = self.notifier.settings.routes.iter();
        if !routes.any(|route| route.channel == *on.channel) {
            return Ok(Marked::NotYet);
        }
        // What somebody else wrote is none.
        if let Some(author) = on.author
            && let Some(ours) = self.notifier.writes_as().await
            && author != ours
        {
            return Ok(Marked::NotYet);
        }
        let Some(request) = self.card_at(on.channel, on.message).await? else {
            return Ok(Marked::NotYet);
        };
        match self.judge_reaction(input, &request, origin).await {
            Ok(marked) => Ok(marked),
            // One hint each, strangers too: whoever likes to react is not told again and again.
            Err(Trouble::Say(..)) if !self.first_hint(&input.user, on.message) => {
                Ok(Marked::NotYet)
            }
            Err(Trouble::Say(said, _)) => Err(Trouble::Say(said, Some(request.id))),
            Err(trouble) => Err(trouble),
        }
    }

    async fn judge_reaction(
        &self,
        input: &Input,
        request: &AccessRequest,
        origin: Origin<'_>,
    ) -> Result<Marked, Trouble> {
        let via = self.via(input).await?;
        let tier = &request.terms.tier;
        if !self.notifier.settings.reactions.contains(tier) {
            return Err(usage(
                "A reaction decides nothing in this tier; use the buttons of the card.",
            ));
        }
        let verb = Verb::Approve {
            ttl: None,
            digest: request.digest().prefix(),
        };
        self.carry_out(&via, request.id, verb, origin).await
    }

    /// The pending request whose card this message is. A card is posted soon after its request was
    /// opened, and never before: the search begins with what was opened just before the message.
    async fn card_at(
        &self,
        channel: &ChannelId,
        message: &str,
    ) -> Result<Option<AccessRequest>, PortError> {
        let settings = &self.notifier.settings;
        let mut pending = Query {
            statuses: vec![Status::Pending],
            until: posted_at(message).map(|at| at + SKEW),
            limit: PAGE,
            ..Query::default()
        };
        for _ in 0..PAGES {
            let page = self.engine.store().query(&pending).await?;
            let Some(last) = page.last().map(|request| request.id) else {
                return Ok(None);
            };
            for request in page {
                let route = settings.route(&request.parts.first().entitlement);
                if route.is_none_or(|route| route.channel != *channel) {
                    continue;
                }
                let deliveries = self.engine.store().deliveries(request.id).await?;
                let here = deliveries.iter().any(|delivery| {
                    delivery.key.notifier == NOTIFIER
                        && delivery.key.target == channel.as_str()
                        && Place::read(delivery.message.as_ref()).is_some_and(|it| it.ts == message)
                });
                if here {
                    return Ok(Some(request));
                }
            }
            pending.after = Some(last);
        }
        tracing::warn!("so much is pending that the card of a reaction was not found");
        Ok(None)
    }

    fn first_hint(&self, user: &UserId, message: &str) -> bool {
        let mut hinted = self.hinted.lock().unwrap_or_else(PoisonError::into_inner);
        if hinted.len() >= HINTS {
            hinted.clear();
        }
        hinted.insert((user.clone(), message.to_owned()))
    }
}

/// When a message was posted: Slack's time stamps are seconds and, behind a point, six digits.
fn posted_at(message: &str) -> Option<Timestamp> {
    let (secs, micros) = message.split_once('.')?;
    let (secs, micros): (i64, i64) = (secs.parse().ok()?, micros.parse().ok()?);
    let at = secs.checked_mul(1_000_000)?.checked_add(micros)?;
    Some(Timestamp::from_unix_micros(at))
}
