//! Clauses about what a store lists: what is due, requests by what is known of them, ids by their
//! end, chains; and what it does with the record of a later release.

use jit_core::Timestamp;
use jit_core::ports::{Due, ErrorKind, Query, RequestStore, Urgency, Wake};
use jit_core::request::{AccessRequest, REQUEST_SHAPE, RequestId, Status};

use super::{Handles, answered, everything, keep, stored, written};
use crate::sample;

pub(super) async fn all<F: AsyncFn() -> Handles>(make: &F) {
    nothing_that_is_due_is_missed(make().await).await;
    revokes_are_due_first_then_the_longest_due(make().await).await;
    requests_are_found_by_everything_that_is_known_of_them(make().await).await;
    a_story_is_found_by_when_it_was_going_on(make().await).await;
    pages_lead_from_the_newest_to_the_oldest(make().await).await;
    what_is_asked_together_is_found_together_page_by_page(make().await).await;
    a_record_is_listed_as_it_is_now(make().await).await;
    ids_are_found_by_their_end(make().await).await;
    every_chain_is_listed(make().await).await;
    the_record_of_a_later_release_is_left_alone(make().await).await;
}

fn ids(numbers: &[u16]) -> Vec<RequestId> {
    numbers.iter().map(|number| sample::id(*number)).collect()
}

/// Stores the request with this number, due then for that.
async fn waiting(store: &dyn RequestStore, number: u16, secs: u64, urgency: Urgency) {
    let mut change = sample::creation(sample::request(number));
    change.wake = Some(Wake {
        revoke_at: (urgency == Urgency::Revoke).then(|| sample::at(secs)),
        ..sample::wake(sample::at(secs))
    });
    written(
        "a record that waits",
        store.commit(sample::commit([change])).await,
    );
}

/// What is due at this second, checked to be due.
async fn due(store: &dyn RequestStore, secs: u64, limit: usize) -> Vec<RequestId> {
    let due: Vec<Due> = answered("due", store.due(sample::at(secs), limit).await);
    assert!(due.len() <= limit, "at most as many as asked for");
    due.into_iter().map(|due| due.id).collect()
}

async fn nothing_that_is_due_is_missed(Handles { one, other }: Handles) {
    waiting(&*one, 1, 100, Urgency::Other).await;
    stored(&*one, 2).await;
    waiting(&*one, 3, 50, Urgency::Other).await;
    let all = due(&*other, 100, 10).await;
    assert!(
        all.ends_with(&ids(&[1])),
        "due at its very instant: {all:?}"
    );
    assert!(all.contains(&sample::id(3)), "due since longer: {all:?}");
    assert!(!all.contains(&sample::id(2)), "never due without a wake-up");
    let listed = answered("due", other.due(sample::at(100), 10).await);
    let last = listed.last().cloned();
    let wanted = Due {
        id: sample::id(1),
        wake_at: sample::at(100),
        provider: sample::wake(sample::start()).provider,
        urgency: Urgency::Other,
    };
    assert_eq!(
        last,
        Some(wanted),
        "what is due says since when, where and for what"
    );

    // A commit moves the wake-up: earlier, and away.
    let mut earlier = sample::update(sample::next(&sample::request(1), sample::at(60)));
    earlier.wake = Some(sample::wake(sample::at(40)));
    written(
        "an earlier wake-up",
        one.commit(sample::commit([earlier])).await,
    );
    assert_eq!(due(&*other, 60, 10).await, ids(&[1, 3]), "moved earlier");
    let over = sample::update(sample::next(&sample::request(3), sample::at(60)));
    written("no wake-up", one.commit(sample::commit([over])).await);
    assert_eq!(
        due(&*other, 9_999, 10).await,
        ids(&[1]),
        "nothing more is owed"
    );
}

