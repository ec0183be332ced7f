//! docs/compatibility.md: the table of limits and of the commands about them names a test for each
//! kind of host, and that test runs there.

use std::path::Path;

use crate::table::exists;

const PAGE: &str = include_str!("../../docs/compatibility.md");

/// Which tests run in the guest.
const RUNNER: &str = include_str!("../../xtask/src/test/guests.rs");

/// The commands that look at a container's cgroup or change it.
const COMMANDS: [&str; 8] = ["pause", "resume", "kill", "ps", "events", "update", "delete", "exec"];

/// The cells of each row of the table.
fn rows() -> Vec<Vec<&'static str>> {
    let lines = PAGE.lines().skip_while(|line| !line.starts_with("## Limits on each kind"));
    let lines = lines.skip(1).take_while(|line| !line.starts_with("## "));
    let rows = lines.filter_map(|line| line.strip_prefix("| "));
    rows.map(|row| row.trim_end_matches(" |").split(" | ").map(str::trim).collect::<Vec<_>>())
        .filter(|cells| !cells[0].is_empty() && cells[0] != "on")
        .collect()
}

/// The tests that a cell names.
fn tests(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split('`').skip(1).step_by(2).filter(|quoted| quoted.contains("::"))
}

/// Whether a test's file is among those that run in the guest.
fn runs_in_guest(test: &str) -> bool {
    let list = RUNNER.split("const IN_GUEST").nth(1).and_then(|text| text.split("];").next());
    let file = test.split("::").next().unwrap_or_default();
    let file = file.split('/').next().unwrap_or_default();
    list.unwrap().contains(&format!("\"{file}\""))
}

/// Whether a test is one of an ordinary user to whom cgroups are delegated.
fn runs_delegated(test: &str) -> bool {
    let (file, name) = test.split_once("::").unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{file}.rs"));
    let source = std::fs::read_to_string(file).unwrap();
    let listed = source.split("coracle_tests::tests! {").nth(1).unwrap_or_default();
    let listed = listed.split(';').filter_map(|group| group.split_once("=>")).any(|(who, what)| {
        let is =
            |words: &str, wanted: &str| words.split([',', ' ', '\n']).any(|word| word == wanted);
        let delegated = ["as_delegated_user", "as_delegated_user_on_cgroup2"];
        delegated.iter().any(|user| is(who, user)) && is(what, name)
    });
    let body = source.split(&format!("fn {name}() {{")).nth(1).unwrap_or_default();
    let body = body.split("\n}").next().unwrap_or_default();
    listed
        || ["Coracle::in_session", "Coracle::as_delegated_user", "Host::as_user"]
            .iter()
            .any(|who| body.contains(who))
}

#[test]
fn every_limit_names_a_test_on_every_kind_of_host() {
    let mut wrong = Vec::new();
    for row in rows() {
        let [what, here, guest, systemd, delegated] = row[..] else {
            wrong.push(format!("not five cells: {}", row.join(" | ")));
            continue;
        };
        for cell in [here, guest, systemd, delegated] {
            if tests(cell).next().is_none() {
                wrong.push(format!("{what}: no test: {cell:?}"));
            }
            wrong.extend(tests(cell).filter_map(|test| exists(test).err()));
        }
        for test in tests(guest).chain(tests(systemd)) {
            if !runs_in_guest(test) {
                wrong.push(format!("{what}: {test} does not run in the guest"));
            }
        }
        for test in tests(delegated) {
            if !runs_delegated(test) {
                wrong.push(format!("{what}: {test} is not of a user with delegated cgroups"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_field_and_no_command_is_left_out() {
    let heads: Vec<&str> = rows().iter().map(|row| row[0]).collect();
    let named: Vec<&str> = heads.iter().flat_map(|head| head.split(['`', '.', ',', ' '])).collect();
    for command in COMMANDS {
        assert!(named.contains(&command), "no row for {command}");
    }
    let fields =
        crate::fields("config").filter_map(|field| field.strip_prefix("/linux/resources/"));
    for field in fields {
        // What is below a list or any name is in the row of that.
        for word in field.split('/').take_while(|word| *word != "*").take(2) {
            let whole = ["network", "rdma"].iter().any(|group| field.starts_with(group));
            assert!(named.contains(&word) || whole, "no row for {field}");
        }
    }
    assert!(named.contains(&"network") && named.contains(&"rdma"));
}
