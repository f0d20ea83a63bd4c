//! Time and chance as a test wants them: a clock that stands until it is moved, and bytes that
//! follow from a seed. The clock of the operating system is not read here.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::{Clock, Random};

/// A clock that shows what it was set to. It may be set backwards too, to show what a caller makes
/// of a clock that breaks its contract.
#[derive(Debug)]
pub struct ManualClock(Mutex<Shown>);

#[derive(Debug)]
struct Shown {
    now: Timestamp,
    /// How far it was put forward, in all.
    put: Duration,
}

impl ManualClock {
    /// A clock that shows this instant.
    pub fn at(now: Timestamp) -> Self {
        Self(Mutex::new(Shown {
            now,
            put: Duration::ZERO,
        }))
    }

    /// Shows this instant from here on.
    pub fn set(&self, now: Timestamp) {
        self.lock().now = now;
    }

    /// Moves on, and returns the new instant.
    pub fn advance(&self, by: Duration) -> Timestamp {
        let mut shown = self.lock();
        shown.now = shown.now + by;
        shown.now
    }

    /// Somebody puts it forward: no time passes.
    pub fn put_forward(&self, by: Duration) {
        let mut shown = self.lock();
        shown.now = shown.now + by;
        shown.put += by;
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn steady(&self) -> Duration {
        let shown = self.lock();
        shown.now.since(Timestamp::MIN).saturating_sub(shown.put)
    }
}

/// Bytes that follow from a seed, by SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom
/// number generators", 2014). Predictable, so never for a deployed process.
#[derive(Debug)]
pub struct SeededRandom(Mutex<u64>);

impl SeededRandom {
    /// The same seed gives the same bytes.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// The next 64 bits.
    pub fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below this one; 0 where it is 0.
    pub fn below(&self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or_default()
    }
}

impl Random for SeededRandom {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            chunk
                .iter_mut()
                .zip(bytes)
                .for_each(|(to, from)| *to = from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_moves_only_by_hand() {
        let clock = ManualClock::at(Timestamp::MIN);
        assert_eq!(clock.now(), clock.now());
        let later = clock.advance(Duration::from_secs(5));
        assert_eq!(later, Timestamp::from_unix_micros(5_000_000));
        assert_eq!(clock.now(), later);
        assert_eq!(clock.steady(), Duration::from_secs(5));
        clock.put_forward(Duration::from_secs(60));
        assert_eq!(clock.now(), later + Duration::from_secs(60));
        assert_eq!(clock.steady(), Duration::from_secs(5));
        clock.set(Timestamp::MIN);
        assert_eq!(clock.now(), Timestamp::MIN);
    }

    #[test]
    fn one_seed_gives_one_sequence() {
        // The first outputs of the reference implementation for this seed.
        let random = SeededRandom::new(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
        let fill = |seed| {
            let mut bytes = [0; 19];
            SeededRandom::new(seed).fill(&mut bytes);
            bytes
        };
        assert_eq!(fill(1), fill(1));
        assert_ne!(fill(1), fill(2));
    }
}
