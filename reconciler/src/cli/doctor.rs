//! `pci-segment doctor`: what this host and a configuration need, tried out, each failure with what to do.

mod audit;
mod clouds;
mod host;
mod operators;

use std::path::Path;

use serde::Serialize;

use super::output::{Output, Tone, escape};
use super::{DoctorArgs, Exit, Format, run};
use crate::backend::nftables::firewall::Firewall;
use crate::backend::nftables::run::Nft;
use crate::chain::chain;
use crate::config::{Config, ForgeName, VerifyModeName};
use crate::converge::{Head, Source as _};
use crate::run::git_config;
use crate::source::git::GitSource;
use crate::store::Store;

/// One thing that was tried.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    ok: bool,
    /// Its failure does not keep the controller from working.
    optional: bool,
    detail: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    remedy: String,
}

impl Check {
    fn good(name: &str, detail: impl Into<String>) -> Self {
        Self { name: name.to_owned(), ok: true, optional: false, detail: detail.into(), remedy: String::new() }
    }

    fn bad(name: &str, detail: impl Into<String>, remedy: &str) -> Self {
        Self { name: name.to_owned(), ok: false, optional: false, detail: detail.into(), remedy: remedy.to_owned() }
    }

    fn or_optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

/// Tries everything and says what is missing. Exits 1 if something needed is.
///
/// # Errors
/// No runtime.
pub fn doctor(args: &DoctorArgs, out: Output) -> anyhow::Result<Exit> {
    let mut checks = kernel();
    if let Some(path) = &args.config {
        checks.extend(run::runtime()?.block_on(configuration(path)));
    }
    let healthy = checks.iter().all(|check| check.ok || check.optional);
    match args.format {
        Format::Json => out.json(&serde_json::json!({ "ok": healthy, "checks": checks })),
        Format::Human => {
            let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or_default();
            checks.iter().for_each(|check| show(check, width, out));
        }
    }
    Ok(if healthy { Exit::Done } else { Exit::Violations })
}

fn show(check: &Check, width: usize, out: Output) {
    let mark = match (check.ok, check.optional) {
        (true, _) => out.paint(Tone::Good, "ok  "),
        (false, true) => out.paint(Tone::Warning, "warn"),
        (false, false) => out.paint(Tone::Bad, "FAIL"),
    };
    out.line(format!("{mark} {:<width$} {}", check.name, escape(&check.detail)));
    if !check.remedy.is_empty() {
        out.line(format!("     {:<width$} -> {}", "", escape(&check.remedy)));
    }
}

fn kernel() -> Vec<Check> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut checks = vec![match parse_release(&release) {
        Some(version) if version >= (5, 10) => Check::good("kernel", release),
        _ => Check::bad("kernel", release, "enforcing with eBPF needs Linux 5.10 or newer"),
    }];
    checks.extend(host::host());
    let second = nftables();
    checks.extend(enforcer::Enforcer::probe().into_iter().map(|tried| Check {
        name: tried.name.to_owned(),
        ok: tried.ok,
        // Where nftables works, eBPF need not.
        optional: tried.optional || second.ok,
        detail: tried.detail,
        remedy: tried.remedy,
    }));
    checks.push(second);
    checks
}

/// The firewall for kernels that cannot load the eBPF one.
fn nftables() -> Check {
    let remedy = "only needed where eBPF does not work: install the package nftables, and run as root";
    let tried = Nft::find().and_then(|nft| Ok((nft.program().display().to_string(), nft.version()?, nft)));
    let (program, version, nft) = match tried {
        Ok(found) => found,
        Err(error) => return Check::bad("nftables", chain(&error), remedy).or_optional(),
    };
    match Firewall::with(nft, &[], true).and_then(|firewall| firewall.probe()) {
        Ok(()) => Check::good("nftables", format!("{program}, {version}; the kernel takes our rules")).or_optional(),
        Err(error) => Check::bad("nftables", format!("{program}, {version}: {}", chain(&error)), remedy).or_optional(),
    }
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

async fn configuration(path: &Path) -> Vec<Check> {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(error) => {
            return vec![Check::bad("configuration", chain(&error), "mend the line; pci-segment init writes a commented example")];
        }
    };
    let mut checks = vec![Check::good("configuration", path.display().to_string())];
    checks.extend(interfaces(&config));
    checks.extend(host::configured(&config));
    checks.extend(operators::enforcement(&config).await);
    checks.extend(operators::gitlab(&config));
    checks.extend(clouds::checks(&config).await);
    checks.push(repository(&config).await);
    checks.extend(signers(&config));
    checks.push(database(&config).await);
    checks.extend(audit::checks(&config).await);
    if config.host.failsafe.inbound.is_empty() && !config.host.interfaces.is_empty() {
        let remedy = "list the addresses you administer from under host.failsafe.inbound";
        checks.push(Check::bad("failsafe", "nobody is on the list; a policy can lock everybody out", remedy).or_optional());
    }
    if config.status.forge != ForgeName::None {
        checks.push(token(&config));
    }
    checks
}

