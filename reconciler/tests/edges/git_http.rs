//! Following a repository over smart HTTP and HTTPS.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use pci_segment::chain::chain;
use pci_segment::converge::{Head, Source as _};
use pci_segment::source::git::{Credentials, GitConfig, GitSource};
use policy::snapshot::Entry;

use crate::http_server::GitServer;
use crate::support::{World, head};

fn source(world: &World, url: String) -> GitSource {
    GitSource::new(GitConfig { url, ..world.config() }).unwrap()
}

/// The text of the error a look at `path` on the server ends with.
async fn failure(world: &World, server: &GitServer, path: &str) -> String {
    let source = source(world, format!("http://{}/{path}", server.address));
    chain(&source.head().await.unwrap_err())
}

struct Private {
    world: World,
    server: GitServer,
    password_file: PathBuf,
}

impl Private {
    async fn new(password: &str) -> Self {
        let world = World::new();
        let server = GitServer::https(world.dir.path(), world.dir.path()).await;
        let password_file = world.dir.path().join("password");
        std::fs::write(&password_file, password).unwrap();
        Self { world, server, password_file }
    }

    fn source(&self, ca_file: Option<PathBuf>) -> GitSource {
        let credentials = Credentials::Password { username: "git".into(), password_file: self.password_file.clone() };
        let url = format!("https://{}/private/repo/.git", self.server.address);
        GitSource::new(GitConfig { url, credentials, ca_file, ..self.world.config() }).unwrap()
    }

    fn ca(&self) -> Option<PathBuf> {
        Some(self.world.dir.path().join("cert.pem"))
    }
}

#[tokio::test]
async fn a_repository_is_cloned_fetched_and_read_over_http() {
    let world = World::new();
    world.write("a.yaml", "a: 1");
    let first = world.commit("first");
    let server = GitServer::http(world.dir.path()).await;
    let source = source(&world, format!("http://{}/repo/.git", server.address));
    assert_eq!(head(&source).await, first);
    world.write("a.yaml", "a: 2");
    let second = world.commit("second");
    assert_eq!(head(&source).await, second);
    assert_eq!(source.snapshot(&second).await.unwrap().entries["a.yaml"], Entry::File(b"a: 2".to_vec()));
    assert_eq!(source.snapshot(&first).await.unwrap().entries["a.yaml"], Entry::File(b"a: 1".to_vec()));
    assert_eq!(source.describe(&second).await.unwrap().parents, [first]);
}

#[tokio::test]
async fn a_look_without_news_lists_one_ref_and_fetches_nothing() {
    let world = World::new();
    let commit = world.commit("first");
    for number in 0..50 {
        world.git(&["branch", &format!("other-{number}")]);
    }
    let server = GitServer::http(world.dir.path()).await;
    let source = source(&world, format!("http://{}/repo/.git", server.address));
    head(&source).await;
    server.seen.lock().unwrap().clear();
    assert_eq!(head(&source).await, commit);
    let lines = server.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("GET ") && lines[1].starts_with("POST "), "{lines:?}");
}

