//! How many calls a network of 1,000 security groups takes, and how long looking at it does: `cargo run --release --features full --example
//! cloud_calls -- http://127.0.0.1:PORT`, where moto's server listens (`moto_server -p PORT`), with any `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY`.
//!
//! moto computes its answers while we wait, so its own time is taken off: every request is sent once more by a plain HTTP client, with the
//! same body and nothing done with the answer, and what that takes is moto's. Fastest of five each.
//!
//! Measured with moto 5.2.5 on two cores that others used as well, without `--release`: a look at 1,000 groups is 1 call and takes 3.1 s, of
//! which moto 2.5 s and ours 0.65 s. A pass that changes one rule in 1,000 groups is `AuthorizeSecurityGroupIngress`,
//! `DescribeSecurityGroupRules` for the id, and `RevokeSecurityGroupIngress`, beside one look to plan and two after each half; a pass that
//! changes nothing is 2 calls that read. Making 1,000 groups with two rules each is 5 calls for each and takes 87 s.
//!
//! A proxy in this program counts the calls by their action; it is in the way of both clients.

#![expect(clippy::print_stdout, reason = "it is a program that prints measurements")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use pci_segment::backend::cloud;
use pci_segment::config::{AwsConfig, CloudConfig, CloudProvider};
use pci_segment::converge::{Holding, Target};
use policy::admit::Admitted;
use policy::compile::{Ruleset, compile};
use policy::date::Date;
use policy::read::read;
use policy::snapshot::{Entry, Snapshot};

type Failure = Box<dyn Error + Send + Sync>;

/// Groups in the network.
const GROUPS: usize = 1000;
/// Runs of which the fastest counts.
const RUNS: usize = 5;
/// No request of ours is longer.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A request as it was sent: what it is about, how it was signed, its body.
type Sent = (String, String, Bytes);

#[derive(Clone)]
struct Between {
    behind: String,
    client: reqwest::Client,
    sent: Arc<Mutex<Vec<Sent>>>,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let behind = std::env::args().nth(1).ok_or("say where moto's server listens: http://127.0.0.1:PORT")?;
    let between = Between { behind, client: reqwest::Client::builder().no_proxy().build()?, sent: Arc::default() };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let router = Router::new().fallback(pass_on).with_state(between.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });

    let vpc = between.network().await?;
    let mut target = open(&url, &vpc).await?;
    let start = Instant::now();
    converge(&mut target, &rules(None)?).await?;
    println!("{GROUPS} groups made in {:.1} s: {}", start.elapsed().as_secs_f64(), between.calls());

    let mut whole = Duration::MAX;
    for _ in 0..RUNS {
        between.calls();
        let start = Instant::now();
        if target.holds("").await? != Holding::Others {
            return Err("it holds something".into());
        }
        whole = whole.min(start.elapsed());
    }
    let requests = between.take();
    println!("a look: {}", count(&requests));
    let motos = between.again(&requests).await?;
    let ours = whole.saturating_sub(motos);
    println!(
        "it takes {:.3} s, of which moto {:.3} s and ours {:.3} s",
        whole.as_secs_f64(),
        motos.as_secs_f64(),
        ours.as_secs_f64()
    );

    converge(&mut target, &rules(Some(GROUPS / 2))?).await?;
    println!("a pass that changes one rule: {}", between.calls());
    converge(&mut target, &rules(Some(GROUPS / 2))?).await?;
    println!("a pass that changes nothing: {}", between.calls());
    Ok(())
}

async fn open(url: &str, vpc: &str) -> Result<Box<dyn Target>, Failure> {
    let config = CloudConfig {
        provider: CloudProvider::Aws,
        name: None,
        region: "us-east-1".to_owned(),
        endpoint_url: Some(url.to_owned()),
        dry_run: false,
        attach: false,
        tags: BTreeMap::new(),
        aws: Some(AwsConfig { vpc_ids: vec![vpc.to_owned()], ..AwsConfig::default() }),
        azure: None,
    };
    cloud::open(&config, "bench").await?.into_iter().next().ok_or_else(|| "no target".into())
}

