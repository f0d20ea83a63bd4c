//! The ways to people beside HTTP: Slack, Telegram, whoever is on call, and who is woken up.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use jit_core::Timestamp;
use jit_core::ports::Rota;
use jit_core::principal::GroupName;
use jit_slack::Finding as Said;

use super::super::slack;
use super::{Finding, Tokens, counted};
use crate::build;
use crate::config::{self, Config};
use crate::pager::WebhookPager;

/// One check for each of them that is configured.
pub(super) fn checks(
    config: &Config,
    tokens: Tokens,
    now: Timestamp,
) -> Vec<(String, BoxFuture<'_, Vec<Finding>>)> {
    let mut checks: Vec<(String, BoxFuture<'_, Vec<Finding>>)> = vec![];
    if tokens == Tokens::SomeMissing {
        return checks;
    }
    if config.slack.is_some() {
        checks.push(("slack".to_owned(), Box::pin(workspace(config))));
    }
    if let Some(chat) = &config.telegram {
        checks.push(("telegram".to_owned(), Box::pin(telegram(chat))));
    }
    match build::rotas(config) {
        Ok(rotas) => {
            for (group, rota) in rotas {
                checks.push((group.to_string(), Box::pin(on_call(group, rota, now))));
            }
        }
        Err(error) => {
            let found = Finding::of_error("rota", &error);
            checks.push(("rota".to_owned(), Box::pin(async { vec![found] })));
        }
    }
    checks.push(("pager".to_owned(), Box::pin(pager(&config.pager))));
    checks
}

async fn workspace(config: &Config) -> Vec<Finding> {
    let said = match slack::check(config).await {
        Ok(said) => said,
        Err(error) => return vec![Finding::of_sentence("slack", &error.to_string())],
    };
    let line = |Said { what, fix, .. }| match fix {
        None => Finding::ok("slack", what),
        Some(fix) => Finding::fail("slack", what, fix),
    };
    said.into_iter().map(line).collect()
}

async fn telegram(chat: &config::Telegram) -> Vec<Finding> {
    let asked = jit_telegram::ask_who_we_are(&chat.api, &chat.bot_token).await;
    vec![match asked {
        Ok(()) => {
            let what = "the bot's token is good; whether it may post shows at the first request";
            Finding::ok("telegram", what)
        }
        Err(error) => {
            let fix = "set JIT_TELEGRAM_BOT_TOKEN to what @BotFather shows, and see that this host \
                       reaches api.telegram.org";
            Finding::fail("telegram", error.chain(), fix)
        }
    }]
}

async fn on_call(group: GroupName, rota: Arc<dyn Rota>, now: Timestamp) -> Vec<Finding> {
    let area = group.as_str();
    vec![match rota.on_call(now).await {
        Ok(who) if who.is_empty() => {
            let fix = "put somebody on call, where rules count on it";
            Finding::warn(area, "nobody is on call now", fix)
        }
        Ok(who) => {
            let on_call = counted(who.len(), "name");
            Finding::ok(area, format!("{on_call} on call now"))
        }
        Err(error) => Finding::of_error(area, &error),
    }]
}

/// Nobody is woken up for a check: it is only asked whether somebody is there to take an alarm.
pub(super) async fn pager(pager: &config::Pager) -> Vec<Finding> {
    const AREA: &str = "pager";
    let mut found = vec![];
    if let Some(config::Webhook { url, token }) = pager.webhook.clone() {
        let reached = match WebhookPager::new(url, token) {
            Ok(webhook) => webhook.is_there().await,
            Err(error) => Err(error),
        };
        found.push(match reached {
            Ok(()) => {
                let what = "the webhook's host answers; whether it takes alarms shows at the first";
                Finding::ok(AREA, what)
            }
            Err(error) => Finding::of_error(AREA, &error),
        });
    }
    if pager.pagerduty.is_some() {
        let what = "PagerDuty is configured; whether it takes alarms shows at the first";
        found.push(Finding::ok(AREA, what));
    }
    if found.is_empty() {
        let what = "alarms go into the log and nowhere else";
        let fix = "write a webhook or PagerDuty into [pager]";
        found.push(Finding::warn(AREA, what, fix));
    }
    found
}