async fn revokes_are_due_first_then_the_longest_due(Handles { one, other }: Handles) {
    for (number, secs, urgency) in [
        (1, 10, Urgency::Other),
        (2, 40, Urgency::Revoke),
        (3, 5, Urgency::Other),
        (4, 30, Urgency::Revoke),
        (5, 60, Urgency::Revoke),
    ] {
        waiting(&*one, number, secs, urgency).await;
    }
    let all = due(&*other, 100, 10).await;
    assert_eq!(all, ids(&[4, 2, 5, 3, 1]), "revokes, then the longest due");
    let few = due(&*other, 100, 4).await;
    assert_eq!(few, ids(&[4, 2, 5, 3]), "the first of them under a limit");
    let few = due(&*other, 100, 2).await;
    assert_eq!(few, ids(&[4, 2]), "revokes alone where there is no room");
    // What is due for something else becomes a revoke when its time comes, without a commit.
    let mut change = sample::creation(sample::request(6));
    change.wake = Some(Wake {
        revoke_at: Some(sample::at(200)),
        ..sample::wake(sample::at(1))
    });
    written(
        "a record that waits for two things",
        one.commit(sample::commit([change])).await,
    );
    for (secs, urgency) in [(199, Urgency::Other), (200, Urgency::Revoke)] {
        let listed = answered("due", other.due(sample::at(secs), 10).await);
        let found = listed.iter().find(|due| due.id == sample::id(6));
        let found = found.map(|due| due.urgency);
        assert_eq!(found, Some(urgency), "a revoke from its instant on");
    }
}

async fn found(store: &dyn RequestStore, query: Query) -> Vec<RequestId> {
    let found: Vec<AccessRequest> = answered("a query", store.query(&query).await);
    found.into_iter().map(|request| request.id).collect()
}

async fn requests_are_found_by_everything_that_is_known_of_them(Handles { one, other }: Handles) {
    for (number, status) in (1_u16..).zip(Status::ALL) {
        keep(&*one, sample::request_in(number, status)).await;
    }
    let mut for_another = sample::request(20);
    for_another.beneficiary = "bob@example.com".parse().expect("bob is a principal");
    keep(&*one, for_another).await;
    let mut bundle = sample::request(21);
    bundle.requester = "carol@example.com".parse().expect("carol is a principal");
    bundle.beneficiary = bundle.requester.clone();
    bundle.parts = sample::parts(&["groupfile/admins", "vault/db", "groupfile/ops"]);
    keep(&*one, bundle).await;

    for (number, status) in (1_u16..).zip(Status::ALL) {
        let with = Query {
            statuses: vec![status],
            until: Some(sample::at(20)),
            ..everything()
        };
        assert_eq!(
            found(&*other, with).await,
            ids(&[number]),
            "status {status}"
        );
    }
    let several = Query {
        statuses: vec![Status::Active, Status::Denied, Status::Active],
        ..everything()
    };
    assert_eq!(found(&*other, several).await, ids(&[8, 2]), "any of these");

    let of = |name: &str| Query {
        principal: Some(name.parse().expect("a test names principals")),
        ..everything()
    };
    assert_eq!(
        found(&*other, of("bob@example.com")).await,
        ids(&[20]),
        "beneficiary"
    );
    let ana = found(&*other, of("ana@example.com")).await;
    assert_eq!(
        ana.len(),
        13,
        "each once, requester and beneficiary or one of them"
    );
    assert_eq!(
        found(&*other, of("carol@example.com")).await,
        ids(&[21]),
        "requester"
    );
    assert_eq!(
        found(&*other, of("dan@example.com")).await,
        ids(&[]),
        "nobody"
    );

    let asked = |name: &str| Query {
        entitlement: Some(name.parse().expect("a test names entitlements")),
        ..everything()
    };
    assert_eq!(
        found(&*other, asked("vault/db")).await,
        ids(&[21]),
        "of a later part"
    );
    assert_eq!(
        found(&*other, asked("groupfile/admins")).await.len(),
        14,
        "of any part"
    );
    assert_eq!(
        found(&*other, asked("groupfile/admin")).await,
        ids(&[]),
        "the whole name"
    );
    let both = Query {
        statuses: vec![Status::Pending],
        ..asked("groupfile/ops")
    };
    assert_eq!(found(&*other, both).await, ids(&[21]), "and, not or");

    // What is known of a record follows its newest version.
    let decided = sample::request_in(21, Status::Denied);
    let mut decided = sample::next(&decided, sample::at(500));
    decided.requester = "carol@example.com".parse().expect("carol is a principal");
    let update = sample::commit([sample::update(decided)]);
    written("an update", one.commit(update).await);
    assert_eq!(
        found(&*other, asked("vault/db")).await,
        ids(&[]),
        "no longer asked"
    );
    let pending = Query {
        statuses: vec![Status::Pending],
        ..everything()
    };
    assert_eq!(
        found(&*other, pending).await,
        ids(&[20, 1]),
        "no longer pending"
    );
}

