//! Bodies of calls; the first byte says where one goes.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (to, body) = input;
    jit_malformed::api::send(jit_malformed::api::Sent {
        to: usize::from(to),
        content_type: Some(b"application/json"),
        idempotency_key: None,
        body,
    });
});
