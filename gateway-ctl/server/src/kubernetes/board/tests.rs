use gateway_core::State;
use serde_json::json;

use super::*;
use crate::xds::session::TypeStatus;

const NOW: &str = "2026-01-01T00:00:00Z";

fn verdict(generation: i64, fault: Option<&str>) -> Verdict {
    let holds = fault.is_none();
    let state = |holds, reason, message: &str| State { holds, reason, message: message.to_owned() };
    Verdict {
        reference: ObjectRef::new("Mapping", "n", "a"),
        api_version: "getambassador.io/v3alpha1".to_owned(),
        uid: "u".to_owned(),
        generation,
        accepted: state(holds, if holds { "Accepted" } else { "Invalid" }, fault.unwrap_or("")),
        resolved_refs: state(true, "ResolvedRefs", ""),
        in_force: holds,
        audience: Audience::Envoy,
        status: Value::Null,
    }
}

fn judged(revision: u64, verdict: Verdict) -> Judged {
    Judged { revision, verdicts: vec![(verdict.reference.clone(), Some(verdict))] }
}

fn envoy(revision: u64, in_sync: bool) -> ClientStatus {
    let mut status = ClientStatus::new(ClientKind::Envoy, None, 0);
    status.revision = revision;
    let of_type = TypeStatus { wants: "*".to_owned(), acknowledged: 1, rejected: 0, in_sync };
    status.types.insert("route", of_type);
    status
}

fn row<'a>(entry: &'a Entry, kind: &str) -> (&'a str, &'a str) {
    let condition = entry.conditions.iter().find(|c| c["type"] == kind).unwrap();
    (condition["status"].as_str().unwrap(), condition["reason"].as_str().unwrap())
}

#[test]
fn a_change_is_written_once_when_envoy_has_it() {
    let (mut board, start) = (Board::default(), Instant::now());
    board.file(judged(7, verdict(1, None)), start);
    board.look(&[envoy(6, true)], start);
    assert_eq!(board.next(NOW), None, "patience");
    board.look(&[envoy(7, true), envoy(7, false)], start);
    assert_eq!(board.next(NOW), None, "one of two is not all");
    board.look(&[envoy(7, true), envoy(7, true)], start);
    let entry = board.next(NOW).unwrap();
    assert_eq!(row(&entry, "Accepted"), ("True", "Accepted"));
    assert_eq!(row(&entry, "Programmed"), ("True", "Programmed"));
    assert_eq!(entry.conditions[0]["observedGeneration"], 1);
    board.written(entry);
    board.compare_all();
    assert_eq!(board.next(NOW), None, "it stands there");
    // An Envoy that comes later has the newest from its first moment.
    board.look(&[envoy(0, false)], start + PATIENCE);
    assert_eq!(board.next(NOW), None);
}

#[test]
fn what_nobody_takes_is_said_after_a_while_and_once() {
    let (mut board, start) = (Board::default(), Instant::now());
    board.file(judged(1, verdict(1, None)), start);
    assert_eq!(board.wake(start), Some(start + PATIENCE));
    board.look(&[], start + PATIENCE);
    let entry = board.next(NOW).unwrap();
    assert_eq!(row(&entry, "Programmed"), ("False", "NotConnected"));
    board.written(entry);
    board.look(&[], start + PATIENCE * 2);
    assert_eq!(board.next(NOW), None);
    board.look(&[envoy(1, true)], start + PATIENCE * 3);
    assert_eq!(row(&board.next(NOW).unwrap(), "Programmed"), ("True", "Programmed"));
}

#[test]
fn a_fault_is_written_at_once_and_is_an_event_once() {
    let (mut board, start) = (Board::default(), Instant::now());
    board.file(judged(1, verdict(1, Some("spec.prefix: missing"))), start);
    let entry = board.next(NOW).unwrap();
    assert!(entry.is_new_fault);
    assert_eq!(row(&entry, "Accepted"), ("False", "Invalid"));
    assert_eq!(row(&entry, "Programmed"), ("False", "Invalid"));
    let status = json!({"conditions": entry.conditions.clone()});
    board.written(entry);
    // Read back: nothing to do.
    let read = Verdict { status, ..verdict(1, Some("spec.prefix: missing")) };
    board.file(judged(1, read), start);
    assert_eq!(board.next(NOW), None);
    let again = Verdict {
        status: board.rows.values().next().unwrap().verdict.status.clone(),
        ..verdict(2, Some("spec.service: missing"))
    };
    board.file(judged(2, again), start);
    let entry = board.next("2026-01-01T00:00:09Z").unwrap();
    assert!(entry.is_new_fault, "another fault");
    assert_eq!(entry.conditions[0]["lastTransitionTime"], NOW, "it was False all the time");
}

#[test]
fn hosts_carry_the_gateways_addresses() {
    let (mut board, start) = (Board::default(), Instant::now());
    let host = Verdict { reference: ObjectRef::new("Host", "n", "h"), ..verdict(1, None) };
    board.file(judged(1, host), start);
    board.look(&[envoy(1, true)], start);
    let entry = board.next(NOW).unwrap();
    assert_eq!(entry.addresses, Some(Vec::new()));
    board.written(entry);
    let address = json!({"type": "IPAddress", "value": "192.0.2.1"});
    board.set_addresses(vec![address.clone()]);
    assert_eq!(board.next(NOW).unwrap().addresses, Some(vec![address]));
}

#[test]
fn an_ingress_that_is_somebody_elses_loses_our_addresses_once() {
    let (mut board, start) = (Board::default(), Instant::now());
    let ingress = Verdict { reference: ObjectRef::new("Ingress", "n", "a"), ..verdict(1, None) };
    let reference = ingress.reference.clone();
    board.set_addresses(vec![json!({"type": "IPAddress", "value": "192.0.2.7"})]);
    board.file(judged(7, ingress), start);
    board.look(&[envoy(7, true)], start);
    let entry = board.next(NOW).unwrap();
    let balancers = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}});
    assert_eq!(entry.status(), balancers);
    board.written(entry);
    let gone = |board: &mut Board| {
        let verdicts = vec![(reference.clone(), None)];
        board.file(Judged { revision: 8, verdicts }, start);
    };
    gone(&mut board);
    let entry = board.next(NOW).unwrap();
    assert_eq!(entry.status(), json!({"loadBalancer": {}}));
    board.written(entry);
    gone(&mut board);
    assert_eq!(board.next(NOW), None, "it is forgotten");
}
