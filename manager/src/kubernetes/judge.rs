//! What becomes of the LfsUpstreams: which are given to the nodes, and what each is told about itself.
//!
//! Owns: two pure functions. [`accept`] decides from the resources and the certificates they name; [`said`] tells from
//! what the nodes and the Secrets answered. Never: asks anybody. A resource with a missing credential is still given to
//! the nodes: git's own requests bring their own.

use std::collections::{BTreeMap, BTreeSet};

use darner_proto::v1;
use prost::Message as _;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use sha2::{Digest, Sha256};

use super::condition::Said;
use super::upstream::{LfsUpstreamSpec, Refused, Tls};

/// Upstreams given to the nodes; as many as the file may name in a push.
const MOST_UPSTREAMS: usize = 256;
/// Refusals shown in a status.
const MOST_REFUSED: usize = 16;

/// What was read for a resource: its text or keys, or why not, in words.
pub type Read<T> = BTreeMap<String, Result<T, Unread>>;

/// Why something that a resource names could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// One word.
    pub reason: &'static str,
    /// Many.
    pub words: String,
}

/// A resource as it is judged: the oldest of two for the same URL is the one that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub made: String,
    /// What it wants.
    pub spec: LfsUpstreamSpec,
}

/// A resource that is given to the nodes, or why it is not.
pub type Verdict = Result<v1::ClusterUpstream, Unread>;

/// What a node said about the upstreams of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Heard {
    /// Its id.
    pub node: String,
    /// What it is.
    pub component: String,
    /// The list it has in force.
    pub revision: String,
    /// Name of a resource -> why it does not dial it.
    pub refused: BTreeMap<String, String>,
}

/// The verdict over each resource, by name. `bundles` holds what [`bundle_of`] names.
pub fn accept(asked: &[Asked], bundles: &Read<String>) -> BTreeMap<String, Verdict> {
    let mut in_order: Vec<&Asked> = asked.iter().collect();
    in_order.sort_by(|one, other| (&one.made, &one.name).cmp(&(&other.made, &other.name)));
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    let mut verdicts = BTreeMap::new();
    for one in in_order {
        let verdict = judged(one, bundles, &mut taken);
        verdicts.insert(one.name.clone(), verdict);
    }
    verdicts
}

fn judged<'a>(one: &'a Asked, bundles: &Read<String>, taken: &mut BTreeMap<String, &'a str>) -> Verdict {
    let unread = |reason, words| Err(Unread { reason, words });
    let Some(site) = site(&one.spec.url) else {
        return unread("InvalidUrl", format!("`url`: {} is not http(s)://HOST[:PORT]", shown(&one.spec.url)));
    };
    if let Some(odd) = one.spec.redirects_to.iter().find(|entry| self::site(entry).is_none()) {
        return unread("InvalidUrl", format!("`redirectsTo`: {} is not http(s)://HOST[:PORT]", shown(odd)));
    }
    if let Some(older) = taken.get(&site) {
        return unread("DuplicateUrl", format!("{older}, which is older, is about {site} already"));
    }
    if taken.len() >= MOST_UPSTREAMS {
        return unread(
            "TooMany",
            format!("{MOST_UPSTREAMS} older upstreams are in force, which is the most"),
        );
    }
    let ca_pem = certificates(one, bundles)?;
    taken.insert(site.clone(), &one.name);
    Ok(v1::ClusterUpstream {
        name: one.name.clone(),
        entry: site,
        redirects_to: one.spec.redirects_to.iter().filter_map(|entry| self::site(entry)).collect(),
        ca_pem,
    })
}

/// The ConfigMap and key that a resource takes its certificates from, as `NAME/KEY`.
pub fn bundle_of(spec: &LfsUpstreamSpec) -> Option<String> {
    let named = spec.tls.as_ref()?.config_map_ref.as_ref()?;
    Some(format!("{}/{}", named.name, named.key))
}

fn certificates(one: &Asked, bundles: &Read<String>) -> Result<String, Unread> {
    let (pem, whence) = match (&one.spec.tls, bundle_of(&one.spec)) {
        (None, _) => return Ok(String::new()),
        (Some(_), Some(named)) => match bundles.get(&named) {
            Some(Ok(pem)) => (pem.clone(), format!("ConfigMap {named}")),
            Some(Err(unread)) => return Err(unread.clone()),
            None => {
                return Err(Unread {
                    reason: "CaBundleMissing",
                    words: format!("ConfigMap {named} was not read"),
                });
            }
        },
        (Some(Tls { ca_bundle: Some(pem), .. }), None) => (pem.clone(), "`tls.caBundle`".to_owned()),
        (Some(_), None) => {
            return Err(Unread { reason: "InvalidCaBundle", words: "`tls` names no certificate".to_owned() });
        }
    };
    match usable(&pem) {
        Ok(()) => Ok(pem),
        Err(words) => Err(Unread { reason: "InvalidCaBundle", words: format!("{whence}: {words}") }),
    }
}

