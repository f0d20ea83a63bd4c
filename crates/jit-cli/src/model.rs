//! What the API says, as far as people are told of it, and the sentences in which they are. A field
//! that is added to the API changes nothing here.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;

use crate::error::Exit;
use crate::text::{Inert, brief, clock, instant, table, until};

/// A request.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Request {
    pub(crate) id: Inert,
    pub(crate) version: u64,
    pub(crate) status: Inert,
    pub(crate) detail: Option<Inert>,
    pub(crate) end: Option<Inert>,
    pub(crate) why: Option<Inert>,
    pub(crate) requester: Inert,
    pub(crate) beneficiary: Inert,
    pub(crate) entitlements: Vec<Part>,
    pub(crate) ttl: Inert,
    pub(crate) reason: Inert,
    pub(crate) tier: Inert,
    pub(crate) approvals_needed: usize,
    pub(crate) approvals: Vec<Approval>,
    pub(crate) digest: Inert,
    pub(crate) opened_at: Inert,
    pub(crate) decide_by: Inert,
    pub(crate) denied_by: Option<Inert>,
    pub(crate) denied_reason: Option<Inert>,
    pub(crate) withdrawn_by: Option<Inert>,
    pub(crate) provision_by: Option<Inert>,
    pub(crate) collect_by: Option<Inert>,
    pub(crate) collectable: bool,
    pub(crate) expires_at: Option<Inert>,
    #[serde(default)]
    pub(crate) fell_back: bool,
    pub(crate) residual_secs: u64,
    pub(crate) how_to_use: Option<Inert>,
    pub(crate) stuck: Option<Inert>,
    pub(crate) superseded_by: Option<Inert>,
}

/// One thing that is asked for.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Part {
    pub(crate) entitlement: Inert,
    pub(crate) parameters: serde_json::Map<String, Value>,
    pub(crate) label: Option<Inert>,
    pub(crate) fallback: Option<Inert>,
}

/// What whoever decides may want to know.
#[derive(Debug, Deserialize)]
pub(crate) struct Background {
    by_person: Vec<Use>,
    of_entitlement: Vec<Use>,
    holders: Vec<Use>,
    more_holders: usize,
    strangers: Vec<Inert>,
    more_strangers: usize,
    allows: Inert,
}

/// Access that somebody had, or has.
#[derive(Debug, Deserialize)]
struct Use {
    who: Inert,
    from: Inert,
    until: Inert,
}

impl Background {
    /// The same as a person wants to see it.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let list = |uses: &[Use], say: &dyn Fn(&Use) -> String, nobody: &str| match uses {
            [] => nobody.to_owned(),
            uses => uses.iter().map(say).collect::<Vec<_>>().join(", "),
        };
        let more = |count: usize| match count {
            0 => String::new(),
            count => format!(" and {count} more"),
        };
        let since = |it: &Use| instant(&it.from);
        let by = |it: &Use| format!("{} {}", it.who, instant(&it.from));
        let now = |it: &Use| format!("{} until {}", it.who, instant(&it.until));
        let mut lines = vec![];
        if !self.allows.as_str().is_empty() {
            lines.push(("can", self.allows.to_string()));
        }
        lines.push(("had it before", list(&self.by_person, &since, "never")));
        lines.push(("had by", list(&self.of_entitlement, &by, "nobody")));
        let holders = list(&self.holders, &now, "nobody");
        lines.push(("has it now", holders + &more(self.more_holders)));
        if !self.strangers.is_empty() {
            let names: Vec<_> = self.strangers.iter().map(Inert::as_str).collect();
            let names = names.join(", ") + &more(self.more_strangers);
            lines.push(("NO GRANT", format!("stands for {names}")));
        }
        lines
    }
}

/// One approval.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Approval {
    pub(crate) by: Option<Inert>,
    pub(crate) ttl: Option<Inert>,
    pub(crate) at: Inert,
}

/// A page of requests.
#[derive(Debug, Deserialize)]
pub(crate) struct RequestList {
    pub(crate) requests: Vec<Request>,
    pub(crate) next: Option<Inert>,
    /// Whether we may have a right to more cannot be found out now.
    #[serde(default)]
    pub(crate) perhaps_more: bool,
}

