//! What an operator says about the workspace.

use std::collections::BTreeSet;

use jit_core::Ttl;
use jit_core::catalog::{EntitlementId, Pattern};
use jit_core::policy::TierName;

use crate::commands::Commands;
use crate::people::{ChannelId, UserGroupId};

/// Whether a person may be found by the e-mail address of their Slack profile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EmailMatch {
    /// No: in many workspaces people choose that address themselves.
    #[default]
    Off,
    /// Yes: the workspace takes addresses from the company's identity provider alone.
    On,
}

/// Where requests for some entitlements are decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// For these.
    pub entitlements: Pattern,
    /// In this channel.
    pub channel: ChannelId,
    /// Whom a reminder mentions; whoever may decide, as far as the rules name them, where unset.
    pub remind: Option<UserGroupId>,
    /// What to beware of, shown in the form and on the card.
    pub warning: Option<String>,
}

/// Everything about the workspace.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The first that fits counts. What none fits has no card, and is decided elsewhere.
    pub routes: Vec<Route>,
    /// What the slash commands are called.
    pub commands: Commands,
    /// Whether e-mail addresses say who somebody is.
    pub email_match: EmailMatch,
    /// The tiers in which a reaction approves.
    pub reactions: BTreeSet<TierName>,
    /// An unanswered request is brought up again after this, then after twice as long, and so on.
    pub remind_after: Ttl,
    /// The person is warned this long before the end.
    pub warn_before: Ttl,
}

impl Settings {
    /// Where this is decided.
    pub(crate) fn route(&self, entitlement: &EntitlementId) -> Option<&Route> {
        let mut routes = self.routes.iter();
        routes.find(|route| route.entitlements.matches(entitlement))
    }
}
