//! What a container uses of cache and memory bandwidth: read from the files of its groups
//! (the kernel's Documentation/filesystems/resctrl.rst).

use std::fs;
use std::path::Path;

use crate::cgroup::{CmtStats, IntelRdtStats, L3CacheInfo, MbmStats, MemBwInfo};

/// The shares of a control group, and what it uses, or its monitoring group. What the machine does
/// not count is left out.
pub(crate) fn read(group: &Path, monitoring: Option<&Path>) -> IntelRdtStats {
    // The default class is the root itself, any other a directory of it.
    let own = group.join("info").is_dir();
    let root = if own { group } else { group.parent().unwrap_or(group) };
    let (cache, bandwidth) = (root.join("info/L3"), root.join("info/MB"));
    let mut stats = IntelRdtStats {
        l3_cache_info: cache.is_dir().then(|| L3CacheInfo {
            cbm_mask: text(&cache.join("cbm_mask")),
            min_cbm_bits: number(&cache.join("min_cbm_bits")),
            num_closids: number(&cache.join("num_closids")),
        }),
        l3_cache_schema_root: line(root, "L3"),
        l3_cache_schema: line(group, "L3"),
        mem_bw_info: bandwidth.is_dir().then(|| MemBwInfo {
            bandwidth_gran: number(&bandwidth.join("bandwidth_gran")),
            delay_linear: number(&bandwidth.join("delay_linear")),
            min_bandwidth: number(&bandwidth.join("min_bandwidth")),
            num_closids: number(&bandwidth.join("num_closids")),
        }),
        mem_bw_schema_root: line(root, "MB"),
        mem_bw_schema: line(group, "MB"),
        ..IntelRdtStats::default()
    };
    let domains = fs::read_dir(monitoring.unwrap_or(group).join("mon_data"));
    let mut domains: Vec<_> = domains.into_iter().flatten().flatten().map(|of| of.path()).collect();
    domains.sort();
    let is_cache = |path: &Path| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"mon_L3_"))
    };
    for domain in domains.iter().filter(|path| is_cache(path)) {
        if domain.join("llc_occupancy").exists() {
            let llc_occupancy = number(&domain.join("llc_occupancy"));
            stats.cmt_stats.push(CmtStats { llc_occupancy });
        }
        if domain.join("mbm_total_bytes").exists() {
            stats.mbm_stats.push(MbmStats {
                mbm_total_bytes: number(&domain.join("mbm_total_bytes")),
                mbm_local_bytes: number(&domain.join("mbm_local_bytes")),
            });
        }
    }
    stats
}

/// The line of a resource in the `schemata` of a group, without the spaces that align it.
fn line(group: &Path, resource: &str) -> String {
    let schemata = text(&group.join("schemata"));
    let found = schemata
        .lines()
        .map(str::trim)
        .find(|line| line.split_once(':').is_some_and(|(name, _)| name.trim_end() == resource));
    found.unwrap_or_default().to_owned()
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// A number; 0 where the kernel says that it has none now (`Unavailable`).
fn number(path: &Path) -> u64 {
    text(path).parse().unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_told_of_as_engines_read_it() {
        let root = std::env::temp_dir().join(format!("coracle-rdt-stats-{}", std::process::id()));
        let write = |file: &str, text: &str| {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (file, text) in [
            ("info/L3/cbm_mask", "fffff\n"),
            ("info/L3/min_cbm_bits", "1\n"),
            ("info/L3/num_closids", "4\n"),
            ("info/MB/bandwidth_gran", "10\n"),
            ("info/MB/delay_linear", "1\n"),
            ("info/MB/min_bandwidth", "10\n"),
            ("info/MB/num_closids", "8\n"),
            ("schemata", "    L3:0=fffff;1=fffff\n    MB:0=100;1=100\n"),
            ("one/schemata", "    MB:0=20;1=70\n    L3:0=f;1=f0\n"),
            ("one/mon_data/mon_L3_00/llc_occupancy", "1\n"),
            ("one/mon_groups/one/mon_data/mon_L3_01/llc_occupancy", "Unavailable\n"),
            ("one/mon_groups/one/mon_data/mon_L3_00/llc_occupancy", "4096\n"),
            ("one/mon_groups/one/mon_data/mon_L3_00/mbm_total_bytes", "30\n"),
            ("one/mon_groups/one/mon_data/mon_L3_00/mbm_local_bytes", "20\n"),
            ("one/mon_groups/one/mon_data/mon_sub/llc_occupancy", "7\n"),
        ] {
            write(file, text);
        }
        let group = root.join("one");
        let told = serde_json::to_value(read(&group, Some(&group.join("mon_groups/one")))).unwrap();
        let expected = serde_json::json!({
            "l3_cache_info": {"cbm_mask": "fffff", "min_cbm_bits": 1, "num_closids": 4},
            "l3_cache_schema_root": "L3:0=fffff;1=fffff",
            "l3_cache_schema": "L3:0=f;1=f0",
            "mem_bw_info":
                {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
            "mem_bw_schema_root": "MB:0=100;1=100",
            "mem_bw_schema": "MB:0=20;1=70",
            "mbm_stats": [{"mbm_total_bytes": 30, "mbm_local_bytes": 20}],
            "cmt_stats": [{"llc_occupancy": 4096}, {}],
        });
        assert_eq!(told, expected);
        assert_eq!(read(&group, None).cmt_stats, [CmtStats { llc_occupancy: 1 }]);
        // In the default class.
        assert_eq!(read(&root, None).l3_cache_schema, "L3:0=fffff;1=fffff");
        fs::remove_dir_all(&root).unwrap();
    }
}
