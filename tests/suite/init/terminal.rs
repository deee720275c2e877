//! Real interactive shells, in a terminal that tmux makes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::{is_there, text};
use crate::common::{Fixture, MBOX, has_program, skip, until};

/// A shell in a terminal of its own. Dropped, the terminal is gone.
struct Terminal<'a> {
    fx: &'a Fixture,
    socket: PathBuf,
}

impl<'a> Terminal<'a> {
    /// Starts an interactive `shell` whose rc file is `rc`, and waits for its prompt, which
    /// shows the status of the last command: `<0> `.
    fn start(fx: &'a Fixture, shell: &str, rc: &str) -> Terminal<'a> {
        let terminal = Terminal {
            fx,
            socket: fx.dir().join("tmux"),
        };
        let command = match shell {
            "bash" => {
                fs::write(fx.dir().join("rc"), format!("PS1='<$?> '\n{rc}")).unwrap();
                "exec bash --noprofile --rcfile ./rc -i"
            }
            "zsh" => {
                fs::write(fx.dir().join(".zshrc"), format!("PS1='<%?> '\n{rc}")).unwrap();
                "exec zsh -d -i"
            }
            other => panic!("{other}?"),
        };
        let size = ["-x", "150", "-y", "50"];
        terminal.tmux(
            &[
                &["-f", "/dev/null", "new-session", "-d"],
                &size[..],
                &[command],
            ]
            .concat(),
        );
        terminal.shows("<0>");
        terminal
    }

    fn tmux(&self, args: &[&str]) -> String {
        let mut tmux = self.fx.program("tmux");
        tmux.env("TERM", "screen").env("SHELL", "/bin/sh");
        let out = tmux
            .arg("-S")
            .arg(&self.socket)
            .args(args)
            .output()
            .unwrap();
        assert!(out.status.success(), "tmux {args:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    fn types(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys", "--"], keys].concat());
    }

    /// What is on the screen and above it.
    fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-S", "-"])
    }

    /// Waits until the screen ends with `end`.
    #[track_caller]
    fn shows(&self, end: &str) {
        until(&format!("the terminal ends with {end}"), || {
            self.screen().trim_end().ends_with(end)
        });
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let mut tmux = self.fx.program("tmux");
        // Not there any more: then it has ended already.
        let _ = tmux.arg("-S").arg(&self.socket).arg("kill-server").output();
    }
}

fn for_both(check: impl Fn(&Fixture, &str, &str)) {
    if !has_program("tmux") {
        return skip("tmux is not installed");
    }
    for shell in ["bash", "zsh"] {
        if is_there(shell) {
            let fx = Fixture::new();
            let file = text(&fx, shell);
            let rc = format!(
                "set -u; export MBOX_NAME=me; . {0}; . {0}\n",
                file.display()
            );
            check(&fx, shell, &rc);
        }
    }
}

