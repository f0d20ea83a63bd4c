//! Every surface in every state, plain and with the most extreme values that the domain lets in.
//! The drawings are kept; `tests/slack` checks them with Slack's own libraries.

use std::collections::{BTreeMap, BTreeSet};

use jit_core::Refusal;
use jit_core::Timestamp;
use jit_core::Ttl;
use jit_core::audit::{Actor, AuditEvent, Fact, RequestEvent};
use jit_core::catalog::{Entitlement, ParameterRule};
use jit_core::digest::Digest;
use std::time::Duration;

use jit_core::engine::Extent;
use jit_core::engine::{Background, HOLDERS, USES, Use};
use jit_core::policy::{STEPS_LIMIT, Tier, Who};
use jit_core::principal::{Door, Principal};
use jit_core::provider::Kind;
use jit_core::request::{
    AccessRequest, Approver, CancelReason, Cause, End, Phase, Rung, Stage, Status, Stuck,
};
use jit_testkit::sample;
use serde_json::{Value, json};

use super::*;
use crate::commands::Commands;
use crate::deciders::Mentions;
use crate::people::Names;

const NASTY: &str = "<!channel> <@U012AB3CD> <https://example.com|Approve> *bold* _x_ ~y~ `code` \
                     :tada: & &amp; 雪が降る 👩‍🚀👩🏽‍🚀 ﷽ \u{202d}";

pub(super) fn names() -> Names {
    [("ana@example.com", "U0ANA"), ("bob@example.com", "U0BOB")]
        .into_iter()
        .map(|(id, user)| (id.parse().unwrap(), user.parse().unwrap()))
        .collect()
}

/// A record whose every text is as long and as nasty as it may be.
fn extreme(mut request: AccessRequest) -> AccessRequest {
    let nasty: String = NASTY.chars().filter(|c| *c != '\u{202d}').collect();
    let reason: String = nasty.chars().cycle().take(1_000).collect();
    request.reason = reason.trim().parse().unwrap();
    request.requester = format!("{}@example.com", "a".repeat(180)).parse().unwrap();
    request.beneficiary = format!("{}@example.com", "_".repeat(180)).parse().unwrap();
    request.terms.tier = "t".repeat(60).parse().unwrap();
    request.terms.residual_max_secs = 86_400;
    let mut parts: Vec<_> = request.parts.iter().cloned().collect();
    for part in &mut parts {
        part.entitlement = format!("p/{}", "e".repeat(150)).parse().unwrap();
        let value = json!({"key": nasty.repeat(20)});
        part.parameters = serde_json::from_value(value).unwrap();
        part.provider.residual = std::time::Duration::from_secs(3_600);
    }
    request.parts = parts.try_into().unwrap();
    if let Stage::Denied { reason, .. } = &mut request.stage {
        *reason = request.reason.clone();
    }
    request
}

fn rung(at: u64, to: BTreeSet<Who>, reached_at: Option<Timestamp>) -> Rung {
    let at = sample::at(at);
    Rung { at, to, reached_at }
}

pub(super) const MOMENTS: [Moment; 5] = [
    Moment::Given,
    Moment::Expiring,
    Moment::Missing,
    Moment::TakenOver,
    Moment::Over,
];

