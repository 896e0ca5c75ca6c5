//! Extended regular expressions of the C library (regcomp(3)), as crun's `--regex` takes them.

use std::ffi::CString;
use std::mem::MaybeUninit;

/// A compiled expression.
pub struct Regex(Box<libc::regex_t>);

impl Regex {
    /// Compiles an expression; the error is the C library's text.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let pattern = CString::new(pattern).map_err(|_| "a NUL".to_owned())?;
        let mut compiled = Box::new(MaybeUninit::<libc::regex_t>::zeroed());
        // SAFETY: regcomp fills `compiled`, which stays where it is, from a terminated string.
        let status =
            unsafe { libc::regcomp(compiled.as_mut_ptr(), pattern.as_ptr(), libc::REG_EXTENDED | libc::REG_NOSUB) };
        if status != 0 {
            return Err(text(status, &compiled));
        }
        // SAFETY: regcomp succeeded, so that the value is whole; the box keeps its address.
        Ok(Self(unsafe { Box::from_raw(Box::into_raw(compiled).cast()) }))
    }

    /// Whether it matches anywhere in `text`.
    pub fn matches(&self, text: &str) -> bool {
        let Ok(text) = CString::new(text) else { return false };
        // SAFETY: a compiled expression and a terminated string; REG_NOSUB takes no room for matches.
        unsafe { libc::regexec(&raw const *self.0, text.as_ptr(), 0, std::ptr::null_mut(), 0) == 0 }
    }
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: compiled once, freed once.
        unsafe { libc::regfree(&raw mut *self.0) };
    }
}

fn text(status: libc::c_int, compiled: &MaybeUninit<libc::regex_t>) -> String {
    let mut text = [0u8; 128];
    // SAFETY: regerror fills at most the length given, terminated; it reads of the zeroed expression what regcomp left.
    unsafe { libc::regerror(status, compiled.as_ptr(), text.as_mut_ptr().cast(), text.len()) };
    let end = text.iter().position(|b| *b == 0).unwrap_or(0);
    String::from_utf8_lossy(&text[..end]).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_match_anywhere_and_faults_are_told() {
        let regex = Regex::new("^a[0-9]+$|box").unwrap();
        assert!(regex.matches("a12") && regex.matches("my-box-1") && !regex.matches("b12"));
        assert!(Regex::new("a(").is_err_and(|why| why.contains('(')));
    }
}
