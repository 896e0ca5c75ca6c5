//! passwd(5): lines in, a user's entry out. Pure; used for the container's file by init, and for the host's by `list`.
//!
//! Read by hand: the C library's name services would load plugins, which a static binary cannot and init must not.

use std::io::{BufRead, BufReader, Read};

/// No more of a file is read: it may be an image's, and nothing in it is trusted.
const LONGEST: u64 = 4 << 20;

/// What is known of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: Vec<u8>,
    pub home: Vec<u8>,
}

/// The first entry with this id. A line that is no entry is passed over.
pub fn find(file: impl Read, uid: u32) -> Option<User> {
    let uid = uid.to_string();
    for line in BufReader::new(file.take(LONGEST)).split(b'\n') {
        let line = line.ok()?;
        let fields: Vec<&[u8]> = line.split(|b| *b == b':').collect();
        if fields.len() >= 6 && fields[2] == uid.as_bytes() && !line.contains(&0) {
            return Some(User { name: fields[0].to_vec(), home: fields[5].to_vec() });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_by_id_and_broken_lines_passed_over() {
        let text = "root:x:0:0:root:/root:/bin/sh\nbad line\n7:x\nann:x:07:1::/a:\nann:x:7:1::/home/ann:\n";
        let ann = find(text.as_bytes(), 7).unwrap();
        assert_eq!((ann.name.as_slice(), ann.home.as_slice()), (&b"ann"[..], &b"/home/ann"[..]));
        assert_eq!(find(text.as_bytes(), 8), None);
    }
}
