//! Changes of every kind under load: nothing that they do not touch fails, and what they touch is
//! answered in the old or in the new way, never in between.

#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use e2e::churn::Churn;
use e2e::churn::changes::CHANGES;

#[test]
fn no_change_costs_a_request() {
    let mut churn = Churn::start(20, Duration::from_millis(4));
    let start = Instant::now();
    for (place, change) in CHANGES.iter().enumerate() {
        // Through all states and back to the first.
        for _ in 0..change.states {
            let made = churn.make(&[place]);
            churn.finish(&made);
        }
    }
    let Churn { scene, load, .. } = churn;
    let outcome = load.end();
    println!(
        "{} requests while {} changes were made in {:.1} s: {} failed, {} repeated on a new connection",
        outcome.requests,
        CHANGES.iter().map(|c| c.states).sum::<usize>(),
        start.elapsed().as_secs_f64(),
        outcome.failed,
        outcome.repeated,
    );
    let mut words = String::new();
    for failure in outcome.failures.iter().take(30) {
        // Envoy writes its log a little later.
        std::thread::sleep(Duration::from_millis(10));
        let logged = scene.logged(failure.number).unwrap_or_default();
        words += &format!("{failure:?} {logged}\n");
    }
    assert_eq!(outcome.failed, 0, "{words}\n{}", scene.log());
    assert!(outcome.requests > 1000, "{}", outcome.requests);
    assert_eq!(scene.errors(), Vec::<String>::new());
}
