//! GVariant text, the language of `org.systemd.property.*` annotations (pure).
//!
//! Enters: an annotation's value, as a user wrote it. Leaves: a [`Value`] to send, or what is wrong with the text.
//! Source: "GVariant Text Format" of GLib, without what D-Bus has no type for (maybe types, file handles).

use super::wire::{Value, check_signature, is_object_path};

/// Deeper text is refused: the parser calls itself for each level.
const MAX_DEPTH: u8 = 32;

/// Parses one value; a number without a type is an `int32`, or a `double` where it has a fraction.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let tree = parser.tree()?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(format!("{:?} follows the value", &text[parser.at..]));
    }
    let mut types = String::new();
    tree.infer(&mut types)?;
    // What nothing more is known of.
    let types = types.replace(NUMBER, "i");
    if types.contains(UNKNOWN) {
        return Err("an empty array needs its type, like @as []".into());
    }
    check_signature(&types).map_err(|e| e.0.to_owned())?;
    tree.value(&types)
}

/// In an inferred signature: a number without a type. No type code of D-Bus.
const NUMBER: char = '#';
/// In an inferred signature: the elements of an empty array. No type code of D-Bus.
const UNKNOWN: char = '?';

/// What was read, before its types are known.
enum Tree {
    /// As it was written.
    Number(String),
    Bool(bool),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Tree>),
    Tuple(Vec<Tree>),
    Dict(Vec<(Tree, Tree)>),
    Variant(Box<Tree>),
    Typed(String, Box<Tree>),
}

impl Tree {
    /// Appends the type as far as it shows.
    fn infer(&self, out: &mut String) -> Result<(), String> {
        match self {
            Tree::Number(text) if is_fraction(text) => out.push('d'),
            Tree::Number(_) => out.push(NUMBER),
            Tree::Bool(_) => out.push('b'),
            Tree::Text(_) => out.push('s'),
            Tree::Bytes(_) => out.push_str("ay"),
            Tree::Variant(_) => out.push('v'),
            Tree::Typed(types, _) => out.push_str(types),
            Tree::Array(elements) => {
                out.push('a');
                out.push_str(&common(elements)?);
            }
            Tree::Tuple(members) => {
                out.push('(');
                members.iter().try_for_each(|member| member.infer(out))?;
                out.push(')');
            }
            Tree::Dict(entries) => {
                let keys = common(entries.iter().map(|(key, _)| key))?;
                let values = common(entries.iter().map(|(_, value)| value))?;
                out.push_str(&format!("a{{{keys}{values}}}"));
            }
        }
        Ok(())
    }

    /// The value as one of the type.
    fn value(&self, types: &str) -> Result<Value, String> {
        let wrong = |what: &str| Err(format!("{what} where the type is {types}"));
        match (self, types) {
            (Tree::Typed(own, tree), _) if own == types => tree.value(own),
            (Tree::Typed(own, _), _) => wrong(own),
            (Tree::Number(text), _) => number(text, types),
            (Tree::Bool(bool), "b") => Ok(Value::Bool(*bool)),
            (Tree::Text(text), "s") => Ok(Value::Str(text.clone())),
            (Tree::Text(text), "o") if is_object_path(text) => Ok(Value::Path(text.clone())),
            (Tree::Text(text), "g") if check_signature(text).is_ok() => Ok(Value::Signature(text.clone())),
            (Tree::Bytes(bytes), "ay") => Ok(Value::Bytes(bytes.clone())),
            (Tree::Variant(tree), "v") => tree.boxed(),
            (Tree::Array(elements), "ay") => bytes(elements),
            (Tree::Array(elements), _) if types.starts_with('a') => {
                let values = elements.iter().map(|element| element.value(&types[1..]));
                Ok(Value::Array(types[1..].to_owned(), values.collect::<Result<_, _>>()?))
            }
            (Tree::Dict(entries), _) if types.starts_with("a{") => {
                let (key, value) = (&types[2..3], &types[3..types.len() - 1]);
                let entry = |(k, v): &(Tree, Tree)| Ok(Value::Entry(Box::new((k.value(key)?, v.value(value)?))));
                Ok(Value::Array(types[1..].to_owned(), entries.iter().map(entry).collect::<Result<_, String>>()?))
            }
            (Tree::Tuple(members), _) if types.starts_with('(') => {
                tuple(members, &types[1..types.len() - 1]).map(Value::Struct)
            }
            (Tree::Text(text), _) => wrong(&format!("{text:?}")),
            _ => wrong("a value of another type"),
        }
    }

