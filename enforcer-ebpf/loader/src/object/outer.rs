//! The arrays of maps, made before aya would make them.
//!
//! An array of maps takes maps like its template. Kernels 5.15 to 6.2 count in whether the type of the values is known, and
//! refuse (`EINVAL`) what was made without it where the template was made with it: aya tells the kernel the types of a
//! template, while maps of a generation are made long after the object was read. So templates are made as those are, and what is
//! pinned already aya re-uses.

use std::{io, os::fd::AsFd as _};

use aya::maps::MapData;
use aya_obj::Map;

use super::map_error;
use crate::{error::Error, pin::Layout, sys};

/// Makes and pins the array of maps `name`, if `wanted` is one and it is not there yet.
pub(super) fn make(layout: &Layout, name: &str, wanted: &Map) -> Result<(), Error> {
    let path = layout.map(name);
    let Some(inner) = wanted.inner().filter(|_| !path.exists()) else { return Ok(()) };
    let template =
        Map::new_from_params(inner.map_type(), inner.key_size(), inner.value_size(), inner.max_entries(), inner.map_flags());
    let template = MapData::create(template, name, None)
        .map_err(|error| map_error(format!("create the template of the maps in {name}"), error))?;
    let failed = |error: io::Error| Error::kernel(format!("create the array of maps {name}"), error);
    let outer = sys::array_of_maps(name, template.fd().as_fd(), wanted.max_entries()).map_err(failed)?;
    sys::pin(outer.as_fd(), &path).map_err(failed)
}
