//! Strokes at the events of a store.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|strokes: Vec<[u8; 6]>| {
    jit_malformed::audit::store(&strokes);
});
