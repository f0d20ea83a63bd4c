//! What people do: they ask and they click, some of them waiting for the answer before they go on,
//! or at a steady pace, or all in one moment.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::slack::{APPROVE, CHANNEL, Card, FastSlack, MARK, TEAM, Through};

/// People at once who wait before they go on.
pub(crate) const WAITING: u32 = 8;
/// Those who decide; one for each who waits.
pub(crate) const APPROVERS: u32 = WAITING;
/// What can be asked for.
pub(crate) const ENTITLEMENTS: u32 = 12;
/// Slack says that the app did not answer after this.
pub(crate) const SLACK_WAITS: Duration = Duration::from_secs(3);
/// What did not come by then is lost.
const LOST_AFTER: Duration = Duration::from_secs(8);
/// How long the work after the acknowledgements may take.
const DONE_WITHIN: Duration = Duration::from_secs(60);

pub(crate) fn asker(number: u32) -> String {
    format!("U0P{number:05}")
}

pub(crate) fn approver(number: u32) -> String {
    format!("U0A{number:05}")
}

/// Measured durations, in order of size.
#[derive(Debug, Default, Clone)]
pub(crate) struct Durations(Vec<Duration>);

impl Durations {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// The smallest that this share is not above, in ms.
    pub(crate) fn at(&self, percent: usize) -> f64 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        let found = self.0.get(rank - 1).or(self.0.last());
        found.map_or(f64::NAN, |it| it.as_secs_f64() * 1_000.0)
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(50)
    }

    pub(crate) fn collect(all: impl IntoIterator<Item = Duration>) -> Self {
        Self::of(all.into_iter().collect())
    }

    pub(crate) fn past(&self, limit: Duration) -> usize {
        self.0.iter().filter(|it| **it > limit).count()
    }
}

/// What came of some gestures.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// From the gesture to its acknowledgement.
    pub(crate) acks: Durations,
    /// From the click to the changed card.
    pub(crate) changes: Durations,
    /// What was never acknowledged, and what was never shown.
    pub(crate) unacknowledged: usize,
    pub(crate) unshown: usize,
    /// Gestures in a second, from the first of them to the last card.
    pub(crate) rate: f64,
    /// The cards that were posted.
    pub(crate) cards: Vec<Card>,
}

/// Who asks, and for what, in requests that never meet: each is about a slot of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) first_person: u32,
    pub(crate) people: u32,
}

struct Asked {
    ack: Option<Duration>,
    card: oneshot::Receiver<Card>,
}

async fn acknowledged(sent_at: Instant, told: oneshot::Receiver<Instant>) -> Option<Duration> {
    let told = tokio::time::timeout(LOST_AFTER, told).await;
    Some(told.ok()?.ok()?.duration_since(sent_at))
}

async fn ask(slack: FastSlack, crowd: Crowd, number: u32, through: Through) -> Asked {
    let card = slack.card_of(number);
    let person = crowd.first_person + number % crowd.people;
    let payload = form(&asker(person), number / crowd.people % ENTITLEMENTS, number);
    let (sent_at, told) = slack.send(&format!("ask-envelope-{number}"), &payload, through);
    Asked {
        ack: acknowledged(sent_at, told).await,
        card,
    }
}

/// The numbers of requests that are to be sent, taken by whoever is free.
type Numbers = Arc<Mutex<VecDeque<u32>>>;

fn next<T>(queue: &Mutex<VecDeque<T>>) -> Option<T> {
    let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
    queue.pop_front()
}

/// Eight people ask, each again as soon as it was acknowledged.
pub(crate) async fn ask_waiting(
    slack: &FastSlack,
    crowd: Crowd,
    numbers: std::ops::Range<u32>,
    through: Through,
) -> Done {
    let numbers: Numbers = Arc::new(Mutex::new(numbers.collect()));
    let began_at = Instant::now();
    let mut people = JoinSet::new();
    for _ in 0..WAITING {
        let (slack, numbers) = (slack.clone(), Arc::clone(&numbers));
        people.spawn(async move {
            let mut asked = Vec::new();
            while let Some(number) = next(&numbers) {
                asked.push(ask(slack.clone(), crowd, number, through).await);
            }
            asked
        });
    }
    let asked = people.join_all().await.into_iter().flatten().collect();
    settle(began_at, asked).await
}

/// So many requests a second, whatever becomes of them.
pub(crate) async fn ask_steadily(
    slack: &FastSlack,
    crowd: Crowd,
    numbers: std::ops::Range<u32>,
    a_second: u32,
) -> Done {
    let began_at = Instant::now();
    let mut people = JoinSet::new();
    let mut pace = tokio::time::interval(Duration::from_secs(1) / a_second);
    for number in numbers {
        pace.tick().await;
        people.spawn(ask(slack.clone(), crowd, number, Through::All));
    }
    let asked = people.join_all().await;
    settle(began_at, asked).await
}

/// Everybody in one moment.
pub(crate) async fn ask_at_once(
    slack: &FastSlack,
    crowd: Crowd,
    numbers: std::ops::Range<u32>,
) -> Done {
    let began_at = Instant::now();
    let mut people = JoinSet::new();
    for number in numbers {
        people.spawn(ask(slack.clone(), crowd, number, Through::All));
    }
    let asked = people.join_all().await;
    settle(began_at, asked).await
}

