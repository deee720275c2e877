//! The hub under load: many subscribers, many events, some who never read.
//!
//! The events are made as they are in life, by files that grow. All sizes are those of a
//! [`Plan`]; `benches/hub.rs` runs the large one and prints the figures.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// How much.
pub struct Plan {
    pub subscribers: usize,
    /// Of them, how many do not read before the end.
    pub silent: usize,
    pub events_per_second: usize,
    pub time: Duration,
    pub mailboxes: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Figures {
    pub events: u64,
    pub events_per_second: f64,
    pub deliveries: u64,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
    /// Events that those who read were told they had missed.
    pub missed_by_readers: u64,
    /// The same of each of those who did not.
    pub missed_by_silent: Vec<u64>,
    /// The most memory the hub had, in KiB; `None` where the system does not tell.
    pub memory_kib: Option<u64>,
}

/// The length of every line the load appends.
const LINE: &[u8] = b"{\"padding\":\"........................................\"}\n";

/// After the end, nothing more comes when nothing has come for so long.
const QUIET: Duration = Duration::from_secs(5);

/// Runs the load on `mbox events --serve` in `root`. Panics on a gap in `seq`.
pub fn run(mbox: &str, root: &Path, plan: &Plan) -> Figures {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let dir = root.join("mailboxes");
    fs::create_dir_all(&dir).unwrap();
    let mut files: Vec<File> = (0..plan.mailboxes)
        .map(|n| File::create_new(dir.join(format!("m{n:05}.jsonl"))).unwrap())
        .collect();
    let hub = Hub::start(mbox, root);
    let connect = |_| UnixStream::connect(&hub.socket).unwrap();
    let silent: Vec<UnixStream> = (0..plan.silent).map(connect).collect();
    let readers: Vec<Reader> = (plan.silent..plan.subscribers)
        .map(|n| Reader::of(connect(n)))
        .collect();

    let total = plan.events_per_second * usize::try_from(plan.time.as_secs()).unwrap();
    let clock = Clock {
        begin: Instant::now(),
        writes: (0..total).map(|_| AtomicU64::new(0)).collect(),
        mailboxes: plan.mailboxes,
    };
    let is_over = AtomicBool::new(false);
    let (tally, took) = thread::scope(|scope| {
        let reading = scope.spawn(|| read_all(readers, &clock, &is_over));
        let begin = Instant::now();
        for n in 0..total {
            let due = plan.time.mul_f64(n as f64 / total as f64);
            let early = due.saturating_sub(begin.elapsed());
            if early > Duration::from_millis(1) {
                thread::sleep(early); // the pace of the load
            }
            clock.stamp(n);
            files[n % plan.mailboxes].write_all(LINE).unwrap();
        }
        let took = begin.elapsed();
        is_over.store(true, Ordering::SeqCst);
        (reading.join().unwrap(), took)
    });
    let memory_kib = hub.memory_kib();
    let missed_by_silent = silent
        .into_iter()
        .map(|stream| catch_up(stream, tally.newest))
        .collect();
    Figures {
        events: tally.newest,
        events_per_second: tally.newest as f64 / took.as_secs_f64(),
        deliveries: tally.latencies.count,
        p50: tally.latencies.at(0.5),
        p99: tally.latencies.at(0.99),
        max: tally.latencies.at(1.0),
        missed_by_readers: tally.missed,
        missed_by_silent,
        memory_kib,
    }
}

struct Hub {
    child: Child,
    socket: String,
}

impl Hub {
    fn start(mbox: &str, root: &Path) -> Hub {
        let mut child = Command::new(mbox)
            .args(["events", "--serve", "--root"])
            .arg(root)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut socket = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut socket).unwrap();
        socket.pop();
        Hub { child, socket }
    }

    fn memory_kib(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill(); // gone already, perhaps
        let _ = self.child.wait();
    }
}

/// When each line was written.
struct Clock {
    begin: Instant,
    /// Of the nth line of all, in ns since the beginning.
    writes: Vec<AtomicU64>,
    mailboxes: usize,
}

impl Clock {
    fn now(&self) -> u64 {
        self.begin.elapsed().as_nanos() as u64
    }

