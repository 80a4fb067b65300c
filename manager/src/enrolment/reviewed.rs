//! Joining with the token of a pod's own service account, which Kubernetes checks.
//!
//! Owns: one question (a `TokenReview`) per join, and which account may join as what: `{release}-dfdaemon` of the release's
//! namespace as a peer daemon, and so on, each under the name of its own pod and no other. Such a token lives an hour, is
//! good for us alone (its audience) and ends with its pod: there is nothing to share, to keep or to change. Never: a
//! verdict without an answer; while the API server is away nobody new joins, and who has a certificate needs nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use darner_chassis::identity::Role;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::time::timeout;

use super::admission::{Admission, Claim, Refused};

/// A question that takes longer has failed.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Where Kubernetes says which pod a token is bound to.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";

/// Whose tokens count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    /// Of this namespace.
    pub namespace: String,
    /// Of this release: an account is `{release}-{component}`.
    pub release: String,
    /// Made for this audience.
    pub audience: String,
}

/// Asks Kubernetes.
pub struct Reviewed {
    reviews: Api<TokenReview>,
    accounts: Accounts,
}

impl std::fmt::Debug for Reviewed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reviewed").field("accounts", &self.accounts).finish_non_exhaustive()
    }
}

impl Reviewed {
    /// Tokens of these accounts.
    pub fn new(client: Client, accounts: Accounts) -> Self {
        Self { reviews: Api::all(client), accounts }
    }
}

#[tonic::async_trait]
impl Admission for Reviewed {
    async fn admit(&self, token: &str, claim: &Claim) -> Result<(), Refused> {
        let spec = TokenReviewSpec {
            token: Some(token.to_owned()),
            audiences: Some(vec![self.accounts.audience.clone()]),
        };
        let review = TokenReview { spec, ..TokenReview::default() };
        let parameters = PostParams::default();
        let asked = timeout(ANSWER_WITHIN, self.reviews.create(&parameters, &review)).await;
        let unchecked = |words: &str| Refused::Unchecked(words.to_owned());
        let answer = asked.map_err(|_elapsed| unchecked("the Kubernetes API does not answer"))?;
        let answer = answer.map_err(|error| {
            tracing::error!(%error, "join tokens cannot be reviewed");
            unchecked("the manager's log says why")
        })?;
        let status = answer.status.unwrap_or_default();
        if lets(&status, claim, &self.accounts) { Ok(()) } else { Err(Refused::Token(claim.clone())) }
    }
}

/// Whether what Kubernetes says of a token lets its bearer join as it claims.
fn lets(status: &TokenReviewStatus, claim: &Claim, accounts: &Accounts) -> bool {
    let Some(component) = component(claim.role) else { return false };
    let Accounts { namespace, release, audience } = accounts;
    let account = format!("system:serviceaccount:{namespace}:{release}-{component}");
    let user = status.user.clone().unwrap_or_default();
    // An answer that does not name our audience comes from a server that did not look at it.
    let for_us = status.audiences.iter().flatten().any(|named| named == audience);
    status.authenticated == Some(true)
        && for_us
        && user.username.as_deref() == Some(&account)
        && is_pod(user.extra.as_ref(), &claim.name)
}

fn is_pod(extra: Option<&BTreeMap<String, Vec<String>>>, name: &str) -> bool {
    extra.and_then(|extra| extra.get(POD_NAME)).is_some_and(|pods| pods.as_slice() == [name])
}

/// What the chart calls the parts of a role.
const fn component(role: Role) -> Option<&'static str> {
    match role {
        Role::Scheduler => Some("scheduler"),
        Role::SeedPeer => Some("seed-peer"),
        Role::PeerDaemon => Some("dfdaemon"),
        Role::Manager => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        let [namespace, release, audience] = ["ns", "rel", "darner"].map(str::to_owned);
        Accounts { namespace, release, audience }
    }

    fn status(account: &str, pod: Option<&str>, audience: &str) -> TokenReviewStatus {
        let mut user = serde_json::json!({"username": account});
        if let Some(pod) = pod {
            user["extra"] = serde_json::json!({POD_NAME: [pod]});
        }
        serde_json::from_value(serde_json::json!({
            "authenticated": true, "audiences": [audience], "user": user
        }))
        .unwrap()
    }

    fn claim(role: Role, name: &str) -> Claim {
        Claim { role, name: name.to_owned() }
    }

    #[test]
    fn a_pod_joins_as_its_own_part_under_its_own_name_only() {
        let told = status("system:serviceaccount:ns:rel-dfdaemon", Some("rel-dfdaemon-a"), "darner");
        assert!(lets(&told, &claim(Role::PeerDaemon, "rel-dfdaemon-a"), &accounts()));
        for (role, name) in [
            (Role::PeerDaemon, "rel-dfdaemon-b"),
            (Role::SeedPeer, "rel-dfdaemon-a"),
            (Role::Manager, "rel-dfdaemon-a"),
        ] {
            assert!(!lets(&told, &claim(role, name), &accounts()), "{role} {name}");
        }
    }

    #[test]
    fn tokens_of_others_and_for_others_are_of_no_use() {
        let own = claim(Role::SeedPeer, "rel-seed-peer-0");
        let account = "system:serviceaccount:ns:rel-seed-peer";
        assert!(lets(&status(account, Some("rel-seed-peer-0"), "darner"), &own, &accounts()));
        for told in [
            status("system:serviceaccount:other:rel-seed-peer", Some("rel-seed-peer-0"), "darner"),
            status("system:serviceaccount:ns:other-seed-peer", Some("rel-seed-peer-0"), "darner"),
            status("system:admin", Some("rel-seed-peer-0"), "darner"),
            status(account, None, "darner"),
            status(account, Some("rel-seed-peer-0"), "https://kubernetes.default.svc"),
            TokenReviewStatus {
                authenticated: Some(false),
                ..status(account, Some("rel-seed-peer-0"), "darner")
            },
            TokenReviewStatus { audiences: None, ..status(account, Some("rel-seed-peer-0"), "darner") },
            TokenReviewStatus::default(),
        ] {
            assert!(!lets(&told, &own, &accounts()), "{told:?}");
        }
    }
}
