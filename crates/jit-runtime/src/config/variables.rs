//! The approval service from its variables alone: where there is no file, and the variables that the
//! service always had are set, they are written down as the configuration that they mean, and that is
//! read like any other. Each value is checked here, where its variable is known.

use std::net::SocketAddr;
use std::str::FromStr;

use jit_core::Ttl;
use jit_core::principal::PrincipalId;
use serde::Serialize;

use super::credentials::AnyAddress;
use super::environment::Environment;
use super::problems::{Problems, Spot};
use super::telegram::{OLD_TELEGRAM_SECRET, TELEGRAM_SECRET, TELEGRAM_TOKEN};

/// Whoever has this one set and no file wants the approval service.
pub(super) const VAULT_ADDR: &str = "VAULT_ADDR";
pub(super) const STATE_DIR: &str = "JIT_STATE_DIR";
const LISTEN_ADDR: &str = "LISTEN_ADDR";
const REQUEST_TIMEOUT: &str = "REQUEST_TIMEOUT";
const ALLOWED_REQUESTERS: &str = "ALLOWED_REQUESTERS";
const CHAT_ID: &str = "TELEGRAM_CHAT_ID";
const APPROVER_IDS: &str = "TELEGRAM_APPROVER_IDS";
const HA_URL: &str = "HA_URL";
const GRAFANA_URL: &str = "GRAFANA_URL";
const INFLUXDB_URL: &str = "INFLUXDB_URL";
const PLEX_URL: &str = "PLEX_URL";
const TELEGRAM_API: &str = "TELEGRAM_API_URL";
const TOKEN_ROLE: &str = "VAULT_TOKEN_ROLE";

/// The variables that stand for something else than a secret, with what they mean.
pub(super) const OF_SERVICE: [&str; 16] = [
    VAULT_ADDR,
    LISTEN_ADDR,
    REQUEST_TIMEOUT,
    ALLOWED_REQUESTERS,
    CHAT_ID,
    APPROVER_IDS,
    HA_URL,
    GRAFANA_URL,
    INFLUXDB_URL,
    PLEX_URL,
    "HA_VAULT_PATH",
    "GRAFANA_VAULT_PATH",
    "INFLUXDB_VAULT_PATH",
    "VAULT_NAMESPACE",
    TOKEN_ROLE,
    TELEGRAM_API,
];

/// Programs that ask by another name for what this program calls so.
pub(super) const OLD_NAMES: [(&str, &str); 5] = [
    ("VAULT_ROLE_ID", super::credentials::VAULT_ROLE_ID),
    ("VAULT_SECRET_ID", super::credentials::VAULT_SECRET_ID),
    ("TELEGRAM_BOT_TOKEN", TELEGRAM_TOKEN),
    ("TELEGRAM_WEBHOOK_SECRET", TELEGRAM_SECRET),
    ("TELEGRAM_WEBHOOK_SECRET_OLD", OLD_TELEGRAM_SECRET),
];

/// How long a request waits where nobody says it, in seconds, and at most: a day.
const TIMEOUT_SECS: u32 = 300;
const TIMEOUT_MAX_SECS: u32 = 86_400;
/// How many requests of tier 1 one requester may have approved by themselves within an hour.
const AUTOMATIC_PER_HOUR: u32 = 60;

/// What is only a key to a secret that stands in Vault, with its tier.
const STATIC: [(&str, u8); 12] = [
    ("deluge", 1),
    ("gitlab", 2),
    ("gmail", 1),
    ("grafana", 1),
    ("homeassistant", 2),
    ("influxdb", 1),
    ("nzbget", 1),
    ("ombi", 1),
    ("paperless", 1),
    ("plex", 1),
    ("radarr", 1),
    ("sonarr", 1),
];

/// A service that makes credentials itself.
struct Dynamic {
    name: &'static str,
    kind: &'static str,
    variable: &'static str,
    path_variable: &'static str,
    path: &'static str,
    resource: &'static str,
}