async fn a_story_is_found_by_when_it_was_going_on(Handles { one, other }: Handles) {
    // Opened at 100, 200, 300; the first is over since 160, the others go on.
    keep(&*one, sample::request_in(100, Status::Denied)).await;
    keep(&*one, sample::request_in(200, Status::Active)).await;
    keep(&*one, sample::request(300)).await;
    let between = |from, until| Query {
        from: Some(sample::at(from)),
        until: Some(sample::at(until)),
        ..everything()
    };
    let cases = [
        (
            150,
            999,
            vec![300, 200, 100],
            "not over before this instant",
        ),
        (160, 999, vec![300, 200, 100], "over at this very instant"),
        (161, 999, vec![300, 200], "over before it"),
        (9_999, 99_999, vec![300, 200], "still going on"),
        (0, 100, vec![], "opened at the end or later"),
        (0, 101, vec![100], "opened before the end"),
        (165, 201, vec![200], "both"),
    ];
    for (from, until, wanted, what) in cases {
        assert_eq!(
            found(&*other, between(from, until)).await,
            ids(&wanted),
            "{what}"
        );
    }
    let since = |secs| Query {
        updated_since: Some(sample::at(secs)),
        ..everything()
    };
    assert_eq!(
        found(&*other, since(260)).await,
        ids(&[300, 200]),
        "at or after"
    );
    assert_eq!(found(&*other, since(261)).await, ids(&[300]), "only after");
}

async fn pages_lead_from_the_newest_to_the_oldest(Handles { one, other }: Handles) {
    for number in [5, 1, 3, 7, 2, 6, 4] {
        stored(&*one, number).await;
    }
    let mut after = None;
    let mut pages = Vec::new();
    loop {
        let page = Query {
            after,
            limit: 3,
            ..Query::default()
        };
        let page = found(&*other, page).await;
        after = page.last().copied();
        if page.is_empty() {
            break;
        }
        pages.push(page);
    }
    let wanted = [ids(&[7, 6, 5]), ids(&[4, 3, 2]), ids(&[1])];
    assert_eq!(pages, wanted, "each once, newest first");
}

/// Records that differ in all that they are listed by, of each status at least one.
fn various() -> Vec<AccessRequest> {
    let people = ["ana@example.com", "bob@example.com", "carol@example.com"];
    let person = |number: u16| people.into_iter().cycle().nth(usize::from(number));
    let things: [&[&str]; 3] = [
        &["groupfile/admins"],
        &["groupfile/ops", "vault/db"],
        &["vault/db"],
    ];
    let statuses = Status::ALL.into_iter().cycle();
    let record = |(number, status): (u16, Status)| {
        let mut request = sample::request_in(number, status);
        let names = [person(number / 2), person(number / 4)].map(|name| {
            let name = name.expect("a cycle has no end");
            name.parse().expect("a test names principals")
        });
        [request.requester, request.beneficiary] = names;
        let things = things.into_iter().cycle().nth(usize::from(number / 3));
        request.parts = sample::parts(things.expect("a cycle has no end"));
        request
    };
    (1..30).zip(statuses).map(record).collect()
}

