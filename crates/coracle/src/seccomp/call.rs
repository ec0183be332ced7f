//! A row of the table of system calls.

/// In the table: the architecture lacks the call.
pub(super) const NO: u16 = u16::MAX;

/// How many architectures number calls in a way of their own.
pub(super) const COLUMNS: usize = 18;

/// A system call: its slot on each architecture, from which
/// [`Abi::number`](super::abi::Abi::number) makes the number.
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) multiplexed: Multiplexed,
    pub(super) slots: [u16; COLUMNS],
}

/// A row of the table.
pub(super) const fn call(
    name: &'static str,
    multiplexed: Multiplexed,
    slots: [u16; COLUMNS],
) -> Call {
    Call { name, multiplexed, slots }
}

/// Whether some architectures reach a call through another, and under which number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Multiplexed {
    No,
    /// Through socketcall(2).
    Socket(u8),
    /// Through ipc(2).
    Ipc(u8),
}
