//! Clauses about what is not a record: inbox, used keys, counters, small rows and deliveries.

use jit_core::Timestamp;
use jit_core::ports::{
    Commit, CommitError, Counter, Delivery, DeliveryKey, Inbox, RequestStore, Touch,
};
use jit_core::request::RequestId;

use super::{
    Handles, answered, counter, delivery_key, full, refused, row, stored, touch_of, used_key,
    written,
};
use crate::sample;

pub(super) async fn all<F: AsyncFn() -> Handles>(make: &F) {
    the_key_of_an_input_is_kept_for_an_hour(make().await).await;
    a_taken_input_is_listed_again_after_thirty_seconds(make().await).await;
    an_input_that_is_done_is_not_listed_again(make().await).await;
    a_key_is_used_once(make().await).await;
    a_count_stops_at_its_ceiling(make().await).await;
    a_small_row_changes_only_from_the_value_that_was_seen(make().await).await;
    a_delivery_is_made_by_its_first_touch_and_due_after_each(make().await).await;
    due_deliveries_are_those_of_the_notifier_longest_due_first(make().await).await;
    what_one_takes_is_not_taken_by_another(make().await).await;
    what_a_commit_takes_is_given_by_it_and_by_nobody_else(make().await).await;
    an_input_is_done_by_one_commit_alone(make().await).await;
    a_touch_and_an_update_of_a_delivery_do_not_lose_each_other(make().await).await;
}

async fn the_key_of_an_input_is_kept_for_an_hour(Handles { one, other }: Handles) {
    let put = async |store: &dyn RequestStore, key, secs| {
        let put = store.inbox_put(key, "text", sample::at(secs)).await;
        answered("inbox_put", put)
    };
    assert_eq!(put(&*one, "a", 100).await, Inbox::New, "a new input");
    assert_eq!(
        put(&*other, "a", 100).await,
        Inbox::Seen,
        "the same at once"
    );
    assert_eq!(put(&*other, "b", 100).await, Inbox::New, "another input");
    assert_eq!(
        put(&*one, "a", 90).await,
        Inbox::Seen,
        "the same by a clock that is behind"
    );
    answered("inbox_done", one.inbox_done("a").await);
    assert_eq!(
        put(&*one, "a", 3_699).await,
        Inbox::Seen,
        "the same within the hour, done or not"
    );
    assert_eq!(
        put(&*one, "a", 3_700).await,
        Inbox::New,
        "the key after an hour"
    );
    let waiting = answered("inbox_take", other.inbox_take(sample::at(3_730), 10).await);
    let keys: Vec<&str> = waiting.iter().map(|item| item.key.as_str()).collect();
    assert_eq!(keys, ["b", "a"], "an input that is not done waits for ever");
}

async fn a_taken_input_is_listed_again_after_thirty_seconds(Handles { one, other }: Handles) {
    for (key, secs) in [("late", 2), ("early", 1), ("last", 3)] {
        let put = one.inbox_put(key, key, sample::at(secs)).await;
        assert_eq!(answered("inbox_put", put), Inbox::New, "a new input");
    }
    let take = async |store: &dyn RequestStore, micros: i64, limit| {
        let now = Timestamp::from_unix_micros(sample::start().unix_micros() + micros);
        let taken = answered("inbox_take", store.inbox_take(now, limit).await);
        let key = |item: jit_core::ports::InboxItem| {
            assert_eq!(item.key, item.input, "an input keeps its text");
            item.key
        };
        taken.into_iter().map(key).collect::<Vec<String>>()
    };
    let second = 1_000_000;
    let nothing: [&str; 0] = [];
    assert_eq!(
        take(&*other, 31 * second - 1, 9).await,
        nothing,
        "a new input is whose who put it"
    );
    assert_eq!(
        take(&*one, 40 * second, 2).await,
        ["early", "late"],
        "the oldest first"
    );
    assert_eq!(
        take(&*other, 41 * second, 9).await,
        ["last"],
        "what nobody took"
    );
    assert_eq!(
        take(&*one, 70 * second - 1, 9).await,
        nothing,
        "within 30 s"
    );
    assert_eq!(
        take(&*one, 70 * second, 9).await,
        ["early", "late"],
        "30 s after it was taken"
    );
    assert_eq!(
        take(&*other, 71 * second, 9).await,
        ["last"],
        "taking it again begins its 30 s anew, and only its own"
    );
}