/// What can be asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct EntitlementList {
    pub(crate) entitlements: Vec<Entitlement>,
    /// How many more there are.
    #[serde(default)]
    pub(crate) more: usize,
    /// When providers were asked what they have.
    pub(crate) as_of: Option<Inert>,
}

/// One thing that can be asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Entitlement {
    pub(crate) id: Inert,
    pub(crate) title: Inert,
    pub(crate) tier: Inert,
    pub(crate) ttl_default: Option<Inert>,
    pub(crate) ttl_max: Option<Inert>,
    pub(crate) approvals: Option<usize>,
}

/// The audit of a request.
#[derive(Debug, Deserialize)]
pub(crate) struct EventList {
    pub(crate) events: Vec<Event>,
}

/// One event of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Event {
    pub(crate) at: Inert,
    pub(crate) by: Inert,
    pub(crate) fact: Inert,
    pub(crate) details: BTreeMap<String, Value>,
    pub(crate) status: Inert,
}

/// A credential.
#[derive(Debug, Deserialize)]
pub(crate) struct Collected {
    pub(crate) credential: SecretString,
    pub(crate) request: Request,
}

/// Who the caller is.
#[derive(Debug, Deserialize)]
pub(crate) struct Me {
    pub(crate) principal: Inert,
    pub(crate) token: Token,
}

/// By which token.
#[derive(Debug, Deserialize)]
pub(crate) struct Token {
    pub(crate) id: Inert,
    pub(crate) label: Inert,
    pub(crate) expires_at: Inert,
}

/// Whether new access is paused.
#[derive(Debug, Deserialize)]
pub(crate) struct Paused {
    pub(crate) paused: bool,
}

/// An answer that is not a success.
#[derive(Debug, Deserialize)]
pub(crate) struct ErrorBody {
    pub(crate) error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Deserialize)]
pub(crate) struct ErrorDetail {
    pub(crate) code: Inert,
    pub(crate) message: Inert,
}

impl Request {
    /// The end of the id that is enough to name it.
    pub(crate) fn short_id(&self) -> &str {
        let id = self.id.as_str();
        id.get(id.len().saturating_sub(8)..).unwrap_or(id)
    }

    /// What is asked for.
    pub(crate) fn what(&self) -> String {
        let part = |part: &Part| {
            let name = &part.entitlement;
            if part.parameters.is_empty() {
                return name.to_string();
            }
            let parameters = Value::from(part.parameters.clone()).to_string();
            format!("{name} {}", Inert::of(&parameters))
        };
        let parts: Vec<String> = self.entitlements.iter().map(part).collect();
        parts.join(", ")
    }

    /// For whom, and by whom where that is somebody else.
    pub(crate) fn who(&self) -> String {
        if self.requester == self.beneficiary {
            return self.beneficiary.to_string();
        }
        format!("{} (asked by {})", self.beneficiary, self.requester)
    }

    /// How far it is, in one sentence.
    pub(crate) fn story(&self) -> String {
        let by = |who: &Option<Inert>| who.as_ref().map_or(String::new(), |it| format!(" by {it}"));
        let said =
            |text: &Option<Inert>| text.as_ref().map_or(String::new(), |it| format!(": {it}"));
        let words = |text: &Option<Inert>| {
            let text = text.as_ref().map_or("", Inert::as_str).replace('_', " ");
            if text.is_empty() {
                text
            } else {
                format!(" ({text})")
            }
        };
        match self.status.as_str() {
            "pending" => format!(
                "waiting for {} until {}",
                self.missing(),
                instant(&self.decide_by)
            ),
            "denied" => format!("denied{}{}", by(&self.denied_by), said(&self.denied_reason)),
            "withdrawn" => format!("withdrawn{}", by(&self.withdrawn_by)),
            "lapsed" => "lapsed: nobody decided in time".to_owned(),
            "invalidated" => format!("void{}", words(&self.why)),
            "approved" if self.collectable => self.to_collect(),
            "approved" | "provisioning" => "approved; the access is being given".to_owned(),
            "active" => format!("active{}", self.until_when()),
            "revoking" => format!("ending{}", words(&self.end)),
            "ended" if self.detail.is_some() => {
                format!("ended{}; watched for a late effect", words(&self.end))
            }
            "ended" => format!("ended{}", words(&self.end)),
            "cancelled" => format!("cancelled before anything was given{}", words(&self.why)),
            other => other.to_owned(),
        }
    }