fn requests() -> Vec<(String, AccessRequest)> {
    let mut all = vec![];
    for (number, status) in (1_u16..).zip(Status::ALL) {
        let request = sample::request_in(number, status);
        all.push((format!("{status}"), request));
        let other = sample::request_in(number + 100, status);
        all.push((format!("{status}-extreme"), extreme(other)));
    }
    let mut stuck = sample::request_in(40, Status::Revoking);
    if let Stage::Granted(grant) = &mut stuck.stage {
        grant.stuck = Some(Stuck::NotVerified);
    }
    all.push(("stuck".to_owned(), stuck));
    let mut collectable = sample::request_in(41, Status::Approved);
    let mut parts: Vec<_> = collectable.parts.iter().cloned().collect();
    for part in &mut parts {
        part.provider.kind = Kind::Minted;
    }
    collectable.parts = parts.try_into().unwrap();
    all.push(("collectable".to_owned(), collectable.clone()));
    let cleo = "cleo@example.com".parse().unwrap();
    collectable.requester = cleo;
    all.push(("collectable-for-another".to_owned(), collectable));
    let mut for_another = sample::request_in(42, Status::Active);
    for_another.beneficiary = "bob@example.com".parse().unwrap();
    all.push(("for-another".to_owned(), for_another));
    let mut escalated = sample::request_in(45, Status::Pending);
    let to = |who: &str| [who.parse().unwrap(), Who::Manager].into();
    escalated.ladder = vec![
        rung(300, to("oncall:primary"), Some(sample::at(301))),
        rung(600, to("group:platform-leads"), None),
    ];
    all.push(("pending-escalated".to_owned(), escalated.clone()));
    let long = |n: usize| format!("group:{n}{}", "g".repeat(190)).parse().unwrap();
    let longest = (0..STEPS_LIMIT).map(|step| {
        rung(
            300,
            (0..9).map(long).collect(),
            Some(sample::at(step.into())),
        )
    });
    escalated.ladder = longest.collect();
    all.push(("pending-escalated-extreme".to_owned(), escalated));
    let mut taken_over = sample::request_in(43, Status::Closed);
    if let Stage::Granted(grant) = &mut taken_over.stage {
        let by = sample::id(44);
        grant.phase = Phase::Closed {
            end: End::Superseded { by },
        };
    }
    all.push(("taken-over".to_owned(), taken_over));
    all
}

pub(crate) fn events(request: &AccessRequest) -> Vec<AuditEvent> {
    let bob = || Principal {
        id: "bob@example.com".parse().unwrap(),
        door: Door::Slack,
    };
    let by = || Actor::Principal {
        id: bob().id,
        via: bob(),
    };
    let facts = vec![
        Fact::Approved {
            by: Approver::Person(bob().id),
            ttl: None,
            count: 1,
            needed: 2,
        },
        Fact::ApprovalDropped { by: bob().id },
        Fact::ApprovalRetracted { by: bob().id },
        Fact::Denied {
            reason: request.reason.clone(),
        },
        Fact::Withdrawn,
        Fact::Escalated {
            step: 1,
            to: ["oncall:primary".parse().unwrap(), Who::Manager].into(),
        },
        Fact::Lapsed,
        Fact::Invalidated {
            why: jit_core::request::Mismatch::Revoked,
            reason: Some(request.reason.clone()),
        },
        Fact::Cancelled {
            why: CancelReason::NotProvisioned,
            reason: None,
        },
        Fact::Activated {
            expires_at: sample::at(900),
        },
        Fact::Ending {
            cause: Cause::Revoked,
            reason: Some(request.reason.clone()),
        },
        Fact::Settling {
            until: sample::at(1_000),
        },
        Fact::Reappeared,
        Fact::Missing,
        Fact::Stuck {
            why: Stuck::Refused,
        },
        Fact::Unstuck,
    ];
    let link = |(seq, what)| AuditEvent {
        shape: 1,
        chain: request.id.to_string(),
        seq,
        at: sample::at(seq),
        actor: by(),
        event: RequestEvent {
            what,
            status: request.status(),
            expires_at: None,
        },
        prev: Digest::of(b"before"),
    };
    (1..).zip(facts).map(link).collect()
}

const STRANGERS: [Stranger; 6] = [
    Stranger::Unmapped,
    Stranger::Guest,
    Stranger::Bot,
    Stranger::Deactivated,
    Stranger::Foreign,
    Stranger::Ambiguous,
];

