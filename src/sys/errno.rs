//! Texts of error numbers, as `strerror(3)` has them.

/// The C library's text for `errno` with a lower-case first letter: `no such file or directory`.
///
/// Engines match these texts as Go prints them, and Go's table is this one (docs/CONTRACT.md, point 6).
pub fn text(errno: i32) -> String {
    let mut buffer = [0u8; 128];
    // SAFETY: the pointer and length describe `buffer`, which strerror_r fills with a terminated string.
    let status = unsafe { libc::strerror_r(errno, buffer.as_mut_ptr().cast(), buffer.len()) };
    let end = buffer.iter().position(|b| *b == 0).unwrap_or(buffer.len());
    if status != 0 || end == 0 {
        return format!("errno {errno}");
    }
    let mut text = String::from_utf8_lossy(&buffer[..end]).into_owned();
    if !text.starts_with("RFS") {
        text[..1].make_ascii_lowercase();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_what_engines_match() {
        assert_eq!(text(libc::ENOENT), "no such file or directory");
        assert_eq!(text(libc::EACCES), "permission denied");
        assert_eq!(text(libc::EISDIR), "is a directory");
        assert_eq!(text(libc::ESRCH), "no such process");
    }
}
