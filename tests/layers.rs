use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::harness::source;

const ARCHITECTURE: &str = include_str!("../docs/architecture.md");

/// A file of src.
struct File {
    /// Its path, from the folder of the project.
    path: String,
    /// The module it is, without `crate`; `lib` and `main` for the two roots.
    module: String,
    text: String,
}

/// All files of src, in order.
fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(root).unwrap().to_str().unwrap();
                files.push(File::new(path, text));
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

impl File {
    fn new(path: &str, text: String) -> Self {
        let module = path.strip_prefix("src/").unwrap();
        let module = module.strip_suffix(".rs").unwrap();
        let module = module.strip_suffix("/mod").unwrap_or(module);
        Self {
            path: path.to_owned(),
            module: module.replace('/', "::"),
            text,
        }
    }

    /// Whether it is compiled for tests only.
    fn is_for_tests(&self) -> bool {
        self.module.ends_with("::tests")
    }
}

/// A module, or a module and all within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Itself(String),
    Within(String),
    Everywhere,
}

impl Place {
    /// As the document writes it: `` `a::b` ``, or `` `a::b` itself``.
    fn new(text: &str) -> Self {
        let (name, rest) = text.strip_prefix('`').unwrap().split_once('`').unwrap();
        match rest.trim() {
            "" => Self::Within(name.to_owned()),
            "itself" => Self::Itself(name.to_owned()),
            other => panic!("{other} in {text}"),
        }
    }

    fn holds(&self, module: &str) -> bool {
        match self {
            Self::Itself(name) => module == name,
            Self::Within(name) => {
                let behind = module.strip_prefix(name.as_str());
                behind.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
            }
            Self::Everywhere => true,
        }
    }
}

/// The rows of the table below this heading, without its head.
fn table(heading: &str) -> Vec<[&'static str; 2]> {
    let heading = format!("\n## {heading}\n");
    let section = ARCHITECTURE.split_once(&heading).expect("the heading").1;
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| "));
    let cells = |line: &'static str| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        [cells.next().unwrap(), cells.next().unwrap()]
    };
    rows.skip(1).map(cells).collect()
}

/// What a cell lists.
fn places(cell: &str, leaves: &[Place]) -> Vec<Place> {
    match cell {
        "–" => Vec::new(),
        "everything" => vec![Place::Everywhere],
        _ => cell
            .split(", ")
            .flat_map(|item| match item {
                "leaves" => leaves.to_vec(),
                item => vec![Place::new(item)],
            })
            .collect(),
    }
}

/// Who may name what.
struct Layers(Vec<(Place, Vec<Place>)>);

impl Layers {
    /// As the document has it. Its first rows, those that may name nothing, are the leaves.
    fn documented() -> Self {
        let rows = table("Who may import whom");
        let leaves: Vec<_> = rows
            .iter()
            .take_while(|[_, may]| *may == "–")
            .map(|[module, _]| Place::new(module))
            .collect();
        let layer = |[module, may]: [&str; 2]| (Place::new(module), places(may, &leaves));
        Self(rows.into_iter().map(layer).collect())
    }

    /// The row of a module.
    fn row(&self, module: &str) -> Option<&(Place, Vec<Place>)> {
        self.0.iter().find(|(place, _)| place.holds(module))
    }

    /// What is wrong with what a file names.
    fn complaints(&self, file: &File, modules: &BTreeSet<String>) -> Vec<String> {
        let Some((own, may)) = self.row(&file.module) else {
            return vec![format!("{}: the table has no row for it", file.path)];
        };
        let mut complaints = Vec::new();
        for path in source::paths(&file.text) {
            let names = path.join("::");
            let named = match path[0].as_str() {
                "crate" => deepest(&path[1..], modules),
                "super" | "self" => {
                    complaints.push(format!("{}: {names} is not from crate", file.path));
                    continue;
                }
                // The roots name their children without `crate`.
                first if ["lib", "main"].contains(&file.module.as_str()) => {
                    let is_ours = modules.contains(first);
                    is_ours.then(|| deepest(&path, modules)).flatten()
                }
                _ => continue,
            };
            let Some(named) = named else { continue };
            if !own.holds(&named) && !may.iter().any(|place| place.holds(&named)) {
                complaints.push(format!("{}: may not name {names}", file.path));
            }
        }
        complaints
    }
}

/// The module that a path leads into, as deep as it goes.
fn deepest(path: &[String], modules: &BTreeSet<String>) -> Option<String> {
    let lengths = (1..=path.len()).rev();
    let candidates = lengths.map(|length| path[..length].join("::"));
    candidates
        .into_iter()
        .find(|module| modules.contains(module))
}