    fn stamp(&self, n: usize) {
        self.writes[n].store(self.now(), Ordering::SeqCst);
    }

    /// When the line at this place of this mailbox was written.
    fn written(&self, mailbox: usize, at: u64) -> u64 {
        let n = usize::try_from(at).unwrap() / LINE.len() * self.mailboxes + mailbox;
        self.writes[n].load(Ordering::SeqCst)
    }
}

/// One who reads.
struct Reader {
    stream: UnixStream,
    /// A line that has begun.
    begun: Vec<u8>,
    newest: Option<u64>,
}

impl Reader {
    /// One that has had its hello: what happens from now on is told to it.
    fn of(mut stream: UnixStream) -> Reader {
        let mut hello = Vec::new();
        while hello.last() != Some(&b'\n') {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            hello.push(byte[0]);
        }
        stream.set_nonblocking(true).unwrap();
        Reader {
            stream,
            begun: Vec::new(),
            newest: Some(seq_of(&hello)),
        }
    }
}

struct Tally {
    latencies: Latencies,
    newest: u64,
    missed: u64,
    /// When the oldest change an event tells of was made, by `seq` less one; none yet for
    /// one that those who had later ones had missed.
    made: Vec<Option<u64>>,
    /// How much of each mailbox was told of.
    told: Vec<u64>,
}

fn read_all(mut readers: Vec<Reader>, clock: &Clock, is_over: &AtomicBool) -> Tally {
    let mut tally = Tally {
        latencies: Latencies::new(),
        newest: 0,
        missed: 0,
        made: Vec::new(),
        told: vec![0; clock.mailboxes],
    };
    let mut buffer = vec![0; 256 << 10];
    let end = Instant::now() + Duration::from_secs(300);
    let mut last = Instant::now();
    loop {
        let all = clock.writes.len() as u64 * LINE.len() as u64;
        // The last lines of a mailbox may have been among what everybody has missed.
        let is_told = tally.told.iter().sum::<u64>() == all || last.elapsed() > QUIET;
        let is_over = is_over.load(Ordering::SeqCst);
        if is_over && is_told && readers.iter().all(|r| r.newest == Some(tally.newest)) {
            return tally;
        }
        assert!(Instant::now() < end, "the readers wait in vain");
        // A thousand processes would not be woken for each line either; and to wait for
        // a thousand descriptors at once costs more than to try them.
        thread::sleep(Duration::from_millis(2));
        for reader in &mut readers {
            // In front, what was begun before.
            let begun = reader.begun.len();
            buffer[..begun].copy_from_slice(&reader.begun);
            let n = match reader.stream.read(&mut buffer[begun..]) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                other => other.unwrap(),
            };
            assert!(n > 0, "the hub has hung up on one who reads");
            last = Instant::now();
            let now = clock.now();
            let got = &buffer[..begun + n];
            let end = got
                .iter()
                .rposition(|&b| b == b'\n')
                .map_or(0, |end| end + 1);
            reader.begun.clear();
            reader.begun.extend_from_slice(&got[end..]);
            if end > 0 {
                tally.take(reader, &got[..end], now, clock);
            }
        }
    }
}

