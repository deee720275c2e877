//! What the hook says, and what it costs.

use std::fs;

use super::{SH, is_there, run, says, text};
use crate::common::{Fixture, has_program, skip};

/// The beginning of a script: the hook is there, `p` is a prompt.
fn begin(fx: &Fixture, shell: &str) -> String {
    let file = text(fx, shell);
    format!(
        "export MBOX_NAME=me; . {}; p() {{ __mbox_prompt; }}\n",
        file.display()
    )
}

fn for_both(check: impl Fn(&Fixture, &str, &str)) {
    for shell in ["bash", "zsh"] {
        if is_there(shell) {
            let fx = Fixture::new();
            let begin = begin(&fx, shell);
            check(&fx, shell, &begin);
        }
    }
}

const APPEND: &str = "add() { mbox append me \"$@\" >/dev/null; }\n";

#[test]
fn it_says_so_once_for_each_message_that_comes() {
    for_both(|fx, shell, begin| {
        let script = format!(
            "{begin}{APPEND}
            p; echo 1; add one; p; p; echo 2; add two; p; p
            echo 3; mbox take --from nobody; mbox take >/dev/null; p
            echo 4; add three; p; echo 5; mbox drain >/dev/null; p; add four; p"
        );
        let wanted = "1\n1 new message: mbox drain\n2\n2 new messages: mbox drain\n3\n4\n\
            2 new messages: mbox drain\n5\n1 new message: mbox drain\n";
        assert_eq!(says(fx, shell, &script), wanted, "{shell}");
    });
}

/// Records that look alike are told apart by their number.
#[test]
fn records_of_other_programs() {
    for_both(|fx, shell, begin| {
        let script = format!(
            "{begin} add() {{ printf '{{}}\\n' | mbox append me --raw; }}
            add; p; p; add; p; p; mbox drain >/dev/null; p; add; p"
        );
        let wanted = "1 new message: mbox drain\n2 new messages: mbox drain\n\
            1 new message: mbox drain\n";
        assert_eq!(says(fx, shell, &script), wanted, "{shell}");
    });
}

#[test]
fn off_and_nobody_say_nothing() {
    for_both(|fx, shell, begin| {
        fx.append("me", "x");
        let script = format!(
            "{begin} MBOX_PROMPT=off; p; MBOX_PROMPT=; unset MBOX_NAME; p; MBOX_NAME=; p; MBOX_NAME=../me; p; MBOX_NAME=other; p"
        );
        assert_eq!(says(fx, shell, &script), "", "{shell}");
        // Neither does a mailbox that holds nothing a drain would hand over.
        let script = format!(
            "{begin} mbox drain >/dev/null; mkdir $MBOX_ROOT/mailboxes/me.jsonl.claims; p; echo torn >$MBOX_ROOT/mailboxes/me.jsonl; p"
        );
        assert_eq!(says(fx, shell, &script), "", "{shell}");
    });
}

/// Neither name nor root need be exported, and a root may have any characters.
#[test]
fn variables_of_the_shell_alone() {
    for_both(|fx, shell, begin| {
        fx.mbox(&["--root", "a  root [x]*", "append", "me", "x"])
            .assert()
            .success();
        let script = format!(
            "{begin} unset MBOX_NAME MBOX_ROOT; MBOX_NAME=me MBOX_ROOT='a  root [x]*'; p
            unset MBOX_ROOT; XDG_STATE_HOME=state; mkdir state; mv 'a  root [x]*' state/mbox; p
            unset XDG_STATE_HOME; mkdir .local; mv state .local; p"
        );
        let wanted = "1 new message: mbox drain\n".repeat(3);
        assert_eq!(says(fx, shell, &script), wanted, "{shell}");
    });
}

/// Mail that another reader has in hand is not announced, that of one that died is.
#[test]
fn mail_in_the_hands_of_another() {
    for_both(|fx, shell, begin| {
        let line = "{\"schema_version\":1,\"id\":\"00c0ffee00c0ffee\",\"body\":\"x\"}\n";
        let files = fx.files("me");
        let claim = files.put_claim(1_700_000_000_000, 0, "1.0123456789abcdef", line);
        assert_eq!(says(fx, shell, &format!("{begin} p")), "", "{shell}");
        fs::remove_file(claim).unwrap();
        files.put_claim(1_700_000_000_000, -31, "1.0123456789abcdef", line);
        let said = says(fx, shell, &format!("{begin} p"));
        assert_eq!(said, "1 new message: mbox drain\n", "{shell}");
    });
}

/// What is not shown by a terminal is not handed over.
#[test]
fn show_needs_a_terminal() {
    for_both(|fx, shell, begin| {
        fx.append("me", "x");
        let script = format!("{begin} MBOX_PROMPT=show; p; exec 2>&-; p");
        assert_eq!(says(fx, shell, &script), "", "{shell}");
        assert_eq!(fx.peek("me"), ["x"]);
    });
}

#[test]
fn without_a_binary_it_is_silent() {
    for_both(|fx, shell, begin| {
        fx.append("me", "x");
        let script = format!("{begin} PATH=/nowhere; p; MBOX_PROMPT=show; p; echo $?");
        assert_eq!(says(fx, shell, &script), "0\n", "{shell}");
    });
}

