//! Whole D-Bus messages: round trips, and bytes that no bus would send.

use proptest::prelude::*;

use super::super::wire::tests::any_value;
use super::*;

fn call() -> Message {
    let mut call = Message::call("org.a", "/a", "org.a.I", "M", vec![Value::from("x"), Value::UInt32(7)]);
    call.serial = 9;
    call
}

#[test]
fn a_call_lies_as_the_specification_has_it() {
    let mut expected = b"l\x01\x02\x01\x0c\0\0\0\x09\0\0\0\x48\0\0\0".to_vec();
    expected.extend(b"\x01\x01o\0\x02\0\0\0/a\0\0\0\0\0\0");
    expected.extend(b"\x02\x01s\0\x07\0\0\0org.a.I\0");
    expected.extend(b"\x03\x01s\0\x01\0\0\0M\0\0\0\0\0\0\0");
    expected.extend(b"\x06\x01s\0\x05\0\0\0org.a\0\0\0");
    expected.extend(b"\x08\x01g\0\x02su\0");
    expected.extend(b"\x01\0\0\0x\0\0\0\x07\0\0\0");
    let bytes = call().encode();
    assert_eq!(bytes.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

#[test]
fn messages_come_in_pieces_and_in_a_row() {
    let one = call().encode();
    let mut two = one.clone();
    two.extend(&one);
    for end in 0..one.len() {
        assert_eq!(Message::decode(&one[..end]), Ok(None), "{end}");
    }
    assert_eq!(Message::decode(&two), Ok(Some((call(), one.len()))));
}

#[test]
fn a_message_in_the_other_order_of_bytes_is_read() {
    let bytes = b"B\x02\x00\x01\0\0\0\x04\0\0\0\x05\0\0\0\x0f\x05\x01u\0\0\0\0\x09\x08\x01g\0\x01u\0\0\0\0\0\x01";
    let (message, length) = Message::decode(bytes).unwrap().unwrap();
    assert_eq!(length, bytes.len());
    assert_eq!((message.kind, message.serial, message.reply_to), (Kind::Return, 5, Some(9)));
    assert_eq!(message.body, [Value::UInt32(1)]);
}

#[test]
fn unknown_kinds_and_fields_are_passed_over() {
    let mut bytes = call().encode();
    bytes[1] = 77;
    assert_eq!(Message::decode(&bytes).unwrap().unwrap().0.kind, Kind::Unknown(77));
    // The destination becomes a field of a later protocol.
    let at = bytes.windows(4).position(|w| w == b"\x06\x01s\0").unwrap();
    bytes[at] = 200;
    assert_eq!(Message::decode(&bytes).unwrap().unwrap().0.destination, None);
}

#[test]
fn what_breaks_the_rules_is_refused() {
    let change = |at: usize, byte: u8| {
        let mut bytes = call().encode();
        bytes[at] = byte;
        Message::decode(&bytes).unwrap_err().0
    };
    assert!(change(0, b'x').contains("byte order"));
    assert!(change(1, 0).contains("invalid 0"));
    assert!(change(1, 2).contains("required header field"));
    assert!(change(1, 3).contains("required header field"));
    assert!(change(3, 2).contains("version"));
    assert!(change(6, 0x20).contains("longer than 1 MiB"));
    assert!(change(14, 0x20).contains("longer than 1 MiB"));
    assert!(change(8, 0).contains("serial"));
    assert!(change(16, 0).contains("invalid code 0"));
    assert!(change(16, 2).contains("wrong type"));
    // The body's signature says less than there is.
    let at = call().encode().windows(3).position(|w| w == b"\x02su").unwrap();
    assert!(change(at + 2, b's').contains("middle of a value"));
}

#[test]
fn a_length_is_refused_before_anything_is_kept_for_it() {
    // 4 GiB, announced in 16 bytes.
    let bytes = b"l\x01\0\x01\xff\xff\xff\xff\x01\0\0\0\xff\xff\xff\xff";
    assert_eq!(Message::decode(bytes), Err(Malformed("it is longer than 1 MiB")));
}

fn any_message() -> impl Strategy<Value = Message> {
    let name = || prop::option::of("[a-z.]{1,12}");
    let strings = (prop::option::of("(/[a-z]{1,4}){1,3}"), name(), name(), name(), name(), name());
    let kind = prop_oneof![
        Just(Kind::Call),
        Just(Kind::Return),
        Just(Kind::Error),
        Just(Kind::Signal),
        (5..=255u8).prop_map(Kind::Unknown)
    ];
    let body = prop::collection::vec(any_value(), 0..4)
        .prop_filter("a signature has 255 bytes", |body| wire::signature(body).len() <= 255);
    (kind, 1..u32::MAX, prop::option::of(any::<u32>()), strings, body).prop_map(|(kind, serial, reply_to, s, body)| {
        let (path, interface, member, error_name, destination, sender) = s;
        Message { kind, serial, reply_to, path, interface, member, error_name, destination, sender, body }
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(message in any_message()) {
        let bytes = message.encode();
        match message.check() {
            Ok(()) => prop_assert_eq!(Message::decode(&bytes), Ok(Some((message, bytes.len())))),
            Err(fault) => prop_assert_eq!(Message::decode(&bytes), Err(fault)),
        }
    }

    #[test]
    fn no_change_of_a_message_makes_it_panic(message in any_message(), changes in prop::collection::vec((any::<usize>(), any::<u8>()), 0..6)) {
        let mut bytes = message.encode();
        for (at, byte) in changes {
            let length = bytes.len();
            bytes[at % length] = byte;
        }
        if let Ok(Some((_, length))) = Message::decode(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }
}
