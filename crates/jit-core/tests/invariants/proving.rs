//! S16: what happened can be proven, and what was changed afterwards is seen.

use std::collections::BTreeMap;

use jit_core::audit::{Broken, Sealed, verify_chain, verify_request};
use jit_core::digest::Digest;
use jit_core::engine::verify_audit;
use jit_core::ports::RequestStore;

use jit_testkit::stage::{Stage, secs};

async fn story() -> (Stage, jit_core::request::AccessRequest, Vec<Sealed>) {
    let stage = Stage::new();
    let request = stage.active("10m").await;
    stage.pass(700).await;
    let record = stage.load(request.id).await;
    let events = stage.store.events(request.id).await.unwrap();
    assert!(events.len() > 6);
    verify_request(&record, &events).unwrap();
    (stage, record, events)
}

#[tokio::test]
async fn s16_every_edit_deletion_reordering_and_truncation_is_seen() {
    let (_, record, events) = story().await;
    let chain = record.id.to_string();
    for at in 0..events.len() {
        let mut edited = events.clone();
        edited[at].body = edited[at].body.replace("2026", "2025");
        let seen = verify_request(&record, &edited).unwrap_err();
        assert!(
            matches!(seen, Broken::Edited { seq, .. } if seq == edited[at].seq),
            "{seen}"
        );

        // Whoever edits may also make the hash fit: then the next event does not follow.
        edited[at].hash = Digest::of(edited[at].body.as_bytes());
        assert!(verify_request(&record, &edited).is_err(), "event {at}");

        let mut shorter = events.clone();
        shorter.remove(at);
        assert!(verify_request(&record, &shorter).is_err(), "event {at} cut");

        if at > 0 {
            let mut swapped = events.clone();
            swapped.swap(at - 1, at);
            assert!(matches!(
                verify_chain(&chain, &swapped),
                Err(Broken::Order { .. })
            ));
        }
    }
    let truncated = &events[..events.len() - 1];
    assert!(matches!(
        verify_request(&record, truncated),
        Err(Broken::Truncated { .. })
    ));
}

#[tokio::test]
async fn s16_a_record_that_was_changed_behind_its_audit_is_seen() {
    let (stage, record, _) = story().await;
    assert!(
        verify_audit(&*stage.store)
            .await
            .unwrap()
            .problems
            .is_empty()
    );
    let changed = [
        ("the checkout is down", "nothing to see"),
        ("\"expired\"", "\"ended\""),
    ];
    let stored: BTreeMap<_, _> = stage.store.stored().into_iter().collect();
    let text = &stored[&record.id];
    assert!(text.contains(changed[0].0));
    stage
        .store
        .put_stored(record.id, &text.replace(changed[0].0, changed[0].1));
    assert_eq!(verify_audit(&*stage.store).await.unwrap().problems.len(), 1);
}

#[tokio::test]
async fn s16_a_checkpoint_proves_what_was_there() {
    let (stage, _, _) = story().await;
    assert_eq!(stage.engine.checkpoint().await.unwrap(), 1);
    let system = stage.store.system_events(0, 100).await.unwrap();
    assert_eq!(system.len(), 1);
    assert!(
        verify_audit(&*stage.store)
            .await
            .unwrap()
            .problems
            .is_empty()
    );
    assert_eq!(stage.engine.checkpoint().await.unwrap(), 0, "too soon");
    // Nothing moved since, so there is nothing to write.
    stage.clock.advance(secs(400));
    assert_eq!(stage.engine.checkpoint().await.unwrap(), 0);
}
