//! Answers for one pair of eyes.

use jit_core::principal::Principal;
use jit_core::request::{AccessRequest, RequestId};
use serde_json::{Value, json};

use super::{Desk, Trouble};
use crate::input::Input;
use crate::notifier::body;
use crate::surface::{Message, Reply, answer_view, card, card_to_open, reply, review_view};
use crate::web::WebError;

impl Desk {
    /// The card in a window of its own, which is changed with the request: a message for one pair
    /// of eyes would keep its buttons for good.
    pub(super) async fn review(
        &self,
        input: &Input,
        via: &Principal,
        request: &AccessRequest,
    ) -> Result<(), Trouble> {
        let names = self.notifier.roster.names();
        let view = review_view(&card(&self.notifier.scene(request, &names)));
        let opened = self.open_view(input, &view).await?;
        if let Some(view) = opened.pointer("/view/id").and_then(Value::as_str) {
            let now = self.engine.now();
            let screens = &self.notifier.screens;
            screens.window_opened(view, &via.id, request.id, now);
        }
        Ok(())
    }

    /// The card for one pair of eyes, with a button that opens it.
    pub(super) async fn show(&self, input: &Input, request: &AccessRequest) -> Result<(), Trouble> {
        let names = self.notifier.roster.names();
        let message = card_to_open(&self.notifier.scene(request, &names));
        self.tell(input, &message).await
    }

    pub(super) async fn answer(&self, input: &Input, said: &Reply, about: Option<RequestId>) {
        let _ = self.tell(input, &reply(said, about)).await;
    }

    /// Tells one person alone: where they are, else in their own conversation.
    pub(super) async fn tell(&self, input: &Input, message: &Message) -> Result<(), Trouble> {
        match self.tell_here(input, message).await {
            Ok(()) => return Ok(()),
            Err(error) => tracing::debug!(error = %error, "an answer goes to the conversation"),
        }
        let told = async {
            let conversation = self.notifier.conversation(&input.user).await?;
            let body = body(conversation.as_str(), message);
            let posted = self.notifier.web.post("chat.postMessage", &body).await;
            posted.map_err(|error| error.into_port("answer a person"))
        };
        if let Err(error) = told.await {
            tracing::warn!(error = %error.chain(), "a person could not be answered");
        }
        Ok(())
    }

    async fn tell_here(&self, input: &Input, message: &Message) -> Result<(), WebError> {
        let web = &self.notifier.web;
        if let Some(view) = &input.window {
            self.notifier.screens.window_closed(view);
            let body = json!({"view_id": view, "view": answer_view(message)});
            return web.post("views.update", &body).await.map(drop);
        }
        if let Some(url) = &input.response_url {
            let body = json!({
                "response_type": "ephemeral",
                "replace_original": false,
                "text": message.text,
                "blocks": message.blocks,
            });
            return web.respond(url, &body).await;
        }
        let Some(channel) = &input.channel else {
            return Err(WebError::Broken("no place to answer"));
        };
        let mut body = body(channel.as_str(), message);
        body["user"] = input.user.as_str().into();
        web.post("chat.postEphemeral", &body).await.map(drop)
    }
}
