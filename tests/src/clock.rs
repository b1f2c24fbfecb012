//! A clock that a test sets, for programs that have none to set: libfaketime, in its form for
//! programs of many threads. The other reads the file of the time without a lock, and ends the
//! program when two threads do so at once.

use std::path::PathBuf;

use crate::TempDir;

/// A moment that is set, shared with a process by a file.
#[derive(Debug)]
pub struct Clock {
    folder: TempDir,
    library: PathBuf,
}

impl Clock {
    /// Stands still at `seconds` since the Unix epoch.
    ///
    /// # Panics
    /// When libfaketime is not installed.
    pub fn at(seconds: u64) -> Self {
        let found = std::fs::read_dir("/usr/lib").unwrap().flatten().find_map(|folder| {
            Some(folder.path().join("faketime/libfaketimeMT.so.1")).filter(|path| path.exists())
        });
        let library = found.expect("there is no libfaketime; run `make tools`, or install it");
        let clock = Self { folder: TempDir::new("clock"), library };
        clock.set(seconds);
        clock
    }

    /// Moves it.
    pub fn set(&self, seconds: u64) {
        self.folder.write("now", &date(seconds));
    }

    /// What a process needs to see it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("LD_PRELOAD", self.library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.folder.path().join("now").display().to_string()),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("TZ", "UTC".to_owned()),
        ]
    }
}

/// Removes what libfaketime keeps in shared memory for a process that was killed: the next one with
/// the same id would trip over it.
pub(crate) fn forget(process: u32) {
    for name in ["faketime_shm_", "sem.faketime_sem_"] {
        let _ = std::fs::remove_file(format!("/dev/shm/{name}{process}"));
    }
}

/// `YYYY-MM-DD hh:mm:ss` in UTC (days to date by the proleptic Gregorian calendar).
fn date(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (mut year, mut left) = (1970, days);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{:02} {hour:02}:{minute:02}:{second:02}", left + 1)
}
