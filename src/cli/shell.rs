//! `servent completions` and `servent man`: scripts and pages made from the description of the options.

use super::args::{Cli, CompletionsArgs, ManArgs};
use super::exit::Failure;
use super::manual;
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

/// Prints the completions for a shell.
pub(super) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "servent", &mut text);
    print(&text)
}

/// Prints a manual page, or writes all of them.
pub(super) fn man(args: &ManArgs) -> Result<(), Failure> {
    let mut command = Cli::command();
    // Gives each command its full name and the global options.
    command.build();
    if let Some(folder) = &args.all {
        return write_all(&command, folder);
    }
    let command = args.command.iter().try_fold(command, |within, name| find(&within, name))?;
    print(&page(command)?)
}

/// The name of a command's page: a page is found by one word, as in `man servent-run`.
fn page_name(command: &Command) -> String {
    command.get_bin_name().unwrap_or("servent").replace(' ', "-")
}

fn page(command: Command) -> Result<Vec<u8>, Failure> {
    let name = page_name(&command);
    let sections = manual::sections(&name);
    let man = Man::new(command)
        .title(name.to_uppercase())
        .source(concat!("servent ", env!("CARGO_PKG_VERSION")))
        .manual("Gnutella");
    let mut text = Vec::new();
    man.render(&mut text).map_err(|error| Failure::of_output(&error))?;
    Ok(with_sections(text, &sections))
}

/// Writes the pages of a command and of all below it into a folder.
fn write_all(command: &Command, folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| cannot_write(folder, &error))?;
    let path = folder.join(format!("{}.1", page_name(command)));
    fs::write(&path, page(command.clone())?).map_err(|error| cannot_write(&path, &error))?;
    let below = command.get_subcommands().filter(|command| command.get_name() != "help");
    below.into_iter().try_for_each(|command| write_all(command, folder))
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::disk(format!("cannot write {}: {error}", path.display()))
}

/// Inserts sections before the last one, on versions.
fn with_sections(page: Vec<u8>, sections: &str) -> Vec<u8> {
    let end = memchr::memmem::rfind(&page, b".SH VERSION").unwrap_or(page.len());
    [&page[..end], sections.as_bytes(), &page[end..]].concat()
}

fn find(within: &Command, name: &str) -> Result<Command, Failure> {
    let found = within.find_subcommand(name).filter(|command| command.get_name() != "help");
    found.cloned().ok_or_else(|| {
        let names = within.get_subcommands().map(Command::get_name).filter(|&name| name != "help");
        let names = names.collect::<Vec<_>>().join(", ");
        let of = within.get_bin_name().unwrap_or("servent");
        Failure::usage(match names.is_empty() {
            true => format!("{of} has no commands of its own, \"{name}\" was given"),
            false => format!("{of} has the commands {names}; \"{name}\" was given"),
        })
    })
}

fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush()).map_err(|error| Failure::of_output(&error))
}
