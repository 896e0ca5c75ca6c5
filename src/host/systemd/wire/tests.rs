//! The wire format of D-Bus: values there and back, and their bounds.

use proptest::prelude::*;

use super::*;

fn encode(values: &[Value]) -> Vec<u8> {
    let mut out = Encoder::default();
    values.iter().for_each(|v| out.value(v));
    out.bytes
}

fn decode(signature: &str, bytes: &[u8], order: Order) -> Result<Vec<Value>, Malformed> {
    check_signature(signature)?;
    let mut decoder = Decoder::new(bytes, order);
    let values = decoder.values(signature)?;
    if decoder.is_at_end() { Ok(values) } else { Err(Malformed("more follows")) }
}

#[test]
fn values_lie_as_the_specification_has_them() {
    let array = |types: &str, values| Value::Array(types.into(), values);
    for (values, bytes) in [
        // The specification's own example: an int32 after a byte.
        (vec![Value::Byte(1), Value::Int32(2)], &b"\x01\0\0\0\x02\0\0\0"[..]),
        (vec![Value::from("foo"), Value::from("")], b"\x03\0\0\0foo\0\0\0\0\0\0"),
        // And an array of an int64: its length leaves out the padding before the first element.
        (vec![array("x", vec![Value::Int64(5)])], b"\x08\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0"),
        (vec![array("x", vec![])], b"\0\0\0\0\0\0\0\0"),
        (vec![Value::Bytes(vec![7, 8])], b"\x02\0\0\0\x07\x08"),
        (vec![Value::Variant(Box::new(Value::Bool(true)))], b"\x01b\0\0\x01\0\0\0"),
        (vec![Value::Signature("a{sv}".into())], b"\x05a{sv}\0"),
        (vec![Value::Byte(1), Value::Struct(vec![Value::UInt16(2)])], b"\x01\0\0\0\0\0\0\0\x02\0"),
    ] {
        assert_eq!(encode(&values), bytes, "{values:?}");
        assert_eq!(decode(&signature(&values), bytes, Order::Little), Ok(values));
    }
}

#[test]
fn big_endian_is_read() {
    let got = decode("yuqas", b"\x01\0\0\0\0\0\0\x02\0\x03\0\0\0\0\0\x06\0\0\0\x01x\0", Order::Big).unwrap();
    let strings = Value::Array("s".into(), vec![Value::from("x")]);
    assert_eq!(got, [Value::Byte(1), Value::UInt32(2), Value::UInt16(3), strings]);
}

#[test]
fn what_breaks_the_rules_is_refused() {
    for (signature, bytes, fault) in [
        ("u", &b"\0\0\0"[..], "middle of a value"),
        ("yu", b"\x01\x01\0\0\0\0\0\0", "padding is not zero"),
        ("b", b"\x02\0\0\0", "neither 0 nor 1"),
        ("s", b"\xff\xff\xff\xff", "middle of a value"),
        ("s", b"\x01\0\0\0ab", "only zero byte"),
        ("s", b"\x01\0\0\0\0\0", "only zero byte"),
        ("s", b"\x01\0\0\0\xff\0", "not UTF-8"),
        ("o", b"\x01\0\0\0a\0", "object path"),
        ("o", b"\x02\0\0\0//\0", "object path"),
        ("g", b"\x01z\0", "unknown type"),
        ("v", b"\x02yy\0\x01\x01", "more than one value"),
        ("v", b"\0\0", "ends too early"),
        ("ai", b"\x05\0\0\0\0\0\0\0\0", "middle of a value"),
        ("ai", b"\xff\xff\xff\xff", "longer than its message"),
        ("as", b"\x06\0\0\0\x02\0\0\0ab\0", "beyond its end"),
        ("ay", b"\x03\0\0\0\0\0", "middle of a value"),
        ("y", b"\x01\x02", "more follows"),
    ] {
        let error = decode(signature, bytes, Order::Little).unwrap_err();
        assert!(error.0.contains(fault), "{signature} {bytes:x?}: {error:?}");
    }
}

#[test]
fn signatures_are_checked() {
    for good in ["", "ybnqiuxtdsogv", "a(sv)", "aaaai", "a{s(iv)}", "(y(y(y)))", "a{ya{sv}}"] {
        assert_eq!(check_signature(good), Ok(()), "{good}");
    }
    for bad in ["a", "(", "()", ")", "{sv}", "a{vs}", "a{s}", "a{sss}", "a{(s)s}", "z", "h", "m", "(a)", "é"] {
        assert!(check_signature(bad).is_err(), "{bad}");
    }
    assert!(check_signature(&"y".repeat(256)).is_err());
    assert!(check_signature(&("a".repeat(100) + "y")).is_err());
    assert!(check_signature(&("(".repeat(100) + "y" + &")".repeat(100))).is_err());
}

#[test]
fn variants_cannot_nest_without_end() {
    let bytes = b"\x01v\0".repeat(200);
    assert_eq!(decode("v", &bytes, Order::Little), Err(Malformed("its values nest too deeply")));
}

/// Any value that can be sent.
pub(in super::super) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<u8>().prop_map(Value::Byte),
        any::<bool>().prop_map(Value::Bool),
        any::<i16>().prop_map(Value::Int16),
        any::<u16>().prop_map(Value::UInt16),
        any::<i32>().prop_map(Value::Int32),
        any::<u32>().prop_map(Value::UInt32),
        any::<i64>().prop_map(Value::Int64),
        any::<u64>().prop_map(Value::UInt64),
        (-1e300..1e300f64).prop_map(Value::Double),
        "[^\0]{0,9}".prop_map(Value::Str),
        "(/[a-z_0-9]{1,4}){1,3}".prop_map(Value::Path),
        "[ybnqiuxtdsogv]{0,5}".prop_map(Value::Signature),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..5).prop_map(Value::Struct),
            inner.clone().prop_map(|v| Value::Variant(Box::new(v))),
            // All elements of one type: copies of one value.
            (inner.clone(), 0..4usize).prop_filter_map("bytes have a value of their own", |(v, n)| {
                (v.signature() != "y").then(|| Value::Array(v.signature(), vec![v; n]))
            }),
            ("[a-z]{0,5}", inner, 0..3usize).prop_map(|(key, v, n)| {
                let entry = Value::Entry(Box::new((Value::Str(key), v)));
                Value::Array(entry.signature(), vec![entry; n])
            }),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(values in prop::collection::vec(any_value(), 0..4)) {
        let signature = signature(&values);
        prop_assume!(signature.len() <= 255);
        prop_assert_eq!(decode(&signature, &encode(&values), Order::Little), Ok(values));
    }

    #[test]
    fn no_bytes_make_it_panic(
        signature in "[ybnqiuxtdsogva(){}]{0,6}",
        bytes in prop::collection::vec(prop_oneof![Just(0u8), 1..9u8, any::<u8>()], 0..64),
    ) {
        for order in [Order::Little, Order::Big] {
            if let Ok(values) = decode(&signature, &bytes, order) {
                prop_assert_eq!(super::signature(&values), signature.clone());
            }
        }
    }
}
