//! The program with a connector that speaks over TCP: mainly `watch`, and what is committed when `watch` ends.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

#[path = "../../tests/guests/mod.rs"]
mod guests;

/// A log with partitions, which speaks the protocol of the test's guest.
#[derive(Default)]
struct Log {
    connections: AtomicUsize,
    /// The number of lines in each partition.
    lines: AtomicU64,
    /// How many requests wait for lines now.
    waiting: AtomicUsize,
    /// The largest number of requests that ever waited at the same time.
    waited: AtomicUsize,
    /// The fault to answer with instead of lines, and for how many requests.
    fault: Mutex<Option<(Fault, u32)>>,
}

#[derive(Clone, Copy)]
enum Fault {
    HangUp,
    Refuse,
}

struct Server {
    port: u16,
    log: Arc<Log>,
}

impl Server {
    fn start(lines: u64) -> Self {
        let listener = TcpListener::bind("localhost:0").expect("as set up");
        let port = listener.local_addr().expect("as set up").port();
        let log = Arc::new(Log::default());
        log.lines.store(lines, Ordering::SeqCst);
        let shared = log.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let log = shared.clone();
                log.connections.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || log.serve(stream.expect("as set up")));
            }
        });
        Self { port, log }
    }
}

impl Log {
    fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let requests = BufReader::new(stream.try_clone().ok()?).lines();
        for request in requests {
            let request = request.ok()?;
            let words: Vec<&str> = request.split(' ').collect();
            let [_, partition, from, most, wait] = words[..] else { return None };
            let fault = {
                let mut fault = self.fault.lock().expect("as set up");
                match fault.as_mut() {
                    Some((kind, left)) if *left > 0 => {
                        *left -= 1;
                        Some(*kind)
                    }
                    _ => None,
                }
            };
            match fault {
                Some(Fault::HangUp) => return None,
                Some(Fault::Refuse) => {
                    stream.write_all(b"ERROR the key is not accepted\n").ok()?;
                    continue;
                }
                None => {}
            }
            let from: u64 = from.parse().unwrap_or(self.lines.load(Ordering::SeqCst));
            let until = Instant::now() + Duration::from_millis(wait.parse().ok()?);
            let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
            self.waited.fetch_max(waiting, Ordering::SeqCst);
            while self.lines.load(Ordering::SeqCst) <= from && Instant::now() < until {
                thread::sleep(Duration::from_millis(5));
            }
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            let most: u64 = most.parse().ok()?;
            let to = self.lines.load(Ordering::SeqCst).min(from.saturating_add(most)).max(from);
            let mut answer = format!("{}\n", to - from);
            (from..to).for_each(|offset| answer += &format!("{offset} line {offset} of {partition}\n"));
            stream.write_all(answer.as_bytes()).ok()?;
        }
        Some(())
    }
}

struct Setting {
    folder: tempfile::TempDir,
    server: Server,
}

impl Setting {
    fn new(lines: u64, partitions: u32) -> Self {
        let folder = tempfile::tempdir().expect("as set up");
        let server = Server::start(lines);
        let account = json!({ "authProfile": "none", "values": { "server": format!("localhost:{}", server.port) } });
        std::fs::write(folder.path().join("account.json"), account.to_string()).expect("as set up");
        std::fs::write(folder.path().join("config.json"), json!({ "partitions": partitions }).to_string())
            .expect("as set up");
        Self { folder, server }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_connector-host"));
        command
            .arg("--component")
            .arg(guests::stream_guest())
            .arg("--connection")
            .arg(self.path("account.json"))
            .arg("--cache")
            .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled-by-watch"))
            .args(["--allow-host", "localhost", "--allow-private-networks", "--deadline", "10"])
            .args(arguments)
            .env_remove("CONNECTOR_CONNECTION")
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("as set up")
    }

    /// The arguments of `watch`: from the earliest line, with the cursors in a database, printed as JSON lines.
    fn watch(&self, more: &[&str]) -> Vec<String> {
        let cursors = self.path("cursors");
        let config = self.path("config.json");
        ["watch", "lines", "--json", "--start", "earliest", "--config"]
            .into_iter()
            .map(str::to_owned)
            .chain([config.display().to_string(), "--cursor".to_owned(), cursors.display().to_string()])
            .chain(more.iter().map(|text| (*text).to_owned()))
            .collect()
    }