const DYNAMIC: [Dynamic; 3] = [
    Dynamic {
        name: "grafana",
        kind: "grafana",
        variable: GRAFANA_URL,
        path_variable: "GRAFANA_VAULT_PATH",
        path: "homelab/data/docker/grafana",
        resource: "service_account",
    },
    Dynamic {
        name: "homeassistant",
        kind: "home_assistant",
        variable: HA_URL,
        path_variable: "HA_VAULT_PATH",
        path: "homelab/data/docker/homeassistant",
        resource: "access_token",
    },
    Dynamic {
        name: "influxdb",
        kind: "influxdb",
        variable: INFLUXDB_URL,
        path_variable: "INFLUXDB_VAULT_PATH",
        path: "homelab/data/docker/influxdb",
        resource: "buckets",
    },
];

/// The variables, written down.
pub(super) struct Written {
    /// As a file would say it.
    pub(super) text: String,
    /// What whoever starts it is told.
    pub(super) notices: Vec<String>,
    /// Why nobody can decide anything, where that is so.
    pub(super) nobody_decides: Option<String>,
}

/// The configuration that the variables mean, and what whoever starts it is told. Nothing where they
/// are wrong: then their problems are told.
pub(super) fn written_out(
    environment: &Environment,
    problems: &mut Problems<'_>,
) -> Option<Written> {
    let mut reading = Reading {
        environment,
        problems,
        notices: vec![],
        nobody_decides: None,
        is_wrong: false,
    };
    reading.refuse_control_characters();
    let mut text = String::from("# Written by the variables of the environment.\n");
    reading.service(&mut text);
    reading.people(&mut text);
    reading.providers(&mut text);
    reading.terms(&mut text);
    let text = text.replace("\n[", "\n\n[");
    (!reading.is_wrong).then_some(Written {
        text,
        notices: reading.notices,
        nobody_decides: reading.nobody_decides,
    })
}

struct Reading<'r, 't> {
    environment: &'r Environment,
    problems: &'r mut Problems<'t>,
    notices: Vec<String>,
    nobody_decides: Option<String>,
    is_wrong: bool,
}

/// A text as TOML writes it; the strings of JSON are strings of TOML.
fn quoted(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("texts and lists of them serialise")
}

fn line(text: &mut String, line: impl AsRef<str>) {
    text.push_str(line.as_ref());
    text.push('\n');
}

impl Reading<'_, '_> {
    /// What is set; an empty variable is none.
    fn value(&self, name: &'static str) -> Option<String> {
        let value = self.environment.text(name)?;
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// What is written down stands on a line there, which nobody but us would see.
    fn refuse_control_characters(&mut self) {
        for name in OF_SERVICE.into_iter().chain([STATE_DIR]) {
            if self
                .value(name)
                .is_some_and(|value| value.contains(char::is_control))
            {
                let what = "it holds a line break or another control character";
                self.refuse(name, what, "write it on one line");
            }
        }
    }

    fn refuse(&mut self, name: &'static str, what: impl Into<String>, instead: impl Into<String>) {
        self.is_wrong = true;
        self.problems.add(Spot::Variable(name), what, instead);
    }

    /// A variable that its type reads.
    fn parsed<T: FromStr>(&mut self, name: &'static str, instead: &str) -> Option<T> {
        let value = self.value(name)?;
        let read = value.parse().ok();
        if read.is_none() {
            self.refuse(name, "it is refused", instead);
        }
        read
    }

    /// A list with commas.
    fn listed<T: FromStr>(&mut self, name: &'static str, instead: &str) -> Vec<T> {
        let value = self.value(name).unwrap_or_default();
        let items = value.split(',').map(str::trim).filter(|it| !it.is_empty());
        let read: Vec<Option<T>> = items.map(|it| it.parse().ok()).collect();
        if read.iter().any(Option::is_none) {
            self.refuse(name, "it is refused", instead);
        }
        read.into_iter().flatten().collect()
    }

    /// Where a service answers, where it is on.
    fn address(&mut self, name: &'static str) -> Option<String> {
        let instead = "write https:// and a host, or http:// on a network that is yours alone";
        let AnyAddress(address) = self.parsed(name, instead)?;
        if address.is_plain() {
            self.notices.push(format!(
                "{name} is not encrypted: what is secret crosses that network as it is"
            ));
        }
        Some(address.to_string())
    }

    fn service(&mut self, text: &mut String) {
        let folder = self.value(STATE_DIR).unwrap_or_else(|| "data".to_owned());
        let listen = self.listen();
        let file = format!("{}/jit.db", folder.trim_end_matches('/'));
        line(text, format!("[store]\nsqlite = {}", quoted(&file)));
        line(text, format!("[http]\nlisten = {}", quoted(&listen)));
        line(text, "trusted_proxy = true\n[log]\nformat = \"events\"");
        self.notices.push(format!(
            "{listen} is plain HTTP; put a proxy that ends TLS before it, as trusted_proxy in a \
             configuration file means"
        ));
    }

    /// Where to listen; Go's `:8080` is every address.
    fn listen(&mut self) -> String {
        let value = self
            .value(LISTEN_ADDR)
            .unwrap_or_else(|| ":8080".to_owned());
        let whole = match value.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None if value.starts_with(':') => format!("0.0.0.0{value}"),
            None => value,
        };
        if whole.parse::<SocketAddr>().is_err() {
            let instead = "write an address and a port, such as :8080 or 127.0.0.1:8080";
            self.refuse(LISTEN_ADDR, "it is no address to listen on", instead);
        }
        whole
    }

