//! What is known about what is asked for, on the card of whoever decides: small print, every word of
//! others inert, and nobody mentioned: it is not about them.

use jit_core::engine::{Background, Use};
use serde_json::{Value, json};

use super::Scene;
use crate::text::{Markup, Show};

/// Its lines, where there is anything to say.
pub(super) fn background(scene: &Scene<'_>) -> Option<Value> {
    let known = scene.background?;
    let mut lines = vec![];
    if !known.allows.is_empty() {
        lines.push(Markup::new(":key: Can ").code(&known.allows));
    }
    lines.push(match known.by_person.as_slice() {
        [] => Markup::new(":bust_in_silhouette: Had it never before"),
        uses => {
            let line = Markup::new(":bust_in_silhouette: Had it before: ");
            list(line, uses, |line, it| line.at(it.from, Show::DayAndTime))
        }
    });
    lines.push(match known.of_entitlement.as_slice() {
        [] => Markup::new(":clock3: Nobody ever had it"),
        uses => {
            let line = Markup::new(":clock3: Had by: ");
            list(line, uses, |line, it| {
                let line = line.code(it.who.as_str()).text(" ");
                line.at(it.from, Show::DayAndTime)
            })
        }
    });
    lines.push(holders(known));
    if !known.strangers.is_empty() {
        let mut line = Markup::new(":warning: Stands without a grant: ");
        for (place, subject) in known.strangers.iter().enumerate() {
            line = between(line, place).code(subject.as_str());
        }
        lines.push(more(line, known.more_strangers));
    }
    let lines: Vec<Value> = lines.iter().map(Markup::object).collect();
    Some(json!({"type": "context", "block_id": "background", "elements": lines}))
}

fn holders(known: &Background) -> Markup {
    if known.holders.is_empty() {
        return Markup::new(":busts_in_silhouette: Nobody has it now");
    }
    let line = Markup::new(":busts_in_silhouette: Has it now: ");
    let line = list(line, &known.holders, |line, it| {
        let line = line.code(it.who.as_str()).text(" until ");
        line.at(it.until, Show::DayAndTime)
    });
    more(line, known.more_holders)
}

fn list(line: Markup, uses: &[Use], say: impl Fn(Markup, &Use) -> Markup) -> Markup {
    let uses = uses.iter().enumerate();
    uses.fold(line, |line, (place, it)| say(between(line, place), it))
}

fn between(line: Markup, place: usize) -> Markup {
    match place {
        0 => line,
        _ => line.text(", "),
    }
}

fn more(line: Markup, more: usize) -> Markup {
    match u64::try_from(more) {
        Ok(0) | Err(_) => line,
        Ok(more) => line.text(" and ").number(more).text(" more"),
    }
}
