//! Values of options: each type has one rule, for flags, variables and files alike.
//!
//! What a type takes as text is its `FromStr`, which `clap` uses; what it takes in TOML is its
//! `Deserialize`.

use clap::ValueEnum;
use serde::{Deserialize, Deserializer};
use std::str::FromStr;
use std::time::Duration;

const DAY_SECONDS: f64 = 86_400.0;

/// Which hits of a search to download.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum GetMode {
    /// The first that can be had
    First,
    /// Every hit
    All,
}

/// A time with its unit, at most a day: `50ms`, `0.2s`, `10m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Delay(pub(super) Duration);

impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Delay, String> {
        let units = [("ms", 1e-3), ("s", 1.0), ("m", 60.0)];
        let found = units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)));
        let seconds = found.and_then(|(number, scale)| Some(number.parse::<f64>().ok()? * scale));
        match seconds {
            Some(seconds) if (0.0..=DAY_SECONDS).contains(&seconds) => {
                Ok(Delay(Duration::from_secs_f64(seconds)))
            }
            _ => Err("give a time such as 50ms, 0.2s or 10m, at most a day".to_owned()),
        }
    }
}

impl TryFrom<String> for Delay {
    type Error = String;

    fn try_from(text: String) -> Result<Delay, String> {
        text.parse()
    }
}

/// A number of seconds, fractions allowed, at most a day.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.0..=DAY_SECONDS).contains(&seconds) => {
            Ok(Duration::from_secs_f64(seconds))
        }
        _ => Err("give a number of seconds from 0 to 86400".to_owned()),
    }
}

/// A number from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub(super) struct Probability(pub(super) f64);

impl FromStr for Probability {
    type Err = String;

    fn from_str(text: &str) -> Result<Probability, String> {
        // What is no number is no probability either.
        text.parse().unwrap_or(f64::NAN).try_into().map_err(|_| not_a_probability(text))
    }
}

impl TryFrom<f64> for Probability {
    type Error = String;

    fn try_from(number: f64) -> Result<Probability, String> {
        let fits = (0.0..=1.0).contains(&number);
        fits.then_some(Probability(number)).ok_or_else(|| not_a_probability(&number.to_string()))
    }
}

fn not_a_probability(text: &str) -> String {
    format!("{text} is not a probability from 0 to 1")
}

/// A TTL that the protocol allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub(super) struct Ttl(pub(super) u8);

impl FromStr for Ttl {
    type Err = String;

    fn from_str(text: &str) -> Result<Ttl, String> {
        text.parse::<u8>().map_err(|_| not_a_ttl(text))?.try_into()
    }
}

impl TryFrom<u8> for Ttl {
    type Error = String;

    fn try_from(ttl: u8) -> Result<Ttl, String> {
        let fits = (1..=15).contains(&ttl);
        fits.then_some(Ttl(ttl)).ok_or_else(|| not_a_ttl(&ttl.to_string()))
    }
}

fn not_a_ttl(text: &str) -> String {
    format!("{text} is not a TTL from 1 to 15")
}

/// A number of bytes, at least 1. In a file it may be a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "NumberOrText")]
pub(super) struct Bytes(pub(super) u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Bytes, String> {
        amount(text).filter(|&bytes| bytes > 0).map(Bytes).ok_or_else(|| {
            format!("\"{text}\" is not a number of bytes such as 2000, 500k or 2.5M")
        })
    }
}

impl TryFrom<NumberOrText> for Bytes {
    type Error = String;

    fn try_from(from: NumberOrText) -> Result<Bytes, String> {
        from.text().parse()
    }
}

/// Reads an amount such as `2000`, `500k` or `2.5M`; the letters stand for powers of 1000.
pub(super) fn amount(text: &str) -> Option<u64> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 3),
        Some((at, 'M')) => (&text[..at], 6),
        Some((at, 'G')) => (&text[..at], 9),
        _ => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || number.ends_with('.') {
        return None;
    }
    // As many decimals as the unit has zeros; more would be less than a byte.
    let decimals: String = fraction.chars().chain(std::iter::repeat('0')).take(unit).collect();
    format!("{whole}{decimals}").parse().ok()
}

/// Text that may be written as a plain number in a file: the name of a node, a rate.
pub(super) fn number_or_text<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: From<String>,
{
    NumberOrText::deserialize(from).map(|given| given.text().into())
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number or text")]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl NumberOrText {
    fn text(self) -> String {
        match self {
            NumberOrText::Number(number) => number.to_string(),
            NumberOrText::Text(text) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_in_powers_of_1000() {
        for (text, bytes) in
            [("1", 1), ("2000", 2000), ("500k", 500_000), ("2.5M", 2_500_000), ("1.2345k", 1234)]
        {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for wrong in ["", "k", ".5M", "1.M", "-1", "1e3", "5 M", "1m", "1kB", "99999999999G", "inf"]
        {
            assert!(wrong.parse::<Bytes>().unwrap_err().contains("2.5M"), "{wrong}");
        }
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for wrong in ["-0.1", "1.1", "half", "NaN"] {
            assert!(wrong.parse::<Probability>().unwrap_err().contains(wrong), "{wrong}");
        }
        for wrong in ["0", "16", "256", "-1", "x"] {
            assert!(wrong.parse::<Ttl>().unwrap_err().contains("1 to 15"), "{wrong}");
        }
        for wrong in ["50", "-1s", "25h", "1441m"] {
            assert!(wrong.parse::<Delay>().unwrap_err().contains("50ms"), "{wrong}");
        }
    }
}
