//! Memory that is not there: refused before the work begins.
//!
//! Rust aborts the process when an allocation fails, and Linux kills it when it uses what was promised to several. So work
//! that may be large says first how many bytes it takes.

use crate::error::{Error, Result};

/// Bytes that are not worth asking the system for.
const SMALL: usize = 64 << 20;

/// Refuses `work` that takes more bytes than there are.
///
/// # Errors
/// [`Error::Memory`] with the argument `name` that asked for it.
pub(crate) fn require(
    bytes: usize,
    name: &'static str,
    work: &'static str,
    cure: &'static str,
) -> Result<()> {
    if bytes < SMALL {
        return Ok(());
    }
    let available = system::available();
    // Address space may be limited, too; what is not touched costs nothing.
    let mut trial = Vec::<u8>::new();
    let reserved = trial.try_reserve_exact(bytes).is_ok();
    std::hint::black_box(&trial);
    if reserved && available.is_none_or(|available| bytes <= available) {
        return Ok(());
    }
    // What else limits the address space does not say how much is left of it.
    let available = available.filter(|&available| bytes > available);
    Err(Error::Memory { name, work, bytes, available, cure })
}

#[cfg(target_os = "linux")]
mod system {
    use std::fs::read_to_string;
    use std::path::{Path, PathBuf};

    /// Bytes that this process may still use: the machine's, and its control groups'.
    pub(super) fn available() -> Option<usize> {
        let machine = field(Path::new("/proc/meminfo"), "MemAvailable:").map(|kilobytes| kilobytes << 10);
        let groups = read_to_string("/proc/self/cgroup").unwrap_or_default();
        groups.lines().filter_map(of_group).chain(machine).min()
    }

    /// What is left in a control group and those around it; a line is `number:controllers:path`.
    fn of_group(line: &str) -> Option<usize> {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        let (root, limit, usage, cache) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
            "memory" => (
                "/sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
                "total_inactive_file",
            ),
            _ => return None,
        };
        let left = |group: PathBuf| {
            let used = number(&group.join(usage))?.saturating_sub(
                // Files in the cache make room when memory is needed.
                field(&group.join("memory.stat"), cache).unwrap_or(0),
            );
            Some(number(&group.join(limit))?.saturating_sub(used))
        };
        Path::new(path).ancestors().filter_map(|group| left(Path::new(root).join(group))).min()
    }

    fn number(file: &Path) -> Option<usize> {
        read_to_string(file).ok()?.trim().parse().ok()
    }

    fn field(file: &Path, name: &str) -> Option<usize> {
        let text = read_to_string(file).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    /// What other systems have is not asked; some refuse what they do not have when it is reserved, macOS does not.
    pub(super) fn available() -> Option<usize> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_machine_has_is_refused_with_its_bytes() {
        for bytes in [1 << 50, usize::MAX] {
            let error =
                require(bytes, "radius", "the graph", "choose a smaller one").unwrap_err().to_string();
            assert!(error.contains("`radius`") && error.contains(&bytes.to_string()), "{error}");
        }
        assert!(require(SMALL, "radius", "the graph", "choose a smaller one").is_ok());
    }
}
