//! Lists of CPUs and memory nodes.

use std::ops::RangeInclusive;

/// The ranges of a list such as `0-3,7`; `None` if it is no such list. Spaces around, and empty
/// elements, are nothing.
pub fn parse_list(text: &str) -> Option<Vec<RangeInclusive<u32>>> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if digits { text.parse::<u32>().ok() } else { None }
    };
    text.split(',')
        .map(str::trim)
        .filter(|element| !element.is_empty())
        .map(|element| {
            let (first, last) = element.split_once('-').unwrap_or((element, element));
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(first..=last)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::parse_list;

    #[test]
    fn lists() {
        assert_eq!(parse_list("0-3,7"), Some(vec![0..=3, 7..=7]));
        assert_eq!(parse_list(" 1 ,, 2-2,"), Some(vec![1..=1, 2..=2]));
        assert_eq!(parse_list(""), Some(vec![]));
        for bad in ["3-1", "1-", "-1", "a", "1-2-3", "+1", "0x1", "99999999999", "1 2"] {
            assert_eq!(parse_list(bad), None, "{bad}");
        }
    }
}
