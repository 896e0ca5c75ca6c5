//! D-Bus messages: a header and a body, from and to bytes (pure).
//!
//! Enters: what a bus sent, in pieces of any size; or a call. Leaves: whole [`Message`]s; or the bytes of a call.
//! Source: D-Bus Specification 0.43, "Message Protocol".

use super::wire::{self, Decoder, Encoder, Malformed, Order, Value};

/// The longest message that we take. The specification allows 128 MiB; what systemd answers us has a few hundred
/// bytes, and a bus is no reason to take more memory than a container's init has.
pub const MAX_LENGTH: usize = 1 << 20;
/// The fixed part of a header with the length of the array of fields.
const FIXED: usize = 16;
/// Do not start a service for the call: without a running systemd there is nothing to ask.
const NO_AUTO_START: u8 = 2;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Call,
    Return,
    Error,
    Signal,
    /// A type of a later protocol: the specification says to ignore these.
    Unknown(u8),
}

/// One message; which of the optional fields there are depends on its kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub kind: Kind,
    pub serial: u32,
    pub reply_to: Option<u32>,
    pub path: Option<String>,
    pub interface: Option<String>,
    pub member: Option<String>,
    pub error_name: Option<String>,
    pub destination: Option<String>,
    pub sender: Option<String>,
    pub body: Vec<Value>,
}

impl Message {
    /// A message of a kind without any field.
    pub fn empty(kind: Kind) -> Self {
        Self {
            kind,
            serial: 0,
            reply_to: None,
            path: None,
            interface: None,
            member: None,
            error_name: None,
            destination: None,
            sender: None,
            body: Vec::new(),
        }
    }

    /// A method call; the connection gives it its serial.
    pub fn call(destination: &str, path: &str, interface: &str, member: &str, body: Vec<Value>) -> Self {
        Self {
            path: Some(path.to_owned()),
            interface: Some(interface.to_owned()),
            member: Some(member.to_owned()),
            destination: Some(destination.to_owned()),
            body,
            ..Self::empty(Kind::Call)
        }
    }

