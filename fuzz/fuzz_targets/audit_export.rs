//! Texts in the place of an export.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    jit_malformed::audit::export(text);
});
