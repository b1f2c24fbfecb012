//! A client in a few lines, and what it is sent when.

use std::time::{Duration, Instant};

use gateway_core::{Output, ResourceType as T};
use proto::google::rpc::Status;

use super::*;

fn resource(resource_type: T, name: &str, version: &str) -> Resource {
    Resource {
        resource_type,
        name: name.to_owned(),
        version: version.to_owned(),
        body: bytes::Bytes::from(format!("{name}@{version}")),
        owners: Vec::new(),
    }
}

fn with(snapshot: &Snapshot, changed: &[(T, &str, &str)], removed: &[(T, &str)]) -> Snapshot {
    let output = Output {
        changed: changed.iter().map(|(t, n, v)| resource(*t, n, v)).collect(),
        removed: removed.iter().map(|(t, n)| (*t, (*n).to_owned())).collect(),
        ..Output::default()
    };
    snapshot.with(output, snapshot.changed_at)
}

struct Fixture {
    session: Session,
    now: Instant,
    snapshot: Snapshot,
    refused: Vec<&'static str>,
    reports: Vec<Report>,
}

impl Fixture {
    fn new(resources: &[(T, &str, &str)]) -> Self {
        let now = Instant::now();
        let snapshot = with(&Snapshot::empty(now), resources, &[]);
        let session = Session::new(Arc::new(snapshot.clone()), Pace::default());
        Self { session, now, snapshot, refused: Vec::new(), reports: Vec::new() }
    }

    fn ask(&mut self, resource_type: T, names: &[&str], held: &[(&str, &str)]) {
        let request = DeltaDiscoveryRequest {
            type_url: resource_type.type_url().to_owned(),
            resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
            initial_resource_versions: held
                .iter()
                .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
                .collect(),
            ..DeltaDiscoveryRequest::default()
        };
        self.session.on_request(request, self.now).unwrap();
    }

    fn ask_all(&mut self) {
        self.ask(T::Cluster, &[], &[]);
        self.ask(T::Listener, &[], &[]);
        self.ask(T::Route, &["r"], &[]);
    }

    fn change(&mut self, changed: &[(T, &str, &str)], removed: &[(T, &str)]) {
        self.snapshot = with(&self.snapshot, changed, removed);
        self.session.set_snapshot(Arc::new(self.snapshot.clone()));
    }

    fn change_to(&mut self, resource: Resource) {
        let output = Output { changed: vec![resource], ..Output::default() };
        self.snapshot = self.snapshot.with(output, self.snapshot.changed_at);
        self.session.set_snapshot(Arc::new(self.snapshot.clone()));
    }

    fn answer(&mut self, response: &DeltaDiscoveryResponse, refuse: bool) {
        let request = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            error_detail: refuse.then(|| Status {
                code: 3,
                message: "no good".to_owned(),
                ..Status::default()
            }),
            ..DeltaDiscoveryRequest::default()
        };
        self.session.on_request(request, self.now).unwrap();
    }

    /// One push: what is sent now, as `type +name@version` and `type -name`; not answered.
    fn push(&mut self) -> (Vec<String>, Vec<DeltaDiscoveryResponse>) {
        let sent = self.session.pump(self.now);
        self.reports.extend(self.session.take_reports());
        let text = sent.iter().map(describe).collect();
        (text, sent)
    }

    /// Pushes and answers until nothing more is sent at this time.
    fn settle(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let (text, sent) = self.push();
            if sent.is_empty() {
                return all;
            }
            all.extend(text);
            for response in sent {
                let bad = response
                    .resources
                    .iter()
                    .any(|r| self.refused.contains(&&*format!("{}@{}", r.name, r.version)));
                self.answer(&response, bad);
            }
        }
    }

    /// Goes on to the next time at which the session wants to be asked.
    fn sleep(&mut self) -> Duration {
        let wake = self.session.wake().expect("something to wait for");
        let slept = wake - self.now;
        self.now = wake;
        slept
    }
}

fn describe(response: &DeltaDiscoveryResponse) -> String {
    let resource_type = T::from_type_url(&response.type_url).unwrap();
    let mut text = word(resource_type).to_owned();
    for r in &response.resources {
        text += &format!(" +{}@{}", r.name, r.version);
    }
    for name in &response.removed_resources {
        text += &format!(" -{name}");
    }
    text
}