    /// The text at a place of the body.
    pub fn text(&self, index: usize) -> Option<&str> {
        self.body.get(index).and_then(Value::as_str)
    }

    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = Encoder::default();
        self.body.iter().for_each(|value| body.value(value));
        let kind = match self.kind {
            Kind::Call => 1,
            Kind::Return => 2,
            Kind::Error => 3,
            Kind::Signal => 4,
            Kind::Unknown(code) => code,
        };
        let mut out = Encoder { bytes: vec![b'l', kind, NO_AUTO_START, 1] };
        // Our own messages are a few KiB, far below the range of a length.
        out.value(&Value::UInt32(body.bytes.len() as u32));
        out.value(&Value::UInt32(self.serial));
        out.value(&Value::Array("(yv)".into(), self.fields()));
        out.pad(8);
        out.bytes.append(&mut body.bytes);
        out.bytes
    }

    /// The header's fields in the order of their codes.
    fn fields(&self) -> Vec<Value> {
        let text = |field: &Option<String>| field.clone().map(Value::Str);
        let signature = Some(wire::signature(&self.body)).filter(|s| !s.is_empty()).map(Value::Signature);
        let fields = [
            (1, self.path.clone().map(Value::Path)),
            (2, text(&self.interface)),
            (3, text(&self.member)),
            (4, text(&self.error_name)),
            (5, self.reply_to.map(Value::UInt32)),
            (6, text(&self.destination)),
            (7, text(&self.sender)),
            (8, signature),
        ];
        let field =
            |(code, value): (u8, Option<Value>)| Some([Value::Byte(code), Value::Variant(Box::new(value?))].into());
        fields.into_iter().filter_map(field).map(Value::Struct).collect()
    }

    /// Reads the message that `bytes` begin with, and its length; `None` as long as it is not there as a whole.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let Some(frame) = Frame::of(bytes)? else { return Ok(None) };
        let Some(bytes) = bytes.get(..frame.length) else { return Ok(None) };
        let mut header = Decoder::new(&bytes[..frame.body], frame.order);
        let mut message = Self::empty(frame.kind);
        let start = header.values("yyyyuu")?;
        if let Some(&Value::UInt32(serial)) = start.get(5) {
            message.serial = serial;
        }
        let signature = message.read_fields(header.values("a(yv)")?)?;
        header.align(8)?;
        let mut body = Decoder::new(&bytes[frame.body..], frame.order);
        message.body = body.values(&signature)?;
        if !header.is_at_end() || !body.is_at_end() {
            return Err(Malformed("its parts are longer than what they hold"));
        }
        message.check()?;
        Ok(Some((message, frame.length)))
    }

    /// Takes the fields of a decoded header; gives the body's signature.
    fn read_fields(&mut self, fields: Vec<Value>) -> Result<String, Malformed> {
        let mut signature = String::new();
        let Some(Value::Array(_, fields)) = fields.into_iter().next() else { return Ok(signature) };
        for field in fields {
            let Value::Struct(members) = field else { continue };
            let [Value::Byte(code), Value::Variant(value)] = members.as_slice() else { continue };
            match (*code, value.as_ref()) {
                (1, Value::Path(text)) => self.path = Some(text.clone()),
                (2, Value::Str(text)) => self.interface = Some(text.clone()),
                (3, Value::Str(text)) => self.member = Some(text.clone()),
                (4, Value::Str(text)) => self.error_name = Some(text.clone()),
                (5, Value::UInt32(serial)) => self.reply_to = Some(*serial),
                (6, Value::Str(text)) => self.destination = Some(text.clone()),
                (7, Value::Str(text)) => self.sender = Some(text.clone()),
                (8, Value::Signature(text)) => signature = text.clone(),
                (1..=8, _) => return Err(Malformed("a header field has a wrong type")),
                (0, _) => return Err(Malformed("a header field has the invalid code 0")),
                // Field 9 counts file descriptors, which we never negotiate; later ones are to be ignored.
                _ => {}
            }
        }
        Ok(signature)
    }

    /// Checks that the fields are there which the message's kind needs.
    fn check(&self) -> Result<(), Malformed> {
        let complete = match self.kind {
            Kind::Call => self.path.is_some() && self.member.is_some(),
            Kind::Return => self.reply_to.is_some(),
            Kind::Error => self.reply_to.is_some() && self.error_name.is_some(),
            Kind::Signal => self.path.is_some() && self.interface.is_some() && self.member.is_some(),
            Kind::Unknown(_) => true,
        };
        match self.serial {
            0 => Err(Malformed("its serial is 0")),
            _ if complete => Ok(()),
            _ => Err(Malformed("a required header field is missing")),
        }
    }
}

/// Where a message's parts lie, known from its first 16 bytes.
struct Frame {
    kind: Kind,
    order: Order,
    /// Where the body begins.
    body: usize,
    length: usize,
}

impl Frame {
    fn of(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let order = match bytes.first() {
            Some(b'l') => Order::Little,
            Some(b'B') => Order::Big,
            Some(_) => return Err(Malformed("its first byte names no byte order")),
            None => return Ok(None),
        };
        let Some(fixed) = bytes.get(..FIXED) else { return Ok(None) };
        let kind = match fixed[1] {
            0 => return Err(Malformed("its type is the invalid 0")),
            1 => Kind::Call,
            2 => Kind::Return,
            3 => Kind::Error,
            4 => Kind::Signal,
            code => Kind::Unknown(code),
        };
        if fixed[3] != 1 {
            return Err(Malformed("its protocol version is not 1"));
        }
        let body_length = Decoder::new(&fixed[4..8], order).u32()? as usize;
        let fields_length = Decoder::new(&fixed[12..], order).u32()? as usize;
        if body_length > MAX_LENGTH || fields_length > MAX_LENGTH {
            return Err(Malformed("it is longer than 1 MiB"));
        }
        let body = (FIXED + fields_length).next_multiple_of(8);
        let length = body + body_length;
        if length > MAX_LENGTH {
            return Err(Malformed("it is longer than 1 MiB"));
        }
        Ok(Some(Self { kind, order, body, length }))
    }
}

#[cfg(test)]
mod tests;
