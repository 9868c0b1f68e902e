//! The final graphs of the library of programs.

#[path = "programs/text.rs"]
mod text;

use dmac_passes::run_pipeline;

#[test]
fn final_graphs_of_the_library() {
    for (name, program) in text::files("dsl/std") {
        let mut graph = text::graph(&program);
        run_pipeline(&mut graph, &mut |_, _| {});
        insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true, snapshot_path => "snapshots/library" }, {
            insta::assert_snapshot!(name, graph.to_string());
        });
    }
}