async fn what_is_asked_together_is_found_together_page_by_page(Handles { one, other }: Handles) {
    let mut records = various();
    for record in &records {
        keep(&*one, record.clone()).await;
    }
    records.reverse();
    let people = ["ana@example.com", "bob@example.com", "dan@example.com"];
    let people = people.map(|name| Some(name.parse().expect("a test names principals")));
    let things = ["groupfile/admins", "vault/db", "groupfile/none"];
    let things = things.map(|name| Some(name.parse().expect("a test names entitlements")));
    let statuses: [&[Status]; 6] = [
        &[],
        &[Status::Closed],
        &[Status::Pending, Status::Active, Status::Settling],
        &[Status::Active, Status::Revoking, Status::Closed],
        &[Status::Denied, Status::Lapsed, Status::Denied],
        &Status::ALL,
    ];
    for principal in [None].into_iter().chain(people) {
        for entitlement in [None].into_iter().chain(things.clone()) {
            for statuses in statuses {
                let query = Query {
                    principal: principal.clone(),
                    entitlement: entitlement.clone(),
                    statuses: statuses.to_vec(),
                    ..everything()
                };
                found_page_by_page(&*other, &records, &query).await;
            }
        }
    }
    // With when a story was going on, too.
    let query = Query {
        principal: Some("ana@example.com".parse().expect("ana is a principal")),
        statuses: vec![Status::Active, Status::Closed, Status::Denied],
        from: Some(sample::at(65)),
        until: Some(sample::at(25)),
        updated_since: Some(sample::at(66)),
        ..everything()
    };
    found_page_by_page(&*other, &records, &query).await;
    let nobodys = Query {
        principal: None,
        ..query
    };
    found_page_by_page(&*other, &records, &nobodys).await;
}

/// Asks for pages of every kind and holds them against these records, the newest first.
async fn found_page_by_page(store: &dyn RequestStore, records: &[AccessRequest], query: &Query) {
    let asked = |request: &&AccessRequest| {
        let is_over = request.status().is_over();
        let mut things = request.parts.iter().map(|part| &part.entitlement);
        let people = [&request.requester, &request.beneficiary];
        query
            .principal
            .as_ref()
            .is_none_or(|it| people.contains(&it))
            && query
                .entitlement
                .as_ref()
                .is_none_or(|it| things.any(|thing| thing == it))
            && (query.statuses.is_empty() || query.statuses.contains(&request.status()))
            && query
                .from
                .is_none_or(|from| !is_over || request.updated_at >= from)
            && query.until.is_none_or(|until| request.opened_at < until)
            && query
                .updated_since
                .is_none_or(|since| request.updated_at >= since)
    };
    let wanted = records.iter().filter(asked).map(|request| request.id);
    let wanted: Vec<RequestId> = wanted.collect();
    let whole = found(store, query.clone()).await;
    assert_eq!(whole, wanted, "all of {query:?}");
    let (mut pages, mut after) = (vec![], None);
    loop {
        let page = Query {
            after,
            limit: 3,
            ..query.clone()
        };
        let page = found(store, page).await;
        assert!(page.len() <= 3, "at most as many as asked for");
        after = page.last().copied().or(after);
        let is_last = page.len() < 3;
        pages.extend(page);
        if is_last {
            break;
        }
    }
    assert_eq!(pages, wanted, "page by page, {query:?}");
}

async fn a_record_is_listed_as_it_is_now(Handles { one, other }: Handles) {
    let person = |name: &str| name.parse().expect("a test names principals");
    let of = |name: &str, thing: &str, status| Query {
        principal: Some(person(name)),
        entitlement: Some(thing.parse().expect("a test names entitlements")),
        statuses: vec![status],
        ..everything()
    };
    // All that it is listed by changes, one after the other.
    let mut record = keep(&*one, sample::request(1)).await;
    let mut listed = of("ana@example.com", "groupfile/admins", Status::Pending);
    for step in 0..4_u64 {
        assert_eq!(found(&*other, listed.clone()).await, [record.id]);
        let mut now = sample::next(&record, sample::at(100 + step));
        let wanted = match step {
            0 => {
                now.stage = sample::request_in(1, Status::Closed).stage;
                of("ana@example.com", "groupfile/admins", Status::Closed)
            }
            1 => {
                now.parts = sample::parts(&["vault/db"]);
                of("ana@example.com", "vault/db", Status::Closed)
            }
            2 => {
                now.requester = person("bob@example.com");
                now.beneficiary = person("bob@example.com");
                of("bob@example.com", "vault/db", Status::Closed)
            }
            _ => {
                // A late effect opens it again.
                now.stage = sample::request_in(1, Status::Revoking).stage;
                of("bob@example.com", "vault/db", Status::Revoking)
            }
        };
        let change = sample::update(now.clone());
        written("an update", one.commit(sample::commit([change])).await);
        assert_eq!(found(&*other, listed).await, ids(&[]), "not as it was");
        (record, listed) = (now, wanted);
    }
    assert_eq!(found(&*other, listed).await, [record.id], "as it is");
}

