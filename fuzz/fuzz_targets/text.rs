//! Durations, instants and names; the first byte says which.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &str)| {
    let (which, text) = input;
    match which % 3 {
        0 => jit_malformed::text::duration(text),
        1 => jit_malformed::text::instant(text),
        _ => jit_malformed::text::name(text),
    }
});
