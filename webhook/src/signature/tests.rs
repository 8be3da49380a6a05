use super::*;

/// Published by GitHub in "Validating webhook deliveries".
const GITHUB_PUBLISHED: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
const GITHUB_SECRET: &str = "It's a Secret to Everybody";

const BODY: &[u8] = br#"{"ref":"refs/heads/main"}"#;
const GITEA_TAG: &str = "859e2d6e16fe88dfaf072a7d84e0b2fb5fa89437a89516f3ab66de68497d080e";
const GITEA_SECRET: &str = "0123456789abcdef";

const ID: &str = "0196f000-0000-7000-8000-000000000001";
const TIME: i64 = 1_767_225_600;
const GITLAB_TAG: &str = "v1,e5h3ty9LuVnYpheo4Bn7Pj675KARNgFQhxiZ1VjIn/k=";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, value.parse().unwrap());
    }
    headers
}

fn keys(secrets: &[&str]) -> Vec<Zeroizing<Vec<u8>>> {
    secrets.iter().map(|secret| Zeroizing::new(secret.as_bytes().to_vec())).collect()
}

fn of_github(values: &[&str], secrets: &[&str]) -> Option<usize> {
    let pairs: Vec<_> = values.iter().map(|value| ("x-hub-signature-256", *value)).collect();
    github(&headers(&pairs), b"Hello, World!", &keys(secrets))
}

#[test]
fn githubs_published_vector_holds_and_names_its_line() {
    assert_eq!(of_github(&[GITHUB_PUBLISHED], &[GITHUB_SECRET]), Some(1));
    assert_eq!(of_github(&[GITHUB_PUBLISHED], &["another secret", GITHUB_SECRET]), Some(2));
}

#[test]
fn w01_w02_any_other_form_of_githubs_is_refused() {
    let secrets = [GITHUB_SECRET];
    assert_eq!(of_github(&[], &secrets), None);
    assert_eq!(of_github(&[GITHUB_PUBLISHED, GITHUB_PUBLISHED], &secrets), None);
    assert_eq!(of_github(&[GITHUB_PUBLISHED], &["It's a Secret to Nobody at all"]), None);
    let bare = GITHUB_PUBLISHED.strip_prefix("sha256=").unwrap();
    let upper = format!("sha256={}", bare.to_uppercase());
    let wrong = format!("sha256=8{}", &bare[1..]);
    let twice = format!("{GITHUB_PUBLISHED},{GITHUB_PUBLISHED}");
    for value in [bare, &upper, &wrong, &GITHUB_PUBLISHED[..70], &format!("{GITHUB_PUBLISHED}0"), &twice] {
        assert_eq!(of_github(&[value], &secrets), None, "{value}");
    }
}