    fn missing(&self) -> String {
        match self.approvals_needed.saturating_sub(self.approvals.len()) {
            1 => "1 approval".to_owned(),
            more => format!("{more} approvals"),
        }
    }

    fn to_collect(&self) -> String {
        let by = self
            .collect_by
            .as_ref()
            .map(|at| format!(" by {}", instant(at)));
        let by = by.unwrap_or_default();
        format!(
            "approved; collect the credential{by}: jit collect {}",
            self.short_id()
        )
    }

    fn until_when(&self) -> String {
        let until = self.expires_at.as_ref();
        until.map_or(String::new(), |at| format!(" until {}", instant(at)))
    }

    /// What somebody who waits for it is told at the end; none while it may still become active.
    pub(crate) fn outcome(&self) -> Option<Exit> {
        match self.status.as_str() {
            "active" => Some(Exit::Done),
            "approved" if self.collectable => Some(Exit::Done),
            "pending" | "approved" | "provisioning" => None,
            _ => Some(Exit::NotDone),
        }
    }

    /// The line that is drawn again each second while somebody waits.
    pub(crate) fn countdown(&self, now: OffsetDateTime) -> String {
        let left = |at: &Inert| clock(until(at, now).unwrap_or(Duration::ZERO));
        match (self.status.as_str(), &self.provision_by) {
            ("pending", _) => format!(
                "waiting for {}, lapses in {}",
                self.missing(),
                left(&self.decide_by)
            ),
            (_, Some(at)) => format!("approved, being given, given up in {}", left(at)),
            (_, None) => "approved, being given".to_owned(),
        }
    }

    /// Every name and value that a person wants to see.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let mut lines = vec![
            ("request", self.id.to_string()),
            ("status", self.story()),
            ("what", self.what()),
            ("who", self.who()),
            ("how long", self.ttl.to_string()),
            ("why", self.reason.to_string()),
            ("tier", self.tier.to_string()),
            ("asked", instant(&self.opened_at)),
        ];
        let part = self.entitlements.first();
        let label = part.and_then(|part| part.label.as_ref());
        lines.extend(label.map(|label| ("that is", label.to_string())));
        let instead = part.and_then(|part| part.fallback.as_ref());
        lines.extend(instead.map(|instead| match self.fell_back {
            true => (
                "instead",
                format!("{instead}, because it could not be made"),
            ),
            false => ("instead", format!("{instead}, where it cannot be made")),
        }));
        let approvals = self.approvals.iter().map(|approval| {
            let by = approval
                .by
                .as_ref()
                .map_or("nobody, automatically", Inert::as_str);
            let ttl = approval.ttl.as_ref().map(|ttl| format!(" for {ttl}"));
            let ttl = ttl.unwrap_or_default();
            (
                "approved",
                format!("by {by}{ttl} at {}", instant(&approval.at)),
            )
        });
        lines.extend(approvals);
        let ends = self.expires_at.as_ref().map(|at| ("ends", instant(at)));
        let residual = (self.residual_secs > 0).then(|| {
            let secs = self.residual_secs;
            (
                "residual",
                format!("sessions may live on for up to {secs} s"),
            )
        });
        let stuck = self.stuck.as_ref();
        let stuck = stuck.map(|why| ("STUCK", why.as_str().replace('_', " ")));
        let next = self
            .superseded_by
            .as_ref()
            .map(|id| ("taken over", format!("by {id}")));
        let use_it = self
            .how_to_use
            .as_ref()
            .map(|how| ("use it", how.to_string()));
        lines.extend([ends, residual, stuck, next, use_it].into_iter().flatten());
        lines
    }

    /// The same as a row of a listing.
    pub(crate) fn row(&self) -> Vec<String> {
        let ends = self.expires_at.as_ref().map_or(String::new(), instant);
        let status = match &self.end {
            Some(end) if self.status.as_str() == "ended" => format!("ended ({end})"),
            _ => self.status.to_string(),
        };
        vec![
            self.short_id().to_owned(),
            status,
            self.who(),
            self.what(),
            self.ttl.to_string(),
            instant(&self.opened_at),
            ends,
            brief(&self.reason, 40),
        ]
    }

    /// The headings of such rows.
    pub(crate) const HEADINGS: [&'static str; 8] =
        ["ID", "STATUS", "WHO", "WHAT", "TTL", "ASKED", "ENDS", "WHY"];
}

