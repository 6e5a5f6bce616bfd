//! What a process has used, as Linux tells it. Both servers are one process each, with all their threads.

use std::time::Duration;

use crate::bench::BenchError;

/// Linux tells times of processes in hundredths of a second, on every architecture (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

/// Processor time of a process so far, user and system, all threads.
pub(super) fn cpu(pid: u32) -> Result<Duration, BenchError> {
    let text = read(pid, "stat")?;
    parse_cpu(&text).ok_or_else(|| unknown(pid, "stat"))
}

/// Processor time of this process so far, to the nanosecond.
pub(super) fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    Duration::from_secs(part(time.tv_sec)) + Duration::from_nanos(part(time.tv_nsec))
}

/// Bytes resident now. Proportional (`Pss`), so that a page shared with another process is not counted twice.
pub(super) fn memory(pid: u32) -> Result<u64, BenchError> {
    let text = read(pid, "smaps_rollup").or_else(|_| read(pid, "status"))?;
    kib(&text, "Pss:").or_else(|| kib(&text, "VmRSS:")).ok_or_else(|| unknown(pid, "memory"))
}

/// The most bytes that were ever resident.
pub(super) fn peak(pid: u32) -> Result<u64, BenchError> {
    kib(&read(pid, "status")?, "VmHWM:").ok_or_else(|| unknown(pid, "status"))
}

/// Files that this process may open.
pub(super) fn open_files() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

fn read(pid: u32, file: &str) -> Result<String, BenchError> {
    std::fs::read_to_string(format!("/proc/{pid}/{file}"))
        .map_err(|error| BenchError::Wrong(format!("/proc/{pid}/{file}: {error}")))
}

fn unknown(pid: u32, file: &str) -> BenchError {
    BenchError::Wrong(format!("/proc/{pid}/{file} does not tell what it tells on Linux"))
}

/// The process's name is in parentheses and may hold anything; the numbers follow the last one.
fn parse_cpu(stat: &str) -> Option<Duration> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * (1000 / TICKS_PER_SECOND)))
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_behind_any_name() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 99 1 1";
        assert_eq!(parse_cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse_cpu("7 (a) S 1"), None);
    }

    #[test]
    fn sizes_are_bytes() {
        let text = "VmHWM:\t    12 kB\nPss:                 3 kB\nPss_Dirty: 9 kB\n";
        assert_eq!((kib(text, "Pss:"), kib(text, "VmHWM:")), (Some(3072), Some(12_288)));
        assert_eq!(kib(text, "VmRSS:"), None);
    }

    #[test]
    fn this_process_has_used_something() {
        let pid = std::process::id();
        assert!(memory(pid).unwrap() > 0 && peak(pid).unwrap() > 0);
        assert!(cpu(pid).is_ok() && own_cpu() > Duration::ZERO);
        assert!(open_files().is_some());
    }
}