/// The status and the last argument are, behind it, what they were before it.
#[test]
fn status_and_last_argument_are_kept() {
    if is_there("bash") {
        let fx = Fixture::new();
        let begin = begin(&fx, "bash");
        for mail in ["", "mbox append me x >/dev/null"] {
            let script = format!(
                "{begin} {mail}
                theirs() {{ echo \"$? $1\"; }}; PROMPT_COMMAND='__mbox_prompt \"$_\";theirs \"$_\"'
                prompt() {{ eval \"$PROMPT_COMMAND\"; }} 2>/dev/null; st() {{ return $1; }}
                exec 2>/dev/null
                st 7 last; eval \"$PROMPT_COMMAND\"
                st 0 other; eval \"$PROMPT_COMMAND\""
            );
            assert_eq!(says(&fx, "bash", &script), "7 last\n0 other\n");
        }
        // Under errexit a status would end the shell: it is given up.
        let script = format!(
            "{begin} exec 2>/dev/null; set -e; false || __mbox_prompt; ! :; __mbox_prompt; echo on"
        );
        assert_eq!(says(&fx, "bash", &script), "on\n");
    }
}

/// A thousand prompts leave the shell as large as ten do.
#[test]
fn nothing_grows() {
    for (shell, all) in [("bash", "declare -p"), ("zsh", "typeset")] {
        if !is_there(shell) {
            continue;
        }
        let fx = Fixture::new();
        let begin = begin(&fx, shell);
        let script = format!(
            "{begin} exec 2>/dev/null; n() {{ i=1000; while [ $i -gt $((1000 - $1)) ]; do p; i=$((i - 1)); done; i=0; }}
            ours() {{ {all} | grep -a __mbox | wc -c; }}
            n 10; ours; n 1000; ours; mbox append me x >/dev/null; n 3; ours; n 20; ours"
        );
        let sizes = says(&fx, shell, &script);
        let sizes: Vec<&str> = sizes.split_whitespace().collect();
        assert_eq!(
            (sizes[0], sizes[2]),
            (sizes[1], sizes[3]),
            "{shell}: {sizes:?}"
        );
    }
}

/// Idle, a prompt starts no process: the only exec in the trace is that of the shell.
#[test]
fn idle_it_forks_nothing() {
    if !has_program("strace") {
        return skip("strace is not installed");
    }
    for (shell, flags) in [("bash", &["--norc", "--noprofile"][..]), ("zsh", &["-f"])] {
        if !is_there(shell) {
            continue;
        }
        let fx = Fixture::new();
        let begin = begin(&fx, shell);
        let trace = fx.dir().join("trace");
        let script = |end: &str| {
            format!("{begin} i=0; while [ $i -lt 100 ]; do p; i=$((i + 1)); done; {end}")
        };
        let calls = |end: &str| {
            let mut strace = fx.program("strace");
            let traced = strace
                .args(["-f", "-e", "trace=process", "-e", "signal=none", "-o"])
                .arg(&trace)
                .arg(shell)
                .args(flags)
                .args(["-c", &script(end)])
                .output()
                .unwrap();
            assert!(traced.status.success(), "{traced:?}");
            let trace = fs::read_to_string(&trace).unwrap();
            let is_start = |line: &&str| {
                ["fork(", "clone(", "clone3(", "execve("]
                    .iter()
                    .any(|call| line.contains(call))
            };
            trace.lines().filter(is_start).count()
        };
        assert_eq!(calls(":"), 1, "{shell}");
        assert!(calls("(:); :") > 1, "{shell}: the trace shows no fork");
    }
}

/// Shells without hooks: a mark in the prompt.
#[test]
fn a_mark_for_ps1() {
    let fx = Fixture::new();
    let file = text(&fx, "sh");
    for shell in SH.iter().filter(|shell| is_there(shell)) {
        let script = format!(
            "set -u; MBOX_NAME=me; . {0}; . {0}; st() {{ return 7; }}
            st; x=$(__mbox_ps1); echo \"$? <$x>\"
            mbox append me x >/dev/null
            st; x=$(__mbox_ps1); echo \"$? <$x>\"
            MBOX_PROMPT=off; x=$(__mbox_ps1); echo \"<$x>\"
            MBOX_PROMPT=show MBOX_NAME=; x=$(__mbox_ps1); echo \"<$x>\"
            unset MBOX_NAME; set -e; x=$(__mbox_ps1); echo \"<$x>\"
            mbox drain me >/dev/null",
            file.display()
        );
        let said = says(&fx, shell, &script);
        assert_eq!(said, "7 <>\n7 <[mail] >\n<>\n<>\n<>\n", "{shell}");
    }
}

/// It runs nothing but builtins: with an empty PATH it still does.
#[test]
fn the_mark_needs_no_programs() {
    let fx = Fixture::new();
    let file = text(&fx, "sh");
    fx.append("me", "x");
    for shell in SH.iter().filter(|shell| is_there(shell)) {
        let script = format!(
            "MBOX_NAME=me; . {}; PATH=/nowhere; __mbox_ps1",
            file.display()
        );
        let out = run(&fx, shell, &script);
        assert_eq!(
            String::from_utf8_lossy(&out.stdout),
            "[mail] \n",
            "{shell}: {out:?}"
        );
    }
}
