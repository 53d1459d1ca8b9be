//! The README: its commands work, word for word, on a fresh account.

use crate::process::{Home, Running};
use std::process::Command;

const README: &str = include_str!("../../README.md");

/// The lines of the fenced blocks of shell commands, without their comments.
fn commands() -> Vec<Vec<String>> {
    let mut blocks = Vec::new();
    let mut fences = README.split("```");
    while let (Some(_), Some(block)) = (fences.next(), fences.next()) {
        let Some(lines) = block.strip_prefix("sh\n") else { continue };
        let command = |line: &str| line.split("  #").next().unwrap_or(line).trim().to_owned();
        blocks.push(lines.lines().map(command).filter(|line| !line.is_empty()).collect());
    }
    blocks
}

#[test]
fn it_begins_with_the_main_job_and_the_tests() {
    let blocks = commands();
    assert_eq!(blocks[0], ["cargo run -- testnet demo"]);
    assert_eq!(blocks[1], ["cargo test"]);
    let lines = README.lines().count();
    assert!(lines <= 150, "{lines} lines");
}

/// Runs a line as a user's shell would, with the program on the path.
fn shell(home: &Home, line: &str) -> Command {
    let program = home.command();
    let folder = std::path::Path::new(program.get_program()).parent().unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    command.args(["-c", line]).current_dir(home.path(".")).env("PATH", path);
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env_remove("XDG_RUNTIME_DIR");
    command
}

#[test]
#[ignore = "listens on ports 6346 and 6347 of 127.0.0.1, as the README does"]
fn every_command_works_on_a_fresh_account() {
    let home = Home::new();
    let mut servents = Vec::new();
    for line in commands().iter().flatten().filter(|line| !line.starts_with("cargo ")) {
        println!("{line}");
        if let Some(run) = line.strip_suffix('&') {
            servents.push(Running::start(shell(&home, &format!("exec {run}"))));
            continue;
        }
        let output = shell(&home, line).output().unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
    }
    assert_eq!(servents.len(), 2);
    assert_eq!(std::fs::read(home.path("in/zebra.txt")).unwrap(), b"black and white\n");

    // The picture, and the command that is said to draw one.
    let (_, rest) = README.split_once("A search as a picture (`").unwrap();
    let (line, _) = rest.split_once('`').unwrap();
    let output = shell(&home, &line.replace('\n', " ")).output().unwrap();
    assert!(output.status.success(), "{line}: {output:?}");
    for picture in [
        std::fs::read_to_string(home.path("search.svg")).unwrap(),
        include_str!("../../examples/search.svg").to_owned(),
    ] {
        assert!(picture.contains("hits returned: "), "{picture}");
        assert!(!picture.contains("hits returned: 0"), "{picture}");
    }
}
