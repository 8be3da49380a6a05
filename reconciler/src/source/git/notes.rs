//! Notes on commits, in the form of `git notes`: read from a ref, and written to it.
//!
//! The library reads from servers and cannot push, so what is pushed is made here: a blob, the trees above it and a commit, as one small
//! pack, sent over the same lines that are fetched through, with the same credentials and limits. No program is started but the SSH
//! client. A ref is only ever moved from where it was read to a commit on top of that; if somebody else was faster it is read again.

mod objects;

use std::io::{Read as _, Write as _};
use std::path::Path;

use gix::objs::Write as _;
use gix::protocol::transport::Service;
use gix::protocol::transport::client::blocking_io::Transport;
use gix::protocol::transport::client::{MessageKind, WriteMode};
use gix::refs::transaction::PreviousValue;
use gix::{ObjectId, Repository, hash};
use jiff::Timestamp;
use policy::snapshot::CommitId;

use self::objects::{Listed, write};
use super::address::Address;
use super::fault::{Fault, advice, one_line, text_of};
use super::pack::{Made, pack};
use super::remote::{Answer, Ask, Line, PackLimits, Talk};
use super::{Bench, GitSource, http, local, mirror, object_id, ssh};
use crate::converge::SourceError;
use crate::source::{failed, refused};

/// How often a ref is read again because somebody else moved it.
const TRIES: u32 = 4;
/// Enough of what a server says of a push.
const REPORT_BYTES_MAX: u64 = 64 * 1024;
/// Folders of folders that notes are spread over.
const FAN_OUT_MAX: u32 = 20;

/// All notes of a ref.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// The text of each.
    pub texts: Vec<String>,
    /// When the ref was last written to, as its commit says.
    pub at: Option<Timestamp>,
}

/// A note that is to be written.
#[derive(Debug, Clone)]
pub struct NewNote {
    /// Full name of the ref.
    pub reference: String,
    /// The commit it is on.
    pub on: CommitId,
    /// First line of the commit that writes it.
    pub subject: String,
    /// When.
    pub at: Timestamp,
}

/// What a note becomes, from what it was.
pub type Rewrite = dyn Fn(&str) -> String + Send + Sync;

/// How a push ended.
enum Pushed {
    Done,
    /// The ref is not where we read it.
    Moved(String),
}

impl GitSource {
    /// Reads all notes of a ref; none where there is no such ref.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub async fn notes(&self, reference: String) -> Result<Notes, SourceError> {
        self.on_thread(move |bench| bench.mended(|bench| bench.of_its_format(|bench| bench.notes(&reference)))).await
    }

    /// Writes a note. Returns the commit the ref is at then.
    ///
    /// # Errors
    /// The repository cannot be read or written; somebody else writes to the ref all the time.
    pub async fn put_note(&self, note: NewNote, rewrite: Box<Rewrite>) -> Result<String, SourceError> {
        self.on_thread(move |bench| bench.mended(|bench| bench.of_its_format(|bench| bench.put_note(&note, &*rewrite)))).await
    }
}

