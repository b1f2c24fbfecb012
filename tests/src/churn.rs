//! A whole gateway whose configuration changes while requests are made: what is changed, which
//! requests there are, and what each may be answered.
//!
//! The short test walks through all changes in order, the benchmark takes them at random; both are
//! held to the same: what a change does not touch is answered as before, what it touches as before
//! or as after, and nothing else in between.

pub mod changes;
pub mod load;
pub mod scene;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::changes::{CHANGES, Plan};
use self::load::Load;
use self::scene::Scene;
use crate::process::PATIENCE;

/// A gateway under load.
#[derive(Debug)]
pub struct Churn {
    /// All parts.
    pub scene: Scene,
    /// The requests.
    pub load: Load,
    states: BTreeMap<&'static str, usize>,
}

/// Changes that were made and are waited for.
#[derive(Debug)]
pub struct Made {
    plans: Vec<Plan>,
    applied: f64,
}

impl Churn {
    /// Starts everything with the first state of each change and `fillers` more Mappings.
    pub fn start(fillers: usize, pause: Duration) -> Self {
        let scene = Scene::start(fillers);
        let probes = changes::probes(&scene.parts);
        let load = Load::start(probes, pause);
        let churn = Self { scene, load, states: BTreeMap::new() };
        // The load begins with what the first states say.
        for change in CHANGES {
            let plan = (change.plan)(0, &churn.scene.parts);
            churn.load.begin(&plan.answers);
            churn.wait_answers(change.name, &plan);
            churn.load.finish(&plan.answers);
        }
        churn
    }

    /// Takes the change (a place in [`CHANGES`]) to its next state.
    pub fn make(&mut self, places: &[usize]) -> Made {
        let applied = self.scene.applied();
        let mut plans = Vec::new();
        for change in places.iter().filter_map(|place| CHANGES.get(*place)) {
            let state = self.states.entry(change.name).or_default();
            *state = (*state + 1) % change.states;
            let plan = (change.plan)(*state, &self.scene.parts);
            self.load.begin_step(&format!("{} {state}", change.name), &plan.answers);
            for (file, text) in &plan.files {
                match text {
                    Some(text) => self.scene.folder.write(file, text),
                    None => self.scene.folder.remove(file),
                }
            }
            plans.push(plan);
        }
        Made { plans, applied }
    }

    /// Waits until changes are in force everywhere; from then on the old answers are wrong.
    pub fn finish(&self, made: &Made) {
        self.scene.wait("taken", |scene| scene.applied() > made.applied);
        self.scene.wait("in sync", Scene::is_in_sync);
        // Several may touch one kind of request.
        made.plans.iter().for_each(|plan| self.wait_answers("a change", plan));
        made.plans.iter().for_each(|plan| self.load.finish(&plan.answers));
    }

    /// Until each kind of request that is touched was answered in the new way a few times.
    fn wait_answers(&self, what: &str, plan: &Plan) {
        let end = Instant::now() + PATIENCE;
        while let Some(slow) = self.load.unsettled(&plan.answers) {
            assert!(
                Instant::now() < end,
                "{what}: {slow} is not answered in the new way;\n{}",
                self.scene.log()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
