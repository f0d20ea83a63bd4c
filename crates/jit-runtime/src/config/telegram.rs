//! `[telegram]`: the chat in which requests are decided, and the secrets that the environment holds.

use jit_telegram::{Address, ChatId, Transport, WebhookSecret};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::Telegram;
use super::check::Check;
use super::document::Table;
use super::problems::{At, Spot};
use super::written::Written;

pub(super) const TELEGRAM_TOKEN: &str = "JIT_TELEGRAM_BOT_TOKEN";
pub(super) const TELEGRAM_SECRET: &str = "JIT_TELEGRAM_WEBHOOK_SECRET";
pub(super) const OLD_TELEGRAM_SECRET: &str = "JIT_TELEGRAM_WEBHOOK_SECRET_OLD";

/// How clicks get here, in the file's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TransportWord {
    Poll,
    Webhook,
}

pub(super) struct TelegramTable {
    at: Spot,
    chat: Option<At<ChatId>>,
    transport: Option<At<TransportWord>>,
    api: Option<At<Address>>,
}

impl TelegramTable {
    pub(super) fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("chat_id", "chat_id = -1001234567890");
        Self {
            at: table.at(),
            chat: table.number("chat_id"),
            transport: table.choice("transport"),
            api: table.parsed("api"),
        }
    }
}

impl Check<'_, '_> {
    /// The chat, where the file has one.
    pub(super) fn telegram(&mut self, written: &Written) -> Option<Telegram> {
        let mut secret = |name| self.environment.secret(name, self.folder, self.problems);
        let token = secret(TELEGRAM_TOKEN);
        let secrets = [TELEGRAM_SECRET, OLD_TELEGRAM_SECRET].map(|name| (name, secret(name)));
        let table = written.telegram.as_ref()?;
        if token.is_none() {
            let what = "what @BotFather gave out for the bot";
            self.telegram_needs(table, TELEGRAM_TOKEN, what);
        }
        let transport = self.telegram_transport(table, secrets);
        self.somebody_is_in_telegram(written, table);
        Some(Telegram {
            chat: table.chat.as_ref()?.value,
            api: match &table.api {
                Some(api) => api.value.clone(),
                None => Address::of_telegram(),
            },
            bot_token: token?,
            transport: transport?,
        })
    }

    fn telegram_needs(&mut self, table: &TelegramTable, name: &'static str, what: &str) {
        let instead = format!("set {name} to {what}, or {name}_FILE to the file that holds it");
        let what = format!("[telegram] needs {name}");
        self.problems.add(table.at, what, instead);
    }

    fn telegram_transport(
        &mut self,
        table: &TelegramTable,
        secrets: [(&'static str, Option<SecretString>); 2],
    ) -> Option<Transport> {
        match table.transport.as_ref().map(|word| word.value) {
            Some(TransportWord::Poll) | None => return Some(Transport::Poll),
            Some(TransportWord::Webhook) => {}
        }
        if let [(name, None), _] = secrets {
            let what = "a secret of your own, such as `openssl rand -hex 32` makes";
            self.telegram_needs(table, name, what);
            return None;
        }
        let given = secrets
            .into_iter()
            .filter_map(|(name, secret)| Some((name, secret?)));
        let taken = given.map(|(name, secret)| self.telegram_secret(name, &secret));
        taken.collect::<Option<_>>().map(Transport::Webhook)
    }

    fn telegram_secret(
        &mut self,
        name: &'static str,
        secret: &SecretString,
    ) -> Option<WebhookSecret> {
        let refused = match secret.expose_secret().parse() {
            Ok(secret) => return Some(secret),
            Err(refused) => refused,
        };
        let what = format!("it is refused: {refused}");
        let instead = "make one with `openssl rand -hex 32`, and tell Telegram";
        self.problems.add(Spot::Variable(name), what, instead);
        None
    }

    /// Where nobody has an id there, every button is a dead one.
    fn somebody_is_in_telegram(&mut self, written: &Written, table: &TelegramTable) {
        let mut people = written.people.iter();
        let mut aliases = written.people.iter().flat_map(|person| &person.aliases);
        if people.any(|person| person.telegram_alias.is_some())
            || aliases.any(|alias| alias.value.as_str().starts_with("telegram:"))
        {
            return;
        }
        let what = "nobody could decide in [telegram]: no person has an id there";
        let instead = "write telegram = 123456789, their user id, into the [[person]] of whoever may \
                       approve, or remove [telegram]";
        self.problems.add(table.at, what, instead);
    }
}
