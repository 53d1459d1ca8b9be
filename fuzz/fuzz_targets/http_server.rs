#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| servent::fuzzing::http_server(data));
