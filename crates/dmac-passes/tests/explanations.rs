//! What users are told about the library's programs, and about programs of every form of mask.

#[path = "programs/text.rs"]
mod text;

use dmac_passes::explain::explain;
use std::fmt::Write as _;

#[test]
fn explanations_of_the_library() {
    let mut all = String::new();
    for (name, program) in [text::files("dsl/std"), text::files("crates/dmac-sema/tests/programs")].concat() {
        let _ = writeln!(all, "# {name}\n{}", explain(&text::graph(&program)));
    }
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("explanations", all);
    });
}
