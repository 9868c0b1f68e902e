//! Project tasks: `cargo xtask TASK`.

mod assemble;
mod bless;

use clap::{Parser, Subcommand};

/// Tasks of the project that are not part of the product.
#[derive(Parser)]
#[command(name = "xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run the real ptxas over emitted PTX and fail on errors, spills, stack use and serialised products.
    Assemble(assemble::Args),
    /// Write the snapshots and the generated pages anew, from what the code gives now.
    Bless(bless::Args),
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::Assemble(args) => assemble::run(&args),
        Task::Bless(args) => bless::run(&args),
    }
}
