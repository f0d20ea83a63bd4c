//! The forms: asking, denying, approving for less.

use std::time::Duration;

use jit_core::Ttl;
use jit_core::catalog::{Entitlement, EntitlementId};
use jit_core::digest::Digest;
use jit_core::policy::Tier;
use jit_core::principal::PrincipalId;
use jit_core::request::AccessRequest;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{action, reference, short};
use crate::text::{Markup, cut, plain, spoken};

/// The longest text and value of an option, in characters, as Slack's own types have it.
const OPTION_LIMIT: usize = 75;

/// What a form of ours remembers between its steps. It comes back from Slack and is checked like
/// anything that a person types.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Kept {
    /// For whom, where somebody else was named.
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub(crate) beneficiary: Option<String>,
    /// The request and digest that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) about: Option<String>,
}

impl Kept {
    fn written(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What was chosen in the form so far, and its terms.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'a> {
    pub(crate) entitlement: &'a Entitlement,
    pub(crate) tier: &'a Tier,
    pub(crate) warning: Option<&'a str>,
}

/// What the form for asking shows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Form<'a> {
    pub(crate) choice: Option<Choice<'a>>,
    pub(crate) beneficiary: Option<&'a PrincipalId>,
    pub(crate) reason: Option<&'a str>,
    /// How long ago providers were asked what they have, where any is.
    pub(crate) listed_ago: Option<Duration>,
}

/// The form for asking.
pub(crate) fn request_form(form: &Form<'_>) -> Value {
    let mut target = json!({
        "type": "external_select",
        "action_id": action::TARGET,
        "min_query_length": 0,
        "placeholder": plain("Search accounts, groups, apps", 150),
    });
    if let Some(choice) = &form.choice {
        target["initial_option"] = option(choice.entitlement);
    }
    let mut blocks = vec![];
    if let Some(beneficiary) = form.beneficiary {
        let line = Markup::new("For ").code(beneficiary.as_str());
        blocks.push(line.context());
    }
    let mut choosing = json!({
        "type": "input",
        "block_id": "target",
        "dispatch_action": true,
        "label": plain("What do you need access to?", 2_000),
        "element": target,
    });
    if let Some(ago) = form.listed_ago {
        let age = match ago.as_secs() / 60 {
            0 => "less than a minute".to_owned(),
            1 => "1 minute".to_owned(),
            minutes => format!("{minutes} minutes"),
        };
        choosing["hint"] = plain(&format!("The list is {age} old"), 2_000);
    }
    blocks.push(choosing);
    if let Some(choice) = &form.choice {
        if let Some(warning) = choice.warning {
            let text = plain(&format!("⚠ {warning}"), 3_000);
            blocks.push(json!({"type": "section", "block_id": "warning", "text": text}));
        }
        let id = choice.entitlement.id.as_str();
        if id.len() > OPTION_LIMIT {
            // The list shows a part of it.
            blocks.push(Markup::default().code(id).context());
        }
        blocks.push(terms(choice));
    }
    let (default, ceiling) = form.choice.map_or((None, None), |choice| {
        (Some(choice.tier.ttl_default), Some(choice.tier.ttl_max))
    });
    blocks.push(duration(default, ceiling));
    let mut reason = json!({
        "type": "plain_text_input",
        "action_id": "reason",
        "multiline": true,
        "max_length": 1_000,
    });
    if let Some(text) = form.reason.filter(|text| !text.is_empty()) {
        reason["initial_value"] = cut(text, 1_000).into();
    }
    blocks.push(json!({
        "type": "input",
        "block_id": "reason",
        "label": plain("Why?", 2_000),
        "hint": plain("Kept in the audit and shown to whoever decides", 2_000),
        "element": reason,
    }));
    let kept = Kept {
        beneficiary: form.beneficiary.map(|id| id.as_str().to_owned()),
        about: None,
    };
    modal("jit_request", "Request access", "Request", &kept, blocks)
}

/// One entry of the list to choose from.
pub(crate) fn option(entitlement: &Entitlement) -> Value {
    let mut option = json!({
        "text": plain(&cut_inside(entitlement.id.as_str()), OPTION_LIMIT),
        "value": option_value(&entitlement.id),
    });
    if !entitlement.title.is_empty() {
        option["description"] = plain(&entitlement.title, 75);
    }
    option
}

/// The entry that says how many more there are. It stands for nothing.
pub(crate) fn more_options(count: usize) -> Value {
    let text = format!("… and {count} more; type to search");
    json!({"text": plain(&text, OPTION_LIMIT), "value": "-"})
}

/// What stands for an entitlement in a list: its id, or a key made of it where Slack would drop the
/// whole list over its length. No id begins with `#`.
pub(crate) fn option_value(id: &EntitlementId) -> String {
    match id.as_str() {
        short if short.len() <= OPTION_LIMIT => short.to_owned(),
        long => format!("#{}", Digest::of(long.as_bytes())),
    }
}

/// An id that fits an option, without what is inside: long ids often differ at their end alone.
fn cut_inside(id: &str) -> String {
    let letters: Vec<char> = id.chars().collect();
    if letters.len() <= OPTION_LIMIT {
        return id.to_owned();
    }
    let (head, tail) = (OPTION_LIMIT / 2, OPTION_LIMIT - OPTION_LIMIT / 2 - 1);
    let kept = letters.iter().take(head).chain([&'…']);
    kept.chain(letters.iter().skip(letters.len() - tail))
        .collect()
}

