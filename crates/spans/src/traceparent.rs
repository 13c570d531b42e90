//! The trace that a request is in, as its sender writes it: `00-TRACE-SPAN-FLAGS`, W3C Trace Context, section 3.2.

use opentelemetry::trace::{SpanId, TraceFlags, TraceId};

/// What a sender says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) trace: TraceId,
    pub(crate) span: SpanId,
    /// Whether the sender keeps its own span.
    pub(crate) is_sampled: bool,
}

impl Parent {
    /// Reads the header; `None` where it is not as it should be: then the trace begins here.
    pub(crate) fn read(header: &str) -> Option<Self> {
        let mut parts = header.trim().split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let version = hex::<2>(version)?;
        // Later versions may say more at the end; the first may not, and 255 is none.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let (trace, span, flags) = (hex::<32>(trace)?, hex::<16>(span)?, hex::<2>(flags)?);
        if trace == 0 || span == 0 {
            return None;
        }
        let trace = TraceId::from_bytes(trace.to_be_bytes());
        let span = SpanId::from_bytes(u64::try_from(span).ok()?.to_be_bytes());
        let is_sampled = flags & u128::from(TraceFlags::SAMPLED.to_u8()) != 0;
        Some(Self { trace, span, is_sampled })
    }
}

/// A number of exactly so many small hexadecimal digits.
fn hex<const DIGITS: usize>(text: &str) -> Option<u128> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == DIGITS && text.bytes().all(is_digit)).then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What is read of a header: trace, span, and whether it is kept.
    #[track_caller]
    fn check(header: &str, expected: Option<(&str, &str, bool)>) {
        let read = Parent::read(header);
        let read = read.map(|parent| (parent.trace.to_string(), parent.span.to_string(), parent.is_sampled));
        let expected = expected.map(|(trace, span, is_sampled)| (trace.to_owned(), span.to_owned(), is_sampled));
        assert_eq!(read, expected, "{header}");
    }

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    #[test]
    fn what_the_standard_says() {
        check(&format!("00-{TRACE}-{SPAN}-01"), Some((TRACE, SPAN, true)));
        check(&format!("00-{TRACE}-{SPAN}-00"), Some((TRACE, SPAN, false)));
        check(&format!("00-{TRACE}-{SPAN}-ff"), Some((TRACE, SPAN, true)));
        check(&format!("cc-{TRACE}-{SPAN}-01-what-comes"), Some((TRACE, SPAN, true)));
        check(&format!("00-{TRACE}-{SPAN}-01-more"), None);
        check(&format!("ff-{TRACE}-{SPAN}-01"), None);
        check(&format!("00-{}-{SPAN}-01", TRACE.to_uppercase()), None);
        check(&format!("00-{}-{SPAN}-01", "0".repeat(32)), None);
        check(&format!("00-{TRACE}-{}-01", "0".repeat(16)), None);
        check(&format!("00-{TRACE}-{SPAN}"), None);
        check(&format!("00-{TRACE}-{SPAN}-1"), None);
        check("", None);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(trace in 1_u128.., span in 1_u64.., flags: u8) {
            let read = Parent::read(&format!("00-{trace:032x}-{span:016x}-{flags:02x}")).unwrap();
            prop_assert_eq!(read.trace.to_bytes(), trace.to_be_bytes());
            prop_assert_eq!((read.span.to_bytes(), read.is_sampled), (span.to_be_bytes(), flags & 1 == 1));
        }

        #[test]
        fn anything_is_read_or_not(header in "\\PC{0,80}") {
            let _any = Parent::read(&header);
        }
    }
}
