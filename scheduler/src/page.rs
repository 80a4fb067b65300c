//! The page of plain text a browser is shown on the service's own port: who is here and what they are at.

use std::fmt::Write as _;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::service::{Core, Shown};

/// Nodes shown; a page is for a person.
const NODES: usize = 1_000;

/// The routes of the page.
pub(crate) fn router(core: Core) -> Router {
    Router::new().route("/", get(move || show(core.clone())))
}

async fn show(core: Core) -> Response {
    match core.show().await {
        Ok(shown) => {
            let headers =
                [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
            (headers, render(&shown)).into_response()
        }
        Err(gone) => (StatusCode::SERVICE_UNAVAILABLE, gone.to_string()).into_response(),
    }
}

fn render(shown: &Shown) -> String {
    let swarm = &shown.swarm;
    let seeds = swarm.nodes.iter().filter(|node| node.seed).count();
    let mut page = format!(
        "Darner scheduler\n\nepoch     {}\nnodes     {} ({seeds} seeds)\nobjects   {}\nheld      {}\nwanted    {}\ndropped   {}\n",
        swarm.epoch,
        swarm.nodes.len(),
        swarm.objects,
        swarm.holdings,
        swarm.wants,
        swarm.dropped,
    );
    page.push_str("\nrole    holds  wants  serves  skew(ms)  since(s)  node\n");
    for node in swarm.nodes.iter().take(NODES) {
        let skew = shown.skews.get(&node.session).copied().unwrap_or_default();
        let since = shown.now_ms.saturating_sub(node.joined_ms) / 1_000;
        // Writing into a String cannot fail.
        _ = writeln!(
            page,
            "{:<6} {:>6} {:>6} {:>7} {:>9} {:>9}  {} {} {}{}{}{}",
            if node.seed { "seed" } else { "daemon" },
            node.holds,
            node.wants,
            node.children,
            skew,
            since,
            clean(&node.id),
            clean(&node.piece_address),
            clean(&node.version),
            named(" zone=", &node.zone),
            named(" tenant=", &node.tenant),
            if node.aside { " set aside" } else { "" },
        );
    }
    if swarm.nodes.len() > NODES {
        _ = writeln!(page, "... and {} more", swarm.nodes.len() - NODES);
    }
    page
}

fn named(label: &str, value: &str) -> String {
    if value.is_empty() { String::new() } else { format!("{label}{}", clean(value)) }
}

/// Nodes name themselves: no line breaks or control characters of theirs reach the page.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::{NodeSummary, Session, Summary};

    fn node(id: &str, seed: bool) -> NodeSummary {
        NodeSummary {
            id: id.to_owned(),
            host: String::new(),
            tenant: String::new(),
            zone: "z1".to_owned(),
            seed,
            piece_address: "127.0.0.1:9".to_owned(),
            version: "1".to_owned(),
            holds: 3,
            wants: 0,
            children: 2,
            aside: false,
            joined_ms: 1_000,
            session: Session(4),
        }
    }

    #[test]
    fn the_page_names_every_node_and_its_skew() {
        let swarm =
            Summary { nodes: vec![node("seed-a", true), node("node-b", false)], ..Default::default() };
        let shown = Shown { swarm, now_ms: 6_000, skews: [(Session(4), -17)].into() };
        let page = render(&shown);
        assert!(page.contains("nodes     2 (1 seeds)"), "{page}");
        assert!(page.contains("seed-a") && page.contains("node-b") && page.contains("zone=z1"), "{page}");
        assert!(page.contains("-17"), "{page}");
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        let swarm = Summary { nodes: vec![node("x\nseed 99", false)], ..Default::default() };
        let page = render(&Shown { swarm, ..Default::default() });
        assert!(page.contains("x?seed 99"), "{page}");
    }

    #[test]
    fn a_long_list_is_cut_and_says_so() {
        let nodes = (0..NODES + 5).map(|n| node(&n.to_string(), false)).collect();
        let page = render(&Shown { swarm: Summary { nodes, ..Default::default() }, ..Default::default() });
        assert!(page.contains("... and 5 more"), "{page}");
    }
}
