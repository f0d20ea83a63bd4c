//! What the file says of who is on call: rotas, their shifts, and who has them.

use std::collections::BTreeMap;
use std::str::FromStr;

use jit_core::policy::{Hours, ON_CALL};
use jit_core::principal::{GroupName, PrincipalId};

use super::check::Check;
use super::document::Table;
use super::principals::Names;
use super::problems::{At, Spot};
use super::written::Written;
use super::{Rota, RotaKind};
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

/// `[[rota]]`.
pub(super) struct RotaTable {
    at: Spot,
    name: Option<At<RotaName>>,
    shifts: Vec<ShiftTable>,
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
        }
    }

    /// The group that it fills.
    pub(super) fn group(&self) -> Option<&GroupName> {
        self.name.as_ref().map(|name| &name.value.0)
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
            if table.shifts.is_empty() {
                let instead = "write [[rota.shift]] below it, with hours and people";
                self.problems
                    .add(table.at, "nobody is ever on call by this rota", instead);
            }
            let mut shifts = Vec::new();
            for shift in &table.shifts {
                shifts.extend(self.shift(shift, names));
            }
            rotas.extend(table.group().map(|group| Rota {
                group: group.clone(),
                kind: RotaKind::Weekly(WeeklyRota { shifts }),
            }));
        }
        rotas
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
