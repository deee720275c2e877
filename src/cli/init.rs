//! `mbox init`: the text a shell evaluates when it starts. It needs nothing of mbox then.

use super::args::{InitArgs, InitShell};
use super::exit::{Exit, Status};
use super::r#gen;
use super::out::print;

pub(super) fn run(args: InitArgs) -> Result<Status, Exit> {
    let (shell, text) = match args.shell {
        InitShell::Bash => (
            "bash",
            [include_str!("../../shell/init.bash"), r#gen::BASH].concat(),
        ),
        InitShell::Zsh => (
            "zsh",
            [include_str!("../../shell/init.zsh"), r#gen::ZSH].concat(),
        ),
        InitShell::Sh => ("sh", include_str!("../../shell/init.sh").to_owned()),
    };
    let head = if args.is_static {
        format!(
            "# mbox {}. After an update: mbox init {shell} --static >THIS_FILE\n\n",
            env!("CARGO_PKG_VERSION")
        )
    } else {
        String::new()
    };
    print(&[head, text].concat())?;
    Ok(Status::Yes)
}
