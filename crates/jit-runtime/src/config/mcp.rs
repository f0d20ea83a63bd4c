//! `[mcp]`: the tools for agents, and whom they answer.

use std::fmt;
use std::str::FromStr;

use jit_mcp::Decisions;
use serde::Deserialize;

use super::check::Check;
use super::document::Table;
use super::problems::At;
use super::written::Written;

/// A name under which the service is called, as a `Host` header has it: `jit.example.com:8443`.
#[derive(Debug, Clone)]
pub(super) struct Host(String);

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Host {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = text.parse::<axum::http::uri::Authority>();
        let plain = read.is_ok_and(|it| !it.as_str().contains('@') && !it.host().is_empty());
        match plain {
            true => Ok(Self(text.to_owned())),
            false => Err("a host is a name or an address, perhaps with a port, and no https://"),
        }
    }
}

/// Where a page of a browser is from: `https://console.example.com:443`.
#[derive(Debug, Clone)]
pub(super) struct Origin(String);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Origin {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let host = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        // Without a port it would be that origin at any port.
        let has_port = |it: &Host| {
            it.0.rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
        };
        match host
            .and_then(|host| host.parse::<Host>().ok())
            .filter(has_port)
        {
            Some(_) => Ok(Self(text.to_owned())),
            None => Err(
                "an origin is a scheme, a host and a port, such as https://console.example.com:443",
            ),
        }
    }
}

/// Which decisions are taken, in the file's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DecideWord {
    ById,
    ByDigest,
    Off,
}

/// The table as it was written.
#[derive(Default)]
pub(super) struct McpTable {
    hosts: Vec<At<Host>>,
    origins: Vec<At<Origin>>,
    decide: Option<At<DecideWord>>,
}

impl McpTable {
    pub(super) fn read(table: &mut Table<'_, '_>) -> Self {
        Self {
            hosts: table.parsed_list("hosts"),
            origins: table.parsed_list("origins"),
            decide: table.choice("decide"),
        }
    }
}

impl Check<'_, '_> {
    /// Whom the tools for agents answer, where the file has them.
    pub(super) fn agents(&mut self, written: &Written) -> Option<jit_mcp::Settings> {
        let table = written.mcp.as_ref()?;
        let text = |it: &dyn fmt::Display| it.to_string();
        Some(jit_mcp::Settings {
            hosts: table.hosts.iter().map(|it| text(&it.value)).collect(),
            origins: table.origins.iter().map(|it| text(&it.value)).collect(),
            decisions: match table.decide.as_ref().map(|word| word.value) {
                Some(DecideWord::ById) | None => Decisions::Any,
                Some(DecideWord::ByDigest) => Decisions::OfWhatWasShown,
                Some(DecideWord::Off) => Decisions::Elsewhere,
            },
        })
    }
}
