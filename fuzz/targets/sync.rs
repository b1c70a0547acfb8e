//! See `fuzz::sync`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::sync::run(data));