#[test]
fn a_notice_at_the_next_prompt() {
    for_both(|fx, shell, rc| {
        let terminal = Terminal::start(fx, shell, rc);
        fx.append("me", "hello");
        terminal.types(&["(exit 7)", "Enter"]);
        terminal.shows("<0> (exit 7)\n1 new message: mbox drain\n<7>");
        terminal.types(&["false", "Enter"]);
        terminal.shows("mbox drain\n<7> false\n<1>");
        terminal.types(&[": the last", "Enter"]);
        terminal.shows("<1> : the last\n<0>");
        fx.append("me", "again");
        terminal.types(&["Enter"]);
        terminal.shows("2 new messages: mbox drain\n<0>");
        terminal.types(&[r#"echo "[$_]""#, "Enter"]);
        terminal.shows("\n[last]\n<0>");
        terminal.types(&["mbox drain --format body", "Enter"]);
        terminal.shows("body\nhello\nagain\n<0>");
        terminal.types(&["Enter"]);
        terminal.shows("again\n<0>\n<0>");
    });
}

#[test]
fn the_messages_at_the_next_prompt() {
    for_both(|fx, shell, rc| {
        let rc = format!("{rc}MBOX_PROMPT=show\n");
        let terminal = Terminal::start(fx, shell, &rc);
        fx.append("me", "hello");
        terminal.types(&["(exit 7)", "Enter"]);
        terminal.shows("    hello\n\n<7>");
        assert_eq!(fx.peek("me"), [] as [&str; 0]);
        // Busy: it is not waited for, and not spoken of.
        fx.append("me", "later");
        fx.files("me").hold("4242.0123456789abcdef");
        terminal.types(&["(exit 3)", "Enter"]);
        terminal.shows("<7> (exit 3)\n<3>");
        fx.files("me").let_go();
        terminal.types(&["(exit 4)", "Enter"]);
        terminal.shows("    later\n\n<4>");
    });
}

/// The terminal stands still, mbox is in the middle of writing, and Ctrl-C ends it.
#[test]
fn ctrl_c_while_messages_are_shown_loses_none() {
    for_both(|fx, shell, rc| {
        // The second delivery is refused, so that it can be seen what the first one left.
        let bin = fx.dir().join("once");
        fs::create_dir(&bin).unwrap();
        let wrapper = bin.join("mbox");
        let script = format!(
            "#!/bin/sh\ncase \" $* \" in *' drain '*) [ ! -e ran ] || exit 75; : >ran; until [ -e go ]; do sleep 0.02; done ;; esac\nexec '{MBOX}' \"$@\"\n"
        );
        fs::write(&wrapper, script).unwrap();
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
        let rc = format!(
            "{rc}MBOX_PROMPT=show PATH={}:$PATH\nstty ixon\n",
            bin.display()
        );
        let terminal = Terminal::start(fx, shell, &rc);

        let bodies: Vec<String> = (0..8).map(|n| format!("{n}").repeat(60_000)).collect();
        let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
        fx.fill("me", &bodies);
        terminal.types(&["Enter"]);
        until("it is about to be delivered", || {
            fx.dir().join("ran").exists()
        });
        // Ctrl-S; what tmux is asked behind it, it does behind it.
        terminal.types(&["C-s"]);
        for _ in 0..3 {
            terminal.screen();
        }
        fs::write(fx.dir().join("go"), "").unwrap();
        until("the mail is in hand", || fx.files("me").claims.exists());
        terminal.types(&["C-c"]);
        until("it is given up", || {
            let names = fx.files("me").claim_names();
            names.iter().all(|name| name.contains("-0000000000000-"))
        });
        terminal.types(&["C-q"]);
        terminal.types(&["echo alive", "Enter"]);
        until("the shell lives", || terminal.screen().contains("\nalive"));
        assert_eq!(fx.peek("me"), bodies, "{shell}");
    });
}

/// In bash `@` cuts words; in zsh compinit comes behind, as is common.
#[test]
fn a_tab_completes_names() {
    for_both(|fx, shell, rc| {
        fx.append("a@buero", "x");
        let rc = match shell {
            "zsh" => format!("{rc}set +u\nautoload -Uz compinit; compinit -u -D\n"),
            _ => rc.to_owned(),
        };
        let terminal = Terminal::start(fx, shell, &rc);
        terminal.types(&["mbox drain a@", "Tab"]);
        terminal.shows("<0> mbox drain a@buero");
        terminal.types(&["--form", "Tab"]);
        terminal.shows("<0> mbox drain a@buero --format");
        terminal.types(&["bo", "Tab", "Enter"]);
        terminal.shows("<0> mbox drain a@buero --format body\nx\n<0>");
        terminal.types(&["mbox drain ./r", "Tab"]);
        let file = match shell {
            "bash" => "./r", // rc and root
            _ => "./root/",
        };
        terminal.shows(&format!("<0> mbox drain {file}"));
    });
}
