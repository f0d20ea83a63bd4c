//! What the file says of who is on call: rotas, their shifts and who has them, and what PagerDuty is
//! asked for.

use std::collections::BTreeMap;
use std::str::FromStr;

use jit_core::policy::{Hours, ON_CALL};
use jit_core::principal::{GroupName, PrincipalId};
use jit_pagerduty::{Address, Duty, EventsSettings, Id, Levels};

use super::check::Check;
use super::document::Table;
use super::environment::{PAGERDUTY_ROUTING_KEY, PAGERDUTY_TOKEN};
use super::principals::Names;
use super::problems::{At, Spot};
use super::written::Written;
use super::{PagerDuty, Rota, RotaKind};
use crate::rota::{Monday, Shift, WeeklyRota};

/// The name of a rota, as the group that rules know it by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RotaName(GroupName);

impl FromStr for RotaName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rule = "a rota is named with 1 to 60 letters, digits, _ or -";
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if !(1..=60).contains(&text.len()) || !text.bytes().all(plain) {
            return Err(rule);
        }
        let group = format!("{ON_CALL}{text}").parse();
        group.map(Self).map_err(|_| rule)
    }
}

impl std::fmt::Display for RotaName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// How a rota of PagerDuty is written.
const ASK_PAGERDUTY: &str = r#"pagerduty = { schedule = "PI7DH85" }"#;

/// `[[rota]]`.
pub(super) struct RotaTable {
    at: Spot,
    name: Option<At<RotaName>>,
    shifts: Vec<ShiftTable>,
    pagerduty: Option<DutyTable>,
}

/// `pagerduty = { … }` of a `[[rota]]`.
struct DutyTable {
    at: Spot,
    schedule: Option<At<Id>>,
    escalation_policy: Option<At<Id>>,
    levels: Option<At<u64>>,
}

/// `[pagerduty]`: where it is.
#[derive(Default)]
pub(super) struct PagerDutyTable {
    api: Option<At<Address>>,
    events: Option<At<Address>>,
}

/// `[[rota.shift]]`.
struct ShiftTable {
    hours: Option<At<Hours>>,
    people: Vec<At<PrincipalId>>,
    turns_from: Option<At<Monday>>,
}

impl RotaTable {
    pub(super) fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("name", r#"name = "primary""#);
        Self {
            at: table.at(),
            name: table.parsed("name"),
            shifts: table.each("shift", "[[rota.shift]]", ShiftTable::read),
            pagerduty: table.within("pagerduty", ASK_PAGERDUTY, DutyTable::read),
        }
    }

    /// The group that it fills.
    pub(super) fn group(&self) -> Option<&GroupName> {
        self.name.as_ref().map(|name| &name.value.0)
    }
}

impl DutyTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        Self {
            at: table.at(),
            schedule: table.parsed("schedule"),
            escalation_policy: table.parsed("escalation_policy"),
            levels: table.whole("levels", 1..=2),
        }
    }

    fn levels(&self) -> Levels {
        match self.levels.as_ref().map(|levels| levels.value) {
            Some(2) => Levels::FirstAndSecond,
            _ => Levels::First,
        }
    }
}

impl PagerDutyTable {
    pub(super) fn read(table: &mut Table<'_, '_>) -> Self {
        Self {
            api: table.parsed("api"),
            events: table.parsed("events"),
        }
    }
}

impl ShiftTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("hours", r#"hours = "mon-fri 09:00-18:00 Europe/Berlin""#);
        table.require("people", r#"people = ["ana@example.com"]"#);
        Self {
            hours: table.parsed("hours"),
            people: table.parsed_list("people"),
            turns_from: table.parsed("turns_from"),
        }
    }
}

impl Check<'_, '_> {
    /// Every rota, in the order of the file.
    pub(super) fn rotas(&mut self, written: &Written, names: &Names<'_>) -> Vec<Rota> {
        self.once(
            "rota",
            written.rotas.iter().filter_map(|it| it.name.as_ref()),
        );
        let mut rotas = Vec::new();
        for table in &written.rotas {
            let kind = match &table.pagerduty {
                Some(duty) => self.duty(table, duty),
                None => Some(self.weekly(table, names)),
            };
            rotas.extend(table.group().zip(kind).map(|(group, kind)| Rota {
                group: group.clone(),
                kind,
            }));
        }
        rotas
    }

