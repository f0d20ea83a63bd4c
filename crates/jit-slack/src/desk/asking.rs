//! Asking: the form, what was filled into it, and what became of it.

use std::time::Duration;

use jit_core::Ttl;
use jit_core::catalog::{Entitlement, EntitlementId};
use jit_core::engine::NewRequest;
use jit_core::principal::{Principal, PrincipalId};
use jit_core::request::{AccessRequest, Reason};
use serde_json::{Value, json};

use super::{Desk, Marked, Origin, Trouble, usage};
use crate::input::{Asked, Input, Said};
use crate::people::ChannelId;
use crate::surface::{
    Choice, Form, Reply, option_value, outcome_view, refusal_view, reply, request_form,
};

/// The acknowledgement of a form changes its window as well. What became of the request is shown a
/// little later: if it overtook the acknowledgement, it would be covered by "One moment" for good.
const WINDOW_FIRST: Duration = Duration::from_millis(250);

impl Desk {
    fn choice<'a>(&'a self, entitlement: &'a Entitlement) -> Option<Choice<'a>> {
        let route = self.notifier.settings.route(&entitlement.id);
        Some(Choice {
            entitlement,
            tier: self.engine.policy().tier(&entitlement.tier)?,
            warning: route.and_then(|route| route.warning.as_deref()),
        })
    }

    /// The id that this stands for: what comes back from Slack names one of ours, or nothing.
    fn meant(&self, text: &str) -> Option<EntitlementId> {
        match text.starts_with('#') {
            true => self.engine.known_id(|id| option_value(id) == text),
            false => text.parse().ok(),
        }
    }

    /// The entry of the catalogue that this stands for, where the person may ask about it at all.
    async fn permitted(
        &self,
        via: &Principal,
        entitlement: Option<&str>,
    ) -> Result<Option<Entitlement>, Trouble> {
        match entitlement.and_then(|text| self.meant(text)) {
            Some(id) => Ok(self.engine.entitlement(via, &id).await?),
            None => Ok(None),
        }
    }

    async fn form(&self, via: &Principal, asked: &Asked) -> Result<Value, Trouble> {
        let beneficiary = match asked.beneficiary.as_deref() {
            None => None,
            Some(text) => Some(text.parse::<PrincipalId>().map_err(|error| {
                let sentence = format!("{error}. Name a person as in ana@example.com.");
                Trouble::Say(Reply::Wrong(sentence), None)
            })?),
        };
        let entry = self.permitted(via, asked.entitlement.as_deref()).await?;
        Ok(request_form(&Form {
            choice: entry.as_ref().and_then(|entry| self.choice(entry)),
            listed_ago: self.engine.listings_age(),
            beneficiary: beneficiary.as_ref().filter(|id| **id != via.id),
            reason: asked.reason.as_deref(),
        }))
    }

    pub(super) async fn open_form(
        &self,
        input: &Input,
        via: &Principal,
        asked: &Asked,
    ) -> Result<(), Trouble> {
        // What they can choose from is listed as soon as they look.
        self.notifier.roster.look_ahead();
        let form = self.form(via, asked).await?;
        self.open_view(input, &form).await.map(drop)
    }

    /// Opens a window, on top of the one in which that was asked for; what Slack says of it.
    pub(super) async fn open_view(&self, input: &Input, view: &Value) -> Result<Value, Trouble> {
        let late = || Trouble::Say(Reply::TooOld, None);
        let trigger = input.trigger.as_deref().ok_or_else(late)?;
        let body = json!({"trigger_id": trigger, "view": view});
        let method = match &input.window {
            Some(_) => "views.push",
            None => "views.open",
        };
        match self.notifier.web.post(method, &body).await {
            Ok(said) => Ok(said),
            Err(error) => match error.code() {
                Some("expired_trigger_id" | "exchanged_trigger_id" | "trigger_expired") => {
                    Err(late())
                }
                _ => Err(Trouble::Failed(error.into_port("open a form"))),
            },
        }
    }

    pub(super) async fn redraw_form(
        &self,
        via: &Principal,
        view: &str,
        hash: &str,
        asked: &Asked,
    ) -> Result<(), Trouble> {
        let form = self.form(via, asked).await?;
        let body = json!({"view_id": view, "hash": hash, "view": form});
        match self.notifier.web.post("views.update", &body).await {
            Ok(_) => Ok(()),
            // The person chose again meanwhile, or closed the window.
            Err(error) if matches!(error.code(), Some("hash_conflict" | "not_found")) => Ok(()),
            Err(error) => Err(Trouble::Failed(error.into_port("change a form"))),
        }
    }