#[test]
fn additions_go_in_the_order_of_use_and_wait_for_answers() {
    let mut f =
        Fixture::new(&[(T::Route, "r", "1"), (T::Listener, "l", "1"), (T::Cluster, "c", "1")]);
    f.ask_all();
    let (text, sent) = f.push();
    assert_eq!(text, ["cluster +c@1"]);
    assert!(f.push().0.is_empty(), "nothing more before the answer");
    f.answer(&sent[0], false);
    assert!(f.push().0.is_empty(), "new clusters are given time to warm");
    assert_eq!(f.sleep(), Pace::default().settle);
    assert_eq!(f.settle(), ["listener +l@1", "route +r@1"]);
    assert!(f.session.wake().is_none());
}

#[test]
fn a_changed_cluster_needs_no_time_to_warm() {
    let mut f = Fixture::new(&[(T::Cluster, "c", "1"), (T::Route, "r", "1")]);
    f.ask_all();
    f.settle();
    f.sleep();
    f.settle();
    f.change(&[(T::Cluster, "c", "2"), (T::Route, "r", "2")], &[]);
    assert_eq!(f.settle(), ["cluster +c@2", "route +r@2"]);
}

#[test]
fn a_cluster_is_removed_after_the_route_and_a_grace() {
    let mut f = Fixture::new(&[(T::Cluster, "a", "1"), (T::Route, "r", "a")]);
    f.ask_all();
    f.settle();
    f.sleep();
    f.settle();
    f.change(&[(T::Cluster, "b", "1"), (T::Route, "r", "b")], &[(T::Cluster, "a")]);
    assert_eq!(f.settle(), ["cluster +b@1"]);
    f.sleep();
    assert_eq!(f.settle(), ["route +r@b"]);
    assert_eq!(f.sleep(), Pace::default().removal_grace);
    assert_eq!(f.settle(), ["cluster -a"]);
    assert!(f.session.wake().is_none());
}

#[test]
fn a_cluster_that_comes_back_is_not_removed() {
    let mut f = Fixture::new(&[(T::Cluster, "a", "1"), (T::Route, "r", "1")]);
    f.ask_all();
    f.settle();
    f.sleep();
    f.settle();
    f.change(&[(T::Route, "r", "2")], &[(T::Cluster, "a")]);
    assert_eq!(f.settle(), ["route +r@2"]);
    f.change(&[(T::Cluster, "a", "1"), (T::Route, "r", "1")], &[]);
    assert_eq!(f.settle(), ["route +r@1"]);
    assert!(f.session.wake().is_none(), "nothing left to remove");
}

#[test]
fn a_listeners_address_can_move_to_another_listener() {
    let mut f = Fixture::new(&[(T::Listener, "old", "1")]);
    f.ask(T::Listener, &[], &[]);
    f.settle();
    f.change(&[(T::Listener, "new", "1")], &[(T::Listener, "old")]);
    assert_eq!(f.settle(), ["listener +new@1 -old"]);
}

#[test]
fn a_client_that_comes_back_is_sent_the_difference_only() {
    let mut f =
        Fixture::new(&[(T::Cluster, "a", "1"), (T::Cluster, "b", "2"), (T::Route, "r", "1")]);
    f.ask(T::Cluster, &[], &[("a", "1"), ("b", "1"), ("gone", "1")]);
    f.ask(T::Route, &["r"], &[("r", "1")]);
    assert_eq!(f.settle(), ["cluster +b@2"]);
    f.sleep();
    assert_eq!(f.settle(), ["cluster -gone"]);
    let mut same = Fixture::new(&[(T::Cluster, "a", "1"), (T::Route, "r", "1")]);
    same.ask(T::Cluster, &[], &[("a", "1")]);
    same.ask(T::Route, &["r"], &[("r", "1")]);
    assert!(same.settle().is_empty());
}

#[test]
fn a_first_answer_comes_even_when_there_is_nothing() {
    let mut f = Fixture::new(&[]);
    f.ask(T::Listener, &[], &[]);
    f.ask(T::RateLimitObject, &["*"], &[]);
    assert_eq!(f.settle(), ["listener", "rate_limit"]);
}

