//! Group files of any bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    jit_malformed::groups::file(bytes);
});
