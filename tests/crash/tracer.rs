//! A tracer over ptrace: stops a program, and everything it starts, before each of its
//! system calls.
//!
//! [`Traced::next`] runs one process of the program at a time, until it sleeps or ends; then
//! the next, in the order they were made. So the calls come in the same order in every run,
//! and "the 131st call" is one place. What is asleep in a call (a read of an empty pipe, a
//! wait) is told by the state the kernel shows. [`Traced::next_of`] looks at one process and
//! leaves the others alone.
//!
//! All of it belongs to the thread that started it, as ptrace wants.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Longer than any run may take: what reaches it hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// Stops itself, so that it can be seized before it does anything.
const LAUNCH: &str = "kill -STOP $$; exec \"$@\"";

/// The name of a process that has stopped before its maker told of it.
const UNNAMED: &str = "?";

/// `PTRACE_SYSCALL_INFO_ENTRY`.
const ENTRY: u8 = 1;

/// The registers of a call that is about to be made.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub pid: Pid,
    pub nr: i64,
    pub args: [u64; 6],
}

/// A program that is traced.
pub struct Traced {
    main: Pid,
    /// In the order they were made.
    tasks: Vec<Task>,
    /// Who runs until it sleeps.
    turn: Option<Pid>,
    entered: Option<Entry>,
    status: Option<WaitStatus>,
    count: usize,
    /// What calls came to, in the order they were done; `None` when nobody asks.
    results: Option<Vec<(Entry, i64)>>,
}

struct Task {
    pid: Pid,
    /// `1` for the program, `1.2` for the second process it made.
    name: String,
    made: usize,
    is: Is,
    call: Option<Entry>,
    is_vfork: bool,
    signal: Option<Signal>,
    /// What the third argument was before it was changed.
    third: Option<u64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Is {
    Stopped,
    Running,
    Asleep,
}

/// How a program ended: its status, or the signal; neither when it hung.
pub type Ended = Result<WaitStatus, String>;

impl Traced {
    /// Starts `program` with `args` in the environment of `shell`, which is `sh`, and stops
    /// it before its first call.
    pub fn start(mut shell: Command, words: &[&str]) -> io::Result<Traced> {
        shell.args(["-c", LAUNCH, "sh"]).args(words);
        let child = shell.process_group(0).spawn()?;
        let main = Pid::from_raw(child.id().cast_signed());
        watch(main);
        waitpid(main, Some(WaitPidFlag::WUNTRACED))?;
        let options = Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_EXITKILL;
        let traced = Traced {
            main,
            tasks: vec![Task::new(main, "1".into())],
            turn: Some(main),
            entered: None,
            status: None,
            count: 0,
            results: None,
        };
        ptrace::seize(main, options)?;
        kill(main, Signal::SIGCONT)?;
        loop {
            let signal = match waitpid(main, Some(WaitPidFlag::__WALL))? {
                WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC) => return Ok(traced),
                WaitStatus::Stopped(_, signal) => Some(signal),
                WaitStatus::PtraceEvent(..) => None,
                other => return Err(io::Error::other(format!("{words:?}: {other:?}"))),
            };
            ptrace::cont(main, signal)?;
        }
    }

    /// Runs it until it is about to make its next call; `None` when it has ended.
    pub fn next(&mut self) -> Option<Entry> {
        loop {
            let Some(pid) = self.choose() else {
                if self.tasks.is_empty() {
                    return None;
                }
                // All are asleep: only time, or somebody else, can wake them.
                self.wait_for_any();
                continue;
            };
            self.turn = Some(pid);
            let call = self.task(pid).and_then(|task| task.call);
            self.resume(pid);
            self.settle(pid);
            if let Some(entry) = self.entered.take() {
                if MEMORY.contains(&entry.nr) {
                    continue;
                }
                self.count += 1;
                return Some(entry);
            }
            let has_stopped = self.task(pid).is_some_and(|task| task.is == Is::Stopped);
            let wakes_all = call.is_none() || !has_stopped;
            let may_be_awake = |task: &&Task| {
                let by_call = || call.zip(task.call).is_some_and(|(by, in_)| wakes(by, in_));
                task.is == Is::Asleep && (wakes_all || by_call())
            };
            let asleep = self.tasks.iter().filter(may_be_awake);
            for pid in asleep.map(|task| task.pid).collect::<Vec<_>>() {
                self.settle(pid);
            }
        }
    }

