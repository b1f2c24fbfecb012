//! Instances that are registered with a name instead of an address: their addresses in DNS. They are
//! looked up with each answer of the agent, so once a minute at least.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::Instant;

use super::agent::Answer;

/// How long one answer's names may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Names of a service that are looked up at a time.
const AT_A_TIME: usize = 16;

/// An instance with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    /// Its id.
    pub(super) id: String,
    /// The name.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
}

/// The addresses that a service's names had last.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, BTreeSet<IpAddr>>);

impl Names {
    /// Makes instances of those with names. One whose name DNS does not know now stays where it was.
    /// Says whether an address is another than before.
    pub(super) async fn resolve(&mut self, answer: &mut Answer) -> bool {
        let named = std::mem::take(&mut answer.named);
        let hosts: BTreeSet<String> = named.iter().map(|n| n.host.clone()).collect();
        let until = Instant::now() + PATIENCE;
        let lookups = futures::stream::iter(hosts).map(|host| async move {
            let found = look_up(&host, until).await;
            (host, found)
        });
        let found: Vec<_> = lookups.buffer_unordered(AT_A_TIME).collect().await;
        let before = std::mem::take(&mut self.0);
        let mut unknown = BTreeMap::new();
        for (host, found) in found {
            match found.or_else(|why| before.get(&host).cloned().ok_or(why)) {
                Ok(addresses) => drop(self.0.insert(host, addresses)),
                Err(why) => drop(unknown.insert(host, why)),
            }
        }
        for Named { id, host, port } in named {
            for address in self.0.get(&host).into_iter().flatten() {
                answer.instances.insert((address.to_string(), port));
            }
            if let Some(why) = unknown.get(&host) {
                answer.left_out.push(format!("address `{host}` of instance {id}: {why}"));
            }
        }
        before != self.0
    }
}

async fn look_up(host: &str, until: Instant) -> Result<BTreeSet<IpAddr>, String> {
    let found = tokio::time::timeout_at(until, tokio::net::lookup_host((host, 0))).await;
    let found = found.map_err(|_| "DNS does not answer in time".to_owned())?;
    let addresses = found.map_err(|_| "DNS does not know this name".to_owned())?;
    Ok(addresses.map(|a| a.ip()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(hosts: &[&str]) -> Answer {
        let named = hosts.iter().map(|h| Named { id: "i".into(), host: (*h).into(), port: 80 });
        Answer { named: named.collect(), ..Answer::default() }
    }

    #[tokio::test]
    async fn an_instance_with_a_name_is_where_dns_says() {
        let mut names = Names::default();
        let mut first = answer(&["localhost", "not a name"]);
        assert!(names.resolve(&mut first).await);
        let is_local =
            |(a, port): &(String, u16)| a.parse::<IpAddr>().unwrap().is_loopback() && *port == 80;
        assert!(!first.instances.is_empty() && first.instances.iter().all(is_local));
        assert_eq!(
            first.left_out,
            ["address `not a name` of instance i: DNS does not know this name"]
        );
        assert!(!names.resolve(&mut answer(&["localhost"])).await);
    }

    #[tokio::test]
    async fn a_name_that_dns_forgets_stays_where_it_was() {
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let mut names = Names([("not a name".to_owned(), BTreeSet::from([address]))].into());
        let mut next = answer(&["not a name"]);
        assert!(!names.resolve(&mut next).await);
        assert_eq!(next.instances, BTreeSet::from([("10.0.0.1".to_owned(), 80)]));
        assert!(next.left_out.is_empty());
        // Only as long as an instance has it.
        assert!(names.resolve(&mut answer(&[])).await && names.0.is_empty());
    }
}
