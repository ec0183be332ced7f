//! Whether the memory that a checkpoint tells of is there: of a file of pages that ends too early CRIU
//! reads the end for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rustix::param::page_size;

use super::protobuf::Fields;
use crate::error::{Error, Result};

/// The images of an earlier checkpoint, which have the pages that did not change: a symbolic link.
const PARENT: &str = "parent";

/// Those that are restored; what is saved before the end has none.
const PROCESSES: &str = "pstree.img";

/// What a file of descriptions begins with: the numbers of all such files, and of its kind.
const MAGIC: usize = 8;

/// `PE_PRESENT`: the pages are in the file beside it, not in the parent's nor with a page server.
const PRESENT: u64 = 1 << 2;

/// Looks at the sizes of the files of pages in a directory of images, and in those of its parents.
/// What cannot be read, or is described in words that are not known here, is left for CRIU to judge.
///
/// # Errors
/// If one is too short.
pub(super) fn check(images: &Path) -> Result<()> {
    let mut directory = images.to_owned();
    // One that is its own parent ends at the kernel's limit of links.
    while let Ok(entries) = std::fs::read_dir(&directory) {
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        check_all(&directory, names)?;
        directory.push(PARENT);
    }
    Ok(())
}

/// Compares the files of pages in one directory with what is told of them there.
///
/// Where images were overwritten, as podman does, others of the first time may be left that tell of a file
/// which is another process's now. CRIU reads what is of the processes that it restores.
fn check_all(directory: &Path, names: impl Iterator<Item = String>) -> Result<()> {
    let tree = std::fs::read(directory.join(PROCESSES)).ok();
    let processes = tree.as_deref().and_then(processes).unwrap_or_default();
    // Of each file the best that is told: by a process that there is, or else the least.
    let mut told: BTreeMap<u64, (bool, u64, String)> = BTreeMap::new();
    for name in names {
        let of = name.strip_prefix("pagemap-").and_then(|name| name.strip_suffix(".img"));
        let Some(of) = of else { continue };
        let text = std::fs::read(directory.join(&name)).ok();
        let Some((file, pages)) = text.as_deref().and_then(described) else { continue };
        let left = !of.parse().is_ok_and(|process| processes.contains(&process));
        let this = (left, pages, name);
        let best = told.entry(file).or_insert_with(|| this.clone());
        *best = this.min(best.clone());
    }
    told.iter().try_for_each(|(file, (_, pages, name))| check_one(directory, *file, *pages, name))
}

/// Compares one file of pages with the description that it is of.
fn check_one(directory: &Path, file: u64, pages: u64, name: &str) -> Result<()> {
    let path = directory.join(format!("pages-{file}.img"));
    let Ok(metadata) = std::fs::metadata(&path) else { return Ok(()) };
    let wanted = pages.saturating_mul(page_size() as u64);
    if metadata.len() >= wanted {
        return Ok(());
    }
    let words = format!("it has {} bytes of {wanted} that {name} tells of", metadata.len());
    Err(Error::new(format!("{} is cut off", path.display()))
        .because(words)
        .help("take the images from where they were copied, or save the container again"))
}

/// Whose memory there is: a `pstree_entry` for each process.
fn processes(bytes: &[u8]) -> Option<BTreeSet<u64>> {
    Messages(bytes.get(MAGIC..)?).map(|message| first(message?)).collect()
}

/// The number in the first field of a message.
fn first(fields: Fields<'_>) -> Option<u64> {
    let mut found = None;
    for field in fields {
        if let (1, value) = field? {
            found = value.unsigned();
        }
    }
    found
}

/// The number of the file of pages, and how many are in it: a `pagemap_head`, and a `pagemap_entry`
/// for each row of pages. `None` if that is said in another way.
fn described(bytes: &[u8]) -> Option<(u64, u64)> {
    let mut messages = Messages(bytes.get(MAGIC..)?);
    let file = first(messages.next()??)?;
    let mut pages: u64 = 0;
    for message in messages {
        // Before flags there were, all that is not the parent's was here.
        let (mut number, mut present) = (0, true);
        for field in message? {
            match field? {
                (1, _) => {}
                (2 | 5, value) => number = value.unsigned()?,
                (3, in_parent) => present &= in_parent.unsigned()? == 0,
                (4, flags) => present &= flags.unsigned()? & PRESENT != 0,
                _ => return None,
            }
        }
        pages = pages.checked_add(if present { number } else { 0 })?;
    }
    Some((file, pages))
}

/// The messages of a file, each after its length; `None` where the last is cut off.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = Option<Fields<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let (length, rest) = self.0.split_first_chunk()?;
        let length = usize::try_from(u32::from_ne_bytes(*length)).ok();
        let message = length.and_then(|length| rest.split_at_checked(length));
        self.0 = message.map_or(&[], |(_, rest)| rest);
        Some(message.map(|(message, _)| Fields(message)))
    }
}

#[cfg(test)]
mod tests {
    use super::described;

    /// A file of these messages.
    fn file(messages: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; super::MAGIC];
        for message in messages {
            bytes.extend(u32::try_from(message.len()).unwrap_or_default().to_ne_bytes());
            bytes.extend(*message);
        }
        bytes
    }

    #[test]
    fn only_pages_that_are_here_count() {
        let here = b"\x08\x01\x10\x03\x20\x04";
        let old = b"\x08\x01\x10\x20";
        let long = b"\x08\x01\x20\x06\x28\x80\x08";
        let lazy = b"\x08\x01\x10\x05\x20\x02";
        let of_parent = b"\x08\x01\x10\x05\x20\x01";
        let of_old_parent = b"\x08\x01\x10\x05\x18\x01";
        let all: [&[u8]; 7] = [b"\x08\x07", here, old, long, lazy, of_parent, of_old_parent];
        assert_eq!(described(&file(&all)), Some((7, 3 + 32 + 1024)));
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_not_judged() {
        let whole = file(&[b"\x08\x07", b"\x08\x01\x10\x03"]);
        assert_eq!(described(&whole), Some((7, 3)));
        assert_eq!(described(&whole[..whole.len() - 1]), None);
        assert_eq!(described(&whole[..7]), None);
        assert_eq!(described(&file(&[])), None);
        assert_eq!(described(&file(&[b"\x08\x07", b"\x08\x01\x30\x01"])), None);
    }
}
