//! One file a pass over the graph, and the pipeline that orders them.