#[test]
fn w06_giteas_vector_holds_and_an_empty_or_dressed_up_one_does_not() {
    let check = |pairs: &[(&'static str, &str)]| gitea(&headers(pairs), BODY, &keys(&[GITEA_SECRET]));
    assert_eq!(check(&[("x-gitea-signature", GITEA_TAG)]), Some(1));
    let both = [("x-gitea-signature", GITEA_TAG), ("x-hub-signature-256", "sha256=00"), ("x-github-event", "ping")];
    assert_eq!(check(&both), Some(1));
    for value in ["", &format!("sha256={GITEA_TAG}"), &GITEA_TAG.to_uppercase(), &GITEA_TAG[..62], &GITEA_TAG.replace('8', "9")] {
        assert_eq!(check(&[("x-gitea-signature", value)]), None, "{value}");
    }
    assert_eq!(check(&[("x-gitea-signature", GITEA_TAG), ("x-gitea-signature", GITEA_TAG)]), None);
    assert_eq!(check(&[("x-hub-signature-256", &format!("sha256={GITEA_TAG}"))]), None);
}

/// Key bytes 00…1f.
fn gitlab_key() -> Vec<Zeroizing<Vec<u8>>> {
    vec![Zeroizing::new((0..32).collect())]
}

fn of_gitlab(id: Option<&str>, time: Option<&str>, tag: &str, now: i64) -> Result<usize, Refusal> {
    let mut pairs = vec![("webhook-signature", tag)];
    pairs.extend(id.map(|id| ("webhook-id", id)));
    pairs.extend(time.map(|time| ("webhook-timestamp", time)));
    gitlab(&headers(&pairs), BODY, &gitlab_key(), now)
}

#[test]
fn gitlabs_vector_holds_alone_and_among_others() {
    let time = TIME.to_string();
    let check = |tag: &str| of_gitlab(Some(ID), Some(&time), tag, TIME);
    assert_eq!(check(GITLAB_TAG), Ok(1));
    let other = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    assert_eq!(check(&format!("v2,x {other} {GITLAB_TAG}")), Ok(1));
    let cut = &GITLAB_TAG[..46];
    for tag in ["", other, "v1,", cut, &GITLAB_TAG[3..], &GITLAB_TAG.replace("v1", "v1a"), &format!("{GITLAB_TAG},{GITLAB_TAG}")] {
        assert_eq!(check(tag), Err(Refusal::Unauthorised), "{tag}");
    }
    let mut two = gitlab_key();
    two.insert(0, Zeroizing::new(vec![7; 32]));
    let pairs = [("webhook-id", ID), ("webhook-timestamp", &*time), ("webhook-signature", GITLAB_TAG)];
    assert_eq!(gitlab(&headers(&pairs), BODY, &two, TIME), Ok(2));
}

#[test]
fn the_id_and_the_time_are_signed_with_the_body() {
    let time = TIME.to_string();
    assert_eq!(of_gitlab(Some(&ID.replace('1', "2")), Some(&time), GITLAB_TAG, TIME), Err(Refusal::Unauthorised));
    assert_eq!(of_gitlab(Some(ID), Some(&(TIME + 1).to_string()), GITLAB_TAG, TIME), Err(Refusal::Unauthorised));
    let pairs = [("webhook-id", ID), ("webhook-timestamp", &*time), ("webhook-signature", GITLAB_TAG)];
    assert_eq!(gitlab(&headers(&pairs), b"{}", &gitlab_key(), TIME), Err(Refusal::Unauthorised));
}

#[test]
fn w05_a_delivery_from_another_time_or_without_its_id_is_refused() {
    let time = TIME.to_string();
    let at = |now| of_gitlab(Some(ID), Some(&time), GITLAB_TAG, now);
    assert_eq!((at(TIME + 300), at(TIME - 300)), (Ok(1), Ok(1)));
    for now in [TIME + 301, TIME - 301, TIME + 360, TIME - 360, i64::MAX, i64::MIN] {
        assert_eq!(at(now), Err(Refusal::Stale), "{now}");
    }
    assert_eq!(of_gitlab(None, Some(&time), GITLAB_TAG, TIME), Err(Refusal::Malformed));
    assert_eq!(of_gitlab(Some(ID), None, GITLAB_TAG, TIME), Err(Refusal::Malformed));
    for odd in ["", "+1767225600", "-1", "1767225600.0", "0x6955b900", "99999999999999999999"] {
        assert_eq!(of_gitlab(Some(ID), Some(odd), GITLAB_TAG, TIME), Err(Refusal::Malformed), "{odd}");
    }
}

#[test]
fn w04_a_token_is_equal_or_it_is_nothing() {
    let secrets = keys(&["a newer token of 25 bytes", "the token that was before"]);
    let check = |pairs: &[(&'static str, &str)]| gitlab_token(&headers(pairs), &secrets);
    assert_eq!(check(&[("x-gitlab-token", "a newer token of 25 bytes")]), Some(1));
    assert_eq!(check(&[("x-gitlab-token", "the token that was before")]), Some(2));
    for wrong in
        ["", "a newer token of 25 bytez", "b newer token of 25 bytes", "a newer token of 25 byte", "a newer token of 25 bytes."]
    {
        assert_eq!(check(&[("x-gitlab-token", wrong)]), None, "{wrong}");
    }
    assert_eq!(check(&[]), None);
    assert_eq!(check(&[("x-gitlab-token", "a newer token of 25 bytes"), ("x-gitlab-token", "a newer token of 25 bytes")]), None);
}
