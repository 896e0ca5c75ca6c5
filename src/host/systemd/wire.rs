//! D-Bus values: their signatures, and how they lie in a message (pure).
//!
//! Enters: bytes from a bus, not trusted, or a [`Value`]. Leaves: the other of the two. Nothing here panics on any
//! input, and what is allocated stays within a small multiple of the bytes that were really received.
//! Source: D-Bus Specification 0.43, "Type System" and "Message Protocol". Both byte orders are read, little-endian
//! is written.

/// The depth of containers that the specification allows in all: 32 arrays and 32 structures.
const MAX_DEPTH: u8 = 64;
/// The specification's limit for one signature.
const MAX_SIGNATURE: usize = 255;

/// One D-Bus value with its type. File descriptors (`h`) are left out: we never negotiate to pass them.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Byte(u8),
    Bool(bool),
    Int16(i16),
    UInt16(u16),
    Int32(i32),
    UInt32(u32),
    Int64(i64),
    UInt64(u64),
    Double(f64),
    Str(String),
    Path(String),
    Signature(String),
    /// `ay`, by far the most frequent array of small elements.
    Bytes(Vec<u8>),
    /// The elements' signature, which an empty array needs too, and the elements. Never of bytes.
    Array(String, Vec<Value>),
    Struct(Vec<Value>),
    /// A dictionary's entry: only as an element of an array.
    Entry(Box<(Value, Value)>),
    Variant(Box<Value>),
}

impl Value {
    /// The value's signature, one complete type.
    pub fn signature(&self) -> String {
        match self {
            Value::Byte(_) => "y".into(),
            Value::Bool(_) => "b".into(),
            Value::Int16(_) => "n".into(),
            Value::UInt16(_) => "q".into(),
            Value::Int32(_) => "i".into(),
            Value::UInt32(_) => "u".into(),
            Value::Int64(_) => "x".into(),
            Value::UInt64(_) => "t".into(),
            Value::Double(_) => "d".into(),
            Value::Str(_) => "s".into(),
            Value::Path(_) => "o".into(),
            Value::Signature(_) => "g".into(),
            Value::Bytes(_) => "ay".into(),
            Value::Array(element, _) => format!("a{element}"),
            Value::Struct(members) => format!("({})", signature(members)),
            Value::Entry(entry) => format!("{{{}{}}}", entry.0.signature(), entry.1.signature()),
            Value::Variant(_) => "v".into(),
        }
    }

    /// The text of a string, an object path or a signature.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) | Value::Path(text) | Value::Signature(text) => Some(text),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Str(text.to_owned())
    }
}

/// The signature of several values in a row, as a message's body has it.
pub fn signature(values: &[Value]) -> String {
    values.iter().map(Value::signature).collect()
}

/// Why bytes from the bus are no message: what the specification asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl From<Malformed> for crate::error::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(format!("malformed D-Bus message: {}", malformed.0))
    }
}

/// The order of bytes in a message, which its first byte tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Little,
    Big,
}

/// The size that a value of this type starts at a multiple of.
fn alignment(code: u8) -> usize {
    match code {
        b'n' | b'q' => 2,
        b'b' | b'i' | b'u' | b's' | b'o' | b'a' => 4,
        b'x' | b't' | b'd' | b'(' | b'{' => 8,
        _ => 1,
    }
}

/// Splits the first complete type off a signature.
fn split_type(signature: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let end = type_end(signature, 0, Place::Free)?;
    Ok(signature.split_at(end))
}

/// Splits the first complete type off a signature that may be anything.
pub fn first_type(signature: &str) -> Option<(&str, &str)> {
    let (one, _) = split_type(signature.as_bytes()).ok()?;
    signature.split_at_checked(one.len())
}

/// Where a type stands in a signature: dictionary entries may only be an array's elements.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Free,
    Element,
}

/// The length of the complete type that `signature` begins with.
fn type_end(signature: &[u8], depth: u8, place: Place) -> Result<usize, Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed("a signature nests too deeply"));
    }
    match signature.first() {
        Some(b'a') => Ok(1 + type_end(&signature[1..], depth + 1, Place::Element)?),
        Some(b'(') => {
            let mut end = 1;
            while signature.get(end).is_some_and(|&code| code != b')') {
                end += type_end(&signature[end..], depth + 1, Place::Free)?;
            }
            match signature.get(end) {
                Some(_) if end > 1 => Ok(end + 1),
                _ => Err(Malformed("a signature has an empty or open structure")),
            }
        }
        Some(b'{') if place == Place::Element => {
            if !signature.get(1).is_some_and(|code| b"ybnqiuxtdsog".contains(code)) {
                return Err(Malformed("a dictionary's key is not of a basic type"));
            }
            let end = 2 + type_end(&signature[2..], depth + 1, Place::Free)?;
            match signature.get(end) {
                Some(b'}') => Ok(end + 1),
                _ => Err(Malformed("a dictionary entry has not two types")),
            }
        }
        Some(b'y' | b'b' | b'n' | b'q' | b'i' | b'u' | b'x' | b't' | b'd' | b's' | b'o' | b'g' | b'v') => Ok(1),
        Some(_) => Err(Malformed("a signature has an unknown type")),
        None => Err(Malformed("a signature ends too early")),
    }
}