    /// Runs it until the process with this name is about to make its next call; `None` when
    /// the program has ended. All others run beside it, as they do without a tracer: ten
    /// times as fast, but who comes first of two may be another one each time.
    pub fn next_of(&mut self, name: &str) -> Option<Entry> {
        loop {
            for task in &mut self.tasks {
                // One whose maker has not been told of yet has no name either.
                if task.is == Is::Stopped && task.name != UNNAMED {
                    let signal = task.signal.take();
                    // An error: it was killed, and its end will be told.
                    let _ = match task.name == name {
                        true => ptrace::syscall(task.pid, signal),
                        false => ptrace::cont(task.pid, signal),
                    };
                    task.is = Is::Running;
                }
            }
            if !self.wait_for_any() {
                return None;
            }
            if let Some(entry) = self.entered.take()
                && !MEMORY.contains(&entry.nr)
            {
                self.count += 1;
                return Some(entry);
            }
        }
    }

    /// The calls that were done since this was asked last, and what they returned; from
    /// the first time on.
    pub fn take_results(&mut self) -> Vec<(Entry, i64)> {
        self.results.replace(Vec::new()).unwrap_or_default()
    }

    /// How many calls were begun, the one that is about to be made included.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The name of the process, by descent.
    pub fn name(&self, pid: Pid) -> &str {
        self.task(pid).map_or(UNNAMED, |task| &task.name)
    }

