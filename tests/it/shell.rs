//! Completion scripts and manual pages.

use crate::process::{Place, assert_code, lines, told};

#[test]
fn completions_and_manual_pages_name_what_there_is() {
    let place = Place::new();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = place.run(&["completions", shell]);
        assert_code(&output, 0);
        assert!(lines(&output).join("\n").contains("max-links"), "{shell}");
    }
    let page = |args: &[&str]| {
        let output = place.run(args);
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
fn an_unknown_shell_or_command_is_a_usage_error_that_lists_what_there_is() {
    let place = Place::new();
    let cases: [(&[&str], &str); 3] = [
        (&["completions", "dos"], "zsh"),
        (&["man", "wget"], "search"),
        (&["man", "run", "faster"], "no commands of its own"),
    ];
    for (args, expected) in cases {
        let output = place.run(args);
        assert_code(&output, 2);
        assert!(told(&output).contains(expected), "{args:?}: {}", told(&output));
    }
}

#[test]
fn options_that_make_no_sense_are_explained() {
    let place = Place::new();
    let cases: [(&[&str], &str); 6] = [
        (&["--exclude", "a[", "--include", "*.ogg"], "\"a[\""),
        (&["--include", "{a"], "\"{a\""),
        (&["--max-files", "0"], "--share"),
        (&["--upload-limit", "0"], "no limit"),
        (&["--upload-limit", "fast"], "500k"),
        (&["--upload-limit", "5KiB"], "500k"),
    ];
    for (args, expected) in cases {
        let output = place.run(&[&["run"], args].concat());
        assert_code(&output, 2);
        assert!(told(&output).contains(expected), "{args:?}: {}", told(&output));
    }
    let output = place.command().arg("run").env("SERVENT_UPLOAD_LIMIT", "fast").output().unwrap();
    assert_code(&output, 2);
    assert!(told(&output).contains("\"fast\""), "{}", told(&output));
}
