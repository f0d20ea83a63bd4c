//! Who is on call when, in pages.
//! <https://developer.pagerduty.com/api-reference/3a6b910f11050-list-all-of-the-on-calls>

use serde_json::{Value, json};

use super::{OnCall, PagerError, Responder};
use crate::api::Request;
use crate::clock::{iso_seconds, parse_iso};
use crate::state::State;

/// How many are on a page if nothing is said, and at most; and how far pages lead.
const USUAL: usize = 25;
const MOST: usize = 100;
const FURTHEST: usize = 10_000;

/// How far ahead shifts are known.
const AHEAD: i64 = 90 * 86_400_000_000;

pub(super) fn list(state: &State, request: &Request) -> Result<Value, PagerError> {
    let number = |name: &str, usual: usize| match request.parameter(name) {
        None => Ok(usual),
        Some(text) => {
            let number = text.parse::<usize>();
            number.map_err(|_| PagerError::invalid(&format!("{name} must be a number.")))
        }
    };
    let limit = number("limit", USUAL)?.clamp(1, MOST);
    let offset = number("offset", 0)?;
    if offset.saturating_add(limit) > FURTHEST {
        return Err(PagerError::invalid(
            "Offset and limit are too far together.",
        ));
    }
    let now = state.moment;
    let time = |name: &str| match request.parameter(name) {
        None => Ok(now),
        Some(text) => {
            let at = parse_iso(text);
            at.ok_or_else(|| PagerError::invalid(&format!("{name} must be a time.")))
        }
    };
    let (since, until) = (time("since")?, time("until")?);
    if until < since {
        return Err(PagerError::invalid("Until must not be before since."));
    }
    let wanted = Wanted {
        since,
        until: until.min(now.saturating_add(AHEAD)),
        users: values(request, "user_ids[]"),
        policies: values(request, "escalation_policy_ids[]"),
        schedules: values(request, "schedule_ids[]"),
    };
    let mut found: Vec<&OnCall> = (state.pagerduty.on_calls.iter())
        .filter(|it| wanted.takes(it) && state.pagerduty.responders.contains_key(&it.user))
        .collect();
    found.sort_by(|one, other| {
        let key = |it: &OnCall| (it.escalation_policy.clone(), it.level, it.from_micros);
        key(one).cmp(&key(other))
    });
    let included = values(request, "include[]");
    let is_full = included.contains(&"users");
    let page = found.iter().skip(offset).take(limit);
    let page: Vec<Value> = page.map(|it| entry(state, it, is_full)).collect();
    let wants_total = request.parameter("total") == Some("true");
    Ok(json!({
        "oncalls": page, "limit": limit, "offset": offset,
        "more": found.len() > offset.saturating_add(limit),
        "total": wants_total.then_some(found.len()),
    }))
}

fn values<'a>(request: &'a Request, name: &str) -> Vec<&'a str> {
    (request.query.iter())
        .filter(|(known, _)| known == name)
        .map(|(_, value)| value.as_str())
        .collect()
}

/// Which entries are meant: those of a time, and of these ids if any are given.
struct Wanted<'a> {
    since: i64,
    until: i64,
    users: Vec<&'a str>,
    policies: Vec<&'a str>,
    schedules: Vec<&'a str>,
}

impl Wanted<'_> {
    fn takes(&self, it: &OnCall) -> bool {
        let begins = it.from_micros.is_none_or(|from| from <= self.until);
        let goes_on = it.until_micros.is_none_or(|until| until > self.since);
        let one_of = |ids: &[&str], id: &str| ids.is_empty() || ids.contains(&id);
        // Whoever is on call by no schedule is asked for as `null`.
        let schedule = it.schedule.as_deref().unwrap_or("null");
        begins
            && goes_on
            && one_of(&self.users, &it.user)
            && one_of(&self.policies, &it.escalation_policy)
            && one_of(&self.schedules, schedule)
    }
}

fn entry(state: &State, it: &OnCall, is_full: bool) -> Value {
    let account = &state.pagerduty;
    let base = &state.base;
    let user = account.responders.get(&it.user).map(|responder| {
        if is_full {
            shown(base, &it.user, responder)
        } else {
            reference(base, "user", &it.user, &responder.name)
        }
    });
    let schedule = it.schedule.as_ref().map(|id| {
        let name = account.schedules.get(id).map_or("", String::as_str);
        reference(base, "schedule", id, name)
    });
    let policy = account.policies.get(&it.escalation_policy);
    let policy = policy.map_or("", String::as_str);
    json!({
        "user": user,
        "schedule": schedule,
        "escalation_policy":
            reference(base, "escalation_policy", &it.escalation_policy, policy),
        "escalation_level": it.level,
        "start": it.from_micros.map(iso_seconds),
        "end": it.until_micros.map(iso_seconds),
    })
}

/// A thing by its name and where it is.
fn reference(base: &str, kind: &str, id: &str, name: &str) -> Value {
    let plural = match kind {
        "escalation_policy" => "escalation_policies",
        "schedule" => "schedules",
        _ => "users",
    };
    json!({
        "id": id, "type": format!("{kind}_reference"), "summary": name,
        "self": format!("{base}/pagerduty/{plural}/{id}"),
        "html_url": format!("{base}/{plural}/{id}"),
    })
}

/// A responder in full.
pub(super) fn shown(base: &str, id: &str, it: &Responder) -> Value {
    json!({
        "id": id, "type": "user", "summary": it.name,
        "self": format!("{base}/pagerduty/users/{id}"),
        "html_url": format!("{base}/users/{id}"),
        "name": it.name, "email": it.email, "time_zone": "Etc/UTC", "color": "green",
        "role": "user", "avatar_url": format!("{base}/img/blank-avatar.png"),
        "description": null, "invitation_sent": false, "job_title": "Engineer",
        "created_via_sso": false, "teams": [], "contact_methods": [], "notification_rules": [],
    })
}
