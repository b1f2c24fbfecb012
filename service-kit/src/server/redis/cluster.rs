//! A Redis Cluster: which server has which slot, kept true while slots move and servers come and go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::Value;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::State;
use super::dial::{Address, Dial, Target};

/// How many slots a cluster has.
const SLOTS: usize = 16_384;
/// How often the servers are asked for their slots when all is well.
const REFRESH: Duration = Duration::from_secs(5);
/// How often while something is amiss.
const REFRESH_SOON: Duration = Duration::from_millis(100);
/// Longest wait for one server's word.
const ATTEMPT: Duration = Duration::from_millis(500);
/// Most servers of a cluster.
const MAX_SERVERS: usize = 1_000;

/// What commands to one server go through. Cheap to clone; when the last one is dropped, its
/// connection ends.
pub trait Node: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// How it behaves.
    type Habits: Clone + std::fmt::Debug + Send + Sync;

    /// Starts to connect. Needs a tokio runtime.
    fn open(dial: Dial, habits: Self::Habits) -> Self;
    /// How the server is, now and from now on.
    fn state(&self) -> watch::Receiver<State>;
    /// For people.
    fn shown(&self) -> &str;
    /// Whether both are the same.
    fn is(&self, other: &Self) -> bool;
}

/// The cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cluster<N: Node>(Arc<Inner<N>>);

#[derive(Debug)]
struct Inner<N: Node> {
    dial: Dial,
    habits: N::Habits,
    seeds: Vec<Address>,
    slots: ArcSwap<Slots<N>>,
    /// Every server that was heard of and may be asked; those of the slots and of `ASK`.
    links: Mutex<HashMap<Address, N>>,
    stale: Notify,
    state: watch::Sender<State>,
}

#[derive(Debug)]
struct Slots<N> {
    /// First slot, last slot, and who has them; in order.
    ranges: Vec<(u16, u16, N)>,
}

impl<N> Slots<N> {
    fn link(&self, slot: u16) -> Option<&N> {
        let after = self.ranges.partition_point(|(first, ..)| *first <= slot);
        let (_, last, link) = self.ranges.get(after.checked_sub(1)?)?;
        (slot <= *last).then_some(link)
    }
}

impl<N: Node> Cluster<N> {
    /// Starts to look for the cluster at `seeds`. Needs a tokio runtime.
    pub fn open(dial: Dial, habits: N::Habits, seeds: Vec<Address>) -> Self {
        let inner = Arc::new(Inner {
            dial,
            habits,
            seeds,
            slots: ArcSwap::from_pointee(Slots { ranges: Vec::new() }),
            links: Mutex::default(),
            stale: Notify::new(),
            state: watch::Sender::new(Err("the cluster is not known yet".into())),
        });
        tokio::spawn(follow(Arc::downgrade(&inner)));
        Self(inner)
    }

    /// The server for a key; none while nobody has its slot.
    pub fn link(&self, key: &[u8]) -> Option<N> {
        let found = self.0.slots.load().link(slot(key)).cloned();
        if found.is_none() {
            self.0.stale.notify_one();
        }
        found
    }

    /// Where a key is; none while nobody has its slot.
    pub fn address(&self, key: &[u8]) -> Option<Address> {
        let link = self.link(key)?;
        let links = self.0.links();
        links.iter().find(|(_, other)| other.is(&link)).map(|(address, _)| address.clone())
    }

    /// Every server that has slots.
    pub fn addresses(&self) -> Vec<Address> {
        let links = self.0.links();
        let slots = self.0.slots.load();
        let has_slots = |link: &N| slots.ranges.iter().any(|(.., other)| other.is(link));
        links.iter().filter(|(_, link)| has_slots(link)).map(|(a, _)| a.clone()).collect()
    }

    /// A way to a server.
    pub fn dial(&self, address: Address) -> Dial {
        self.0.dial_to(address)
    }

    /// The server that another one named, as in `HOST:PORT`; the slots are asked for again.
    pub fn named(&self, address: &str) -> Option<N> {
        self.0.stale.notify_one();
        Some(self.0.link_to(Address::parse(address)?))
    }

    /// Asks for the slots again soon: a server failed.
    pub fn doubt(&self) {
        self.0.stale.notify_one();
    }

    /// How the cluster is, now and from now on.
    pub fn state(&self) -> watch::Receiver<State> {
        self.0.state.subscribe()
    }
}

/// Keeps the slots true for as long as somebody asks for them.
async fn follow<N: Node>(inner: std::sync::Weak<Inner<N>>) {
    loop {
        let Some(inner) = inner.upgrade() else { return };
        let state = inner.refresh().await;
        let wait = if state.is_ok() { REFRESH } else { REFRESH_SOON };
        inner.tell(state);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // However many doubt, nobody is asked more often than this.
            () = inner.stale.notified() => tokio::time::sleep(REFRESH_SOON).await,
        }
    }
}

impl<N: Node> Inner<N> {
    /// Asks one server after the other; gives how the cluster is.
    async fn refresh(&self) -> State {
        let mut asked: Vec<Address> = self.links().keys().cloned().collect();
        asked.extend(self.seeds.iter().filter(|s| !self.links().contains_key(s)).cloned());
        let mut why = "no server of the cluster is known".to_owned();
        for address in asked {
            match timeout(ATTEMPT, self.ask(&address)).await {
                Ok(Ok((ranges, healthy))) => {
                    self.take(ranges);
                    return self.judge(healthy);
                }
                Ok(Err(e)) => why = format!("{address}: {e}"),
                Err(_) => why = format!("{address}: no answer within {ATTEMPT:?}"),
            }
        }
        Err(why.into())
    }

