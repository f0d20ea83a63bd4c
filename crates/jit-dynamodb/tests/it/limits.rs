//! Both sides of each ceiling, and names that were chosen to break the keys of rows.

use std::collections::BTreeSet;

use jit_core::audit::Fact;
use jit_core::digest::Digest;
use jit_core::ports::{
    Commit, CommitError, Counter, DeliveryKey, Idempotency, Inbox, Query, RequestStore, Row,
    RowChange, Touch,
};
use jit_core::request::RequestId;
use jit_dynamodb::DynamoStore;
use jit_testkit::sample;

use crate::faulty::Faulty;
use crate::world::World;

fn row(key: &str, length: usize) -> RowChange {
    RowChange {
        row: Row {
            table: "flag",
            key: key.to_owned(),
            value: "x".repeat(length),
        },
        expected: None,
    }
}

fn rows(rows: impl IntoIterator<Item = RowChange>) -> Commit {
    Commit {
        rows: rows.into_iter().collect(),
        ..Commit::default()
    }
}

async fn fits(store: &DynamoStore, commit: Commit) {
    store.commit(commit).await.unwrap();
}

/// It is refused, and nothing went out.
async fn is_refused(store: &DynamoStore, network: &Faulty, commit: Commit) {
    network.calls();
    let answer = store.commit(commit).await;
    assert!(
        matches!(answer, Err(CommitError::TooLarge { .. })),
        "{answer:?}"
    );
    assert_eq!(network.calls(), Vec::<String>::new());
}

#[tokio::test]
async fn the_largest_row_is_written_and_a_larger_one_is_refused_before_the_call() {
    let world = World::new();
    let (store, network, other, _) = world.faulty().await;
    // 400 KB are the names and values of all attributes.
    let names = ["pk", "sk", "name", "content", "written_by"];
    let values = ["row#flag", "row#k", "k", &"0".repeat(34)];
    let rest: usize = names.iter().chain(&values).map(|it| it.len()).sum();
    let most = 400 * 1_024 - rest;
    is_refused(&store, &network, rows([row("k", most + 1)])).await;
    fits(&store, rows([row("k", most)])).await;
    let found = other.row("flag", "k").await.unwrap().unwrap();
    assert_eq!(found.value.len(), most);
}

#[tokio::test]
async fn the_largest_transaction_is_written_and_a_larger_one_is_refused_before_the_call() {
    let world = World::new();
    let (store, network, _, _) = world.faulty().await;
    let keys = |letter: char| (0..11).map(move |it| format!("{letter}{it:02}"));
    let rest = 11 * ("pksknamecontent".len() + "row#flag".len() + 2 * "k00".len() + "row#".len())
        + "written_by".len()
        + 34;
    let last = 4 * 1_024 * 1_024 - 10 * 409_000 - rest;
    let of = |letter, last: usize| {
        let keys = keys(letter).enumerate();
        rows(keys.map(|(place, key)| row(&key, if place < 10 { 409_000 } else { last })))
    };
    is_refused(&store, &network, of('a', last + 1)).await;
    fits(&store, of('b', last)).await;
}

#[tokio::test]
async fn a_hundred_rows_are_written_and_one_more_is_refused_before_the_call() {
    let world = World::new();
    let (store, network, _, table) = world.faulty().await;
    let with = |number: u16, events: usize| {
        let mut change = sample::creation(sample::request(number));
        for _ in 1..events {
            let at = change.record.updated_at;
            let event = sample::seal(&mut change.record, at, Fact::Lapsed);
            change.events.push(event);
        }
        sample::commit([change])
    };
    fits(&store, with(1, 1)).await;
    let marker = 1;
    let rows_of_one = world.scan(&table).await.len() - marker;
    let most = 100 - rows_of_one + 1;
    is_refused(&store, &network, with(2, most + 1)).await;
    fits(&store, with(3, most)).await;
    assert_eq!(world.scan(&table).await.len(), marker + rows_of_one + 100);
}

