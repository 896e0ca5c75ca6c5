//! JSON text → a value: the one parser for what is read from files, sockets and our own records.
//!
//! serde makes a parser of each type for each kind of input: for bytes, for str, for a `Value`. With the types of the
//! spec each of these is some 300 KB of code, so that all go through str. Pure; runs in every process.

use serde::de::{DeserializeOwned, Error};

/// Parses `text`, which has to be UTF-8 (RFC 8259, section 8.1).
pub fn parse<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    // As one str: the parser then checks no string of it again, and no ignored field escapes the check.
    serde_json::from_str(std::str::from_utf8(text).map_err(serde_json::Error::custom)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_utf_8_is_json() {
        assert_eq!(parse::<Vec<String>>("[\"ü\"]".as_bytes()).unwrap(), ["ü"]);
        assert!(parse::<Vec<String>>(b"[\"\xfc\"]").unwrap_err().to_string().starts_with("invalid utf-8"));
        assert_eq!(parse::<Vec<u8>>(b"[1,").unwrap_err().to_string(), "EOF while parsing a value at line 1 column 3");
    }
}
