//! The judgement of typical clones.

use super::*;

const GATEWAY: &str = "http://127.0.0.1:65001";

fn gateway_clone() -> Facts {
    Facts {
        git: Some("git version 2.39.5".into()),
        lfs: Some("git-lfs/3.8.1 (GitHub; linux amd64; go 1.19.8)".into()),
        written: Some("https://github.com/o/r".into()),
        endpoint: Some(format!("{GATEWAY}/https/github.com/o/r.git/info/lfs")),
        rewrites: vec![(format!("{GATEWAY}/https/github.com/"), "https://github.com/".into())],
        href_rewrite: true,
        ssh_transfer: Some("never".into()),
        helper: true,
        gateway: Some(GATEWAY.into()),
        reached: true,
        ..Facts::default()
    }
}

fn ssh_clone() -> Facts {
    Facts {
        written: Some("git@github.com:o/r.git".into()),
        endpoint: Some("https://github.com/o/r.git/info/lfs".into()),
        ..gateway_clone()
    }
}

fn wrong(report: &Report) -> Vec<&str> {
    report
        .findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Wrong(words) => Some(words.as_str()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_clone_whose_endpoint_is_the_gateway_goes_through() {
    let report = diagnose(&gateway_clone());
    assert!(report.through.is_some_and(|how| how.contains("(B)")));
    assert!(wrong(&diagnose(&gateway_clone())).is_empty());
}

#[test]
fn an_ssh_clone_goes_through_by_rewritten_addresses() {
    assert!(diagnose(&ssh_clone()).through.is_some_and(|how| how.contains("(A)")));
}

#[test]
fn objects_inside_ssh_pass_us_by() {
    let report = diagnose(&Facts { ssh_transfer: None, ..ssh_clone() });
    assert_eq!(report.through, None);
    assert!(wrong(&report)[0].contains("lfs.sshtransfer"));
}

#[test]
fn a_clone_nobody_configured_is_told_what_to_paste() {
    let facts = Facts {
        endpoint: Some("https://github.com/o/r.git/info/lfs".into()),
        rewrites: Vec::new(),
        gateway: None,
        ..gateway_clone()
    };
    let report = diagnose(&facts);
    assert_eq!(report.through, None);
    assert_eq!(report.next, "paste what `darner git-config github.com` prints");
}

#[test]
fn the_recipe_of_the_documents_counts() {
    let facts = Facts {
        endpoint: Some("https://github.com/o/r.git/info/lfs".into()),
        rewrites: vec![("http://objects.example/".into(), "https://objects.example/".into())],
        proxy: Some(GATEWAY.into()),
        gateway: None,
        ..gateway_clone()
    };
    assert!(diagnose(&facts).through.is_some_and(|how| how.contains("(C)")));
}

#[test]
fn each_thing_that_breaks_the_way_is_named() {
    let cases = [
        (Facts { reached: false, ..gateway_clone() }, "nobody listens"),
        (Facts { proxied: true, ..gateway_clone() }, "no_proxy"),
        (Facts { agent: Some("x".into()), ..gateway_clone() }, "standalonetransferagent"),
        (Facts { lfs: None, ..gateway_clone() }, "not installed"),
        (Facts { git: None, lfs: Some("git-lfs/3.8.1 (x)".into()), ..Facts::default() }, "no such remote"),
        (Facts { lfs: Some("git-lfs/2.7.2 (x)".into()), ..gateway_clone() }, "2.8"),
    ];
    for (facts, words) in cases {
        let report = diagnose(&facts);
        assert_eq!(report.through, None, "{words}");
        assert!(wrong(&report).iter().any(|wrong| wrong.contains(words)), "{words} in {report:?}");
    }
}

#[test]
fn two_rewrites_of_one_prefix_are_a_clash() {
    let mut facts = gateway_clone();
    facts.rewrites.push(("http://other/https/github.com/".into(), "https://github.com/".into()));
    let report = diagnose(&facts);
    assert!(wrong(&report)[0].contains("chance"));
}

#[test]
fn versions_are_compared_as_numbers() {
    assert_eq!(lfs_version("git-lfs/3.10.0 (GitHub; x)"), Some((3, 10, 0)));
    assert_eq!(lfs_version("git-lfs/3.3.0"), Some((3, 3, 0)));
    assert_eq!(lfs_version("something"), None);
}

#[test]
fn the_host_is_found_in_every_form_of_an_address() {
    for url in ["https://me@h.example/o/r", "git@h.example:o/r.git", "ssh://git@h.example/o"] {
        assert_eq!(host(url), Some("h.example"), "{url}");
    }
}