async fn converge(target: &mut Box<dyn Target>, ruleset: &Ruleset) -> Result<(), Failure> {
    target.survey().await?;
    target.aim(ruleset).map_err(|why| format!("{why:?}"))?;
    target.plan().await?;
    target.apply(None).await?;
    target.adopt();
    Ok(())
}

/// A policy for each group; one of them may say something else.
fn rules(other: Option<usize>) -> Result<Ruleset, Failure> {
    let text = |i: usize| {
        let port = if other == Some(i) { 8443 } else { 443 };
        format!(
            "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: p{i}}}\nspec: {{podSelector: {{matchLabels: {{tier: t{i}}}}}, \
             policyTypes: [Ingress, Egress], ingress: [{{from: [{{ipBlock: {{cidr: 10.1.0.0/16}}}}], ports: [{{port: {port}}}]}}], egress: \
             [{{to: [{{ipBlock: {{cidr: 10.2.0.0/16}}}}], ports: [{{port: 5432}}]}}]}}\n"
        )
    };
    let entries = (0..GROUPS).map(|i| (format!("{i}.yaml"), Entry::File(text(i).into_bytes())));
    let reading = read(&Snapshot { entries: entries.collect() });
    if let Some(problem) = reading.problems.first() {
        return Err(format!("{problem:?}").into());
    }
    let admitted = Admitted::in_force(reading, Date::new(2026, 1, 1).ok_or("a day")?).ok_or("the policies are not read")?;
    Ok(compile(&admitted))
}

async fn pass_on(State(between): State<Between>, request: Request) -> Response {
    match between.forward(request).await {
        Ok(answer) => answer,
        Err(error) => (axum::http::StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

impl Between {
    async fn forward(&self, request: Request) -> Result<Response, Failure> {
        let (parts, body) = request.into_parts();
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let (kind, signed) = (header("content-type"), header("authorization"));
        let target = header("x-amz-target");
        let body = to_bytes(body, BODY_BYTES_MAX).await?;
        let mut send = self.client.post(&self.behind).header("content-type", &kind).header("authorization", &signed);
        if !target.is_empty() {
            send = send.header("x-amz-target", target);
        }
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push((kind, signed, body.clone()));
        let answer = send.body(body).send().await?;
        let status = answer.status().as_u16();
        let whole = answer.bytes().await?;
        Ok(Response::builder().status(status).header("content-type", "text/xml").body(whole.into())?)
    }

    /// What was sent since the last time.
    fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut *self.sent.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn calls(&self) -> String {
        count(&self.take())
    }

    /// The same requests once more, by a client that does nothing with the answers; the fastest time.
    async fn again(&self, requests: &[Sent]) -> Result<Duration, Failure> {
        let mut best = Duration::MAX;
        for _ in 0..RUNS {
            let start = Instant::now();
            for (kind, signed, body) in requests {
                let send = self.client.post(&self.behind).header("content-type", kind).header("authorization", signed);
                send.body(body.clone()).send().await?.bytes().await?;
            }
            best = best.min(start.elapsed());
        }
        Ok(best)
    }

    async fn network(&self) -> Result<String, Failure> {
        let signed = "AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/ec2/aws4_request, SignedHeaders=host, Signature=0";
        let send = self.client.post(&self.behind).header("authorization", signed);
        let send = send.header("content-type", "application/x-www-form-urlencoded");
        let answer = send.body("Action=CreateVpc&Version=2016-11-15&CidrBlock=10.0.0.0%2F16").send().await?.text().await?;
        let (_, rest) = answer.split_once("<vpcId>").ok_or("no network")?;
        Ok(rest.split('<').next().unwrap_or_default().to_owned())
    }
}

/// How often each action was asked for.
fn count(requests: &[Sent]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for (_, _, body) in requests {
        let text = String::from_utf8_lossy(body);
        let action = text.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or("quota");
        *counts.entry(action.to_owned()).or_default() += 1;
    }
    counts.iter().map(|(action, count)| format!("{count} {action}")).collect::<Vec<_>>().join(", ")
}