    /// Stops everybody, wherever he is.
    pub fn stop_all(&mut self) {
        let is_running = |task: &&Task| task.is == Is::Running;
        loop {
            let running: Vec<Pid> = self
                .tasks
                .iter()
                .filter(is_running)
                .map(|t| t.pid)
                .collect();
            if running.is_empty() {
                return;
            }
            for &pid in &running {
                let _ = ptrace::interrupt(pid); // it has stopped or ended this moment
            }
            let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD | WaitPidFlag::WNOHANG;
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::StillAlive) => {}
                Ok(status) => {
                    self.note(status);
                    continue;
                }
                Err(Errno::EINTR) => continue,
                Err(_) => return self.tasks.clear(),
            }
            // Who waits for one he made by vfork cannot be stopped, and does nothing.
            for pid in running {
                if state(pid) == 'D'
                    && let Some(task) = self.task_mut(pid)
                    && task.is_vfork
                {
                    task.is = Is::Asleep;
                }
            }
            std::thread::yield_now();
        }
    }

    /// Kills everything at once: nobody makes one more call.
    pub fn kill_all(mut self) -> Ended {
        // First who sleeps, because nobody else can move.
        self.tasks.sort_by_key(|task| task.is != Is::Asleep);
        for task in &self.tasks {
            let _ = kill(task.pid, Signal::SIGKILL); // a thread of one killed before
        }
        let _ = killpg(self.main, Signal::SIGKILL); // and who was not told of yet
        self.finish()
    }

    /// Sends a signal to the process that is about to make this call.
    pub fn send(&mut self, entry: Entry, signal: Signal) {
        kill(entry.pid, signal).expect("it is stopped");
    }

    /// Has the call fail without being made.
    pub fn fail(&mut self, entry: Entry, errno: Errno) -> nix::Result<()> {
        let mut registers = ptrace::getregs(entry.pid)?;
        registers.orig_rax = u64::MAX;
        ptrace::setregs(entry.pid, registers)?;
        ptrace::syscall(entry.pid, None)?;
        waitpid(entry.pid, Some(WaitPidFlag::__WALL))?;
        let mut registers = ptrace::getregs(entry.pid)?;
        registers.rax = i64::from(-(errno as i32)).cast_unsigned();
        ptrace::setregs(entry.pid, registers)?;
        if let Some(task) = self.task_mut(entry.pid) {
            task.call = None;
        }
        Ok(())
    }

    /// Halves the third argument of the call: the length of a write.
    pub fn halve(&mut self, entry: Entry) -> nix::Result<()> {
        let mut registers = ptrace::getregs(entry.pid)?;
        registers.rdx /= 2;
        ptrace::setregs(entry.pid, registers)?;
        if let Some(task) = self.task_mut(entry.pid) {
            task.third = Some(entry.args[2]);
        }
        Ok(())
    }

    /// Lets it run on to its end, all processes at once and no longer stopped.
    pub fn finish(mut self) -> Ended {
        loop {
            for task in &mut self.tasks {
                if task.is == Is::Stopped {
                    let signal = task.signal.take();
                    // An error: it was killed, and its end will be told.
                    let _ = match task.third {
                        Some(_) => ptrace::syscall(task.pid, signal),
                        None => ptrace::cont(task.pid, signal),
                    };
                    task.is = Is::Running;
                }
            }
            if !self.wait_for_any() {
                break;
            }
        }
        if unwatch(self.main) {
            return Err("it hangs".into());
        }
        self.status.ok_or_else(|| "it was never seen to end".into())
    }

    fn task(&self, pid: Pid) -> Option<&Task> {
        self.tasks.iter().find(|task| task.pid == pid)
    }

    fn task_mut(&mut self, pid: Pid) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.pid == pid)
    }

    /// Whose turn it is: the same one's while it is awake, then the oldest's.
    fn choose(&self) -> Option<Pid> {
        let is_ready = |task: &&Task| task.is == Is::Stopped;
        let same = self.turn.and_then(|pid| self.task(pid)).filter(is_ready);
        let next = same.or_else(|| self.tasks.iter().find(is_ready));
        next.map(|task| task.pid)
    }

    fn resume(&mut self, pid: Pid) {
        let task = self.task_mut(pid).expect("it was chosen");
        task.is = Is::Running;
        // An error: it was killed, and its end will be told.
        let _ = ptrace::syscall(pid, task.signal.take());
    }

    /// Waits until a process that runs has stopped, sleeps or is gone.
    fn settle(&mut self, pid: Pid) {
        let mut was_asleep = false;
        loop {
            let Some(task) = self.task(pid) else { return };
            if task.is == Is::Stopped {
                return;
            }
            // While nobody else could go on, whether it sleeps is all the same.
            if task.is == Is::Running && !self.tasks.iter().any(|task| task.is == Is::Stopped) {
                self.wait_for_any();
                continue;
            }
            let may_sleep = task.call.is_some_and(may_sleep);
            let is_vfork = task.is_vfork;
            let mut flags = WaitPidFlag::__WALL;
            flags.set(WaitPidFlag::WNOHANG, may_sleep);
            match waitpid(pid, Some(flags)) {
                Ok(WaitStatus::StillAlive) => {}
                Ok(status) => return self.note(status),
                Err(Errno::EINTR) => continue,
                Err(_) => return self.tasks.retain(|task| task.pid != pid),
            }
            let is_asleep = !is_running(pid)
                && match state(pid) {
                    'D' => is_vfork,
                    state => matches!(state, 'S' | 'Z' | 'X'),
                };
            // Seen twice, so that it cannot have stopped just before.
            if is_asleep && was_asleep {
                self.task_mut(pid).expect("it was there").is = Is::Asleep;
                return;
            }
            was_asleep = is_asleep;
            if !is_asleep {
                std::thread::yield_now();
            }
        }
    }

    /// Waits for anything to happen; `false` when nobody is left.
    fn wait_for_any(&mut self) -> bool {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        match waitpid(None, Some(flags)) {
            Ok(status) => self.note(status),
            Err(Errno::EINTR) => {}
            Err(_) => {
                self.tasks.clear();
                return false;
            }
        }
        true
    }

    fn note(&mut self, status: WaitStatus) {
        let Some(pid) = status.pid() else { return };
        if let WaitStatus::Exited(..) | WaitStatus::Signaled(..) = status {
            self.tasks.retain(|task| task.pid != pid);
            if pid == self.main {
                self.status = Some(status);
            }
            return;
        }
        if self.task(pid).is_none() {
            self.tasks.push(Task::new(pid, UNNAMED.into()));
        }
        let task = self.task_mut(pid).expect("it was put there");
        task.is = Is::Stopped;
        match status {
            WaitStatus::PtraceSyscall(_) => self.note_call(pid),
            WaitStatus::Stopped(_, signal) => task.signal = Some(signal),
            WaitStatus::PtraceEvent(
                _,
                _,
                event @ (libc::PTRACE_EVENT_FORK
                | libc::PTRACE_EVENT_VFORK
                | libc::PTRACE_EVENT_CLONE),
            ) => {
                task.made += 1;
                task.is_vfork = event == libc::PTRACE_EVENT_VFORK;
                let name = format!("{}.{}", task.name, task.made);
                let Ok(made) = ptrace::getevent(pid) else {
                    return;
                };
                let made = Pid::from_raw(made.try_into().expect("a process id"));
                if let Some(task) = self.task_mut(made) {
                    task.name = name; // it stopped first
                    return;
                }
                // Its first stop; an error: it is killed already.
                let _ = waitpid(made, Some(WaitPidFlag::__WALL));
                self.tasks.push(Task::new(made, name));
            }
            _ => {}
        }
    }

    /// A stop before or after a call.
    fn note_call(&mut self, pid: Pid) {
        let task = self.task_mut(pid).expect("it has stopped");
        if let Some(entry) = task.call
            && task.third.is_none()
        {
            task.call = None;
            task.is_vfork = false;
            if let Some(results) = &mut self.results
                && let Ok(registers) = ptrace::getregs(pid)
            {
                results.push((entry, registers.rax.cast_signed()));
            }
            return;
        }
        let (Ok(info), Ok(mut registers)) = (ptrace::syscall_info(pid), ptrace::getregs(pid))
        else {
            return; // killed this moment
        };
        if info.op == ENTRY {
            let entry = Entry {
                pid,
                nr: registers.orig_rax.cast_signed(),
                args: [
                    registers.rdi,
                    registers.rsi,
                    registers.rdx,
                    registers.r10,
                    registers.r8,
                    registers.r9,
                ],
            };
            task.call = Some(entry);
            self.entered = Some(entry);
            return;
        }
        task.call = None;
        task.is_vfork = false;
        if let Some(third) = task.third.take() {
            registers.rdx = third;
            let _ = ptrace::setregs(pid, registers); // killed this moment
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        for task in &self.tasks {
            let _ = kill(task.pid, Signal::SIGKILL); // may be gone
        }
        while !self.tasks.is_empty() && self.wait_for_any() {}
        unwatch(self.main);
    }
}

