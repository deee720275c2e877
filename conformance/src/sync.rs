//! `append --sync`: what has to be on the disk is asked to be there.

use std::ffi::OsString;

use crate::arena::Arena;
use crate::driver::Driver;

pub const NAME: &str = "sync/append";
pub const TESTS: &[&str] = &["APP-6"];

const CALLS: &str = "fsync,fdatasync,syncfs,sync";

/// B's data and, B being new, the entry of B in its directory.
pub fn run(x: &Arena, d: &Driver) -> Result<(), String> {
    let log = x.temp.path().join("trace");
    let mut call = x.call("append", &["--sync", "hello"]);
    call.prefix = ["strace", "-f", "-y", "-e"].map(OsString::from).to_vec();
    call.prefix.push(format!("trace={CALLS}").into());
    call.prefix.extend(["-o".into(), log.clone().into()]);
    let out = d.run(x.temp.path(), call)?;
    if out.exit() != "0" {
        return Err(format!("exit {}", out.exit()));
    }
    let log = std::fs::read_to_string(&log).map_err(|e| e.to_string())?;
    let dir = x.b.parent().ok_or("no parent")?;
    for path in [&x.b, dir] {
        // sync(2) and syncfs(2) write out everything.
        let one = format!("<{}>) = 0", path.display());
        let synced = |l: &str| {
            let all = l.contains(" sync()") || l.contains(" syncfs(");
            all || l.ends_with(&one)
        };
        let found = log
            .lines()
            .map(|l| l.replace(")  ", ") ").replace("  = 0", " = 0"))
            .any(|l| synced(&l.split_whitespace().collect::<Vec<_>>().join(" ")));
        if !found {
            return Err(format!(
                "{} was not synced before it was acknowledged",
                path.display()
            ));
        }
    }
    Ok(())
}
