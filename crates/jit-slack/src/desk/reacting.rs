//! Reactions: a check mark on a card approves where the tier allows it.

use std::sync::PoisonError;

use jit_core::engine::Verb;
use jit_core::ports::{PortError, Query};
use jit_core::request::{AccessRequest, Status};

use super::{Desk, Marked, Origin, Trouble, usage};
use crate::input::Input;
use crate::notifier::{NOTIFIER, Place};
use crate::people::{ChannelId, UserId};

/// Hints that are remembered, so that each is given once.
const HINTS: usize = 10_000;

impl Desk {
    /// A reaction approves where the tier allows it, on a card of ours, by somebody who may.
    pub(super) async fn reacted(
        &self,
        input: &Input,
        (channel, message): (&ChannelId, &str),
        name: &str,
        origin: Origin<'_>,
    ) -> Result<Marked, Trouble> {
        let plain = name.split("::").next().unwrap_or(name);
        if !matches!(plain, "white_check_mark" | "heavy_check_mark") {
            return Ok(Marked::NotYet);
        }
        // Only where we post cards is there one.
        let mut routes = self.notifier.settings.routes.iter();
        if !routes.any(|route| route.channel == *channel) {
            return Ok(Marked::NotYet);
        }
        let Some(request) = self.card_at(channel, message).await? else {
            return Ok(Marked::NotYet);
        };
        match self.judge_reaction(input, &request, origin).await {
            Ok(marked) => Ok(marked),
            // One hint each, strangers too: whoever likes to react is not told again and again.
            Err(Trouble::Say(..)) if !self.first_hint(&input.user, message) => Ok(Marked::NotYet),
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

    /// The pending request whose card this message is.
    async fn card_at(
        &self,
        channel: &ChannelId,
        message: &str,
    ) -> Result<Option<AccessRequest>, PortError> {
        let pending = Query {
            statuses: vec![Status::Pending],
            limit: 1_000,
            ..Query::default()
        };
        for request in self.engine.store().query(&pending).await? {
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