    fn weekly(&mut self, table: &RotaTable, names: &Names<'_>) -> RotaKind {
        if table.shifts.is_empty() {
            let instead = format!(
                "write [[rota.shift]] below it, with hours and people; or {ASK_PAGERDUTY} in it"
            );
            self.problems
                .add(table.at, "nobody is ever on call by this rota", instead);
        }
        let shifts = table.shifts.iter();
        let shifts = shifts.filter_map(|shift| self.shift(shift, names));
        RotaKind::Weekly(WeeklyRota {
            shifts: shifts.collect(),
        })
    }

    /// A rota of PagerDuty is one schedule or one escalation policy, and nothing beside it.
    fn duty(&mut self, rota: &RotaTable, table: &DutyTable) -> Option<RotaKind> {
        if !rota.shifts.is_empty() {
            let what = "this rota has shifts, and PagerDuty is asked as well";
            let instead = "keep one of the two, or write two rotas and name both in the rule";
            self.problems.add(table.at, what, instead);
        }
        let schedule = table.schedule.as_ref().map(|id| &id.value);
        let policy = table.escalation_policy.as_ref().map(|id| &id.value);
        let duty = match (schedule, policy) {
            (Some(schedule), None) => Duty::Schedule(schedule.clone()),
            (None, Some(policy)) => Duty::EscalationPolicy(policy.clone()),
            (Some(_), Some(_)) => {
                let what = "pagerduty names a schedule and an escalation policy";
                self.problems.add(table.at, what, "keep one of the two");
                return None;
            }
            (None, None) => {
                let what = "pagerduty names neither a schedule nor an escalation policy";
                let instead = format!("write for example {ASK_PAGERDUTY}");
                self.problems.add(table.at, what, instead);
                return None;
            }
        };
        Some(RotaKind::PagerDuty {
            duty,
            levels: table.levels(),
        })
    }

    /// How PagerDuty is asked, where a rota needs it.
    pub(super) fn pagerduty(&mut self, written: &Written) -> Option<PagerDuty> {
        let token = self
            .environment
            .secret(PAGERDUTY_TOKEN, self.folder, self.problems);
        let asks = written
            .rotas
            .iter()
            .filter_map(|rota| rota.pagerduty.as_ref());
        let at = asks.map(|table| table.at).next()?;
        if token.is_none() {
            let what = format!("whoever asks PagerDuty needs {PAGERDUTY_TOKEN}");
            let instead = format!(
                "set {PAGERDUTY_TOKEN} to a read-only API key, or {PAGERDUTY_TOKEN}_FILE to the \
                 file that holds it"
            );
            self.problems.add(at, what, instead);
        }
        let api = written.pagerduty.api.as_ref();
        Some(PagerDuty {
            api: api.map_or_else(Address::of_api, |api| api.value.clone()),
            token: token?,
        })
    }

    /// The service at PagerDuty that takes alarms, where there is one.
    pub(super) fn pagerduty_events(&mut self, written: &Written) -> Option<EventsSettings> {
        let (environment, folder) = (self.environment, self.folder);
        let key = environment.secret(PAGERDUTY_ROUTING_KEY, folder, self.problems)?;
        match key.try_into() {
            Ok(routing_key) => {
                let events = written.pagerduty.events.as_ref();
                Some(EventsSettings {
                    routing_key,
                    events: events.map_or_else(Address::of_events, |it| it.value.clone()),
                })
            }
            Err(error) => {
                let at = Spot::Variable(PAGERDUTY_ROUTING_KEY);
                let instead = format!("{error}; an API key is none");
                self.problems.add(at, "it is refused", instead);
                None
            }
        }
    }

    fn shift(&mut self, table: &ShiftTable, names: &Names<'_>) -> Option<Shift> {
        let mut seen: BTreeMap<&PrincipalId, Spot> = BTreeMap::new();
        for person in &table.people {
            self.person_named(person, names);
            if seen.insert(&person.value, person.at).is_some() {
                let what = format!("{} is in this shift twice", person.value);
                self.problems.add(person.at, what, "write everybody once");
            }
        }
        if let Some(turns_from) = table
            .turns_from
            .as_ref()
            .filter(|_| table.people.len() == 1)
        {
            let instead = "add people, or remove turns_from";
            self.problems
                .add(turns_from.at, "one person takes no turns", instead);
        }
        Some(Shift {
            hours: table.hours.as_ref()?.value.clone(),
            people: table.people.iter().map(|it| it.value.clone()).collect(),
            turns_from: table.turns_from.as_ref().map(|it| it.value),
        })
    }
}
