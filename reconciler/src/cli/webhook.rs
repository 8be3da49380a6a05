//! `webhook test`: what the forge would send, sent from here.
//!
//! It takes the secret from the file that the controller reads, so an answer of 202 proves that file, receiver and database work, and
//! leaves only the forge's side: its address for us and its copy of the secret.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ::webhook::Receiver;
use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};

use super::Exit;
use super::output::{Output, escape};
use super::run::runtime;
use crate::audit::event::fresh_id;
use crate::config::Config;
use crate::run::receiver;

/// Forges give up after as long.
const TIMEOUT: Duration = Duration::from_secs(10);
/// An answer of ours has at most 200 bytes; of a stranger's not more than this is shown.
const SHOWN_CHARS_MAX: usize = 500;

/// `webhook …`
#[derive(Debug, Subcommand)]
pub enum WebhookCommand {
    /// Sends a signed delivery to the running controller and shows its answer
    #[command(long_about = HELP)]
    Test(WebhookTestArgs),
}

const HELP: &str = "Sends a signed delivery to the running controller and shows its answer. It is signed with the newest secret of the \
    receiver's file: for GitHub a ping, for GitLab and Gitea, which have none, a push to the branch that says nothing else, so that the \
    controller looks. Exit code: 0 when the delivery was taken (202), 1 when it was not, 2 when nobody answers.";

/// `webhook test`
#[derive(Debug, Args)]
pub struct WebhookTestArgs {
    /// Whose delivery
    #[arg(long, value_enum)]
    pub forge: HookForge,
    /// The controller's configuration
    #[arg(short, long, value_name = "FILE", env = "PCI_SEGMENT_CONFIG", default_value = "/etc/pci-segment/pci-segment.yaml")]
    pub config: PathBuf,
    /// Sends it there instead of to the configured `listen`: the address that the forge knows, for example
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// A forge with a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HookForge {
    /// GitHub.
    Github,
    /// GitLab.
    Gitlab,
    /// Gitea and Forgejo.
    Gitea,
}

impl HookForge {
    fn word(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Gitea => "gitea",
        }
    }
}

/// Does what was asked.
///
/// # Errors
/// The receiver is not configured, or nobody answers.
pub fn webhook(command: &WebhookCommand, out: Output) -> anyhow::Result<Exit> {
    let WebhookCommand::Test(args) = command;
    let (config, forge) = (Config::load(&args.config)?, args.forge.word());
    let missing = || format!("webhooks.{forge} is not configured in {}: there is no receiver to test", args.config.display());
    let (receiver, _) = receiver(&config.webhooks, forge)?.with_context(missing)?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let url = args.url.clone().unwrap_or_else(|| format!("{scheme}://{}/webhooks/{forge}", near(config.listen)));
    let (event, body) = message(&receiver, &format!("refs/heads/{}", config.source.branch.as_str()));
    let (status, answer) = runtime()?.block_on(send(&receiver, &url, event, body))?;
    let shown: String = answer.chars().take(SHOWN_CHARS_MAX).collect();
    out.line(format!("{url} answered {status}: {}", escape(shown.trim())));
    Ok(if status == reqwest::StatusCode::ACCEPTED { Exit::Done } else { Exit::Violations })
}

/// Where a controller that listens everywhere is found from here.
fn near(listen: SocketAddr) -> SocketAddr {
    let address = match listen.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address @ (IpAddr::V4(_) | IpAddr::V6(_)) => address,
    };
    SocketAddr::new(address, listen.port())
}

fn message(receiver: &Receiver, branch: &str) -> (&'static str, String) {
    match receiver {
        Receiver::Github(_) => ("ping", r#"{"zen":"pci-segment webhook test"}"#.to_owned()),
        Receiver::GitlabSigned(_) | Receiver::GitlabToken(_) | Receiver::Gitea(_) => ::webhook::push_body(receiver, branch),
    }
}

async fn send(receiver: &Receiver, url: &str, event: &str, body: String) -> anyhow::Result<(reqwest::StatusCode, String)> {
    crate::tls::install_crypto_provider();
    // A redirect is an answer, too, and not one that a forge would follow.
    let client = reqwest::Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none()).build()?;
    let id: String = fresh_id(jiff::Timestamp::now()).iter().map(|byte| format!("{byte:02x}")).collect();
    let signed = ::webhook::sign(receiver, event, &format!("test-{id}"), body.as_bytes());
    let mut request = client.post(url).header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
    for (name, value) in &signed.0 {
        request = request.header(*name, value.as_str());
    }
    let hint = || match url.starts_with("https:") {
        true => format!(
            "no answer from {url}; is the controller running, and its certificate from somebody this host trusts (SSL_CERT_FILE)?"
        ),
        false => format!("nobody answers at {url}; is the controller running?"),
    };
    let answer = request.send().await.with_context(hint)?;
    let status = answer.status();
    Ok((status, answer.text().await.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_that_listens_everywhere_is_found_on_loopback() {
        let to = |text: &str| near(text.parse().unwrap()).to_string();
        assert_eq!(to("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(to("[::]:8080"), "[::1]:8080");
        assert_eq!(to("10.0.1.20:8080"), "10.0.1.20:8080");
    }
}