/// Checks a signature of any number of complete types.
pub fn check_signature(signature: &str) -> Result<(), Malformed> {
    if signature.len() > MAX_SIGNATURE {
        return Err(Malformed("a signature is longer than 255 bytes"));
    }
    let mut rest = signature.as_bytes();
    while !rest.is_empty() {
        rest = split_type(rest)?.1;
    }
    Ok(())
}

/// True for a syntactically valid object path: `/`, or elements of `[A-Za-z0-9_]` after one slash each.
pub fn is_object_path(text: &str) -> bool {
    let element = |e: &str| !e.is_empty() && e.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    text == "/" || text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(element))
}

/// Writes values, little-endian, aligned to the start of its own buffer.
#[derive(Default)]
pub struct Encoder {
    pub bytes: Vec<u8>,
}

impl Encoder {
    /// Zeroes up to the next multiple of `alignment`.
    pub fn pad(&mut self, alignment: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(alignment), 0);
    }

    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.pad(N);
        self.bytes.extend_from_slice(&bytes);
    }

    fn put_text(&mut self, text: &str) {
        // A message is at most 128 MiB, and ours are a few KiB: a length always fits.
        self.put((text.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    /// Writes a signature: a length of one byte, the text and a zero byte.
    fn put_signature(&mut self, text: &str) {
        debug_assert!(text.len() <= MAX_SIGNATURE);
        self.bytes.push(text.len() as u8);
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    /// Writes an array: its length in bytes (without the padding before the first element), then the elements.
    fn put_array(&mut self, element: u8, fill: impl FnOnce(&mut Self)) {
        self.put([0; 4]);
        let length_at = self.bytes.len() - 4;
        self.pad(alignment(element));
        let start = self.bytes.len();
        fill(self);
        let length = (self.bytes.len() - start) as u32;
        self.bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    /// Writes one value.
    pub fn value(&mut self, value: &Value) {
        match value {
            Value::Byte(v) => self.bytes.push(*v),
            Value::Bool(v) => self.put(u32::from(*v).to_le_bytes()),
            Value::Int16(v) => self.put(v.to_le_bytes()),
            Value::UInt16(v) => self.put(v.to_le_bytes()),
            Value::Int32(v) => self.put(v.to_le_bytes()),
            Value::UInt32(v) => self.put(v.to_le_bytes()),
            Value::Int64(v) => self.put(v.to_le_bytes()),
            Value::UInt64(v) => self.put(v.to_le_bytes()),
            Value::Double(v) => self.put(v.to_le_bytes()),
            Value::Str(text) | Value::Path(text) => self.put_text(text),
            Value::Signature(text) => self.put_signature(text),
            Value::Bytes(bytes) => self.put_array(b'y', |to| to.bytes.extend_from_slice(bytes)),
            Value::Array(element, values) => {
                let code = element.bytes().next().unwrap_or(b'y');
                self.put_array(code, |to| values.iter().for_each(|v| to.value(v)));
            }
            Value::Struct(members) => {
                self.pad(8);
                members.iter().for_each(|member| self.value(member));
            }
            Value::Entry(entry) => {
                self.pad(8);
                self.value(&entry.0);
                self.value(&entry.1);
            }
            Value::Variant(inner) => {
                self.put_signature(&inner.signature());
                self.value(inner);
            }
        }
    }
}

/// Reads values from bytes that begin at a multiple of 8 in their message.
pub struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
    order: Order,
}

impl<'a> Decoder<'a> {
    pub fn new(bytes: &'a [u8], order: Order) -> Self {
        Self { bytes, at: 0, order }
    }

    /// How many bytes were read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// True where nothing is left to read.
    pub fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(Malformed("it ends in the middle of a value"))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// Skips the zero bytes before a value of this alignment.
    pub fn align(&mut self, alignment: usize) -> Result<(), Malformed> {
        let padding = self.take(self.at.next_multiple_of(alignment) - self.at)?;
        if padding.iter().all(|&b| b == 0) { Ok(()) } else { Err(Malformed("its padding is not zero")) }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.align(N)?;
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        if self.order == Order::Big {
            bytes.reverse();
        }
        Ok(bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.fixed()?))
    }

    fn text_of(&mut self, length: usize) -> Result<String, Malformed> {
        let bytes = self.take(length)?;
        if self.take(1)? != [0] || bytes.contains(&0) {
            return Err(Malformed("a text does not end with its only zero byte"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Malformed("a text is not UTF-8"))?;
        Ok(text.to_owned())
    }

    fn text(&mut self) -> Result<String, Malformed> {
        let length = self.u32()?;
        self.text_of(usize::try_from(length).map_err(|_| Malformed("a text is too long"))?)
    }

    fn signature(&mut self) -> Result<String, Malformed> {
        let length = self.take(1)?[0];
        let text = self.text_of(usize::from(length))?;
        check_signature(&text)?;
        Ok(text)
    }

    /// Reads one value for every complete type of a signature that was checked.
    pub fn values(&mut self, signature: &str) -> Result<Vec<Value>, Malformed> {
        self.sequence(signature.as_bytes(), 0)
    }

    fn sequence(&mut self, mut signature: &[u8], depth: u8) -> Result<Vec<Value>, Malformed> {
        let mut values = Vec::new();
        while !signature.is_empty() {
            let (one, rest) = split_type(signature)?;
            values.push(self.value(one, depth)?);
            signature = rest;
        }
        Ok(values)
    }

    /// Reads a value of one complete type.
    fn value(&mut self, signature: &[u8], depth: u8) -> Result<Value, Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed("its values nest too deeply"));
        }
        Ok(match signature {
            b"y" => Value::Byte(self.take(1)?[0]),
            b"b" => match self.u32()? {
                0 => Value::Bool(false),
                1 => Value::Bool(true),
                _ => return Err(Malformed("a boolean is neither 0 nor 1")),
            },
            b"n" => Value::Int16(i16::from_le_bytes(self.fixed()?)),
            b"q" => Value::UInt16(u16::from_le_bytes(self.fixed()?)),
            b"i" => Value::Int32(i32::from_le_bytes(self.fixed()?)),
            b"u" => Value::UInt32(self.u32()?),
            b"x" => Value::Int64(i64::from_le_bytes(self.fixed()?)),
            b"t" => Value::UInt64(u64::from_le_bytes(self.fixed()?)),
            b"d" => Value::Double(f64::from_le_bytes(self.fixed()?)),
            b"s" => Value::Str(self.text()?),
            b"o" => Value::Path(
                Some(self.text()?)
                    .filter(|path| is_object_path(path))
                    .ok_or(Malformed("an object path is not valid"))?,
            ),
            b"g" => Value::Signature(self.signature()?),
            b"v" => self.variant(depth)?,
            [b'a', element @ ..] => self.array(element, depth)?,
            [b'(', members @ .., b')'] => {
                self.align(8)?;
                Value::Struct(self.sequence(members, depth + 1)?)
            }
            [b'{', key, content @ .., b'}'] => {
                self.align(8)?;
                let key = self.value(std::slice::from_ref(key), depth + 1)?;
                Value::Entry(Box::new((key, self.value(content, depth + 1)?)))
            }
            _ => return Err(Malformed("a signature has an unknown type")),
        })
    }

    fn variant(&mut self, depth: u8) -> Result<Value, Malformed> {
        let signature = self.signature()?;
        if split_type(signature.as_bytes())?.1.is_empty() {
            Ok(Value::Variant(Box::new(self.value(signature.as_bytes(), depth + 1)?)))
        } else {
            Err(Malformed("a variant holds more than one value"))
        }
    }

    fn array(&mut self, element: &[u8], depth: u8) -> Result<Value, Malformed> {
        let length = usize::try_from(self.u32()?).map_err(|_| Malformed("an array is too long"))?;
        self.align(alignment(element[0]))?;
        if element == b"y" {
            return Ok(Value::Bytes(self.take(length)?.to_vec()));
        }
        let end = self.at.checked_add(length).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(Malformed("an array is longer than its message"))?;
        let mut values = Vec::new();
        // Every type takes a byte at least, so this ends.
        while self.at < end {
            values.push(self.value(element, depth + 1)?);
        }
        if self.at != end {
            return Err(Malformed("an array's last element goes beyond its end"));
        }
        // A signature is ASCII: only known type codes pass the check.
        Ok(Value::Array(String::from_utf8_lossy(element).into_owned(), values))
    }
}

#[cfg(test)]
pub(in crate::host::systemd) mod tests;
