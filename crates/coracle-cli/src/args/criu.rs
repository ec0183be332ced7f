//! The options of `checkpoint` and `restore`, most of which are CRIU's.

use clap::{Command, value_parser};

use super::arg::{bundle, flag, id, option, path};

/// The options that `checkpoint` and `restore` share.
fn criu(command: Command) -> Command {
    command
        .arg(id())
        .arg(path("image-path", "DIR", "The directory of the files; else checkpoint"))
        .arg(path("work-path", "DIR", "Where criu keeps its log; else with the files"))
        .arg(flag("tcp-established", "TCP connections go with the container"))
        .arg(flag("ext-unix-sk", "Unix sockets may lead out of the container"))
        .arg(flag("shell-job", "The container may use the caller's terminal or session"))
        .arg(flag("file-locks", "File locks go with the container"))
        .arg(flag("lazy-pages", "Memory goes over when it is needed"))
        .arg(flag("auto-dedup", "Take out of earlier files what later ones have"))
        .arg(
            option("manage-cgroups-mode", "MODE", "soft, full, strict or ignore")
                .value_parser(["soft", "full", "strict", "ignore"]),
        )
        .arg(
            option("empty-ns", "NAMESPACE", "Make this namespace anew: network")
                .value_parser(["network"]),
        )
        .arg(
            option(
                "network-lock",
                "METHOD",
                "Keep connections quiet by this: iptables, nftables or skip",
            )
            .value_parser(["iptables", "nftables", "skip"]),
        )
}

pub(super) fn checkpoint(command: Command) -> Command {
    criu(command)
        .arg(path("parent-path", "DIR", "The files of an earlier pre-dump, seen from these"))
        .arg(flag("leave-running", "The container goes on"))
        .arg(flag("pre-dump", "Save memory only, for a checkpoint to come"))
        .arg(flag("tcp-skip-in-flight", "Pass over TCP connections that are being made"))
        .arg(flag("link-remap", "Give open files without a name one"))
        .arg(option("page-server", "ADDRESS:PORT", "Send memory to a page server"))
        .arg(
            option("status-fd", "FD", "Write a zero byte there when lazy pages can be had")
                .allow_hyphen_values(true)
                .value_parser(value_parser!(i32)),
        )
}

pub(super) fn restore(command: Command) -> Command {
    criu(command)
        .arg(bundle())
        .arg(path("console-socket", "SOCKET", "Send the terminal there"))
        .arg(path("pidfd-socket", "SOCKET", "Send a descriptor of the process there"))
        .arg(path("pid-file", "FILE", "Write the process's id there"))
        .arg(flag("detach", "Do not wait for its end").short('d'))
        .arg(flag("tcp-close", "TCP connections come back closed"))
        .arg(option("lsm-profile", "TYPE:NAME", "Apply another profile of the security module"))
        .arg(option("lsm-mount-context", "CONTEXT", "Give mounts another SELinux context"))
        .arg(flag("no-subreaper", "Do not adopt the container's orphans"))
        .arg(flag("no-pivot", "Ignored: criu enters the root in its own way").hide(true))
}
