//! Containers by a pattern of their IDs: crun's `--regex`.

use std::ffi::CString;

use crate::error::{Error, Result};
use crate::store::Store;
use crate::sys::pattern::Pattern;

/// The IDs that an extended regular expression (regex(7)) matches somewhere, in their order.
pub fn matching(store: &Store, pattern: &str) -> Result<Vec<String>> {
    let bad = || Error::new(format!("not a regular expression: {pattern:?}")).help("see regex(7)");
    let compiled = CString::new(pattern).map_err(|_| bad())?;
    let compiled = Pattern::new(&compiled).map_err(|_| bad())?;
    let mut ids = store.ids()?;
    ids.retain(|id| compiled.matches(id));
    Ok(ids)
}
