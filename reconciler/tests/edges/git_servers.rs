//! The servers people run: nginx before `git http-backend` with basic authentication, and OpenSSH.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pci_segment::chain::chain;
use pci_segment::converge::Source as _;
use pci_segment::source::git::{Credentials, GitConfig, GitSource};
use policy::snapshot::Entry;

use crate::http_server::make_certificate;
use crate::support::{World, head};

/// A program that ends with the test.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> Running {
    Running(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
}

/// Where a program is, also where only administrators look. Says what is left out; in CI that is a failure.
fn program(name: &str, test: &str) -> Option<PathBuf> {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"].map(|folder| Path::new(folder).join(name));
    let found = found.into_iter().find(|path| path.exists());
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{test} needs {name}, and CI must not leave it out");
        eprintln!("left out: {test} needs {name}");
    }
    found
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Starts a server on a port that was free a moment ago; where another program was faster it ends, and gets another port.
fn serve(what: &str, start: impl Fn(u16) -> Running, is_up: impl Fn(u16) -> bool) -> (u16, Running) {
    for _ in 0..5 {
        let port = free_port();
        let mut running = start(port);
        let ended = |running: &mut Running| running.0.try_wait().unwrap().is_some();
        let began = Instant::now();
        while !is_up(port) && !ended(&mut running) {
            assert!(began.elapsed() < Duration::from_secs(120), "waited in vain for {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
        if !ended(&mut running) {
            return (port, running);
        }
    }
    panic!("{what} does not start");
}

/// Whether whoever runs this has no password, as `root` on most machines: without PAM, `sshd` takes such an account as locked.
fn is_locked_account() -> bool {
    let shadow = std::fs::read_to_string("/etc/shadow").unwrap_or_default();
    shadow.lines().any(|line| line.starts_with("root:!")) && rustix::process::geteuid().is_root()
}

fn until(what: &str, ready: impl Fn() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < Duration::from_secs(120), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// nginx, fcgiwrap and `git http-backend`, over TLS, for the user `git` with the password `right`.
pub(crate) async fn nginx(world: &World, test: &str) -> Option<(String, [Running; 2])> {
    let (nginx, fcgiwrap) = (program("nginx", test)?, program("fcgiwrap", test)?);
    let folder = world.dir.path();
    make_certificate(&folder.join("cert.pem"), &folder.join("key.pem")).await;
    std::fs::write(folder.join("users"), "git:{PLAIN}right\n").unwrap();
    let backend = Command::new("git").arg("--exec-path").output().unwrap().stdout;
    let backend = format!("{}/git-http-backend", String::from_utf8(backend).unwrap().trim());
    let here = folder.display();
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {here}/{name};"));
    let config = |port: u16| {
        format!(
            "daemon off; {user} worker_processes 1; pid {here}/nginx.pid; error_log {here}/error.log;\nevents {{}}\nhttp {{\n\
         access_log {here}/access.log; {}\nserver {{ listen 127.0.0.1:{port} ssl; ssl_certificate {here}/cert.pem; \
         ssl_certificate_key {here}/key.pem;\nlocation / {{ auth_basic git; auth_basic_user_file {here}/users; client_max_body_size 64m;\n\
         fastcgi_pass unix:{here}/git.sock; fastcgi_param SCRIPT_FILENAME {backend}; fastcgi_param GIT_PROJECT_ROOT {here}; \
         fastcgi_param GIT_HTTP_EXPORT_ALL 1; fastcgi_param PATH_INFO $uri; fastcgi_param QUERY_STRING $query_string; \
         fastcgi_param REQUEST_METHOD $request_method; fastcgi_param CONTENT_TYPE $content_type; \
         fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param REMOTE_USER $remote_user; \
         fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding; fastcgi_param GIT_PROTOCOL $http_git_protocol; \
         fastcgi_param GIT_CONFIG_NOSYSTEM 1; }} }} }}\n",
            temporary.join(" ")
        )
    };
    let wrap = start(Command::new(fcgiwrap).arg("-s").arg(format!("unix:{here}/git.sock")).env("HOME", folder));
    until("fcgiwrap", || folder.join("git.sock").exists());
    let started = |port| {
        std::fs::write(folder.join("nginx.conf"), config(port)).unwrap();
        start(Command::new(&nginx).arg("-c").arg(folder.join("nginx.conf")).arg("-p").arg(folder))
    };
    // It writes its number once it listens.
    let is_up = |port| folder.join("nginx.pid").exists() && TcpStream::connect(("127.0.0.1", port)).is_ok();
    let (port, served) = serve("nginx", started, is_up);
    Some((format!("https://127.0.0.1:{port}"), [served, wrap]))
}

#[tokio::test]
async fn a_private_repository_behind_nginx_is_followed_and_a_wrong_password_is_not_let_in() {
    let world = World::new();
    let test = "a_private_repository_behind_nginx_is_followed_and_a_wrong_password_is_not_let_in";
    let Some((server, _running)) = nginx(&world, test).await else { return };
    world.write("a.yaml", "a: 1");
    let first = world.commit("first");
    let password_file = world.dir.path().join("password");
    std::fs::write(&password_file, "right\n").unwrap();
    let config = GitConfig {
        url: format!("{server}/repo/.git"),
        credentials: Credentials::Password { username: "git".into(), password_file: password_file.clone() },
        ca_file: Some(world.dir.path().join("cert.pem")),
        ..world.config()
    };
    let source = GitSource::new(config.clone()).unwrap();
    assert_eq!(head(&source).await, first);
    world.write("a.yaml", "a: 2");
    let second = world.commit("second");
    assert_eq!(head(&source).await, second);
    assert_eq!(source.snapshot(&second).await.unwrap().entries["a.yaml"], Entry::File(b"a: 2".to_vec()));
    world.git(&["update-ref", "refs/pull/4/head", "HEAD"]);
    assert_eq!(source.request_heads(&[4, 5]).await.unwrap().heads, [(5, None), (4, Some(second))]);

    std::fs::write(&password_file, "wrong\n").unwrap();
    let text = chain(&source.head().await.unwrap_err());
    assert!(text.contains("refuses our credentials (401)") && !text.contains("wrong"), "{text}");
    std::fs::write(&password_file, "right\n").unwrap();
    assert_eq!(head(&source).await, second, "a rotated password is used at once");
    let nobody = GitSource::new(GitConfig { url: format!("{server}/nowhere.git"), ..config }).unwrap();
    let text = chain(&nobody.head().await.unwrap_err());
    assert!(text.contains("(404)"), "{text}");
    let log = std::fs::read_to_string(world.dir.path().join("access.log")).unwrap();
    assert!(log.contains("POST /repo/.git/git-upload-pack") && log.contains(" 401 "), "{log}");
}

/// OpenSSH, which lets one key run Git and nothing else.
pub(crate) fn sshd(world: &World, test: &str) -> Option<(u16, Running)> {
    let sshd = program("sshd", test)?;
    let here = world.dir.path();
    std::fs::set_permissions(here, std::fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["host", "other-host", "client", "stranger"] {
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(here.join(name)).status().unwrap();
        assert!(made.success());
    }
    let client = std::fs::read_to_string(here.join("client.pub")).unwrap();
    let forced = r#"restrict,command="git-shell -c \"$SSH_ORIGINAL_COMMAND\"""#;
    std::fs::write(here.join("authorized"), format!("{forced} {client}")).unwrap();
    if rustix::process::geteuid().is_root() {
        // Where it locks its unprivileged half in.
        std::fs::create_dir_all("/run/sshd").unwrap();
    }
    let (folder, pam) = (here.display(), if is_locked_account() { "yes" } else { "no" });
    let config = |port: u16| {
        format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nAuthorizedKeysFile {folder}/authorized\n\
         StrictModes no\nUsePAM {pam}\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
         AcceptEnv GIT_PROTOCOL\n"
        )
    };
    let started = |port| {
        std::fs::write(here.join("sshd_config"), config(port)).unwrap();
        start(Command::new(&sshd).args(["-D", "-E"]).arg(here.join("sshd.log")).arg("-f").arg(here.join("sshd_config")))
    };
    let log = || std::fs::read_to_string(here.join("sshd.log")).unwrap_or_default();
    let (port, running) = serve("sshd", started, |port| log().contains(&format!("listening on 127.0.0.1 port {port}.")));
    for name in ["host", "other-host"] {
        let key = std::fs::read_to_string(here.join(format!("{name}.pub"))).unwrap();
        std::fs::write(here.join(format!("known-{name}")), format!("[127.0.0.1]:{port} {key}")).unwrap();
    }
    Some((port, running))
}

#[tokio::test]
async fn a_repository_is_followed_over_ssh_and_only_from_the_host_whose_key_is_pinned() {
    let world = World::new();
    let test = "a_repository_is_followed_over_ssh_and_only_from_the_host_whose_key_is_pinned";
    let Some((port, _running)) = sshd(&world, test) else { return };
    world.write("a.yaml", "a: 1");
    let first = world.commit("first");
    let me = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
    let source = |key: &str, known: &str| {
        let credentials =
            Credentials::SshKey { ssh_key_file: world.dir.path().join(key), known_hosts_file: world.dir.path().join(known) };
        let url = format!("ssh://{}@127.0.0.1:{port}{}/.git", me.trim(), world.repo().display());
        GitSource::new(GitConfig { url, credentials, ..world.config() }).unwrap()
    };
    let good = source("client", "known-host");
    let log = || std::fs::read_to_string(world.dir.path().join("sshd.log")).unwrap_or_default();
    assert_eq!(good.head().await.map_err(|error| chain(&error) + &log()).unwrap(), pci_segment::converge::Head::At(first));
    let second = world.commit("second");
    assert_eq!(head(&good).await, second);
    assert_eq!(good.snapshot(&second).await.unwrap().entries["a.yaml"], Entry::File(b"a: 1".to_vec()));

    let text = chain(&source("client", "known-other-host").head().await.unwrap_err());
    assert!(text.contains("the key of the server is not in known_hosts_file"), "{text}");
    std::fs::write(world.dir.path().join("empty"), "").unwrap();
    let text = chain(&source("client", "empty").head().await.unwrap_err());
    assert!(text.contains("the key of the server is not in known_hosts_file"), "{text}");
    let text = chain(&source("stranger", "known-host").head().await.unwrap_err());
    assert!(text.contains("the server refuses our key"), "{text}");
}
