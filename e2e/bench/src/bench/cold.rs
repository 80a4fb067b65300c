//! Cold downloads: through seed and daemon against straight from the origin, alone and many at once.

use darner_e2e::origin::switches::Switch;

use super::{Setting, Stage};
use crate::client::{Target, Took, gib};
use crate::cluster::cpu;
use crate::pages;
use crate::table::Row;

const ONE: u64 = 256 << 20;
const SHARED: u64 = 64 << 20;

/// 256 MiB by one client: every round reads another object, once through the cluster and once directly.
pub(super) fn one(setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (shape, must, name) in [(Some(100_000_000), "1.10", "shaped to 100 MB/s"), (None, "-", "unshaped")] {
        let stage = Stage::new(&vec![ONE; setting.rounds])?;
        let cluster = stage.cluster(setting, 1)?;
        let (mut whole, mut first_byte) = (Vec::new(), Vec::new());
        let (pids, mut used) = (cluster.pids(), Vec::new());
        for (index, direct) in stage.direct()?.iter().enumerate() {
            // The bucket of a switch is shared and fills while nobody reads: set anew before each.
            let direct = shaped(&stage, shape, direct)?;
            pages::touch(stage.scratch.path(), 4 * ONE)?;
            let before = cpu_s(&pids)?;
            let ours = shaped(&stage, shape, &stage.through(&cluster, 0, index)?)?;
            used = cpu_s(&pids)?.into_iter().zip(before).map(|(now, before)| now - before).collect();
            whole.push(ours.whole.as_secs_f64() / direct.whole.as_secs_f64());
            first_byte.push((ours.first_byte.as_secs_f64() - direct.first_byte.as_secs_f64()) * 1000.0);
        }
        let row =
            |what, must, aim, samples, unit| Row { what, must, aim, samples, unit, note: String::new() };
        let spent = pids.iter().zip(&used).map(|((part, _), used)| format!("{part} {:.2}", used / gib(ONE)));
        let note = format!("last round, CPU-s per GiB: {}", spent.collect::<Vec<_>>().join(", "));
        let what = format!("cold 256 MiB / direct, origin {name}");
        rows.push(Row { note, ..row(what, must, "1.00", whole, "x") });
        rows.push(row(
            format!("its first byte, later than direct, origin {name}"),
            "20 ms",
            "10 ms",
            first_byte,
            " ms",
        ));
    }
    Ok(rows)
}

fn cpu_s(pids: &[(String, u64)]) -> anyhow::Result<Vec<f64>> {
    pids.iter().map(|(_, pid)| Ok(cpu(*pid)?.as_secs_f64())).collect()
}

fn shaped(stage: &Stage, bytes_per_second: Option<u64>, target: &Target) -> anyhow::Result<Took> {
    stage.origin.switches.set(None, Switch { bytes_per_second, ..Switch::default() });
    target.get()
}

/// Several daemons at once on one cold object, origin shaped: the worst against a direct download alone.
pub(super) fn swarm(setting: &Setting) -> anyhow::Result<Vec<Row>> {
    let shape = Some(8_000_000);
    let mut rows = Vec::new();
    for daemons in [4, 8] {
        let mut samples = Vec::new();
        let stage = Stage::new(&vec![SHARED; setting.rounds.min(3)])?;
        let cluster = stage.cluster(setting, daemons)?;
        for (index, direct) in stage.direct()?.iter().enumerate() {
            let alone = shaped(&stage, shape, direct)?;
            stage.origin.switches.set(None, Switch { bytes_per_second: shape, ..Switch::default() });
            let targets: Vec<Target> = (0..daemons)
                .map(|daemon| stage.through(&cluster, daemon, index))
                .collect::<anyhow::Result<_>>()?;
            let worst = std::thread::scope(|scope| -> anyhow::Result<f64> {
                let gets: Vec<_> = targets.iter().map(|target| scope.spawn(|| target.get())).collect();
                let mut worst = 0.0f64;
                for get in gets {
                    let took = get.join().map_err(|_panic| anyhow::anyhow!("a client panicked"))??;
                    worst = worst.max(took.whole.as_secs_f64());
                }
                Ok(worst)
            })?;
            samples.push(worst / alone.whole.as_secs_f64());
        }
        let what = format!("worst of {daemons} daemons on one cold 64 MiB / direct alone, origin at 8 MB/s");
        rows.push(Row { what, must: "1.15", aim: "1.05", samples, unit: "x", note: String::new() });
    }
    Ok(rows)
}