    /// Asks, and shows in the window what became of it.
    pub(super) async fn ask(
        &self,
        input: &Input,
        via: &Principal,
        view: &str,
        asked: &Asked,
        origin: Origin<'_>,
    ) -> Result<Marked, Trouble> {
        let opened = self.open_request(via, view, asked, origin).await;
        let message = match &opened {
            Ok(request) => outcome_view(request, self.card_channel(request)),
            Err(Trouble::Say(said, about)) => refusal_view(&reply(said, *about)),
            Err(Trouble::Failed(error)) => {
                tracing::warn!(error = %error.chain(), "a request could not be opened");
                refusal_view(&reply(&Reply::Failed, None))
            }
            // Who was first shows what came of it.
            Err(Trouble::DoneElsewhere) => return Ok(Marked::Already),
            Err(Trouble::Panicked) => refusal_view(&reply(&Reply::Failed, None)),
        };
        tokio::time::sleep(WINDOW_FIRST).await;
        let body = json!({"view_id": view, "view": message});
        let shown = self.notifier.web.post("views.update", &body).await;
        match (opened, shown) {
            (Ok(_), Ok(_)) => Ok(Marked::Already),
            (Err(_), Ok(_)) => Ok(Marked::NotYet),
            // Who closed the window knows that it was sent.
            (Ok(_), Err(error)) if error.code() == Some("not_found") => Ok(Marked::Already),
            // To whoever still has it open it would look as if nothing came of it.
            (Ok(request), Err(_)) => {
                self.show(input, &request).await?;
                Ok(Marked::Already)
            }
            // The window was closed; a refusal must reach them all the same.
            (Err(trouble), Err(_)) => {
                let said = match trouble {
                    Trouble::Say(said, _) => said,
                    Trouble::Failed(_) | Trouble::DoneElsewhere | Trouble::Panicked => {
                        Reply::Failed
                    }
                };
                self.answer(input, &said, None).await;
                Ok(Marked::NotYet)
            }
        }
    }

    fn card_channel(&self, request: &AccessRequest) -> Option<&ChannelId> {
        let route = self
            .notifier
            .settings
            .route(&request.parts.first().entitlement);
        route.map(|route| &route.channel)
    }

    async fn open_request(
        &self,
        via: &Principal,
        view: &str,
        asked: &Asked,
        origin: Origin<'_>,
    ) -> Result<AccessRequest, Trouble> {
        let entitlement = asked.entitlement.as_deref().unwrap_or_default();
        let meant = self.meant(entitlement);
        let entitlement = meant.as_ref().map_or(entitlement, EntitlementId::as_str);
        let wrong = |error: jit_core::principal::BadName| {
            Trouble::Say(Reply::Wrong(format!("{error}.")), None)
        };
        let beneficiary = asked.beneficiary.as_deref().map(str::parse).transpose();
        let new = NewRequest {
            beneficiary: beneficiary.map_err(wrong)?,
            parts: vec![(entitlement.parse().map_err(wrong)?, Default::default())],
            ttl: asked.secs.as_deref().map(seconds).transpose()?,
            reason: reason_of(asked.reason.as_deref().unwrap_or_default())?,
            // A form is sent once; Slack may send it twice.
            idempotency_key: format!("slack/{view}").parse().ok(),
        };
        let _room = self.turn(&self.room, origin).await?;
        Ok(self.engine.open_by(via, new, Some(origin.key)).await?)
    }
}

/// What can be said of a form before anything is looked up, by its block.
pub(super) fn obvious_errors(input: &Input) -> Option<Value> {
    let (block, error) = match &input.said {
        Said::Ask { asked, .. } => match asked.entitlement.as_deref() {
            None | Some("" | "-") => ("target", "Choose what you need".to_owned()),
            Some(_) => {
                let reason = asked.reason.as_deref().unwrap_or_default();
                ("reason", bad_reason(reason)?)
            }
        },
        Said::Deny { reason, .. } => ("reason", bad_reason(reason)?),
        _ => return None,
    };
    Some(json!({ block: error }))
}

fn bad_reason(text: &str) -> Option<String> {
    one_line(text)
        .parse::<Reason>()
        .err()
        .map(|error| error.rule.to_owned())
}

/// What was typed in several lines, in one.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<&str>>().join(" ")
}

pub(super) fn reason_of(text: &str) -> Result<Reason, Trouble> {
    let reason = one_line(text).parse::<Reason>();
    reason.map_err(|error| Trouble::Say(Reply::Wrong(format!("The reason: {}.", error.rule)), None))
}

pub(super) fn seconds(text: &str) -> Result<Ttl, Trouble> {
    let secs = text.parse::<u64>().ok();
    let ttl = secs.and_then(|secs| Ttl::from_secs(secs).ok());
    ttl.ok_or_else(|| usage("That is not a duration that can be asked for."))
}