#[tokio::test]
async fn a_forced_push_is_followed_and_the_old_commit_stays_readable() {
    let world = World::new();
    let base = world.commit("base");
    world.write("a.yaml", "old");
    let old = world.commit("old");
    let server = GitServer::http(world.dir.path()).await;
    let source = source(&world, format!("http://{}/repo/.git", server.address));
    assert_eq!(head(&source).await, old);
    world.git(&["reset", "-q", "--hard", &base.to_string()]);
    let new = world.commit("new");
    assert_eq!(head(&source).await, new);
    assert_eq!(source.snapshot(&old).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn g11_empty_repositories_and_missing_branches_are_told_apart_over_http() {
    let world = World::new();
    let server = GitServer::http(world.dir.path()).await;
    let source = source(&world, format!("http://{}/repo/.git", server.address));
    assert_eq!(source.head().await.unwrap(), Head::EmptyRepository);
    world.commit("first");
    assert!(matches!(source.head().await.unwrap(), Head::At(_)));
    world.git(&["branch", "-m", "main", "main2"]);
    assert_eq!(source.head().await.unwrap(), Head::BranchMissing);
}

#[tokio::test]
async fn g08_a_mirror_damaged_over_http_is_cloned_again() {
    let world = World::new();
    world.write("a.yaml", "a");
    let commit = world.commit("first");
    let server = GitServer::http(world.dir.path()).await;
    let source = source(&world, format!("http://{}/repo/.git", server.address));
    head(&source).await;
    for file in std::fs::read_dir(world.mirror().join("objects/pack")).unwrap().flatten() {
        std::fs::remove_file(file.path()).unwrap();
    }
    assert_eq!(source.snapshot(&commit).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn a_sha256_repository_is_followed_over_http() {
    let world = World::with_format("sha256");
    world.write("a.yaml", "a");
    let commit = world.commit("first");
    let server = GitServer::http(world.dir.path()).await;
    let source = source(&world, format!("http://{}/repo/.git", server.address));
    assert_eq!(head(&source).await, commit);
    assert_eq!(source.snapshot(&commit).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn the_right_password_over_tls_opens_a_private_repository() {
    let private = Private::new("right\n").await;
    private.world.write("a.yaml", "a");
    let commit = private.world.commit("first");
    let source = private.source(private.ca());
    assert_eq!(head(&source).await, commit);
    assert_eq!(source.snapshot(&commit).await.unwrap().entries.len(), 1);
    // The credential goes with the first request, so nothing is asked twice.
    assert!(private.server.seen.lock().unwrap().iter().all(|seen| seen.headers.contains_key("authorization")));
}

#[tokio::test]
async fn g09_g13_a_wrong_password_is_said_to_be_refused_and_not_shown() {
    let private = Private::new("canary-password").await;
    private.world.commit("first");
    let error = private.source(private.ca()).head().await.unwrap_err();
    let text = format!("{} {error:?}", chain(&error));
    assert!(text.contains("refuses our credentials (401)") && text.contains("source.credentials"), "{text}");
    assert!(!text.contains("canary") && !text.contains("Y2FuYXJ5"), "{text}");
    std::fs::remove_file(&private.password_file).unwrap();
    let text = chain(&private.source(private.ca()).head().await.unwrap_err());
    assert!(text.contains("cannot read the secret file"), "{text}");
}

#[tokio::test]
async fn g09_an_unknown_certificate_is_refused_before_the_password_is_sent() {
    let private = Private::new("right").await;
    private.world.commit("first");
    let text = chain(&private.source(None).head().await.unwrap_err());
    assert!(text.contains("certificate of the server is not trusted"), "{text}");
    assert!(private.server.lines().is_empty());
}

#[tokio::test]
async fn g09_each_refusal_of_a_server_says_what_to_do() {
    let world = World::new();
    let server = GitServer::http(world.dir.path()).await;
    let cases = [
        ("nowhere.git", "(404)"),
        ("status/403/x", "(403)"),
        ("status/404/x", "(404)"),
        ("status/429/x", "(429)"),
        ("status/500/x", "trouble of its own"),
        ("private/repo/.git", "(401)"),
        ("html/x", "not as a Git repository"),
    ];
    for (path, expected) in cases {
        let text = failure(&world, &server, path).await;
        assert!(text.contains(expected), "{path}: {text}");
    }
    let closed = source(&world, "http://127.0.0.1:1/x".into());
    let text = chain(&closed.head().await.unwrap_err());
    assert!(text.contains("nothing listens"), "{text}");
    let unknown = source(&world, "http://no-such-host.invalid/x".into());
    let text = chain(&unknown.head().await.unwrap_err());
    assert!(text.contains("does not resolve"), "{text}");
}

#[tokio::test]
async fn g09_a_redirect_is_an_error_and_the_other_address_is_not_asked() {
    let world = World::new();
    world.commit("first");
    let server = GitServer::http(world.dir.path()).await;
    let text = failure(&world, &server, "redirect/repo/.git").await;
    assert!(text.contains("redirects to another address"), "{text}");
    assert!(server.lines().iter().all(|line| line.contains("/redirect/")), "{:?}", server.lines());
}

#[tokio::test]
async fn g09_a_silent_server_is_given_up_at_the_deadline() {
    let world = World::new();
    let server = GitServer::http(world.dir.path()).await;
    let url = format!("http://{}/silent/repo", server.address);
    let source = GitSource::new(GitConfig { url, timeout: Duration::from_secs(1), ..world.config() }).unwrap();
    let began = Instant::now();
    let text = chain(&source.head().await.unwrap_err());
    assert!(text.contains("within 1s") && text.contains("source.timeout"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn g09_silence_ends_after_twenty_seconds() {
    let world = World::new();
    let server = GitServer::http(world.dir.path()).await;
    let began = Instant::now();
    let text = failure(&world, &server, "silent/repo").await;
    assert!(text.contains("stopped answering"), "{text}");
    assert!((19..30).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test]
async fn g02_a_pack_over_the_limit_is_refused_and_removed() {
    let world = World::new();
    let noise: Vec<u8> = (0..750_000u32).flat_map(|n| n.wrapping_mul(n ^ 2_654_435_761).to_le_bytes()).collect();
    world.write("noise.bin", noise);
    world.commit("large");
    let server = GitServer::http(world.dir.path()).await;
    let url = format!("http://{}/repo/.git", server.address);
    let small = GitSource::new(GitConfig { url: url.clone(), pack_bytes_max: 1 << 20, ..world.config() }).unwrap();
    for _ in 0..2 {
        let text = chain(&small.head().await.unwrap_err());
        assert!(text.contains("pack larger than 1 MiB") && text.contains("source.pack_mib"), "{text}");
        // Who gave up waiting does not wait for the cleaning up either.
        while std::fs::read_dir(world.mirror().join("objects/pack")).unwrap().count() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(source(&world, url).head().await.is_ok());
}
