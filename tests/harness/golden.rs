//! Files under tests/data that hold what users and other programs rely on, so that a change of a
//! format shows as a change of a file.

use std::path::Path;

/// Compares what was found with the file of this name under tests/data. With `VFT_RENEW_GOLDEN=1`
/// in the environment the file is written anew instead.
pub fn assert_golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name);
    if std::env::var_os("VFT_RENEW_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let ruler = "-".repeat(72);
    assert!(
        expected == found,
        "tests/data/{name} is not what came out.\n\
         {ruler} the file\n{expected}{ruler} what came out\n{found}{ruler}\n\
         If the change is meant, renew the file with `VFT_RENEW_GOLDEN=1 cargo test golden`, and \
         tell users of it in the change log."
    );
}
