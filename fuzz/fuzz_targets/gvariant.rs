//! An annotation's value: any text is a value that can be sent, or refused with a reason.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rruntime::host::systemd::gvariant;
use rruntime::host::systemd::message::Message;

fuzz_target!(|text: &str| {
    match gvariant::parse(text) {
        Err(fault) => assert!(!fault.is_empty()),
        Ok(value) => {
            let mut call = Message::call("a.b", "/", "a.b", "C", vec![value]);
            call.serial = 1;
            let sent = call.encode();
            let (got, length) = Message::decode(&sent).expect("what is sent is valid").expect("it is whole");
            assert_eq!((length, got.encode()), (sent.len(), sent));
        }
    }
});
