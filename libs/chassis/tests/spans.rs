//! What a span costs where nobody exports it. A process of its own: whether a span is made is remembered per process.

use darner_chassis::settings::Shared;
use darner_chassis::telemetry;
use tracing::level_filters::LevelFilter;

#[test]
fn without_a_collector_no_span_is_made_and_lines_keep_their_filter() {
    let telemetry = telemetry::init("darner-test", &Shared::default()).unwrap();
    assert_eq!(LevelFilter::current(), LevelFilter::INFO);
    let is_made = || !tracing::info_span!(target: "darner_test", "nobody sees it").is_disabled();
    assert!(!is_made());
    telemetry.set_level("debug").unwrap();
    assert_eq!(LevelFilter::current(), LevelFilter::DEBUG);
    assert!(!is_made() && tracing::enabled!(target: "darner_test", tracing::Level::DEBUG));
}
