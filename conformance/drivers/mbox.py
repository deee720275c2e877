#!/usr/bin/env python3
"""mbox.py - the mbox protocol, version 1: a full peer with guard.

Written from the pages in spec/ alone, to be read by people who write their own
implementation in another language.  Run as:  python3 mbox.py VERB ARGS...

The names of steps (Acquire, Recover, Claim, Split, Put back, ...) and the IDs
in comments (ACQ-3, CLAIM-5, ...) are those of spec/protocol.md,
spec/delivery.md and spec/interface.md.  Paths, records and arguments are bytes
everywhere.  The file reads from the bottom of the system up:

    signals and errors - files - records - the lock - claims -
    append, drain, take, peek - the ledger - output - command line
"""
import errno
import fcntl
import os
import re
import signal
import stat
import sys
import time

STALE = 30.0                 # s: lock, steal marker, claim of a peer without guard
STALE_GUARDED = 300.0        # s: claim that ends in .g, seen without the guard
SETTLE = 0.5                 # s: REC-6
NEARLY_STALE = 25            # seconds, REC-6
PATIENCE = 1.0               # seconds, ACQ-2
PAUSE_MIN, PAUSE_MAX = 50e-6, 5e-3      # ACQ-6
KEEP_ALIVE = 10.0            # s: ACQ-7
MAX_BODY = 65536             # MSG-3
MAX_RECORD = 1048576         # RECORD-1, newline included
MAX_DEPTH = 128              # Damaged lines
REMEMBERED_IDS = 65536       # DRAIN-7
PIECE = 1 << 16              # bytes gathered for one write(2)
LEDGER_WAIT = 1.0            # s: LEDGER-3
LEDGER_MAX = 1000            # entries, LEDGER-6
RECEIPT_IDS = 1000           # in a line, RECEIPT-1
RECEIPTS_MAX = 262144        # bytes, RECEIPT-2

OK, NO, USAGE, DATA, BUG, IO, BUSY, REFUSED = 0, 1, 2, 65, 70, 74, 75, 77


# --- Errors and messages -----------------------------------------------------

class Fail(Exception):
    """A failure with its exit code (EXIT-1) and the message for people (CLI-2)."""

    def __init__(self, code, *message):
        super().__init__(code)
        self.code, self.message = code, message


class OutputClosed(Exception):
    """Nobody reads our stdout any more: quiet (EXIT-2)."""


def say(*parts):
    text = b"".join(p if isinstance(p, bytes) else str(p).encode() for p in parts)
    text = re.sub(rb"[\x00-\x1f\x7f]", lambda m: b"\\x%02x" % m.group()[0], text)
    try:
        os.write(2, b"mbox: " + text + b"\n")
    except OSError:
        pass


def refuse(path, why):
    return Fail(REFUSED, path, ": ", why, "; refused, move it out of the way and try again")


def report(failure, box=None):
    """Tell people about a failure; its exit code."""
    if isinstance(failure, OutputClosed):
        return IO
    if isinstance(failure, Fail):
        say(*failure.message)
        return failure.code
    names = [os.fsencode(n) for n in (failure.filename, failure.filename2)
             if isinstance(n, (str, bytes))]
    code, hint = IO, "put that right and try again"
    if failure.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        code, hint = REFUSED, "check owner, mode and mount"
    elif failure.errno == errno.ELOOP:
        code, hint = REFUSED, "a symbolic link is not followed; remove it"
    elif failure.errno == errno.ENOENT:
        hint = "is the directory there?"
    say(b" -> ".join(names) or (box.path if box else b"I/O"), ": ", failure.strerror, "; ", hint)
    return code


# --- Signals (CLI-6) -----------------------------------------------------------
#
# SIGINT, SIGTERM and SIGHUP raise Interrupted wherever the program may stop:
# while it waits for the lock, reads stdin, or writes mail out.  Everything in
# between runs with the three blocked, so the step in hand is finished and the
# lock released before the signal is seen.

SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
MASK_AT_START = signal.pthread_sigmask(signal.SIG_BLOCK, set())


class Interrupted(BaseException):
    def __init__(self, signum):
        super().__init__(signum)
        self.signum = signum


def catch_signals():
    def interrupted(signum, _frame):
        raise Interrupted(signum)
    for signum in SIGNALS:
        if signal.getsignal(signum) is not signal.SIG_IGN:    # nohup, background
            signal.signal(signum, interrupted)


def die_of(signum):
    signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signum})
    os.kill(os.getpid(), signum)


class signals_held:
    """A critical section.  A signal that came meanwhile is raised at its end."""

    def __enter__(self):
        self.before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def __exit__(self, *_):
        signal.pthread_sigmask(signal.SIG_SETMASK, self.before)


class signals_let_in:
    """Inside a critical section, a wait with nothing in hand that must be undone."""

    def __enter__(self):
        self.held = signal.pthread_sigmask(signal.SIG_BLOCK, set())
        try:
            signal.pthread_sigmask(signal.SIG_SETMASK, MASK_AT_START)
        except Interrupted:
            self.__exit__()
            raise

    def __exit__(self, *_):
        signal.pthread_sigmask(signal.SIG_SETMASK, self.held)


class Pause:
    """Bounded waiting by time, with exponential backoff and jitter (ACQ-6)."""

    def __init__(self, seconds):
        self.deadline = time.monotonic() + seconds
        self.step = PAUSE_MIN

    def over(self):
        return time.monotonic() >= self.deadline

    def wait(self):
        left = max(0.0, self.deadline - time.monotonic())
        jitter = 0.5 + os.urandom(1)[0] / 512
        with signals_let_in():
            time.sleep(min(left, self.step * jitter))
        self.step = min(self.step * 2, PAUSE_MAX)


# --- Files -----------------------------------------------------------------------

def lstat(path):
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None


def age_of(st):
    """A date in the future counts like one in the past (REC-5)."""
    return abs(time.time() - st.st_mtime)


def same_file(a, b):
    return a is not None and b is not None and (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)


def need_file(path, st):
    if not stat.S_ISREG(st.st_mode):
        raise refuse(path, "not a regular file")               # FILE-2, FILE-3
    return st


def need_directory(path, st):
    if not stat.S_ISDIR(st.st_mode):
        raise refuse(path, "not a directory")                  # FILE-2, FILE-3
    return st


