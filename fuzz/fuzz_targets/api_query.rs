//! Paths, queries and cursors; the first byte says of what.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, Option<&str>, &str)| {
    let (of, id, query) = input;
    jit_malformed::api::ask(jit_malformed::api::Asked {
        of: usize::from(of),
        id,
        query,
    });
});
