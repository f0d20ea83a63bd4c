//! Five hundred hostile strings in every field that a person, a policy or a provider fills, on
//! every surface and in every fallback text: whatever Slack interprets is of our own making (S13).

use jit_core::audit::AuditEvent;
use jit_core::catalog::Entitlement;
use jit_core::request::{AccessRequest, Approver, Stage, Status};
use jit_testkit::sample;
use serde_json::{Value, json};

use super::tests::{entitlement, events, names, tier};
use super::*;
use crate::commands::Commands;

/// What somebody might try.
const TRIES: [&str; 50] = [
    "<!channel>",
    "<!here>",
    "<!everyone>",
    "<!channel|channel>",
    "<!subteam^S0ADMINS>",
    "<!subteam^S0ADMINS|@admins>",
    "<!date^1790000000^{date} at {time}|2026>",
    "<!date^0^click^https://example.com|now>",
    "<!foo|bar>",
    "<@U012AB3CD>",
    "<@U012AB3CD|ana>",
    "<@W012AB3CD>",
    "<#C012AB3CD>",
    "<#C012AB3CD|general>",
    "<https://example.com>",
    "<https://example.com|Approve>",
    "<http://example.com|*Approve*>",
    "<mailto:ana@example.com|Ana>",
    "<tel:+1|call>",
    "<slack://user?team=T1&id=U1|open>",
    "<javascript:alert(1)|x>",
    "<data:text/html,x|x>",
    "<",
    ">",
    "<<!channel>>",
    "<<!channel>",
    "<! channel>",
    "<!\u{200b}channel>",
    "<!CHANNEL>",
    "&lt;!channel&gt;",
    "&amp;lt;!channel&amp;gt;",
    "&#60;!channel&#62;",
    "&lt",
    "&",
    "\\<!channel\\>",
    "\\u003c!channel\\u003e",
    "%3C!channel%3E",
    "\u{ff1c}!channel\u{ff1e}",
    "\u{2039}!channel\u{203a}",
    "\u{202e}>lennahc!<\u{202c}",
    "@channel",
    "@here",
    "#general",
    "https://example.com/?a=<b>",
    "*bold* _x_ ~y~ > quote",
    ":rotating_light: :tada:",
    "\"}]},{\"type\":\"divider\"},{\"text\":\"",
    "${jndi:ldap://example.com/a}",
    "{date_short_pretty} at {time}",
    "\0<!channel>",
];

/// Each try, and what stands around it.
fn hostile() -> Vec<String> {
    let around: [fn(&str) -> String; 10] = [
        str::to_owned,
        |it| format!("`{it}`"),
        |it| format!("` {it}"),
        |it| format!("```\n{it}\n```"),
        |it| format!("a\n{it}\n> b"),
        |it| format!("a\r{it}\u{2028}{it}\u{85}"),
        |it| it.repeat(40),
        |it| format!("{}{it}", "x".repeat(195)),
        |it| format!("{}{it}{}", "&".repeat(190), "<".repeat(200)),
        |it| format!("\u{202e}{it}\u{2066}\u{200d}\u{feff}"),
    ];
    let all = |it| around.iter().map(move |around| around(it));
    TRIES.into_iter().flat_map(all).collect()
}

/// A record and a catalogue in which this text is everywhere where its type lets it be. Each field
/// begins with a mark of its own, by which it is found again.
struct Told {
    requests: Vec<AccessRequest>,
    news: Vec<AuditEvent>,
    entitlement: Entitlement,
    title: String,
    how_to_use: String,
    warning: String,
    typed: String,
}

const MARKS: [&str; 11] = [
    "zqreason",
    "zqtitle",
    "zqhow",
    "zqwarning",
    "zqkey",
    "zqvalue",
    "zqasker",
    "zqowner",
    "zqdecider",
    "zqthing",
    "zqtyped",
];

