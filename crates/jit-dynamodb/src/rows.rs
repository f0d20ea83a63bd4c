//! Writes that are not a commit: the inbox, and how far a message is.

use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::{Delivery, Inbox, InboxItem};

use crate::commit::{done, rewritten};
use crate::error::{Cause, Failure, Fault};
use crate::item::{self, INPUT_KEPT, Read};
use crate::keys;
use crate::read::{self, LeftOut};
use crate::table::{Condition, Order, Range, Table};
use crate::transaction::{Ended, Grip, Write, send};
use crate::{Looks, token};

/// How long a taken input is left to whoever took it.
const TAKEN: Duration = Duration::from_secs(30);

/// The failure of a write that is decided on nothing the caller saw.
fn failed(fault: Fault) -> Failure {
    match fault {
        Fault::Failed(failure) => failure,
        Fault::TooLarge { what } => Cause::TooLarge { what }.into(),
        Fault::Conflict | Fault::InputDone | Fault::CounterFull { .. } => Cause::Contended.into(),
    }
}

// ---------------------------------------------------------------------------------------- inbox

pub(crate) async fn inbox_put(
    table: &Table,
    key: &str,
    input: &str,
    received_at: Timestamp,
) -> Result<Inbox, Failure> {
    let mut looks = Looks::new();
    // Most inputs are new, so it is written before it is looked at.
    let mut before = None;
    loop {
        let writes = put(key, input, received_at, before.as_ref());
        let ended = match send(table, writes, &looks.token(), None).await {
            Ok(()) => return Ok(Inbox::New),
            Err(ended) => ended,
        };
        if let Ended::Again = &ended {
            before = input_of(table, key).await?;
            let is_kept = |it: &item::Input| received_at < it.received_at + INPUT_KEPT;
            if before.as_ref().is_some_and(is_kept) {
                return Ok(Inbox::Seen);
            }
        }
        looks.again(ended).await.map_err(failed)?;
    }
}

/// Keeps an input over the one of the same key that was seen.
fn put(key: &str, input: &str, received_at: Timestamp, before: Option<&item::Input>) -> Vec<Write> {
    let as_seen = match before {
        None => Condition::absent(),
        Some(before) => Condition::when(
            "received_at = :before",
            [(":before", item::micros(before.received_at))],
        ),
    };
    let kept = item::new_input(key, input, received_at);
    let waits = keys::input_waits(key, received_at);
    let row = item::input_waits(key, received_at);
    let mut writes = vec![
        Write::put(keys::input(key), kept).if_so(as_seen, Grip::Loose),
        Write::put(waits.clone(), row),
    ];
    let old = before.map(|before| keys::input_waits(key, before.received_at));
    writes.extend(old.filter(|old| *old != waits).map(Write::delete));
    writes
}

async fn input_of(table: &Table, key: &str) -> Result<Option<item::Input>, Failure> {
    let row = table.get(&keys::input(key)).await?;
    Ok(row.as_ref().map(item::input).transpose()?)
}

pub(crate) async fn inbox_take(
    (table, left_out): (&Table, &LeftOut),
    now: Timestamp,
    limit: usize,
) -> Result<Vec<InboxItem>, Failure> {
    let range = Range {
        pk: keys::INPUTS.to_owned(),
        from: keys::instant(Timestamp::MIN),
        to: keys::end_of(&keys::instant(Timestamp::MAX)),
        order: Order::Ascending,
    };
    let (mut taken, mut begin) = (Vec::new(), None);
    while taken.len() < limit {
        let look = read::look(limit - taken.len());
        let page = table.page(&range, Some(look), begin).await?;
        let names = page
            .items
            .iter()
            .map(|row| Read::new(row, "input").text("name"));
        let names: Vec<&str> = names.collect::<Result<_, _>>()?;
        let keys: Vec<_> = names.iter().map(|name| keys::input(name)).collect();
        let rows = table.get_all(&keys).await?;
        for key in &keys {
            // One damaged input delays no other.
            let input = rows.get(key).and_then(|row| {
                let input = item::input(row);
                input.map_err(|why| left_out.say(&key.pk, &why)).ok()
            });
            let ready = |it: &item::Input| !it.is_done && it.taken_at + TAKEN <= now;
            let Some(input) = input.filter(ready) else {
                continue;
            };
            if taken.len() == limit {
                break;
            }
            match take(table, &input, now).await {
                Ok(false) => {}
                Ok(true) => taken.push(InboxItem {
                    key: input.key,
                    input: input.text,
                    received_at: input.received_at,
                }),
                Err(failure) => return so_far(taken, failure),
            }
        }
        begin = page.next;
        if begin.is_none() {
            break;
        }
    }
    Ok(taken)
}

