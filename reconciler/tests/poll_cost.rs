//! What a look without news costs. Alone in its process, so that nothing else is counted.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot set itself up has failed")]

#[path = "edges/support.rs"]
#[expect(dead_code, reason = "shared with the tests of the edges")]
mod support;

use std::time::Duration;

use support::{World, head};

#[tokio::test]
async fn a_poll_without_news_is_cheap() {
    let world = World::new();
    for number in 0..100 {
        world.write(&format!("p/{number}.yaml"), format!("a: {number}"));
    }
    world.commit("many");
    let source = world.source();
    head(&source).await;
    let before = cpu();
    for _ in 0..100 {
        head(&source).await;
    }
    let each = (cpu() - before) / 100;
    println!("one poll without news: {each:?} of processor time");
    // The goal is 5 ms; a debug build on a busy machine gets room.
    assert!(each < Duration::from_millis(20), "{each:?}");
}

/// Processor time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").unwrap();
    let own: u64 = stat.split(' ').next().unwrap().parse().unwrap();
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let all = threads.filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(all.sum::<u64>().max(own))
}
