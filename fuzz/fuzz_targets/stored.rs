//! Texts in the place of a record.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    jit_malformed::stored::text(text);
    jit_malformed::stored::behind_engine(text);
    jit_malformed::stored::in_sqlite(text);
});
