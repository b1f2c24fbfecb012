use std::collections::BTreeMap;

use super::super::Domains;

fn read(text: &str) -> Result<Domains, String> {
    Domains::read(&BTreeMap::from([("f".to_owned(), text.to_owned())]), false)
}

fn one(limit: &str) -> String {
    format!("domain: d\ndescriptors:\n- key: a\n  rate_limit: {limit}\n")
}

#[test]
fn refuses_with_the_words_of_the_original() {
    for (text, words) in [
        ("", "f: config file cannot have empty domain"),
        ("domain: x\nflavour: y", "f: config error, unknown key 'flavour'"),
        ("domain: x\n0.25: y", "f: config error, key is not of type string: 0.25"),
        ("domain: x\ndescriptors: [a]", "list of type other than map: a"),
        ("domain: x\ndescriptors: [{value: 1.5, key: a}]", "error checking config"),
        ("domain: x\ndescriptors: [{value: b}]", "descriptor has empty key"),
        (
            "domain: x\ndescriptors: [{key: a}, {key: a}]",
            "duplicate descriptor composite key 'x.a'",
        ),
        ("domain: x\ndescriptors: [{key: a, value: b}, {key: a_b}]", "composite key 'x.a_b'"),
        ("domain: x\ndescriptors: [{key: a, shadow_mode: 3}]", "error loading config file"),
        ("domain: x\n  descriptors:\n bad", "error loading config file"),
        ("[a]", "error loading config file"),
        (&one("{unit: fortnight}"), "invalid rate limit unit 'fortnight'"),
        (&one("{requests_per_unit: 4}"), "invalid rate limit unit ''"),
        (&one("{unit: day, requests_per_unit: -1}"), "error loading config file"),
        (&one("{unit: day, unlimited: true}"), "should not specify rate limit unit when unlimited"),
        (&one("{unit: day, replaces: [{name: ''}]}"), "should not have an empty replaces entry"),
        (&one("{unit: day, name: n, replaces: [{name: n}]}"), "name of same descriptor"),
        ("domain: x\ndescriptors: [{key: a, share_threshold: true}]", "but found key 'a'"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn reads_what_the_original_reads() {
    for text in [
        "domain: x",
        "domain: x\ndescriptors: null",
        "{\"domain\": \"x\", \"descriptors\": [{\"key\": \"a\", \"value\": 007}]}",
        "domain: x\ndescriptors: [{key: a, metadata: {any: {thing: 1.5}}}]",
        &one("{unlimited: true, unit: forever, requests_per_unit: 3}"),
        &one("{unit: MINUTE}"),
        "domain: x\n---\nthis: is not read\n",
    ] {
        read(text).unwrap();
    }
}

#[test]
fn domains_of_several_files() {
    let files = BTreeMap::from([
        ("a".to_owned(), "domain: x\ndescriptors: [{key: a}]".to_owned()),
        ("b".to_owned(), "domain: x\ndescriptors: [{key: b}]".to_owned()),
    ]);
    assert!(Domains::read(&files, false).unwrap_err().contains("duplicate domain 'x'"));
    assert!(Domains::read(&files, true).is_ok());
}
