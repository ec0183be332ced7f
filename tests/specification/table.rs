//! docs/specification-1.3.md: a row for every field of the schemas and for every sentence that asks
//! something of a runtime, each with its tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::fields;

/// Where tests are, from the repository's root.
const TESTS: [&str; 3] = ["tests", "crates/coracle/tests", "crates/coracle"];

/// The page.
const PAGE: &str = include_str!("../../docs/specification-1.3.md");

/// The headings of the tables of fields, each with its schema.
const TABLES: [(&str, &str); 3] = [
    ("Fields of config.json", "config"),
    ("Fields of the features structure", "features"),
    ("Fields of the state", "state"),
];

/// A row: the headings that it is under, and its cells.
struct Row {
    part: &'static str,
    section: &'static str,
    cells: Vec<&'static str>,
}

/// All rows of the page but the heads of tables.
fn rows() -> Vec<Row> {
    let (mut part, mut section) = ("", "");
    let mut rows = Vec::new();
    for line in PAGE.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            (part, section) = (heading, "");
        } else if let Some(heading) = line.strip_prefix("### ") {
            section = heading;
        } else if let Some(row) = line.strip_prefix("| ") {
            let cells: Vec<_> = row.trim_end_matches(" |").split(" | ").map(str::trim).collect();
            if !["field", "sentence"].contains(&cells[0]) {
                rows.push(Row { part, section, cells });
            }
        }
    }
    rows
}

/// What stands in backticks in a cell.
fn quoted(cell: &'static str) -> impl Iterator<Item = &'static str> {
    cell.split('`').skip(1).step_by(2)
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Looks for a test, named `FILE::NAME` with the file's path below one of [`TESTS`], less `.rs`.
pub(crate) fn exists(test: &str) -> Result<(), String> {
    let (file, name) = test.split_once("::").ok_or(format!("{test}: FILE::NAME is expected"))?;
    let files = TESTS.iter().map(|place| repository().join(place).join(format!("{file}.rs")));
    let mut files = files.filter_map(|path| std::fs::read_to_string(path).ok());
    let source = files.next().ok_or(format!("{test}: there is no such file"))?;
    let wanted = format!("fn {name}()");
    let mut lines = source.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if line == "#[test]" && lines.next().is_some_and(|line| line.starts_with(&wanted)) {
            return Ok(());
        }
        // A list of functions, each of which becomes a test for every kind of user.
        if line == "coracle_tests::tests! {" {
            let mut names = lines.by_ref().take_while(|line| *line != "}");
            let is = |word: &str| word.trim_end_matches([',', ';']) == name;
            if names.any(|line| line.split_whitespace().any(is)) {
                return Ok(());
            }
        }
    }
    Err(format!("{test}: the file has no such test"))
}

/// The specification beside the checkout, or why the test is over.
fn specification() -> Result<PathBuf, String> {
    let mut places = repository().ancestors().map(|at| at.join("shared/reference/runtime-spec"));
    places.find(|path| path.is_dir()).ok_or("the specification is not beside the checkout".into())
}

#[test]
fn every_field_has_one_row_and_every_row_a_field() {
    for (heading, schema) in TABLES {
        let mut had = BTreeSet::new();
        for row in rows().iter().filter(|row| row.part == heading) {
            for field in quoted(row.cells[0]) {
                assert!(had.insert(field), "{schema}: two rows for {field}");
            }
        }
        let known: BTreeSet<_> = fields(schema).collect();
        let (without, unknown): (Vec<_>, Vec<_>) =
            (known.difference(&had).collect(), had.difference(&known).collect());
        assert!(without.is_empty(), "{schema}: fields without a row: {without:#?}");
        assert!(unknown.is_empty(), "{schema}: rows without a field: {unknown:#?}");
    }
}

#[test]
fn no_sentence_has_two_rows() {
    let mut had = BTreeSet::new();
    for row in rows().iter().filter(|row| !row.section.is_empty()) {
        assert!(had.insert((row.section, row.cells[0])), "{}: {}", row.section, row.cells[0]);
    }
    assert!(had.len() > 150, "{}", had.len());
}

#[test]
fn every_row_names_tests_that_are_there() {
    let mut wrong = Vec::new();
    for row in rows() {
        let [what, does, tests] = row.cells[..] else {
            wrong.push(format!("not three cells: {}", row.cells.join(" | ")));
            continue;
        };
        if does.is_empty() || quoted(tests).next().is_none() {
            wrong.push(format!("{what}: it does not say what is done, or names no test"));
        }
        wrong.extend(quoted(tests).filter_map(|test| exists(test).err()));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The sections that ask something of somebody, as `FILE: HEADING`.
fn asking(directory: &Path) -> BTreeSet<String> {
    // Whole files about other platforms are not read; nor what config.md says of those.
    let files = [
        "bundle",
        "config",
        "config-linux",
        "runtime",
        "runtime-linux",
        "features",
        "features-linux",
    ];
    let others = ["Windows", "z/OS", "Solaris", "Example"];
    let mut found = BTreeSet::new();
    for file in files {
        let text = std::fs::read_to_string(directory.join(format!("{file}.md"))).unwrap();
        let (mut heading, mut example) = (String::new(), false);
        for line in text.lines() {
            example ^= line.trim_start().starts_with("```");
            if example {
                continue;
            }
            if line.starts_with('#') {
                // `## <a name="x" />Heading`
                let plain = line.rsplit("/>").next().unwrap_or(line);
                plain.trim_start_matches('#').trim().clone_into(&mut heading);
            }
            let strong = ["MUST", "REQUIRED", "SHALL", "SHOULD", "RECOMMENDED", "MAY", "OPTIONAL"];
            let asks =
                line.split(|c: char| !c.is_ascii_uppercase()).any(|word| strong.contains(&word));
            if asks && !others.iter().any(|other| heading.contains(other)) {
                found.insert(format!("{file}.md: {heading}"));
            }
        }
    }
    found
}

#[test]
fn every_section_that_asks_something_has_rows() {
    let directory = coracle_tests::need!(specification());
    let (asking, rows) = (asking(&directory), rows());
    let had: BTreeSet<_> = rows.iter().map(|row| row.section).filter(|at| !at.is_empty()).collect();
    let without: Vec<_> = asking.iter().filter(|section| !had.contains(section.as_str())).collect();
    assert!(without.is_empty(), "sections without rows: {without:#?}");
    let unknown: Vec<_> = had.iter().filter(|section| !asking.contains(**section)).collect();
    assert!(unknown.is_empty(), "no such sections: {unknown:#?}");
}
