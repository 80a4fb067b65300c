//! The demonstration: a forge, a cluster, clones through every daemon at once, and a table of what that cost.

use std::time::{Duration, Instant};

use clap::Parser;
use darner_e2e::cluster::Metrics;
use darner_e2e::origin::counts::Kind;
use darner_e2e::scene::{Mode, Plan, Scene, Wire};
use futures::future::try_join_all;

const MIB: u64 = 1024 * 1024;
const DAEMONS: usize = 4;
const CLONES: usize = 8;

/// Shows a whole cluster at work on this machine.
#[derive(Debug, Parser)]
struct Arguments {
    /// Leave the forge and the cluster running until Ctrl-C.
    #[arg(long)]
    keep: bool,
}

/// Says what happens, with the seconds since the beginning.
struct Teller(Instant);

impl Teller {
    fn say(&self, words: &str) {
        println!("[{:5.1} s] {words}", self.0.elapsed().as_secs_f64());
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let teller = Teller(Instant::now());
    let mut sizes = vec![64 * MIB, 24 * MIB, 8 * MIB];
    sizes.extend((1..=40).map(|number| number * 5_000));
    let total: u64 = sizes.iter().sum();
    teller.say(&format!(
        "a forge with {} LFS objects, {} in all, and a cluster of {DAEMONS} daemons",
        sizes.len(),
        shown(total)
    ));
    let scene = Scene::set(Plan::new(DAEMONS, &sizes)).await?;
    teller.say("manager, scheduler, seed peer and daemons are ready, each a process of its own");

    teller.say(&format!("{CLONES} people clone at once, {} through each daemon", CLONES / DAEMONS));
    let clones = (0..CLONES).map(|person| told(&scene, &teller, person));
    let took: Vec<Duration> = try_join_all(clones).await?;
    let slowest = took.iter().max().copied().unwrap_or_default();
    teller.say(&format!(
        "every clone is right, byte for byte; the slowest took {:.1} s",
        slowest.as_secs_f64()
    ));

    println!();
    table(&scene).await?;
    compared(&scene, total, sizes.len());
    println!(
        "\nconsole   {}  (user {}, password in {})",
        scene.cluster.manager.url,
        scene.cluster.admin.user,
        scene.cluster.admin.password_file.display()
    );
    if arguments.keep {
        keep(&scene).await?;
    }
    teller.say("ending");
    scene.cluster.stop().await?;
    teller.say("nothing is left running");
    Ok(())
}

async fn told(scene: &Scene, teller: &Teller, person: usize) -> anyhow::Result<Duration> {
    let began = Instant::now();
    scene.clone(Mode::B, Wire::Clear, person % DAEMONS).await?;
    let took = began.elapsed();
    teller.say(&format!(
        "  clone {} through daemon {} done in {:.1} s",
        person + 1,
        person % DAEMONS,
        took.as_secs_f64()
    ));
    Ok(took)
}

/// Who got how many bytes from where.
async fn table(scene: &Scene) -> anyhow::Result<()> {
    println!(
        "{:<22} {:>12} {:>12} {:>12} {:>12}",
        "gave git bytes from", "own store", "peers", "seed", "origin"
    );
    for (number, daemon) in scene.cluster.peer_daemons.iter().enumerate() {
        let metrics = Metrics::of(&daemon.admin).await?;
        let from = |source| shown(metrics.sum("darner_served_bytes_total", &[("source", source)]));
        let name = format!("daemon {number} {}", daemon.proxy);
        println!(
            "{name:<22} {:>12} {:>12} {:>12} {:>12}",
            from("local"),
            from("peer"),
            from("seed"),
            from("origin")
        );
    }
    for seed in &scene.cluster.seed_peers {
        let metrics = Metrics::of(&seed.admin).await?;
        let read = metrics.sum("darner_origin_bytes_total", &[("kind", "content")]);
        println!("seed   {} has read {} from the origin", seed.piece, shown(read));
    }
    Ok(())
}

/// What the origin was asked, against what it would have been asked.
fn compared(scene: &Scene, total: u64, objects: usize) {
    let counts = scene.origin.counters.snapshot();
    let content = counts.of(Kind::Content);
    println!("\n{:<34} {:>12} {:>16}", "the origin was asked", "with Darner", "without");
    let row = |what: &str, with: String, without: String| println!("{what:<34} {with:>12} {without:>16}");
    row("reads of objects", content.requests.to_string(), (objects * CLONES).to_string());
    let without = u64::try_from(CLONES).unwrap_or_default() * total;
    row("bytes of objects", shown(content.bytes), shown(without));
    row("probes (<= 4 KiB each)", counts.of(Kind::Probe).requests.to_string(), "0".to_owned());
    row("Batches", counts.of(Kind::Batch).requests.to_string(), CLONES.to_string());
    println!("asked by:");
    for (asker, kinds) in &counts.askers {
        let kinds = kinds.iter().map(|(kind, tally)| format!("{kind:?} {}x", tally.requests).to_lowercase());
        println!("  {asker:<24} {}", kinds.collect::<Vec<_>>().join(", "));
    }
}

async fn keep(scene: &Scene) -> anyhow::Result<()> {
    println!("\nit stays. For a clone of your own through daemon 0:");
    let (proxy, forge) = (scene.cluster.proxy(0)?, scene.origin.at().forge);
    println!("  git config --global url.http://{proxy}/http/{forge}/.insteadOf http://{forge}/");
    println!("  git clone {}", scene.url(Mode::B, Wire::Clear));
    println!("what the forge was asked: curl http://{}/counts", scene.origin.at().control);
    println!("Ctrl-C ends it.");
    Ok(tokio::signal::ctrl_c().await?)
}

/// Bytes for a person.
fn shown(bytes: u64) -> String {
    match bytes {
        0 => "-".to_owned(),
        1..MIB => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{}.{} MiB", bytes / MIB, bytes % MIB * 10 / MIB),
    }
}