    fn requesters(&mut self) -> Vec<String> {
        let instead = "write names of letters, digits or any of @.:_+-, with commas between them";
        let mut requesters: Vec<PrincipalId> = self.listed(ALLOWED_REQUESTERS, instead);
        let reserved = |id: &PrincipalId| {
            let text = id.as_str();
            ["agent:", "group:", "telegram:", "slack:", "approver-"]
                .iter()
                .any(|it| text.starts_with(it))
        };
        if requesters.iter().any(reserved) {
            self.refuse(
                ALLOWED_REQUESTERS,
                "a name begins with agent:, group:, telegram:, slack: or approver-",
                instead,
            );
        }
        let blank = |names: &str| names.split(',').all(|name| name.trim().is_empty());
        match self.value(ALLOWED_REQUESTERS) {
            None => requesters.extend("prometheus".parse()),
            Some(names) if blank(&names) => {
                self.refuse(ALLOWED_REQUESTERS, "it names nobody", instead);
            }
            Some(_) => {}
        }
        requesters.sort();
        requesters.dedup();
        requesters.iter().map(ToString::to_string).collect()
    }

    /// Whoever approves in Telegram, by their numbers there, and the chat.
    fn approvers(&mut self) -> Option<(i64, Vec<u64>)> {
        let a_chat = "write the number of a chat";
        let chat: Option<i64> = self.parsed(CHAT_ID, a_chat);
        if chat.is_some_and(|chat| jit_telegram::ChatId::try_from(chat).is_err()) {
            self.refuse(CHAT_ID, "no chat in Telegram has such a number", a_chat);
        }
        let number = "write the numbers of people in Telegram, with commas between them";
        let mut approvers: Vec<u64> = self.listed(APPROVER_IDS, number);
        let is_person = |id: &u64| {
            let id = i64::try_from(*id).ok();
            id.is_some_and(|id| jit_telegram::UserId::try_from(id).is_ok())
        };
        if !approvers.iter().all(is_person) {
            self.refuse(APPROVER_IDS, "nobody in Telegram has such a number", number);
        }
        let Some(chat) = chat else {
            if self.value(CHAT_ID).is_none() {
                self.nobody_decides(format!(
                    "{CHAT_ID} is not set, so nobody can approve: tiers 2 and 3 are refused"
                ));
            }
            return None;
        };
        // A private chat has the number of the one person in it.
        if approvers.is_empty() {
            approvers.extend(u64::try_from(chat).ok().filter(|chat| *chat > 0));
        }
        if approvers.is_empty() {
            self.nobody_decides(format!(
                "{CHAT_ID} is a group, and {APPROVER_IDS} does not say who of it may approve: tiers 2 \
                 and 3 are refused"
            ));
            return None;
        }
        approvers.sort_unstable();
        approvers.dedup();
        // Only while a secret is being changed is there one before it.
        let needed = |own| [TELEGRAM_TOKEN, TELEGRAM_SECRET].contains(&own);
        for (name, own) in OLD_NAMES.iter().filter(|(_, own)| needed(*own)) {
            if !self.environment.has_secret(own) {
                let what = format!("it is not set, and {CHAT_ID} is");
                let instead = format!("set it, or {name}_FILE to the file that holds it");
                self.refuse(name, what, instead);
            }
        }
        Some((chat, approvers))
    }

