//! How the program ends: an exit code for programs, one sentence for people.

use crate::daemon::exit_code;
use crate::transfer::download::DownloadError;
use std::io::{self, ErrorKind};

/// A failed command: its exit code and its message.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    text: String,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        impl Failure {
            $($(#[$doc])* pub fn $name(text: impl Into<String>) -> Failure {
                Failure { code: $code, text: text.into() }
            })*
        }
    };
}

codes! {
    /// Something else failed.
    failed = 1;
    /// Wrong arguments.
    usage = 2;
    /// A search found nothing.
    nothing_found = 3;
    /// No answer in time.
    no_answer = 4;
    /// Connection refused, or nothing to connect to.
    not_connected = 5;
    /// The servent answered and refused, most likely because it is full.
    refused = 6;
    /// A file has another size than announced.
    size_mismatch = 7;
    /// A local file or folder cannot be read or written.
    disk = 8;
    /// A one-shot command was interrupted before it had any result.
    interrupted = 130;
}

impl Failure {
    /// A failure with the code that a running servent has told.
    pub fn with_code(code: u8, text: impl Into<String>) -> Failure {
        Failure { code, text: text.into() }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        self.code
    }

    /// The same code with another message.
    pub fn with_text(self, text: String) -> Failure {
        Failure { text, ..self }
    }

    /// The message; may be empty.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the user stopped the command.
    pub fn is_interrupt(&self) -> bool {
        self.code == 130
    }

    /// The failure of a write to stdout. A reader that closed its end (`| head`) is no failure.
    pub fn of_output(error: &io::Error) -> Failure {
        match error.kind() {
            ErrorKind::BrokenPipe => Failure { code: 0, text: String::new() },
            _ => Failure::failed(format!("cannot write the output: {error}")),
        }
    }

    /// The code that fits a failed download.
    pub fn of_download(error: &DownloadError, text: String) -> Failure {
        Failure { code: exit_code(error), text }
    }
}
