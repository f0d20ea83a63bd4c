//! What is wrong in a table, past the store: the check finds it and mends it, and nothing that is
//! damaged, forgotten or of a later release stands in the way of anything else.

use aws_sdk_dynamodb::types::AttributeValue;
use jit_core::engine as audit;
use jit_core::ports::{DeliveryKey, Query, RECORDS_KEPT, RequestStore, SlotChange, Touch};
use jit_core::request::{REQUEST_SHAPE, RequestId, Slot, Status};
use jit_dynamodb::{Difference, DynamoStore};
use jit_testkit::sample;

use crate::faulty::Trouble::Refuse;
use crate::world::{Item, World, of, text};

fn number(number: u64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// One record that is due, with a delivery that is; a closed one; an input that waits and one that
/// is done.
async fn filled(store: &DynamoStore) {
    let mut due = sample::creation(sample::request_in(1, Status::Active));
    due.wake = Some(jit_core::ports::Wake {
        revoke_at: Some(sample::at(50)),
        ..sample::wake(sample::at(50))
    });
    let mut commit = sample::commit([due]);
    commit.deliveries = vec![Touch {
        key: DeliveryKey {
            request: sample::id(1),
            notifier: "slack".to_owned(),
            target: "C1".to_owned(),
        },
        take_until: None,
    }];
    store.commit(commit).await.unwrap();
    let closed = sample::creation(sample::request_in(2, Status::Closed));
    let mut commit = sample::commit([closed.clone()]);
    commit.slots = vec![SlotChange {
        slot: Slot {
            key: closed.record.parts.first().slot_key(),
            owner: closed.record.id,
        },
        expected: None,
    }];
    store.commit(commit).await.unwrap();
    for key in ["waits", "done"] {
        store.inbox_put(key, "text", sample::at(0)).await.unwrap();
    }
    store.inbox_done("done").await.unwrap();
}

async fn sound(store: &DynamoStore) {
    let found = store.check().await.unwrap();
    let records = found.records;
    let nothing = Difference {
        records,
        ..Difference::default()
    };
    assert_eq!(found, nothing);
}

fn is_list(row: &Item) -> bool {
    let lists = ["due#", "updated#", "by#", "suffix#"];
    let pk = of(row, "pk");
    lists.iter().any(|list| pk.starts_with(list))
        || ["open", "known", "chains", "inbox"].contains(&pk)
}

#[tokio::test]
async fn a_check_of_a_sound_table_finds_nothing_and_writes_nothing() {
    let world = World::new();
    let (store, network, _, table) = world.faulty().await;
    filled(&store).await;
    let before = world.scan(&table).await.len();
    network.calls();
    sound(&store).await;
    let mut calls = network.calls().into_iter();
    assert!(calls.all(|call| call == "Scan" || call == "BatchGetItem"));
    assert_eq!(world.scan(&table).await.len(), before);
}

#[tokio::test]
async fn a_check_while_others_write_finds_nothing() {
    let world = World::new();
    let (store, _, other, _) = world.faulty().await;
    filled(&store).await;
    let writes = async {
        for number in 10..60 {
            let mut change = sample::creation(sample::request(number));
            change.wake = Some(sample::wake(sample::at(5)));
            let mut next = sample::update(sample::next(&change.record, sample::at(700)));
            next.wake = Some(sample::wake(sample::at(800)));
            other.commit(sample::commit([change])).await.unwrap();
            other.commit(sample::commit([next])).await.unwrap();
        }
    };
    let checks = async {
        let mut records = 0;
        while records < 52 {
            let found = store.check().await.unwrap();
            assert!(
                !found.is_worth_an_alarm() && found.forgotten == 0,
                "{found:?}"
            );
            records = found.records;
        }
    };
    tokio::join!(writes, checks);
    sound(&store).await;
    assert_eq!(store.due(sample::at(900), 99).await.unwrap().len(), 51);
}

#[tokio::test]
async fn a_check_writes_every_row_that_is_missing_from_a_list() {
    let world = World::new();
    let (store, _, _, table) = world.faulty().await;
    filled(&store).await;
    let rows = world.scan(&table).await;
    let lists: Vec<&Item> = rows.iter().filter(|row| is_list(row)).collect();
    assert!(lists.len() > 12, "{}", lists.len());
    // One after the other, and all at once.
    for row in &lists {
        world.delete(&table, of(row, "pk"), of(row, "sk")).await;
        let found = store.check().await.unwrap();
        assert_eq!((found.missing, found.stray), (1, 0), "{row:?}");
        sound(&store).await;
    }
    for row in &lists {
        world.delete(&table, of(row, "pk"), of(row, "sk")).await;
    }
    let missing = store.check().await.unwrap().missing;
    assert_eq!(missing, lists.len() as u64);
    sound(&store).await;
    // But for the mark of the transaction that wrote it, each row is as it was.
    let mut now = world.scan(&table).await;
    let mut before = rows.clone();
    for row in now.iter_mut().chain(&mut before) {
        row.remove("written_by");
    }
    assert!(before.iter().all(|row| now.contains(row)));
    assert_eq!(now.len(), before.len());
    assert_eq!(store.due(sample::at(60), 9).await.unwrap().len(), 1);
    let slack = ["slack".to_owned()];
    let due = store.deliveries_due(&slack, sample::at(500), 9).await;
    assert_eq!(due.unwrap().len(), 1);
    assert_eq!(store.inbox_take(sample::at(60), 9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_check_removes_every_row_that_lists_something_as_it_is_not() {
    let world = World::new();
    let (store, _, _, table) = world.faulty().await;
    filled(&store).await;
    let id = sample::id(1);
    let strays = [
        ("due#revoke#0", format!("00000000000000000001#{id}")),
        ("due#other#1", format!("00000000000000000001#{id}")),
        ("updated#0", format!("00000000000000000001#{id}")),
        ("open", sample::id(2).to_string()),
        ("by#person#eve@example.com", id.to_string()),
        ("by#entitlement#groupfile/other", id.to_string()),
        ("due#notify#slack", format!("00000000000000000001#{id}#C1")),
        ("due#notify#slack", format!("00000000000000000001#{id}#C2")),
        ("inbox", "00000000000000000001#waits".to_owned()),
        ("inbox", "00000000000000000001#done".to_owned()),
        ("inbox", "00000000000000000001#never".to_owned()),
    ];
    for (pk, sk) in &strays {
        let mut row = Item::from([("pk".into(), text(pk)), ("sk".into(), text(sk))]);
        let name = sk.rsplit('#').next().unwrap();
        row.insert("name".into(), text(name));
        row.insert("wake_at".into(), number(1));
        row.insert("provider".into(), text("groupfile"));
        world.put(&table, row).await;
    }
    // They cost something and change nothing: nothing is given twice, nothing is in the way.
    let slack = ["slack".to_owned()];
    let due = store.deliveries_due(&slack, sample::at(500), 9).await;
    assert_eq!(due.unwrap().len(), 1);
    assert_eq!(store.inbox_take(sample::at(60), 9).await.unwrap().len(), 1);
    let found = store.check().await.unwrap();
    assert_eq!((found.missing, found.stray), (0, strays.len() as u64));
    sound(&store).await;
}

#[tokio::test]
async fn a_record_of_a_later_release_is_left_alone_with_all_that_lists_it() {
    let world = World::new();
    let (store, _, _, table) = world.faulty().await;
    filled(&store).await;
    let id = sample::id(7);
    let mut newer = Item::from([
        ("pk".into(), text(&format!("req#{id}"))),
        ("sk".into(), text("record")),
        ("id".into(), text(&id.to_string())),
        ("version".into(), number(3)),
        ("shape".into(), number(u64::from(REQUEST_SHAPE) + 1)),
        ("status".into(), text("reflecting")),
    ]);
    let list = |pk: &str, sk: String| {
        let shape = ("shape".into(), number(u64::from(REQUEST_SHAPE) + 1));
        Item::from([("pk".into(), text(pk)), ("sk".into(), text(&sk)), shape])
    };
    let lists = [
        list("due#other#0", format!("00000000000000000001#{id}")),
        list("due#other#1", format!("00000000000000000001#x#{id}#y")),
        list("open", id.to_string()),
        list("known", id.to_string()),
        list("by#person#zoe@example.com", id.to_string()),
    ];
    for row in lists.iter().chain([&newer]) {
        world.put(&table, row.clone()).await;
    }
    // Whether its front can be read or not.
    for (status, readable) in [("reflecting", false), ("active", true)] {
        newer.insert("status".into(), text(status));
        if readable {
            newer.insert("has_chain".into(), AttributeValue::Bool(true));
            newer.insert("requester".into(), text("ana@example.com"));
            newer.insert("beneficiary".into(), text("ana@example.com"));
            newer.insert("entitlements".into(), AttributeValue::L(vec![]));
            newer.insert("updated_at".into(), number(5));
        }
        world.put(&table, newer.clone()).await;
        let found = store.check().await.unwrap();
        assert_eq!((found.missing, found.stray, found.left_alone), (0, 0, 1));
        assert_eq!(found.forgotten, 0);
        let now = world.scan(&table).await;
        assert!(lists.iter().all(|row| now.contains(row)));
    }
    assert!(store.load(id).await.is_err());
    assert_eq!(listed(&store).await, [sample::id(2), sample::id(1)]);
    assert_eq!(store.due(sample::at(60), 9).await.unwrap().len(), 1);
}

async fn listed(store: &DynamoStore) -> Vec<RequestId> {
    let all = Query {
        limit: 100,
        ..Query::default()
    };
    let found = store.query(&all).await.unwrap();
    found.into_iter().map(|request| request.id).collect()
}

#[tokio::test]
async fn one_damaged_row_delays_no_other() {
    let world = World::new();
    let (store, _, _, table) = world.faulty().await;
    filled(&store).await;
    let rows = world.scan(&table).await;
    let other = |pk: &str, sk: &str| Item::from([("pk".into(), text(pk)), ("sk".into(), text(sk))]);
    let key = sample::id(9);
    for row in [
        other(&format!("req#{key}"), "record"),
        other(&format!("req#{key}"), "delivery#slack#C1"),
        other("inbox#broken", "input"),
        other("due#other#0", "00000000000000000001#nonsense"),
        other("due#revoke#0", &format!("00000000000000000001#{key}")),
        other("due#notify#slack", "00000000000000000001#nonsense"),
        other(
            "due#notify#slack",
            &format!("00000000000000000001#{key}#C1"),
        ),
        other("known", "req-nonsense"),
        other("known", &key.to_string()),
    ] {
        world.put(&table, row).await;
    }
    let mut waits = other("inbox", "00000000000000000001#broken");
    waits.insert("name".into(), text("broken"));
    world.put(&table, waits).await;
    assert_eq!(listed(&store).await, [sample::id(2), sample::id(1)]);
    assert_eq!(store.due(sample::at(60), 9).await.unwrap().len(), 1);
    let slack = ["slack".to_owned()];
    let due = store.deliveries_due(&slack, sample::at(500), 9).await;
    assert_eq!(due.unwrap().len(), 1);
    assert_eq!(store.inbox_take(sample::at(60), 9).await.unwrap().len(), 1);
    let found = store.check().await.unwrap();
    assert_eq!((found.missing, found.left_alone), (0, 1));
    let kept = world.scan(&table).await;
    let unchanged = |row: &&Item| of(row, "sk") != "input";
    assert!(rows.iter().filter(unchanged).all(|row| kept.contains(row)));
}

#[tokio::test]
async fn a_record_that_says_that_it_is_another_is_nobodys() {
    let world = World::new();
    let (store, _, _, table) = world.faulty().await;
    filled(&store).await;
    let rows = world.scan(&table).await;
    let name = format!("req#{}", sample::id(1));
    let is_first = |row: &&Item| of(row, "pk") == name && of(row, "sk") == "record";
    let mut row = rows.iter().find(is_first).unwrap().clone();
    world.delete(&table, &name, "record").await;
    row.insert("pk".into(), text(&format!("req#{}", sample::id(2))));
    world.put(&table, row).await;
    assert!(store.load(sample::id(1)).await.unwrap().is_none());
    assert!(store.load(sample::id(2)).await.is_err());
    assert_eq!(listed(&store).await, []);
}

/// No event of ours has the number 0; one that somebody put in is there for the verifier.
#[tokio::test]
async fn an_event_with_a_number_that_none_has_is_read() {
    let world = World::new();
    let (store, _, _, table) = world.faulty().await;
    filled(&store).await;
    let rows = world.scan(&table).await;
    let name = format!("req#{}", sample::id(1));
    let is_event = |row: &&Item| of(row, "pk") == name && of(row, "sk").starts_with("event#");
    let mut row = rows.iter().find(is_event).unwrap().clone();
    let (kind, number) = of(&row, "sk")
        .split_once('#')
        .map(|it| (it.0.to_owned(), it.1.len()))
        .unwrap();
    row.insert("sk".into(), text(&format!("{kind}#{}", "0".repeat(number))));
    row.insert("seq".into(), AttributeValue::N("0".to_owned()));
    let before = store.events(sample::id(1)).await.unwrap();
    world.put(&table, row).await;
    let read = store.events(sample::id(1)).await.unwrap();
    assert_eq!(read.len(), before.len() + 1);
    assert_eq!(read.first().unwrap().seq, 0);
}

/// Telling is never in the way: a grant is ended though the row of its message makes no sense.
#[tokio::test]
async fn a_message_that_is_damaged_holds_up_no_commit() {
    let world = World::new();
    let (store, _, _, table) = world.faulty().await;
    filled(&store).await;
    let key = DeliveryKey {
        request: sample::id(1),
        notifier: "slack".to_owned(),
        target: "C1".to_owned(),
    };
    let row = format!("req#{}", key.request);
    let damaged = [
        ("pk".into(), text(&row)),
        ("sk".into(), text("delivery#slack#C1")),
    ];
    world.put(&table, Item::from(damaged)).await;
    let before = store.load(key.request).await.unwrap().unwrap();
    let next = sample::update(sample::next(&before, sample::at(60)));
    let mut commit = sample::commit([next]);
    let take_until = Some(sample::at(90));
    commit.deliveries = vec![Touch { key, take_until }];
    let taken = store.commit(commit).await.unwrap();
    assert_eq!(taken, []);
    let after = store.load(before.id).await.unwrap().unwrap();
    assert_eq!(after.version, before.version + 1);
}

/// What waits for no revoke holds none back (L3).
#[tokio::test]
async fn l3_revokes_are_listed_though_nothing_else_can_be() {
    let world = World::new();
    let (store, network, _, _) = world.faulty().await;
    filled(&store).await;
    let refused = || Refuse(400, "AccessDeniedException", "not this partition");
    network.next("Query", [refused()]);
    let due = store.due(sample::at(60), 9).await.unwrap();
    assert_eq!(due.len(), 1);
    // Where there is none, it is said that they cannot be listed.
    network.next("Query", [refused()]);
    assert!(store.due(sample::at(40), 9).await.is_err());
}

#[tokio::test]
async fn what_dynamodb_forgot_after_its_time_is_missed_by_nobody() {
    let world = World::new();
    let (store, _, _, table) = world.faulty().await;
    filled(&store).await;
    let closed = store.load(sample::id(2)).await.unwrap().unwrap();
    // All that may go, goes: as its expiry removes it.
    for row in world.scan(&table).await {
        if row.contains_key("forget_at") {
            world.delete(&table, of(&row, "pk"), of(&row, "sk")).await;
        }
    }
    assert_eq!(store.load(closed.id).await.unwrap(), None);
    assert_eq!(store.events(closed.id).await.unwrap().len(), 1);
    assert_eq!(
        store.chains(None, 9).await.unwrap(),
        [sample::id(1), closed.id]
    );
    let slot = store.slot(&closed.parts.first().slot_key()).await.unwrap();
    assert_eq!(slot.map(|slot| slot.owner), Some(closed.id));
    assert_eq!(listed(&store).await, [sample::id(1)]);
    assert!(store.newest_commit().await.unwrap().is_some());
    let found = store.check().await.unwrap();
    assert!(
        !found.is_worth_an_alarm() && found.forgotten > 0,
        "{found:?}"
    );
    sound(&store).await;
    assert_eq!(
        store.chains(None, 9).await.unwrap(),
        [sample::id(1), closed.id]
    );
    // The chain of a record that went before its time is a finding; later it is not.
    let no_record = audit::Problem::NoRecord(closed.id);
    let gone = audit::verify_audit(&store).await.unwrap();
    assert!(gone.problems.contains(&no_record));
    let mut later = sample::request(5);
    later.updated_at = sample::at(62) + RECORDS_KEPT;
    let later = sample::commit([sample::creation(later)]);
    store.commit(later).await.unwrap();
    let gone = audit::verify_audit(&store).await.unwrap();
    assert_eq!(gone.requests, 3);
    assert!(!gone.problems.contains(&no_record));
    // The key of the input is free again.
    let put = store
        .inbox_put("done", "text", sample::at(0))
        .await
        .unwrap();
    assert_eq!(put, jit_core::ports::Inbox::New);
}