/// Everything that somebody is told in private.
fn replies() -> Vec<(String, Reply)> {
    let entitlement = format!("p/{}", "e".repeat(150)).parse().unwrap();
    let right = jit_core::policy::Right::Approve;
    let mut replies = vec![
        ("failed".to_owned(), Reply::Failed),
        ("too-old".to_owned(), Reply::TooOld),
        ("usage".to_owned(), Reply::Usage("Type /jit.")),
        ("done".to_owned(), Reply::Done("The access is ending.")),
        ("wrong".to_owned(), Reply::Wrong(NASTY.repeat(100))),
    ];
    for refusal in [
        Refusal::OwnRequest,
        Refusal::UnknownRequest,
        Refusal::StaleDigest,
        Refusal::AlreadyEnding,
        Refusal::NotAllowed { right, entitlement },
        Refusal::Lapsed { at: sample::at(0) },
        Refusal::AlreadyDecided {
            status: Status::Active,
            by: Some(Approver::Person("bob@example.com".parse().unwrap())),
            at: sample::at(0),
        },
        Refusal::Superseded { by: sample::id(1) },
    ] {
        let name = format!("refused-{}", refusal.code());
        replies.push((name, Reply::Refused(refusal)));
    }
    for stranger in STRANGERS {
        let name = format!("stranger-{stranger:?}").to_lowercase();
        replies.push((name, Reply::Stranger(stranger)));
    }
    replies
}

pub(super) fn mentions() -> Mentions {
    Mentions {
        groups: ["S0OFFICERS".parse().unwrap()].into(),
        users: ["U0ANA".parse().unwrap(), "U0BOB".parse().unwrap()].into(),
    }
}

/// Bob had it before, and Ana has it now.
fn known() -> Background {
    let used = |who: &str| Use {
        request: sample::request(7).id,
        who: who.parse().unwrap(),
        from: sample::start(),
        until: sample::start() + Duration::from_secs(3_600),
    };
    Background {
        of_entitlement: vec![used("bob@example.com")],
        holders: vec![used("ana@example.com")],
        allows: "Stop and start instances".to_owned(),
        ..Background::default()
    }
}

/// As much as there ever is.
fn everything_known() -> Background {
    let long = Use {
        request: sample::request(7).id,
        who: format!("{}@example.com", "x".repeat(188)).parse().unwrap(),
        from: sample::start(),
        until: sample::start() + Duration::from_secs(3_600),
    };
    Background {
        by_person: vec![long.clone(); USES],
        of_entitlement: vec![long.clone(); USES],
        holders: vec![long; HOLDERS],
        more_holders: 990,
        strangers: vec![NASTY.parse().unwrap(); HOLDERS],
        more_strangers: 990,
        allows: NASTY.repeat(30),
    }
}

pub(super) fn entitlement(number: usize) -> Entitlement {
    Entitlement {
        id: format!("aws/account-{number:03}/{}", "x".repeat(100))
            .parse()
            .unwrap(),
        resource: "r".to_owned(),
        title: NASTY.repeat(3),
        how_to_use: NASTY.repeat(30),
        tier: "standard".parse().unwrap(),
        parameters: ParameterRule::Free,
        display: None,
        template: None,
        allows: String::new(),
        fallback: None,
    }
}

pub(super) fn tier() -> Tier {
    let ttl = |text: &str| text.parse::<Ttl>().unwrap();
    Tier {
        name: "standard".parse().unwrap(),
        ttl_default: ttl("17m"),
        ttl_max: ttl("7d"),
        approvals: 2,
        decision_window: ttl("10m"),
        automatic: None,
        residual_max_secs: 0,
    }
}

