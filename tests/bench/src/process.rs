//! What Linux says about a process in `/proc`.

use std::io;

pub use e2e::process::resident_kib;

/// Unit of processor time in `/proc/PID/stat`: USER_HZ is 100 on every Linux that Rust supports.
const TICK_MICROS: u64 = 10_000;

/// Processor time of all threads of a process so far, in microseconds, in steps of 10 ms.
///
/// # Errors
/// When there is no such process.
pub fn cpu_micros(pid: u32) -> io::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    ticks(&stat).map(|t| t * TICK_MICROS).ok_or_else(|| io::Error::other("no times in its stat"))
}

/// `utime` + `stime`, fields 14 and 15 (proc_pid_stat(5)); the name before may hold anything.
fn ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_a_parenthesis() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4 9 0 0 0 120 30 0 0 20 0 4 0 1 2 3";
        assert_eq!(ticks(stat), Some(150));
    }

    #[test]
    fn this_process_has_memory() {
        assert!(resident_kib(std::process::id()).unwrap() > 100);
        assert!(cpu_micros(std::process::id()).is_ok());
    }
}
