use super::*;

const LIFE: Duration = Duration::from_secs(10);

fn memory(entries: usize) -> Memory {
    Memory::register(entries * (OVERHEAD + 2), &mut Registry::default())
}

fn set(memory: &Memory, key: &str, value: &[u8], now: Instant) -> Result<StoreAnswer, StoreError> {
    memory.run(StoreCommand::Set(key.to_owned(), value.to_vec(), LIFE), now)
}

fn get(memory: &Memory, key: &str, now: Instant) -> Option<Vec<u8>> {
    match memory.run(StoreCommand::Get(key.to_owned()), now) {
        Ok(StoreAnswer::Value(value)) => value,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_over_is_gone() {
    let (memory, now) = (memory(9), Instant::now());
    set(&memory, "a", b"1", now).unwrap();
    assert_eq!(get(&memory, "a", now + LIFE - Duration::from_millis(1)), Some(b"1".to_vec()));
    assert_eq!(get(&memory, "a", now + LIFE), None);
    assert_eq!(memory.inner.lock().unwrap().bytes, 0);
    let endless = StoreCommand::Set("b".to_owned(), Vec::new(), Duration::MAX);
    assert_eq!(memory.run(endless, now), Ok(StoreAnswer::Done));
}

#[test]
fn the_oldest_makes_room_and_what_is_too_large_does_not_come_in() {
    let (memory, now) = (memory(2), Instant::now());
    for key in ["a", "b"] {
        set(&memory, key, b"1", now).unwrap();
    }
    // Set again, it is the newest.
    set(&memory, "a", b"2", now).unwrap();
    set(&memory, "c", b"3", now).unwrap();
    assert_eq!(get(&memory, "b", now), None);
    assert_eq!((get(&memory, "a", now), memory.evicted.get()), (Some(b"2".to_vec()), 1));
    assert_eq!(set(&memory, "d", &[0; 1024], now), Err(StoreError));
    assert_eq!(get(&memory, "a", now), Some(b"2".to_vec()));
    // What is over makes room before what is not.
    let later = now + LIFE;
    set(&memory, "e", b"5", later).unwrap();
    assert_eq!(memory.evicted.get(), 1);
}

#[test]
fn it_never_grows_beyond_its_bound() {
    let (memory, now) = (memory(10), Instant::now());
    for i in 0..10_000_u32 {
        let key = format!("{}", i % 37);
        let _ = set(&memory, &key, &vec![0; (i % 900) as usize], now);
        let inner = memory.inner.lock().unwrap();
        let real: usize = inner.entries.iter().map(|(k, e)| size(k, &e.value)).sum();
        assert!(inner.bytes <= memory.limit && inner.bytes == real);
        let entries = inner.entries.len();
        assert_eq!((inner.by_age.len(), inner.by_end.len()), (entries, entries));
    }
}
