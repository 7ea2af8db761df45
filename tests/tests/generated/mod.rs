//! Inputs made from an operation's schema by a property-based generator.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

/// A generator with a fixed seed: each run makes the same inputs.
pub fn runner() -> TestRunner {
    TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

/// One input for the schema. Three of four fit it; the others have one member too many, too few, or of a wrong type.
///
/// # Panics
/// Where the schema has a pattern that is no regular expression.
pub fn input(runner: &mut TestRunner, schema: &Value, known: &[(&'static str, &'static [&'static str])]) -> Value {
    let sound = of(schema, "", known.to_vec());
    let spoiled = (sound.clone(), any::<prop::sample::Index>(), 0..3_u8).prop_map(|(mut input, index, how)| {
        if let Some(members) = input.as_object_mut() {
            let names: Vec<String> = members.keys().cloned().collect();
            let name = if names.is_empty() { "unknown".to_owned() } else { index.get(&names).clone() };
            match how {
                0 => drop(members.insert("unknown".to_owned(), json!(1))),
                1 => drop(members.remove(&name)),
                _ => drop(members.insert(name, json!([{ "wrong": true }]))),
            }
        }
        input
    });
    let strategy = prop_oneof![3 => sound, 1 => spoiled];
    strategy.new_tree(runner).expect("a value").current()
}

/// A strategy for the values of a schema. `known` has texts that name existing things, by the member's name.
fn of(schema: &Value, name: &str, known: Vec<(&'static str, &'static [&'static str])>) -> BoxedStrategy<Value> {
    if let Some(value) = schema.get("const") {
        return Just(value.clone()).boxed();
    }
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return select(values.clone()).boxed();
    }
    if let Some(forms) = schema.get("anyOf").and_then(Value::as_array) {
        return proptest::strategy::Union::new(forms.iter().map(|form| of(form, name, known.clone()))).boxed();
    }
    let number = |keyword: &str| schema.get(keyword).and_then(Value::as_i64);
    let count = |keyword: &str| schema.get(keyword).and_then(Value::as_u64).and_then(|it| usize::try_from(it).ok());
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str).unwrap_or_default(),
        kind => kind.as_str().unwrap_or_default(),
    };
    match kind {
        "string" => text(schema, name, count("minLength").unwrap_or(0), count("maxLength"), &known),
        "integer" => {
            let (least, most) = (number("minimum").unwrap_or(-5), number("maximum").unwrap_or(1_000_000));
            prop_oneof![Just(least), Just(most), least..=most].prop_map(Value::from).boxed()
        }
        "number" => (-1e6..1e6).prop_map(Value::from).boxed(),
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "null" => Just(Value::Null).boxed(),
        "array" => {
            let items = schema.get("items").map_or_else(|| free(2), |items| of(items, name, known));
            let least = count("minItems").unwrap_or(0);
            let most = count("maxItems").unwrap_or(4).min(least + 4);
            vec(items, least..=most).prop_map(Value::from).boxed()
        }
        "object" => object(schema, &known),
        _ => free(3),
    }
}

fn text(
    schema: &Value,
    name: &str,
    least: usize,
    most: Option<usize>,
    known: &[(&'static str, &'static [&'static str])],
) -> BoxedStrategy<Value> {
    let most = most.unwrap_or(40).min(least + 60);
    let pattern = schema.get("pattern").and_then(Value::as_str);
    // The generator takes no anchors.
    let made = match pattern.map(|pattern| pattern.trim_start_matches('^').trim_end_matches('$')) {
        Some(pattern) => match proptest::string::string_regex(pattern) {
            Ok(texts) => texts.prop_map(|text| text.chars().take(200).collect::<String>()).boxed(),
            Err(_) => vec(any::<char>(), least..=most).prop_map(String::from_iter).boxed(),
        },
        None => vec(prop_oneof![8 => prop::char::range(' ', '~'), 1 => any::<char>()], least..=most)
            .prop_map(String::from_iter)
            .boxed(),
    };
    let made = made.prop_map(Value::from).boxed();
    let examples = schema.get("examples").and_then(Value::as_array).cloned().unwrap_or_default();
    let made = if examples.is_empty() { made } else { prop_oneof![1 => made, 1 => select(examples)].boxed() };
    match known.iter().find(|(own, _)| *own == name) {
        Some((_, texts)) => prop_oneof![1 => made, 2 => select(*texts).prop_map(Value::from)].boxed(),
        None => made,
    }
}

fn object(schema: &Value, known: &[(&'static str, &'static [&'static str])]) -> BoxedStrategy<Value> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut all = Just(Map::new()).boxed();
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let value = of(member, name, known.to_vec());
        let value = if required.contains(&name.as_str()) {
            value.prop_map(Some).boxed()
        } else {
            prop::option::weighted(0.4, value).boxed()
        };
        let name = name.clone();
        all = (all, value)
            .prop_map(move |(mut members, value)| {
                if let Some(value) = value {
                    members.insert(name.clone(), value);
                }
                members
            })
            .boxed();
    }
    let open = schema["additionalProperties"] != false;
    let extra = if open { vec(("[a-z]{1,6}", free(2)), 0..3).boxed() } else { Just(Vec::new()).boxed() };
    (all, extra)
        .prop_map(|(mut members, extra)| {
            for (name, value) in extra {
                members.entry(name).or_insert(value);
            }
            Value::Object(members)
        })
        .boxed()
}

/// Any JSON value down to this many levels.
fn free(levels: u32) -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(levels, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::from),
            vec(("[a-z$.]{1,6}", inner), 0..3).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
    .boxed()
}