async fn ids_are_found_by_their_end(Handles { one, other }: Handles) {
    let (first, second) = (stored(&*one, 1).await.id, stored(&*one, 2).await.id);
    let by = async |suffix: &str| {
        let mut ids = answered("by_suffix", other.by_suffix(suffix).await);
        ids.sort();
        ids
    };
    let text = first.to_string();
    let end = |length: usize| text.get(text.len() - length..).unwrap_or_default();
    assert_eq!(by(&text).await, [first], "the whole id");
    assert_eq!(by(end(5)).await, [first], "its last five characters");
    // The samples differ in their last characters only.
    let common = text.get(10..26).unwrap_or_default();
    assert_eq!(by(common).await, [], "an end, not a middle");
    for odd in ["%%%%%", "_____", "*****", "zzzzz", "'or 1"] {
        assert_eq!(by(odd).await, [], "{odd} is a text, not a pattern");
    }
    // Ids of one suffix: the random bytes are the same, the instant is not.
    let twin = |number: u64| RequestId::new(sample::at(7_000 + number), [7; 10]);
    for number in 0..3 {
        let mut request = sample::request(3);
        request.id = twin(number);
        keep(&*one, request).await;
    }
    let text = twin(0).to_string();
    let end = text.get(text.len() - 8..).unwrap_or_default();
    assert_eq!(
        by(end).await.len(),
        2,
        "two are enough to say that it is not unique"
    );
    assert_ne!(first, second, "the samples differ");
}

async fn every_chain_is_listed(Handles { one, other }: Handles) {
    for number in [3, 1, 2, 5, 4] {
        stored(&*one, number).await;
    }
    let chains = async |after, limit| answered("chains", other.chains(after, limit).await);
    assert_eq!(
        chains(None, 100).await,
        ids(&[1, 2, 3, 4, 5]),
        "every chain, in order"
    );
    assert_eq!(chains(None, 2).await, ids(&[1, 2]), "a first page");
    let next = chains(Some(sample::id(2)), 2).await;
    assert_eq!(next, ids(&[3, 4]), "the page behind it");
    assert_eq!(chains(Some(sample::id(5)), 2).await, ids(&[]), "the end");
}

async fn the_record_of_a_later_release_is_left_alone(Handles { one, other }: Handles) {
    stored(&*one, 1).await;
    let mut newer = sample::request(2);
    newer.shape = REQUEST_SHAPE + 1;
    let mut change = sample::creation(newer.clone());
    change.wake = Some(Wake {
        revoke_at: Some(sample::at(1)),
        ..sample::wake(sample::at(1))
    });
    written(
        "a record of a later shape",
        one.commit(sample::commit([change])).await,
    );
    waiting(&*one, 3, 5, Urgency::Revoke).await;

    let kind = other.load(newer.id).await.map_err(|error| error.kind).err();
    assert_eq!(
        kind,
        Some(ErrorKind::Misconfigured),
        "load says that it cannot"
    );
    let listed = found(&*other, everything()).await;
    assert_eq!(listed, ids(&[3, 1]), "it is left out of queries");
    let one_each = Query {
        limit: 2,
        ..everything()
    };
    let listed = found(&*other, one_each).await;
    assert_eq!(listed, ids(&[3, 1]), "and takes no place in a page");
    let first = answered("due", other.due(Timestamp::MAX, 1).await);
    let first: Vec<RequestId> = first.into_iter().map(|due| due.id).collect();
    assert_eq!(
        first,
        ids(&[3]),
        "it is left out of what is due, and takes no place there"
    );
    let chains = answered("chains", other.chains(None, 9).await);
    assert_eq!(chains, ids(&[1, 2, 3]), "its audit is still listed");
}