/// Whether these are certificates that a TLS client can trust.
fn usable(pem: &str) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for (at, found) in CertificateDer::pem_slice_iter(pem.as_bytes()).enumerate() {
        let certificate = found.map_err(|error| format!("it is no PEM: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("certificate {} is not one to trust: {error}", at + 1))?;
    }
    if roots.is_empty() { Err("it holds no certificate".to_owned()) } else { Ok(()) }
}

/// `http(s)://HOST[:PORT]` in one spelling. The nodes judge it again, by the rules of their own list.
fn site(url: &str) -> Option<String> {
    let (scheme, rest) = url.trim_end_matches('/').split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let usual = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let host = rest.to_ascii_lowercase();
    let plain = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte));
    let port = match host.rsplit_once(':') {
        Some((_, port)) if !port.contains(']') => port.parse::<u16>().is_ok_and(|port| port > 0),
        _ => true,
    };
    let named = plain && port && host.bytes().any(|byte| byte.is_ascii_alphanumeric());
    named.then(|| format!("{scheme}://{}", host.strip_suffix(usual).unwrap_or(&host)))
}

fn shown(text: &str) -> String {
    text.chars().take(120).map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// The list for the nodes. Its revision is made of its content: managers that see the same resources say the same.
pub fn list(verdicts: &BTreeMap<String, Verdict>) -> v1::ClusterUpstreams {
    let upstreams: Vec<_> = verdicts.values().filter_map(|verdict| verdict.as_ref().ok().cloned()).collect();
    let mut list = v1::ClusterUpstreams { revision: String::new(), upstreams };
    let digest = hex::encode(Sha256::digest(list.encode_to_vec()));
    list.revision = digest.chars().take(16).collect();
    list
}

/// What one resource is told about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its conditions.
    pub said: Vec<Said>,
    /// `2/3`.
    pub nodes: String,
    /// Who refuses it.
    pub refused: Vec<Refused>,
}

/// What the resource `one` is told. `secrets` holds the keys of each Secret; `heard` are the nodes that take upstreams
/// from the cluster.
pub fn said(
    one: &Asked,
    verdict: &Verdict,
    secrets: &Read<BTreeSet<String>>,
    revision: &str,
    heard: &[Heard],
) -> Told {
    let accepted = match verdict {
        Ok(_) => Said::holds("Accepted", "Accepted", "given to the nodes"),
        Err(unread) => Said::fails("Accepted", unread.reason, unread.words.clone()),
    };
    let credentials = one.spec.credentials.as_ref().map(|named| credential(&named.secret_ref.name, secrets));
    let (in_force, nodes, refused) = spread(one, verdict, revision, heard);
    let mut said = vec![accepted];
    said.extend(credentials);
    said.push(in_force);
    let ready = match said.iter().find(|said| said.holds != Some(true)) {
        Some(first) => Said { kind: "Ready", holds: Some(false), ..first.clone() },
        None => Said::holds("Ready", "InForce", "every node that takes upstreams from the cluster dials it"),
    };
    said.push(ready);
    Told { said, nodes, refused }
}

fn credential(name: &str, secrets: &Read<BTreeSet<String>>) -> Said {
    const KIND: &str = "CredentialsFound";
    match secrets.get(name) {
        Some(Ok(keys)) if keys.contains("password") => Said::holds(KIND, "Found", format!("Secret {name}")),
        Some(Ok(_)) => Said::fails(KIND, "SecretIncomplete", format!("Secret {name} has no key `password`")),
        Some(Err(unread)) => Said::fails(KIND, unread.reason, unread.words.clone()),
        None => Said::fails(KIND, "SecretMissing", format!("Secret {name} was not read")),
    }
}

fn spread(one: &Asked, verdict: &Verdict, revision: &str, heard: &[Heard]) -> (Said, String, Vec<Refused>) {
    const KIND: &str = "InForce";
    if verdict.is_err() {
        let nodes = format!("0/{}", heard.len());
        return (Said::unknown(KIND, "NotAccepted", "no node is given it"), nodes, Vec::new());
    }
    let told: Vec<&Heard> = heard.iter().filter(|node| node.revision == revision).collect();
    let refused: Vec<Refused> = told
        .iter()
        .filter_map(|node| {
            let reason = node.refused.get(&one.name)?.clone();
            Some(Refused { node: node.node.clone(), component: node.component.clone(), reason })
        })
        .take(MOST_REFUSED)
        .collect();
    let taken = told.iter().filter(|node| !node.refused.contains_key(&one.name)).count();
    let nodes = format!("{taken}/{}", heard.len());
    let in_force = match refused.first() {
        Some(first) => {
            Said::fails(KIND, "Refused", format!("{} {}: {}", first.component, first.node, first.reason))
        }
        None if heard.is_empty() => {
            let words = "no attached node takes upstreams from the cluster (`upstreamsFromCluster`)";
            Said::unknown(KIND, "NoNodes", words)
        }
        None if taken < heard.len() => Said::unknown(KIND, "Waiting", format!("{nodes} nodes dial it")),
        None => Said::holds(KIND, "InForce", format!("{nodes} nodes dial it")),
    };
    (in_force, nodes, refused)
}

#[cfg(test)]
mod tests;
