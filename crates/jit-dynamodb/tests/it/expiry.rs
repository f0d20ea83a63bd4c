//! Of the lane `--deep`: a server that really removes rows after their time, a minute or so late,
//! as DynamoDB does within days. `tests/aws/deep` installs it and runs this; no other
//! run of the tests does.

use std::time::Duration;

use jit_core::engine::verify_audit;
use jit_core::ports::{
    Commit, Idempotency, Inbox, Query, RECORDS_KEPT, RequestStore, SlotChange, Wake,
};
use jit_core::request::{Slot, Status};
use jit_core::{Timestamp, digest::Digest};
use jit_testkit::sample;
use jit_testkit::server::ministack;

use crate::world::World;

/// The server looks every minute.
const LOOKS: u32 = 150;

#[tokio::test]
#[expect(clippy::print_stdout, reason = "a lane says what it showed")]
async fn a_record_goes_after_its_time_and_nothing_that_is_owed_goes_with_it() {
    let world = World::on(ministack());
    let table = world.table().await;
    let store = world.open(&table).await;
    // Over for longer than records are kept, by any clock.
    let long_ago = Timestamp::from_unix_micros(1_577_836_800_000_000);
    let mut closed = sample::request_in(2, Status::Closed);
    closed.opened_at = long_ago;
    closed.updated_at = long_ago;
    let closed = sample::creation(closed);
    let slot = closed.record.parts.first().slot_key();
    let commit = Commit {
        slots: vec![SlotChange {
            slot: Slot {
                key: slot.clone(),
                owner: closed.record.id,
            },
            expected: None,
        }],
        idempotency: Some(Idempotency {
            key: "used".to_owned(),
            fingerprint: Digest::of(b"asked"),
            request: closed.record.id,
            forget_at: long_ago,
        }),
        ..sample::commit([closed.clone()])
    };
    store.commit(commit).await.unwrap();
    // As old, and something is owed of each: of a grant, of a closed one whose revoke is repeated.
    for (number, status) in [
        (1, Status::Active),
        (3, Status::Closed),
        (4, Status::Pending),
    ] {
        let mut record = sample::request_in(number, status);
        record.updated_at = long_ago;
        record.opened_at = long_ago;
        let mut change = sample::creation(record);
        change.wake = Some(Wake {
            revoke_at: Some(long_ago),
            ..sample::wake(long_ago)
        });
        store.commit(sample::commit([change])).await.unwrap();
    }
    let recent = long_ago + RECORDS_KEPT + Duration::from_secs(1);
    let mut record = sample::request(5);
    record.updated_at = recent;
    store
        .commit(sample::commit([sample::creation(record)]))
        .await
        .unwrap();
    store.inbox_put("waits", "text", long_ago).await.unwrap();
    store.inbox_put("done", "text", long_ago).await.unwrap();
    store.inbox_done("done").await.unwrap();

    let mut looks = 0;
    while store.load(closed.record.id).await.unwrap().is_some() {
        looks += 1;
        assert!(looks < LOOKS, "the server removed nothing");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    println!("a closed record went after {looks} s");
    for number in [1, 3, 4, 5] {
        assert!(store.load(sample::id(number)).await.unwrap().is_some());
    }
    assert_eq!(store.due(recent, 9).await.unwrap().len(), 3);
    assert_eq!(store.events(closed.record.id).await.unwrap(), closed.events);
    let owner = store.slot(&slot).await.unwrap().map(|slot| slot.owner);
    assert_eq!(owner, Some(closed.record.id));
    let all = Query {
        limit: 9,
        ..Query::default()
    };
    assert_eq!(store.query(&all).await.unwrap().len(), 4);
    assert_eq!(store.idempotency("used").await.unwrap(), None);
    let taken = store.inbox_take(recent, 9).await.unwrap();
    assert_eq!(taken.len(), 1);
    let put = store.inbox_put("done", "text", long_ago).await.unwrap();
    assert_eq!(put, Inbox::New);
    let found = store.check().await.unwrap();
    assert!(
        !found.is_worth_an_alarm() && found.forgotten > 0,
        "{found:?}"
    );
    println!("the check removed {} rows that listed it", found.forgotten);
    let report = verify_audit(&store).await.unwrap();
    let about_it = format!("{:?}", report.problems);
    assert!(
        !about_it.contains(&closed.record.id.to_string()),
        "{about_it}"
    );
    assert_eq!(report.requests, 5, "its chain is read like any other");
}
