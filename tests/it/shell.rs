//! Completion scripts and manual pages.

use crate::process::{Home, assert_code, lines, names_in, stderr};

#[test]
fn completions_and_manual_pages_name_all_options() {
    let home = Home::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = home.run(&["completions", shell]);
        assert_code(&output, 0);
        assert!(lines(&output).join("\n").contains("max-links"), "{shell}");
    }
    let page = |args: &[&str]| {
        let output = home.run(args);
        assert_code(&output, 0);
        lines(&output).join("\n")
    };
    let main = page(&["man"]);
    assert!(main.contains("servent\\-run") && main.contains(".TH SERVENT "), "{main}");
    let run = page(&["man", "run"]);
    for part in [".TH SERVENT-RUN ", "upload\\-limit", "SERVENT_UPLOAD_LIMIT", "servent.toml"] {
        assert!(run.contains(part), "{part} is missing in {run}");
    }
    assert!(page(&["man", "testnet", "demo"]).contains("nodes"));
}

#[test]
fn manual_pages_have_exit_status_files_signals_and_examples() {
    let home = Home::new();
    let sections = |args: &[&str]| {
        let output = home.run(&[&["man"], args].concat());
        assert_code(&output, 0);
        let lines = lines(&output);
        let titles = lines.iter().filter_map(|line| line.strip_prefix(".SH "));
        titles.map(|title| title.trim_matches('"').to_owned()).collect::<Vec<_>>()
    };
    for command in ["run", "search", "get", "testnet"] {
        let found = sections(&[command]);
        let wanted = ["EXIT STATUS", "FILES", "SIGNALS", "EXAMPLES"];
        let own: Vec<&String> = found.iter().filter(|it| wanted.contains(&it.as_str())).collect();
        assert_eq!(own, wanted, "{command}: {found:?}");
        assert!(!found.contains(&"VERSION".to_owned()) || found.ends_with(&["VERSION".to_owned()]));
    }
    for command in [&["ping"][..], &["decode"], &["sim"], &[]] {
        let found = sections(command);
        assert!(found.contains(&"EXIT STATUS".to_owned()), "{command:?}: {found:?}");
        assert!(found.contains(&"EXAMPLES".to_owned()), "{command:?}: {found:?}");
    }
    assert!(sections(&["testnet", "up"]).contains(&"EXIT STATUS".to_owned()));
}

#[test]
fn an_unknown_shell_or_command_is_a_usage_error_that_lists_what_there_is() {
    let home = Home::new();
    let cases: [(&[&str], &str); 3] = [
        (&["completions", "dos"], "zsh"),
        (&["man", "wget"], "search"),
        (&["man", "run", "faster"], "no commands of its own"),
    ];
    for (args, expected) in cases {
        let output = home.run(args);
        assert_code(&output, 2);
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn options_that_make_no_sense_are_explained() {
    let home = Home::new();
    let cases: [(&[&str], &str); 6] = [
        (&["--exclude", "a[", "--include", "*.ogg"], "\"a[\""),
        (&["--include", "{a"], "\"{a\""),
        (&["--max-files", "0"], "--share"),
        (&["--upload-limit", "0"], "no limit"),
        (&["--upload-limit", "fast"], "500k"),
        (&["--upload-limit", "5KiB"], "500k"),
    ];
    for (args, expected) in cases {
        let output = home.run(&[&["run"], args].concat());
        assert_code(&output, 2);
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
    }
    let output = home.command().arg("run").env("SERVENT_UPLOAD_LIMIT", "fast").output().unwrap();
    assert_code(&output, 2);
    assert!(stderr(&output).contains("\"fast\""), "{}", stderr(&output));
}

#[test]
fn all_manual_pages_are_written_at_once() {
    let home = Home::new();
    assert_code(&home.run(&["man", "--all", "pages/man1"]), 0);
    let pages = names_in(&home.path("pages/man1"));
    for page in ["servent.1", "servent-run.1", "servent-testnet-watch.1", "servent-ctl.1"] {
        assert!(pages.contains(&page.to_owned()), "{page} is missing in {pages:?}");
    }
    assert!(!pages.iter().any(|page| page.contains("help")), "{pages:?}");
    let status = std::fs::read_to_string(home.path("pages/man1/servent-status.1")).unwrap();
    for part in [".TH SERVENT-STATUS", "EXIT STATUS", ".sock", "EXAMPLES"] {
        assert!(status.contains(part), "{part} is missing in {status}");
    }
    let output = home.run(&["man", "--all", "pages/man1/servent.1/x"]);
    assert_code(&output, 8);
}
