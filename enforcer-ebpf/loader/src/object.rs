//! From object bytes to pinned maps and programs.
//!
//! Where everything pinned is as loading the same object left it (see [`mark`]), nothing is loaded. Otherwise maps that are
//! pinned already are re-used, after a comparison: aya re-uses them without one. Programs are loaded, which has the verifier
//! look at them, and pinned if they are not the ones pinned already; a program's tag, a hash of its instructions, tells,
//! together with the maps it uses. Programs that few hosts need are left out until something asks for them.
#![expect(clippy::wildcard_enum_match_arm, reason = "which errors a dependency has is not ours to list")]

mod clock;
pub(crate) mod mark;
mod outer;

use std::{borrow::Cow, collections::BTreeMap, fs, io, os::fd::AsFd as _, path::Path};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    maps::{MapData, MapError, MapInfo},
    programs::{Program, ProgramError, ProgramInfo, SchedClassifier},
};

use crate::{
    error::Error,
    pin::{Layout, unpin},
    sys,
};

static EMBEDDED: &[u8] = aya::include_bytes_aligned!("../pci_segment.bpf.o");

/// Lines of the verifier's log that an error shows.
const VERIFIER_LINES: usize = 12;

/// Tries for one program while the verifier is interrupted.
const VERIFIER_TRIES: u32 = 5;

pub(crate) const CHECK_IN: &str = "check_in";
pub(crate) const CHECK_OUT: &str = "check_out";
pub(crate) const EMPTY: &str = "empty";

/// The object built from `enforcer-ebpf/program`.
pub(crate) fn embedded() -> &'static [u8] {
    EMBEDDED
}

/// The program that drops early, on the XDP hook.
pub(crate) const XDP_IN: &str = "xdp_in";

/// Programs loaded when something is first attached that runs them.
pub(crate) const ON_DEMAND: [&str; 3] = ["tc_in_plain", "tc_out_plain", XDP_IN];

/// Programs whose pin was given to another one: the number of the old, and the name.
pub(crate) type Replaced = BTreeMap<u32, String>;

/// Loads the maps and programs of `object`, or finds them, below `layout`; answers which programs were replaced.
pub(crate) fn load(layout: &Layout, object: &[u8]) -> Result<Replaced, Error> {
    if mark::stands(layout, object) {
        return Ok(Replaced::new());
    }
    mark::clear(layout)?;
    let wanted = |name: &str| !ON_DEMAND.contains(&name) || layout.prog(name).exists();
    load_programs(layout, object, wanted)
}

/// Sees that the program called `name` is pinned, loading it if it is one that is loaded when first needed.
pub(crate) fn ensure(layout: &Layout, object: &[u8], name: &str) -> Result<(), Error> {
    if !ON_DEMAND.contains(&name) || layout.prog(name).exists() {
        return Ok(());
    }
    // The mark speaks of what is pinned, so it is put again; where there was none, something else is amiss.
    let marked = mark::stands(layout, object);
    load_programs(layout, object, |own| own == name)?;
    if !layout.prog(name).exists() {
        return Err(Error::Object(name.to_owned()));
    }
    if marked { mark::set(layout, object) } else { Ok(()) }
}

fn load_programs(layout: &Layout, object: &[u8], wanted: impl Fn(&str) -> bool) -> Result<Replaced, Error> {
    let mut replaced = Replaced::new();
    let mut loaded = load_maps(layout, object)?;
    for (name, program) in loaded.programs_mut().filter(|(name, _)| wanted(name)) {
        let name = name.to_owned();
        verify(program).map_err(|error| program_error(&name, error))?;
        if let Some(old) = pin(&layout.prog(&name), &name, program)? {
            replaced.insert(old, name);
        }
    }
    Ok(replaced)
}

/// Has aya make or re-use the maps, each pinned.
pub(crate) fn load_maps(layout: &Layout, object: &[u8]) -> Result<Ebpf, Error> {
    raise_memlock();
    let parsed = aya_obj::Object::parse(object).map_err(|error| Error::Object(error.to_string()))?;
    compare(layout, &parsed)?;
    let mut loader = EbpfLoader::new();
    for (name, wanted) in &parsed.maps {
        outer::make(layout, name, wanted)?;
        loader.map_pin_path(name, layout.map(name));
    }
    loader.load(&suited(object)).map_err(load_error)
}

/// Has the verifier look at `program`. A signal to this process interrupts it, and aya, asking again for the reason, may
/// find its log too long instead: both mean trying again.
pub(crate) fn verify(program: &mut Program) -> Result<(), ProgramError> {
    let mut tries = 1;
    loop {
        let loaded = match program {
            Program::SchedClassifier(program) => program.load(),
            Program::Xdp(program) => program.load(),
            _ => Err(ProgramError::UnexpectedProgramType),
        };
        match loaded {
            Err(ProgramError::LoadError { io_error, .. })
                if tries < VERIFIER_TRIES && matches!(io_error.raw_os_error(), Some(libc::EAGAIN | libc::ENOSPC)) =>
            {
                tries += 1;
            }
            other => return other,
        }
    }
}

