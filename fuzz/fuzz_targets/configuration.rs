//! Files of any bytes as configurations.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    jit_malformed::configuration::file(bytes);
});
