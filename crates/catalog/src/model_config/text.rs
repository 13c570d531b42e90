//! Rules for texts. Each says why a text will not do, as the end of a sentence that begins with the field's name; none
//! repeats the text, which may hold a secret.

/// One line of at most 1,000 bytes.
pub(super) fn line(text: &str) -> Result<(), String> {
    if text.len() > 1000 || text.chars().any(char::is_control) {
        return Err("must be one line of at most 1000 bytes".to_owned());
    }
    Ok(())
}

/// A path of this system. That is all that can be said of it here.
pub(super) fn path(text: &str) -> Result<(), String> {
    if text.len() > 4096 || text.chars().any(char::is_control) {
        return Err("must be a path of at most 4096 bytes without control characters".to_owned());
    }
    Ok(())
}

/// A web address without credentials.
pub(super) fn url(text: &str) -> Result<(), String> {
    const FORM: &str = "must be an address that begins with http:// or https:// and names a host";
    if text.is_empty() {
        return Err(format!("{FORM}, is empty"));
    }
    if text.len() > 4096 || text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(
            "must be an address of at most 4096 bytes without blanks, backslashes or control characters".to_owned()
        );
    }
    let Some(authority) = authority(text) else { return Err(FORM.to_owned()) };
    if authority.contains('@') {
        return Err("must hold no name or password before the host".to_owned());
    }
    let (host, port) = match authority.strip_prefix('[') {
        // An IPv6 address has colons of its own.
        Some(rest) => match rest.split_once(']') {
            Some((host, after)) if !host.is_empty() => (host, after),
            _ => return Err(FORM.to_owned()),
        },
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    if host.is_empty() {
        return Err(FORM.to_owned());
    }
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    match port.strip_prefix(':') {
        Some(port) if is_port(port) => Ok(()),
        None if port.is_empty() => Ok(()),
        _ => Err("must have a port from 0 to 65535 after its host, if any".to_owned()),
    }
}

/// A web address without credentials, or nothing.
pub(super) fn url_or_none(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { url(text) }
}

/// What stands between the scheme and the path of a web address.
pub(super) fn authority(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    let is_web = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    is_web.then(|| rest.split(['/', '?', '#']).next().unwrap_or_default())
}

/// The plain name of a file, which may not lead out of its folder nor look like an unfinished download.
pub(super) fn file_name(text: &str) -> Result<(), String> {
    let refuse = |reason: &str| Err(reason.to_owned());
    if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
        return refuse("must be a file's name of 1 to 255 bytes without control characters");
    }
    if text.contains(['/', '\\']) {
        return refuse("must be a plain file name, without folders");
    }
    if text.starts_with('.') {
        return refuse("must not begin with a dot");
    }
    if text.to_ascii_lowercase().ends_with(".partial") {
        return refuse("must not end in .partial: unfinished downloads are called so");
    }
    Ok(())
}

/// A SHA-256 sum, or nothing.
pub(super) fn sha256(text: &str) -> Result<(), String> {
    if text.is_empty() || (text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Ok(());
    }
    Err("must be 64 hexadecimal digits, or empty".to_owned())
}

/// A variant's name, which stands in paths as one part. May be empty.
pub(super) fn quantization(text: &str) -> Result<(), String> {
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '?' | '#' | '\\' | ':');
    if text.len() > 100 || text.chars().any(is_odd) || matches!(text, "." | "..") {
        return Err("must be a name such as Q4_K_M, of at most 100 bytes, without blanks and `/?#\\:`".to_owned());
    }
    Ok(())
}
