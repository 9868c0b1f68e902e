//! Every code has a page of the common form, and every page a code.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use dmac_source::Code;

#[test]
fn pages_have_the_common_form() {
    for code in Code::ALL {
        let page = code.page();
        let title = format!("# {code}: {}", code.title());
        assert_eq!(page.lines().next(), Some(title.as_str()), "the first line of the page of {code}");
        let headed = |line: &str, word: &str| line.strip_prefix("## ").unwrap_or(line).starts_with(word);
        let place = |word: &str| page.lines().position(|line| headed(line, word));
        // What a target, an input or a device cannot do has no program that is wrong.
        let about_text = !["E05", "E06", "E08"].iter().any(|group| code.as_str().starts_with(group));
        let wanted: &[&str] = if about_text { &["Wrong", "Right", "Why"] } else { &["Why"] };
        let parts: Vec<_> = wanted.iter().map(|word| place(word)).collect();
        assert!(
            parts.is_sorted() && parts[0].is_some(),
            "the page of {code} lacks {wanted:?}, in this order"
        );
        let introduction = page[title.len()..].trim_start();
        assert!(!introduction.starts_with('#'), "the page of {code} does not say what the code means");
    }
}

#[test]
fn pages_and_codes_are_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../dsl/errors");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let codes: BTreeSet<String> = Code::ALL.iter().map(|code| format!("{code}.md")).collect();
    assert_eq!(files.collect::<BTreeSet<_>>(), codes);
}

#[test]
fn the_table_is_in_order_and_codes_read_back() {
    let written: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert!(written.is_sorted_by(|a, b| a < b), "{written:?}");
    for code in Code::ALL {
        assert_eq!(Code::parse(code.as_str()), Some(*code));
        assert_eq!(Code::parse(&code.as_str().to_lowercase()), Some(*code));
    }
    assert_eq!(Code::parse("E9999"), None);
}
