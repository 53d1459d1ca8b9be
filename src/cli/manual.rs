//! Sections of manual pages beside the options: exit status, files, signals and examples.

use std::fmt::Write;

/// The sections of one page.
struct Page {
    /// The name of the page; `servent` serves commands without one of their own.
    name: &'static str,
    exit: &'static [u8],
    files: &'static [(&'static str, &'static str)],
    signals: &'static [(&'static str, &'static str)],
    examples: &'static [(&'static str, &'static str)],
}

const EXIT_CODES: [(u8, &str); 10] = [
    (0, "Done. Also a run that was stopped by a signal, and a search cut short after hits."),
    (1, "Failed."),
    (2, "Wrong arguments."),
    (3, "Nothing found."),
    (4, "No answer in time."),
    (5, "Connection refused, or nothing to connect to."),
    (6, "Refused by the servent, most likely because it is full."),
    (7, "A file has another size than announced."),
    (8, "The disk: a file or folder cannot be read or written."),
    (130, "Interrupted before there was any result."),
];

const SETTINGS: (&str, &str) = (
    "$XDG_CONFIG_HOME/servent/servent.toml",
    "Settings of run, by the long names of its options; ~/.config where the variable is not set. \
     search joins through the servent that listens where it says.",
);
const STATE: (&str, &str) = (
    "$XDG_STATE_HOME/servent/ADDR-PORT/",
    "The identity of a servent and the hosts it knows; ~/.local/state where the variable is not set. \
     Locked while in use.",
);
const NETWORK: (&str, &str) = (
    "$XDG_RUNTIME_DIR/servent-testnet/",
    "A test network: its processes' logs, events and files; $XDG_STATE_HOME/servent/testnet where \
     the variable is not set. SERVENT_TESTNET_DIR or --dir name another. Removed by down.",
);
const PARTIAL: (&str, &str) = (
    "NAME.SIZE.part, NAME.SIZE.part.source",
    "The kept part of an interrupted download, and where its bytes come from, in the folder of \
     --output; the same command resumes it.",
);
const CONTROL: (&str, &str) = (
    "$XDG_RUNTIME_DIR/servent/ADDR-PORT.sock",
    "The control socket of a running servent, for its user alone; in its folder of state where the \
     variable is not set. A socket that nobody answers is no running servent.",
);
const LAST_SEARCH: (&str, &str) = (
    "$XDG_STATE_HOME/servent/last-search",
    "The hits of the last search that printed text, for 'servent get NUMBER': one JSON object a line.",
);
const STOP: (&str, &str) = ("INT, TERM", "Stops.");
const STOP_DOWNLOADS: (&str, &str) =
    ("INT, TERM", "Stops; partial downloads are kept, and the same command resumes them.");