async fn an_input_that_is_done_is_not_listed_again(Handles { one, other }: Handles) {
    for key in ["alone", "committed", "open"] {
        let put = one.inbox_put(key, "text", sample::start()).await;
        assert_eq!(answered("inbox_put", put), Inbox::New, "a new input");
    }
    let taken = answered("inbox_take", one.inbox_take(sample::at(30), 9).await);
    assert_eq!(taken.len(), 3, "three inputs wait");
    answered("inbox_done", other.inbox_done("alone").await);
    answered("done a second time", one.inbox_done("alone").await);
    answered("done without an input", one.inbox_done("unknown").await);
    let done = Commit {
        inbox_done: Some("committed".to_owned()),
        ..sample::commit([sample::creation(sample::request(1))])
    };
    written("a commit that ends an input", other.commit(done).await);
    let waiting = answered("inbox_take", other.inbox_take(sample::at(60), 9).await);
    let keys: Vec<&str> = waiting.iter().map(|item| item.key.as_str()).collect();
    assert_eq!(keys, ["open"], "what is done is not listed");
}

async fn a_key_is_used_once(Handles { one, other }: Handles) {
    let with = |number: u16, key: &str| Commit {
        idempotency: Some(used_key(key, sample::id(number))),
        ..sample::commit([sample::creation(sample::request(number))])
    };
    let unused = answered("idempotency", other.idempotency("key").await);
    assert_eq!(unused, None, "a key begins unused");
    written("a fresh key", one.commit(with(1, "key")).await);
    refused("a used key", other.commit(with(2, "key")).await);
    let made = answered("load", other.load(sample::id(2)).await);
    assert_eq!(made, None, "nothing is made with a used key");
    let used = answered("idempotency", other.idempotency("key").await);
    assert_eq!(
        used,
        Some(used_key("key", sample::id(1))),
        "its first use stays"
    );
    written("another key", other.commit(with(2, "other key")).await);
}

async fn a_count_stops_at_its_ceiling(Handles { one, other }: Handles) {
    let with = |number: u16, counters: Vec<Counter>| Commit {
        counters,
        ..sample::commit([sample::creation(sample::request(number))])
    };
    for number in 1..=3 {
        let commit = with(number, vec![counter("ana", 3)]);
        written("a count under its ceiling", one.commit(commit).await);
    }
    let over = with(4, vec![counter("bob", 1), counter("ana", 3)]);
    full("a count over its ceiling", other.commit(over).await);
    let made = answered("load", other.load(sample::id(4)).await);
    assert_eq!(made, None, "nothing is made over the ceiling");
    let room = with(4, vec![counter("bob", 1)]);
    written("the other count, not taken before", one.commit(room).await);
    let raised = with(5, vec![counter("ana", 4)]);
    written("a count under a raised ceiling", one.commit(raised).await);
    let lowered = with(6, vec![counter("ana", 2)]);
    full("a count over a lowered ceiling", one.commit(lowered).await);
    let mut next_window = counter("ana", 1);
    next_window.window += 1;
    written(
        "the first count of the next window",
        one.commit(with(6, vec![next_window])).await,
    );
    let none = with(7, vec![counter("nobody", 0)]);
    full("any count under a ceiling of zero", one.commit(none).await);
}

async fn a_small_row_changes_only_from_the_value_that_was_seen(Handles { one, other }: Handles) {
    let change = |key: &str, value: &str, expected: Option<&str>| Commit {
        rows: vec![row(key, value, expected)],
        ..Commit::default()
    };
    let value = async |store: &dyn RequestStore, key| {
        let row = answered("row", store.row("flag", key).await);
        row.map(|row| row.value)
    };
    assert_eq!(value(&*other, "pause").await, None, "a row begins absent");
    refused(
        "a row that is absent",
        one.commit(change("pause", "1", Some("0"))).await,
    );
    written("a new row", one.commit(change("pause", "1", None)).await);
    refused(
        "a row that exists",
        other.commit(change("pause", "2", None)).await,
    );
    refused(
        "another value",
        other.commit(change("pause", "2", Some("0"))).await,
    );
    assert_eq!(
        value(&*other, "pause").await.as_deref(),
        Some("1"),
        "it stays"
    );
    written(
        "the value that is there",
        other.commit(change("pause", "2", Some("1"))).await,
    );
    assert_eq!(
        value(&*one, "pause").await.as_deref(),
        Some("2"),
        "it changes"
    );
    written(
        "a second row",
        one.commit(change("aardvark", "é%'\"", None)).await,
    );
    let rows = answered("rows", other.rows("flag").await);
    let rows: Vec<(&str, &str)> = rows
        .iter()
        .map(|row| (row.key.as_str(), row.value.as_str()))
        .collect();
    assert_eq!(rows, [("aardvark", "é%'\""), ("pause", "2")], "by key");
    let elsewhere = answered("row", one.row("token", "pause").await);
    assert_eq!(elsewhere, None, "a row belongs to its table");
    let rows = answered("rows", one.rows("token").await);
    assert!(rows.is_empty(), "a table has its own rows");
}

