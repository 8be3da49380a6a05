//! Places at which a test can end the process, or make a thread panic or hang, to see that nothing is lost.
//!
//! `PCI_SEGMENT_FAULT=PLACE=ACTION` with `kill`, `panic` or `hang`, and optionally `:ABOUT` to mean only one commit. Programs that are
//! built for use do not have this: there [`point`] is nothing.

/// The process may end here.
#[cfg(debug_assertions)]
pub(crate) fn point(place: &str, about: &str) {
    let Ok(wanted) = std::env::var("PCI_SEGMENT_FAULT") else { return };
    let Some((where_to, what)) = wanted.split_once('=') else { return };
    let (action, only) = what.split_once(':').unwrap_or((what, about));
    if where_to != place || only != about {
        return;
    }
    tracing::warn!(place, about, action, "a fault that was asked for");
    match action {
        "kill" => {
            // As a power cut would: nothing runs after it.
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        "hang" => std::thread::sleep(std::time::Duration::from_secs(3600)),
        #[expect(clippy::panic, reason = "this is what was asked for")]
        "panic" => panic!("a fault that was asked for"),
        _ => {}
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub(crate) fn point(_place: &str, _about: &str) {}
