//! Clauses about `commit`: it is whole or absent, it is decided on what is stored, and what it
//! appended stays.

use std::sync::Arc;

use jit_core::audit::{ChainHead, Fact, SYSTEM_CHAIN, Sealed, verify_chain, verify_request};
use jit_core::ports::{COMMIT_RECORDS_LIMIT, Commit, CommitError, Inbox, SlotChange};
use jit_core::request::{RequestId, Slot};
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{
    Handles, answered, broken, commit_of_everything, counter, full, keep, refused, row, seen,
    slot_change, stored, system_append, used_key, written,
};
use crate::sample;

pub(super) async fn all<F: AsyncFn() -> Handles>(make: &F) {
    a_record_is_made_once_and_read_back(make().await).await;
    an_update_needs_the_version_it_was_decided_on(make().await).await;
    a_record_that_must_be_unchanged_is_checked(make().await).await;
    of_many_writers_of_one_version_exactly_one_wins(make().await).await;
    a_commit_is_whole(make().await).await;
    a_commit_with_one_thing_wrong_writes_nothing(make).await;
    eight_records_fit_into_a_commit_and_nine_do_not(make().await).await;
    events_are_read_in_order_and_never_rewritten(make().await).await;
    the_system_chain_is_written_on_its_head(make().await).await;
    a_slot_changes_hands_only_from_the_owner_that_was_seen(make().await).await;
}

async fn a_record_is_made_once_and_read_back(Handles { one, other }: Handles) {
    let missing = answered("load", other.load(sample::id(1)).await);
    assert_eq!(missing, None, "what was never written does not exist");
    let request = stored(&*one, 1).await;
    let read = answered("load", other.load(request.id).await);
    assert_eq!(read.as_ref(), Some(&request), "a record is read as written");
    let again = sample::creation(sample::request(1));
    let again = one.commit(sample::commit([again])).await;
    refused("making a record that exists", again);
    written("an empty commit", one.commit(Commit::default()).await);
}

async fn an_update_needs_the_version_it_was_decided_on(Handles { one, other }: Handles) {
    let first = stored(&*one, 1).await;
    let second = sample::next(&first, sample::at(10));
    let update = sample::commit([sample::update(second.clone())]);
    written("an update", one.commit(update.clone()).await);
    let read = answered("load", other.load(first.id).await);
    assert_eq!(read, Some(second), "an update replaces the record");
    refused("the same update again", other.commit(update).await);
    let mut early = sample::update(sample::next(&first, sample::at(20)));
    early.expected = Some(5);
    refused(
        "an update of a version not yet there",
        other.commit(sample::commit([early])).await,
    );
    let missing = sample::update(sample::next(&sample::request(2), sample::at(20)));
    refused(
        "an update of a record that does not exist",
        one.commit(sample::commit([missing])).await,
    );
    let read = answered("load", other.load(sample::id(2)).await);
    assert_eq!(read, None, "a refused update makes nothing");
}

async fn a_record_that_must_be_unchanged_is_checked(Handles { one, other }: Handles) {
    let watched = stored(&*one, 1).await;
    let with = |number, id, version| Commit {
        unchanged: vec![(id, version)],
        ..sample::commit([sample::creation(sample::request(number))])
    };
    let good = with(2, watched.id, 1);
    written("beside an unchanged record", one.commit(good).await);
    let stale = with(3, watched.id, 2);
    refused(
        "beside a record of another version",
        one.commit(stale).await,
    );
    let missing = with(3, sample::id(9), 1);
    refused("beside a record that is missing", one.commit(missing).await);
    let read = answered("load", other.load(sample::id(3)).await);
    assert_eq!(read, None, "a refused commit makes nothing");
    let read = answered("load", other.load(watched.id).await);
    assert_eq!(read, Some(watched), "an unchanged record is not changed");
}