/// Pins `program` unless the same one is pinned; a different one is replaced in one step, and its number answered.
fn pin(path: &Path, name: &str, program: &mut Program) -> Result<Option<u32>, Error> {
    let own = program.info().map_err(|error| program_error(name, error))?;
    // Tags do not cover the maps a program uses.
    let fd = program.fd().map_err(|error| program_error(name, error))?;
    let used = sys::program_maps(fd.as_fd()).map_err(|error| Error::kernel(format!("ask for the maps of {name}"), error))?;
    let same_maps = sys::pinned_program_maps(path).is_ok_and(|pinned| pinned == used);
    let pinned = ProgramInfo::from_pin(path).ok();
    if same_maps && pinned.as_ref().is_some_and(|pinned| pinned.tag() == own.tag()) {
        return Ok(None);
    }
    let fresh = path.with_file_name(format!("{name}_new"));
    unpin(&fresh)?;
    program.pin(&fresh).map_err(|error| Error::Load(error.into()))?;
    fs::rename(&fresh, path).map_err(|error| Error::kernel(format!("pin program {name}"), error))?;
    Ok(pinned.map(|pinned| pinned.id()))
}

/// Opens a pinned program.
pub(crate) fn program(layout: &Layout, name: &str) -> Result<SchedClassifier, Error> {
    SchedClassifier::from_pin(layout.prog(name)).map_err(|error| program_error(name, error))
}

/// Opens a pinned map.
pub(crate) fn map(layout: &Layout, name: &str) -> Result<MapData, Error> {
    let path = layout.map(name);
    if !path.exists() {
        return Err(Error::PinGone(path));
    }
    MapData::from_pin(path).map_err(|error| map_error(format!("open the pinned map {name}"), error))
}

/// `object` as this kernel takes it.
pub(crate) fn suited(object: &[u8]) -> Cow<'_, [u8]> {
    clock::suited(object)
}

/// Whether each map that is pinned is what the object would make.
fn compare(layout: &Layout, parsed: &aya_obj::Object) -> Result<(), Error> {
    for (name, wanted) in &parsed.maps {
        let path = layout.map(name);
        if !path.exists() {
            continue;
        }
        let found = MapInfo::from_pin(&path).map_err(|error| map_error(format!("read the pinned map {name}"), error))?;
        let found_type = found.map_type().map_or(0, |kind| kind as u32);
        let found = [found_type, found.key_size(), found.value_size(), found.max_entries(), found.map_flags()];
        let wanted = [wanted.map_type(), wanted.key_size(), wanted.value_size(), wanted.max_entries(), wanted.map_flags()];
        if found != wanted {
            let detail = format!("type, key, value, entries, flags are {found:?} instead of {wanted:?}");
            return Err(Error::PinnedMap { path, detail });
        }
    }
    Ok(())
}

/// Kernels before 5.11 account maps against this limit.
fn raise_memlock() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    // Without the privilege newer kernels do not need it, and older ones name the limit when creating a map.
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
}

fn load_error(error: EbpfError) -> Error {
    if let EbpfError::MapError(MapError::CreateError { ref io_error, .. }) = error
        && let Some(refused) = not_permitted("creating a BPF map", io_error)
    {
        return refused;
    }
    match error {
        EbpfError::ParseError(error) => Error::Object(error.to_string()),
        other => Error::Load(Box::new(other)),
    }
}

pub(crate) fn program_error(name: &str, error: ProgramError) -> Error {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            not_permitted("loading a BPF program", &io_error).unwrap_or_else(|| {
                let log = verifier_log.to_string();
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines.get(lines.len().saturating_sub(VERIFIER_LINES)..).unwrap_or_default();
                Error::Verifier { program: name.to_owned(), log: tail.join("\n"), source: io_error }
            })
        }
        ProgramError::SyscallError(error) => not_permitted("attaching a BPF program", &error.io_error)
            .unwrap_or_else(|| Error::kernel(format!("use program {name}"), error.io_error)),
        other => Error::Load(Box::new(other)),
    }
}

pub(crate) fn map_error(doing: impl Into<String>, error: MapError) -> Error {
    match error {
        MapError::CreateError { io_error, .. } => {
            not_permitted("creating a BPF map", &io_error).unwrap_or_else(|| Error::kernel(doing, io_error))
        }
        MapError::SyscallError(error) => Error::kernel(doing, error.io_error),
        other => Error::kernel(doing, io::Error::other(other)),
    }
}

/// The error for a missing capability, if that is what `error` is.
pub(crate) fn not_permitted(doing: &'static str, error: &io::Error) -> Option<Error> {
    let capability = if doing.starts_with("attaching") { "CAP_NET_ADMIN" } else { "CAP_BPF and CAP_NET_ADMIN" };
    // EACCES is what the verifier says of a program it does not accept.
    (error.raw_os_error() == Some(libc::EPERM)).then(|| Error::NotPermitted {
        doing,
        capability,
        source: io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EPERM)),
    })
}
