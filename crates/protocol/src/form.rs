//! A form with files (`multipart/form-data`, RFC 7578), as far as the place of one field in it.

use std::ops::Range;

use memchr::memmem;

/// Longest boundary there may be (RFC 2046).
const BOUNDARY_MAX: usize = 70;

/// The boundary that a content type names, if it is that of such a form.
pub fn boundary(content_type: &str) -> Option<String> {
    let mut parts = content_type.split(';');
    if !parts.next()?.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parts.find_map(|part| {
        let (name, value) = part.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then(|| value.trim_matches('"').to_owned())
    })?;
    (1..=BOUNDARY_MAX).contains(&boundary.len()).then_some(boundary)
}

/// A form that cannot be read, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the form cannot be read: {0}")]
pub struct FormError(&'static str);

/// Where the value of a field stands; `None` where the form has no such field.
///
/// # Errors
/// It is no such form, or broke off.
pub fn field(body: &[u8], boundary: &str, name: &str) -> Result<Option<Range<usize>>, FormError> {
    let delimiter = format!("--{boundary}");
    let finder = memmem::Finder::new(delimiter.as_bytes());
    let mut at = finder.find(body).ok_or(FormError("its boundary does not occur"))? + delimiter.len();
    let mut found = None;
    loop {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            return Ok(found);
        }
        let head = memmem::find(rest, b"\r\n\r\n").ok_or(FormError("a part of it has no end of its headers"))?;
        let value = at + head + 4;
        let length = finder.find(&body[value..]).ok_or(FormError("it has no end"))?;
        if is_named(&rest[..head], name) {
            // Whoever reads the first and whoever reads the last would not agree.
            if found.is_some() {
                return Err(FormError("a field that must be there once is there twice"));
            }
            // The line break before a boundary belongs to it.
            found = Some(value..value + length.saturating_sub(2));
        }
        at = value + length + delimiter.len();
    }
}

/// Whether a part's headers give it this name.
fn is_named(head: &[u8], name: &str) -> bool {
    let Ok(head) = str::from_utf8(head) else { return false };
    let mut dispositions = head.split("\r\n").filter_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
    });
    let mut parameters = dispositions.next().unwrap_or_default().split(';').skip(1);
    parameters.any(|parameter| {
        parameter.trim().split_once('=').is_some_and(|(key, value)| key == "name" && value.trim_matches('"') == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORM: &str = "preamble\r\n--x1\r\nContent-Disposition: form-data; name=\"file\"; filename=\"model\"\r\n\
        Content-Type: audio/wav\r\n\r\n\0\u{1}name=\"model\"\r\n--x1\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\n\
        whisper-1\r\n--x1\r\nContent-Disposition: form-data; name=empty\r\n\r\n\r\n--x1--\r\n";

    #[test]
    fn a_field_is_found_where_it_stands() {
        let find = |name| field(FORM.as_bytes(), "x1", name).unwrap().map(|at| &FORM[at]);
        assert_eq!(find("model"), Some("whisper-1"));
        assert_eq!(find("empty"), Some(""));
        assert_eq!(find("filename"), None);
        let twice =
            FORM.replace("--x1--", "--x1\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nother\r\n--x1--");
        assert!(field(twice.as_bytes(), "x1", "model").is_err());
        assert!(field(b"nothing", "x1", "model").is_err());
        assert!(field(b"--x1\r\na: b", "x1", "model").is_err());
        assert!(field(b"--x1\r\na: b\r\n\r\nvalue", "x1", "model").is_err());
    }

    #[test]
    fn only_forms_have_a_boundary() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(boundary(text).as_deref(), expected, "{text}");
        };
        check("multipart/form-data; boundary=x1", Some("x1"));
        check("Multipart/Form-Data; charset=utf-8; Boundary=\"x 1\"", Some("x 1"));
        check("multipart/mixed; boundary=x1", None);
        check("multipart/form-data", None);
        check("multipart/form-data; boundary=", None);
        check("application/json", None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body: Vec<u8>, cut in 0..FORM.len()) {
            let _ = field(&body, "x1", "model");
            let _ = field(&FORM.as_bytes()[..cut], "x1", "model");
        }
    }
}