async fn of_many_writers_of_one_version_exactly_one_wins(Handles { one, other }: Handles) {
    const WRITERS: u64 = 50;
    let request = stored(&*one, 1).await;
    let ready = Arc::new(Barrier::new(50));
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = if writer % 2 == 0 { &one } else { &other };
        let (store, ready) = (store.clone(), ready.clone());
        let at = sample::at(1_000 + writer);
        let mut record = sample::next(&request, at);
        let event = sample::seal(&mut record, at, Fact::Withdrawn);
        writers.spawn(async move {
            ready.wait().await;
            let mut change = sample::update(record.clone());
            change.events.push(event);
            (record, store.commit(sample::commit([change])).await)
        });
    }
    let mut winners = Vec::new();
    while let Some(writer) = writers.join_next().await {
        let (record, outcome) = writer.expect("a writer does not panic");
        match outcome {
            Ok(_) => winners.push(record),
            Err(CommitError::Conflict) => {}
            Err(error) => broken(
                "the loser of a race",
                &format!("meets Conflict, not {error}"),
            ),
        }
    }
    assert_eq!(winners.len(), 1, "of {WRITERS} writers exactly one wins");
    let read = answered("load", other.load(request.id).await);
    assert_eq!(read.as_ref(), winners.first(), "the winner's record stays");
    let events = answered("events", one.events(request.id).await);
    assert_eq!(events.len(), 2, "a loser leaves no event behind");
}

async fn a_commit_is_whole(Handles { one, other }: Handles) {
    let request = stored(&*one, 1).await;
    stored(&*one, 2).await;
    let put = one.inbox_put("input", "text", sample::start()).await;
    answered("inbox_put", put);
    let whole = commit_of_everything(&*one, &request).await;
    written("one thing of every kind", one.commit(whole.clone()).await);
    let now = seen(&*other).await;
    let change = whole.changes.first().expect("the commit has a change");
    assert!(now.records.contains(&change.record), "the record");
    let chain = answered("events", other.events(request.id).await);
    let head = verify_request(&change.record, &chain);
    assert!(head.is_ok(), "the chain of the record is whole: {head:?}");
    let owned = Some(Slot {
        key: request.parts.first().slot_key(),
        owner: request.id,
    });
    assert!(now.slots.contains(&owned), "the slot");
    assert_eq!(now.system.0.seq, 1, "the head of the system chain");
    assert_eq!(now.system.1.len(), 1, "the event of the system chain");
    assert_eq!(now.due.len(), 1, "the wake-up");
    assert_eq!(now.deliveries.len(), 1, "the delivery");
    assert_eq!(now.rows.len(), 1, "the small row");
    assert_eq!(now.idempotency, [None, whole.idempotency], "the used key");
    let taken = answered("inbox_take", other.inbox_take(sample::at(60), 10).await);
    assert!(taken.is_empty(), "the input is done with the commit");
}

