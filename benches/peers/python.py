"""One peer of `cargo bench --bench peers`, in Python: NAME DIRECTORY LINE.

For each line on stdin, a number, it puts the line so many times and prints the nanoseconds
that took; "missing" when the library is not installed.
"""

import os
import sys
import time

name, directory, line = sys.argv[1:4]
text = line + "\n"


def sqlite(path):
    import sqlite3

    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    db.execute("CREATE TABLE IF NOT EXISTS mail (id INTEGER PRIMARY KEY, body TEXT)")
    return db


def sqlite_open():
    db = sqlite(os.path.join(directory, "db"))
    return lambda: db.execute("INSERT INTO mail (body) VALUES (?)", (line,))


def sqlite_each():
    import sqlite3

    path = os.path.join(directory, "db")
    # The last connection that closes would end the log each time.
    sqlite_each.kept = sqlite(path)

    def put():
        db = sqlite3.connect(path, isolation_level=None)
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("INSERT INTO mail (body) VALUES (?)", (line,))
        db.close()

    return put


def dirq():
    from dirq.QueueSimple import QueueSimple

    queue = QueueSimple(os.path.join(directory, "queue"))
    return lambda: queue.add(line)


def append():
    with open(os.path.join(directory, "log"), "a") as log:
        log.write(text)


def filelock():
    from filelock import FileLock

    lock = FileLock(os.path.join(directory, "log.lock"))

    def put():
        with lock:
            append()

    return put


def softfilelock():
    from filelock import SoftFileLock

    lock = SoftFileLock(os.path.join(directory, "log.lock"))

    def put():
        with lock:
            append()

    return put


def persist_file():
    from persistqueue import Queue

    queue = Queue(os.path.join(directory, "queue"), tempdir=directory)
    return lambda: queue.put(line)


def persist_sqlite():
    from persistqueue import SQLiteQueue

    queue = SQLiteQueue(os.path.join(directory, "queue"), auto_commit=True)
    return lambda: queue.put(line)


def maildir():
    import mailbox

    box = mailbox.Maildir(os.path.join(directory, "maildir"))
    return lambda: box.add(text)


try:
    put = globals()[name]()
except ImportError:
    print("missing", flush=True)
    sys.exit()
print("ready", flush=True)
for number in sys.stdin:
    begun = time.perf_counter_ns()
    for _ in range(int(number)):
        put()
    print(time.perf_counter_ns() - begun, flush=True)