    fn nobody_decides(&mut self, why: String) {
        self.notices.push(why.clone());
        self.nobody_decides = Some(why);
    }

    fn people(&mut self, text: &mut String) {
        let requesters = self.requesters();
        for requester in &requesters {
            line(text, format!("[[service]]\nid = {}", quoted(requester)));
        }
        line(
            text,
            "[[rule]]\nname = \"services ask\"\nrights = [\"request\"]",
        );
        line(
            text,
            format!(
                "entitlements = [\"*\"]\nprincipals = {}",
                quoted(&requesters)
            ),
        );
        line(
            text,
            format!("[approval_service]\nrequesters = {}", quoted(&requesters)),
        );
        let resources =
            STATIC.map(|(name, _)| format!("{name} = {}", quoted(&self.given_by(name))));
        line(text, format!("resources = {{ {} }}", resources.join(", ")));
        let Some((chat, approvers)) = self.approvers() else {
            return;
        };
        line(
            text,
            format!("[telegram]\nchat_id = {chat}\ntransport = \"webhook\""),
        );
        let instead = "the Bot API is https:// and a host, or http:// on a loopback address";
        let api: Option<jit_telegram::Address> = self.parsed(TELEGRAM_API, instead);
        if let Some(api) = api {
            line(text, format!("api = {}", quoted(&api.to_string())));
        }
        for approver in &approvers {
            line(
                text,
                format!("[[person]]\nid = \"approver-{approver}\"\ntelegram = {approver}"),
            );
        }
        let ids = approvers.iter().map(|it| format!("approver-{it}"));
        let ids: Vec<String> = ids.collect();
        line(
            text,
            "[[rule]]\nname = \"approvers decide\"\nrights = [\"approve\"]",
        );
        line(
            text,
            format!("entitlements = [\"*\"]\nprincipals = {}", quoted(&ids)),
        );
    }

    /// The entitlement that a resource stands for.
    fn given_by(&self, name: &str) -> String {
        let dynamic = DYNAMIC.iter().find(|it| it.name == name);
        match dynamic.filter(|it| self.value(it.variable).is_some()) {
            Some(dynamic) => format!("{}/{}", dynamic.name, dynamic.resource),
            None => format!("vault/{name}"),
        }
    }

