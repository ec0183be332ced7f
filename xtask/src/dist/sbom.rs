//! What the binary is made of (CycloneDX 1.5, JSON): every library, with where it comes from, its
//! licence and the checksum of its source.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Value, json};

use super::{Dist, cargo, output};
use crate::Outcome;

/// The list.
pub(super) fn text(dist: &Dist) -> Outcome<String> {
    let asked =
        ["metadata", "--locked", "--format-version", "1", "--filter-platform", &dist.triple];
    let metadata: Value = output(cargo().args(asked).current_dir(&dist.workspace))?.parse()?;
    let lock = fs::read_to_string(dist.workspace.join("Cargo.lock"))?;
    let checksums = checksums(&lock);
    let packages: BTreeMap<&str, &Value> = list(&metadata["packages"])
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let root = packages.iter().find(|(_, package)| package["name"] == "coracle-cli");
    let (root, of_root) = root.ok_or("there is no package coracle-cli")?;

    let nodes: BTreeMap<&str, &Value> = list(&metadata["resolve"]["nodes"])
        .filter_map(|node| Some((node["id"].as_str()?, node)))
        .collect();
    let mut reached = BTreeSet::new();
    let mut waiting = vec![*root];
    let mut dependencies = Vec::new();
    while let Some(id) = waiting.pop() {
        if !reached.insert(id) {
            continue;
        }
        let of_this: BTreeSet<&str> = nodes.get(id).map(|node| linked(node)).unwrap_or_default();
        let names: Vec<String> =
            of_this.iter().filter_map(|id| packages.get(id)).map(|package| purl(package)).collect();
        if let Some(package) = packages.get(id) {
            dependencies.push(json!({"ref": purl(package), "dependsOn": names}));
        }
        waiting.extend(of_this);
    }
    dependencies.sort_by_key(|entry| entry["ref"].to_string());
    let components: Vec<Value> = reached
        .iter()
        .filter(|id| *id != root)
        .filter_map(|id| packages.get(id))
        .map(|package| component(package, &checksums))
        .collect();
    let mut whole = component(of_root, &checksums);
    whole["type"] = "application".into();
    let bom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": whole},
        "components": components,
        "dependencies": dependencies,
    });
    Ok(format!("{bom:#}\n"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// What becomes part of it: neither for tests nor for builds only.
fn linked(node: &Value) -> BTreeSet<&str> {
    list(&node["deps"])
        .filter(|dependency| list(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null()))
        .filter_map(|dependency| dependency["pkg"].as_str())
        .collect()
}

/// The package's name for the world (package-url.github.io).
fn purl(package: &Value) -> String {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    format!("pkg:cargo/{}@{}", text("name"), text("version"))
}

fn component(package: &Value, checksums: &BTreeMap<(String, String), String>) -> Value {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
        "licenses": [{"expression": text("license").replace('/', " OR ")}],
    });
    if let Some(sum) = checksums.get(&(text("name"), text("version"))) {
        component["hashes"] = json!([{"alg": "SHA-256", "content": sum}]);
    }
    component
}

/// The checksums in Cargo.lock, by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    lock.split("[[package]]")
        .filter_map(|package| {
            let field = |key: &str| {
                let start = format!("{key} = \"");
                let value = package.lines().find_map(|line| line.strip_prefix(&start))?;
                Some(value.trim_end_matches('"').to_owned())
            };
            Some(((field("name")?, field("version")?), field("checksum")?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::checksums;

    #[test]
    fn checksums_are_found() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n\n\
                    [[package]]\nname = \"b\"\nversion = \"2.0.0\"\nsource = \"x\"\nchecksum = \"c0\"\n";
        let found = checksums(lock);
        assert_eq!(found.len(), 1);
        assert_eq!(found[&("b".to_owned(), "2.0.0".to_owned())], "c0");
    }
}