/// Waits for the cards.
async fn settle(began_at: Instant, asked: Vec<Asked>) -> Done {
    let mut done = Done::default();
    let count = asked.len();
    let mut acks = Vec::with_capacity(count);
    let deadline = tokio::time::Instant::now() + DONE_WITHIN;
    for Asked { ack, card } in asked {
        match ack {
            Some(ack) => acks.push(ack),
            None => done.unacknowledged += 1,
        }
        match tokio::time::timeout_at(deadline, card).await {
            Ok(Ok(card)) => done.cards.push(card),
            Ok(Err(_)) | Err(_) => done.unshown += 1,
        }
    }
    done.acks = Durations::of(acks);
    done.rate = rate(count - done.unshown, began_at);
    done
}

fn rate(count: usize, began_at: Instant) -> f64 {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    f64::from(count) / began_at.elapsed().as_secs_f64()
}

/// For what somebody who clicks waits before the next click.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    Acknowledged,
    Changed,
}

struct Clicked {
    ack: Option<Duration>,
    change: Option<Duration>,
    /// Where nobody waited for it yet.
    later: Option<oneshot::Receiver<Instant>>,
}

async fn click(slack: &FastSlack, who: u32, card: &Card, until: Until) -> Clicked {
    let change = slack.change_of(card);
    let payload = clicked(&approver(who), card);
    let id = format!("click-envelope-{}", card.ts);
    let (sent_at, told) = slack.send(&id, &payload, Through::All);
    let ack = acknowledged(sent_at, told).await;
    match until {
        Until::Acknowledged => Clicked {
            ack,
            change: None,
            later: Some(change),
        },
        Until::Changed => Clicked {
            ack,
            change: acknowledged(sent_at, change).await,
            later: None,
        },
    }
}

/// Eight people approve, each the next as soon as the last was acknowledged, or its card changed.
pub(crate) async fn click_waiting(slack: &FastSlack, cards: Vec<Card>, until: Until) -> Done {
    let count = cards.len();
    let cards = Arc::new(Mutex::new(VecDeque::from(cards)));
    let began_at = Instant::now();
    let mut people = JoinSet::new();
    for who in 0..WAITING {
        let (slack, cards) = (slack.clone(), Arc::clone(&cards));
        people.spawn(async move {
            let mut all = Vec::new();
            while let Some(card) = next(&cards) {
                all.push(click(&slack, who, &card, until).await);
            }
            all
        });
    }
    let mut done = Done::default();
    let (mut acks, mut changes) = (Vec::new(), Vec::new());
    let deadline = tokio::time::Instant::now() + DONE_WITHIN;
    for clicked in people.join_all().await.into_iter().flatten() {
        match clicked.ack {
            Some(ack) => acks.push(ack),
            None => done.unacknowledged += 1,
        }
        match (clicked.change, clicked.later) {
            (Some(change), _) => changes.push(change),
            (None, None) => done.unshown += 1,
            (None, Some(later)) => match tokio::time::timeout_at(deadline, later).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => done.unshown += 1,
            },
        }
    }
    done.acks = Durations::of(acks);
    done.changes = Durations::of(changes);
    done.rate = rate(count - done.unshown, began_at);
    done
}

/// The form, as Slack sends it when it is submitted.
fn form(user: &str, entitlement: u32, number: u32) -> Value {
    let plain = |text: &str| json!({"type": "plain_text", "text": text});
    let target = format!("groupfile/g{entitlement}");
    json!({
        "type": "view_submission",
        "team": {"id": TEAM, "domain": "bench"},
        "user": {"id": user, "username": user, "name": user, "team_id": TEAM},
        "api_app_id": "A0JITAPP1",
        "token": "verification",
        "trigger_id": format!("{number}.1.f0"),
        "view": {
            "id": format!("V0{number:07}"),
            "team_id": TEAM,
            "type": "modal",
            "callback_id": "jit_request",
            "private_metadata": "{}",
            "hash": "1700000000.abcdef",
            "title": plain("Request access"),
            "submit": plain("Request"),
            "close": plain("Cancel"),
            "blocks": [],
            "state": {"values": {
                "target": {"target": {
                    "type": "external_select",
                    "selected_option": {"text": plain(&target), "value": target},
                }},
                "duration-28800": {"duration": {
                    "type": "static_select",
                    "selected_option": {"text": plain("1 h"), "value": "3600"},
                }},
                "reason": {"reason": {
                    "type": "plain_text_input",
                    "value": format!("The bench wants to know, {MARK}{number:07}"),
                }},
            }},
        },
        "response_urls": [],
        "is_enterprise_install": false,
        "enterprise": null,
    })
}

/// *Approve* on a card, as Slack sends it.
fn clicked(user: &str, card: &Card) -> Value {
    json!({
        "type": "block_actions",
        "team": {"id": TEAM, "domain": "bench"},
        "user": {"id": user, "username": user, "name": user, "team_id": TEAM},
        "api_app_id": "A0JITAPP1",
        "token": "verification",
        "trigger_id": format!("{}.f1", card.ts),
        "channel": {"id": CHANNEL, "name": "access"},
        "container": {
            "type": "message", "message_ts": card.ts, "channel_id": CHANNEL, "is_ephemeral": false,
        },
        "message": {
            "type": "message", "ts": card.ts, "user": "U0JITBOT", "bot_id": "B0JITBOT",
            "text": "a card", "blocks": card.blocks,
        },
        "actions": [{
            "type": "button", "action_id": APPROVE, "block_id": "decide", "value": card.value,
            "text": {"type": "plain_text", "text": "Approve 1 h"}, "style": "primary",
            "action_ts": "1700000001.000001",
        }],
        "is_enterprise_install": false,
        "enterprise": null,
    })
}
