//! Small templates that ask for much: each ends soon, with an error or a text, never with a panic.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use gotemplate::{Functions, Template, Value};

/// Whether the template failed, and that it took no long time.
fn fails(text: &str) -> bool {
    let started = Instant::now();
    let failed = match Template::parse(text, &Functions::body()) {
        Ok(template) => template.execute(&Value::Nil).is_err(),
        Err(_) => true,
    };
    assert!(started.elapsed() < Duration::from_secs(20), "takes long: {text:.80}");
    failed
}

#[test]
fn texts_that_double_are_cut_off() {
    assert!(fails(r#"{{$x := "aaaa"}}{{range 60}}{{$x = print $x $x}}{{end}}"#));
}

#[test]
fn templates_that_call_two_others_are_cut_off() {
    let mut text = String::from("{{define \"t0\"}}{{end}}");
    for i in 1..60 {
        let p = i - 1;
        let _ = write!(
            text,
            "{{{{define \"t{i}\"}}}}{{{{template \"t{p}\"}}}}{{{{template \"t{p}\"}}}}{{{{end}}}}"
        );
    }
    assert!(fails(&format!("{text}{{{{template \"t59\"}}}}")));
}

#[test]
fn deep_blocks_in_deep_calls_fit_the_stack() {
    let open = "{{if 1}}".repeat(90);
    let close = "{{end}}".repeat(90);
    assert!(fails(&format!(
        "{{{{define \"t\"}}}}{open}{{{{template \"t\"}}}}{close}{{{{end}}}}{{{{template \"t\"}}}}"
    )));
}

#[test]
fn deep_parentheses_fit_the_stack() {
    assert!(!fails(&format!("{{{{{}1{}}}}}", "(".repeat(90), ")".repeat(90))));
    assert!(fails(&format!("{{{{{}1{}}}}}", "(".repeat(20_000), ")".repeat(20_000))));
    assert!(fails(&"{{if 0}}{{else if 0}}".repeat(3_000)));
    assert!(fails(&format!("{{{{if 0}}}}{}{{{{end}}}}", "{{else if 0}}".repeat(4_000))));
}

#[test]
fn huge_widths_and_precisions_do_not_panic() {
    for verb in "vdsqxXeEfFgGbcoOUtT".chars() {
        for number in ["70000", "999999", "1000000"] {
            for value in ["1", "1.5", "\"a\"", "true", "nil"] {
                fails(&format!("{{{{printf \"%{number}{verb}\" {value}}}}}"));
                fails(&format!("{{{{printf \"%.{number}{verb}\" {value}}}}}"));
                fails(&format!("{{{{printf \"%0{number}.{number}{verb}\" {value}}}}}"));
            }
        }
    }
}

#[test]
fn wide_texts_in_a_loop_are_cut_off() {
    assert!(fails(r#"{{range 10000}}{{$x := printf "%60000d%60000d" 1 2}}{{end}}"#));
}

#[test]
fn long_bodies_in_a_loop_are_cut_off() {
    let body = "{{if 0}}{{end}}".repeat(4_000);
    assert!(fails(&format!("{{{{range 10000}}}}{body}{{{{end}}}}")));
}