fn terms(choice: &Choice<'_>) -> Value {
    let tier = choice.tier;
    let line = Markup::new(":lock: Tier ")
        .code(tier.name.as_str())
        .text(" · needs ")
        .number(tier.approvals.into())
        .text(if tier.approvals == 1 {
            " approval"
        } else {
            " approvals"
        })
        .text(" · at most ")
        .ttl(tier.ttl_max);
    let mut line = line.context();
    line["block_id"] = "policy".into();
    line
}

/// What can be chosen from: round durations up to the ceiling, the ceiling, half of it where it is
/// short, and the default.
pub(crate) fn duration_choices(default: Option<Ttl>, ceiling: Ttl) -> Vec<Ttl> {
    const ROUND: [u64; 12] = [
        300, 900, 1_800, 3_600, 7_200, 14_400, 28_800, 43_200, 86_400, 172_800, 259_200, 604_800,
    ];
    // Of a short time there is no round one that is less.
    let half =
        (ceiling.as_secs() <= 300).then(|| Ttl::from_secs(u64::from(ceiling.as_secs()) / 2).ok());
    let half = half.flatten();
    let round = ROUND.iter().filter_map(|secs| Ttl::from_secs(*secs).ok());
    let mut choices: Vec<Ttl> = round
        .filter(|ttl| *ttl <= ceiling)
        .chain([ceiling])
        .chain(half)
        .chain(default)
        .collect();
    choices.sort();
    choices.dedup();
    choices
}

fn duration_option(ttl: Ttl) -> Value {
    json!({"text": plain(&spoken(ttl), 75), "value": ttl.as_secs().to_string()})
}

/// The block's id carries the ceiling: where that changes, Slack must forget what was chosen.
fn duration(default: Option<Ttl>, ceiling: Option<Ttl>) -> Value {
    let block = ceiling.map_or_else(
        || "duration".to_owned(),
        |ceiling| format!("duration-{}", ceiling.as_secs()),
    );
    let day = || Ttl::from_secs(86_400).ok();
    let options: Vec<Value> = ceiling
        .or_else(day)
        .map(|ceiling| duration_choices(default, ceiling))
        .unwrap_or_default()
        .into_iter()
        .map(duration_option)
        .collect();
    let mut select = json!({
        "type": "static_select",
        "action_id": "duration",
        "options": options,
    });
    if let Some(default) = default {
        select["initial_option"] = duration_option(default);
    }
    json!({
        "type": "input",
        "block_id": block,
        "optional": ceiling.is_none(),
        "label": plain("For how long?", 2_000),
        "element": select,
    })
}

/// The form for a refusal.
pub(crate) fn deny_form(request: &AccessRequest) -> Value {
    let title = format!("Deny {}", short(request.id));
    let blocks = vec![json!({
        "type": "input",
        "block_id": "reason",
        "label": plain("Reason, shown to the requester", 2_000),
        "element": {
            "type": "plain_text_input",
            "action_id": "reason",
            "multiline": true,
            "max_length": 500,
        },
    })];
    modal("jit_deny", &title, "Deny", &about(request), blocks)
}

/// The form for a shorter time.
pub(crate) fn shorten_form(request: &AccessRequest) -> Value {
    let title = format!("Approve {}", short(request.id));
    let choices = duration_choices(None, request.ttl);
    let options: Vec<Value> = choices.into_iter().map(duration_option).collect();
    let asked = Markup::new("Asked for ").ttl(request.ttl).section();
    let blocks = vec![
        asked,
        json!({
            "type": "input",
            "block_id": "duration",
            "label": plain("Approve for", 2_000),
            "element": {
                "type": "static_select",
                "action_id": "duration",
                "options": options,
            },
        }),
    ];
    modal("jit_shorten", &title, "Approve", &about(request), blocks)
}

fn about(request: &AccessRequest) -> Kept {
    Kept {
        beneficiary: None,
        about: Some(reference(request)),
    }
}

fn modal(callback: &str, title: &str, submit: &str, kept: &Kept, blocks: Vec<Value>) -> Value {
    json!({
        "type": "modal",
        "callback_id": callback,
        "title": plain(title, 24),
        "submit": plain(submit, 24),
        "close": plain("Cancel", 24),
        "private_metadata": kept.written(),
        "blocks": blocks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_stands_for_its_entitlement_however_long_that_is() {
        for (length, is_kept) in [(75, true), (76, false), (200, false)] {
            let id = |last: char| {
                let name = "x".repeat(length - 3);
                format!("p/{name}{last}").parse::<EntitlementId>().unwrap()
            };
            let value = option_value(&id('a'));
            assert_eq!(value == id('a').as_str(), is_kept, "{length}");
            assert!(value.len() <= 75, "{value}");
            assert_ne!(value, option_value(&id('b')), "{length}");
            let shown = cut_inside(id('a').as_str());
            assert!(shown.chars().count() <= 75, "{shown}");
            assert_ne!(shown, cut_inside(id('b').as_str()), "{length}");
        }
    }

    #[test]
    fn a_form_offers_nothing_above_the_ceiling_and_the_ceiling_itself() {
        let ttl = |secs| Ttl::from_secs(secs).unwrap();
        let offered = duration_choices(Some(ttl(600)), ttl(5_400));
        let secs: Vec<u32> = offered.into_iter().map(Ttl::as_secs).collect();
        assert_eq!(secs, [300, 600, 900, 1_800, 3_600, 5_400]);
    }
}
