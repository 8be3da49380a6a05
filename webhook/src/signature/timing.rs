//! Whether time tells how much of a signature is right: Welch's t over interleaved samples.
//!
//! A machine that does other things as well makes samples longer, never shorter, and does not ask which kind one is of: the longest are
//! cropped by one bound for both kinds. One round without a difference is enough, because a leak shows in every round; and a comparison
//! that leaves early is measured in the same way, so that it is known that the statistic sees one.

use std::hint::black_box;
use std::time::Instant;

use super::*;

/// Samples of one round; both kinds together.
const SAMPLES: usize = 100_000;
/// A round that was disturbed is made again.
const ROUNDS: usize = 8;
/// What nobody takes for a difference.
const T_MAX: f64 = 4.5;

/// Which kind comes next, in no order that anything else on the machine has.
fn next(state: &mut u64) -> bool {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state & 1 == 1
}

/// Welch's t between both kinds of call.
fn t(state: &mut u64, mut call: impl FnMut(bool)) -> f64 {
    let mut samples: Vec<(bool, u64)> = Vec::with_capacity(SAMPLES);
    for _ in 0..SAMPLES {
        let kind = next(state);
        let began = Instant::now();
        call(kind);
        samples.push((kind, u64::try_from(began.elapsed().as_nanos()).unwrap()));
    }
    let mut sorted: Vec<u64> = samples.iter().map(|(_, took)| *took).collect();
    sorted.sort_unstable();
    let bound = sorted[SAMPLES * 8 / 10];
    let moments = |kind: bool| {
        let own: Vec<f64> = samples
            .iter()
            .filter(|(of, took)| *of == kind && *took <= bound)
            .map(|(_, took)| f64::from(u32::try_from(*took).unwrap()))
            .collect();
        let number = f64::from(u32::try_from(own.len()).unwrap());
        let mean = own.iter().sum::<f64>() / number;
        (mean, own.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (number - 1.0) / number)
    };
    let ((a, spread_a), (b, spread_b)) = (moments(true), moments(false));
    (a - b).abs() / (spread_a + spread_b).sqrt()
}

/// As it must not be written.
fn leaves_early(right: &[u8; 32], given: &[u8; 32]) -> bool {
    for (a, b) in right.iter().zip(given) {
        if black_box(a) != black_box(b) {
            return false;
        }
    }
    true
}

fn wrong_from(tag: [u8; 32], place: usize) -> [u8; 32] {
    let mut wrong = tag;
    wrong[place..].iter_mut().for_each(|byte| *byte ^= 0xff);
    wrong
}

#[test]
fn w01_time_does_not_tell_how_much_of_a_signature_is_right() {
    let secrets = [Zeroizing::new(b"It's a Secret to Everybody".to_vec())];
    let body: &[u8] = b"{}";
    let tag: [u8; 32] = mac(&[body], &secrets[0]).unwrap().finalize().into_bytes().into();
    let mut state = 0x9e37_79b9_7f4a_7c15;
    // The first byte right or wrong, and all but the last right or all wrong.
    for right in [1, 31] {
        let (more, less) = ([wrong_from(tag, right)], [wrong_from(tag, 0)]);
        let mut found = Vec::new();
        let even = (0..ROUNDS).any(|_| {
            let t = t(&mut state, |kind| {
                assert_eq!(matching(&[body], black_box(if kind { &more } else { &less }), &secrets), None);
            });
            found.push(t);
            t < T_MAX
        });
        assert!(even, "{right} bytes right: t = {found:?}");
    }
    let (more, less) = (wrong_from(tag, 31), wrong_from(tag, 0));
    let seen = (0..ROUNDS).any(|_| t(&mut state, |kind| assert!(!leaves_early(&tag, if kind { &more } else { &less }))) > T_MAX);
    assert!(seen, "this machine is too busy to see a comparison that leaves early");
}
