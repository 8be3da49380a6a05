//! `pci-segment events`: what was refused, as a table; with `--follow` as it happens.
//!
//! Sums are read from the kernel beside whatever else runs. Records have one reader: where a controller runs it is that, and this
//! command follows it through the operators' socket; else this command reads them itself.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use enforcer::Enforcer;

use super::output::{Output, Tone, escape};
use super::{EventsArgs, Exit, Format, run};
use crate::config::Config;
use crate::drops::{Names, Refusal, Row, Told, left_out, left_out_line, rows};
use crate::run::control;
use crate::store::Store;

/// What was left out is asked for this often, and names of rules read again if one lacks.
const LOSSES: Duration = Duration::from_secs(5);
/// The longest sleep between two looks.
const WAIT: Duration = Duration::from_secs(1);

/// What was refused, or is being.
///
/// # Errors
/// Nothing is enforced there, or it cannot be read.
pub fn events(args: &EventsArgs, out: Output) -> anyhow::Result<Exit> {
    let place = Place::of(args)?;
    if !args.follow {
        table(&place, args.format, out)?;
    } else if let Some(lines) = place.controller()? {
        follow_controller(lines, args.format, out)?;
    } else {
        follow_kernel(&place, args.format, out)?;
    }
    Ok(Exit::Done)
}

/// Where things are.
struct Place {
    pins: PathBuf,
    /// None where only a pin directory was named.
    config: Option<Config>,
}

impl Place {
    fn of(args: &EventsArgs) -> anyhow::Result<Self> {
        if let Some(pins) = &args.pins {
            return Ok(Self { pins: pins.clone(), config: None });
        }
        let config = Config::load(&args.config)?;
        Ok(Self { pins: config.host.pin_dir.clone(), config: Some(config) })
    }

    fn enforcer(&self) -> anyhow::Result<Enforcer> {
        Enforcer::open_existing(&self.pins)?
            .with_context(|| format!("nothing is enforced on this host: nothing is pinned below {}", self.pins.display()))
    }

    /// The lines of the controller that runs here, if one does.
    fn controller(&self) -> anyhow::Result<Option<BufReader<std::os::unix::net::UnixStream>>> {
        match &self.config {
            Some(config) => control::follow(config.database.folder()),
            None => Ok(None),
        }
    }

    fn names(&self) -> anyhow::Result<Names> {
        let Some(config) = &self.config else { return Ok(Names::default()) };
        Ok(run::runtime()?.block_on(async {
            match Store::open_read_only(config.database.as_path()).await {
                Ok(store) => Names::read(&store, &config.target()).await,
                Err(_) => Names::default(),
            }
        }))
    }
}

fn table(place: &Place, format: Format, out: Output) -> anyhow::Result<()> {
    let enforcer = place.enforcer()?;
    let rows = rows(enforcer.refusals()?);
    if format == Format::Json {
        out.json(&rows);
        return Ok(());
    }
    if rows.is_empty() {
        out.line("nothing was refused");
        return Ok(());
    }
    let cells = |row: &Row| {
        vec![
            row.peer.map_or_else(|| "?".to_owned(), |peer| peer.to_string()),
            row.service.clone(),
            row.direction.to_owned(),
            format!("{}: {}", row.reason, row.explanation),
            row.count.to_string(),
            row.first.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            row.last.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        ]
    };
    let headings = ["peer", "service", "direction", "why", "packets", "first (UTC)", "last (UTC)"];
    out.table(&headings, rows.iter().map(cells).collect());
    Ok(())
}

/// Shows what the controller tells, until it stops or nobody reads.
fn follow_controller(lines: impl BufRead, format: Format, out: Output) -> anyhow::Result<()> {
    let mut shown = out.writer();
    for line in lines.lines() {
        let line = line.context("the controller does not answer any more")?;
        // A newer controller may tell more than this knows.
        let Ok(told) = serde_json::from_str::<Told>(&line) else { continue };
        if let Told::Ended { why } = &told {
            bail!("the controller ended this: {why}");
        }
        if show(&mut shown, &told, format, out).is_err() {
            return Ok(());
        }
    }
    bail!("the controller is gone; what is enforced stays enforced")
}

/// Shows what the kernel tells, until nobody reads.
fn follow_kernel(place: &Place, format: Format, out: Output) -> anyhow::Result<()> {
    let enforcer = place.enforcer()?;
    let mut events = enforcer.events()?;
    let (mut names, mut named) = (place.names()?, Instant::now());
    let (mut losses, mut asked) = (enforcer.event_losses()?, Instant::now());
    let mut shown = out.writer();
    loop {
        for event in events.wait(WAIT)? {
            if names.lacks(event.rule) && named.elapsed() >= LOSSES {
                (names, named) = (place.names()?, Instant::now());
            }
            let told = Told::Refused(Box::new(Refusal::of(&event, &names)));
            if show(&mut shown, &told, format, out).is_err() {
                return Ok(());
            }
        }
        if asked.elapsed() >= LOSSES {
            let now = enforcer.event_losses()?;
            if let Some(told) = left_out(losses, now)
                && show(&mut shown, &told, format, out).is_err()
            {
                return Ok(());
            }
            (losses, asked) = (now, Instant::now());
        }
    }
}

/// One line; an error once nobody reads any more.
fn show(to: &mut impl Write, told: &Told, format: Format, out: Output) -> std::io::Result<()> {
    if format == Format::Json {
        serde_json::to_writer(&mut *to, told)?;
        return writeln!(to);
    }
    match told {
        Told::Refused(refusal) => {
            let tone = if refusal.verdict == "drop" { Tone::Bad } else { Tone::Warning };
            let line = escape(&refusal.line());
            writeln!(to, "{}", line.replacen(&refusal.verdict, &out.paint(tone, &refusal.verdict), 1))
        }
        Told::LeftOut { suppressed, lost } => writeln!(to, "{}", out.paint(Tone::Warning, &left_out_line(*suppressed, *lost))),
        Told::Ended { why } => writeln!(to, "{}", escape(why)),
    }
}
