//! What a container has used: read from the files of each hierarchy.

use super::figures::Stats;
use super::{Cgroup, stats_v1, stats_v2};
use crate::Result;
use crate::error::Context;

impl Cgroup {
    /// What the container has used until now.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        for dir in &self.dirs {
            let read = if dir.controllers.is_empty() {
                stats_v2::add(dir, self.is_unified, &mut stats)
            } else {
                stats_v1::add(dir, &mut stats)
            };
            read.what(|| format!("reading the statistics of {}", dir.path.display()))?;
        }
        Ok(stats)
    }
}
