//! bpf(2): the device programs of control groups.