impl Tally {
    /// Whole lines that came at once. Only the first and the last are read, unless nobody
    /// has had them before, or they are not events alone.
    fn take(&mut self, reader: &mut Reader, lines: &[u8], now: u64, clock: &Clock) {
        let count = count_lines(lines);
        let first = lines.split(|&b| b == b'\n').next().unwrap();
        let last = lines[..lines.len() - 1]
            .rsplit(|&b| b == b'\n')
            .next()
            .unwrap();
        let (first, last) = (seq_of(first), seq_of(last));
        let is_plain =
            reader.newest.is_some_and(|newest| newest + 1 == first) && last + 1 == first + count;
        let made = self
            .made
            .get((first as usize).wrapping_sub(1)..last as usize);
        let made = made.filter(|made| is_plain && made.iter().all(Option::is_some));
        let Some(made) = made else {
            for line in lines.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
                self.line(reader, line, now, clock);
            }
            return;
        };
        reader.newest = Some(last);
        for made in made.iter().flatten() {
            self.latencies.add(now.saturating_sub(*made));
        }
    }

    fn line(&mut self, reader: &mut Reader, line: &[u8], now: u64, clock: &Clock) {
        let value: serde_json::Value = serde_json::from_slice(line).unwrap();
        let seq = value["seq"].as_u64().unwrap();
        match value["type"].as_str().unwrap() {
            "lagged" => {
                let missed = value["missed"].as_u64().unwrap();
                assert_eq!(reader.newest.unwrap() + missed, seq, "{value}");
                reader.newest = Some(seq);
                self.missed += missed;
            }
            _ => {
                assert_eq!(reader.newest.unwrap() + 1, seq, "a gap: {value}");
                reader.newest = Some(seq);
                self.newest = self.newest.max(seq);
                let at = usize::try_from(seq - 1).unwrap();
                if at >= self.made.len() {
                    self.made.resize(at + 1, None);
                }
                let made = *self.made[at].get_or_insert_with(|| {
                    assert_eq!(value["type"], "message.appended");
                    let mailbox: usize = value["mailbox"].as_str().unwrap()[1..].parse().unwrap();
                    let bytes = value["bytes"].as_u64().unwrap();
                    let told = &mut self.told[mailbox];
                    let made = clock.written(mailbox, (*told).min(bytes - LINE.len() as u64));
                    *told = bytes.max(*told);
                    made
                });
                self.latencies.add(now.saturating_sub(made));
            }
        }
    }
}

/// How many newlines there are: in chunks that a byte can count, which is much faster.
fn count_lines(lines: &[u8]) -> u64 {
    let count = |chunk: &[u8]| chunk.iter().map(|&b| u8::from(b == b'\n')).sum::<u8>();
    lines.chunks(255).map(|chunk| u64::from(count(chunk))).sum()
}

fn seq_of(line: &[u8]) -> u64 {
    let key = b"\"seq\":";
    let at = line.windows(key.len()).position(|window| window == key);
    let digits = line[at.unwrap() + key.len()..].iter();
    digits
        .take_while(|b| b.is_ascii_digit())
        .fold(0, |n, b| n * 10 + u64::from(b - b'0'))
}

/// One who did not read until now: how much it missed. What it gets is without a gap, but
/// for what it is told of, up to the newest event.
fn catch_up(stream: UnixStream, newest: u64) -> u64 {
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let (mut at, mut missed) = (None, 0);
    let mut lines = BufReader::new(stream).lines();
    while at != Some(newest) {
        let line = lines.next().unwrap().unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        let seq = value["seq"].as_u64().unwrap();
        let before = match &value["type"] {
            kind if kind == "hello" => seq,
            kind if kind == "lagged" => {
                let n = value["missed"].as_u64().unwrap();
                missed += n;
                seq - n
            }
            _ => seq - 1,
        };
        assert_eq!(at.unwrap_or(before), before, "a gap: {line}");
        at = Some(seq);
    }
    missed
}

/// Latencies in buckets of a sixteenth of a power of two, in ns.
struct Latencies {
    buckets: Vec<u64>,
    count: u64,
}

impl Latencies {
    fn new() -> Latencies {
        Latencies {
            buckets: vec![0; 64 * 16],
            count: 0,
        }
    }

    fn add(&mut self, nanos: u64) {
        let nanos = nanos.max(16);
        let power = nanos.ilog2();
        let sixteenth = (nanos >> (power - 4)) & 15;
        self.buckets[(power as usize) * 16 + sixteenth as usize] += 1;
        self.count += 1;
    }

    /// The upper end of the bucket that this part of all is in or below.
    fn at(&self, part: f64) -> Duration {
        let mut left = (self.count as f64 * part).ceil() as u64;
        for (bucket, count) in self.buckets.iter().enumerate() {
            left = left.saturating_sub(*count);
            if left == 0 {
                let (power, sixteenth) = (bucket / 16, bucket as u64 % 16);
                return Duration::from_nanos((17 + sixteenth) << power >> 4);
            }
        }
        Duration::ZERO
    }
}
