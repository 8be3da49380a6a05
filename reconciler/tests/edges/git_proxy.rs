//! Through a proxy, and never with a credential to anybody else.

use std::path::PathBuf;

use pci_segment::chain::chain;
use pci_segment::converge::Source as _;
use pci_segment::source::git::{Credentials, GitConfig, GitSource};

use crate::http_server::GitServer;
use crate::proxy::Proxy;
use crate::support::{World, head};

fn private(world: &World, url: String) -> GitConfig {
    let password_file = world.dir.path().join("password");
    std::fs::write(&password_file, "right").unwrap();
    let ca_file: Option<PathBuf> = Some(world.dir.path().join("cert.pem"));
    GitConfig { url, ca_file, credentials: Credentials::Password { username: "git".into(), password_file }, ..world.config() }
}

#[tokio::test]
async fn a_proxy_passes_an_encrypted_conversation_on_and_sees_no_credential() {
    let world = World::new();
    let commit = world.commit("first");
    let server = GitServer::https(world.dir.path(), world.dir.path()).await;
    let proxy = Proxy::start().await;
    let url = format!("https://{}/private/repo/.git", server.address);
    let source = GitSource::new(GitConfig { proxy: Some(proxy.url()), ..private(&world, url) }).unwrap();
    assert_eq!(head(&source).await, commit);
    let heard = proxy.heard.lock().unwrap().clone();
    assert!(!heard.is_empty());
    for head in heard {
        assert!(head.starts_with(&format!("CONNECT {} ", server.address)), "{head}");
        assert!(!head.to_lowercase().contains("authorization"), "{head}");
    }
}

#[tokio::test]
async fn a_proxy_is_asked_for_clear_http_too_and_its_absence_is_said() {
    let world = World::new();
    let commit = world.commit("first");
    let server = GitServer::http(world.dir.path()).await;
    let proxy = Proxy::start().await;
    let config = GitConfig { url: format!("http://{}/repo/.git", server.address), ..world.config() };
    let source = GitSource::new(GitConfig { proxy: Some(proxy.url()), ..config.clone() }).unwrap();
    assert_eq!(head(&source).await, commit);
    assert!(proxy.heard.lock().unwrap().iter().all(|head| head.starts_with("GET http://") || head.starts_with("POST http://")));
    let nobody = GitSource::new(GitConfig { proxy: Some("http://127.0.0.1:1".into()), ..config }).unwrap();
    let text = chain(&nobody.head().await.unwrap_err());
    assert!(text.contains("nothing listens"), "{text}");
}

#[tokio::test]
async fn g09_a_redirect_to_another_host_is_refused_and_that_host_never_hears_of_the_credential() {
    let world = World::new();
    world.commit("first");
    let other = GitServer::https(world.dir.path(), world.dir.path()).await;
    let here = tempfile::tempdir().unwrap();
    let server = GitServer::https(world.dir.path(), here.path()).await;
    let url = format!("https://{}/hop/{}/private/repo/.git", server.address, other.address);
    let both = [here.path(), world.dir.path()].map(|folder| std::fs::read_to_string(folder.join("cert.pem")).unwrap()).concat();
    let config = private(&world, url);
    std::fs::write(config.ca_file.as_ref().unwrap(), both).unwrap();
    let text = chain(&GitSource::new(config).unwrap().head().await.unwrap_err());
    assert!(text.contains("redirects to another address"), "{text}");
    let seen = server.seen.lock().unwrap();
    assert!(seen.len() == 1 && seen[0].headers.contains_key("authorization"), "the credential was at stake");
    assert_eq!(other.lines(), [""; 0]);
}
