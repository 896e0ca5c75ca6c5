//! What the builders have to say: all faults of a config together, and warnings.

use std::ffi::CString;

use crate::error::{Error, Faults, Kind, Result};

/// So many faults are told; more would not be read, and a hostile config can have a million.
const MOST_FAULTS: usize = 64;

/// Collects while a plan is built.
#[derive(Debug, Default)]
pub struct Report {
    faults: Vec<Error>,
    /// How many faults there are beyond those told.
    more: usize,
    warnings: Vec<String>,
    /// Places whose values could not even be read; what the builders say of the rest of them is their consequence.
    unread: Vec<String>,
}

impl Report {
    /// Starts with what the reader of the document had to say.
    pub fn new(faults: &[Error], warnings: &[String]) -> Self {
        let unread = faults.iter().filter_map(Error::pointer).map(str::to_owned).collect();
        Self { faults: faults.to_vec(), more: 0, warnings: warnings.to_vec(), unread }
    }

    /// A value that is refused: what is wrong, and what would be right.
    pub fn fault(&mut self, pointer: impl Into<String>, fault: impl Into<String>) {
        self.push(Error::config(pointer, fault));
    }

    /// A refusal with more to it than a sentence.
    pub fn push(&mut self, fault: Error) {
        let of_unread = |pointer: &str| {
            self.unread.iter().any(|unread| {
                unread.strip_prefix(pointer).is_some_and(|below| below.is_empty() || below.starts_with('/'))
            })
        };
        if fault.pointer().is_some_and(of_unread) {
            return;
        }
        match self.faults.len() < MOST_FAULTS {
            true => self.faults.push(fault),
            false => self.more += 1,
        }
    }

    /// A value that is taken, though not as it may have been meant.
    pub fn warn(&mut self, pointer: &str, warning: &str) {
        self.warnings.push(format!("{pointer}: {warning}"));
    }

    /// A string for the kernel, which ends at the first NUL byte.
    pub fn c_string(&mut self, text: &str, pointer: impl FnOnce() -> String) -> CString {
        CString::new(text).unwrap_or_else(|_| {
            self.fault(pointer(), "has a NUL byte, which no string for the kernel can have");
            CString::default()
        })
    }

    /// Refuses a NUL byte in a string that stays one.
    pub fn no_nul(&mut self, text: &[u8], pointer: impl FnOnce() -> String) {
        if text.contains(&0) {
            self.fault(pointer(), "has a NUL byte, which no string for the kernel can have");
        }
    }

    /// What `make` builds of the warnings, if nothing was at fault.
    pub fn into_result<T>(self, make: impl FnOnce(Vec<String>) -> T) -> Result<T> {
        let mut faults = Faults::default();
        self.faults.into_iter().for_each(|fault| faults.push(fault));
        if self.more > 0 {
            faults.push(Error::new(format!("{} more faults", self.more)).kind(Kind::Config));
        }
        let warnings = self.warnings;
        faults.into_result(()).map(|()| make(warnings))
    }

    #[cfg(test)]
    pub fn texts(&self) -> Vec<String> {
        self.faults.iter().map(Error::to_string).collect()
    }

    #[cfg(test)]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_from_an_unread_value_is_not_told_twice() {
        let mut report = Report::new(&[Error::config("/process/args/0", "is 7")], &[]);
        report.fault("/process/args", "is empty");
        report.fault("/process/arg", "is another");
        report.fault("/process/args/0", "is missing");
        report.fault("/process/args/01", "is another");
        assert_eq!(
            report.texts(),
            ["/process/args/0: is 7", "/process/arg: is another", "/process/args/01: is another"]
        );
        assert!(report.into_result(|_| ()).is_err());
    }

    #[test]
    fn faults_without_end_are_counted() {
        let mut report = Report::default();
        (0..1000).for_each(|index| report.fault(format!("/{index}"), "x"));
        let told = report.into_result(|_| ()).unwrap_err().each();
        assert_eq!(told.len(), MOST_FAULTS + 1);
        assert_eq!(told.last().unwrap().to_string(), "936 more faults");
    }

    #[test]
    fn strings_for_the_kernel_have_no_nul() {
        let mut report = Report::default();
        assert_eq!(report.c_string("a", || unreachable!()).as_c_str(), c"a");
        report.c_string("a\0b", || "/x".to_owned());
        report.no_nul(b"\0", || "/y".to_owned());
        assert_eq!(report.texts().len(), 2);
    }
}