/// Touches these deliveries at this second.
async fn touch(store: &dyn RequestStore, keys: &[DeliveryKey], secs: u64) {
    let commit = Commit {
        deliveries: keys.iter().cloned().map(touch_of).collect(),
        at: Some(sample::at(secs)),
        ..Commit::default()
    };
    written("a touched delivery", store.commit(commit).await);
}

async fn due_of(store: &dyn RequestStore, notifier: &str, secs: u64) -> Vec<Delivery> {
    let notifiers = [notifier.to_owned()];
    let due = store.deliveries_due(&notifiers, sample::at(secs), 100);
    answered("deliveries_due", due.await)
}

async fn a_delivery_is_made_by_its_first_touch_and_due_after_each(Handles { one, other }: Handles) {
    let request = stored(&*one, 1).await;
    let key = delivery_key(request.id, "slack");
    touch(&*one, std::slice::from_ref(&key), 10).await;
    assert!(
        due_of(&*other, "slack", 9).await.is_empty(),
        "not due before"
    );
    let fresh = Delivery {
        key: key.clone(),
        version: 0,
        message: None,
        shown_seq: 0,
        attempts: 0,
        deliver_at: Some(sample::at(10)),
        taken_until: None,
    };
    assert_eq!(
        due_of(&*other, "slack", 10).await,
        std::slice::from_ref(&fresh),
        "due as made"
    );

    let shown = Delivery {
        version: 1,
        message: Some("C1/17".to_owned()),
        shown_seq: 1,
        attempts: 0,
        deliver_at: None,
        ..fresh.clone()
    };
    written(
        "a delivery that was shown",
        other.delivery_update(shown.clone()).await,
    );
    assert!(
        due_of(&*one, "slack", 9_999).await.is_empty(),
        "what is shown is not due"
    );
    refused(
        "the same update again",
        one.delivery_update(shown.clone()).await,
    );

    touch(&*other, std::slice::from_ref(&key), 20).await;
    let due = due_of(&*one, "slack", 20).await;
    let again = due
        .first()
        .map(|due| (due.message.as_deref(), due.shown_seq, due.deliver_at));
    let wanted = (Some("C1/17"), 1, Some(sample::at(20)));
    assert_eq!(again, Some(wanted), "due again, and it knows what it shows");

    let version = due.first().map_or(0, |due| due.version);
    for wrong in [version, version + 2] {
        let wrong = Delivery {
            version: wrong,
            ..shown.clone()
        };
        refused(
            "an update that is not the next",
            one.delivery_update(wrong).await,
        );
    }
    let later = Delivery {
        version: version + 1,
        attempts: 3,
        deliver_at: Some(sample::at(500)),
        taken_until: None,
        ..shown
    };
    written("a delivery put off", one.delivery_update(later).await);
    assert!(due_of(&*other, "slack", 499).await.is_empty(), "put off");
    touch(&*one, std::slice::from_ref(&key), 30).await;
    let due = due_of(&*other, "slack", 30).await;
    let attempts: Vec<u32> = due.iter().map(|due| due.attempts).collect();
    assert_eq!(attempts, [3], "news make a delivery due that was put off");

    let version = due.first().map_or(0, |due| due.version);
    let taken = Delivery {
        version: version + 1,
        deliver_at: Some(sample::at(30)),
        taken_until: Some(sample::at(60)),
        ..fresh.clone()
    };
    written("a delivery that is taken", one.delivery_update(taken).await);
    touch(&*other, std::slice::from_ref(&key), 40).await;
    assert!(
        due_of(&*one, "slack", 59).await.is_empty(),
        "what is taken is not due, news or not"
    );
    assert_eq!(due_of(&*one, "slack", 60).await.len(), 1, "and then it is");

    let unknown = Delivery {
        key: delivery_key(sample::id(9), "slack"),
        version: 1,
        ..fresh
    };
    refused(
        "an update of no delivery",
        one.delivery_update(unknown).await,
    );
}

