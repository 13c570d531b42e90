//! `keep_alive`: how long a model stays loaded without being used.

use std::time::Duration;

use serde_json::Value;

use super::fields::Fields;
use crate::Refused;

const RULE: &str = "must be seconds (300), or a duration such as `5m` or `1h30m`; 0 unloads the model once it is unused, a \
                    negative one keeps it loaded";

/// How long a model stays loaded without being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    /// So long. Zero: it is unloaded as soon as nobody uses it.
    For(Duration),
    /// Until somebody unloads it, or its place is needed.
    Forever,
}

impl KeepAlive {
    /// Whether it means that the model is to go.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::For(Duration::ZERO))
    }
}

/// What a request says of it; `None` if nothing. All else in the request is gone over.
///
/// # Errors
/// It is not a duration, or the request not a JSON object.
pub fn keep_alive(body: &[u8]) -> Result<Option<KeepAlive>, Refused> {
    take(&mut Fields::of_body(body)?)
}

pub(super) fn take(fields: &mut Fields<'_>) -> Result<Option<KeepAlive>, Refused> {
    read(fields.take("keep_alive")?).map_err(|()| fields.wrong("keep_alive", RULE))
}

fn read(value: Option<Value>) -> Result<Option<KeepAlive>, ()> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) => parse(&text).map(Some),
        Some(Value::Number(number)) => seconds(number.as_f64().ok_or(())?).map(Some),
        Some(_) => Err(()),
    }
}

/// A duration as Go writes it: numbers with units, the first perhaps with a sign. A bare number is seconds.
fn parse(text: &str) -> Result<KeepAlive, ()> {
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        return seconds(number);
    }
    let (is_negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut sum = 0.0;
    if rest.is_empty() {
        return Err(());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| ())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        sum += number * seconds_of(&rest[..unit])?;
        rest = &rest[unit..];
    }
    seconds(if is_negative { -sum } else { sum })
}

fn seconds_of(unit: &str) -> Result<f64, ()> {
    Ok(match unit {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(()),
    })
}

fn seconds(seconds: f64) -> Result<KeepAlive, ()> {
    if seconds.is_nan() {
        return Err(());
    }
    if seconds < 0.0 {
        return Ok(KeepAlive::Forever);
    }
    // Longer than any machine lives is for ever.
    Ok(Duration::try_from_secs_f64(seconds).map_or(KeepAlive::Forever, KeepAlive::For))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Option<KeepAlive>) {
        let read = keep_alive(format!(r#"{{ "model": "m", "keep_alive": {value} }}"#).as_bytes());
        assert_eq!(read, Ok(expected), "{value}");
    }

    fn for_millis(millis: u64) -> Option<KeepAlive> {
        Some(KeepAlive::For(Duration::from_millis(millis)))
    }

    #[test]
    fn numbers_are_seconds_and_texts_are_durations() {
        check("300", for_millis(300_000));
        check("1.5", for_millis(1500));
        check("0", for_millis(0));
        check("-1", Some(KeepAlive::Forever));
        check("null", None);
        check(r#""5m""#, for_millis(300_000));
        check(r#""1h30m""#, for_millis(5_400_000));
        check(r#""1.5s""#, for_millis(1500));
        check(r#""250ms""#, for_millis(250));
        check(r#""300""#, for_millis(300_000));
        check(r#""0""#, for_millis(0));
        check(r#""0s""#, for_millis(0));
        check(r#""-1m""#, Some(KeepAlive::Forever));
        check(r#""-1""#, Some(KeepAlive::Forever));
        check("1e300", Some(KeepAlive::Forever));
        assert_eq!(keep_alive(b"{}"), Ok(None));
        assert!(KeepAlive::For(Duration::ZERO).is_over() && !KeepAlive::Forever.is_over());
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for value in ["true", "[]", r#""""#, r#""soon""#, r#""5x""#, r#""5m3""#, r#""m""#, r#""-""#, r#""NaN""#] {
            let body = format!(r#"{{ "keep_alive": {value} }}"#);
            let refused = keep_alive(body.as_bytes()).unwrap_err();
            assert_eq!(refused.param.as_deref(), Some("keep_alive"), "{value}");
        }
        assert_eq!(keep_alive(b"nothing").unwrap_err().param, None);
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text in "\\PC{0,20}|[0-9.hmsuµn+-]{0,12}") {
            let _ = parse(&text);
        }

        #[test]
        fn what_is_written_is_read(hours in 0_u64..1000, minutes in 0_u64..60, seconds in 0_u64..60) {
            let total = Duration::from_secs(hours * 3600 + minutes * 60 + seconds);
            prop_assert_eq!(parse(&format!("{hours}h{minutes}m{seconds}s")), Ok(KeepAlive::For(total)));
        }
    }
}