fn modules(files: &[File]) -> BTreeSet<String> {
    files.iter().map(|file| file.module.clone()).collect()
}

#[test]
fn modules_name_only_what_the_document_lets_them() {
    let files = files();
    let (layers, modules) = (Layers::documented(), modules(&files));
    let complaints: Vec<_> = files
        .iter()
        .filter(|file| !file.is_for_tests())
        .flat_map(|file| layers.complaints(file, &modules))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn every_row_of_the_document_is_about_something() {
    let modules = modules(&files());
    for (place, may) in Layers::documented().0 {
        for place in std::iter::once(&place).chain(&may) {
            let exists = modules.iter().any(|module| place.holds(module));
            assert!(exists, "there is nothing in {place:?}");
        }
    }
}

#[test]
fn a_forbidden_import_is_found() {
    let files = files();
    let (layers, modules) = (Layers::documented(), modules(&files));
    let complaints = |path: &str, text: &str| {
        let file = File::new(path, text.to_owned());
        layers.complaints(&file, &modules).len()
    };
    let frame = "src/wire/frame.rs";
    assert_eq!(complaints(frame, "use crate::event::Hit;"), 0);
    assert_eq!(complaints(frame, "use crate::net::link::Link;"), 1);
    assert_eq!(complaints(frame, "use crate::{event::Hit, net::link};"), 1);
    assert_eq!(complaints(frame, "fn f() { crate::clock::wall(); }"), 1);
    assert_eq!(complaints(frame, "//! crate::clock::wall"), 0);
    assert_eq!(complaints(frame, "use super::message::Hello;"), 1);
    assert_eq!(complaints(frame, "use crate::wire::message::Hello;"), 0);
    assert_eq!(complaints("src/clock.rs", "use crate::event::Hit;"), 1);
    let session = "src/client/reporter/session.rs";
    assert_eq!(complaints(session, "use crate::client::trap::set;"), 1);
    assert_eq!(complaints("src/exit.rs", "use crate::server::X;"), 0);
    assert_eq!(complaints("src/exit.rs", "use crate::server::intake;"), 1);
    assert_eq!(complaints("src/lib.rs", "fn f() { cli::parse(); }"), 0);
    assert_eq!(complaints("src/lib.rs", "fn f() { wire::auth::f(); }"), 1);
    assert_eq!(complaints("src/client/new.rs", ""), 1, "no row");
}

#[test]
fn what_few_may_use_they_do_use_and_the_others_do_not() {
    let files = files();
    for [name, only] in table("Who alone may use what") {
        let wanted: Vec<_> = name.trim_matches('`').split("::").collect();
        let names_it = |path: &source::Path| {
            path.len() >= wanted.len() && path.iter().zip(&wanted).all(|(a, b)| a == b)
        };
        let users: BTreeSet<_> = files
            .iter()
            .filter(|file| !file.is_for_tests())
            .filter(|file| source::paths(&file.text).iter().any(names_it))
            .map(|file| file.module.as_str())
            .collect();
        let only = places(only, &[]);
        for user in &users {
            let allowed = only.iter().any(|place| place.holds(user));
            assert!(allowed, "{user} uses {name}");
        }
        for place in only {
            let used = users.iter().any(|user| place.holds(user));
            assert!(used, "{place:?} does not use {name} any more");
        }
    }
}

#[test]
fn every_file_says_what_it_is_for_and_is_no_longer_than_500_lines() {
    for file in files() {
        assert!(file.text.starts_with("//! "), "{}", file.path);
        let lines = file.text.lines().count();
        assert!(lines <= 500, "{} has {lines} lines", file.path);
    }
}

#[test]
fn the_document_has_a_line_for_every_file() {
    let section = ARCHITECTURE.split_once("\n## Files\n").unwrap().1;
    let section = section.split("\n## ").next().unwrap();
    let mut listed = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("src/")) {
        let (path, says) = line.split_once("  ").unwrap();
        assert!(!says.trim().is_empty(), "{path}");
        let twice = listed.insert(path.to_owned(), says);
        assert_eq!(twice, None, "{path} stands there twice");
    }
    let listed: BTreeSet<_> = listed.into_keys().collect();
    let there: BTreeSet<_> = files().into_iter().map(|file| file.path).collect();
    let missing: Vec<_> = there.difference(&listed).collect();
    let surplus: Vec<_> = listed.difference(&there).collect();
    assert!(missing.is_empty(), "no line for {missing:?}");
    assert!(surplus.is_empty(), "there is no {surplus:?}");
}
