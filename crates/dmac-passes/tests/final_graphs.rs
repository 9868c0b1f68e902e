//! Whole programs before the first and after the last pass.

#[path = "programs/attention.rs"]
mod attention;

use dmac_passes::run_pipeline;

#[test]
fn final_graphs() {
    for mut graph in [
        attention::causal(),
        attention::sliding_window(),
        attention::document(),
        attention::dma(),
        attention::indexed(),
        attention::blocks(),
    ] {
        run_pipeline(&mut graph, &mut |_, _| {});
        insta::assert_snapshot!(graph.name.clone(), graph.to_string());
    }
}
