//! What tests of AWS share: a server of their own behind a proxy of their own, somebody else's client, rules from text.
//!
//! Credentials come from the environment, which a test cannot change for itself: each test runs once more, in a process that has them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use pci_segment::backend::cloud;
use pci_segment::config::{AwsConfig, CloudConfig, CloudProvider};
use pci_segment::converge::{BackendError, Target, TargetPlan};
use policy::admit::Admitted;
use policy::compile::{Ruleset, compile};
use policy::date::Date;
use policy::read::read;
use policy::snapshot::{Entry, Snapshot};

use crate::moto::Moto;
use crate::proxy::Proxy;

/// Where everything is.
pub(crate) const REGION: &str = "us-east-1";
/// The environment of processes that speak to moto.
pub(crate) const ENVIRONMENT: [(&str, &str); 6] = [
    ("AWS_ACCESS_KEY_ID", "testing"),
    ("AWS_SECRET_ACCESS_KEY", "testing"),
    ("AWS_EC2_METADATA_DISABLED", "true"),
    ("AWS_CONFIG_FILE", "/dev/null"),
    ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null"),
    ("AWS_REGION", REGION),
];
/// Set in the process that does the work of a test.
const INNER: &str = "PCI_SEGMENT_TEST_WITH_CREDENTIALS";

/// Whether this process has credentials; if not, the test was run in one that has.
pub(crate) fn has_credentials(test: &str) -> bool {
    if std::env::var_os(INNER).is_some() {
        return true;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]).envs(ENVIRONMENT).env(INNER, "1").stdin(Stdio::null());
    let output = command.output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "no test is called {test}: {text}");
    false
}

/// Runs the body of a test where it can, with a cloud of its own.
pub(crate) fn in_a_cloud<F: Future<Output = ()>>(test: &str, body: impl FnOnce(Cloud) -> F) {
    if !has_credentials(test) {
        return;
    }
    let Some(cloud) = Cloud::start() else { return };
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(body(cloud));
}

/// A server, and a proxy before it.
pub(crate) struct Cloud {
    moto: Moto,
    pub(crate) proxy: Proxy,
}

impl Cloud {
    pub(crate) fn start() -> Option<Self> {
        let moto = Moto::start()?;
        let proxy = Proxy::before(moto.address());
        Some(Self { moto, proxy })
    }

    /// A configuration for these networks.
    pub(crate) fn config(&self, vpcs: &[&str]) -> CloudConfig {
        let vpc_ids = vpcs.iter().map(|vpc| (*vpc).to_owned()).collect();
        CloudConfig {
            provider: CloudProvider::Aws,
            name: None,
            region: REGION.to_owned(),
            endpoint_url: Some(self.proxy.url()),
            dry_run: false,
            attach: false,
            tags: BTreeMap::from([("Environment".to_owned(), "production".to_owned())]),
            aws: Some(AwsConfig { vpc_ids, ..AwsConfig::default() }),
            azure: None,
        }
    }

    /// The first target of such a configuration.
    pub(crate) async fn target(&self, vpc: &str) -> Box<dyn Target> {
        open(&self.config(&[vpc]), "mine").await
    }