/// What is wrong with a commit, and what makes it so.
type Spoiler = (&'static str, fn(&mut Commit));

const SPOILERS: [Spoiler; 11] = [
    ("a stale version", |commit| {
        for change in &mut commit.changes {
            change.expected = Some(7);
        }
    }),
    ("a record that exists already", |commit| {
        for change in &mut commit.changes {
            change.expected = None;
        }
    }),
    ("a stale version in the last of eight records", |commit| {
        for number in 10..16 {
            let change = sample::creation(sample::request(number));
            commit.changes.push(change);
        }
        let stale = sample::update(sample::next(&sample::request(16), sample::at(100)));
        commit.changes.push(stale);
    }),
    ("an event that was written before", |commit| {
        for event in commit
            .changes
            .iter_mut()
            .flat_map(|change| &mut change.events)
        {
            event.seq = 1;
        }
    }),
    ("a changed record that must be unchanged", |commit| {
        commit.unchanged.push((sample::id(2), 2));
    }),
    ("another owner of a slot", |commit| {
        for change in &mut commit.slots {
            change.expected = Some(sample::id(2));
        }
    }),
    ("another head of the system chain", |commit| {
        commit.system = Some(system_append(ChainHead::start("another"), 1));
    }),
    ("a used idempotency key", |commit| {
        commit.idempotency = Some(used_key("used", sample::id(1)));
    }),
    ("another value of a small row", |commit| {
        commit.rows.push(row("pause", "2", Some("0")));
    }),
    ("a small row that exists already", |commit| {
        commit.rows.push(row("pause", "2", None));
    }),
    ("a full counter beside one that has room", |commit| {
        commit.counters.push(counter("full", 1));
    }),
];

async fn a_commit_with_one_thing_wrong_writes_nothing<F: AsyncFn() -> Handles>(make: &F) {
    for (what, spoil) in SPOILERS {
        let Handles { one, other } = make().await;
        let request = stored(&*one, 1).await;
        stored(&*one, 2).await;
        let put = one.inbox_put("input", "text", sample::start()).await;
        assert_eq!(answered("inbox_put", put), Inbox::New, "a fresh input");
        let before = Commit {
            idempotency: Some(used_key("used", sample::id(2))),
            rows: vec![row("pause", "1", None)],
            counters: vec![counter("full", 1)],
            at: Some(sample::at(50)),
            ..Commit::default()
        };
        written("rows of every kind", one.commit(before).await);
        let before = seen(&*other).await;

        let good = commit_of_everything(&*one, &request).await;
        let mut bad = good.clone();
        spoil(&mut bad);
        match what.starts_with("a full counter") {
            true => full(what, one.commit(bad).await),
            false => refused(what, one.commit(bad).await),
        }
        let after = seen(&*other).await;
        assert_eq!(before, after, "{what}: nothing of the commit is written");
        let waits = answered("inbox_take", other.inbox_take(sample::at(30), 10).await);
        assert_eq!(waits.len(), 1, "{what}: the input is not done");
        // The counter of the good commit has room for two; both must still fit.
        written("the commit without its fault", one.commit(good).await);
        let last = Commit {
            counters: vec![counter("opened", 2)],
            at: Some(sample::at(100)),
            ..Commit::default()
        };
        written("the last count that fits", one.commit(last.clone()).await);
        full("a count over the ceiling", one.commit(last).await);
    }
}

async fn eight_records_fit_into_a_commit_and_nine_do_not(Handles { one, other }: Handles) {
    let many = |count: u16| {
        let changes = (1..=count).map(|number| sample::creation(sample::request(number)));
        sample::commit(changes)
    };
    let nine = one.commit(many(9)).await;
    assert!(
        matches!(nine, Err(CommitError::TooLarge { .. })),
        "nine records are TooLarge, not {nine:?}"
    );
    assert!(
        seen(&*other).await.records.is_empty(),
        "nothing of the nine"
    );
    written("eight records", one.commit(many(8)).await);
    let records = seen(&*other).await.records;
    assert_eq!(records.len(), COMMIT_RECORDS_LIMIT, "all of the eight");
}

async fn events_are_read_in_order_and_never_rewritten(Handles { one, other }: Handles) {
    let mut record = stored(&*one, 1).await;
    for version in 2..5_u64 {
        record = sample::next(&record, sample::at(version));
        let mut change = sample::update(record.clone());
        for _ in 0..4 {
            let event = sample::seal(&mut record, sample::at(version), Fact::Missing);
            change.events.push(event);
        }
        change.record = record.clone();
        written(
            "an update with events",
            one.commit(sample::commit([change])).await,
        );
    }
    let events = answered("events", other.events(record.id).await);
    assert_eq!(events.len(), 13, "every event is kept");
    let story = answered("story", other.story(record.id).await);
    let whole = (record.clone(), events.clone());
    assert_eq!(story, Some(whole), "a story is the record and its chain");
    let head = verify_request(&record, &events);
    assert_eq!(
        head,
        Ok(record.chain),
        "events are read in order, unchanged"
    );

    // A branch of the chain: events of the same numbers that say something else.
    let mut branch = sample::next(&record, sample::at(9));
    branch.chain = ChainHead {
        seq: 5,
        ..record.chain
    };
    let event: Sealed = sample::seal(&mut branch, sample::at(9), Fact::Withdrawn);
    let mut change = sample::update(branch);
    change.events.push(event);
    refused(
        "an event with the number of another",
        other.commit(sample::commit([change])).await,
    );
    let after = answered("events", other.events(record.id).await);
    assert_eq!(after, events, "an event is never rewritten");
    let none = answered("events", other.events(sample::id(9)).await);
    assert!(none.is_empty(), "a chain that was never written is empty");
    let none = answered("story", other.story(sample::id(9)).await);
    assert_eq!(none, None, "there is no story of no record");
}

async fn the_system_chain_is_written_on_its_head(Handles { one, other }: Handles) {
    let start = answered("the system head", other.system_head().await);
    assert_eq!(start, ChainHead::start(SYSTEM_CHAIN), "the chain begins");
    let append = |expected, facts| Commit {
        system: Some(system_append(expected, facts)),
        ..Commit::default()
    };
    written("the first events", one.commit(append(start, 3)).await);
    refused(
        "events behind an old head",
        other.commit(append(start, 1)).await,
    );
    let head = answered("the system head", other.system_head().await);
    assert_eq!(head.seq, 3, "the head is the newest event");
    written(
        "events behind the head",
        other.commit(append(head, 2)).await,
    );
    let same_number = ChainHead { seq: 5, ..head };
    refused(
        "events behind a head of the right number and another hash",
        one.commit(append(same_number, 1)).await,
    );
    let events = answered("the system chain", one.system_events(0, 100).await);
    let head = answered("the system head", one.system_head().await);
    assert_eq!(verify_chain(SYSTEM_CHAIN, &events), Ok(head), "it verifies");
    let two = answered("the system chain", one.system_events(1, 2).await);
    let numbers: Vec<u64> = two.iter().map(|event| event.seq).collect();
    assert_eq!(numbers, [2, 3], "a page begins behind its number");
    let ids = answered("the list of chains", one.chains(None, 10).await);
    assert!(
        ids.is_empty(),
        "the system chain is not the chain of a request"
    );
}

async fn a_slot_changes_hands_only_from_the_owner_that_was_seen(Handles { one, other }: Handles) {
    let request = sample::request(1);
    let key = request.parts.first().slot_key();
    let to = |owner: RequestId, expected| Commit {
        slots: vec![SlotChange {
            slot: Slot {
                key: key.clone(),
                owner,
            },
            expected,
        }],
        ..Commit::default()
    };
    let (first, second, third) = (sample::id(1), sample::id(2), sample::id(3));
    let free = answered("slot", other.slot(&key).await);
    assert_eq!(free, None, "a slot begins free");
    refused(
        "a slot that is not there",
        one.commit(to(second, Some(first))).await,
    );
    written("a free slot", one.commit(to(first, None)).await);
    refused("a slot that is taken", other.commit(to(second, None)).await);
    refused(
        "a slot of another",
        other.commit(to(third, Some(second))).await,
    );
    written("a take-over", other.commit(to(second, Some(first))).await);
    let owner = answered("slot", one.slot(&key).await).map(|slot| slot.owner);
    assert_eq!(owner, Some(second), "the newest owner is read");
    let elsewhere = keep(&*one, {
        let mut request = sample::request(4);
        request.parts = sample::parts(&["groupfile/others"]);
        request
    });
    let elsewhere = slot_change(&elsewhere.await, None);
    let commit = Commit {
        slots: vec![elsewhere],
        ..Commit::default()
    };
    written("another slot", one.commit(commit).await);
}
