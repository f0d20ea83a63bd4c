//! What happens to everybody: people come and go, the directory is away, an operator pauses, clocks
//! are set; and somebody who only reads.

use std::sync::Arc;
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::engine::{TIME_KEPT_EVERY, Witness, verify_audit};
use jit_core::ports::{Clock, Query, RequestStore};

use super::{Replicas, via};
use crate::sim::chaos::{Away, STORE_CALL_LIMIT};
use crate::sim::diary::{Mishap, Trouble};
use crate::sim::people::{Away as Nobody, Loss, id};
use crate::sim::sabotage::Saboteur;
use crate::sim::{ClockWeather, JUMP_MAX, Mood, Replica, TICK, World};

fn pick<'a, T>(world: &World, of: &'a [T]) -> &'a T {
    &of[usize::try_from(world.random.below(of.len() as u64)).unwrap()]
}

/// Upheavals, one after another.
pub(crate) async fn upheaval(world: Arc<World>, replicas: Replicas) {
    loop {
        tokio::time::sleep(Duration::from_secs(60 + world.random.below(180))).await;
        match world.random.below(5) {
            0 => {
                let until = world.truth.now() + Duration::from_secs(world.random.below(30));
                let how = *pick(&world, &[Nobody::Down, Nobody::Hanging]);
                *world.people.away.lock().unwrap() = Some((how, until));
            }
            1 => {
                let everybody = ["ana", "cleo", "finn", "bob", "dora", "eve"];
                let who = id(pick::<&str>(&world, &everybody));
                let loss = *pick(&world, &[Loss::Account, Loss::Groups]);
                world.people.lose(&who, loss);
                tokio::time::sleep(Duration::from_secs(1 + world.random.below(40))).await;
                world.people.regain(&who, loss);
            }
            2 | 3 => paused(&world, &replicas).await,
            _ => {}
        }
    }
}

/// Machines' clocks that are set, one after another, in the weather for it.
pub(crate) async fn clocks(world: Arc<World>, replicas: Replicas) {
    loop {
        tokio::time::sleep(Duration::from_secs(5 + world.random.below(15))).await;
        match world.weather {
            ClockWeather::Steady => return,
            ClockWeather::Jumping => jump(&world, pick(&world, &replicas)).await,
            ClockWeather::OneHost => set_back(&world, &replicas).await,
        }
    }
}

/// The clock of the only host is set back while nobody is there, and put right some minutes later.
async fn set_back(world: &World, replicas: &Replicas) {
    let kept = world.store.row("flag", "time").await.unwrap();
    let kept = kept.map(|row| row.value.parse::<Timestamp>().unwrap());
    let known = world.store.newest_commit().await.unwrap().max(kept);
    // Where nobody is there to write it down, nothing is known of the time.
    if known.is_none_or(|known| world.truth.now().since(known) > TIME_KEPT_EVERY + TICK) {
        return;
    }
    world.diary.counts.add("the only clock back");
    let by = Duration::from_secs(*pick(world, &[30, 600, 86_400]));
    let set = |by: Duration| {
        let mut set_back = world.diary.set_back.lock().unwrap();
        set_back.insert(world.truth.now(), by);
        let to = -i64::try_from(by.as_millis()).unwrap();
        replicas.iter().for_each(|it| it.chaos.clock.jump(to));
    };
    set(by);
    replicas.iter().for_each(|it| it.chaos.die());
    tokio::time::sleep(Duration::from_secs(30 + world.random.below(270))).await;
    set(Duration::ZERO);
}

/// Once a minute providers say what time it is, in half of the weather in which clocks are set.
pub(crate) async fn dates(world: Arc<World>, replicas: Replicas) {
    let lies = world.plan.saboteur == Some(Saboteur::AgreesWithItself);
    let said = match world.weather {
        ClockWeather::Steady => false,
        ClockWeather::Jumping => world.plan.seed % 8 == 7,
        ClockWeather::OneHost => world.plan.seed % 16 == 8,
    };
    if !said && !lies {
        return;
    }
    loop {
        tokio::time::sleep(Duration::from_secs(if lies { 1 } else { 60 })).await;
        for replica in replicas.iter() {
            let heard_at = replica.chaos.clock.now();
            let now = if lies { heard_at } else { world.truth.now() };
            let said = Timestamp::from_unix_micros(now.unix_micros() / 1_000_000 * 1_000_000);
            let hear = |engine: Arc<jit_core::Engine>| async move {
                engine.hear_date("provider", Witness::Elsewhere, said, heard_at, heard_at);
            };
            if replica.call(hear).await.is_some() {
                world.diary.counts.add("a date was heard");
            }
        }
    }
}