impl Bench<'_> {
    /// A repository that names its objects otherwise than our mirror gets another mirror.
    fn of_its_format<T>(&mut self, work: impl Fn(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        match work(self) {
            Err(Fault::OtherFormat(kind)) => {
                let path = &self.checked.config.mirror;
                mirror::set_aside(path).map_err(|error| failed("cannot move the old mirror away", error))?;
                mirror::create(path, kind)?;
                work(self)
            }
            answer => answer,
        }
    }

    fn notes(&self, reference: &str) -> Result<Notes, Fault> {
        let repo = mirror::open(&self.checked.config.mirror)?;
        let Some(tip) = self.tip(&repo, reference)? else { return Ok(Notes::default()) };
        let commit = repo.find_commit(tip).map_err(|error| unreadable(reference, &error))?;
        let at = commit.time().ok().and_then(|time| Timestamp::from_second(time.seconds).ok());
        let tree = commit.tree_id().map_err(|error| unreadable(reference, &error))?.detach();
        let mut listed = Listed::default();
        listed.add(&repo, tree, FAN_OUT_MAX).map_err(|error| unreadable(reference, &error))?;
        Ok(Notes { texts: listed.texts(&repo, reference)?, at })
    }

    fn put_note(&self, note: &NewNote, rewrite: &Rewrite) -> Result<String, Fault> {
        let mut why = String::new();
        for _ in 0..TRIES {
            let repo = mirror::open(&self.checked.config.mirror)?;
            let target = object_id(&note.on)?;
            if target.kind() != repo.object_hash() {
                return Err(Fault::OtherFormat(target.kind()));
            }
            let old = self.tip(&repo, &note.reference)?;
            let (new, made) = write(&repo, old, target, note, rewrite)?;
            match self.push(&repo, &note.reference, (old, new), &made)? {
                Pushed::Done => return Ok(new.to_string()),
                Pushed::Moved(said) => why = said,
            }
        }
        Err(refused(format!("{} is written to by others all the time ({why}); we try again", note.reference)).into())
    }

    /// Where the ref is; everything it reaches is in the mirror then.
    fn tip(&self, repo: &Repository, reference: &str) -> Result<Option<ObjectId>, Fault> {
        let config = &self.checked.config;
        let (stop, limits) = (self.watch.stopped(), PackLimits::of(config));
        if let Address::File(path) = &self.checked.address {
            let found = local::list(path, &[reference.to_owned()])?.get(reference).copied();
            let Some(id) = found else { return Ok(None) };
            let mut writable = mirror::open(&config.mirror)?;
            if id.kind() != writable.object_hash() {
                return Err(Fault::OtherFormat(id.kind()));
            }
            if mirror::pointed(repo, mirror::FOLLOWED)? != Some(id) {
                let source = local::open(path)?;
                local::copy(&source, &mut writable, path, id, limits.bytes, stop)?;
                mirror::point(&writable, mirror::FOLLOWED, id)?;
            }
            return Ok(Some(id));
        }
        match self.fetch(&Ask { mirror: repo, theirs: reference, ours: mirror::FOLLOWED, limits, stop })? {
            Answer::Missing => Ok(None),
            Answer::At(id) => {
                if mirror::tip(repo)? != Some(id) {
                    mirror::set_tip(repo, id)?;
                }
                Ok(Some(id))
            }
        }
    }

    fn push(
        &self,
        repo: &Repository,
        reference: &str,
        (old, new): (Option<ObjectId>, ObjectId),
        made: &[Made],
    ) -> Result<Pushed, Fault> {
        let config = &self.checked.config;
        let pack = || pack(made, repo.object_hash());
        match &self.checked.address {
            Address::File(path) => into_local(path, reference, (old, new), made),
            Address::Http { url, .. } => Push { reference, old, new, pack: pack()? }.over(http::line(url, config)?),
            Address::Ssh(address) => {
                let push = Push { reference, old, new, pack: pack()? };
                ssh::call_for("git-receive-pack", (address, &config.credentials, self.watch), |line| push.over(line))
            }
        }
    }
}

fn unreadable(reference: &str, error: &gix::Error) -> Fault {
    Fault::damaged(format!("{reference} cannot be read from the mirror; it is cloned again"), error)
}

/// Into a repository on this machine.
fn into_local(path: &Path, reference: &str, (old, new): (Option<ObjectId>, ObjectId), made: &[Made]) -> Result<Pushed, Fault> {
    let doing = || format!("cannot write to the repository {}; check that this user may", path.display());
    let overrides = ["core.logAllRefUpdates=false", "committer.name=pci-segment", "committer.email=pci-segment@localhost"];
    let options = mirror::options().config_overrides(overrides).with(gix::sec::Trust::Full);
    let opened = options.open(path);
    let repo = opened.map_err(|error| failed(doing(), text_of(&error)))?.to_thread_local();
    for Made { kind, bytes } in made {
        repo.objects.write_buf(*kind, bytes).map_err(|error| failed(doing(), text_of(&error)))?;
    }
    let before = match old {
        Some(old) => PreviousValue::MustExistAndMatch(gix::refs::Target::Object(old)),
        None => PreviousValue::MustNotExist,
    };
    match repo.reference(reference, new, before, "pci-segment") {
        Ok(_) => Ok(Pushed::Done),
        Err(error) => {
            let now = local::list(path, &[reference.to_owned()])?.get(reference).copied();
            if now == old {
                Err(failed(doing(), text_of(&error)).into())
            } else {
                Ok(Pushed::Moved("it was moved meanwhile".to_owned()))
            }
        }
    }
}