def open_file(path, flags):
    """Open a regular file; follow no link, block on no FIFO (FILE-2, FILE-3)."""
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        fd = os.open(path, flags, 0o600)                       # FILE-1
    except OSError as e:
        if e.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise refuse(path, "not a regular file") from None
        raise
    try:
        need_file(path, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def make_directory(path):
    """mkdir; whether it was us."""
    try:
        os.mkdir(path, 0o700)                                  # FILE-1
        return True
    except FileExistsError:
        return False


def remove_file(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def remove_if_empty(path):
    try:
        os.rmdir(path)
    except OSError as e:
        if e.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
            raise


def write_all(fd, data):
    """write(2) until all is out: one call, unless a write is short (APP-4)."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view):]
        except BlockingIOError:                # a pipe somebody made non-blocking
            import select
            select.select([], [fd], [])


class Sink:
    """A buffered writer; what it holds goes out on flush()."""

    def __init__(self, fd):
        self.fd, self.parts, self.size = fd, [], 0

    def write(self, data):
        self.parts.append(data)
        self.size += len(data)
        if self.size >= PIECE:
            self.flush()

    def flush(self):
        data, self.parts, self.size = b"".join(self.parts), [], 0
        write_all(self.fd, data)

    def restart(self):
        """Of a file of our own: nothing was written."""
        self.parts, self.size = [], 0
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)


def safe_way(path, *names):                                    # ROOT-4, PLACE-1
    """Whether a directory of ours is there, by way of such directories alone."""
    for name in (None, *names):
        path = path if name is None else path + b"/" + name
        st = lstat(path)
        if st is None:
            return False
        need_directory(path, st)
        if st.st_uid != os.geteuid():
            raise refuse(path, "belongs to another user")
        if st.st_mode & 0o002:
            raise refuse(path, "is writable by others")
    return True


class Mailbox:
    """The paths of a mailbox, and what must be true of them before anything."""

    def __init__(self, path, root=None):
        self.path, self.root = path, root
        self.dir = os.path.dirname(path) or b"."
        self.lock = path + b".lock"                            # D
        self.owner = path + b".lock.owner"                     # O
        self.steal = path + b".lock.steal"                     # S
        self.guard = path + b".lock.guard"                     # G
        self.claims = path + b".claims"
        self.damaged = path + b".damaged"
        self.foreign = set()                                   # reported, CLAIM-8

    def check(self):
        """Refuse what is unsafe, before anything is changed."""
        if self.root is not None:                              # by name
            safe_way(self.root, os.path.basename(self.dir))
        for path in (self.path, self.owner, self.guard, self.damaged):
            st = lstat(path)
            if st is not None:
                need_file(path, st)
        for path in (self.lock, self.steal, self.claims):
            st = lstat(path)
            if st is not None:
                need_directory(path, st)

    def make_room(self):
        """By the first verb that writes (ROOT-3)."""
        if self.root is not None:
            os.makedirs(self.dir, 0o700, exist_ok=True)
            self.check()

    def sync_way(self):                                        # APP-6
        """The entries of every directory that ROOT-3 may have made, whoever did."""
        path = self.root
        while path is not None:
            sync_directory(path or b".")
            above = os.path.dirname(path)
            path = above if above != path and os.access(above or b".", os.W_OK) else None

    def looks_empty(self):                                     # DRAIN-1, HAS-1
        def no_records():
            st = lstat(self.path)
            return st is None or st.st_size == 0
        # Again: a take may put mail back between the first look and the second.
        return no_records() and lstat(self.claims) is None and no_records()

    def ledger(self):
        """L of a mailbox given by name, a record file too (LEDGER-1); else None."""
        if self.root is None:
            return None
        return Mailbox(self.root + b"/received/" + os.path.basename(self.path), self.root)


# --- Records -----------------------------------------------------------------------

_decoder = None
_string = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
_no_brackets = bytes(set(range(256)) - set(b"[{]}"))


def too_deep(line):
    """Whether a line, be it JSON or not, nests too deep; in linear time."""
    if line.count(b"[") + line.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in _string.sub(b"", line).translate(None, _no_brackets):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _not_json(_):
    raise ValueError("NaN and Infinity are not JSON")


def _integer(digits):
    return int(digits) if len(digits) < 20 else 0


def parse(line):
    """The object on a line, or None when the line is not a record.

    Exactly RFC 8259, valid UTF-8, at most 128 deep (Damaged lines).  Python's
    json takes NaN and Infinity (refused here), recurses (bounded here before),
    and turns long digits into integers in quadratic time (not done here: of
    numbers only a date is ever looked at).
    """
    global _decoder
    if _decoder is None:
        import json
        _decoder = json.JSONDecoder(parse_constant=_not_json, parse_int=_integer,
                                    parse_float=lambda _: 0)
    if too_deep(line):
        return None
    try:
        value = _decoder.decode(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def text_of(record, key):
    """A string member, or None."""
    value = record.get(key)
    return value if isinstance(value, str) else None


def blank(line):
    return not line.strip(b" \t\r")


def lines_of(fd):
    """(line, record or None, whole) for each line that is not blank."""
    with os.fdopen(fd, "rb", PIECE) as file:
        for line in file:
            whole = line.endswith(b"\n")
            if whole:
                line = line[:-1]
            if not blank(line):
                yield line, parse(line), whole


# --- The lock: Acquire, Recover, Release -------------------------------------------

def read_owner(box):
    """What O holds, less one newline (TOKEN-3), or None."""
    try:
        fd = open_file(box.owner, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        text = os.read(fd, 65536)
    finally:
        os.close(fd)
    return text[:-1] if text.endswith(b"\n") else text


def flock_now(fd):
    """An exclusive flock without waiting: True, False, or None where unsupported."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError as e:
        if e.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL):
            return None
        raise


class Lock:
    """One acquisition.  `with signals_held(), Lock(box, wait) as lock: ...`

    Afterwards `lock.was_held` says whether Release found it still held (REL-2).
    With `guard` None this acquisition follows the rules of a peer without guard.
    """

    def __init__(self, box, wait, use_guard=True):
        self.box, self.seconds, self.use_guard = box, wait, use_guard
        self.guard = self.spare = self.token = None
        self.was_held = False

    def __enter__(self):
        self.acquire()
        return self

    def __exit__(self, *_):
        self.release()

    # Acquire

    def acquire(self):
        pause = Pause(self.seconds)
        try:
            # One descriptor kept back, so that Release can read O whatever happens.
            self.spare = os.dup(2)
            if self.use_guard:
                self.take_guard(pause)
            mark = b".g" if self.guard is not None else b""            # TOKEN-2
            self.token = b"%d.%s%s" % (os.getpid(), os.urandom(8).hex().encode(), mark)
            self.gate(pause)
            self.kept = time.monotonic()
        except BaseException:
            self.let_go()
            raise

    def take_guard(self, pause):                                       # ACQ-1
        fd = open_file(self.box.guard, os.O_RDWR | os.O_CREAT)
        before, patience, first = None, None, True
        try:
            while True:
                over, late = before is not None and patience.over(), pause.over()
                had = flock_now(fd)
                if had:
                    self.guard = fd
                if had or had is None:
                    return
                signs, same = self.signs(), False                      # ACQ-2
                if isinstance(signs, list):
                    same = signs == before
                    if same and over and (signs[0] is not None or late):
                        return
                    if not same:
                        before, patience = signs, Pause(PATIENCE)
                elif signs == "of the holder":
                    before = None
                if late and not same and not (first and before is not None):
                    self.busy()
                first = False
                (patience if late else pause).wait()
        finally:
            if self.guard is None:
                os.close(fd)

    def signs(self):
        """What D and S are, where they do not tell that somebody is at work."""
        lock, mark = seen = [lstat(self.box.lock), lstat(self.box.steal)]
        if mark is not None and age_of(mark) <= STALE:
            return "of the holder"
        if lock is not None and age_of(lock) <= STALE:
            owner = read_owner(self.box)
            return "of the holder" if owner and owner.endswith(b".g") else "of another"
        return [st and (st.st_ino, st.st_mtime_ns) for st in seen]

    def gate(self, pause):                                             # ACQ-3
        while True:
            if make_directory(self.box.lock):
                if self.publish():
                    return
            elif self.recover():
                continue
            if pause.over():
                self.busy()
            pause.wait()

    def busy(self):
        owner = read_owner(self.box)
        raise Fail(BUSY, self.box.path, ": busy, the lock ", self.box.lock, " was not had in ",
                   "%g s" % self.seconds, b" (owner " + owner + b")" if owner else "",
                   "; try again, or with a longer --wait")

    def publish(self):                                                 # ACQ-4, ACQ-5
        box = self.box
        try:
            fd = os.open(box.owner, os.O_WRONLY | os.O_CREAT | os.O_EXCL
                         | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            return False                       # leave D and O alone
        except OSError:
            os.rmdir(box.lock)
            raise
        try:
            write_all(fd, self.token + b"\n")
        except OSError:
            if same_file(os.fstat(fd), lstat(box.owner)):
                os.unlink(box.owner)
                os.rmdir(box.lock)
            raise
        finally:
            os.close(fd)
        return True

    # Recover

    def recover(self):
        """D exists.  True when it was cleared and the gate may be tried at once."""
        box = self.box
        seen = read_owner(box)                                         # Observe
        st = lstat(box.lock)
        if st is None:
            return False
        need_directory(box.lock, st)
        by_guard = self.guard is not None and seen is not None and seen.endswith(b".g")
        by_age = age_of(st) > STALE                                    # Judge, REC-1
        if not by_guard and not by_age:
            return False
        if not make_directory(box.steal):                              # Mark
            self.clear_stale_marker()
            return False
        try:
            now = lstat(box.lock)                                      # Compare, REC-2
            if read_owner(box) != seen or now is None or \
                    (now.st_ino, now.st_mtime_ns) != (st.st_ino, st.st_mtime_ns):
                return False
            if seen is not None:                                       # Clear
                remove_file(box.owner)
            try:
                os.rmdir(box.lock)
            except FileNotFoundError:
                pass
            except OSError as e:
                if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if not by_age:                                         # REC-3
                    return False
                self.remove_tree(box.lock)
            if by_age or age_of(now) > NEARLY_STALE:
                time.sleep(SETTLE)                                     # Settle, REC-6
            return True
        finally:
            remove_if_empty(box.steal)                                 # Unmark

    def clear_stale_marker(self):                                      # REC-4
        st = lstat(self.box.steal)
        if st is not None and age_of(need_directory(self.box.steal, st)) > STALE:
            try:
                os.rmdir(self.box.steal)
            except FileNotFoundError:
                pass
            except OSError as e:
                if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                self.remove_tree(self.box.steal)

    @staticmethod
    def remove_tree(path):
        import shutil
        shutil.rmtree(path)                    # follows no links

    # While it is held

    def owned(self):
        return read_owner(self.box) == self.token

    def keep_alive(self):                                              # ACQ-7
        if time.monotonic() - self.kept > KEEP_ALIVE:
            self.kept = time.monotonic()
            if self.owned():
                os.utime(self.box.lock, follow_symlinks=False)

    # Release

    def release(self):
        if self.token is None:
            return
        if self.spare is not None:
            os.close(self.spare)
            self.spare = None
        try:
            self.was_held = self.owned()                               # Verify, REL-1
            if self.was_held:
                remove_file(self.box.owner)
                remove_if_empty(self.box.lock)
        finally:
            self.let_go()

    def let_go(self):
        """Close G, and forget the rest.  G itself stays (FILE-4)."""
        for fd in (self.spare, self.guard):
            if fd is not None:
                os.close(fd)
        self.spare = self.guard = self.token = None


# --- Claims ------------------------------------------------------------------------

_claim_name = re.compile(rb"([0-9]{13})-([0-9]{13})-([0-9]+)\.(.+)", re.DOTALL)
GIVEN_UP = b"0" * 13
_counter = 0


def milliseconds():
    return min(max(int(time.time() * 1000), 1), 9999999999999)


def claim_name(birth, lock):                                           # CLAIM-1
    global _counter
    _counter += 1
    return b"%013d-%013d-%d.%s" % (birth, milliseconds(), _counter, lock.token)


def birth_of(name):
    return int(name[:13])


def in_order(name):
    """By birth; claims of one birth as they were made."""
    birth, stamp, n, token = _claim_name.fullmatch(name).groups()
    return int(birth), int(stamp), int(n), token


def claims_in(box):
    """The names of all claims, oldest first.  What is no claim is reported (CLAIM-8)."""
    try:
        fd = os.open(box.claims, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return []
    try:
        entries = [os.fsencode(name) for name in os.listdir(fd)]
    finally:
        os.close(fd)
    names = []
    for name in entries:
        st = lstat(box.claims + b"/" + name)
        if st is None:
            continue
        if _claim_name.fullmatch(name) and stat.S_ISREG(st.st_mode):
            names.append(name)
        elif name not in box.foreign:
            box.foreign.add(name)
            say(box.claims, b"/", name, ": not a claim, left alone; move it out of the way")
    return sorted(names, key=in_order)


def hold(path):
    """Open and flock what is at path (CLAIM-3).  None: gone, or another's."""
    while True:
        try:
            fd = open_file(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        if flock_now(fd) and same_file(os.fstat(fd), lstat(path)):
            return fd
        locked = same_file(os.fstat(fd), lstat(path))
        os.close(fd)
        if locked:
            return None


def more_descriptors():
    import resource
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Claim:
    def __init__(self, box, name, fd):
        self.box, self.name, self.fd = box, name, fd   # fd holds the flock, or None
        self.damage_kept = False

    @property
    def path(self):
        return self.box.claims + b"/" + self.name

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class Claims:
    """The claims in the hands of this reader, oldest first."""

    def __init__(self, box):
        self.box, self.mine, self.passed_over = box, [], False

    def adopt(self, lock):                                             # DRAIN-2
        mine = {claim.name for claim in self.mine}
        orphans = [n for n in claims_in(self.box) if n not in mine and self.orphaned(n, lock)]
        renames = [(n, claim_name(birth_of(n), lock)) for n in orphans]
        if len(orphans) > 100:
            more_descriptors()                 # one for each claim, CLAIM-3
        for old, new in reversed(renames):                             # newest first
            fd = None
            if lock.guard is not None:
                fd = hold(self.box.claims + b"/" + old)                # CLAIM-3, CLAIM-4
                if fd is None:
                    self.passed_over = True
                    continue
            self.rename(self.box.claims + b"/" + old, new, fd)

    def orphaned(self, name, lock):                                    # CLAIM-4, 5, 6
        _, stamp, _, token = _claim_name.fullmatch(name).groups()
        guarded = token.endswith(b".g")
        if guarded and lock.guard is not None:
            return True                        # exactly when hold() succeeds
        age = abs(time.time() - int(stamp) / 1000)
        if age > (STALE_GUARDED if guarded else STALE):
            return True
        self.passed_over = True
        return False

    def rename(self, old_path, new, fd):
        try:
            os.rename(old_path, self.box.claims + b"/" + new)
        except BaseException as e:
            if fd is not None:
                os.close(fd)
            if isinstance(e, FileNotFoundError):
                return False
            raise
        self.mine.append(Claim(self.box, new, fd))
        self.mine.sort(key=lambda claim: in_order(claim.name))
        return True

    def claim(self, lock):                                             # DRAIN-3
        """Rename B to a claim."""
        while True:
            st = lstat(self.box.path)
            if st is None:
                break
            need_file(self.box.path, st)
            fd = None
            if lock.guard is not None:
                fd = hold(self.box.path)
                if fd is None:
                    if lstat(self.box.path) is None:
                        continue
                    raise Fail(BUSY, self.box.path, ": locked by another program; try again")
            make_directory(self.box.claims)
            births = [birth_of(name) for name in claims_in(self.box)]  # CLAIM-2
            birth = min(max([milliseconds()] + [b + 1 for b in births]), 9999999999999)
            if self.rename(self.box.path, claim_name(birth, lock), fd):
                return
        if not self.mine:
            remove_if_empty(self.box.claims)

    def read(self):                                                    # DRAIN-5
        """(claim, line, record or None), to the end, in order of birth."""
        for claim in self.mine:
            try:
                fd = open_file(claim.path, os.O_RDONLY)
            except FileNotFoundError:
                continue                       # adopted by another
            for line, record, _ in lines_of(fd):                       # DMG-3
                yield claim, line, record

    def copy(self, out):                                               # TAKE-1
        """All of them as they are, but for a newline at each end; is there anything?"""
        some = False
        for claim in self.mine:
            try:
                fd = open_file(claim.path, os.O_RDONLY)
            except FileNotFoundError:
                continue
            with os.fdopen(fd, "rb", PIECE) as file:
                for line in file:
                    out.write(line if line.endswith(b"\n") else line + b"\n")
                    some = True
        return some

    def unlink(self):                                                  # DRAIN-8
        while self.mine:                                               # newest first
            remove_file(self.mine[-1].path)
            self.mine.pop().close()            # the flock until after the unlink

    def remove_directory(self):
        remove_if_empty(self.box.claims)

    def give_up(self):                                                 # CLAIM-7, DRAIN-9
        with signals_held():
            for claim in self.mine:
                name = claim.name[:14] + GIVEN_UP + claim.name[27:]
                try:
                    os.rename(claim.path, self.box.claims + b"/" + name)
                except OSError:
                    pass
                claim.close()
            self.mine = []


class Damage:
    """Damaged lines on their way to B.damaged (DMG-2)."""

    def __init__(self, box):
        self.box, self.lines = box, []

    def add(self, claim, line):
        self.lines.append((claim, line))

    def keep(self):
        """Before the claims that hold them are unlinked; each line once."""
        lines = [(c, line) for c, line in self.lines if not c.damage_kept]
        if not lines:
            return
        fd = open_file(self.box.damaged, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        try:
            out = Sink(fd)
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                out.write(b"\n")
            for _, line in lines:
                out.write(line + b"\n")
            out.flush()
        finally:
            os.close(fd)
        for claim, _ in lines:
            claim.damage_kept = True
        say(self.box.path, ": ", len(lines), " damaged line(s) moved to ", self.box.damaged,
            "; look there for what was lost")


class Seen:
    """The message ids of the last records delivered (DRAIN-7)."""

    def __init__(self, limit=None):
        import collections
        self.ids, self.order, self.limit = set(), collections.deque(), limit

    def knows(self, record):
        return text_of(record, "id") in self.ids

    def repeats(self, record):
        """Whether its id was delivered already; if not, it is from now on."""
        key = text_of(record, "id")
        if key is None or not re.fullmatch("[0-9a-f]{16}", key):
            return False
        if key in self.ids:
            return True
        self.ids.add(key)
        if self.limit is not None:
            self.order.append(key)
            if len(self.order) > self.limit:
                self.ids.remove(self.order.popleft())
        return False


# --- Append ------------------------------------------------------------------------

def gather(lines):
    """Whole records, a newline behind each, in pieces for one write(2) each (APP-4)."""
    pieces, piece, size = [], [], 0
    for line in lines:
        if piece and size + len(line) >= MAX_RECORD:
            pieces.append(b"".join(piece))
            piece, size = [], 0
        piece += line, b"\n"
        size += len(line) + 1
    return pieces + [b"".join(piece)]


def append(box, lines, wait, sync=False, unless=None):
    """Append records that were formatted and checked (APP-1); return is Acknowledge.

    With `unless`, an id, nothing is written when a record has it already (LEDGER-4).
    """
    pieces = gather(lines)
    box.make_room()
    while True:
        with signals_held(), Lock(box, wait) as lock:                  # Acquire
            intact = unless is not None and holds(box, unless, sync) or \
                write_records(box, lock, pieces, sync)
        if lock.was_held and intact:                                   # APP-7, APP-8
            return


def write_records(box, lock, pieces, sync):
    fd = open_file(box.path, os.O_RDWR | os.O_APPEND | os.O_CREAT)     # Open, APP-2
    try:
        size = os.fstat(fd).st_size
        torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"         # Heal, APP-3
        for piece in pieces:                                           # Write
            write_all(fd, b"\n" + piece if torn else piece)            # APP-5: no truncation
            if not reads_back(fd, piece):
                return False
            torn = False
            lock.keep_alive()
        if sync:                                                       # Sync, APP-6
            os.fsync(fd)
            sync_directory(box.dir)
            box.sync_way()
        return True
    finally:
        os.close(fd)


def reads_back(fd, piece):
    """Whether the piece just written stands in B whole, at the start of a line (APP-8)."""
    end = os.lseek(fd, 0, os.SEEK_CUR)         # behind our own write, with O_APPEND too
    start = end - len(piece)
    if start == 0:
        return os.pread(fd, len(piece), 0) == piece
    return os.pread(fd, len(piece) + 1, start - 1) == b"\n" + piece


def holds(box, key, sync):
    """Whether a record with this id is there, and if asked, that it will stay."""
    if not any(record and text_of(record, "id") == key for _, record in visible(box)):
        return False
    if sync:
        for path in [box.path] + [box.claims + b"/" + name for name in claims_in(box)]:
            sync_path(path, 0)
        for path in (box.claims, box.dir):
            sync_directory(path)
        box.sync_way()
    return True


def sync_directory(path):
    sync_path(path, os.O_DIRECTORY)


def sync_path(path, flags):
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags)
    except FileNotFoundError:
        return                                 # another reader removed it
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


# --- Drain -------------------------------------------------------------------------

def drain(box, out, wait):
    """Everything, oldest first; how many records were handed over."""
    if box.looks_empty():                                              # Look, DRAIN-1
        return 0
    claims = Claims(box)
    try:
        with signals_held():
            with Lock(box, wait) as lock:                              # Acquire
                claims.adopt(lock)                                     # Adopt
                claims.claim(lock)                                     # Claim
            if claims.mine and not lock.was_held:                      # Fence, DRAIN-4
                with Lock(box, wait):
                    pass               # publishing anew is itself the fence
        count = deliver(box, claims, out, Seen(REMEMBERED_IDS))
    except BaseException:
        claims.give_up()
        raise
    if count == 0:
        say_passed_over(box, claims)
    return count


def deliver(box, claims, out, seen=None):
    """Read, Deliver, Acknowledge."""
    count, damage, receipt = 0, Damage(box), Receipt(box, out.verb)
    for claim, line, record in claims.read():
        if record is None:
            damage.add(claim, line)                                    # DMG-1
        elif seen is None or not seen.repeats(record):                 # DRAIN-7
            out.record(line, record)
            receipt.add(record)
            count += 1
    out.flush()                                                        # DRAIN-6, TAKE-6
    if claims.mine:
        with signals_held():
            receipt.write()
            damage.keep()                                              # DMG-2
            claims.unlink()                                            # DRAIN-8
            claims.remove_directory()
    return count


def say_passed_over(box, claims):                                      # DRAINV-4
    if claims.passed_over:
        say(box.path, ": there is mail in the hands of another reader; ",
            "nothing handed over, look again later")


# --- Take, and the bounded drain ---------------------------------------------------

CHOSEN, STAYS, DROPPED = "chosen", "stays", "dropped"


class Choice:
    """What a take chooses: called with each record, it says what becomes of it."""
    needs, is_bounded = None, False

    def begin(self, claims):
        """Before the first record is shown, with the claims they are in."""


class First(Choice):
    """The first record whose string members are all as wanted (TAKEV-1)."""

    def __init__(self, wanted):
        self.wanted, self.done = wanted, False

    def __call__(self, line, record):
        if self.done or any(text_of(record, k) != v for k, v in self.wanted.items()):
            return STAYS
        self.done = True
        return CHOSEN


class Bounded(Choice):
    """The first records, within --max and --max-bytes (DRAINV-2, DRAINV-3)."""
    is_bounded = True

    def __init__(self, most, most_bytes):
        self.left, self.room = most, most_bytes
        self.count, self.full, self.needs = 0, False, None
        self.seen = Seen(REMEMBERED_IDS)

    def __call__(self, line, record):
        size = len(line) + 1
        if self.full:
            return STAYS
        if self.seen.knows(record):                                    # DRAIN-7
            return DROPPED
        if self.room is not None and size > self.room:
            self.full = True
            if self.count == 0:
                self.needs = size
            return STAYS
        self.seen.repeats(record)
        self.count += 1
        if self.room is not None:
            self.room -= size
        self.full = self.count == self.left
        return CHOSEN


class Older(Choice):
    """All but the newest records, when those are too many (LEDGER-6)."""

    def __init__(self, keep):
        self.keep, self.count = keep, 0

    def begin(self, claims):
        # Not what is visible: what another has in hand must not count.
        records = sum(record is not None for _, _, record in claims.read())
        self.count = too_many(records, self.keep)

    def __call__(self, line, record):
        self.count -= 1
        return CHOSEN if self.count >= 0 else STAYS


def take(box, new_choice, out, wait):
    """(how many records were handed over, the choice)."""
    choice, damaged, records = new_choice(), False, False              # Look, TAKE-1
    for line, record in visible(box):
        if record is None:
            damaged = True
        else:
            records = True
            if choice(line, record) is CHOSEN:
                break
    else:
        only_damaged = damaged and not records and choice.is_bounded   # TAKE-9
        if not only_damaged and (choice.needs is None or lstat(box.claims) is None):
            return 0, choice
    return take_under_lock(box, new_choice, out, wait)


def take_under_lock(box, new_choice, out, wait):
    claims = Claims(box)
    try:
        done = False
        while not done:
            choice = new_choice()
            with signals_held(), Lock(box, wait) as lock:              # Acquire
                claims.adopt(lock)                                     # Adopt
                claims.claim(lock)                                     # Claim
                if not claims.mine:
                    break
                if not lock.owned():                                   # Fence, TAKE-7
                    continue
                done = Split(box, lock, claims).run(choice)
        count = deliver(box, claims, out)
    except BaseException:
        claims.give_up()
        raise
    if count == 0 and out.verb:
        say_passed_over(box, claims)
    return count, choice


class Split:
    """Split, Put back, Unlink, under the lock and after the fence."""

    def __init__(self, box, lock, claims):
        self.box, self.lock, self.claims = box, lock, claims
        self.temporaries = []

    def temporary(self, what):                                         # FILE-5
        path = self.box.path + b".tmp." + self.lock.token + what
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
                     | os.O_CLOEXEC, 0o600)
        self.temporaries.append((path, fd))
        return path, Sink(fd)

    def run(self, choice):
        """True when done; False: B exists again, begin again at Acquire (TAKE-3)."""
        box, claims, damage = self.box, self.claims, Damage(self.box)
        chosen, put_back = None, False
        try:
            choice.begin(claims)
            picked_path, picked = self.temporary(b".chosen")
            others_path, others = self.temporary(b".others")
            birth, some_stay = None, False
            for claim, line, record in claims.read():                  # Split, TAKE-5
                self.lock.keep_alive()
                verdict = None if record is None else choice(line, record)
                if record is None:
                    damage.add(claim, line)
                elif verdict is CHOSEN:
                    birth = birth or birth_of(claim.name)
                    picked.write(line + b"\n")
                elif verdict is STAYS:
                    some_stay = True
                    others.write(line + b"\n")
            if choice.is_bounded and not some_stay:                    # TAKE-9
                return True
            if birth is None:
                others.restart()                                       # TAKE-1
                some_stay = claims.copy(others)
            else:
                damage.keep()                                          # DMG-2
            for sink in (picked, others):
                sink.flush()
                os.fsync(sink.fd)                                      # Sync, TAKE-8
            if birth is not None:                                      # TAKE-2
                chosen = self.become_claim(picked_path, picked.fd, birth)
            if some_stay:
                try:
                    os.link(others_path, box.path)                     # Put back, TAKE-3
                except FileExistsError:
                    return False
            sync_directory(box.dir)                                    # Sync, TAKE-8
            sync_directory(box.claims)
            put_back = True
            claims.unlink()                                            # Unlink, TAKE-4
            return True
        finally:
            if chosen is not None and put_back:
                claims.mine.append(chosen)     # to be delivered, or given up
            elif chosen is not None:
                remove_file(chosen.path)
                chosen.close()
            for path, fd in self.temporaries:
                remove_file(path)
                if fd is not None:
                    os.close(fd)

    def become_claim(self, path, fd, birth):
        """The temporary becomes a claim, under an flock from before (CLAIM-3)."""
        guarded = self.lock.guard is not None
        if guarded and not flock_now(fd):
            raise OSError(errno.ENOLCK, "flock failed", path)
        claim = Claim(self.box, claim_name(birth, self.lock), fd if guarded else None)
        while True:
            try:
                os.rename(path, claim.path)
                break
            except FileNotFoundError:          # another reader removed B.claims
                make_directory(self.box.claims)
        if guarded:                            # the claim closes it now
            self.temporaries = [(p, None if p == path else f) for p, f in self.temporaries]
        return claim


# --- Reading without removing --------------------------------------------------------

def visible(box):
    """(line, record or None) of all claims, in order of birth, then of B (PEEK-1, PEEK-2).

    B is opened before the claims are listed: what a reader claims meanwhile is
    then found in one of the two, and a file found in both is known by its inode.
    """
    try:
        b = open_file(box.path, os.O_RDONLY)
    except FileNotFoundError:
        b = None
    try:
        read = set() if b is None else {os.fstat(b).st_ino}
        for _ in range(100):
            moved = False
            for name in claims_in(box):
                try:
                    fd = open_file(box.claims + b"/" + name, os.O_RDONLY)
                except FileNotFoundError:
                    moved = True               # adopted or done: look again
                    continue
                if os.fstat(fd).st_ino in read:
                    os.close(fd)
                    continue
                read.add(os.fstat(fd).st_ino)
                for line, record, _whole in lines_of(fd):
                    yield line, record
            if not moved:
                break
        if b is not None:
            for line, record, whole in lines_of(os.dup(b)):
                if record is not None or whole:  # PEEK-3
                    yield line, record
    finally:
        if b is not None:
            os.close(b)


def peek(box, out, since, most):
    seen, kept, count = Seen(), [], 0
    for line, record in visible(box):
        if record is None:
            continue
        fresh = not seen.repeats(record)                               # each id once
        if since is None:
            if fresh:
                out.record(line, record)
                count += 1
                if count == most:
                    break
        elif fresh and text_of(record, "id") == since:                 # PEEKV-2
            kept = []
        elif fresh:
            kept.append((line, record))
    for line, record in kept[:most]:
        out.record(line, record)
    out.flush()


# --- The ledger, receipts --------------------------------------------------------------

def send(box, line, options, keep):
    """The entry, then the message (LEDGER-2); then what people are told, and Prune."""
    wait, sync, verbose = wait_of(options), b"--sync" in options, b"--verbose" in options
    key = text_of(parse(line), "id")
    entered = enter(box.ledger(), line, key, b"--id" in options, wait, sync)
    append(box, [line], wait, sync)
    out = Output(b"jsonl")
    out.write(plain(key) + b"\n")
    out.flush()
    if entered:
        prune(box.ledger(), keep, wait, verbose)


def enter(ledger, line, key, given, wait, sync):
    """Whether the ledger has the entry; without it, the message goes all the same."""
    try:
        append(ledger, [line], min(wait, LEDGER_WAIT), sync, key if given else None)
        return True
    except (Fail, OSError) as failure:                                 # LEDGER-3
        report(failure, ledger)
        say(ledger.path, ": no entry for ", key, ", it cannot be answered by its id")
        return False


def look_up(ledger, key):                                              # LEDGER-5
    for _, record in visible(ledger):
        if record is not None and text_of(record, "id") == key:
            return record
    return None


def too_many(records, keep):
    """How many of the oldest are to go: none before they are over an eighth."""
    older = records - keep
    return older if older > keep // 8 else 0


def prune(ledger, keep, wait, verbose):                                # LEDGER-6
    """After the message: nothing that goes wrong here is the sender's affair."""
    count = 0
    try:
        if too_many(sum(record is not None for _, record in visible(ledger)), keep):
            nowhere = Nowhere(ledger)
            take_under_lock(ledger, lambda: Older(keep), nowhere, min(wait, LEDGER_WAIT))
            count = nowhere.count
    except (Fail, OSError) as failure:
        if not isinstance(failure, Fail) or failure.code != BUSY:      # the next one will
            report(failure, ledger)
    if verbose:                                                        # SENDV-3
        say(ledger.path, ": ", count, " entries pruned")


class Nowhere:
    """Where pruned entries go: only how many they were is kept."""
    verb = None

    def __init__(self, ledger):
        self.path, self.count = ledger.path + b".pruned", 0

    def record(self, _line, _record):
        self.count += 1

    def flush(self):                                                   # LEDGER-7
        if self.count:
            note(self.path, {"at": int(time.time()), "pruned": self.count})


def note(path, record):
    """A line of its own, whatever stands before it, in one write without a lock."""
    import json
    fd = open_file(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        write_all(fd, b"\n" + json.dumps(record, separators=(",", ":")).encode() + b"\n")
    finally:
        os.close(fd)


class Receipt:
    """What was handed over of a mailbox that has a ledger (RECEIPT-1)."""

    def __init__(self, box, verb):
        self.box, self.verb, self.ids, self.answered = box, verb, [], []
        ledger = box.ledger() if verb else None
        self.ledger = ledger if ledger and os.path.lexists(ledger.path) else None

    def add(self, record):
        if self.ledger:
            for key, keys in (("id", self.ids), ("reply_to", self.answered)):
                value = text_of(record, key)
                if value is not None and re.fullmatch("[0-9a-f]{16}", value):
                    keys.append(value)

    def write(self):
        """Whatever goes wrong here, the mail was handed over."""
        if not self.ids and not self.answered:
            return
        try:
            self.ledger.check()
            path = self.ledger.path + b".receipts"
            st = lstat(path)
            if st is not None and st.st_size > RECEIPTS_MAX:           # RECEIPT-2
                os.rename(path, path + b".old")
            for i in range(0, len(self.ids), RECEIPT_IDS):
                note(path, {"at": int(time.time()), "by": self.verb,
                            "ids": self.ids[i:i + RECEIPT_IDS]})
        except (Fail, OSError) as failure:
            report(failure, self.ledger)
        try:
            self.settle()
        except (Fail, OSError) as failure:
            report(failure, self.box)

    def settle(self):                                                  # PENDING-2
        name = os.path.basename(self.box.path)[:-len(b".jsonl")]
        place = self.box.root + b"/pending/" + name
        if not self.answered or not safe_way(self.box.root, b"pending", name):   # PLACE-1
            return
        for request in self.answered:
            remove_file(place + b"/" + request.encode())


# --- Output --------------------------------------------------------------------------

_unprintable = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_no_utf8 = re.compile("[\ud800-\udfff]")


def plain(text):
    return _no_utf8.sub("\ufffd", text).encode("utf-8")


def for_people(text):                                                  # FMT-3
    def escape(match):
        code = ord(match.group())
        return "\\x%02x" % code if code < 256 else "\\u%04x" % code
    return plain(_unprintable.sub(escape, text))


class Output:
    """stdout: the answer and nothing else (CLI-2)."""

    def __init__(self, form=None, verb=None):
        if form is None:                                               # FMT-4
            form = b"text" if os.isatty(1) else b"jsonl"
        self.form, self.verb, self.sink = form, verb, Sink(1)

    def record(self, line, record):
        body = text_of(record, "body")
        if self.form == b"jsonl" or self.form == b"body" and body is None:
            self.write(line + b"\n")                                   # FMT-1
        elif self.form == b"body":                                     # FMT-2
            self.write(plain(body.replace("\0", "\ufffd")) + b"\n")
        else:
            self.write(self.as_text(line, record, body))

    def as_text(self, line, record, body):
        head = ["-- " + (text_of(record, "id") or "(no id)")]
        when = record.get("enqueued_at")
        if isinstance(when, int) and 0 < when < 253402300800:
            head.append(time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when)))
        for key, word in (("from_session_id", "from"), ("reply_to", "reply to"),
                          ("request_id", "request")):
            if text_of(record, key):
                head.append(word + " " + text_of(record, key))
        first = re.sub("[\n\t]", " ", "  ".join(head))
        rest = line.decode("utf-8") if body is None else body
        return for_people(first) + b"\n" + for_people(rest) + b"\n\n"

    def write(self, data):
        self.guarded(self.sink.write, data)

    def flush(self):
        self.guarded(self.sink.flush)

    def discard(self):
        self.sink = Sink(1)

    @staticmethod
    def guarded(call, *args):
        try:
            call(*args)
        except OSError as e:
            if e.errno in (errno.EPIPE, errno.EBADF):                  # EXIT-2
                raise OutputClosed() from None
            raise Fail(IO, "stdout: ", e.strerror, "; what was not written out stays, ",
                       "make room and try again") from None


# --- Verbs -----------------------------------------------------------------------------

def usage(*message):
    return Fail(USAGE, *message, "; see --help")


_name = re.compile(rb"[A-Za-z0-9_@+][A-Za-z0-9._@+-]{0,127}")
_id = re.compile(rb"[0-9a-f]{16}")


def environment(key):
    return os.environb.get(key) or None


def mailbox(argument, options, is_name=False):
    if b"/" in argument and not is_name:                               # NAME-1
        return Mailbox(argument)
    if not _name.fullmatch(argument):                                  # NAME-2
        raise usage("not the name of a mailbox: ", argument[:200])
    root = options.get(b"--root") or environment(b"MBOX_ROOT")         # ROOT-1
    if root is None:
        state = environment(b"XDG_STATE_HOME")
        if state is None:
            home = environment(b"HOME")
            if home is None:
                import pwd
                home = os.fsencode(pwd.getpwuid(os.getuid()).pw_dir)
            state = home + b"/.local/state"
        root = state + b"/mbox"
    root = root.rstrip(b"/") or b"/"
    return Mailbox(root + b"/mailboxes/" + argument + b".jsonl", root)  # ROOT-2


def mailboxes(args, options):                                          # CLI-4
    if args:
        return [mailbox(arg, options) for arg in args]
    name = environment(b"MBOX_NAME")
    if name is None:
        raise usage("no MAILBOX given and MBOX_NAME is not set")
    return [mailbox(name, options, is_name=True)]


def each(boxes, out, act):
    """The first status that is not 0; the others are still done (EXIT-1)."""
    status = OK
    for box in boxes:
        try:
            box.check()
            done = act(box)
        except (Fail, OSError, OutputClosed) as failure:
            out.discard()
            done = report(failure, box)
        status = status or done
    return status


def read_stdin(limit=None):
    parts, size = [], 0
    while limit is None or size <= limit:
        try:
            part = os.read(0, PIECE)
        except OSError as e:
            raise Fail(IO, "stdin: ", e.strerror, "; give a BODY or something to read")
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def envelope_of(options):                                              # APPEND-2
    envelope = {option: options[option] for option in ENVELOPE if option in options}
    for option, value in envelope.items():
        if not (_id if option == b"--id" else _name).fullmatch(value):
            raise usage("not a value for ", option, ": ", value[:200])
    return envelope


def verb_append(args, options):
    raw = b"--raw" in options
    if raw and (len(args) > 1 or any(option in options for option in ENVELOPE)):
        raise usage("--raw goes without BODY and without the options of an envelope")
    envelope = envelope_of(options)
    box = mailbox(args[0], options)
    wait = wait_of(options)
    box.check()
    if raw:
        lines, ids = raw_records(read_stdin())
    else:
        lines, ids = [message(args[1:], envelope)], None
    if not lines:
        return OK
    try:
        append(box, lines, wait, b"--sync" in options)
    except OSError as failure:
        return report(failure, box)
    out = Output(b"jsonl")
    if ids is None:
        ids = [text_of(parse(lines[0]), "id")]
    for key in ids:
        out.write(plain(key) + b"\n")
    out.flush()
    return OK


def message(body, envelope):
    """The line of a message: key order and escapes of MSG-1 and MSG-2."""
    import json
    most = environment(b"MBOX_MAX_BODY")                               # MSG-3
    if most is not None and not re.fullmatch(rb"[0-9]{1,18}", most):
        raise usage("MBOX_MAX_BODY is not a number: ", most)
    most = MAX_BODY if most is None else int(most)
    if body:
        body = body[0]
    else:                                                              # APPEND-1
        body = read_stdin(most + 1)
        body = body[:-1] if body.endswith(b"\n") else body
    if len(body) > most:
        raise Fail(DATA, "the body is over ", most, " bytes; nothing written, send less")
    if b"\0" in body:                                                  # MSG-4
        raise Fail(DATA, "the body holds a NUL byte; nothing written, encode it first")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Fail(DATA, "the body is not UTF-8; nothing written, encode it first") from None
    record = {"schema_version": 1, "id": os.urandom(8).hex(), "body": text,
              "enqueued_at": int(time.time()), "body_bytes": len(body), "origin": "peer"}
    for option, key in ENVELOPE.items():
        if option in envelope:
            record[key] = envelope[option].decode("ascii")
    line = json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    if len(line) + 1 > MAX_RECORD:                                     # RECORD-1
        raise Fail(DATA, "the record is over ", MAX_RECORD, " bytes; nothing written, send less")
    return line


def raw_records(text):                                                 # APPEND-3
    lines, ids = [], []
    for number, line in enumerate(text.split(b"\n"), 1):
        if blank(line):
            continue
        if len(line) + 1 > MAX_RECORD:
            raise Fail(DATA, "line ", number, ": over ", MAX_RECORD, " bytes; nothing written")
        record = parse(line)
        if record is None:
            raise Fail(DATA, "line ", number, ": not a JSON object; nothing written")
        lines.append(line)
        if text_of(record, "id") is not None:
            ids.append(text_of(record, "id"))
    return lines, ids


def verb_send(args, options):                                          # SENDV-1
    envelope, keep = sending(options)
    box = mailbox(args[0], options, is_name=True)
    wait_of(options)
    if envelope.get(b"--from") == args[0] and b"--to-self" not in options:   # SENDV-2
        raise Fail(DATA, args[0], ": a message to its own sender; nothing sent, ",
                   "give --to-self to send it all the same")
    return post(box, args[1:], envelope, options, keep)


def verb_reply(args, options):                                         # REPLYV-1
    key, body = args[0], args[1:]
    envelope, keep = sending(options)
    if not _id.fullmatch(key):
        raise usage("not the id of a message: ", key[:200])
    caller = envelope.get(b"--from")
    if caller is None:
        raise usage("who replies? give --from or set MBOX_NAME")
    ledger = mailbox(caller, options, is_name=True).ledger()
    wait_of(options)
    ledger.check()
    entry = look_up(ledger, key.decode("ascii"))                       # REPLYV-2
    if entry is None:
        say(ledger.path, ": no message ", key, " there; it was never sent to ", caller,
            ", or is pruned")
        return NO
    to, request = name_in(entry, "from_session_id"), name_in(entry, "request_id")
    if to is None:
        say(ledger.path, ": the message ", key, " names no sender to reply to")
        return NO
    if to == caller:                                                   # SENDV-2
        raise Fail(DATA, "the message ", key, " is our own; nothing sent, ",
                   "send --to-self sends to ourselves")
    if request is not None:
        envelope[b"--reply-to"] = request
    envelope[b"--source"] = key
    return post(mailbox(to, options, is_name=True), body, envelope, options, keep)


def sending(options):
    """The envelope, with the caller as --from where there is one; MBOX_LEDGER_MAX."""
    keep = environment(b"MBOX_LEDGER_MAX")                             # LEDGER-6
    if keep is not None and not re.fullmatch(rb"0*[1-9][0-9]{0,17}", keep):
        raise usage("MBOX_LEDGER_MAX is not a number from 1: ", keep[:200])
    envelope, name = envelope_of(options), environment(b"MBOX_NAME")
    if b"--from" not in envelope and name is not None:
        if not _name.fullmatch(name):
            raise usage("MBOX_NAME is not a name: ", name[:200])
        envelope[b"--from"] = name
    return envelope, LEDGER_MAX if keep is None else int(keep)


def name_in(record, key):
    """A member that is a name; what a message says is not to be trusted (PLACE-1)."""
    value = plain(text_of(record, key) or "")
    return value if _name.fullmatch(value) else None


def post(box, body, envelope, options, keep):
    box.check()                                # before the entry is made
    line = message(body, envelope)
    try:
        send(box, line, options, keep)
    except OSError as failure:
        return report(failure, box)
    return OK


def verb_drain(args, options):
    most, most_bytes = number_of(options, b"--max"), number_of(options, b"--max-bytes")
    out, wait = output_of(options, "drain"), wait_of(options)

    def act(box):
        if most is None and most_bytes is None:
            drain(box, out, wait)
            return OK
        count, choice = take(box, lambda: Bounded(most, most_bytes), out, wait)   # DRAIN-10
        if count == 0 and choice.needs is not None:
            say(box.path, ": the first message needs ", choice.needs,
                " bytes; nothing handed over, raise --max-bytes")
            return NO
        return OK
    return each(mailboxes(args, options), out, act)


def verb_peek(args, options):
    most, since = number_of(options, b"--max"), text_option(options, b"--since")
    out = output_of(options)
    return each(mailboxes(args, options), out,
                lambda box: peek(box, out, since, most) or OK)


def verb_take(args, options):
    wanted = {}
    for option, key in ((b"--id", "id"), (b"--reply-to", "reply_to"),
                        (b"--from", "from_session_id")):
        if option in options:
            wanted[key] = text_option(options, option)
    out, wait = output_of(options, "take"), wait_of(options)
    return each(mailboxes(args, options), out, lambda box: OK if take(
        box, lambda: First(wanted), out, wait)[0] else NO)


def verb_has(args, options):
    return each(mailboxes(args, options), Output(b"jsonl"),
                lambda box: NO if box.looks_empty() else OK)


def verb_acquire(args, options):                                       # ACQV-1
    box, wait = mailbox(args[0], options), wait_of(options)
    box.check()
    box.make_room()
    out = Output(b"jsonl")
    with signals_held():
        lock = Lock(box, wait, use_guard=False)
        lock.acquire()
        try:
            with signals_let_in():             # a signal up to here: no lock stays
                out.write(lock.token + b"\n")
                out.flush()
        except BaseException:
            lock.release()
            raise
        lock.let_go()                          # descriptors only: the lock stays
    return OK


def verb_release(args, options):                                       # RELV-1
    box, token = mailbox(args[0], options), args[1]
    box.check()
    with signals_held():
        if not token or read_owner(box) != token:
            return NO
        remove_file(box.owner)
        try:
            os.rmdir(box.lock)
        except FileNotFoundError:
            pass
    return OK


# --- Command line ------------------------------------------------------------------------

HELP = b"""\
usage: mbox.py VERB ARGS...

  append MAILBOX [BODY]   add a message; without BODY, what stdin holds
      --from NAME --reply-to ID --request-id ID --source ID --id ID
      --raw --sync --wait SECS
  drain MAILBOX...        hand over every message, then remove it
      --max N --max-bytes N --format FORMAT --wait SECS
  peek MAILBOX...         print what is there, removing nothing
      --since ID --max N --format FORMAT
  take MAILBOX            remove and print the first message that matches
      --id ID --reply-to ID --from NAME --format FORMAT --wait SECS
  has MAILBOX             0 when there is mail, 1 when not
  acquire MAILBOX         take the lock, print the token   --wait SECS
  release MAILBOX TOKEN   give it back
  send TO [BODY]          add a message that can be answered by its id
      --from NAME --request-id ID --id ID --to-self --sync --verbose --wait SECS
  reply ID [BODY]         send to the sender of the message ID that came to us
      --from NAME --request-id ID --id ID --sync --verbose --wait SECS

A MAILBOX with a / is the path of the record file, anything else a name under
--root DIR, MBOX_ROOT, $XDG_STATE_HOME/mbox or ~/.local/state/mbox.
TO is a name.  Whoever sends is --from or MBOX_NAME.
FORMAT is jsonl, body or text.
"""

ENVELOPE = {b"--id": "id", b"--from": "from_session_id", b"--request-id": "request_id",
            b"--reply-to": "reply_to", b"--source": "source_message_id"}
FLAGS = {b"--raw", b"--sync", b"--to-self", b"--verbose"}
SENDING = {b"--from", b"--request-id", b"--id", b"--sync", b"--verbose", b"--wait"}
ANY = 1 << 30
VERBS = {                       # function, least and most arguments, options
    b"append": (verb_append, 1, 2, {b"--raw", b"--sync", b"--wait", *ENVELOPE}),
    b"drain": (verb_drain, 0, ANY, {b"--max", b"--max-bytes", b"--format", b"--wait"}),
    b"peek": (verb_peek, 0, ANY, {b"--since", b"--max", b"--format"}),
    b"take": (verb_take, 0, 1, {b"--id", b"--reply-to", b"--from", b"--format", b"--wait"}),
    b"has": (verb_has, 0, 1, set()),
    b"acquire": (verb_acquire, 1, 1, {b"--wait"}),
    b"release": (verb_release, 2, 2, set()),
    b"send": (verb_send, 1, 2, SENDING | {b"--to-self"}),
    b"reply": (verb_reply, 1, 2, SENDING),
}


def wait_of(options):                                                  # CLI-5
    value = options.get(b"--wait", b"5")
    if not re.fullmatch(rb"[0-9]+(\.[0-9]+)?", value):
        raise usage("--wait takes seconds, such as 0, 0.5 or 5, not ", value)
    return float(value)


def number_of(options, option):
    value = options.get(option)
    if value is None:
        return None
    if not re.fullmatch(rb"0*[1-9][0-9]*", value):
        raise usage(option, " takes a number from 1, not ", value)
    value = value.lstrip(b"0")
    return int(value) if len(value) < 19 else 1 << 62


def text_option(options, option):
    try:
        return options[option].decode("utf-8") if option in options else None
    except UnicodeDecodeError:
        raise usage(option, " is not UTF-8: ", options[option]) from None


def output_of(options, verb=None):
    form = options.get(b"--format")
    if form not in (None, b"jsonl", b"body", b"text"):
        raise usage("--format is jsonl, body or text, not ", form)
    return Output(form, verb)


def arguments(words, allowed):                                         # CLI-1
    args, options, words = [], {}, list(words)
    while words:
        word = words.pop(0)
        if word == b"--":
            return args + words, options
        if not word.startswith(b"-") or word == b"-":
            args.append(word)
            continue
        option, equals, value = word.partition(b"=")
        if option not in allowed:
            raise usage("unknown option ", option)
        if option in FLAGS:
            if equals:
                raise usage(option, " takes no value")
            options[option] = True
            continue
        if not equals:
            if not words:
                raise usage(option, " needs a value")
            value = words.pop(0)
        options[option] = value
    return args, options


def run(words):
    if not words:                                                      # CLI-3
        os.write(2, HELP)
        return USAGE
    verb = words.pop(0)
    before_end = words[:words.index(b"--")] if b"--" in words else words
    if verb == b"--help" or verb in VERBS and b"--help" in before_end:
        out = Output(b"jsonl")
        out.write(HELP)
        out.flush()
        return OK
    if verb not in VERBS:
        raise usage("unknown verb ", verb)
    function, least, most, allowed = VERBS[verb]
    args, options = arguments(words, allowed | {b"--root"})
    if not least <= len(args) <= most:
        raise usage(verb, ": a missing or superfluous argument")
    if options.get(b"--root") == b"":
        raise usage("--root needs a directory")
    return function(args, options)


def fill_standard_descriptors():
    """A closed stdin, stdout or stderr must not become one of our files.

    What takes its place fails: 0 cannot be read, 1 cannot be written.
    """
    for fd, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, flags)         # the lowest free number: this one


def main():
    fill_standard_descriptors()
    os.umask(0o077)                            # FILE-1: exactly 0600 and 0700
    try:
        catch_signals()
        return run([os.fsencode(word) for word in sys.argv[1:]])
    except (Fail, OSError, OutputClosed) as failure:
        return report(failure)
    except Interrupted as interrupted:
        die_of(interrupted.signum)
    except Exception as bug:                   # not a traceback: CLI-2
        say("a bug of this program: ", repr(bug), "; please report it")
        return BUG


if __name__ == "__main__":
    sys.exit(main())