    /// A variant's content, which has a type of its own.
    fn boxed(&self) -> Result<Value, String> {
        let mut types = String::new();
        self.infer(&mut types)?;
        let types = types.replace(NUMBER, "i");
        if types.contains(UNKNOWN) {
            return Err("an empty array needs its type, like @as []".into());
        }
        check_signature(&types).map_err(|e| e.0.to_owned())?;
        Ok(Value::Variant(Box::new(self.value(&types)?)))
    }
}

fn bytes(elements: &[Tree]) -> Result<Value, String> {
    let byte = |element: &Tree| match element.value("y")? {
        Value::Byte(byte) => Ok(byte),
        _ => Err("a value of another type in an array of bytes".to_owned()),
    };
    Ok(Value::Bytes(elements.iter().map(byte).collect::<Result<_, _>>()?))
}

fn tuple(members: &[Tree], types: &str) -> Result<Vec<Value>, String> {
    let mut rest = types;
    let mut values = Vec::new();
    for member in members {
        let (one, others) = super::wire::first_type(rest).ok_or("a tuple has more members than its type")?;
        values.push(member.value(one)?);
        rest = others;
    }
    if rest.is_empty() { Ok(values) } else { Err("a tuple has fewer members than its type".into()) }
}

/// The one type of all of an array's elements, as far as it shows.
fn common<'a>(elements: impl IntoIterator<Item = &'a Tree>) -> Result<String, String> {
    let mut common = UNKNOWN.to_string();
    for element in elements {
        let mut types = String::new();
        element.infer(&mut types)?;
        common = unify(&common, &types).ok_or_else(|| format!("elements of the types {common} and {types}"))?;
    }
    Ok(common)
}

/// What is known of a type from two sights of it.
fn unify(one: &str, other: &str) -> Option<String> {
    let mut out = String::new();
    let (mut one, mut other) = (one.chars().peekable(), other.chars().peekable());
    loop {
        match (one.next(), other.next()) {
            (None, None) => return Some(out),
            (Some(UNKNOWN), Some(first)) => copy_type(first, &mut other, &mut out),
            (Some(first), Some(UNKNOWN)) => copy_type(first, &mut one, &mut out),
            (Some(a), Some(b)) if a == b => out.push(a),
            (Some(NUMBER), Some(code)) | (Some(code), Some(NUMBER)) if "ynqiuxtd".contains(code) => out.push(code),
            _ => return None,
        }
    }
}

/// Copies the whole type that begins with `first`.
fn copy_type(first: char, rest: &mut impl Iterator<Item = char>, out: &mut String) {
    let mut open = 0;
    let mut next = Some(first);
    while let Some(code) = next {
        out.push(code);
        match code {
            '(' | '{' => open += 1,
            ')' | '}' => open -= 1,
            _ => {}
        }
        // An `a` needs what it is an array of.
        if open == 0 && code != 'a' {
            return;
        }
        next = rest.next();
    }
}

fn is_fraction(text: &str) -> bool {
    !text.contains(['x', 'X']) && text.contains(['.', 'e', 'E']) || text.ends_with("inf") || text.ends_with("nan")
}