async fn due_deliveries_are_those_of_the_notifier_longest_due_first(
    Handles { one, other }: Handles,
) {
    let key = |number, notifier| delivery_key(sample::id(number), notifier);
    for (number, notifier, secs) in [
        (1, "slack", 30),
        (2, "slack", 10),
        (3, "telegram", 5),
        (4, "slack", 20),
        (5, "telegram", 15),
        (6, "slack", 99),
    ] {
        touch(&*one, &[key(number, notifier)], secs).await;
    }
    let due = async |notifiers: &[&str], limit| {
        let notifiers: Vec<String> = notifiers.iter().map(|name| (*name).to_owned()).collect();
        let due = other
            .deliveries_due(&notifiers, sample::at(50), limit)
            .await;
        let ids = answered("deliveries_due", due).into_iter();
        ids.map(|due| due.key.request).collect::<Vec<RequestId>>()
    };
    let ids = |numbers: &[u16]| -> Vec<RequestId> {
        numbers.iter().map(|number| sample::id(*number)).collect()
    };
    assert_eq!(due(&["slack"], 9).await, ids(&[2, 4, 1]), "of one notifier");
    assert_eq!(due(&["telegram"], 9).await, ids(&[3, 5]), "of the other");
    assert_eq!(
        due(&["slack"], 1).await,
        ids(&[2]),
        "the longest due of one"
    );
    let both = due(&["slack", "telegram"], 9).await;
    assert_eq!(both, ids(&[3, 2, 5, 4, 1]), "of both, longest due first");
    let first = due(&["slack", "telegram"], 2).await;
    assert_eq!(first, ids(&[3, 2]), "at most as many as asked for");
    let about = async |number| {
        let about = other.deliveries(sample::id(number)).await;
        let about = answered("deliveries", about).into_iter();
        about
            .map(|it| (it.key.notifier, it.deliver_at))
            .collect::<Vec<_>>()
    };
    touch(&*one, &[key(6, "csv")], 7).await;
    let slack = ("slack".to_owned(), Some(sample::at(99)));
    let csv = ("csv".to_owned(), Some(sample::at(7)));
    assert_eq!(about(6).await, [csv, slack], "all about one, due or not");
    assert_eq!(about(7).await, [], "about none");
    assert_eq!(due(&[], 9).await, ids(&[]), "of no notifier");
    assert_eq!(due(&["pager"], 9).await, ids(&[]), "of an unknown notifier");
}

async fn what_one_takes_is_not_taken_by_another(Handles { one, other }: Handles) {
    for (number, notifier, secs) in [(1, "slack", 10), (2, "slack", 5), (3, "csv", 1)] {
        let key = delivery_key(sample::id(number), notifier);
        touch(&*one, &[key], secs).await;
    }
    let take = async |store: &dyn RequestStore, now, limit| {
        let (now, until) = (sample::at(now), sample::at(now + 30));
        let taken = store.deliveries_take("slack", now, until, limit).await;
        answered("deliveries_take", taken)
    };
    assert_eq!(take(&*one, 4, 9).await, [], "nothing is due yet");
    let first = take(&*one, 20, 1).await;
    let wanted = Delivery {
        key: delivery_key(sample::id(2), "slack"),
        version: 1,
        message: None,
        shown_seq: 0,
        attempts: 1,
        deliver_at: Some(sample::at(5)),
        taken_until: Some(sample::at(50)),
    };
    assert_eq!(first, [wanted], "the longest due, as it is stored now");
    let about = other.deliveries(sample::id(2)).await;
    assert_eq!(answered("deliveries", about), first, "as it was given");
    let rest = take(&*other, 21, 9).await;
    let ids: Vec<RequestId> = rest.iter().map(|it| it.key.request).collect();
    assert_eq!(ids, [sample::id(1)], "what is taken is not taken again");
    assert_eq!(take(&*one, 49, 9).await, [], "nor is it due");
    let again = take(&*other, 50, 9).await;
    let attempts: Vec<u32> = again.iter().map(|it| it.attempts).collect();
    assert_eq!(attempts, [2], "one that was not marked is taken again");

    let marked = Delivery {
        version: 2,
        deliver_at: None,
        taken_until: None,
        ..rest.into_iter().next().expect("one was taken")
    };
    written("the mark of its taker", other.delivery_update(marked).await);
    let late = first.into_iter().next().map(|taken| Delivery {
        version: taken.version + 1,
        ..taken
    });
    let late = late.expect("one was taken");
    refused(
        "the mark of who took it before",
        one.delivery_update(late).await,
    );
}

