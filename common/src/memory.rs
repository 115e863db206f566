//! How much memory of its own this process has used.

/// Peak resident memory of this process, in bytes, as the kernel counts it (`VmHWM`).
///
/// It includes mapped files, so it is an upper bound on anonymous memory. Zero where `/proc`
/// is not mounted.
pub fn peak_bytes() -> u64 {
    std::fs::read_to_string("/proc/self/status").map_or(0, |status| hwm_bytes(&status))
}

fn hwm_bytes(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|l| l.trim().strip_suffix(" kB")).and_then(|n| n.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_peak_is_read_from_its_line() {
        assert_eq!(super::hwm_bytes("VmPeak:\t 9 kB\nVmHWM:\t    1234 kB\n"), 1234 * 1024);
        assert_eq!(super::hwm_bytes(""), 0);
    }
}
