use std::fs;
use std::path::{Path, PathBuf};

const THREAT_MODEL: &str = include_str!("../docs/threat-model.md");
const OPERATIONS: &str = include_str!("../docs/operations.md");

/// The rows of all tables whose first head cell is `head`, as cells; and how many tables there are.
fn tables(document: &'static str, head: &str) -> (usize, Vec<Vec<&'static str>>) {
    let (mut tables, mut rows, mut inside) = (0, Vec::new(), false);
    for line in document.lines() {
        let Some(row) = line.strip_prefix("| ") else {
            // The line below the head is `|---|---|`.
            inside = inside && line.starts_with("|-");
            continue;
        };
        let cells: Vec<_> = row.trim_end_matches(" |").split(" | ").collect();
        if cells[0] == head {
            tables += 1;
            inside = true;
        } else if inside {
            rows.push(cells);
        }
    }
    (tables, rows)
}

/// What stands between backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files that may hold the test of this path: one of the integration tests, or one beside the
/// source.
fn candidates(module: &str) -> Vec<PathBuf> {
    let path = module.replace("::", "/");
    let beside = path.strip_suffix("/tests").unwrap_or_default();
    [
        format!("tests/{path}.rs"),
        format!("src/{path}.rs"),
        format!("src/{beside}.rs"),
        format!("src/{beside}/mod.rs"),
    ]
    .iter()
    .map(|file| root().join(file))
    .collect()
}

/// Whether the text has a function of this name with `#[test]` above it.
fn has_test(text: &str, name: &str) -> bool {
    let Some((before, _)) = text.split_once(&format!("fn {name}(")) else {
        return false;
    };
    before
        .lines()
        .rev()
        .skip_while(|line| line.trim().is_empty())
        .map(str::trim)
        .take_while(|line| line.starts_with("#[") || line.starts_with("//"))
        .any(|line| line == "#[test]")
}

fn exists(test: &str) -> bool {
    let Some((module, name)) = test.rsplit_once("::") else {
        return false;
    };
    candidates(module)
        .into_iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .any(|text| has_test(&text, name))
}

#[test]
fn every_promise_of_the_threat_model_is_held_by_tests_that_exist() {
    let (tables, promises) = tables(THREAT_MODEL, "promised");
    assert_eq!(tables, THREAT_MODEL.matches("| promised |").count());
    assert!(tables >= 5 && promises.len() >= 30, "{promises:?}");
    for promise in promises {
        let [promised, held_by] = promise[..] else {
            panic!("{promise:?} has not two cells");
        };
        let tests = quoted(held_by);
        assert!(!tests.is_empty(), "no test holds: {promised}");
    }
    let paths = THREAT_MODEL.lines().flat_map(quoted);
    for test in paths.filter(|text| text.contains("::")) {
        assert!(exists(test), "there is no test {test}");
    }
}

#[test]
fn a_test_that_is_not_there_is_not_found() {
    assert!(exists("documents::a_test_that_is_not_there_is_not_found"));
    assert!(exists("sanitize::tests::bounds_the_length"));
    assert!(exists("client::spool::tests::counters_stay"));
    assert!(!exists("documents::exists"), "no test");
    assert!(!exists("documents::no_such_test"));
    assert!(!exists("nowhere::a_test_that_is_not_there_is_not_found"));
}

/// The text of all of src, as messages are written: lines that go on are joined, and what is filled
/// in shows as `…`.
fn messages() -> String {
    let mut text = String::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                text += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let mut joined = String::new();
    for part in text.split("\\\n") {
        joined += part.trim_start();
    }
    let mut messages = String::new();
    let mut rest = joined.as_str();
    while let Some((before, after)) = rest.split_once('{') {
        messages += before;
        match after.split_once('}') {
            Some((filled_in, behind)) if !filled_in.contains(['\n', '{']) => {
                messages.push('…');
                rest = behind;
            }
            _ => rest = after,
        }
    }
    messages + rest
}

#[test]
fn every_line_that_the_operator_is_told_to_watch_is_one_that_is_written() {
    let (_, lines) = tables(OPERATIONS, "line");
    let (_, disks) = tables(OPERATIONS, "what is full");
    assert!(lines.len() >= 20 && disks.len() >= 5, "{lines:?} {disks:?}");
    let cells = lines
        .iter()
        .map(|row| row[0])
        .chain(disks.iter().map(|row| row[2]));
    let messages = messages();
    for text in cells.flat_map(quoted) {
        assert!(messages.contains(text), "nobody writes: {text}");
    }
}
