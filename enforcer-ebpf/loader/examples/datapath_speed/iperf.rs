//! iperf3 over the interface: without the firewall, with it, with 100,000 rules; paced, where the share of a core counts, and unpaced.

use std::process::{Child, Command, Stdio};

use enforcer::Direction;

use crate::{
    lab::{HOST4, Lab, run},
    policy::{Peers, table as policy},
    statistics::{Rounds, ratio, words},
};

/// Rules of the large policy.
const MANY: usize = 100_000;
const PORT: u16 = 5201;
/// Seconds of one run.
const SECONDS: u32 = 3;
/// What a paced run is paced at.
const PACE: &str = "10G";

/// A server that ends with the value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn table(rounds: usize) {
    println!("\niperf3, one TCP stream over veth, {SECONDS} s a run, {rounds} rounds interleaved (Gbit/s, median)\n");
    let bare = Lab::build();
    let few = guarded(1);
    let many = guarded(MANY);
    let labs = [("without", &bare), ("1 rule", &few), ("100,000 rules", &many)];
    let servers: Vec<Server> = labs.iter().map(|(_, lab)| serve(lab)).collect();
    std::thread::sleep(std::time::Duration::from_millis(500));
    let _ = std::fs::write("/proc/sys/kernel/bpf_stats_enabled", "1");
    let paced: Vec<Rounds> = labs.iter().map(|(_, lab)| Rounds(vec![gigabits(lab, &format!("-b {PACE}"))])).collect();
    let shares: Vec<f64> = labs.iter().map(|(_, lab)| share(lab)).collect();
    let _ = std::fs::write("/proc/sys/kernel/bpf_stats_enabled", "0");
    let mut unpaced = vec![Rounds::default(); labs.len()];
    for _ in 0..rounds {
        for (rounds, (_, lab)) in unpaced.iter_mut().zip(&labs) {
            rounds.0.push(gigabits(lab, ""));
        }
    }
    println!("{:>14} {:>16} {:>16} {:>16} {:>22}", "", "paced at 10", "share of a core", "unpaced", "unpaced ÷ without");
    for (index, (name, _)) in labs.iter().enumerate() {
        println!(
            "{name:>14} {:>16.2} {:>14.2} % {:>16.1} {:>22}",
            paced[index].median(),
            shares[index],
            unpaced[index].median(),
            words(ratio(&unpaced[index], &unpaced[0]))
        );
    }
    drop(servers);
}

/// A namespace whose interface is filtered by `rules` rules, one of which lets iperf3 in.
fn guarded(rules: usize) -> Lab {
    let lab = Lab::build();
    let mut firewall = lab.firewall();
    let mut wanted = policy(rules, Peers::Hosts, false);
    let service = 6 << 16 | u32::from(PORT);
    let open = enforcer::Interval { lo: service, hi: service, rule: 1, audit: false };
    wanted.prefixes.push((Direction::In, enforcer::Cidr::new([172, 20, 0, 0].into(), 24).unwrap(), vec![open]));
    firewall.install(&wanted, [1; 32], 0).unwrap();
    lab.in_host(|| firewall.attach("h0")).unwrap();
    lab
}

fn serve(lab: &Lab) -> Server {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &lab.host, "iperf3", "-s", "-p", &PORT.to_string(), "-A", "1"]);
    Server(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

fn gigabits(lab: &Lab, extra: &str) -> f64 {
    let text = run(&format!("ip netns exec {} iperf3 -c {HOST4} -p {PORT} -t {SECONDS} -f g -A 0 {extra}", lab.peer));
    let line = text.lines().rfind(|line| line.contains("receiver")).unwrap_or_else(|| panic!("{text}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    let at = words.iter().position(|word| word.contains("bits/sec")).unwrap();
    words[at - 1].parse().unwrap()
}

/// The share of a core the programs of `lab` took in its paced run, in percent, by the kernel's own statistics; 0 without any.
fn share(lab: &Lab) -> f64 {
    let nanoseconds: u64 = ["tc_in_ether", "tc_out_ether"]
        .iter()
        .filter_map(|name| aya::programs::SchedClassifier::from_pin(lab.program(name)).ok())
        .map(|program| {
            use std::os::fd::{AsFd as _, AsRawFd as _};
            let fd = program.fd().unwrap().as_fd().as_raw_fd();
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
            let time = info.lines().find_map(|line| line.strip_prefix("run_time_ns:"));
            time.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or_default()
        })
        .sum();
    nanoseconds as f64 / (f64::from(SECONDS) * 1e9) * 100.0
}