    fn run_watch(&self, more: &[&str]) -> Output {
        let arguments = self.watch(more);
        self.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn spawn_watch(&self, more: &[&str]) -> (Child, BufReader<ChildStdout>) {
        let arguments = self.watch(more);
        let mut child =
            self.command(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).spawn().expect("as set up");
        let stdout = BufReader::new(child.stdout.take().expect("as set up"));
        (child, stdout)
    }
}

fn ids(output: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(output);
    // A killed program may have printed only a part of its last line, so a line without an end does not count.
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(id).collect()
}

fn id(line: &str) -> String {
    let event: Value = serde_json::from_str(line).expect("as set up");
    event["id"].as_str().expect("as set up").to_owned()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Checks that the events of each partition are there exactly one time and in order, beginning with the first one.
fn assert_complete(ids: &[String], partitions: u32, lines: u64) {
    let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for id in ids {
        let (partition, offset) = id.split_once('-').expect("as set up");
        seen.entry(partition.to_owned()).or_default().push(offset.parse().expect("as set up"));
    }
    assert_eq!(seen.len(), partitions as usize, "{ids:?}");
    for offsets in seen.values() {
        assert_eq!(*offsets, (0..lines).collect::<Vec<_>>());
    }
}

#[test]
fn all_partitions_are_watched_at_once_over_connections_that_stay() {
    let setting = Setting::new(30, 4);
    let output = setting.run_watch(&["--until", "120"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_complete(&ids(&output.stdout), 4, 30);
    assert!(said(&output).contains("120 events"), "{}", said(&output));
    // Each partition kept one connection, however many polls it needed.
    assert_eq!(setting.server.log.connections.load(Ordering::SeqCst), 4);

    // No lines are left, so all partitions wait at the same time.
    let (mut child, mut stdout) = setting.spawn_watch(&["--until", "8"]);
    let begun = Instant::now();
    while setting.server.log.waiting.load(Ordering::SeqCst) < 4 {
        assert!(begun.elapsed() < Duration::from_secs(30), "they do not wait at once");
        thread::sleep(Duration::from_millis(10));
    }
    setting.server.log.lines.store(32, Ordering::SeqCst);
    let mut more = Vec::new();
    std::io::Read::read_to_end(&mut stdout, &mut more).expect("as set up");
    assert!(child.wait().expect("as set up").success());
    let mut more = ids(&more);
    more.sort();
    assert_eq!(more, ["0-30", "0-31", "1-30", "1-31", "2-30", "2-31", "3-30", "3-31"]);
}

#[test]
fn a_run_goes_on_where_the_last_one_ended_even_in_the_middle_of_a_page() {
    let setting = Setting::new(25, 1);
    let mut all = Vec::new();
    for until in ["7", "1", "17"] {
        let output = setting.run_watch(&["--until", until]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        all.extend(ids(&output.stdout));
    }
    assert_complete(&all, 1, 25);
}

/// A `watch` that is killed at any moment repeats at most one event for each kill: the event that was printed and not
/// yet committed.
#[cfg(unix)]
#[test]
fn a_kill_loses_nothing_and_doubles_one_event_at_the_most() {
    let setting = Setting::new(200, 2);
    let mut all = Vec::new();
    for after in [3, 40, 90] {
        let (mut child, mut stdout) = setting.spawn_watch(&[]);
        for _ in 0..after {
            let mut line = String::new();
            assert!(stdout.read_line(&mut line).expect("as set up") > 0, "it ended early");
            all.push(id(&line));
        }
        child.kill().expect("as set up");
        let mut rest = Vec::new();
        std::io::Read::read_to_end(&mut stdout, &mut rest).expect("as set up");
        all.extend(ids(&rest));
        child.wait().expect("as set up");
    }
    let mut once = HashSet::new();
    let mut kept: Vec<String> = all.iter().filter(|id| once.insert((*id).clone())).cloned().collect();
    let doubled = all.len() - kept.len();
    // An event that was printed and not committed at a kill comes again here, if it did not come again before.
    while kept.len() < 400 {
        let output = setting.run_watch(&["--until", &(400 - kept.len()).to_string()]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let more = ids(&output.stdout);
        let before = kept.len();
        kept.extend(more.iter().filter(|id| once.insert((*id).clone())).cloned());
        assert!(more.len() - (kept.len() - before) + doubled <= 3, "more is doubled than there were kills");
        assert!(kept.len() > before, "{before} of 400 events, and no more come");
    }
    assert_complete(&kept, 2, 200);
}

#[cfg(unix)]
#[test]
fn an_interruption_ends_it_with_everything_committed() {
    let setting = Setting::new(10, 3);
    let (mut child, mut stdout) = setting.spawn_watch(&[]);
    let mut all = Vec::new();
    for _ in 0..30 {
        let mut line = String::new();
        stdout.read_line(&mut line).expect("as set up");
        all.push(id(&line));
    }
    // By now all partitions wait for more lines. The interruption must not wait for them.
    let begun = Instant::now();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("as set up").success());
    assert_eq!(child.wait().expect("as set up").code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_complete(&all, 3, 10);
    setting.server.log.lines.store(11, Ordering::SeqCst);
    let output = setting.run_watch(&["--until", "3"]);
    let mut more = ids(&output.stdout);
    more.sort();
    assert_eq!(more, ["0-10", "1-10", "2-10"]);
}

#[test]
fn failures_are_told_apart() {
    let setting = Setting::new(5, 1);
    // After a connection breaks, the program connects again after a pause.
    *setting.server.log.fault.lock().expect("as set up") = Some((Fault::HangUp, 1));
    let output = setting.run_watch(&["--until", "5"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("trying again in 1000 ms"), "{}", said(&output));
    assert_complete(&ids(&output.stdout), 1, 5);

    // If the server does not accept the account, the program does not try again.
    *setting.server.log.fault.lock().expect("as set up") = Some((Fault::Refuse, u32::MAX));
    let output = setting.run_watch(&[]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("the key is not accepted"), "{}", said(&output));
    assert_eq!(setting.server.log.connections.load(Ordering::SeqCst), 3);
}

#[test]
fn the_database_of_cursors_is_used_by_one_at_a_time() {
    let setting = Setting::new(3, 1);
    let (mut child, mut stdout) = setting.spawn_watch(&[]);
    let mut line = String::new();
    stdout.read_line(&mut line).expect("as set up");
    let output = setting.run_watch(&["--until", "1"]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("in use"), "{}", said(&output));
    child.kill().expect("as set up");
    child.wait().expect("as set up");
}

/// Runs `script` in a shell. Its arguments are the program and the arguments of `watch`; `$D` is the folder of the
/// cursors.
#[cfg(unix)]
fn in_shell(setting: &Setting, script: &str, cursors: &Path) -> Output {
    let watch = setting.watch(&[]);
    let at = watch.iter().position(|word| word == "--cursor").unwrap();
    let mut watch: Vec<&str> = watch.iter().map(String::as_str).collect();
    watch[at + 1] = cursors.to_str().unwrap();
    let program = setting.command(&watch);
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(program.get_program()).args(program.get_args());
    shell.env("D", cursors.parent().unwrap()).env_remove("CONNECTOR_CONNECTION").env_remove("RUST_LOG");
    shell.output().unwrap()
}

/// A write beyond the file size limit must end in an error that says so, not in a signal that ends the program. The
/// next run continues.
#[cfg(unix)]
#[test]
fn a_limit_on_the_size_of_files_loses_nothing() {
    let setting = Setting::new(6, 1);
    let cursors = setting.path("cursors");
    // This run puts the compiled component in the cache before the file size is limited.
    assert!(setting.run(&["triggers"]).status.success());
    let output = in_shell(&setting, r#"ulimit -f 8; exec "$0" "$@" --until 6"#, &cursors);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{:?} {}", output.status, said(&output));
    assert!(said(&output).contains("File too large"), "{}", said(&output));
    let output = setting.run_watch(&["--until", "6"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_complete(&ids(&output.stdout), 1, 6);
}

/// The disk becomes full in the middle of a run. The test uses a small file system of its own, if the user may mount
/// one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_a_run_and_the_next_one_goes_on() {
    let setting = Setting::new(400, 1);
    let disk = setting.path("disk");
    std::fs::create_dir(&disk).unwrap();
    assert!(setting.run(&["triggers"]).status.success());
    let script = r#"
        unshare -Urm true 2>/dev/null || exit 77
        exec unshare -Urm sh -c '
            mount -t tmpfs -o size=2m none "$D" 2>/dev/null || exit 77
            "$0" "$@" --until 3 || exit 1
            cat /dev/zero > "$D/fill" 2>/dev/null
            out=$("$0" "$@")
            echo "ended with $?" >&2
            printf "%s\n" "$out"
            rm "$D/fill"
            # The last event that was printed was not committed.
            committed=$(($(printf "%s\n" "$out" | grep -c eventType) - 1))
            [ $committed -ge 0 ] || committed=0
            "$0" "$@" --until $((397 - committed))
        ' "$0" "$@"
    "#;
    let output = in_shell(&setting, script, &disk.join("cursors"));
    if output.status.code() == Some(77) {
        println!("skipped: no file system may be mounted here");
        return;
    }
    let (error, events): (Vec<&str>, Vec<&str>) =
        std::str::from_utf8(&output.stdout).unwrap().lines().partition(|line| line.contains("No space left on device"));
    assert!(output.status.success() && said(&output).contains("ended with 1"), "{}", said(&output));
    assert_eq!(error.len(), 1, "{error:?}");
    let mut all: Vec<String> = events.into_iter().map(id).collect();
    all.dedup();
    assert_complete(&all, 1, 400);
}

#[test]
fn the_other_commands_work_over_sockets_too() {
    let setting = Setting::new(3, 2);
    let cursors = setting.path("cursors");
    let cursors = cursors.to_str().expect("as set up");
    let output = setting.run(&["test"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("connected"), "{}", said(&output));
    let output = setting.run(&["--json", "sample", "lines", "--limit", "2"]);
    assert_eq!(ids(&output.stdout), ["0-0", "0-1"], "{}", said(&output));
    // The first poll commits all events, so none is left for the second poll.
    for expected in [3, 0] {
        let output = setting.run(&["--json", "poll", "lines", "--start", "earliest", "--cursor", cursors]);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let page: Value = serde_json::from_slice(&output.stdout).expect("as set up");
        assert_eq!(page["events"].as_array().expect("as set up").len(), expected);
    }
    // Without the operator's permission the connector cannot connect.
    let output = Command::new(env!("CARGO_BIN_EXE_connector-host"))
        .arg("--component")
        .arg(guests::stream_guest())
        .arg("--connection")
        .arg(setting.path("account.json"))
        .args(["--json", "poll", "lines"])
        .output()
        .expect("as set up");
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("--allow-host localhost"), "{}", said(&output));
}