/// Every drawing, by the kind of thing that Slack takes it for.
fn gallery() -> BTreeMap<&'static str, BTreeMap<String, Value>> {
    let names = names();
    let (mut messages, mut modals, mut homes) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut message = |name: String, drawn: Message| {
        let drawn = json!({"text": drawn.text, "blocks": drawn.blocks});
        assert!(messages.insert(name, drawn).is_none());
    };
    let requests = requests();
    let long = NASTY.repeat(30);
    let (known, everything) = (known(), everything_known());
    let scenes: Vec<(String, Scene<'_>)> = requests
        .iter()
        .map(|(name, request)| {
            let extreme = name.ends_with("-extreme");
            let scene = Scene {
                request,
                title: if extreme {
                    long.as_str()
                } else {
                    "Administration"
                }
                .into(),
                how_to_use: if extreme {
                    long.as_str()
                } else {
                    "Log in at the desk"
                }
                .into(),
                warning: extreme.then_some(long.as_str()),
                background: match (name.starts_with("pending"), extreme) {
                    (true, true) => Some(&everything),
                    (true, false) => Some(&known),
                    (false, _) => None,
                },
                names: &names,
            };
            (name.clone(), scene)
        })
        .collect();
    for (name, scene) in &scenes {
        message(format!("card-{name}"), card(scene));
        for moment in MOMENTS {
            let drawn = dm(scene, moment, &scene.request.beneficiary);
            message(format!("dm-{name}-{moment:?}").to_lowercase(), drawn);
            // Where they are two, the other is told of it as well.
            if scene.request.requester != scene.request.beneficiary {
                let drawn = dm(scene, moment, &scene.request.requester);
                let name = format!("dm-{name}-{moment:?}-requester");
                message(name.to_lowercase(), drawn);
            }
        }
        modals.insert(format!("deny-{name}"), deny_form(scene.request));
        modals.insert(format!("shorten-{name}"), shorten_form(scene.request));
        modals.insert(format!("outcome-{name}"), outcome_view(scene.request, None));
        modals.insert(format!("window-{name}"), review_view(&card(scene)));
        message(format!("card-to-open-{name}"), card_to_open(scene));
    }
    for (name, scene) in scenes
        .iter()
        .filter(|(name, _)| name.starts_with("pending"))
    {
        let news = events(scene.request);
        message(
            format!("thread-{name}"),
            thread(scene, &news, &mentions()).unwrap(),
        );
        message(format!("reminder-{name}"), reminder(scene, &mentions()));
        let nobody = reminder(scene, &Mentions::default());
        message(format!("reminder-{name}-of-nobody"), nobody);
    }
    let only: Vec<Scene<'_>> = scenes.iter().map(|(_, scene)| scene.clone()).collect();
    message("listing".to_owned(), listing(&only));
    message("listing-empty".to_owned(), listing(&[]));
    let help_text = help(&Commands::default());
    message("help".to_owned(), help_text);
    message("no-reason".to_owned(), no_reason(&Commands::default()));
    message(
        "not-understood".to_owned(),
        not_understood(&Commands::default()),
    );
    for (name, said) in replies() {
        for (about, id) in [("", None), ("-about", Some(sample::id(1)))] {
            let said = reply(&said, id);
            let window = answer_view(&said);
            modals.insert(format!("answer-{name}{about}"), window);
            message(format!("reply-{name}{about}"), said);
        }
    }
    let (entry, tier) = (entitlement(1), tier());
    let choice = Choice {
        entitlement: &entry,
        tier: &tier,
        warning: Some(&long),
    };
    modals.insert("request-empty".to_owned(), request_form(&Form::default()));
    let beneficiary = requests[1].1.beneficiary.clone();
    let full = Form {
        choice: Some(choice),
        beneficiary: Some(&beneficiary),
        reason: Some(&long),
        listed_ago: Some(std::time::Duration::from_secs(720)),
    };
    modals.insert("request-full".to_owned(), request_form(&full));
    modals.insert("sending".to_owned(), sending_view());
    let refusal = reply(&Reply::Wrong(NASTY.repeat(100)), None);
    modals.insert("refused".to_owned(), refusal_view(&refusal));
    let channel = "C0SEC".parse().unwrap();
    let sent = outcome_view(only[0].request, Some(&channel));
    modals.insert("outcome-in-a-channel".to_owned(), sent);
    let many: Vec<Scene<'_>> = only.iter().cloned().cycle().take(60).collect();
    // Rows with a button have a block id, which stands once in a view.
    let to_decide: Vec<AccessRequest> = (300..320)
        .map(|number| sample::request_in(number, Status::Pending))
        .enumerate()
        .map(|(place, it)| if place % 2 == 0 { extreme(it) } else { it })
        .collect();
    let scene = |request| Scene {
        request,
        title: long.as_str().into(),
        how_to_use: long.as_str().into(),
        warning: Some(&long),
        background: None,
        names: &names,
    };
    let to_decide: Vec<Scene<'_>> = to_decide.iter().map(scene).collect();
    let lists = Home {
        active: &only,
        to_decide: &to_decide,
        extent: Extent::Whole,
        waiting: &many,
        recent: &many,
    };
    homes.insert("full".to_owned(), home(&lists));
    let nothing = Home {
        active: &[],
        to_decide: &[],
        extent: Extent::Whole,
        waiting: &[],
        recent: &[],
    };
    homes.insert("empty".to_owned(), home(&nothing));
    let unsure = Home {
        extent: Extent::PerhapsMore,
        ..nothing
    };
    homes.insert("unsure".to_owned(), home(&unsure));
    for stranger in STRANGERS {
        let name = format!("stranger-{stranger:?}").to_lowercase();
        homes.insert(name, home_for_strangers(stranger));
    }
    let options = (0..99).map(|number| option(&entitlement(number)));
    let options: Vec<Value> = options.chain([more_options(402)]).collect();
    let options = BTreeMap::from([("hundred".to_owned(), json!({"options": options}))]);
    BTreeMap::from([
        ("messages", messages),
        ("modals", modals),
        ("homes", homes),
        ("options", options),
    ])
}

