//! What `darner up` is going to start: the flags over the values file over the defaults, checked as a whole.
//!
//! Owns: the counts, the zones, the choice of the first port, and every complaint about the call. Never: touches the
//! disk or a socket; the same flags and the same file always make the same plan.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::args::UpArgs;
use super::values::Values;
use crate::cli::failure::Failure;

/// Two daemons are the smallest cluster in which one takes from another.
const DEFAULT_PEERS: u16 = 2;
const DEFAULT_SEEDS: u16 = 1;
const DEFAULT_SCHEDULERS: u16 = 1;
/// The git-facing port of the contract.
pub const GIT_PORT: u16 = 65001;

/// Which git-facing port the first daemon takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstPort {
    /// 65001 when it is free, else any.
    Usual,
    /// This one or nothing; 0: any.
    Exactly(u16),
}

/// A checked wish for a local cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// How many schedulers.
    pub schedulers: u16,
    /// How many seed peers.
    pub seeds: u16,
    /// How many peer daemons.
    pub peers: u16,
    /// Port of the first daemon.
    pub port: FirstPort,
    /// Allowed upstreams, flags after the file's.
    pub upstreams: Vec<String>,
    /// Addresses to dial instead of what a name resolves to.
    pub resolve: Vec<String>,
    /// Further authorities for upstreams.
    pub upstream_ca: Option<PathBuf>,
    /// Database of the manager, when not its own default.
    pub database: Option<String>,
    /// Where traces go.
    pub otlp: Option<String>,
    /// Label of the node pool.
    pub tenant: Option<String>,
    /// Whether the parts show one another certificates.
    pub mtls: bool,
    /// Zone by daemon index.
    pub zones: BTreeMap<u16, String>,
    /// The values file, for the services' own configuration.
    pub values: Values,
}

/// Makes the plan, or tells everything that is wrong with the call.
pub fn make(args: &UpArgs, values: Values) -> Result<Plan, Failure> {
    later(args)?;
    let mut mistakes = Vec::new();
    let peers = args.peers.or_else(|| values.dfdaemon.count()).unwrap_or(DEFAULT_PEERS);
    if peers == 0 {
        mistakes.push("`dfdaemon.replicas`: a cluster needs at least one daemon".to_owned());
    }
    let upstreams = joined(&values.upstreams, &args.allow_upstream);
    mistakes.extend(upstreams.iter().filter_map(|entry| upstream_mistake(entry)));
    let resolve = joined(&values.resolve, &args.resolve);
    mistakes.extend(resolve.iter().filter_map(|entry| resolve_mistake(entry)));
    let zones = zones(&args.zone_of, peers, &mut mistakes);
    if !mistakes.is_empty() {
        return Err(Failure::usage(mistakes.join("\n       ")));
    }
    Ok(Plan {
        schedulers: args.schedulers.or_else(|| values.scheduler.count()).unwrap_or(DEFAULT_SCHEDULERS),
        seeds: args.seeds.or_else(|| values.seed_peer.count()).unwrap_or(DEFAULT_SEEDS),
        peers,
        port: first_port(args, &values),
        upstreams,
        resolve,
        upstream_ca: args.upstream_ca.clone().or_else(|| values.upstream_ca.clone()),
        database: args.database.clone(),
        otlp: args.otlp.clone().or_else(|| values.otlp.clone()),
        tenant: values.tenant.clone(),
        mtls: values.mtls.unwrap_or(false),
        zones,
        values,
    })
}

/// Flags whose part comes with a later issue.
fn later(args: &UpArgs) -> Result<(), Failure> {
    if args.redis.is_some() {
        return Err(Failure::later("`--redis`").hint("leave it out: nothing needs Redis in a local cluster"));
    }
    if args.database.as_ref().is_some_and(|url| !url.starts_with("sqlite:")) {
        return Err(Failure::later("`--database` for anything but SQLite")
            .hint("leave it out, or give sqlite://PATH; the manager makes its own SQLite file otherwise"));
    }
    if args.lfs_server {
        return Err(
            Failure::later("`--lfs-server`").hint("leave it out: any Git LFS server can be an upstream")
        );
    }
    Ok(())
}

/// The file's entries, then the flags', each once.
fn joined(file: &[String], flags: &[String]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for entry in file.iter().chain(flags) {
        if !all.contains(entry) {
            all.push(entry.clone());
        }
    }
    all
}

/// The flag wins; the seed documents' `proxy.tcpListen.port` comes next.
fn first_port(args: &UpArgs, values: &Values) -> FirstPort {
    let listed = values
        .dfdaemon
        .config
        .get("proxy")
        .and_then(|proxy| proxy.pointer("/tcpListen/port"))
        .and_then(serde_json::Value::as_u64)
        .and_then(|port| u16::try_from(port).ok());
    // The documents' own value is our default: on a laptop where it is taken they should still work.
    args.port.or_else(|| listed.filter(|&port| port != GIT_PORT)).map_or(FirstPort::Usual, FirstPort::Exactly)
}

fn upstream_mistake(entry: &str) -> Option<String> {
    let rest = entry.strip_prefix("https://").or_else(|| entry.strip_prefix("http://")).unwrap_or(entry);
    let right = !rest.is_empty()
        && !rest.contains(['/', '@', '?', '#', ' ', '\t'])
        && url::Url::parse(&format!("http://{rest}/")).is_ok_and(|url| url.has_host());
    (!right).then(|| format!("`--allow-upstream {entry}`: write [http://|https://]HOST[:PORT]"))
}

