//! `servent ctl`: calls any method of a running servent.

use super::exit::Failure;
use super::finding;
use super::interrupt::StopFlag;
use super::output;
use super::steer_args::CtlArgs;
use serde_json::{Value, json};
use std::time::Duration;

/// Longest wait for a result: a search or a ping may be told to wait for a day.
const LONGEST: Duration = Duration::from_secs(2 * 86_400);

pub(super) fn run(args: &CtlArgs) -> Result<(), Failure> {
    let params = params(args.params.as_deref())?;
    let mut client = finding::find_running(&args.steer)?;
    let stop = StopFlag::new()?;
    if args.method == "subscribe" {
        let subscribed = client.call(&args.method, &params)?;
        output::json(&subscribed)?;
        return client.listen(|said| print(said, &stop));
    }
    let wait = match args.method.as_str() {
        "search" | "ping" => LONGEST,
        _ => Duration::ZERO,
    };
    let result = client.follow(&args.method, &params, wait, |said| print(said, &stop))?;
    match result {
        Some(result) => output::json(&result),
        None => Err(Failure::interrupted("interrupted")),
    }
}

/// Prints a notification; `false` after an interrupt.
fn print(said: Option<(&str, Value)>, stop: &StopFlag) -> Result<bool, Failure> {
    if let Some((method, params)) = said {
        output::json(&json!({"method": method, "params": params}))?;
    }
    Ok(!stop.is_set())
}

fn params(text: Option<&str>) -> Result<Value, Failure> {
    let Some(text) = text else { return Ok(json!({})) };
    match serde_json::from_str(text) {
        Ok(Value::Object(params)) => Ok(Value::Object(params)),
        Ok(_) => Err(Failure::usage(format!(
            "arguments have names: give a JSON object such as {{\"id\":3}}, not {text}"
        ))),
        Err(error) => Err(Failure::usage(format!("the arguments are not JSON: {error}: {text}"))),
    }
}
