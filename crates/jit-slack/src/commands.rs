//! The slash commands, whose names an operator may change.

use serde::{Deserialize, Serialize};

use crate::input::{Asked, Said};

/// A command that is answered with text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verb")]
pub(crate) enum Typed {
    /// What I have and wait for.
    List,
    /// How far this one is.
    Status { id: String },
    /// Return what I have, this one or the only one.
    Done { id: Option<String> },
    /// What can be typed.
    Help,
    /// Production access was asked for without saying why.
    NoReason,
    /// What was typed is none of these.
    Unknown,
}

/// What the commands are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commands {
    /// Everything: `/jit`.
    pub jit: String,
    /// Asks for what [`Commands::admin_entitlement`] names, for oneself or for somebody named.
    pub request_admin: String,
    /// What that command asks for.
    pub admin_entitlement: Option<String>,
    /// Asks for production access with a reason: `/prod-access "reason"`.
    pub prod_access: String,
    /// What that command asks for.
    pub prod_entitlement: Option<String>,
}

impl Default for Commands {
    fn default() -> Self {
        Self {
            jit: "/jit".to_owned(),
            request_admin: "/request-admin".to_owned(),
            admin_entitlement: None,
            prod_access: "/prod-access".to_owned(),
            prod_entitlement: None,
        }
    }
}

impl Commands {
    pub(crate) fn read(&self, command: &str, text: &str) -> Said {
        let text = text.trim();
        if command == self.request_admin {
            let asked = Asked {
                entitlement: self.admin_entitlement.clone(),
                beneficiary: (!text.is_empty()).then(|| address(text)),
                ..Asked::default()
            };
            return Said::OpenForm { asked };
        }
        if command == self.prod_access {
            let reason = text.trim_matches(['"', '“', '”', '\'']).trim();
            if reason.is_empty() {
                return Said::Typed {
                    typed: Typed::NoReason,
                };
            }
            let asked = Asked {
                entitlement: self.prod_entitlement.clone(),
                reason: Some(reason.to_owned()),
                ..Asked::default()
            };
            return Said::OpenForm { asked };
        }
        let (verb, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        let typed = match verb.to_ascii_lowercase().as_str() {
            "" | "request" => {
                let entitlement = (!rest.is_empty()).then(|| rest.to_owned());
                let asked = Asked {
                    entitlement,
                    ..Asked::default()
                };
                return Said::OpenForm { asked };
            }
            "list" => Typed::List,
            "status" => Typed::Status {
                id: rest.to_owned(),
            },
            "done" => Typed::Done {
                id: (!rest.is_empty()).then(|| rest.to_owned()),
            },
            "help" => Typed::Help,
            _ => Typed::Unknown,
        };
        Said::Typed { typed }
    }
}

/// An e-mail address as typed, or as Slack writes one that it made a link of.
fn address(text: &str) -> String {
    let inner = text.trim_start_matches('<').trim_end_matches('>');
    let inner = inner.strip_prefix("mailto:").unwrap_or(inner);
    inner.split('|').next().unwrap_or(inner).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_mandatory_and_may_be_quoted() {
        let commands = Commands::default();
        let said = commands.read("/prod-access", "\"the checkout is down\"");
        let Said::OpenForm { asked } = said else {
            panic!("{said:?}");
        };
        assert_eq!(asked.reason.as_deref(), Some("the checkout is down"));
        for empty in ["", "   ", "\"\"", "\"  \""] {
            let said = commands.read("/prod-access", empty);
            let typed = Typed::NoReason;
            assert_eq!(said, Said::Typed { typed }, "{empty:?}");
        }
    }

    #[test]
    fn an_address_is_read_as_typed_and_as_a_link() {
        for text in [
            "ana@example.com",
            "<mailto:ana@example.com|ana@example.com>",
        ] {
            assert_eq!(address(text), "ana@example.com");
        }
    }
}