    /// Somebody else asks, past the proxy: the whole answer.
    pub(crate) fn ask(&self, action: &str, parameters: &[(&str, &str)]) -> String {
        let encode = |text: &str| {
            let hex = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
            text.bytes().map(hex).collect::<String>()
        };
        let mut body = format!("Action={action}&Version=2016-11-15");
        for (key, value) in parameters {
            body.push_str(&format!("&{key}={}", encode(value)));
        }
        let head = format!(
            "POST / HTTP/1.1\r\nHost: ec2.{REGION}.amazonaws.com\r\nConnection: close\r\nContent-Length: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nAuthorization: AWS4-HMAC-SHA256 \
             Credential=testing/20260101/{REGION}/ec2/aws4_request, SignedHeaders=host, Signature=0\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(self.moto.address()).unwrap();
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{action}: {answer}");
        body.to_owned()
    }

    /// A network with addresses of both families.
    pub(crate) fn network(&self) -> String {
        text_of(&self.ask("CreateVpc", &[("CidrBlock", "10.0.0.0/16"), ("AmazonProvidedIpv6CidrBlock", "true")]), "vpcId")
    }

    /// An interface in it, with tags.
    pub(crate) fn interface(&self, vpc: &str, block: &str, tags: &[(&str, &str)]) -> String {
        let subnet = text_of(&self.ask("CreateSubnet", &[("VpcId", vpc), ("CidrBlock", block)]), "subnetId");
        let interface = text_of(&self.ask("CreateNetworkInterface", &[("SubnetId", &subnet)]), "networkInterfaceId");
        for (key, value) in tags {
            self.tag(&interface, key, value);
        }
        interface
    }

    pub(crate) fn tag(&self, resource: &str, key: &str, value: &str) {
        self.ask("CreateTags", &[("ResourceId.1", resource), ("Tag.1.Key", key), ("Tag.1.Value", value)]);
    }

    pub(crate) fn untag(&self, resource: &str, key: &str) {
        self.ask("DeleteTags", &[("ResourceId.1", resource), ("Tag.1.Key", key)]);
    }

    /// Somebody puts a rule into a group.
    pub(crate) fn let_in(&self, group: &str, port: &str, cidr: &str) {
        self.ask(
            "AuthorizeSecurityGroupIngress",
            &[
                ("GroupId", group),
                ("IpPermissions.1.IpProtocol", "tcp"),
                ("IpPermissions.1.FromPort", port),
                ("IpPermissions.1.ToPort", port),
                ("IpPermissions.1.IpRanges.1.CidrIp", cidr),
            ],
        );
    }

    /// The id of a group whose name holds this.
    pub(crate) fn group(&self, vpc: &str, part: &str) -> Option<String> {
        self.groups(vpc).into_iter().find(|(name, _)| name.contains(part)).map(|(_, id)| id)
    }

    /// Names and ids of the groups of a network.
    pub(crate) fn groups(&self, vpc: &str) -> BTreeMap<String, String> {
        let answer = self.ask("DescribeSecurityGroups", &[("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", vpc)]);
        let document = roxmltree::Document::parse(&answer).unwrap();
        let names = document.descendants().filter(|node| {
            node.has_tag_name(("http://ec2.amazonaws.com/doc/2016-11-15/", "groupName")) || node.tag_name().name() == "groupName"
        });
        let group = |name: roxmltree::Node<'_, '_>| {
            let id = name.parent()?.children().find(|node| node.tag_name().name() == "groupId")?.text()?.to_owned();
            let described = name.parent()?.children().any(|node| node.tag_name().name() == "groupDescription");
            described.then_some((name.text()?.to_owned(), id))
        };
        names.filter_map(group).collect()
    }

    /// The rules of a group, one line each, sorted: who put them there is not in it.
    pub(crate) fn rules(&self, group: &str) -> Vec<String> {
        let answer = self.ask("DescribeSecurityGroupRules", &[("Filter.1.Name", "group-id"), ("Filter.1.Value.1", group)]);
        let document = roxmltree::Document::parse(&answer).unwrap();
        let rules = document.descendants().filter(|node| {
            node.tag_name().name() == "item" && node.children().any(|child| child.tag_name().name() == "securityGroupRuleId")
        });
        let mut lines: Vec<String> = rules
            .map(|rule| {
                let of = |name: &str| {
                    let found = rule.descendants().find(|node| node.tag_name().name() == name);
                    found.and_then(|node| node.text()).unwrap_or("-").to_owned()
                };
                let way = if of("isEgress") == "true" { "out" } else { "in" };
                let side = [of("cidrIpv4"), of("cidrIpv6"), of("prefixListId")].into_iter().find(|side| side != "-");
                let side = side.unwrap_or_else(|| {
                    let group = rule.descendants().find(|node| node.tag_name().name() == "referencedGroupInfo");
                    let id = group.and_then(|info| info.descendants().find(|node| node.tag_name().name() == "groupId"));
                    id.and_then(|id| id.text()).unwrap_or("-").to_owned()
                });
                format!("{way} {} {}-{} {side} {}", of("ipProtocol"), of("fromPort"), of("toPort"), of("description"))
            })
            .collect();
        lines.sort();
        lines
    }
}

/// The first text of an element.
pub(crate) fn text_of(answer: &str, name: &str) -> String {
    let document = roxmltree::Document::parse(answer).unwrap();
    let found = document.descendants().find(|node| node.tag_name().name() == name);
    found.and_then(|node| node.text()).unwrap_or_else(|| panic!("no {name}: {answer}")).to_owned()
}

/// The first target of a configuration.
pub(crate) async fn open(config: &CloudConfig, installation: &str) -> Box<dyn Target> {
    cloud::open(config, installation).await.unwrap().into_iter().next().unwrap()
}

/// Rules from documents.
pub(crate) fn ruleset(documents: &[String]) -> Ruleset {
    let mut snapshot = Snapshot::default();
    for (i, document) in documents.iter().enumerate() {
        snapshot.entries.insert(format!("policies/{i}.yaml"), Entry::File(document.clone().into_bytes()));
    }
    let reading = read(&snapshot);
    assert!(reading.problems.is_empty(), "{:?}", reading.problems);
    compile(&Admitted::in_force(reading, Date::parse("2026-01-01").unwrap()).unwrap())
}

/// A policy for one tier: who may use which port.
pub(crate) fn policy(tier: &str, ingress: &[(&str, u16)]) -> String {
    let rule = |(cidr, port): &(&str, u16)| {
        format!("{{from: [{{ipBlock: {{cidr: \"{cidr}\"}}}}], ports: [{{protocol: TCP, port: {port}}}]}}")
    };
    let rules: Vec<String> = ingress.iter().map(rule).collect();
    format!(
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: cde-{tier}, annotations: {{pci-dss: \"Req 1.3.1\"}}}}\nspec: \
         {{podSelector: {{matchLabels: {{tier: {tier}}}}}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{{to: [{{ipBlock: \
         {{cidr: 10.9.0.0/16}}}}], ports: [{{protocol: TCP, port: 443}}]}}]}}\n",
        rules.join(", ")
    )
}

/// What a controller does in a pass: look who is there, plan, apply, take it as in force. The plan is what was to be done.
pub(crate) async fn converge(target: &mut Box<dyn Target>, ruleset: &Ruleset) -> Result<TargetPlan, BackendError> {
    target.survey().await?;
    assert!(target.aim(ruleset).is_ok(), "it can be said");
    let plan = target.plan().await?.unwrap();
    target.apply(None).await?;
    target.adopt();
    Ok(plan)
}

/// EC2's own way to say no.
pub(crate) fn no(code: &str, message: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error>\
         </Errors><RequestID>00000000-0000-0000-0000-000000000000</RequestID></Response>"
    )
}

/// Whether a call changes something.
pub(crate) fn writes(action: &str) -> bool {
    !["Describe", "Get", "Lookup", "List"].iter().any(|reads| action.starts_with(reads))
}
