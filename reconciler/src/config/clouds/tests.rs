use super::*;

fn parse(text: &str) -> Result<CloudConfig, String> {
    CloudConfig::parse(text, Path::new("cloud.yaml")).map_err(|error| error.to_string())
}

/// The whole of what others write for the same purpose, without secrets.
const AWS: &str = "provider: aws\nregion: us-east-1\ndry_run: false\ntags:\n  Environment: production\n  ManagedBy: pci-segment\naws:\n  \
                   profile: default\n  vpc_ids:\n    - vpc-0123456789abcdef0\n";
const AZURE: &str = "provider: azure\nregion: eastus\nazure:\n  subscription_id: 00000000-0000-0000-0000-000000000000\n  tenant_id: t\n  \
                     client_id: c\n  resource_groups:\n    - pci-cde-rg\n    - pci-production-rg\n";

#[cfg(all(feature = "aws", feature = "azure"))]
#[test]
fn an_entry_on_its_own_is_read() {
    let aws = parse(AWS).unwrap();
    assert_eq!((aws.label().as_str(), aws.dry_run, aws.attach, aws.tags.len()), ("aws/us-east-1", false, false, 2));
    assert_eq!(aws.targets(), ["aws/us-east-1/vpc-0123456789abcdef0"]);
    assert_eq!(aws.aws.unwrap().vpc_ids, ["vpc-0123456789abcdef0"]);
    let azure = parse(AZURE).unwrap();
    assert_eq!(azure.targets(), ["azure/00000000/pci-cde-rg", "azure/00000000/pci-production-rg"]);
    assert_eq!(parse(&format!("name: payments\n{AWS}")).unwrap().label(), "payments");
}

#[cfg(all(feature = "aws", feature = "azure"))]
#[test]
fn what_contradicts_itself_is_refused_with_what_to_write() {
    let aws = |section: &str| parse(&format!("{{provider: aws, region: us-east-1, aws: {{{section}}}}}")).map(drop);
    let azure = |section: &str| parse(&format!("{{provider: azure, region: eastus, azure: {{{section}}}}}")).map(drop);
    for (result, said) in [
        (parse("{provider: aws, region: \"\"}").map(drop), "region is empty"),
        (parse("{provider: aws, region: us-east-1}").map(drop), "vpc_ids: [vpc-0123456789abcdef0]"),
        (aws("vpc_ids: []"), "vpc_ids: [vpc-0123456789abcdef0]"),
        (aws("vpc_ids: [vpc-1, VPC-1]"), "VPC-1 twice"),
        (aws("vpc_ids: [vpc-1], external_id: e"), "write aws.role_arn"),
        (aws("vpc_ids: [vpc-1], rules_per_group: 0"), "write 1 to 1000"),
        (aws("vpc_ids: [vpc-1], rules_per_group: 1001"), "write 1 to 1000"),
        (parse(&format!("{AWS}azure: {{subscription_id: s}}\n")).map(drop), "has no azure section"),
        (parse(&format!("{AZURE}aws: {{vpc_ids: [vpc-1]}}\n")).map(drop), "has no aws section"),
        (azure("subscription_id: \"\", resource_groups: [a]"), "resource_groups: [pci-cde-rg]"),
        (azure("subscription_id: s"), "resource_groups: [pci-cde-rg]"),
        (azure("subscription_id: s, resource_groups: [a, A]"), "A twice"),
        (azure("subscription_id: s, resource_groups: [a], client_secret_file: f"), "goes with azure.tenant_id"),
    ] {
        let error = result.unwrap_err();
        assert!(error.starts_with("cloud.yaml: ") && error.contains(said) && !error.contains("clouds:"), "{error}");
    }
    assert_eq!(aws("vpc_ids: [vpc-1], rules_per_group: 1000, role_arn: r, external_id: e"), Ok(()));
}

#[cfg(not(any(feature = "aws", feature = "azure")))]
#[test]
fn a_cloud_that_was_not_built_is_refused_with_how_to_build_it() {
    assert!(parse(AWS).unwrap_err().contains("build it with `--features aws`"));
    assert!(parse(AZURE).unwrap_err().contains("build it with `--features azure`"));
}

#[test]
fn what_is_no_entry_is_refused_with_its_place() {
    for (text, place, said) in [
        ("provider: gcp\nregion: x\n", "cloud.yaml:1:11: ", "gcp"),
        ("provider: aws\n", "cloud.yaml:1:1: ", "region"),
        ("provider: aws\nregion: x\nregions: [y]\n", "cloud.yaml:3:1: ", "regions"),
        ("clouds: [{provider: aws}]\n", "cloud.yaml:1:1: ", "clouds"),
        ("provider: aws\nregion: x\naws:\n  vpc_ids: vpc-1\n", "cloud.yaml:4:", "vpc_ids"),
        ("provider: azure\nregion: x\nazure: {resource_groups: [a]}\n", "cloud.yaml:3:", "subscription_id"),
        ("provider: azure\nregion: x\nazure: {subscription_id: s, target_mode: mine}\n", "cloud.yaml:3:", "mine"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.starts_with(place), "{text}: {error}");
        assert!(error.contains(said) || said == "vpc_ids", "{text}: {error}");
    }
}

#[test]
fn a_secret_in_the_file_is_refused_with_what_to_write_and_is_not_repeated() {
    for (section, field, said) in [
        ("aws:\n  access_key_id: AKIAHIDDEN", "access_key_id", "AWS_ACCESS_KEY_ID"),
        ("aws:\n  secret_access_key: HIDDEN", "secret_access_key", "aws.role_arn"),
        ("azure:\n  client_secret: HIDDEN", "client_secret", "azure.client_secret_file"),
    ] {
        let error = parse(&format!("provider: aws\nregion: x\n{section}\n")).unwrap_err();
        assert!(error.starts_with("cloud.yaml:4:3: ") && error.contains(field) && error.contains(said), "{error}");
        assert!(!error.contains("HIDDEN"), "{error}");
    }
}

#[test]
fn a_file_that_is_too_large_or_none_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cloud.yaml");
    std::fs::write(&file, vec![b' '; 300 * 1024]).unwrap();
    assert!(matches!(CloudConfig::load(&file), Err(ConfigError::TooLarge { bytes: 307_200, .. })));
    assert!(matches!(CloudConfig::load(folder.path()), Err(ConfigError::NotAFile { .. })));
    assert!(matches!(CloudConfig::load(&folder.path().join("gone")), Err(ConfigError::Read { .. })));
}
