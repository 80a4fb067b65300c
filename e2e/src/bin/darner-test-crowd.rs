//! What nodes and objects cost a scheduler or a manager: starts one on loopback, joins it as a crowd of nodes, and prints
//! its memory and its time as one row of a table. `docs/sizing.md` is made of these rows.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Parser, ValueEnum};
use darner_e2e::{crowd, wait};
use serde_json::{Value, json};

/// What is measured.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Part {
    Scheduler,
    Manager,
}

/// Joins a scheduler or a manager as a crowd of nodes and prints what that costs it.
#[derive(Debug, Parser)]
struct Arguments {
    /// The part to be measured.
    part: Part,
    /// Where its program lies.
    #[arg(long)]
    bin: PathBuf,
    /// Nodes.
    #[arg(long, default_value_t = 100)]
    nodes: u64,
    /// Objects each node holds; three nodes hold each.
    #[arg(long, default_value_t = 1000)]
    objects: u64,
    /// Batches of a hundred wants, all nodes together (a scheduler only).
    #[arg(long, default_value_t = 1000)]
    batches: u64,
}

/// The process; ended when it is dropped.
struct Measured(Child);

impl Drop for Measured {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Measured {
    fn start(part: Part, bin: &Path, data: &Path) -> anyhow::Result<Self> {
        let here = json!({"listen": "127.0.0.1:0"});
        let ready = data.join("ready");
        let (name, config) = match part {
            Part::Scheduler => {
                ("scheduler", json!({"grpc": here, "admin": here, "data": data, "readyFile": ready}))
            }
            Part::Manager => (
                "manager",
                json!({"grpc": here, "http": here, "admin": here, "data": data, "readyFile": ready}),
            ),
        };
        let file = data.join("config.json");
        std::fs::write(&file, config.to_string())?;
        let log = std::fs::File::create(data.join("log"))?;
        let child = Command::new(bin.join(name))
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{} in {}", name, bin.display()))?;
        Ok(Self(child))
    }

    /// `VmRSS` or `VmHWM`, in MiB.
    fn memory(&self, field: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)).context("no such field")?;
        let kib: u64 = line.trim_matches([':', ' ', '\t', 'k', 'B']).parse()?;
        Ok(kib / 1024)
    }

    /// Processor time since it started.
    fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |at: usize| fields.get(at).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
        Ok(Duration::from_millis((ticks(11) + ticks(12)) * 10))
    }

    /// Waits until it has done what it was told: no processor time for a while.
    async fn calm(&self) -> anyhow::Result<()> {
        let mut before = self.cpu()?;
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let now = self.cpu()?;
            if now.saturating_sub(before) <= Duration::from_millis(60) {
                return Ok(());
            }
            before = now;
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let asked = Arguments::parse();
    let data = tempfile::tempdir()?;
    let measured = Measured::start(asked.part, &asked.bin, data.path())?;
    let ready = || async {
        let text = std::fs::read_to_string(data.path().join("ready"))?;
        Ok(Some(serde_json::from_str::<Value>(&text)?))
    };
    let ready = wait::within(Duration::from_secs(20), "it is ready", ready).await?;
    let at = ready.get("grpc").and_then(Value::as_str).context("no gRPC address")?.to_owned();
    let empty = measured.memory("VmRSS")?;
    let (begun, started) = (measured.cpu()?, Instant::now());
    let Arguments { nodes, objects, batches, .. } = asked;
    let mut wanting = "-".to_owned();
    match asked.part {
        Part::Scheduler => {
            let mut members = crowd::join(&at, nodes, objects).await?;
            measured.calm().await?;
            let joined =
                (measured.memory("VmRSS")?, measured.cpu()?.saturating_sub(begun), started.elapsed());
            let (before, begun) = (measured.cpu()?, Instant::now());
            let each = batches.div_ceil(nodes);
            let asking = members.iter_mut().map(|member| async move {
                for _ in 0..each {
                    member.batch(nodes, objects).await?;
                }
                anyhow::Ok(())
            });
            futures::future::try_join_all(asking).await?;
            let took = begun.elapsed();
            let cpu = measured.cpu()?.saturating_sub(before).as_secs_f64();
            let wants = each * nodes * crowd::BATCH;
            wanting = format!("{wants} in {:.1} s, {cpu:.2} CPU-s", took.as_secs_f64());
            row("scheduler", &asked, (empty, joined), &measured, &wanting).await?;
        }
        Part::Manager => {
            let _attached = crowd::attach(&at, nodes, objects).await?;
            measured.calm().await?;
            let joined =
                (measured.memory("VmRSS")?, measured.cpu()?.saturating_sub(begun), started.elapsed());
            row("manager", &asked, (empty, joined), &measured, &wanting).await?;
        }
    }
    Ok(())
}

async fn row(
    part: &str,
    asked: &Arguments,
    (empty, (joined, cpu, took)): (u64, (u64, Duration, Duration)),
    measured: &Measured,
    wanting: &str,
) -> anyhow::Result<()> {
    let idle = measured.cpu()?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let idle = measured.cpu()?.saturating_sub(idle).as_millis() / 10;
    println!(
        "| {part} | {} | {} | {empty} | {joined} | {} | {:.1} s, {:.2} CPU-s | {wanting} | {idle} m |",
        asked.nodes,
        asked.nodes * asked.objects,
        measured.memory("VmHWM")?,
        took.as_secs_f64(),
        cpu.as_secs_f64(),
    );
    Ok(())
}