#[test]
fn a_name_that_is_not_there_is_said_once_and_sent_when_it_comes() {
    let mut f = Fixture::new(&[]);
    f.ask(T::Route, &["r"], &[]);
    assert_eq!(f.settle(), ["route -r"]);
    assert!(f.settle().is_empty());
    f.change(&[(T::Route, "r", "1")], &[]);
    assert_eq!(f.settle(), ["route +r@1"]);
    f.ask(T::Route, &["r"], &[]);
    assert_eq!(f.settle(), ["route +r@1"], "asked for again, sent again");
}

#[test]
fn the_culprit_of_a_refusal_is_found_and_the_rest_goes_through() {
    let names = ["a", "b", "c", "d", "e", "f", "g"];
    let resources: Vec<_> = names.iter().map(|n| (T::Route, *n, "1")).collect();
    let mut f = Fixture::new(&resources);
    f.refused = vec!["e@1"];
    f.ask(T::Route, &names, &[]);
    let sent = f.settle();
    let rejected: Vec<_> = f
        .reports
        .iter()
        .filter_map(|r| match r {
            Report::Rejected { name, version, message, .. } => {
                Some((&**name, &**version, &**message))
            }
            _ => None,
        })
        .collect();
    assert_eq!(rejected, [("e", "1", "no good")]);
    assert!(sent.len() <= 7, "by halves, not one by one: {sent:?}");
    let status = f.session.status();
    assert_eq!((status["route"].acknowledged, status["route"].rejected), (6, 1));
    assert!(f.settle().is_empty(), "the refused version is not tried again");
    f.change(&[(T::Route, "e", "2")], &[]);
    assert_eq!(f.settle(), ["route +e@2"]);
}

#[test]
fn clusters_stay_while_a_refused_route_leaves_an_old_one_in_use() {
    let mut f = Fixture::new(&[(T::Cluster, "a", "1"), (T::Route, "r", "1")]);
    f.ask_all();
    f.settle();
    f.sleep();
    f.settle();
    f.refused = vec!["r@2"];
    f.change(&[(T::Route, "r", "2")], &[(T::Cluster, "a")]);
    assert_eq!(f.settle(), ["route +r@2"]);
    assert!(f.session.wake().is_none(), "no removal is planned");
    f.change(&[(T::Route, "r", "1"), (T::Cluster, "a", "1")], &[]);
    assert!(f.settle().is_empty(), "the last good version is what it has");
}

#[test]
fn a_client_that_does_not_answer_holds_nothing_up_for_ever() {
    let mut f = Fixture::new(&[(T::Cluster, "c", "1"), (T::Route, "r", "1")]);
    f.ask_all();
    assert_eq!(f.push().0, ["cluster +c@1"]);
    assert_eq!(f.sleep(), Pace::default().answer_wait);
    let (text, _) = f.push();
    assert_eq!(text, ["listener"]);
    assert!(f.reports.contains(&Report::Overdue(T::Cluster)));
}

#[test]
fn the_newest_snapshot_wins() {
    let mut f = Fixture::new(&[(T::Route, "r", "1")]);
    f.ask(T::Route, &["r"], &[]);
    let (_, sent) = f.push();
    for version in ["2", "3", "4"] {
        f.change(&[(T::Route, "r", version)], &[]);
        assert!(f.push().0.is_empty());
    }
    f.answer(&sent[0], false);
    assert_eq!(f.settle(), ["route +r@4"]);
}

#[test]
fn big_sets_go_in_several_responses() {
    let mut f =
        Fixture::new(&[(T::Cluster, "a", "1"), (T::Cluster, "b", "1"), (T::Route, "r", "1")]);
    f.session.pace.response_bytes = 5;
    f.ask_all();
    assert_eq!(f.settle(), ["cluster +a@1", "cluster +b@1"]);
}

/// A cluster whose endpoints are asked for under another name than its own.
fn cluster_of(endpoints: &str, version: &str) -> Resource {
    let config = cluster::EdsClusterConfig {
        service_name: endpoints.to_owned(),
        ..cluster::EdsClusterConfig::default()
    };
    let cluster = proto::envoy::config::cluster::v3::Cluster {
        eds_cluster_config: Some(config),
        ..Default::default()
    };
    Resource { body: cluster.encode_to_vec().into(), ..resource(T::Cluster, "c", version) }
}

