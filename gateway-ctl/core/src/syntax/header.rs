//! Names and values of HTTP headers.

/// Checks a header's name.
///
/// # Errors
/// The text for the user.
pub fn check_name(name: &str) -> Result<(), String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || name.len() > 16_384 || !name.bytes().all(token) {
        return Err(format!("`{}` is not the name of a header", name.escape_debug()));
    }
    Ok(())
}

/// Checks a name that may also be a pseudo-header such as `:method`, as in conditions.
///
/// # Errors
/// The text for the user.
pub fn check_match_name(name: &str) -> Result<(), String> {
    check_name(name.strip_prefix(':').unwrap_or(name))
}

/// Checks the name of a header that is to be added or removed: neither pseudo-headers nor `host`
/// can be (Envoy refuses both).
///
/// # Errors
/// The text for the user.
pub fn check_edit_name(name: &str) -> Result<(), String> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        return Err(format!("`{name}` cannot be added or removed; see host_rewrite and rewrite"));
    }
    check_name(name)
}

/// Checks a header's value: anything but line ends and NUL.
///
/// # Errors
/// The text for the user.
pub fn check_value(value: &str) -> Result<(), String> {
    if value.len() > 16_384 {
        return Err("a header's value has at most 16384 bytes".to_owned());
    }
    if value.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        return Err("a header's value has no line end and no NUL".to_owned());
    }
    Ok(())
}

/// Checks a protocol that a connection may change to, as in `websocket`.
///
/// # Errors
/// The text for the user.
pub fn check_upgrade(protocol: &str) -> Result<(), String> {
    let wrong = |_| format!("`{}` is not the name of a protocol", protocol.escape_debug());
    protocol.split('/').try_for_each(check_name).map_err(wrong)
}

/// Checks a request method.
///
/// # Errors
/// The text for the user.
pub fn check_method(method: &str) -> Result<(), String> {
    check_name(method).map_err(|_| format!("`{}` is not a method", method.escape_debug()))
}