/// A number of the type; integers may be decimal, `0x` or, as in C, octal with a leading 0.
fn number(text: &str, types: &str) -> Result<Value, String> {
    if types == "d" {
        return text.parse().map(Value::Double).map_err(|_| format!("{text} is no number"));
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, base) = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(hexadecimal) => (hexadecimal, 16),
        None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
        None => (digits, 10),
    };
    // from_str_radix would take a further sign.
    let digits = Some(digits).filter(|d| d.starts_with(|c: char| c.is_ascii_hexdigit()));
    let number = digits.and_then(|d| i128::from_str_radix(d, base).ok()).ok_or(format!("{text} is no integer"))? * sign;
    let range = |_| format!("{text} does not fit into the type {types}");
    match types {
        "y" => number.try_into().map(Value::Byte).map_err(range),
        "n" => number.try_into().map(Value::Int16).map_err(range),
        "q" => number.try_into().map(Value::UInt16).map_err(range),
        "i" => number.try_into().map(Value::Int32).map_err(range),
        "u" => number.try_into().map(Value::UInt32).map_err(range),
        "x" => number.try_into().map(Value::Int64).map_err(range),
        "t" => number.try_into().map(Value::UInt64).map_err(range),
        _ => Err(format!("{text} where the type is {types}")),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: u8,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Takes `token` where it is next.
    fn accept(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        self.at += if found { token.len() } else { 0 };
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.accept(token) { Ok(()) } else { Err(self.unexpected(&format!("{token:?}"))) }
    }

    fn unexpected(&self, wanted: &str) -> String {
        match self.rest() {
            "" => format!("it ends where {wanted} is needed"),
            rest => format!("{rest:?} where {wanted} is needed"),
        }
    }

    /// Takes the longest run of such characters.
    fn run(&mut self, of: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !of(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    fn tree(&mut self) -> Result<Tree, String> {
        if self.depth == MAX_DEPTH {
            return Err("it nests too deeply".into());
        }
        self.depth += 1;
        self.skip_space();
        let tree = match self.rest().chars().next() {
            Some('\'' | '"') => Tree::Text(self.quoted()?),
            Some('[') => Tree::Array(self.list("[", "]")?),
            Some('(') => Tree::Tuple(self.list("(", ")")?),
            Some('{') => Tree::Dict(self.entries()?),
            Some('<') => self.variant()?,
            Some('@') => self.annotated()?,
            Some('0'..='9' | '+' | '-' | '.') => {
                Tree::Number(self.run(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)).into())
            }
            Some(c) if c.is_ascii_alphabetic() => self.word()?,
            _ => return Err(self.unexpected("a value")),
        };
        self.depth -= 1;
        Ok(tree)
    }

    /// Elements between brackets; a comma may follow the last one, as a tuple of one needs it.
    fn list(&mut self, open: &str, close: &str) -> Result<Vec<Tree>, String> {
        self.expect(open)?;
        let mut elements = Vec::new();
        while !self.accept(close) {
            elements.push(self.tree()?);
            if !self.accept(",") {
                self.expect(close)?;
                break;
            }
        }
        Ok(elements)
    }

    fn entries(&mut self) -> Result<Vec<(Tree, Tree)>, String> {
        self.expect("{")?;
        let mut entries = Vec::new();
        while !self.accept("}") {
            let key = self.tree()?;
            self.expect(":")?;
            entries.push((key, self.tree()?));
            if !self.accept(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(entries)
    }

    fn variant(&mut self) -> Result<Tree, String> {
        self.expect("<")?;
        let tree = self.tree()?;
        self.expect(">")?;
        Ok(Tree::Variant(Box::new(tree)))
    }

    /// `@TYPE VALUE`
    fn annotated(&mut self) -> Result<Tree, String> {
        self.expect("@")?;
        let types = self.run(|c| c.is_ascii_alphabetic() || "(){}".contains(c));
        if !super::wire::first_type(types).is_some_and(|(_, rest)| rest.is_empty()) {
            return Err(format!("@{types} is not one type of D-Bus"));
        }
        Ok(Tree::Typed(types.to_owned(), Box::new(self.tree()?)))
    }

    /// A keyword: a constant, a type's name, or the mark of a string of bytes.
    fn word(&mut self) -> Result<Tree, String> {
        if self.rest().starts_with("b'") || self.rest().starts_with("b\"") {
            self.at += 1;
            return self.byte_string().map(Tree::Bytes);
        }
        let word = self.run(|c| c.is_ascii_alphanumeric());
        let types = match word {
            "true" => return Ok(Tree::Bool(true)),
            "false" => return Ok(Tree::Bool(false)),
            "inf" | "nan" => return Ok(Tree::Number(word.into())),
            "boolean" => "b",
            "byte" => "y",
            "int16" => "n",
            "uint16" => "q",
            "int32" => "i",
            "uint32" => "u",
            "int64" => "x",
            "uint64" => "t",
            "double" => "d",
            "string" => "s",
            "objectpath" => "o",
            "signature" => "g",
            _ => return Err(format!("{word:?} is neither a value nor a type; a string needs quotes: '{word}'")),
        };
        Ok(Tree::Typed(types.into(), Box::new(self.tree()?)))
    }

    /// The raw text between quotes, and where in it a backslash makes the next character a special one.
    fn quoted(&mut self) -> Result<String, String> {
        let mut chars = self.rest().char_indices();
        let quote = chars.next().map(|(_, c)| c);
        let mut out = String::new();
        while let Some((at, c)) = chars.next() {
            if Some(c) == quote {
                self.at += at + 1;
                return Ok(out);
            }
            let c = if c == '\\' { escaped(chars.by_ref().map(|(_, c)| c))? } else { Some(c) };
            match c {
                Some('\0') => return Err("a string holds a zero character".into()),
                Some(c) => out.push(c),
                None => {}
            }
        }
        Err("a string has no closing quote".into())
    }

    /// `b'…'`: its bytes and a zero byte. Escapes as in C: `\n`, `\377`.
    fn byte_string(&mut self) -> Result<Vec<u8>, String> {
        let bytes = self.rest().as_bytes();
        let quote = bytes[0];
        let mut out = Vec::new();
        let mut at = 1;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            match (byte, bytes.get(at)) {
                (b'\\', Some(b'0'..=b'7')) => {
                    let digits = bytes[at..].iter().take(3).take_while(|b| (b'0'..=b'7').contains(b));
                    let (count, value) = digits.fold((0, 0u32), |(n, v), d| (n + 1, v * 8 + u32::from(d - b'0')));
                    out.push(u8::try_from(value).map_err(|_| "an octal escape is beyond \\377".to_owned())?);
                    at += count;
                }
                (b'\\', Some(&next)) => {
                    out.push(control(char::from(next)).map_or(next, |c| c as u8));
                    at += 1;
                }
                (end, _) if end == quote => {
                    self.at += at;
                    out.push(0);
                    return Ok(out);
                }
                _ => out.push(byte),
            }
        }
        Err("a string has no closing quote".into())
    }
}

/// The control character that C writes with this letter.
fn control(letter: char) -> Option<char> {
    Some(match letter {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        _ => return None,
    })
}

/// The character that a backslash and what follows stand for; none for one at the end of a line.
fn escaped(mut next: impl Iterator<Item = char>) -> Result<Option<char>, String> {
    let digits = match next.next() {
        Some('u') => 4,
        Some('U') => 8,
        Some('\n') => return Ok(None),
        Some(c) => return Ok(Some(control(c).unwrap_or(c))),
        None => return Err("a string has no closing quote".into()),
    };
    let code = (0..digits).try_fold(0u32, |code, _| Some(code.checked_mul(16)? + next.next()?.to_digit(16)?));
    let wrong =
        || format!("\\{} needs {digits} hexadecimal digits of a character", if digits == 4 { 'u' } else { 'U' });
    code.and_then(char::from_u32).map(Some).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn array(types: &str, values: Vec<Value>) -> Value {
        Value::Array(types.into(), values)
    }

    #[test]
    fn the_text_format_is_read() {
        let s = Value::from;
        for (text, expected) in [
            ("true", Value::Bool(true)),
            ("boolean false", Value::Bool(false)),
            ("15", Value::Int32(15)),
            ("-0x10", Value::Int32(-16)),
            ("010", Value::Int32(8)),
            ("0", Value::Int32(0)),
            (" uint64  10000000 ", Value::UInt64(10_000_000)),
            ("uint64 18446744073709551615", Value::UInt64(u64::MAX)),
            ("@t 5", Value::UInt64(5)),
            ("int64 -5", Value::Int64(-5)),
            ("byte 0xff", Value::Byte(255)),
            ("int16 1", Value::Int16(1)),
            ("uint16 1", Value::UInt16(1)),
            ("uint32 1", Value::UInt32(1)),
            ("1.5", Value::Double(1.5)),
            ("1e3", Value::Double(1000.0)),
            ("-inf", Value::Double(f64::NEG_INFINITY)),
            ("double 2", Value::Double(2.0)),
            ("'inactive-or-failed'", s("inactive-or-failed")),
            (r#""a\"b\\\u00e9\n\U0001F600""#, s("a\"b\\é\n😀")),
            ("'it''s'", s("")),
            ("objectpath '/a/b'", Value::Path("/a/b".into())),
            ("signature 'a{sv}'", Value::Signature("a{sv}".into())),
            ("['a.service', 'b.service']", array("s", vec![s("a.service"), s("b.service")])),
            ("@as []", array("s", vec![])),
            ("[1, 2.5]", array("d", vec![Value::Double(1.0), Value::Double(2.5)])),
            ("[1, uint64 2]", array("t", vec![Value::UInt64(1), Value::UInt64(2)])),
            ("[byte 1, 2]", Value::Bytes(vec![1, 2])),
            ("b'a\\n\\101\\''", Value::Bytes(b"a\nA'\0".to_vec())),
            ("[[], [1]]", array("ai", vec![array("i", vec![]), array("i", vec![Value::Int32(1)])])),
            ("[('/dev/null', 'rw')]", array("(ss)", vec![Value::Struct(vec![s("/dev/null"), s("rw")])])),
            ("@a(st) [('/dev/sda', 5)]", array("(st)", vec![Value::Struct(vec![s("/dev/sda"), Value::UInt64(5)])])),
            ("(1,)", Value::Struct(vec![Value::Int32(1)])),
            ("<uint32 7>", Value::Variant(Box::new(Value::UInt32(7)))),
            (
                "{'a': <1>, 'b': <@as []>}",
                array(
                    "{sv}",
                    vec![
                        Value::Entry(Box::new((s("a"), Value::Variant(Box::new(Value::Int32(1)))))),
                        Value::Entry(Box::new((s("b"), Value::Variant(Box::new(array("s", vec![])))))),
                    ],
                ),
            ),
        ] {
            if text == "'it''s'" {
                assert_eq!(parse(text).unwrap_err(), "\"'s'\" follows the value");
                continue;
            }
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_told() {
        for (text, fault) in [
            ("", "it ends where a value is needed"),
            ("inactive", "a string needs quotes: 'inactive'"),
            ("'a", "no closing quote"),
            ("'\\u12'", "needs 4 hexadecimal digits"),
            ("'\\u0000'", "zero character"),
            ("'a\0'", "zero character"),
            ("byte 256", "does not fit into the type y"),
            ("2147483648", "does not fit into the type i"),
            ("uint64 -1", "does not fit into the type t"),
            ("--1", "is no integer"),
            ("0x", "is no integer"),
            ("09", "is no integer"),
            ("1.5.5", "is no number"),
            ("uint64 'a'", "\"a\" where the type is t"),
            ("[]", "needs its type"),
            ("<[]>", "needs its type"),
            ("[1, 'a']", "elements of the types # and s"),
            ("[1", "it ends where \"]\" is needed"),
            ("()", "empty or open structure"),
            ("@ab [1]", "1 where the type is b"),
            ("@a 1", "is not one type"),
            ("@ii 1", "is not one type"),
            ("@(is) (1,)", "fewer members"),
            ("@(i) (1,2)", "more members"),
            ("handle 1", "neither a value nor a type"),
            ("just 1", "neither a value nor a type"),
            ("objectpath 'a'", "\"a\" where the type is o"),
            ("{[1]: 2}", "not of a basic type"),
            ("b'\\777'", "beyond"),
            ("é", "where a value is needed"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(fault), "{text}: {error}");
        }
        assert!(parse(&"[".repeat(1000)).unwrap_err().contains("nests too deeply"));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in r#"[\[\](){}<>@'"\\,:0-9a-z .u+-]{0,40}"#) {
            // Whatever parses can be sent.
            if let Ok(value) = parse(&text) {
                prop_assert!(check_signature(&value.signature()).is_ok());
            }
        }

        #[test]
        fn no_unicode_makes_it_panic(text in ".{0,40}") {
            let value = parse(&text);
            prop_assert!(value.is_err() || !text.is_empty());
        }
    }
}
