//! The `nnunet` command line.
//!
//! Arguments and progress bars live here; the work is done by the library crate `nnunet`. Results go to stdout,
//! everything else to stderr. Exit code 0: the work was done; 1: it failed; 2: wrong arguments.

mod args;
mod commands;
mod ui;

use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use ui::Ui;

/// Keeps nothing until a command asks for it.
#[global_allocator]
static ALLOCATOR: nnunet::nn::RecyclingAllocator = nnunet::nn::RecyclingAllocator::new(0);

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ui = Ui::new(cli.global.quiet, cli.global.verbose);
    match commands::run(&cli, ui) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

/// Prints the error and its causes, leaving out causes that the line above already tells.
fn report(error: &anyhow::Error) {
    let mut told = error.to_string();
    eprintln!("error: {told}");
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !told.contains(&cause) {
            eprintln!("  caused by: {cause}");
            told = cause;
        }
    }
}
