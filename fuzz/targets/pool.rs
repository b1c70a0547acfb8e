//! See `fuzz::pool`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::pool::run(data));
