//! Becoming the user, with exactly the capabilities asked for (capabilities(7), credentials(7)).

use rustix::fs::{FileType, Gid, Uid, fchown, fstat};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, getegid, geteuid, getgid, getuid, set_dumpable_behavior};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::failure::{Failed, Outcome, Part};
use crate::plan::{Capabilities, Identity};
use crate::wire::Operation;

/// Takes the ids of root in a user namespace, in which all capabilities are held.
pub(super) fn become_root(uid: u32, gid: u32) -> Outcome {
    set_ids(uid, gid)?;
    forbid_tracing()
}

/// Nothing in the container may trace this process or open its /proc/PID/exe: it is still the
/// runtime's memory and binary (CVE-2016-9962, CVE-2019-5736).
pub(super) fn forbid_tracing() -> Outcome {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).part(Operation::Undumpable)
}

/// Becomes the user. Bounding set first, as it takes CAP_SETPCAP; groups and ids next; then the
/// other sets, which only shrink; and at the end a look at what became of it.
pub(super) fn become_user(identity: &Identity) -> Outcome {
    let sets = &identity.capabilities;
    drop_bounding(sets.bounding)?;
    own_standard_files(identity.uid);
    // Without this, leaving uid 0 would clear the permitted set.
    set_keep_capabilities(true).part(Operation::SetCapabilities)?;
    let groups = identity.groups.as_deref().unwrap_or_default();
    let groups: Vec<Gid> = groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    match if identity.keeps_groups { Ok(()) } else { set_thread_groups(&groups) } {
        Err(Errno::PERM) if identity.groups.is_none() => {}
        result => result.part(Operation::SetGroups)?,
    }
    set_ids(identity.uid, identity.gid)?;
    set_keep_capabilities(false).part(Operation::SetCapabilities)?;
    let wanted = CapabilitySets {
        effective: CapabilitySet::from_bits_retain(sets.effective),
        permitted: CapabilitySet::from_bits_retain(sets.permitted),
        inheritable: CapabilitySet::from_bits_retain(sets.inheritable),
    };
    set_capabilities(None, wanted).part(Operation::SetCapabilities)?;
    set_ambient(sets)?;
    // Changing ids may have made the process dumpable again (proc(5), suid_dumpable).
    forbid_tracing()?;
    verify(identity, &wanted)
}

/// Sets the real, effective and saved ids; the group while that is still allowed.
fn set_ids(uid: u32, gid: u32) -> Outcome {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_res_gid(gid, gid, gid).part(Operation::SetGid)?;
    set_thread_res_uid(uid, uid, uid).part(Operation::SetUid)
}

/// Drops every capability that the kernel knows and the set does not have.
fn drop_bounding(bounding: u64) -> Outcome {
    for bit in 0..64 {
        let one = 1u64 << bit;
        if bounding & one != 0 {
            continue;
        }
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(one)) {
            Ok(()) => {}
            // The first number that this kernel does not know; there are no gaps.
            Err(Errno::INVAL) => break,
            Err(errno) => {
                return Err(Failed::new(Operation::DropBounding, errno).detail(bit));
            }
        }
    }
    Ok(())
}

/// Raises what is in the ambient set. A capability can only be ambient while it is permitted and
/// inheritable; what is not is left out, as with runc.
fn set_ambient(sets: &Capabilities) -> Outcome {
    clear_ambient_capability_set().part(Operation::SetAmbient)?;
    let possible = sets.ambient & sets.permitted & sets.inheritable;
    for bit in (0..64).filter(|bit| possible & (1 << bit) != 0) {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        configure_capability_in_ambient_set(one, true)
            .map_err(|errno| Failed::new(Operation::SetAmbient, errno).detail(bit))?;
    }
    Ok(())
}

/// Gives standard input, output and error to the user, so that it can open /dev/stdout; not the
/// null device, which is everybody's. What cannot be given stays as it is.
fn own_standard_files(uid: u32) {
    let owner = Uid::from_raw(uid);
    for file in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(stat) = fstat(file) else { continue };
        let null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == rustix::fs::makedev(1, 3);
        if !null && stat.st_uid != uid {
            let _ = fchown(file, Some(owner), None::<Gid>);
        }
    }
}

/// Looks at what the kernel says we are: a privilege that was meant to be dropped and is still
/// there must not reach the program.
fn verify(identity: &Identity, wanted: &CapabilitySets) -> Outcome {
    let held = capabilities(None).part(Operation::VerifyIdentity)?;
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let as_wanted = getuid() == uid
        && geteuid() == uid
        && getgid() == gid
        && getegid() == gid
        && held.effective == wanted.effective
        && held.permitted == wanted.permitted
        && held.inheritable == wanted.inheritable;
    if as_wanted { Ok(()) } else { Err(Failed::new(Operation::VerifyIdentity, Errno::PERM)) }
}
