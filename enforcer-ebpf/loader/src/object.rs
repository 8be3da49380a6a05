//! From object bytes to pinned maps and programs.
//!
//! Maps that are pinned already are re-used, after a comparison: aya re-uses them without one. Programs are loaded each
//! time, which has the verifier look at them, and pinned if they are not the ones pinned already; a program's tag, a
//! hash of its instructions, tells, together with the maps it uses.
#![expect(clippy::wildcard_enum_match_arm, reason = "which errors a dependency has is not ours to list")]

use std::{fs, io, os::fd::AsFd as _, path::Path};

use aya::{
    EbpfError, EbpfLoader,
    maps::{MapData, MapError, MapInfo},
    programs::{ProgramError, ProgramInfo, SchedClassifier},
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

/// Loads the maps and programs of `object`, or finds them, below `layout`.
pub(crate) fn load(layout: &Layout, object: &[u8]) -> Result<(), Error> {
    raise_memlock();
    let names = compare(layout, object)?;
    let mut loader = EbpfLoader::new();
    for name in &names {
        loader.map_pin_path(name, layout.map(name));
    }
    let mut loaded = loader.load(object).map_err(load_error)?;
    for (name, program) in loaded.programs_mut() {
        let name = name.to_owned();
        let program: &mut SchedClassifier = program.try_into().map_err(|error| program_error(&name, error))?;
        verify(program).map_err(|error| program_error(&name, error))?;
        pin(&layout.prog(&name), &name, program)?;
    }
    Ok(())
}

/// Has the verifier look at `program`. A signal to this process interrupts it, and aya, asking again for the reason, may
/// find its log too long instead: both mean trying again.
pub(crate) fn verify(program: &mut SchedClassifier) -> Result<(), ProgramError> {
    let mut tries = 1;
    loop {
        match program.load() {
            Err(ProgramError::LoadError { io_error, .. })
                if tries < VERIFIER_TRIES && matches!(io_error.raw_os_error(), Some(libc::EAGAIN | libc::ENOSPC)) =>
            {
                tries += 1;
            }
            other => return other,
        }
    }
}

/// Pins `program` unless the same one is pinned; a different one is replaced in one step.
fn pin(path: &Path, name: &str, program: &mut SchedClassifier) -> Result<(), Error> {
    let own = program.info().map_err(|error| program_error(name, error))?;
    // Tags do not cover the maps a program uses.
    let fd = program.fd().map_err(|error| program_error(name, error))?;
    let used = sys::program_maps(fd.as_fd()).map_err(|error| Error::kernel(format!("ask for the maps of {name}"), error))?;
    let same_maps = sys::pinned_program_maps(path).is_ok_and(|pinned| pinned == used);
    if same_maps && ProgramInfo::from_pin(path).is_ok_and(|pinned| pinned.tag() == own.tag()) {
        return Ok(());
    }
    let fresh = path.with_file_name(format!("{name}_new"));
    unpin(&fresh)?;
    program.pin(&fresh).map_err(|error| Error::Load(error.into()))?;
    fs::rename(&fresh, path).map_err(|error| Error::kernel(format!("pin program {name}"), error))
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

/// Names of the maps, after each pinned one has been found to be what `object` would make.
fn compare(layout: &Layout, object: &[u8]) -> Result<Vec<String>, Error> {
    let parsed = aya_obj::Object::parse(object).map_err(|error| Error::Object(error.to_string()))?;
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
    Ok(parsed.maps.into_keys().collect())
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
    (error.kind() == io::ErrorKind::PermissionDenied).then(|| Error::NotPermitted {
        doing,
        capability,
        source: io::Error::from_raw_os_error(error.raw_os_error().unwrap_or(libc::EPERM)),
    })
}