fn told(words: &str) -> Told {
    // As the desk takes it: on one line.
    let one_line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let reason = |mark: &str| {
        let whole = format!("{mark} {one_line}").parse();
        whole.unwrap_or_else(|_| mark.parse().unwrap())
    };
    // A name takes the letters that it takes, and the whole where it may.
    let name = |mark: &str| {
        let kept = words
            .chars()
            .filter(|it| it.is_ascii_alphanumeric() || "@.:_+-".contains(*it));
        format!("{mark}{}", kept.take(150).collect::<String>())
    };
    let asker = name("zqasker").parse().unwrap();
    let owner = name("zqowner").parse().unwrap();
    let decider: jit_core::principal::PrincipalId = name("zqdecider").parse().unwrap();
    let thing: jit_core::catalog::EntitlementId = format!("p/{}", name("zqthing")).parse().unwrap();
    let fill = |mut request: AccessRequest| {
        request.reason = reason("zqreason");
        request.requester = asker;
        request.beneficiary = owner;
        let mut parts: Vec<_> = request.parts.iter().cloned().collect();
        for part in &mut parts {
            part.entitlement = thing.clone();
            // Short enough that both are shown.
            let short: String = words.chars().take(40).collect();
            let parameters = json!({format!("zqkey{short}"): format!("zqvalue{words}")});
            part.parameters = serde_json::from_value(parameters)
                .unwrap_or_else(|_| serde_json::from_value(json!({"zqkey": "zqvalue"})).unwrap());
        }
        request.parts = parts.try_into().unwrap();
        for approval in &mut request.approvals {
            approval.by = Approver::Person(decider.clone());
        }
        match &mut request.stage {
            Stage::Denied { by, reason: why } => {
                *by = decider.clone();
                *why = reason("zqreason");
            }
            Stage::Withdrawn { by } => *by = decider.clone(),
            _ => {}
        }
        request
    };
    let numbered = (1_u16..).zip(Status::ALL);
    let requests: Vec<_> = numbered
        .map(|(number, status)| fill.clone()(sample::request_in(number, status)))
        .collect();
    let news = events(&requests[0]);
    let mut entry = entitlement(1);
    entry.id = thing.clone();
    entry.title = format!("zqtitle{words}");
    entry.how_to_use = format!("zqhow{words}");
    Told {
        requests,
        news,
        entitlement: entry,
        title: format!("zqtitle{words}"),
        how_to_use: format!("zqhow{words}"),
        warning: format!("zqwarning{words}"),
        typed: format!("zqtyped{words}"),
    }
}

/// Every surface on which any of it is shown.
fn drawn(told: &Told) -> Vec<Value> {
    let names = names();
    let mut all = vec![];
    let message = |drawn: Message| json!({"text": drawn.text, "blocks": drawn.blocks});
    let scene = |request| Scene {
        request,
        title: told.title.as_str().into(),
        how_to_use: told.how_to_use.as_str().into(),
        warning: Some(&told.warning),
        background: None,
        names: &names,
    };
    let scenes: Vec<Scene<'_>> = told.requests.iter().map(scene).collect();
    for scene in &scenes {
        all.push(message(card(scene)));
        for moment in super::tests::MOMENTS {
            for reader in [&scene.request.requester, &scene.request.beneficiary] {
                all.push(message(dm(scene, moment, reader)));
            }
        }
        all.extend([deny_form(scene.request), shorten_form(scene.request)]);
        let channel = "C0SEC".parse().unwrap();
        all.push(outcome_view(scene.request, Some(&channel)));
    }
    let whom = super::tests::mentions();
    all.push(message(reminder(&scenes[0], &whom)));
    all.extend(thread(&scenes[0], &told.news, &whom).map(message));
    all.push(message(listing(&scenes)));
    let reason = told.requests[0].reason.as_str();
    let entitlement = &told.entitlement;
    let choice = Choice {
        entitlement,
        tier: &tier(),
        warning: Some(&told.warning),
    };
    all.push(request_form(&Form {
        choice: Some(choice),
        beneficiary: Some(&told.requests[0].beneficiary),
        reason: Some(reason),
        listed_ago: None,
    }));
    all.push(json!({"options": [option(entitlement)]}));
    let wrong = reply(&Reply::Wrong(told.typed.clone()), Some(told.requests[0].id));
    all.push(refusal_view(&wrong));
    all.push(message(wrong));
    let commands = Commands {
        jit: told.typed.clone(),
        ..Commands::default()
    };
    all.push(message(help(&commands)));
    all.push(message(not_understood(&commands)));
    let commands = Commands {
        prod_access: told.typed.clone(),
        ..Commands::default()
    };
    all.push(message(no_reason(&commands)));
    let lists = Home {
        active: &scenes,
        to_decide: &scenes,
        extent: jit_core::engine::Extent::PerhapsMore,
        waiting: &scenes,
        recent: &scenes,
    };
    all.push(home(&lists));
    all
}

/// What of a text that Slack interprets is not ours: what is left when our own mentions and
/// instants are taken out must hold no bracket at all.
fn foreign(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some((before, inside)) = rest.split_once('<') {
        if before.contains('>') {
            return Some(before.to_owned());
        }
        let Some((mark, after)) = inside.split_once('>') else {
            return Some(inside.to_owned());
        };
        if !ours(mark) {
            return Some(mark.to_owned());
        }
        rest = after;
    }
    rest.contains('>').then(|| rest.to_owned())
}