async fn what_a_commit_takes_is_given_by_it_and_by_nobody_else(Handles { one, other }: Handles) {
    let key = |number| delivery_key(sample::id(number), "slack");
    let commit = async |store: &dyn RequestStore, number, secs| {
        let commit = Commit {
            deliveries: vec![Touch {
                key: key(number),
                take_until: Some(sample::at(secs + 30)),
            }],
            at: Some(sample::at(secs)),
            ..Commit::default()
        };
        written("a commit that takes", store.commit(commit).await)
    };
    let taken = commit(&*one, 1, 10).await;
    let Some(first) = taken.first() else {
        // A store may take nothing; then it is due like any other.
        assert_eq!(due_of(&*other, "slack", 10).await.len(), 1, "not taken");
        return;
    };
    let wanted = Delivery {
        key: key(1),
        version: 0,
        message: None,
        shown_seq: 0,
        attempts: 1,
        deliver_at: Some(sample::at(10)),
        taken_until: Some(sample::at(40)),
    };
    assert_eq!(*first, wanted, "as it is stored now");
    let stored = async || answered("deliveries", other.deliveries(sample::id(1)).await);
    assert_eq!(stored().await, taken, "as it was given");
    assert_eq!(due_of(&*other, "slack", 39).await, [], "it is somebody's");

    assert_eq!(commit(&*other, 1, 20).await, [], "others do not take it");
    let now = stored().await.into_iter().next().expect("it is there");
    let held = (now.version, now.attempts, now.taken_until);
    assert_eq!(held, (1, 1, Some(sample::at(40))), "it stays whose it was");

    let marked = Delivery {
        version: 2,
        message: Some("C1/17".to_owned()),
        shown_seq: 4,
        attempts: 0,
        deliver_at: None,
        taken_until: None,
        ..now
    };
    written("its mark", one.delivery_update(marked).await);
    let again = commit(&*other, 1, 25).await;
    let again: Vec<_> = again
        .iter()
        .map(|it| (it.version, it.message.as_deref(), it.shown_seq, it.attempts))
        .collect();
    assert_eq!(again, [(3, Some("C1/17"), 4, 1)], "free, it is taken again");
    let late = commit(&*one, 1, 55).await;
    let attempts: Vec<u32> = late.iter().map(|it| it.attempts).collect();
    assert_eq!(
        attempts,
        [2],
        "one that was not marked in time is taken again"
    );
}

async fn an_input_is_done_by_one_commit_alone(Handles { one, other }: Handles) {
    let commit = async |store: &dyn RequestStore, value: &str, before: Option<&str>| {
        let change = row("fresh", value, before);
        let commit = Commit {
            inbox_done: Some("input".to_owned()),
            rows: vec![change],
            ..Commit::default()
        };
        store.commit(commit).await
    };
    let unknown = commit(&*one, "1", None).await;
    assert!(
        matches!(unknown, Err(CommitError::InputDone)),
        "{unknown:?}"
    );
    let put = one.inbox_put("input", "text", sample::start()).await;
    answered("inbox_put", put);
    written("the first", commit(&*one, "1", None).await);
    let second = commit(&*other, "2", Some("1")).await;
    assert!(matches!(second, Err(CommitError::InputDone)), "{second:?}");
    let kept = answered("row", one.row("flag", "fresh").await);
    let kept = kept.map(|row| row.value);
    assert_eq!(kept.as_deref(), Some("1"), "nothing of it was written");
}

async fn a_touch_and_an_update_of_a_delivery_do_not_lose_each_other(
    Handles { one, other }: Handles,
) {
    let key = delivery_key(sample::id(1), "slack");
    touch(&*one, std::slice::from_ref(&key), 10).await;
    let due = due_of(&*other, "slack", 10).await;
    let shown = due.first().map(|due| Delivery {
        version: due.version + 1,
        shown_seq: 1,
        deliver_at: None,
        ..due.clone()
    });
    let shown = shown.expect("a touched delivery is due");
    // While the message was being sent, there were news.
    touch(&*one, std::slice::from_ref(&key), 20).await;
    refused(
        "an update that did not see the latest touch",
        other.delivery_update(shown).await,
    );
    assert_eq!(
        due_of(&*one, "slack", 20).await.len(),
        1,
        "the news stay due"
    );
}
