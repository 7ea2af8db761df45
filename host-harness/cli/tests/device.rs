//! `connector-host device` against the emulator: what the services see, what it prints, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says enough by failing there")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use azure_iot_emulator::{Emulator, EmulatorOptions, EventBody};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

#[path = "../../emulator/tests/common/mod.rs"]
mod raw;

const KEY: &str = "a2V5LW9uZS1rZXktb25lLWtleS1vbmUta2V5LW9uZS0=";
/// How long a line may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// An emulator with the device `press-1`, and a back end that may do everything.
struct Setting {
    emulator: Emulator,
    back_end: raw::Client,
    folder: tempfile::TempDir,
}

impl Setting {
    async fn new() -> Self {
        let emulator = Emulator::start(EmulatorOptions::default()).await.unwrap();
        let keys = json!({ "type": "sas", "symmetricKey": { "primaryKey": KEY, "secondaryKey": KEY } });
        emulator.add_device("press-1", json!({ "authentication": keys })).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), emulator.ca_pem()).unwrap();
        Self { back_end: raw::hub(&emulator, "iothubowner"), emulator, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let host = self.emulator.mqtt_host();
        let mut command = Command::new(env!("CARGO_BIN_EXE_connector-host"));
        command
            .args(["--json", "device", "--port", host.rsplit_once(':').unwrap().1, "--ca"])
            .arg(self.path("ca.pem"))
            .args(arguments)
            .env_remove("CONNECTOR_DEVICE")
            .env_remove("CONNECTOR_DEVICE_KEY")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The device `press-1` with these arguments.
    fn press(&self, arguments: &[&str]) -> Command {
        let text = format!("HostName={};DeviceId=press-1;SharedAccessKey={KEY}", self.emulator.hub_host());
        let mut command = self.command(&["--connection-string", &text]);
        command.args(arguments);
        command
    }
}

/// The lines of a device that has ended.
fn ended(command: &mut Command) -> (Option<i32>, Vec<Value>) {
    let output = command.output().unwrap();
    (output.status.code(), lines(&output))
}