/// What was taken before a call failed is the caller's; nobody else gets it for a while. Where
/// nothing was, the failure is.
fn so_far<T>(taken: Vec<T>, failure: Failure) -> Result<Vec<T>, Failure> {
    if taken.is_empty() {
        return Err(failure);
    }
    tracing::warn!(error = %failure.cause, "less was taken than there is");
    Ok(taken)
}

async fn take(table: &Table, input: &item::Input, now: Timestamp) -> Result<bool, Failure> {
    let as_seen = Condition::when(
        "is_done = :no AND taken_at = :before",
        [
            (":no", aws_sdk_dynamodb::types::AttributeValue::Bool(false)),
            (":before", item::micros(input.taken_at)),
        ],
    );
    let with_now = ("SET taken_at = :now", [(":now", item::micros(now))]);
    table
        .update(&keys::input(&input.key), with_now, &as_seen, &token())
        .await
}

/// The key stays for its hour; the input has served.
pub(crate) async fn inbox_done(table: &Table, key: &str) -> Result<(), Failure> {
    let mut looks = Looks::new();
    loop {
        let waits = input_of(table, key).await?.filter(|input| !input.is_done);
        let Some(input) = waits else {
            return Ok(());
        };
        let writes = done(key, input.received_at).into();
        match send(table, writes, &looks.token(), None).await {
            Ok(()) => return Ok(()),
            Err(ended) => looks.again(ended).await.map_err(failed)?,
        }
    }
}

// ------------------------------------------------------------------------------------ deliveries

pub(crate) async fn deliveries_take(
    (table, left_out): (&Table, &LeftOut),
    notifier: &str,
    (now, until): (Timestamp, Timestamp),
    limit: usize,
) -> Result<Vec<Delivery>, Failure> {
    let notifiers = [notifier.to_owned()];
    let due = read::deliveries_due(table, left_out, &notifiers, now, limit).await?;
    let mut taken = Vec::new();
    for mut delivery in due {
        let as_seen = Condition::when(
            "version = :version",
            [(":version", item::number(delivery.version))],
        );
        delivery.version += 1;
        delivery.attempts = delivery.attempts.saturating_add(1);
        delivery.taken_until = Some(until);
        let change = (
            "SET version = :counted, attempts = :attempts, taken_until = :until",
            [
                (":counted", item::number(delivery.version)),
                (":attempts", item::number(delivery.attempts)),
                (":until", item::micros(until)),
            ],
        );
        let key = keys::delivery(&delivery.key);
        match table.update(&key, change, &as_seen, &token()).await {
            // Whoever was faster has it.
            Ok(false) => {}
            Ok(true) => taken.push(delivery),
            Err(failure) => return so_far(taken, failure),
        }
    }
    Ok(taken)
}

pub(crate) async fn delivery_update(table: &Table, delivery: &Delivery) -> Result<(), Fault> {
    let token = token();
    let row = table.get(&keys::delivery(&delivery.key)).await?;
    let before = row.as_ref().map(item::read_delivery).transpose()?;
    let before = before.filter(|before| before.version + 1 == delivery.version);
    let Some(before) = before else {
        return Err(Fault::Conflict);
    };
    match send(table, rewritten(Some(&before), delivery), &token, None).await {
        Ok(()) => Ok(()),
        Err(Ended::For(fault)) => Err(fault),
        Err(Ended::Again) => Err(Fault::Conflict),
    }
}