impl Entitlement {
    /// A row of the listing of what can be asked for.
    pub(crate) fn row(&self) -> Vec<String> {
        let ttl = |ttl: &Option<Inert>| ttl.as_ref().map_or(String::new(), Inert::to_string);
        vec![
            self.id.to_string(),
            self.tier.to_string(),
            ttl(&self.ttl_default),
            ttl(&self.ttl_max),
            self.approvals
                .map_or(String::new(), |count| count.to_string()),
            self.title.to_string(),
        ]
    }

    /// The headings of such rows.
    pub(crate) const HEADINGS: [&'static str; 6] = [
        "ENTITLEMENT",
        "TIER",
        "TTL",
        "AT MOST",
        "APPROVALS",
        "WHAT IT IS",
    ];
}

/// What the providers and the records do not agree on.
#[derive(Debug, Deserialize)]
pub(crate) struct DriftList {
    pub(crate) unexplained: Vec<Drift>,
    pub(crate) missing: Vec<Missing>,
}

impl fmt::Display for DriftList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unexplained.is_empty() && self.missing.is_empty() {
            return f.write_str("what the providers have is what the records say");
        }
        if !self.unexplained.is_empty() {
            let rows = self.unexplained.iter().map(Drift::row);
            let shown = table(&Drift::HEADINGS, rows);
            write!(f, "no grant explains:\n{shown}")?;
        }
        if !self.missing.is_empty() {
            let rows = self.missing.iter().map(Missing::row);
            let shown = table(&Missing::HEADINGS, rows);
            let between = if self.unexplained.is_empty() {
                ""
            } else {
                "\n\n"
            };
            write!(f, "{between}granted, and taken by other hands:\n{shown}")?;
        }
        Ok(())
    }
}

/// Access that no grant explains.
#[derive(Debug, Deserialize)]
pub(crate) struct Drift {
    provider: Inert,
    subject: Inert,
    resource: Inert,
    found_at: Inert,
}

impl Drift {
    pub(crate) fn row(&self) -> Vec<String> {
        vec![
            self.provider.to_string(),
            self.subject.to_string(),
            self.resource.to_string(),
            instant(&self.found_at),
        ]
    }

    /// The headings of such rows.
    pub(crate) const HEADINGS: [&'static str; 4] = ["PROVIDER", "WHOSE", "WHAT", "FOUND"];
}

/// A grant whose access is missing.
#[derive(Debug, Deserialize)]
pub(crate) struct Missing {
    request: Inert,
    beneficiary: Inert,
    entitlement: Inert,
    missing_since: Option<Inert>,
}

impl Missing {
    pub(crate) fn row(&self) -> Vec<String> {
        vec![
            self.request.to_string(),
            self.beneficiary.to_string(),
            self.entitlement.to_string(),
            self.missing_since.as_ref().map_or(String::new(), instant),
        ]
    }

    /// The headings of such rows.
    pub(crate) const HEADINGS: [&'static str; 4] = ["REQUEST", "WHOSE", "WHAT", "SINCE"];
}

impl Event {
    /// A row of a history.
    pub(crate) fn row(&self) -> Vec<String> {
        let detail = |(name, value): (&String, &Value)| {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            format!("{name}={}", brief(&Inert::of(&value), 60))
        };
        let details: Vec<String> = self.details.iter().map(detail).collect();
        vec![
            instant(&self.at),
            self.by.to_string(),
            self.fact.as_str().replace('_', " "),
            self.status.to_string(),
            Inert::of(&details.join(" ")).to_string(),
        ]
    }

    /// The headings of such rows.
    pub(crate) const HEADINGS: [&'static str; 5] = ["WHEN", "WHO", "WHAT", "STATUS", "DETAILS"];
}
