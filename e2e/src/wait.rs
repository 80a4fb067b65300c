//! Waiting on conditions. The pause between two looks is no part of any outcome: a test that waits longer than its
//! patience fails with the words of what it waited for.

use std::time::{Duration, Instant};

/// How long anything may take before a test calls it hung; generous, because machines are shared.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Looks again and again until `look` finds something.
pub async fn until<T, F>(what: &str, look: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    within(PATIENCE, what, look).await
}

/// As [`until`], with a patience of its own. What `look` failed with last is told when it runs out.
pub async fn within<T, F>(patience: Duration, what: &str, mut look: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<Option<T>>>,
{
    let began = Instant::now();
    loop {
        let last = match look().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => "not yet".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        anyhow::ensure!(began.elapsed() < patience, "waited {patience:?} until {what}: {last}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_never_comes_is_named() {
        let look = || async { Ok(None::<()>) };
        let error = within(Duration::from_millis(1), "the cows come home", look).await.unwrap_err();
        assert!(error.to_string().contains("the cows come home"));
    }
}
