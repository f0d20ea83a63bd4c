//! Messages of agents; the first byte says by whom.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (to, body) = input;
    jit_malformed::agents::send(usize::from(to), body);
});
