//! What a bus sends: any bytes are a message, the beginning of one, or refused; a message that was taken is
//! understood in one way.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rruntime::host::systemd::message::Message;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some((message, length))) = Message::decode(bytes) else { return };
    assert!(length <= bytes.len());
    // A NaN equals nothing, so what is compared is what would be sent.
    let sent = message.encode();
    // Written anew it may be longer (flags and unknown fields aside), by its padding alone: never beyond the limit.
    if let Ok(Some((again, whole))) = Message::decode(&sent) {
        assert_eq!(whole, sent.len());
        assert_eq!(again.encode(), sent);
    }
});