#[test]
fn endpoints_go_with_a_cluster_which_is_acknowledged_only_when_it_has_them() {
    let mut f = Fixture::new(&[(T::Endpoint, "e", "1"), (T::Route, "r", "1")]);
    f.change_to(cluster_of("e", "1"));
    f.ask_all();
    let (text, clusters) = f.push();
    assert_eq!(text, ["cluster +c@1"]);
    f.ask(T::Endpoint, &["e"], &[]);
    let (text, endpoints) = f.push();
    assert_eq!(text, ["endpoint +e@1"]);
    f.answer(&endpoints[0], false);
    assert!(f.push().0.is_empty(), "routes wait for the cluster");
    f.answer(&clusters[0], false);
    f.settle();
    f.sleep();
    assert_eq!(f.settle(), ["listener", "route +r@1"]);

    // One that takes its place under its name asks for nothing, and needs them again.
    f.change_to(cluster_of("e", "2"));
    assert_eq!(f.push().0, ["cluster +c@2", "endpoint +e@1"]);
}

#[test]
fn a_client_that_comes_back_gets_the_endpoints_of_clusters_that_it_makes_anew() {
    let mut f = Fixture::new(&[(T::Endpoint, "e", "1"), (T::Endpoint, "other", "1")]);
    f.change_to(cluster_of("e", "2"));
    // It asks for clusters first, and is answered before it says which endpoints it has.
    f.ask(T::Cluster, &[], &[("c", "1")]);
    assert_eq!(f.push().0, ["cluster +c@2"]);
    f.ask(T::Endpoint, &["e", "other"], &[("e", "1"), ("other", "1")]);
    assert_eq!(f.push().0, ["endpoint +e@1"]);
}

#[test]
fn endpoints_that_were_on_their_way_to_the_old_cluster_go_to_the_new_one_too() {
    let mut f = Fixture::new(&[(T::Endpoint, "e", "1")]);
    f.change_to(cluster_of("e", "1"));
    f.ask(T::Cluster, &[], &[]);
    f.settle();
    f.ask(T::Endpoint, &["e"], &[]);
    let (_, first) = f.push();
    f.change_to(cluster_of("e", "2"));
    assert_eq!(f.push().0, ["cluster +c@2"], "one response of a type at a time");
    f.answer(&first[0], false);
    assert_eq!(f.push().0, ["endpoint +e@1"]);
}

#[test]
fn what_a_filter_had_before_is_sent_again_before_a_listener_meets_what_was_refused() {
    let mut f = Fixture::new(&[(T::Extension, "x", "1"), (T::Listener, "l", "1")]);
    f.ask(T::Extension, &["x"], &[]);
    f.ask(T::Listener, &[], &[]);
    f.settle();
    f.refused = vec!["x@2"];
    f.change(&[(T::Extension, "x", "2"), (T::Listener, "l", "2")], &[]);
    assert_eq!(f.settle(), ["extension +x@2"]);
    // Another change comes before the controller has heard of it.
    f.change(&[(T::Listener, "l", "3")], &[]);
    assert!(f.settle().is_empty());
    f.change(&[(T::Extension, "x", "1"), (T::Listener, "l", "2")], &[]);
    assert_eq!(f.settle(), ["extension +x@1", "listener +l@2"]);

    // Never two in one response, as the second time Envoy takes what it refused.
    f.change(&[(T::Extension, "x", "3"), (T::Extension, "y", "1")], &[]);
    f.ask(T::Extension, &["y"], &[]);
    assert_eq!(f.settle(), ["extension +x@3", "extension +y@1"]);

    // One that was never taken is taken back.
    let mut f = Fixture::new(&[(T::Extension, "x", "2"), (T::Listener, "l", "1")]);
    f.refused = vec!["x@2"];
    f.ask(T::Extension, &["x"], &[]);
    f.ask(T::Listener, &[], &[]);
    assert_eq!(f.settle(), ["extension +x@2"]);
    f.change(&[], &[(T::Extension, "x")]);
    assert_eq!(f.settle(), ["extension -x", "listener +l@1"]);
}

#[test]
fn too_many_names_end_the_stream() {
    let mut f = Fixture::new(&[]);
    f.session.pace.names = 2;
    let request = DeltaDiscoveryRequest {
        type_url: T::Route.type_url().to_owned(),
        resource_names_subscribe: vec!["a".into(), "b".into(), "c".into()],
        ..DeltaDiscoveryRequest::default()
    };
    assert_eq!(f.session.on_request(request, f.now), Err(Abuse::TooManyNames(2)));
}