#[tokio::test]
async fn eight_records_are_written_and_a_ninth_is_refused_before_the_call() {
    let world = World::new();
    let (store, network, _, _) = world.faulty().await;
    let of = |count: u16| {
        let changes = (1..=count).map(|number| sample::creation(sample::request(number)));
        sample::commit(changes)
    };
    is_refused(&store, &network, of(9)).await;
    fits(&store, of(8)).await;
}

#[tokio::test]
async fn the_longest_names_are_written_and_longer_ones_are_refused_before_the_call() {
    let world = World::new();
    let (store, network, other, _) = world.faulty().await;
    let long = |length: usize| "é".repeat(length / 2) + &"x".repeat(length % 2);
    is_refused(&store, &network, rows([row(&long(1_021), 1)])).await;
    fits(&store, rows([row(&long(1_020), 1)])).await;
    let once = |length| Commit {
        idempotency: Some(Idempotency {
            key: long(length),
            fingerprint: Digest::of(b"asked"),
            request: sample::id(1),
            forget_at: sample::at(60),
        }),
        ..Commit::default()
    };
    is_refused(&store, &network, once(2_044)).await;
    fits(&store, once(2_043)).await;
    let counted = |length| Commit {
        counters: vec![Counter {
            key: long(length),
            window: 1,
            ceiling: 9,
            forget_at: sample::at(60),
        }],
        ..Commit::default()
    };
    is_refused(&store, &network, counted(2_043)).await;
    fits(&store, counted(2_042)).await;
    let touch = |number, length| Commit {
        deliveries: vec![Touch {
            key: DeliveryKey {
                request: sample::id(number),
                notifier: "slack".to_owned(),
                target: long(length),
            },
            take_until: None,
        }],
        ..sample::commit([sample::creation(sample::request(number))])
    };
    // The row by which it is due begins with an instant and the id.
    let most = 1_024 - 20 - 1 - sample::id(1).to_string().len() - 1;
    is_refused(&store, &network, touch(1, most + 1)).await;
    fits(&store, touch(1, most)).await;
    let kept = store.inbox_put(&long(1_003), "text", sample::at(0)).await;
    assert_eq!(kept.unwrap(), Inbox::New);
    network.calls();
    let too_long = store.inbox_put(&long(1_004), "text", sample::at(0)).await;
    assert!(!too_long.unwrap_err().kind.is_retryable());
    assert_eq!(network.calls(), Vec::<String>::new());
    // What cannot be stored is not stored: reading it is no failure.
    assert_eq!(other.row("flag", &long(5_000)).await.unwrap(), None);
    assert_eq!(other.idempotency(&long(5_000)).await.unwrap(), None);
    assert_eq!(other.by_suffix(&long(5_000)).await.unwrap(), []);
}

const HOSTILE: [&str; 14] = [
    "",
    "~",
    "~~",
    "é",
    "\u{10ffff}",
    "\u{10ffff}\u{10ffff}",
    "#",
    "%",
    "%23",
    "a#b",
    "a",
    "\0",
    "row#",
    "0#req-",
];

#[tokio::test]
async fn no_name_breaks_the_keys_of_rows_or_hides_from_a_list() {
    let world = World::new();
    let (store, _, other, _) = world.faulty().await;
    fits(&store, rows(HOSTILE.map(|name| row(name, 3)))).await;
    let listed = other.rows("flag").await.unwrap();
    let listed: BTreeSet<&str> = listed.iter().map(|row| row.key.as_str()).collect();
    assert_eq!(listed, BTreeSet::from(HOSTILE));
    for name in HOSTILE {
        let found = other.row("flag", name).await.unwrap().unwrap();
        assert_eq!(found.key, name);
        let put = store.inbox_put(name, name, sample::at(0)).await.unwrap();
        assert_eq!(put, Inbox::New, "{name:?}");
        other.by_suffix(&name.repeat(5)).await.unwrap();
    }
    let taken = other.inbox_take(sample::at(60), 99).await.unwrap();
    let taken: BTreeSet<String> = taken.into_iter().map(|item| item.key).collect();
    assert_eq!(taken.len(), HOSTILE.len());
    for name in HOSTILE {
        store.inbox_done(name).await.unwrap();
    }
    assert_eq!(other.inbox_take(sample::at(900), 99).await.unwrap(), []);
}