    fn providers(&mut self, text: &mut String) {
        let vault = self.address(VAULT_ADDR).unwrap_or_default();
        if self.value(VAULT_ADDR).is_none() {
            let instead = "write where Vault answers, such as https://vault.example.com:8200";
            self.refuse(VAULT_ADDR, "it is empty", instead);
        }
        self.app_role();
        line(text, "[[provider]]\nname = \"vault\"\nkind = \"vault\"");
        line(text, address_of(&vault));
        if let Some(namespace) = self.value("VAULT_NAMESPACE") {
            line(text, format!("namespace = {}", quoted(&namespace)));
        }
        // Through a token role this service needs none of the policies that it gives.
        let role = self.value(TOKEN_ROLE).unwrap_or_else(|| "jit".to_owned());
        for (name, tier) in STATIC {
            let id = format!("vault/{name}");
            line(text, entitlement(&id, tier, name));
            // Vault's policy of this name says what the token opens.
            line(
                text,
                format!("resource = {}", quoted(&format!("jit-{name}@{role}"))),
            );
        }
        for dynamic in DYNAMIC {
            let Some(address) = self.address(dynamic.variable) else {
                continue;
            };
            let Dynamic {
                name,
                kind,
                resource,
                ..
            } = dynamic;
            let path = self.value(dynamic.path_variable);
            let path = path.unwrap_or_else(|| dynamic.path.to_owned());
            line(
                text,
                format!("[[provider]]\nname = \"{name}\"\nkind = \"{kind}\""),
            );
            line(text, address_of(&address));
            line(text, format!("secret = {}", quoted(&path)));
            let tier = STATIC.iter().find(|(it, _)| *it == name);
            let tier = tier.map_or(1, |(_, tier)| *tier);
            line(text, entitlement(&format!("{name}/{resource}"), tier, name));
            line(
                text,
                format!("resource = \"{resource}\"\nfallback = \"vault/{name}\""),
            );
            self.notices.push(format!(
                "where {name} says that it cannot make a credential, a token of Vault is given instead"
            ));
        }
        if self.address(PLEX_URL).is_some() {
            self.notices.push(format!(
                "{PLEX_URL} is set, and Plex has no tokens that end any more (1.43): its key is read \
                 from Vault"
            ));
        }
    }

    /// What opens Vault's door is read later; here it is only seen that it is there.
    fn app_role(&mut self) {
        use super::credentials::{VAULT_ROLE_ID, VAULT_SECRET_ID, VAULT_WRAPPED_SECRET_ID};
        let has = |name| self.environment.has_secret(name);
        let (role, secret) = (
            has(VAULT_ROLE_ID),
            has(VAULT_SECRET_ID) || has(VAULT_WRAPPED_SECRET_ID),
        );
        let missing = "there is no AppRole to log in to Vault by";
        if !role {
            let instead = "set it, or VAULT_ROLE_ID_FILE, to the role id";
            self.refuse("VAULT_ROLE_ID", missing, instead);
        }
        if !secret {
            let instead = "set it, or VAULT_SECRET_ID_FILE, to the secret id; or \
                           JIT_VAULT_WRAPPED_SECRET_ID to one in a wrapping";
            self.refuse("VAULT_SECRET_ID", missing, instead);
        }
    }

    fn terms(&mut self, text: &mut String) {
        let instead = format!("write whole seconds from 1 to {TIMEOUT_MAX_SECS}");
        let secs = self
            .parsed(REQUEST_TIMEOUT, &instead)
            .unwrap_or(TIMEOUT_SECS);
        if !(1..=TIMEOUT_MAX_SECS).contains(&secs) {
            self.refuse(REQUEST_TIMEOUT, "it is out of range", instead);
        }
        let window = Ttl::from_secs(secs.clamp(1, TIMEOUT_MAX_SECS).into());
        let window = window.map_or_else(|_| "5m".to_owned(), |window| window.to_string());
        for (tier, minutes, approvals) in [(1, 15, 0), (2, 30, 1), (3, 60, 1)] {
            line(
                text,
                format!("[[tier]]\nname = \"tier{tier}\"\napprovals = {approvals}"),
            );
            line(
                text,
                format!("ttl_default = \"{minutes}m\"\nttl_max = \"{minutes}m\""),
            );
            line(text, format!("decision_window = \"{window}\""));
            if approvals == 0 {
                line(
                    text,
                    format!("automatic = {{ ceiling = {AUTOMATIC_PER_HOUR}, per = \"1h\" }}"),
                );
            } else {
                // A token of Home Assistant lives for half an hour, whatever happens.
                line(text, "residual_max = \"30m\"");
            }
        }
    }
}

/// An address, which its variable may well have without TLS.
fn address_of(address: &str) -> String {
    let plain = address.starts_with("http://");
    let meant = if plain { "\nplain_http = true" } else { "" };
    format!("address = {}{meant}", quoted(address))
}

fn entitlement(id: &str, tier: u8, name: &str) -> String {
    format!(
        "[[entitlement]]\nid = {}\ntier = \"tier{tier}\"\ntitle = {}",
        quoted(id),
        quoted(&format!("What {name} lets in"))
    )
}
