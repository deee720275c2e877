//! The body of a message, from the command line or stdin.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use super::exit::Exit;
use super::var;
use crate::format::MAX_BODY;

/// The body that was given, or what stdin holds, less one trailing newline (APPEND-1).
pub(super) fn read(given: Option<OsString>, max: usize) -> Result<String, Exit> {
    let body = match given {
        Some(body) => body.into_vec(),
        None => read_stdin(max)?,
    };
    String::from_utf8(body)
        .map_err(|_| Exit::data("the body is not valid UTF-8; nothing was written"))
}

/// `MBOX_MAX_BODY`, when it is a number (MSG-3).
pub(super) fn max() -> Result<usize, Exit> {
    match var("MBOX_MAX_BODY").map(OsString::into_string) {
        None => Ok(MAX_BODY),
        Some(Ok(text)) => text
            .parse()
            .map_err(|_| Exit::usage(format!("MBOX_MAX_BODY is not a number: {text}"))),
        Some(Err(_)) => Err(Exit::usage("MBOX_MAX_BODY is not a number")),
    }
}

/// stdin, less one trailing newline; no more than it takes to see that it is too much.
fn read_stdin(max: usize) -> Result<Vec<u8>, Exit> {
    let mut body = Vec::new();
    let enough = (max as u64).saturating_add(2);
    std::io::stdin()
        .lock()
        .take(enough)
        .read_to_end(&mut body)
        .map_err(|e| Exit::stdin(&e))?;
    if body.last() == Some(&b'\n') {
        body.pop();
    }
    Ok(body)
}