fn interfaces(config: &Config) -> Vec<Check> {
    let check = |name: &String| {
        let there = Path::new("/sys/class/net").join(name).exists();
        let label = format!("interface {name}");
        if there {
            Check::good(&label, "exists")
        } else {
            let remedy = format!(
                "nothing to do if it comes later: it is guarded as soon as it appears; else choose from: {}",
                known_interfaces()
            );
            Check::bad(&label, "does not exist", &remedy).or_optional()
        }
    };
    config.host.interfaces.iter().map(check).collect()
}

fn known_interfaces() -> String {
    let Ok(folder) = std::fs::read_dir("/sys/class/net") else { return String::new() };
    let mut names: Vec<String> =
        folder.flatten().filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name != "lo").collect();
    names.sort();
    names.join(", ")
}

async fn repository(config: &Config) -> Check {
    let folder = std::env::temp_dir().join(format!("pci-segment-doctor-{}", uuid::Uuid::now_v7()));
    let _ = std::fs::create_dir(&folder);
    let looked = async {
        let mut git = git_config(config)?;
        git.mirror = folder.join("mirror.git");
        anyhow::Ok(GitSource::new(git)?.head().await?)
    }
    .await;
    let _ = std::fs::remove_dir_all(&folder);
    let branch = config.source.branch.as_str();
    match looked {
        Ok(Head::At(commit)) => Check::good("repository", format!("{branch} is at {}", commit.short())),
        Ok(Head::EmptyRepository) => Check::bad("repository", "is empty", "push a first commit"),
        Ok(Head::BranchMissing) => Check::bad("repository", format!("has no branch {branch}"), "push it, or change source.branch"),
        Err(error) => Check::bad("repository", chain(error.as_ref()), "check source.url, source.credentials and the network"),
    }
}

/// Whether it can be read who may sign.
fn signers(config: &Config) -> Option<Check> {
    let verify = &config.source.verify;
    let file = verify.allowed_signers_file.as_ref().filter(|_| verify.mode != VerifyModeName::Off)?;
    let remedy = "mend or make source.verify.allowed_signers_file: one `name key` a line, OpenPGP keys as .asc files beside it";
    Some(match crate::signature::on_host::read(file) {
        Ok(signers) => Check::good("signers", format!("{}: {} keys", file.display(), signers.len())),
        Err(error) => Check::bad("signers", chain(&error), remedy),
    })
}

async fn database(config: &Config) -> Check {
    let file = config.database.as_path();
    if !file.exists() {
        let folder = config.database.folder();
        return match rustix::fs::access(folder, rustix::fs::Access::WRITE_OK) {
            Ok(()) => Check::good("database", format!("{} is made at the first start", file.display())),
            Err(error) => Check::bad(
                "database",
                format!("cannot write in {}: {error}", folder.display()),
                "install -d -m 0700 the folder, owned by the controller's user",
            ),
        };
    }
    match Store::open_read_only(file).await {
        Ok(store) => {
            let size = store.audit_head().await.map(|head| head.size).unwrap_or_default();
            store.close().await;
            Check::good("database", format!("{} ({size} audit rows)", file.display()))
        }
        Err(error) => Check::bad("database", chain(&error), "restore a backup, or name another file with `database:`"),
    }
}

fn token(config: &Config) -> Check {
    let (file, read) = match (&config.status.token_file, &config.status.github_app) {
        (Some(file), _) => (file, crate::secret::Secret::read(file)),
        (None, Some(app)) => (&app.private_key_file, crate::secret::Secret::read_text(&app.private_key_file)),
        (None, None) => return Check::good("forge token", "none configured"),
    };
    match read {
        Ok(_) => Check::good("forge token", file.display().to_string()),
        Err(error) => {
            Check::bad("forge token", chain(&error), "put a token with commit status rights there, readable by the controller only")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_release_is_understood() {
        assert_eq!(parse_release("6.18.44-fc-v445"), Some((6, 18)));
        assert_eq!(parse_release("5.10.0"), Some((5, 10)));
        assert_eq!(parse_release("x"), None);
    }
}