#[test]
fn every_surface_is_drawn_as_before() {
    insta::assert_json_snapshot!(gallery());
}

#[test]
fn s13_nothing_of_other_hands_is_interpreted_in_any_surface() {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                let interpreted = fields.get("type").and_then(Value::as_str) == Some("mrkdwn");
                for (name, field) in fields {
                    match field.as_str() {
                        Some(text) if name == "text" && interpreted => found.push(text.to_owned()),
                        _ => walk(field, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            _ => {}
        }
    }
    let gallery = gallery();
    let mut texts = vec![];
    for drawing in gallery.values().flat_map(BTreeMap::values) {
        walk(drawing, &mut texts);
        texts.extend(
            drawing
                .get("text")
                .and_then(Value::as_str)
                .map(str::to_owned),
        );
    }
    assert!(texts.len() > 300, "{}", texts.len());
    for text in texts {
        for forged in ["<!channel", "<!here", "<!everyone", "<http", "<@U012AB3CD"] {
            assert!(!text.contains(forged), "{text}");
        }
    }
}

#[test]
fn a_card_shows_every_letter_of_what_is_asked_for() {
    let mut request = sample::request_in(1, Status::Pending);
    let mut parts: Vec<_> = request.parts.iter().cloned().collect();
    let long: String = ('a'..='z').cycle().take(3_900).collect();
    let parameters = json!({"command": format!("{long}; rm -rf / # the end")});
    parts[0].parameters = serde_json::from_value(parameters.clone()).unwrap();
    request.parts = parts.try_into().unwrap();
    let names = names();
    let scene = Scene {
        request: &request,
        title: "".into(),
        how_to_use: "".into(),
        warning: None,
        background: None,
        names: &names,
    };
    let shown: String = card(&scene)
        .blocks
        .iter()
        .filter_map(|block| block.pointer("/elements/0"))
        .filter(|element| element["type"] == "rich_text_preformatted")
        .filter_map(|element| element.pointer("/elements/0/text")?.as_str())
        .collect();
    assert_eq!(shown, parameters.to_string());
}

#[test]
fn a_card_has_buttons_only_for_what_can_still_be_done() {
    let names = names();
    for (name, request) in requests() {
        let scene = Scene {
            request: &request,
            title: "".into(),
            how_to_use: "".into(),
            warning: None,
            background: None,
            names: &names,
        };
        let drawn = serde_json::to_string(&card(&scene).blocks).unwrap();
        let has = |action: &str| drawn.contains(&format!("\"{action}\""));
        let pending = request.status() == Status::Pending;
        let live = matches!(request.status(), Status::Provisioning | Status::Active);
        assert_eq!(has(action::APPROVE), pending, "{name}");
        assert_eq!(has(action::DENY), pending, "{name}");
        assert_eq!(has(action::REVOKE), live, "{name}");
        let _ = Phase::Active;
    }
}
