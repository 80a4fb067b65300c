//! What is rendered, to the letter. `GOLDEN=write cargo test -p darner-e2e --test chart` writes it anew.

use super::helm::{EVERYTHING, root, run, seed, text};

fn is_as_kept(name: &str, rendered: &str) -> anyhow::Result<()> {
    let path = root().join("e2e/tests/chart/golden").join(name);
    if std::env::var("GOLDEN").is_ok_and(|word| word == "write") {
        std::fs::write(&path, rendered)?;
    }
    let kept = std::fs::read_to_string(&path)?;
    let differs = kept.lines().zip(rendered.lines()).enumerate().find(|(_, (kept, now))| kept != now);
    anyhow::ensure!(differs.is_none(), "{name}: line, (kept, rendered): {differs:?}");
    anyhow::ensure!(
        kept == rendered,
        "{name}: {} lines kept, {} rendered",
        kept.lines().count(),
        rendered.lines().count()
    );
    Ok(())
}

#[test]
fn both_seed_documents_render_the_same_and_as_kept() -> anyhow::Result<()> {
    let english = text("1.34.4", &["-f", &seed("en")])?;
    assert_eq!(english, text("1.34.4", &["-f", &seed("zh")])?);
    is_as_kept("seed-1.34.yaml", &english)
}

#[test]
fn the_oldest_kubernetes_is_asked_for_nothing_it_does_not_know() -> anyhow::Result<()> {
    let options = ["--set=scheduler.replicas=2", "--set=seedPeer.autoscaling.enable=true"];
    let rendered = text("1.20.0", &options)?;
    for newer in
        ["policy/v1\n", "autoscaling/v2\n", "internalTrafficPolicy", "trafficDistribution", "maxSurge"]
    {
        assert!(!rendered.contains(newer), "{newer}");
    }
    is_as_kept("oldest-1.20.yaml", &rendered)
}

#[test]
fn everything_at_once_renders_as_kept() -> anyhow::Result<()> {
    is_as_kept("everything-1.34.yaml", &text("1.34.4", EVERYTHING)?)
}

#[test]
fn rendering_twice_gives_the_same_bytes() -> anyhow::Result<()> {
    assert_eq!(text("1.28.0", EVERYTHING)?, text("1.28.0", EVERYTHING)?);
    Ok(())
}

#[test]
fn helm_finds_nothing_to_complain_about() -> anyhow::Result<()> {
    let words = run(&["lint", "--strict"], &[])?.map_err(anyhow::Error::msg)?;
    assert!(words.contains("0 chart(s) failed"), "{words}");
    Ok(())
}