impl Task {
    fn new(pid: Pid, name: String) -> Task {
        Task {
            pid,
            name,
            made: 0,
            is: Is::Stopped,
            call: None,
            is_vfork: false,
            signal: None,
            third: None,
        }
    }
}

/// Whether a call may sleep until another process does something.
fn may_sleep(entry: Entry) -> bool {
    match entry.nr {
        libc::SYS_read | libc::SYS_write | libc::SYS_writev => {
            let link = format!("/proc/{}/fd/{}", entry.pid, entry.args[0]);
            fs::read_link(link).is_ok_and(|file| !file.starts_with("/") || file.starts_with("/dev"))
        }
        nr => SLEEPY.contains(&nr),
    }
}

/// Calls about memory are not counted: a process id with one digit more makes more of
/// them, and nobody else can see them.
const MEMORY: [i64; 6] = [
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
];

const SLEEPY: [i64; 22] = [
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_select,
    libc::SYS_pselect6,
    libc::SYS_epoll_wait,
    libc::SYS_rt_sigsuspend,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_pause,
    libc::SYS_flock,
    libc::SYS_splice,
    libc::SYS_sendfile,
    libc::SYS_recvfrom,
    libc::SYS_vfork,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Whether a call may wake another process that sleeps in `other`; a wait is ended by the
/// end of a process, or a signal.
fn wakes(entry: Entry, other: Entry) -> bool {
    if matches!(other.nr, libc::SYS_wait4 | libc::SYS_waitid) {
        return matches!(entry.nr, libc::SYS_kill | libc::SYS_tgkill);
    }
    const WAKING: [i64; 14] = [
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_read,
        libc::SYS_close,
        libc::SYS_close_range,
        libc::SYS_dup2,
        libc::SYS_dup3,
        libc::SYS_splice,
        libc::SYS_sendfile,
        libc::SYS_kill,
        libc::SYS_tgkill,
        libc::SYS_futex,
        libc::SYS_execve,
        libc::SYS_flock,
    ];
    WAKING.contains(&entry.nr)
}

/// The state of a process as the kernel tells it: R, S, D, t, Z.
fn state(pid: Pid) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // It stands behind the name, which is in parentheses.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.trim_start().chars().next().unwrap_or('X')
}

/// Whether it is on a processor after all: a process that looks whether it has to wait
/// is shown as asleep already.
fn is_running(pid: Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/syscall")).is_ok_and(|call| call.starts_with("running"))
}

struct Watched {
    main: Pid,
    until: Instant,
    has_hung: bool,
}

static WATCHED: Mutex<Vec<Watched>> = Mutex::new(Vec::new());

fn watch(main: Pid) {
    WATCHED
        .lock()
        .expect("nobody panics with it")
        .push(Watched {
            main,
            until: Instant::now() + DEADLINE,
            has_hung: false,
        });
}

/// Whether it had to be killed.
fn unwatch(main: Pid) -> bool {
    let mut all = WATCHED.lock().expect("nobody panics with it");
    let place = all.iter().position(|watched| watched.main == main);
    place.is_some_and(|place| all.swap_remove(place).has_hung)
}

/// Kills what hangs, for ever.
pub fn watchdog() {
    loop {
        std::thread::sleep(Duration::from_millis(500));
        for watched in WATCHED.lock().expect("nobody panics with it").iter_mut() {
            if Instant::now() > watched.until {
                watched.has_hung = true;
                let _ = killpg(watched.main, Signal::SIGKILL); // just ended
            }
        }
    }
}