    /// The slots as a server sees them, and whether it holds the cluster for whole.
    async fn ask(&self, address: &Address) -> Result<(Vec<(u16, u16, Address)>, bool), String> {
        let mut connection = self.dial.open(address, self.dial.credentials.as_ref()).await?;
        let mut pipe = redis::pipe();
        pipe.cmd("CLUSTER").arg("SLOTS").cmd("CLUSTER").arg("INFO");
        let (slots, info): (Value, String) =
            pipe.query_async(&mut connection).await.map_err(|e| e.to_string())?;
        let ranges = ranges(&slots, address);
        if ranges.is_empty() {
            return Err("it has no slots; is it part of the cluster?".to_owned());
        }
        Ok((ranges, info.contains("cluster_state:ok")))
    }

    fn take(&self, ranges: Vec<(u16, u16, Address)>) {
        let mut ranges: Vec<(u16, u16, N)> = ranges
            .into_iter()
            .map(|(first, last, address)| (first, last, self.link_to(address)))
            .collect();
        ranges.sort_by_key(|(first, ..)| *first);
        // Who has no slots any more is forgotten; its connection ends with its last request.
        self.links().retain(|_, link| ranges.iter().any(|(.., other)| link.is(other)));
        self.slots.store(Arc::new(Slots { ranges }));
    }

    fn judge(&self, healthy: bool) -> State {
        let slots = self.slots.load();
        let mut down = Vec::new();
        for (.., link) in &slots.ranges {
            if let Err(why) = &*link.state().borrow() {
                down.push(format!("{}: {why}", link.shown()));
            }
        }
        down.sort();
        down.dedup();
        match (healthy, down.first()) {
            (_, Some(first)) => {
                Err(format!("{} of its servers cannot be used: {first}", down.len()).into())
            }
            (false, None) => Err("the cluster says that it is down".into()),
            (true, None) => Ok(()),
        }
    }

    fn tell(&self, state: State) {
        let was = self.state.borrow().clone();
        match (&was, &state) {
            (Err(_), Ok(())) => tracing::info!("Redis Cluster: every slot has a server"),
            (was, Err(why)) if was.as_ref().err() != Some(why) => {
                tracing::error!("Redis Cluster: {why}");
            }
            _ => {}
        }
        let _ = self.state.send_replace(state);
    }

    fn dial_to(&self, address: Address) -> Dial {
        Dial { target: Target::Address(address), ..self.dial.clone() }
    }

    fn link_to(&self, address: Address) -> N {
        let mut links = self.links();
        if let Some(known) = links.get(&address) {
            return known.clone();
        }
        let link = N::open(self.dial_to(address.clone()), self.habits.clone());
        if links.len() < MAX_SERVERS {
            links.insert(address, link.clone());
        }
        link
    }

    fn links(&self) -> std::sync::MutexGuard<'_, HashMap<Address, N>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the answer of CLUSTER SLOTS: first slot, last slot, master. A master without a host is the
/// one that was asked.
fn ranges(slots: &Value, asked: &Address) -> Vec<(u16, u16, Address)> {
    let Value::Array(rows) = slots else { return Vec::new() };
    let range = |row: &Value| {
        let Value::Array(row) = row else { return None };
        let number = |at: usize| -> Option<u16> { redis::from_redis_value_ref(row.get(at)?).ok() };
        let Value::Array(master) = row.get(2)? else { return None };
        let host: Option<String> = redis::from_redis_value_ref(master.first()?).ok()?;
        let port: u16 = redis::from_redis_value_ref(master.get(1)?).ok()?;
        let address = match (host.filter(|h| !h.is_empty() && h != "?"), asked) {
            (Some(host), _) => Address::Tcp(host, port),
            (None, Address::Tcp(host, _)) => Address::Tcp(host.clone(), port),
            (None, Address::Unix(_)) => return None,
        };
        Some((number(0)?, number(1)?, address))
    };
    rows.iter().filter_map(range).collect()
}

/// The slot of a key: of the part in braces, if there is one.
fn slot(key: &[u8]) -> u16 {
    let tagged = key.iter().position(|b| *b == b'{').and_then(|open| {
        let rest = key.get(open + 1..)?;
        let close = rest.iter().position(|b| *b == b'}')?;
        rest.get(..close).filter(|tag| !tag.is_empty())
    });
    let sum = crc16::State::<crc16::XMODEM>::calculate(tagged.unwrap_or(key));
    sum % u16::try_from(SLOTS).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
        assert_eq!(slot(b"foo{bar}{zap}"), slot(b"bar"));
        assert_ne!(slot(b"foo{}{bar}"), slot(b"bar"));
    }

    #[test]
    fn ranges_name_masters() {
        let text = |t: &str| Value::BulkString(t.as_bytes().to_vec());
        let row = |host: Value| {
            let master = Value::Array(vec![host, Value::Int(7001), text("id")]);
            Value::Array(vec![Value::Int(0), Value::Int(5460), master])
        };
        let asked = Address::Tcp("seed".to_owned(), 7000);
        let of = |host: Value| ranges(&Value::Array(vec![row(host)]), &asked);
        let expected = |host: &str| vec![(0, 5460, Address::Tcp(host.to_owned(), 7001))];
        assert_eq!(of(text("10.0.0.1")), expected("10.0.0.1"));
        assert_eq!(of(text("")), expected("seed"));
        assert_eq!(of(Value::Nil), expected("seed"));
        assert_eq!(ranges(&Value::Okay, &asked), []);
    }
}