const PAGES: [Page; 16] = [
    Page {
        name: "servent",
        exit: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 130],
        files: &[SETTINGS, STATE, CONTROL, LAST_SEARCH, NETWORK],
        signals: &[],
        examples: &[
            ("servent testnet demo", "Show everything on this machine, with nothing to prepare."),
            ("servent run --share ~/pub", "Share a folder."),
            ("servent search zebra", "Search through the servent of this machine."),
        ],
    },
    Page {
        name: "servent-run",
        exit: &[0, 1, 2, 8],
        files: &[SETTINGS, STATE, CONTROL],
        signals: &[
            ("INT, TERM", "Stops; the known hosts are saved."),
            (
                "HUP",
                "Scans the shared folders. Once the terminal it was started on is gone, stops \
                 instead, unless HUP was ignored at the start, as under nohup(1).",
            ),
            ("USR1", "Logs the status line."),
        ],
        examples: &[
            ("servent run --share ~/pub --share ~/music", "Share two folders."),
            (
                "servent run --listen 0.0.0.0:6346 --connect gnutella.example.net",
                "Join a network through a host, reachable by other machines.",
            ),
            ("nohup servent run --share ~/pub &", "Keep running when the terminal is closed."),
        ],
    },
    Page {
        name: "servent-search",
        exit: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 130],
        files: &[SETTINGS, STATE, CONTROL, LAST_SEARCH, PARTIAL],
        signals: &[STOP_DOWNLOADS],
        examples: &[
            ("servent search striped zebra", "Print hits until no more come."),
            ("servent search --wait 30 --json zebra", "Wait for half a minute, one object a line."),
            (
                "servent search --get first --output ~/in zebra",
                "Download the first file that can be had.",
            ),
        ],
    },
    Page {
        name: "servent-get",
        exit: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 130],
        files: &[SETTINGS, CONTROL, LAST_SEARCH, PARTIAL],
        signals: &[STOP_DOWNLOADS],
        examples: &[
            ("servent get 3", "Download the third file of the last search, from all its sources."),
            ("servent get --queue 3", "Leave it to the running servent, and return at once."),
            (
                "servent get http://127.0.0.1:6346/get/1/zebra.flac",
                "Download a file by the URL that a search printed.",
            ),
            (
                "servent get --retry 3600 -o film.mkv http://127.0.0.1:6346/get/2/x.mkv",
                "Try a busy source for an hour, and save under another name.",
            ),
        ],
    },
    Page {
        name: "servent-ping",
        exit: &[0, 1, 2, 4, 5, 6, 130],
        files: &[],
        signals: &[STOP],
        examples: &[("servent ping --ttl 1 127.0.0.1", "Ping only the servent itself.")],
    },
    Page {
        name: "servent-status",
        exit: &[0, 1, 2, 4, 5],
        files: &[SETTINGS, CONTROL],
        signals: &[("INT, TERM", "Leaves --watch.")],
        examples: &[
            ("servent status", "One screen about the running servent."),
            ("servent status --watch", "The same, live; q leaves."),
            (
                "servent status --json --servent 127.0.0.1:6347",
                "One JSON object about one of several.",
            ),
        ],
    },
    Page {
        name: "servent-links",
        exit: &[0, 1, 2, 4, 5],
        files: &[SETTINGS, CONTROL],
        signals: &[],
        examples: &[("servent links --json", "The links as a JSON array.")],
    },
    Page {
        name: "servent-transfers",
        exit: &[0, 1, 2, 4, 5],
        files: &[SETTINGS, CONTROL],
        signals: &[],
        examples: &[("servent transfers", "Uploads and downloads, with bars.")],
    },
    Page {
        name: "servent-downloads",
        exit: &[0, 1, 2, 4, 5],
        files: &[SETTINGS, CONTROL],
        signals: &[],
        examples: &[
            ("servent downloads", "The downloads with their numbers."),
            ("servent downloads pause 3 4", "Hold two of them."),
            ("servent downloads retry 5", "Try one again that has failed."),
        ],
    },
    Page {
        name: "servent-shares",
        exit: &[0, 1, 2, 4, 5],
        files: &[SETTINGS, CONTROL],
        signals: &[],
        examples: &[("servent shares", "The shared folders, and how many files each has.")],
    },
    Page {
        name: "servent-ctl",
        exit: &[0, 1, 2, 4, 5, 130],
        files: &[SETTINGS, CONTROL],
        signals: &[("INT, TERM", "Ends the request.")],
        examples: &[
            ("servent ctl rpc.discover", "Describe all methods, as OpenRPC."),
            ("servent ctl connect '{\"addr\":\"192.0.2.7:6346\"}'", "Keep a link with a servent."),
            (
                "servent ctl set '{\"upload_limit\":500000}'",
                "Change a setting until the next start.",
            ),
            (
                "servent ctl subscribe '{\"events\":[\"links\",\"searches\"]}'",
                "Print what happens, one line each.",
            ),
        ],
    },
    Page {
        name: "servent-decode",
        exit: &[0, 1, 2, 8],
        files: &[],
        signals: &[],
        examples: &[
            (
                "servent decode capture.pcapng",
                "Explain the Gnutella descriptors in a packet capture.",
            ),
            ("xxd -p descriptors | servent decode", "Explain descriptors given in hex."),
        ],
    },
    Page {
        name: "servent-sim",
        exit: &[0, 1, 2, 8],
        files: &[],
        signals: &[],
        examples: &[
            (
                "servent sim --nodes 10000 --topology regular:4",
                "Ten searches in a network of ten thousand servents.",
            ),
            ("servent sim --nodes 24 --queries 1 --svg search.svg", "Draw one search."),
            (
                "servent sim --nodes 24 --queries 1 --html search.html",
                "Write a page that replays one search.",
            ),
        ],
    },
    Page {
        name: "servent-lab",
        exit: &[0, 1, 2, 8],
        files: &[],
        signals: &[],
        examples: &[
            (
                "servent lab --nodes 1000 --failures none,index",
                "Compare all systems at one size, before and after the busiest node dies.",
            ),
            ("servent lab --svg pictures", "Compare them at three sizes, and draw the table."),
            ("servent lab --plan office.toml", "Compare them on the nodes and files of a plan."),
        ],
    },
    Page {
        name: "servent-testnet-watch",
        exit: &[0, 1, 2, 5],
        files: &[NETWORK],
        signals: &[("INT, TERM", "Leaves.")],
        examples: &[("servent testnet watch", "The nodes of the network, live; q leaves.")],
    },
    Page {
        name: "servent-testnet",
        exit: &[0, 1, 2, 3, 4, 5, 6, 7, 8, 130],
        files: &[NETWORK],
        signals: &[(
            "INT, TERM",
            "Stop the command. demo and up --foreground stop their network first.",
        )],
        examples: &[
            ("servent testnet up --nodes 50 --topology regular:4", "Start a network."),
            ("servent testnet up --http 127.0.0.1:8080", "Show the running network on a page."),
            ("servent testnet files 3", "List files to search for."),
            ("servent testnet watch", "Watch nodes and links come and go; q leaves."),
            ("servent testnet trace 0 zebra --svg search.svg", "Trace one search."),
            ("servent testnet down", "Stop it."),
        ],
    },
];

/// The sections of the page called `name`, in roff; empty for pages that have none of their own.
pub(super) fn sections(name: &str) -> String {
    // Subcommands share exit status and files of their parent.
    let own = PAGES.iter().find(|page| page.name == name);
    let parent = PAGES
        .iter()
        .skip(1)
        .find(|page| name.strip_prefix(page.name).is_some_and(|rest| rest.starts_with('-')));
    let mut out = String::new();
    let Some(page) = own.or(parent) else { return out };
    let codes = EXIT_CODES.iter().filter(|(code, _)| page.exit.contains(code));
    let codes: Vec<(String, &str)> = codes.map(|(code, what)| (code.to_string(), *what)).collect();
    section(&mut out, "EXIT STATUS", codes.iter().map(|(code, what)| (code.as_str(), *what)));
    section(&mut out, "FILES", page.files.iter().copied());
    section(&mut out, "SIGNALS", page.signals.iter().copied());
    if own.is_some() {
        section(&mut out, "EXAMPLES", page.examples.iter().copied());
    }
    out
}

fn section<'a>(out: &mut String, title: &str, entries: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        return;
    }
    let _ = writeln!(out, ".SH \"{title}\"");
    for (term, what) in entries {
        let _ = writeln!(out, ".TP\n\\fB{}\\fR\n{}", escaped(term), escaped(what));
    }
}

/// Text as roff takes it: hyphens stay hyphens, and no line begins with a command.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
