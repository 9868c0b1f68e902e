//! What a reviewer would have to remember: file length, module summaries, layers, who prints, where petgraph is named.

use dmac_tests::files::{below, read, root};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn sources() -> Vec<(String, String)> {
    below("", &["rs"])
        .into_iter()
        .map(|path| (path.to_string_lossy().replace('\\', "/"), read(&root().join(&path))))
        .collect()
}

fn complain(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn files_begin_with_what_they_are() {
    let without = sources().into_iter().filter(|(_, text)| !text.starts_with("//! "));
    complain(&without.map(|(path, _)| format!("{path} does not begin with //!")).collect::<Vec<_>>());
}

#[test]
fn files_are_short() {
    let lengths = sources().into_iter().map(|(path, text)| (path, text.lines().count()));
    let long = lengths.filter(|(_, lines)| *lines > 600);
    complain(
        &long.map(|(path, lines)| format!("{path} has {lines} lines; 600 are allowed")).collect::<Vec<_>>(),
    );
}

#[test]
fn modules_are_named_for_what_they_hold() {
    let empty_names = ["utils", "util", "helpers", "common", "misc"];
    let bad = sources().into_iter().filter(|(path, _)| {
        let stem = Path::new(path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let inside = path.contains("/src/") && path.ends_with("/mod.rs");
        inside || stem.is_some_and(|stem| empty_names.contains(&stem.as_str()))
    });
    complain(&bad.map(|(path, _)| format!("{path}: name it for what it holds")).collect::<Vec<_>>());
}

#[test]
fn only_the_command_prints() {
    let calls = ["println!(", "eprintln!(", "print!(", "eprint!(", "io::stdout", "io::stderr"];
    let printers = sources().into_iter().filter(|(path, text)| {
        let library = path.starts_with("crates/") && path.contains("/src/");
        library && !path.starts_with("crates/dmac-cli/") && calls.iter().any(|call| text.contains(call))
    });
    complain(&printers.map(|(path, _)| format!("{path} prints")).collect::<Vec<_>>());
}

#[test]
fn petgraph_is_named_in_one_file() {
    let name = ["pet", "graph::"].concat();
    let users = sources().into_iter().filter(|(_, text)| text.contains(&name)).map(|(path, _)| path);
    assert_eq!(users.collect::<Vec<_>>(), ["crates/dmac-ir/src/graph.rs"]);
}

#[test]
fn nothing_is_left_open() {
    let marks: Vec<String> = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X:"],
        ["unimplemented", "!("],
        ["todo", "!("],
        ["#[ign", "ore"],
    ]
    .iter()
    .map(|halves| halves.concat())
    .collect();
    let mut complaints = Vec::new();
    for (path, text) in sources() {
        for (at, line) in text.lines().enumerate() {
            complaints.extend(
                marks
                    .iter()
                    .filter(|mark| line.contains(*mark))
                    .map(|mark| format!("{path}:{}: {mark}", at + 1)),
            );
        }
    }
    complain(&complaints);
}

#[test]
fn no_path_of_a_machine_is_named() {
    let folders: Vec<String> =
        ["root", "work", "home", "tmp", "Users"].iter().map(|folder| format!("/{folder}/")).collect();
    let mut complaints = Vec::new();
    for path in below("", &["rs", "md", "toml", "dmac", "txt", "snap", "ebnf", "ptx"]) {
        let text = read(&root().join(&path));
        for (at, line) in text.lines().enumerate() {
            let named = folders.iter().any(|folder| {
                line.match_indices(folder.as_str()).any(|(start, _)| {
                    // A folder at the root: nothing that is part of a longer path stands before it.
                    line[..start]
                        .chars()
                        .next_back()
                        .is_none_or(|c| !c.is_alphanumeric() && c != '.' && c != '}')
                })
            });
            if named {
                complaints.push(format!("{}:{}: {line}", path.display(), at + 1));
            }
        }
    }
    complain(&complaints);
}

/// The names in the first section of a manifest's dependencies that are crates of the project.
fn dependencies(manifest: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line == "[dependencies]";
        } else if inside && line.starts_with("dmac") {
            let end = line.find(['.', ' ', '=']).unwrap_or(line.len());
            found.insert(line[..end].to_owned());
        }
    }
    found
}

/// The table of crates in ARCHITECTURE.md: each with all that it may depend on, also through others.
fn layers() -> BTreeMap<String, BTreeSet<String>> {
    let text = read(&root().join("ARCHITECTURE.md"));
    let mut layers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in text.lines().filter(|line| line.starts_with("| `dmac")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let mut allowed = BTreeSet::new();
        for name in cells[2].split(',').map(str::trim) {
            let name = name.split(' ').next().unwrap_or_default();
            match name {
                "–" => {}
                "all" => allowed.extend(layers.keys().cloned()),
                "dmac" => drop(allowed.insert("dmac".to_owned())),
                "codegen" => drop(allowed.insert("dmac-codegen-cranelift".to_owned())),
                name => drop(allowed.insert(format!("dmac-{name}"))),
            }
        }
        let through: Vec<String> =
            allowed.iter().filter_map(|name| layers.get(name)).flatten().cloned().collect();
        allowed.extend(through);
        layers.insert(cells[0].trim_matches('`').to_owned(), allowed);
    }
    layers
}

#[test]
fn crates_depend_on_what_the_architecture_says() {
    let layers = layers();
    let mut complaints = Vec::new();
    let mut crates = BTreeSet::new();
    for path in below("crates", &["toml"]).iter().filter(|path| path.ends_with("Cargo.toml")) {
        let name = path.iter().nth(1).expect("crates/NAME/Cargo.toml").to_string_lossy().into_owned();
        let Some(allowed) = layers.get(&name) else {
            complaints.push(format!("ARCHITECTURE.md has no row for {name}"));
            continue;
        };
        for used in dependencies(&read(&root().join(path))).difference(allowed) {
            complaints.push(format!("{name} depends on {used}, which its row does not allow"));
        }
        crates.insert(name);
    }
    for name in layers.keys().filter(|name| !crates.contains(*name)) {
        complaints.push(format!("ARCHITECTURE.md has a row for {name}, which is no crate"));
    }
    complain(&complaints);
}

#[test]
fn relative_links_lead_somewhere() {
    let mut complaints = Vec::new();
    for path in below("", &["md"]) {
        let text = read(&root().join(&path));
        let folder = path.parent().expect("a file is in a folder");
        for (start, _) in text.match_indices("](") {
            let target = text[start + 2..].split([')', '#']).next().unwrap_or_default();
            let outside = target.contains("://") || target.is_empty() || target.contains([' ', '\n']);
            if !outside && !root().join(folder).join(target).exists() {
                complaints.push(format!("{}: {target} does not exist", path.display()));
            }
        }
    }
    complain(&complaints);
}
