//! The command line: arguments in; lines for people or JSON, and an exit code, out. No protocol logic.
//!
//! | file | has |
//! |---|---|
//! | `args` `plan_args` `steer_args` `testnet_args` | the options, each described once: flag, variable and key of a file |
//! | `values` | how a value of an option is read |
//! | `settings` `plan` | options and files to checked settings |
//! | `run` `search` `get` `ping` `status` `downloads` `ctl` `decode` `sim` `lab` `testnet` `shell` | the commands |
//! | `finding` `oneshot` `fetch` `interrupt` | what commands share: the running servent, a guest servent, downloads |
//! | `hits` `last_search` | hits by file, and the last ones for `get` |
//! | `output` `progress` `screen` `event_log` `scan_log` `exit` | lines, bars, live screens, logs, exit codes |

mod args;
mod ctl;
mod decode;
mod downloads;
mod exit;
mod fetch;
mod finding;
mod get;
mod hits;
mod interrupt;
mod lab;
mod last_search;
mod limits;
mod logging;
mod manual;
mod oneshot;
mod output;
mod ping;
mod plan;
mod plan_args;
mod progress;
mod run;
mod screen;
mod search;
mod settings;
mod shell;
mod show;
mod sim;
mod status;
mod steer_args;
mod testnet;
mod testnet_args;
mod values;

pub use exit::Failure;

use args::{Cli, Command};
use clap::{ArgMatches, CommandFactory, FromArgMatches};
use std::io::Write;
use std::process::ExitCode;

/// Runs the program on the process's own arguments.
pub fn main() -> ExitCode {
    let matches = Cli::command().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let given = innermost(&matches);
    logging::start(matches!(cli.command, Command::Run(_)));
    let done = match cli.command {
        Command::Run(_) => run::run(given),
        Command::Search(args) => search::run(args),
        Command::Get(args) => get::run(&args),
        Command::Ping(args) => ping::run(args),
        Command::Status(args) => status::status(&args),
        Command::Links(args) => status::links(&args),
        Command::Transfers(args) => status::transfers(&args),
        Command::Downloads(args) => downloads::run(&args),
        Command::Shares(args) => status::shares(&args),
        Command::Ctl(args) => ctl::run(&args),
        Command::Decode(args) => decode::run(&args),
        Command::Sim(args) => sim::run(args, given),
        Command::Lab(args) => lab::run(&args),
        Command::Testnet(args) => testnet::run(args, given),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text().is_empty() {
                let _ = writeln!(std::io::stderr(), "servent: {}", failure.text());
            }
            ExitCode::from(failure.code())
        }
    }
}

/// The arguments of the innermost command: of `up` in `servent testnet up`.
fn innermost(matches: &ArgMatches) -> &ArgMatches {
    matches.subcommand().map_or(matches, |(_, inner)| innermost(inner))
}