/// Moves one ref of a server, from where it was read.
struct Push<'a> {
    reference: &'a str,
    old: Option<ObjectId>,
    new: ObjectId,
    pack: Vec<u8>,
}

impl Talk for Push<'_> {
    type Answer = Pushed;

    fn over<T: Transport>(&self, line: Line<T>) -> Result<Pushed, Fault> {
        match self.speak(line) {
            Ok(report) => self.judge(&report),
            Err(causes) => {
                let doing = match advice(&causes) {
                    told if causes.contains("HTTP status 403") => {
                        format!("{}; it takes the right to push", told.replace("reading", "writing"))
                    }
                    told => told.to_owned(),
                };
                Err(failed(format!("cannot push to the remote repository: {doing}"), causes).into())
            }
        }
    }
}

impl Push<'_> {
    fn speak<T: Transport>(&self, Line { mut transport, options, .. }: Line<T>) -> Result<String, String> {
        if let Some(options) = &options {
            transport.configure(&**options).map_err(|error| one_line(&error.to_string()))?;
        }
        let mut said = String::new();
        {
            let greeting = transport.handshake(Service::ReceivePack, &[]).map_err(|error| text_of(&error))?;
            if let Some(mut refs) = greeting.refs {
                // To its end, or the answer would begin in the middle.
                refs.read_to_string(&mut said).map_err(|error| text_of(&error))?;
            }
        }
        let zero = ObjectId::null(self.new.kind());
        let format = if self.new.kind() == hash::Kind::Sha1 { "" } else { " object-format=sha256" };
        let (old, new) = (self.old.unwrap_or(zero), self.new);
        let command = format!("{old} {new} {}\0 report-status{format} agent=pci-segment\n", self.reference);
        let mut request = format!("{:04x}{command}0000", command.len() + 4).into_bytes();
        request.extend_from_slice(&self.pack);
        let line = transport.request(WriteMode::OneLfTerminatedLinePerWriteCall, MessageKind::Flush, false);
        let (mut writer, reader) = line.map_err(|error| text_of(&error))?.into_parts();
        writer.write_all(&request).and_then(|()| writer.flush()).map_err(|error| text_of(&error))?;
        drop(writer);
        let mut report = String::new();
        reader.take(REPORT_BYTES_MAX).read_to_string(&mut report).map_err(|error| text_of(&error))?;
        Ok(report)
    }

    fn judge(&self, report: &str) -> Result<Pushed, Fault> {
        let line = |start: &str| report.lines().find(|line| line.starts_with(start)).map(one_line);
        match (line("unpack "), line("ok "), line("ng ")) {
            (Some(unpack), Some(_), None) if unpack == "unpack ok" => Ok(Pushed::Done),
            // Whether somebody was faster or may not write there, only another look tells.
            (_, _, Some(why)) if !why.contains("hook declined") && !why.contains("protected") && !why.contains("denied") => {
                Ok(Pushed::Moved(why))
            }
            (_, _, Some(why)) => {
                Err(refused(format!("the server refuses {}: {why}; allow this account to push there", self.reference)).into())
            }
            (unpack, _, None) => {
                let said = unpack.unwrap_or_else(|| "it said nothing of it".to_owned());
                Err(refused(format!("the server did not take {}: {said}; we try again", self.reference)).into())
            }
        }
    }
}