fn ours(mark: &str) -> bool {
    if matches!(mark, "@U0ANA" | "@U0BOB" | "!subteam^S0OFFICERS" | "#C0SEC") {
        return true;
    }
    let Some((secs, rest)) = mark
        .strip_prefix("!date^")
        .and_then(|it| it.split_once('^'))
    else {
        return false;
    };
    let Some((form, fallback)) = rest.split_once('|') else {
        return false;
    };
    secs.parse::<i64>().is_ok()
        && matches!(form, "{time}" | "{date_short_pretty} at {time}")
        && fallback.len() == "2026-11-21 18:00 UTC".len()
        && fallback
            .chars()
            .all(|it| it.is_ascii_digit() || "- :UTC".contains(it))
}

/// Looks at every place of a drawing, and notes the marks that are seen.
fn look(drawing: &Value, seen: &mut Vec<&'static str>) {
    let kind = drawing
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if let Some(text) = drawing.get("text").and_then(Value::as_str) {
        seen.extend(MARKS.iter().filter(|mark| text.contains(**mark)));
        match kind {
            // Nothing is interpreted in these.
            "plain_text" => assert_eq!(drawing["emoji"], false, "{drawing}"),
            "text" => assert!(drawing.get("style").is_none(), "{drawing}"),
            "mrkdwn" => {
                assert_eq!(drawing["verbatim"], true, "{drawing}");
                assert_eq!(foreign(text), None, "{text}");
                // Words of other hands stand as code, and every code span is closed.
                assert_eq!(text.matches('`').count() % 2, 0, "{text}");
                let outside: String = text.split('`').step_by(2).collect();
                assert!(!outside.contains("zq"), "{text}");
                assert!(
                    !text.chars().any(|it| it.is_control() && it != '\n'
                        || ('\u{2028}'..='\u{202e}').contains(&it)),
                    "{text:?}"
                );
            }
            // The fallback of a message.
            "" => assert_eq!(foreign(text), None, "{text}"),
            other => panic!("{other} has a text"),
        }
    }
    match drawing {
        Value::Object(fields) => {
            for never in [
                "url",
                "image_url",
                "user_id",
                "channel_id",
                "usergroup_id",
                "range",
            ] {
                assert!(!fields.contains_key(never), "{drawing}");
            }
            let ids = ["block_id", "action_id", "callback_id"];
            for id in ids.iter().filter_map(|id| fields.get(*id)?.as_str()) {
                assert!(!id.contains("zq"), "{id}");
            }
            fields.values().for_each(|it| look(it, seen));
        }
        Value::Array(items) => items.iter().for_each(|it| look(it, seen)),
        _ => {}
    }
}

#[test]
fn s13_nothing_that_slack_interprets_is_of_other_hands() {
    let hostile = hostile();
    assert_eq!(hostile.len(), 500);
    let mut drawings = 0;
    for words in &hostile {
        let mut seen = vec![];
        for drawing in drawn(&told(words)) {
            look(&drawing, &mut seen);
            drawings += 1;
        }
        for mark in MARKS {
            assert!(
                seen.contains(&mark),
                "{mark} is shown nowhere for {words:?}"
            );
        }
    }
    assert!(drawings > 40_000, "{drawings}");
}

/// Many changes by people whom Slack does not know, in one message.
#[test]
fn a_long_thread_is_cut_between_its_lines() {
    let mut told = told(&"&".repeat(10));
    let by: jit_core::principal::PrincipalId = "a".repeat(200).parse().unwrap();
    let mut news = vec![];
    for event in events(&told.requests[0]).into_iter().cycle().take(60) {
        let mut event = event;
        if let jit_core::audit::Fact::Approved { by: whom, .. } = &mut event.event.what {
            *whom = Approver::Person(by.clone());
        }
        if let jit_core::audit::Actor::Principal { id, .. } = &mut event.actor {
            *id = by.clone();
        }
        news.push(event);
    }
    told.news = news;
    let mut seen = vec![];
    for drawing in drawn(&told) {
        look(&drawing, &mut seen);
    }
}

#[test]
fn what_is_foreign_is_found() {
    for bad in [
        "<!channel>",
        "a <@U1> b",
        "<https://x|y>",
        "x >",
        "<",
        "<!date^1^{time}|<!here>>",
    ] {
        assert!(foreign(bad).is_some(), "{bad}");
    }
    for good in [
        "",
        "a &lt;b&gt;",
        "<@U0ANA> · <!date^1790000000^{time}|2026-11-21 18:00 UTC>",
    ] {
        assert_eq!(foreign(good), None, "{good}");
    }
}
