use std::collections::HashMap;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

fn add(key: &str, hits: u64) -> Task {
    Task {
        key: key.as_bytes().into(),
        operation: Operation::Add { hits, seconds: 60 },
        asking: false,
    }
}

fn batch(tasks: impl IntoIterator<Item = Task>) -> Batch {
    // The same for all, as of one link.
    static RANDOM: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    let mut batch = Batch::default();
    for task in tasks {
        batch.push(task, &RANDOM);
    }
    batch
}

fn written(batch: &mut Batch, seen: &mut Seen) -> Vec<String> {
    let mut pipe = redis::pipe();
    batch.write(&mut pipe, &Scripts::default(), seen, || 5);
    let words = |cmd: &redis::Cmd| -> Vec<String> {
        cmd.args_iter()
            .map(|arg| match arg {
                redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                _ => String::new(),
            })
            .collect()
    };
    pipe.cmd_iter().map(|cmd| words(cmd).join(" ")).collect()
}

#[test]
fn hits_on_a_key_are_one_command_and_its_life_is_set_once() {
    let mut seen = Seen::default();
    let mut first = batch([add("a", 1), add("b", 2), add("a", 3)]);
    let commands = written(&mut first, &mut seen);
    assert_eq!(commands, ["INCRBY a 4", "EXPIRE a 65", "INCRBY b 2", "EXPIRE b 65"]);
    assert_eq!(written(&mut batch([add("a", 1)]), &mut seen), ["INCRBY a 1"]);
    let (replies, after) = first.read(vec![Ok(Value::Int(14)), Ok(Value::Int(2))]);
    let window = |after| Reply::Count(Count::Window { after });
    assert_eq!(replies, [window(11), window(2), window(14)]);
    assert!(after.endless.is_empty());
}

#[test]
fn a_key_that_the_server_lost_gets_its_life_again() {
    let mut seen = Seen::default();
    written(&mut batch([add("a", 1)]), &mut seen);
    let mut second = batch([add("a", 1), add("a", 1)]);
    written(&mut second, &mut seen);
    let (_, after) = second.read(vec![Ok(Value::Int(2))]);
    assert_eq!(after.endless, [(SmallVec::from_slice(b"a"), 60)]);
}

#[test]
fn a_server_that_moved_a_key_or_became_a_replica_is_understood() {
    let error = |line: &str| {
        redis::parse_redis_value(line.as_bytes())
            .and_then(|value| value.extract_error())
            .unwrap_err()
    };
    let reply = |line: &str| batch([add("a", 1)]).read(vec![Err(error(line))]);
    let moved = |ask| Reply::Moved { to: "10.0.0.1:7001".to_owned(), ask };
    assert_eq!(reply("-MOVED 7 10.0.0.1:7001\r\n").0, [moved(false)]);
    assert_eq!(reply("-ASK 7 10.0.0.1:7001\r\n").0, [moved(true)]);
    assert_eq!(reply("-NOSCRIPT No matching script.\r\n").0, [Reply::Forgotten]);
    let unfit = |line| reply(line).1.unfit.is_some();
    assert!(unfit("-READONLY You can't write against a read only replica.\r\n"));
    assert!(unfit("-LOADING Redis is loading the dataset in memory\r\n"));
    assert!(!unfit("-WRONGTYPE Operation against a key\r\n"));
    assert!(matches!(batch([add("a", 1)]).read(Vec::new()).0[..], [Reply::Refused(_)]));
}

proptest! {
    /// Joined, each request gets the number it would have got alone, in the order they came.
    #[test]
    fn joining_changes_no_number(
        tasks in prop::collection::vec(("[ab]", 0_u64..5), 1..40),
        before in prop::collection::hash_map("[ab]", 0_i64..9, 0..3),
    ) {
        let mut alone: HashMap<String, i64> = before.clone();
        let mut together = before;
        let expected: Vec<Reply> = tasks.iter().map(|(key, hits)| {
            let count = alone.entry(key.clone()).or_default();
            *count += i64::try_from(*hits).unwrap();
            Reply::Count(Count::Window { after: u64::try_from(*count).unwrap() })
        }).collect();
        let mut batch = batch(tasks.iter().map(|(key, hits)| add(key, *hits)));
        let commands = written(&mut batch, &mut Seen::default());
        let values = commands.iter().filter_map(|line| {
            let (key, hits) = line.strip_prefix("INCRBY ")?.split_once(' ')?;
            let count = together.entry(key.to_owned()).or_default();
            *count += hits.parse::<i64>().unwrap();
            Some(Ok(Value::Int(*count)))
        }).collect();
        prop_assert_eq!(batch.read(values).0, expected);
    }
}