/// The store is away now and then, for one replica or for all of them.
pub(crate) async fn outages(world: Arc<World>, replicas: Replicas) {
    // What a saboteur breaks is met sooner where the store is there.
    let saboteur = world.plan.saboteur;
    let outages = saboteur.is_none_or(Saboteur::is_about_outages);
    if world.plan.mood != Mood::Hostile || !outages {
        return;
    }
    loop {
        tokio::time::sleep(Duration::from_secs(60 + world.random.below(180))).await;
        let (how, name) = *pick(
            &world,
            &[
                (Away::Fails, "the store fails"),
                (Away::Hangs, "the store hangs"),
                (Away::WritesNothing, "the store writes nothing"),
            ],
        );
        let lonely = world.random.below(2) == 0;
        let one = pick(&world, &replicas).chaos.replica;
        let whom = replicas
            .iter()
            .filter(|it| !lonely || it.chaos.replica == one);
        let time = Duration::from_secs(3 + world.random.below(50));
        let from = world.truth.now();
        let until = from + time;
        world.diary.counts.add(name);
        let whose = if lonely { "for one" } else { "for all" };
        world.diary.counts.add(format!("no store {whose}"));
        for replica in whom {
            *replica.chaos.away.lock().unwrap() = Some((how, until));
            world.diary.mishap(Mishap {
                replica: replica.chaos.replica,
                trouble: Trouble::Away,
                request: None,
                from,
                // A call that began before the end is answered after it, and only then another is made.
                until: until + STORE_CALL_LIMIT + TICK * 2,
            });
        }
        tokio::time::sleep(time).await;
    }
}

/// An operator stops new access for a while.
async fn paused(world: &World, replicas: &Replicas) {
    let olga = || via("olga");
    let said = pick(world, replicas).call(|engine| async move { engine.pause(&olga()).await });
    if !matches!(said.await, Some(Ok(()))) {
        return;
    }
    world.diary.counts.add("paused");
    tokio::time::sleep(Duration::from_secs(10 + world.random.below(25))).await;
    for _ in 0..100 {
        let said = pick(world, replicas).call(|engine| async move { engine.resume(&olga()).await });
        if matches!(said.await, Some(Ok(()))) {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// A machine's clock is set wrong, and later right again. What is set back counts from the next
/// start of the process on.
async fn jump(world: &World, replica: &Arc<Replica>) {
    let within = 500 + world.random.below(4_000);
    let above = u64::try_from(JUMP_MAX.as_millis()).unwrap() - world.random.below(1_500);
    let (name, millis) = match world.random.below(4) {
        0 => ("clock forward, within the limit", within),
        1 => ("clock forward, above the limit", above),
        2 => ("clock back, within the limit", within),
        _ => ("clock back, above the limit", above),
    };
    world.diary.counts.add(name);
    let millis = i64::try_from(millis).unwrap();
    if name.starts_with("clock back") {
        replica.chaos.clock.jump(-millis);
        replica.chaos.die();
    } else {
        replica.chaos.clock.jump(millis);
    }
    tokio::time::sleep(Duration::from_secs(10 + world.random.below(30))).await;
    replica.chaos.clock.jump(0);
    replica.chaos.die();
}

/// Somebody who lists, finds, verifies and exports.
pub(crate) async fn onlooker(world: Arc<World>, replicas: Replicas) {
    loop {
        tokio::time::sleep(Duration::from_secs(15 + world.random.below(45))).await;
        let what = world.random.below(4);
        let read = pick(&world, &replicas).call(|engine| async move {
            let olga = via("olga");
            let store = engine.store().clone();
            match what {
                0 => {
                    let query = Query {
                        limit: 10,
                        ..Query::default()
                    };
                    let listed = engine.list(&olga, query).await.ok()?;
                    let id = listed.requests.first()?.id.to_string();
                    engine.find(&olga, &id[id.len() - 8..]).await.ok()?;
                }
                1 => {
                    store.rows("flag").await.ok()?;
                    store.system_events(0, 10).await.ok()?;
                }
                2 => {
                    store.chains(None, 10).await.ok()?;
                    store.rows("token").await.ok()?;
                }
                _ => {
                    // What it finds is not judged: the records change while it reads.
                    verify_audit(store.as_ref()).await.ok()?;
                }
            }
            Some(())
        });
        if matches!(read.await, Some(Some(()))) {
            world.diary.counts.add("read");
        }
    }
}