fn resolve_mistake(entry: &str) -> Option<String> {
    let right = entry.split_once(':').is_some_and(|(host, rest)| {
        let bracketed = host.starts_with('[');
        let parts = if bracketed { entry.split_once("]:").map(|(_, rest)| rest) } else { Some(rest) };
        parts.and_then(|parts| parts.split_once(':')).is_some_and(|(port, address)| {
            !host.is_empty()
                && port.parse::<u16>().is_ok()
                && address.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok()
        })
    });
    (!right).then(|| format!("`--resolve {entry}`: write HOST:PORT:ADDR"))
}

fn zones(entries: &[String], peers: u16, mistakes: &mut Vec<String>) -> BTreeMap<u16, String> {
    let mut zones = BTreeMap::new();
    for entry in entries {
        match entry.split_once('=').and_then(|(index, zone)| Some((index.parse::<u16>().ok()?, zone))) {
            Some((index, zone)) if index < peers && !zone.is_empty() => {
                zones.insert(index, zone.to_owned());
            }
            Some((index, _)) if index >= peers => {
                mistakes.push(format!(
                    "`--zone-of {entry}`: there are only the daemons 0 to {}",
                    peers.saturating_sub(1)
                ));
            }
            _ => mistakes.push(format!("`--zone-of {entry}`: write I=ZONE")),
        }
    }
    zones
}

#[cfg(test)]
mod tests {
    use super::super::values;
    use super::*;
    use crate::cli::failure::Kind;

    fn texts(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|&entry| entry.to_owned()).collect()
    }

    #[test]
    fn without_a_word_said_there_is_one_of_everything_and_two_daemons() {
        let plan = make(&UpArgs::default(), Values::default()).expect("defaults are fine");
        assert_eq!((plan.schedulers, plan.seeds, plan.peers), (1, 1, 2));
        assert_eq!(plan.port, FirstPort::Usual);
        assert!(plan.upstreams.is_empty());
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_the_defaults() {
        let file =
            values::parse("dfdaemon: {replicas: 5}\nseedPeer: {replicas: 3}\notlp: http://file:4317\n");
        let args = UpArgs { peers: Some(4), ..UpArgs::default() };
        let plan = make(&args, file.expect("fine")).expect("fine");
        assert_eq!((plan.peers, plan.seeds), (4, 3));
        assert_eq!(plan.otlp.as_deref(), Some("http://file:4317"));
    }

    #[test]
    fn parts_that_come_later_are_usage_errors() {
        let cases = [
            UpArgs { redis: Some("redis://h".into()), ..UpArgs::default() },
            UpArgs { database: Some("postgres://h/d".into()), ..UpArgs::default() },
            UpArgs { lfs_server: true, ..UpArgs::default() },
        ];
        for args in cases {
            let failure = make(&args, Values::default()).expect_err("not here yet");
            assert_eq!(failure.kind(), Kind::Usage);
            assert!(failure.to_string().contains("later"), "{failure}");
        }
        let sqlite = UpArgs { database: Some("sqlite:///tmp/x.db".into()), ..UpArgs::default() };
        assert!(make(&sqlite, Values::default()).is_ok());
    }

    #[test]
    fn every_wrong_upstream_resolve_and_zone_is_told_in_one_go() {
        let args = UpArgs {
            allow_upstream: texts(&["github.com/org", "ftp://h", "ok.example:8443", "http://[::1]:80"]),
            resolve: texts(&["h:443:127.0.0.1", "h:443", "h:x:1.2.3.4", "[::1]:443:[::1]"]),
            zone_of: texts(&["0=a", "7=b", "x=c", "1="]),
            ..UpArgs::default()
        };
        let told = make(&args, Values::default()).expect_err("six mistakes").to_string();
        for wrong in ["github.com/org", "ftp://h", "resolve h:443`", "h:x:1.2.3.4", "7=b", "x=c", "1="] {
            assert!(told.contains(wrong), "{wrong} in {told}");
        }
        for right in ["ok.example", "[::1]:80", "h:443:127", "0=a"] {
            assert!(!told.contains(right), "{right} in {told}");
        }
    }

    #[test]
    fn zones_belong_to_the_daemons_by_index() {
        let args = UpArgs { zone_of: texts(&["1=east", "0=west"]), ..UpArgs::default() };
        let plan = make(&args, Values::default()).expect("fine");
        assert_eq!(plan.zones.get(&1).map(String::as_str), Some("east"));
        assert_eq!(plan.zones.get(&0).map(String::as_str), Some("west"));
    }

    #[test]
    fn the_seed_documents_port_is_used_unless_the_flag_says_otherwise() {
        let file = |port: u16| {
            values::parse(&format!("dfdaemon: {{config: {{proxy: {{tcpListen: {{port: {port}}}}}}}}}"))
                .expect("fine")
        };
        assert_eq!(make(&UpArgs::default(), file(7001)).expect("fine").port, FirstPort::Exactly(7001));
        assert_eq!(make(&UpArgs::default(), file(GIT_PORT)).expect("fine").port, FirstPort::Usual);
        let args = UpArgs { port: Some(0), ..UpArgs::default() };
        assert_eq!(make(&args, file(7001)).expect("fine").port, FirstPort::Exactly(0));
    }

    #[test]
    fn no_daemon_at_all_is_refused() {
        let file = values::parse("dfdaemon: {enable: false}").expect("fine");
        assert!(make(&UpArgs::default(), file).is_err());
    }

    #[test]
    fn an_upstream_said_twice_is_listed_once() {
        let file = values::parse("upstreams: [a.example]").expect("fine");
        let args = UpArgs { allow_upstream: texts(&["a.example", "b.example"]), ..UpArgs::default() };
        assert_eq!(make(&args, file).expect("fine").upstreams, ["a.example", "b.example"]);
    }
}