#[tokio::test]
async fn no_name_of_a_notifier_or_target_is_taken_for_another() {
    let world = World::new();
    let (store, _, other, _) = world.faulty().await;
    let mut change = sample::creation(sample::request(1));
    change.wake = Some(sample::wake(sample::at(5)));
    let mut keys = BTreeSet::new();
    for notifier in ["a", "a#b", "a%23b", "é", "~"] {
        for target in ["", "b#c", "c", "~", "é"] {
            keys.insert(DeliveryKey {
                request: sample::id(1),
                notifier: notifier.to_owned(),
                target: target.to_owned(),
            });
        }
    }
    let mut commit = sample::commit([change]);
    let touch = |key: &DeliveryKey| Touch {
        key: key.clone(),
        take_until: None,
    };
    commit.deliveries = keys.iter().map(touch).collect();
    fits(&store, commit).await;
    let listed = other.deliveries(sample::id(1)).await.unwrap();
    let listed: BTreeSet<DeliveryKey> = listed.into_iter().map(|it| it.key).collect();
    assert_eq!(listed, keys);
    for notifier in ["a", "a#b", "a%23b", "é", "~"] {
        let (now, until) = (sample::at(60), sample::at(90));
        let taken = other
            .deliveries_take(notifier, now, until, 99)
            .await
            .unwrap();
        assert!(taken.iter().all(|it| it.key.notifier == notifier));
        assert_eq!(taken.len(), 5, "{notifier}");
    }
    assert_eq!(other.check().await.unwrap().missing, 0);
    assert_eq!(other.check().await.unwrap().stray, 0);
}

#[tokio::test]
async fn commits_of_different_requests_share_no_row() {
    let world = World::new();
    let (store, network, _, _) = world.faulty().await;
    // The same person, the same entitlement, the same instants.
    let request = |number: u16| {
        let mut request = sample::request(number);
        request.updated_at = sample::at(60);
        request
    };
    let touch = |id: RequestId| Touch {
        key: DeliveryKey {
            request: id,
            notifier: "slack".to_owned(),
            target: "C1".to_owned(),
        },
        take_until: None,
    };
    let mut seen: Vec<BTreeSet<String>> = Vec::new();
    for number in [1, 2] {
        let mut change = sample::creation(request(number));
        change.wake = Some(sample::wake(sample::at(60)));
        let mut next = sample::update(sample::next(&change.record, sample::at(70)));
        next.wake = Some(sample::wake(sample::at(90)));
        for change in [change, next] {
            let mut commit = sample::commit([change]);
            commit.deliveries = vec![touch(sample::id(number))];
            fits(&store, commit).await;
        }
        seen.push(network.touched().into_iter().flatten().collect());
    }
    assert!(seen[0].len() > 10);
    let shared: Vec<_> = seen[0].intersection(&seen[1]).collect();
    assert_eq!(shared, Vec::<&String>::new());
}

#[tokio::test]
async fn a_query_for_a_few_reads_a_few() {
    let world = World::new();
    let (store, _, _, _) = world.faulty().await;
    for number in 0..60 {
        fits(
            &store,
            sample::commit([sample::creation(sample::request(number))]),
        )
        .await;
    }
    let before = store.usage().read_units;
    let newest = Query {
        limit: 1,
        ..Query::default()
    };
    assert_eq!(store.query(&newest).await.unwrap().len(), 1);
    let read = store.usage().read_units - before;
    assert!(read <= 12.0, "one record of sixty for {read} units");
}