fn lines(output: &Output) -> Vec<Value> {
    let printed = String::from_utf8(output.stdout.clone()).unwrap();
    let warned = String::from_utf8_lossy(&output.stderr);
    assert!(!printed.contains(&KEY[..12]) && !warned.contains(&KEY[..12]), "the key is seen: {printed}{warned}");
    printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn events<'l>(lines: &'l [Value], event: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

/// A device that stays.
struct Staying {
    child: Child,
    lines: mpsc::Receiver<Value>,
}

impl Staying {
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Waits for a line of this event.
    fn next(&self, event: &str) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("no line of {event}"));
            if line["event"] == event {
                return line;
            }
        }
    }

    fn code(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("the device has not ended");
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        // It fails only if the process has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_sends_and_reports_and_ends() {
    let setting = Setting::new().await;
    let (code, lines) = ended(&mut setting.press(&[
        "--send",
        r#"{"temperature": 81.5}"#,
        "--send",
        "[1]",
        "--count",
        "2",
        "--every",
        "0.1",
        "--property",
        "level=very high&low",
        "--report",
        r#"{"battery": 0.4}"#,
        "--report",
        r#"{"firmware": "1.1", "battery": null}"#,
        "--once",
    ]));
    assert_eq!(code, Some(0), "{lines:?}");
    assert_eq!(events(&lines, "connected").len(), 1, "{lines:?}");
    let sent: Vec<_> = events(&lines, "sent").into_iter().map(|line| line["body"].clone()).collect();
    assert_eq!(sent, [json!({ "temperature": 81.5 }), json!([1]), json!({ "temperature": 81.5 }), json!([1])]);
    assert_eq!(events(&lines, "reported").len(), 2, "{lines:?}");
    let reported = setting.emulator.twin("press-1").unwrap()["properties"]["reported"].clone();
    assert!(reported["firmware"] == "1.1" && reported.get("battery").is_none(), "{reported}");

    let telemetry = setting.emulator.telemetry();
    let logged: Vec<_> = (0..4).flat_map(|partition| telemetry.events(partition)).collect();
    assert_eq!(logged.len(), 4);
    for (_, _, event) in logged {
        assert_eq!(event.content_type.as_deref(), Some("application/json"));
        assert!(event.properties.contains(&("level".to_owned(), "very high&low".to_owned())), "{:?}", event.properties);
        assert!(matches!(&event.body, EventBody::Data(body) if body.starts_with(b"{") || body.starts_with(b"[")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connected_device_answers() {
    let setting = Setting::new().await;
    let mut device =
        Staying::start(setting.press(&["--method", r#"drain=503:{"busy": true}"#, "--method-silent", "hang"]));
    device.next("connected");

    let call = |name: &str, seconds: u32| json!({ "methodName": name, "payload": { "delay": 5 }, "responseTimeoutInSeconds": seconds });
    let methods = "/twins/press-1/methods";
    let answer = setting.back_end.post(methods, call("reboot", 30)).await.expect(200).body;
    assert_eq!(answer, json!({ "status": 200, "payload": { "delay": 5 } }));
    let answer = setting.back_end.post(methods, call("drain", 30)).await.expect(200).body;
    assert_eq!(answer, json!({ "status": 503, "payload": { "busy": true } }));
    let answer = setting.back_end.post(methods, call("hang", 5)).await;
    assert_eq!(answer.status, 504, "{}", answer.body);
    for (name, answered) in [("reboot", true), ("drain", true), ("hang", false)] {
        let line = device.next("method");
        assert_eq!((&line["name"], &line["answered"]), (&json!(name), &json!(answered)), "{line}");
    }

    let desired = json!({ "properties": { "desired": { "intervalSeconds": 30 } } });
    setting.back_end.patch("/twins/press-1", desired).await.expect(200);
    assert_eq!(device.next("desired")["desired"]["intervalSeconds"], 30);

    let headers = [("iothub-messageid", "m-1"), ("iothub-app-priority", "high")];
    let queue = "/devices/press-1/messages/deviceBound";
    setting.back_end.call("POST", queue, &headers, Some(json!({ "command": "cool" }))).await.expect(204);
    let line = device.next("message");
    assert_eq!(line["body"], json!({ "command": "cool" }), "{line}");
    assert_eq!((&line["messageId"], &line["settled"]), (&json!("m-1"), &json!("completed")), "{line}");
    assert_eq!(line["properties"]["priority"], "high", "{line}");
    waits_for(&setting, 0).await;

    #[cfg(unix)]
    {
        Command::new("kill").arg(device.child.id().to_string()).status().unwrap();
        assert_eq!(device.code(), Some(0));
    }
}

/// Waits until this number of messages waits for the device.
async fn waits_for(setting: &Setting, messages: u64) {
    let until = Instant::now() + PATIENCE;
    loop {
        let device = setting.back_end.get("/devices/press-1").await.expect(200).body;
        if device["cloudToDeviceMessageCount"] == messages {
            return;
        }
        assert!(Instant::now() < until, "not {messages}: {device}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_rejected_abandoned_or_ignored() {
    let setting = Setting::new().await;
    let queue = "/devices/press-1/messages/deviceBound";
    for (answer, settled, left) in [("ignore", "ignored", 1), ("abandon", "abandoned", 1), ("reject", "rejected", 0)] {
        let headers = [("iothub-messageid", answer), ("iothub-app-priority", "high")];
        if left == 1 && answer == "ignore" {
            setting.back_end.call("POST", queue, &headers, Some(json!("now"))).await.expect(204);
        }
        let device = Staying::start(setting.press(&["--on-message", answer]));
        let line = device.next("message");
        assert_eq!((&line["settled"], &line["body"]), (&json!(settled), &json!("now")), "{line}");
        assert_eq!((&line["messageId"], &line["properties"]["priority"]), (&json!("ignore"), &json!("high")), "{line}");
        waits_for(&setting, left).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_uploaded_through_the_hub() {
    let setting = Setting::new().await;
    let file = setting.path("photo.bin");
    std::fs::write(&file, [0xff; 3_000]).unwrap();
    let arguments = ["--upload", file.to_str().unwrap(), "--upload", "notes/today.txt=all is well", "--once"];
    let (code, lines) = ended(&mut setting.press(&arguments));
    assert_eq!(code, Some(0), "{lines:?}");
    let uploaded: Vec<_> = events(&lines, "uploaded").into_iter().map(|line| line["size"].clone()).collect();
    assert_eq!(uploaded, [3_000, 11], "{lines:?}");
    assert_eq!(setting.emulator.file_notices_left(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_registers_and_connects_to_its_hub() {
    let setting = Setting::new().await;
    let keys = json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": KEY, "secondaryKey": KEY } });
    setting.emulator.add_enrollment("loom-1", json!({ "attestation": keys, "deviceId": "Loom-One" })).unwrap();
    setting.emulator.create_enrollment_group("looms", json!({ "attestation": keys })).unwrap();
    let own = certificate(setting.folder.path(), "own", "loom-3", None);
    let x509 = json!({ "type": "x509", "x509": { "clientCertificates": { "primary": { "certificate": own.pem } } } });
    setting.emulator.add_enrollment("loom-3", json!({ "attestation": x509 })).unwrap();
    let authority = Authority::new("looms' authority");
    let issued = certificate(setting.folder.path(), "issued", "loom-4", Some(&authority));
    let x509 =
        json!({ "type": "x509", "x509": { "signingCertificates": { "primary": { "certificate": authority.pem } } } });
    setting.emulator.create_enrollment_group("certified", json!({ "attestation": x509 })).unwrap();

    let scope = setting.emulator.id_scope().to_owned();
    let registered = |id: &str, proof: &[&str]| {
        let mut command = setting.command(&["--register", "--dps-host", "localhost", "--id-scope", &scope]);
        command.args(["--registration-id", id, "--send", "{}", "--once"]).args(proof);
        ended(&mut command)
    };
    for (id, proof, device) in [
        ("loom-1", &["--symmetric-key", KEY][..], "Loom-One"),
        ("loom-2", &["--group-key", KEY], "loom-2"),
        ("loom-3", &["--certificate", &own.chain, "--private-key", &own.key], "loom-3"),
        ("loom-4", &["--certificate", &issued.chain, "--private-key", &issued.key], "loom-4"),
    ] {
        let (code, lines) = registered(id, proof);
        assert_eq!(code, Some(0), "{id}: {lines:?}");
        let line = events(&lines, "registered")[0];
        assert_eq!((&line["deviceId"], &line["assignedHub"]), (&json!(device), &json!(setting.emulator.hub_host())));
        assert_eq!(events(&lines, "sent").len(), 1, "{id}: {lines:?}");
        // The device exists now. It connects without registering, too.
        if let ["--certificate", ..] = proof {
            let mut command = setting.command(&["--host", &setting.emulator.hub_host(), "--device", device, "--once"]);
            assert_eq!(ended(command.args(proof)).0, Some(0), "{id}");
        }
    }
    let (code, lines) = registered("loom-1", &["--symmetric-key", "d3Jvbmcgd3Jvbmcgd3Jvbmc="]);
    assert_eq!(code, Some(1), "{lines:?}");
    let said = lines.last().unwrap()["error"]["message"].to_string();
    assert!(said.contains("provisioning service refused"), "{said}");
}

/// A network that lets only port 443 out: the emulator has WebSockets at the ports of its HTTPS APIs alone.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_registers_and_sends_over_web_sockets() {
    let setting = Setting::new().await;
    let attestation = json!({ "type": "symmetricKey", "symmetricKey": { "primaryKey": KEY, "secondaryKey": KEY } });
    setting.emulator.add_enrollment("loom-1", json!({ "attestation": attestation })).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_connector-host"));
    command
        .args(["--json", "device", "--transport", "web-socket", "--ca"])
        .arg(setting.path("ca.pem"))
        .args(["--register", "--dps-host", &setting.emulator.dps_host(), "--id-scope", setting.emulator.id_scope()])
        .args(["--registration-id", "loom-1", "--symmetric-key", KEY])
        .args(["--send", r#"{"speed": 7}"#, "--report", r#"{"threads": 3}"#, "--once"])
        .env_remove("CONNECTOR_DEVICE")
        .env_remove("CONNECTOR_DEVICE_KEY");
    let (code, lines) = ended(&mut command);
    assert_eq!(code, Some(0), "{lines:?}");
    assert_eq!((events(&lines, "registered").len(), events(&lines, "sent").len()), (1, 1), "{lines:?}");
    assert_eq!(setting.emulator.twin("loom-1").unwrap()["properties"]["reported"]["threads"], 3);

    // A message of many WebSocket frames, and a packet to the device.
    let text = format!("HostName={};DeviceId=press-1;SharedAccessKey={KEY}", setting.emulator.hub_host());
    let port = setting.emulator.hub_host().rsplit_once(':').unwrap().1.to_owned();
    let mut command = Command::new(env!("CARGO_BIN_EXE_connector-host"));
    let large = json!({ "text": "x".repeat(100_000) }).to_string();
    command
        .args(["--json", "device", "--transport", "web-socket", "--port", &port, "--ca"])
        .arg(setting.path("ca.pem"))
        .args(["--connection-string", &text, "--send", &large])
        .env_remove("CONNECTOR_DEVICE")
        .env_remove("CONNECTOR_DEVICE_KEY")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let device = Staying::start(command);
    device.next("sent");
    let call = json!({ "methodName": "reboot", "payload": 5, "responseTimeoutInSeconds": 30 });
    let answer = setting.back_end.post("/twins/press-1/methods", call).await.expect(200).body;
    assert_eq!(answer, json!({ "status": 200, "payload": 5 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_web_socket_is_told() {
    let setting = Setting::new().await;
    let host = setting.emulator.mqtt_host().rsplit_once(':').unwrap().1.to_owned();
    let text = format!("HostName=localhost;DeviceId=press-1;SharedAccessKey={KEY}");
    let output = Command::new(env!("CARGO_BIN_EXE_connector-host"))
        .args(["--json", "device", "--transport", "web-socket", "--port", &host, "--for", "3", "--ca"])
        .arg(setting.path("ca.pem"))
        .args(["--connection-string", &text])
        .env_remove("CONNECTOR_DEVICE")
        .env_remove("CONNECTOR_DEVICE_KEY")
        .output()
        .unwrap();
    // The port of MQTT speaks no HTTP, so the device tries again until its time is over.
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("refused the WebSocket"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_disabled_ends() {
    let setting = Setting::new().await;
    let mut device = Staying::start(setting.press(&[]));
    device.next("connected");
    let disabled = json!({ "deviceId": "press-1", "status": "disabled" });
    setting.back_end.put_if("/devices/press-1", "\"*\"", disabled).await.expect(200);
    device.next("disconnected");
    assert_eq!(device.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_wrong_usage_have_their_exit_codes() {
    let setting = Setting::new().await;
    let host = setting.emulator.hub_host();
    for (device, key) in [("press-1", "d3Jvbmcgd3Jvbmcgd3Jvbmc="), ("missing", KEY)] {
        let (code, lines) = ended(&mut setting.command(&["--host", &host, "--device", device, "--key", key, "--once"]));
        assert_eq!(code, Some(1), "{lines:?}");
        assert!(lines[0]["error"]["message"].to_string().contains("check the device id"), "{lines:?}");
    }
    let nobody = ["--host", "localhost", "--device", "d", "--key", KEY, "--port", "1", "--once"];
    let output = Command::new(env!("CARGO_BIN_EXE_connector-host")).arg("device").args(nobody).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("localhost:1 cannot be reached"));
    for wrong in [
        &[][..],
        &["--host", &host, "--device", "d"],
        &["--host", &host, "--device", "d", "--key", "no key"],
        &["--connection-string", "HostName=h;DeviceId=d"],
        &["--connection-string", "HostName=h;DeviceId=d;x509=true"],
        &["--register"],
        &["--register", "--id-scope", "0ne", "--registration-id", "r"],
    ] {
        let (code, lines) = ended(&mut setting.command(wrong));
        assert_eq!(code, Some(2), "{wrong:?}: {lines:?}");
    }
    let (code, lines) = ended(&mut setting.press(&["--send", "hello"]));
    assert_eq!(code, Some(2));
    assert!(lines[0]["error"]["message"].to_string().contains("--content-type"), "{lines:?}");
}

/// An authority for the certificates of devices.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = named(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }
}

/// The certificate of a device, and the files of its chain and its private key.
struct Certificate {
    pem: String,
    chain: String,
    key: String,
}

fn certificate(folder: &Path, file: &str, subject: &str, authority: Option<&Authority>) -> Certificate {
    let key = KeyPair::generate().unwrap();
    let params = named(subject);
    let pem = match authority {
        None => params.self_signed(&key),
        Some(authority) => params.signed_by(&key, &authority.issuer),
    };
    let pem = pem.unwrap().pem();
    let path = |ending: &str| folder.join(format!("{file}.{ending}")).to_str().unwrap().to_owned();
    let (chain, private) = (path("pem"), path("key.pem"));
    std::fs::write(&chain, format!("{pem}{}", authority.map(|authority| authority.pem.as_str()).unwrap_or_default()))
        .unwrap();
    std::fs::write(&private, key.serialize_pem()).unwrap();
    Certificate { pem, chain, key: private }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
