//! `features`.

use coracle::Result;

use crate::log::answer;

pub(super) fn main() -> Result<u8> {
    answer(&format!("{:#}\n", coracle::features::features()))?;
    Ok(0)
}
