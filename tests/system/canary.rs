//! What is secret is in one file each, and nowhere else, whatever goes wrong.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pci_segment::sandbox::Repository;
use tests::{Controller, ForgeStandIn, Options, WEBHOOK_SECRET, binary, push_body, signature, write_template};

const GIT_TOKEN: &str = "git-token-canary-0123456789";
const FORGE_TOKEN: &str = "forge-token-canary";
/// As a client sends `git:` and the token.
const GIT_TOKEN_BASE64: &str = "Z2l0OmdpdC10b2tlbi1jYW5hcnktMDEyMzQ1Njc4O";

fn canaries() -> [&'static str; 4] {
    [GIT_TOKEN, GIT_TOKEN_BASE64, FORGE_TOKEN, WEBHOOK_SECRET]
}

fn assert_clean(what: &str, bytes: &[u8]) {
    for canary in canaries() {
        let found = bytes.windows(canary.len()).any(|part| part == canary.as_bytes());
        assert!(!found, "{canary} is in {what}: {}", String::from_utf8_lossy(bytes));
    }
}

/// Whatever a process shows of itself to others, and its children too.
fn assert_process_clean(pid: u32) {
    for file in ["cmdline", "environ"] {
        assert_clean(file, &std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default());
    }
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    for child in children.split_whitespace() {
        assert_process_clean(child.parse().unwrap());
    }
}

fn assert_folder_clean(folder: &Path, secrets: &[&str]) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            assert_folder_clean(&path, secrets);
        } else if !secrets.contains(&name.to_str().unwrap_or_default()) {
            assert_clean(&path.display().to_string(), &std::fs::read(&path).unwrap_or_default());
        }
    }
}

fn ask_over_http(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn deliver(port: u16, id: &str, signature: &str, body: &str) -> String {
    let head = "POST /webhooks/github HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n";
    let length = body.len();
    ask_over_http(
        port,
        &format!(
            "{head}X-GitHub-Event: push\r\nX-GitHub-Delivery: {id}\r\nX-Hub-Signature-256: {signature}\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        ),
    )
}

fn secret_file(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    file.display().to_string()
}

#[test]
fn g13_canaries_are_found_nowhere_after_errors_of_every_kind() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::create(folder.path()).unwrap();
    let forge = ForgeStandIn::serve(TcpListener::bind("127.0.0.1:0").unwrap());
    let webhook = secret_file(folder.path(), "webhook-secret", WEBHOOK_SECRET);
    let git = secret_file(folder.path(), "git-token", GIT_TOKEN);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let extra = format!("{}webhooks: {{ github: {{ secret_file: {webhook} }} }}\n", forge.configuration(folder.path()));
    let options = Options { extra, port, ..Options::default() };
    let mut controller = Controller::configure(folder.path(), None, &repository, &options);
    write_template(&repository);
    let good = repository.push("Segment").unwrap();

    // A forge that takes us in and then does not, and deliveries of both kinds.
    controller.start();
    controller.wait_for(&good, "in_force");
    forge.refuse(Some(401));
    repository.write("policies/broken.yaml", &format!("kind: [{}\n", "x")).unwrap();
    let bad = repository.push("Break").unwrap();
    let body = push_body(&bad);
    assert!(deliver(port, "d-1", &signature("another secret of twenty", &body), &body).starts_with("HTTP/1.1 401"));
    assert!(deliver(port, "d-2", &signature(WEBHOOK_SECRET, &body), &body).starts_with("HTTP/1.1 202"));
    controller.wait_for(&bad, "rejected");
    controller.wait("the forge's refusal to be said", |me| me.log().contains("401").then_some(()));
    assert_process_clean(controller.pid());
    for page in ["metrics", "readyz", "healthz"] {
        let answer = ask_over_http(port, &format!("GET /{page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        assert_clean(page, answer.as_bytes());
    }
    controller.stop();

    // A Git server that hangs up, one that is not there, and a token that cannot be read.
    let file = folder.path().join("pci-segment.yaml");
    let local = std::fs::read_to_string(&file).unwrap();
    let rude = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = rude.local_addr().unwrap();
    std::thread::spawn(move || rude.incoming().for_each(drop));
    let credentials = format!(", credentials: {{ username: git, password_file: {git} }}");
    let said: Vec<String> = [address.to_string(), "127.0.0.1:1".into(), "no-such-host.invalid".into()]
        .iter()
        .map(|server| {
            let url = format!("\"https://{server}/policies.git\"");
            let text = local.replace(&format!("\"{}\"", repository.url()), &url);
            // A database follows one repository for ever.
            let other = format!("state/{}", server.replace(['.', ':'], "-"));
            std::fs::create_dir(folder.path().join(&other)).unwrap();
            let text = text.replace("/state/state.db", &format!("/{other}/state.db"));
            std::fs::write(&file, text.replace("poll_interval: 600s", &format!("poll_interval: 600s{credentials}"))).unwrap();
            let output = controller.once_with(&[("PCI_SEGMENT_LOG", "trace")]);
            assert_eq!(output.status.code(), Some(2));
            assert_clean("the output", &[output.stdout, output.stderr.clone()].concat());
            String::from_utf8_lossy(&output.stderr).into_owned()
        })
        .collect();
    assert!(said[1].contains("nothing listens") && said[2].contains("does not resolve"), "{said:?}");

    for posted in forge.posted(&bad).iter().chain(&forge.posted(&good)) {
        assert_clean("a status", posted.description.as_bytes());
    }
    for command in ["history", "status", "doctor"] {
        let (_, out, error) = controller.ask(&[command]);
        assert_clean(command, (out + &error).as_bytes());
    }
    assert_folder_clean(folder.path(), &["git-token", "forge-token", "webhook-secret"]);
}

/// Whether a process that stops at a signal leaves its memory behind.
fn dumps(command: &mut Command, ready: impl Fn() -> bool) -> bool {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !ready() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(20));
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::ABORT).unwrap();
    child.wait().unwrap().core_dumped()
}

#[test]
fn g13_a_controller_that_stops_leaves_no_core_file() {
    let folder = tempfile::tempdir().unwrap();
    let shell = |line: &str| {
        let mut command = Command::new("sh");
        command.current_dir(folder.path()).args(["-c", &format!("ulimit -c unlimited; {line}")]);
        command
    };
    let began = folder.path().join("began");
    let keeps_cores = dumps(&mut shell("touch began; exec sleep 60"), || began.exists());
    let repository = Repository::create(folder.path()).unwrap();
    write_template(&repository);
    let good = repository.push("Segment").unwrap();
    let controller = Controller::configure(folder.path(), None, &repository, &Options::default());
    // Where no core file is ever kept, it can only be seen that the controller asks for none.
    let trace = if keeps_cores { "" } else { "strace -D -f -e trace=prctl -o trace " };
    let line = format!("exec {trace}{} run -c pci-segment.yaml", binary().display());
    let in_force = || controller.rows("history").iter().any(|row| row["commit"] == good.as_str() && row["outcome"] == "in_force");
    assert!(!dumps(&mut shell(&line), in_force), "the controller left a core file");
    if !keeps_cores {
        let trace = || std::fs::read_to_string(folder.path().join("trace")).unwrap();
        let asked = || trace().contains("prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE)");
        // Whoever traces it ends a moment later.
        let began = Instant::now();
        while !asked() {
            assert!(began.elapsed() < Duration::from_secs(120), "{}", trace());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
