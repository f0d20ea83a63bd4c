//! The contract of `RequestStore`, kept by a table that two clients share as two hosts do.

use std::sync::Arc;

use jit_testkit::store::{Handles, agrees_with_memory, store_contract};

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_in_a_table_keeps_the_contract() {
    let world = World::new();
    store_contract(async || {
        let table = world.table().await;
        Handles {
            one: Arc::new(world.open(&table).await),
            other: Arc::new(world.open(&table).await),
        }
    })
    .await;
}

#[test]
fn the_table_and_the_memory_agree_after_any_sequence_of_commands() {
    let world = World::new();
    agrees_with_memory(24, async || world.store().await);
}
