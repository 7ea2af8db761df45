//! Explains why a reader has no slot in a partition, and how it gets one.
//!
//! Three rules of Event Hubs decide this. A reader with an owner level (epoch) reads alone. A reader with a higher or a
//! newer owner level disconnects the others. Without an owner level, up to five readers may read in a consumer group.
//! The service names the rule in a sentence; the beginnings of these sentences are taken from its clients'
//! documentation and their users' reports.

use std::fmt;

use super::hub::ReceiverOptions;
use crate::error::{FieldProblem, problem};

/// The consumer group that every hub has.
const DEFAULT_GROUP: &str = "$Default";

/// A reader that needs a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contender {
    group: String,
    partition: String,
    owner_level: Option<i64>,
}

/// The rule that keeps a reader out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Another reader already reads with an owner level, and this reader has a lower one or none.
    Outranked(Option<i64>),
    /// Another reader with an owner level connected later and disconnected this reader.
    Displaced(Option<i64>),
    /// Five readers already read the partition.
    Crowded,
    /// The service does not state the rule.
    Unknown,
}

impl Contender {
    pub fn of(options: &ReceiverOptions) -> Self {
        let ReceiverOptions { consumer_group, partition, owner_level, .. } = options;
        Self { group: consumer_group.clone(), partition: partition.clone(), owner_level: *owner_level }
    }

    /// The conflict as a problem of the field `consumerGroup`. Its message states which rule keeps the reader out, and
    /// its fix how the reader gets a slot.
    pub fn conflict(&self, said: &str) -> FieldProblem {
        let rule = Rule::of(said);
        let mut conflict = problem("/consumerGroup", rule.code(), self.cause(rule, said));
        conflict.fix = Some(self.way_out(rule));
        conflict
    }

    fn cause(&self, rule: Rule, said: &str) -> String {
        let own = match self.owner_level {
            Some(level) => format!("this reader's is {level}"),
            None => "this reader has none".to_owned(),
        };
        let with = |level: Option<i64>| match level {
            Some(level) => format!("the owner level {level}"),
            None => "an owner level".to_owned(),
        };
        let what = match rule {
            Rule::Outranked(level) => {
                format!("Another reader has claimed {self} with {} and reads it alone; {own}.", with(level))
            }
            Rule::Displaced(level) => format!(
                "Another reader took {self} over with {}; {own}, so that it was disconnected. The other reader may be a second copy of this one.",
                with(level)
            ),
            Rule::Crowded => {
                format!("Five readers already read {self}, and more than five may not read side by side.")
            }
            Rule::Unknown => format!("Another reader already reads {self}, so that no slot is free for this reader."),
        };
        let shared = if self.group.eq_ignore_ascii_case(DEFAULT_GROUP) {
            " $Default is the group that Azure Functions, Stream Analytics, event processors and monitoring tools use \
             unless they are given another: probably it is one of them."
        } else {
            ""
        };
        let said = if said.is_empty() { String::new() } else { format!(" The service says: {said}") };
        format!("{what}{shared}{said}")
    }

    fn way_out(&self, rule: Rule) -> String {
        let own_group = "Give this reader a consumer group of its own: in the Azure portal open the hub, then Hub settings, \
                         Built-in endpoints, enter a new name under Consumer groups, and set that name here.";
        match rule {
            Rule::Outranked(Some(level)) | Rule::Displaced(Some(level)) => format!(
                "{own_group} Or, to send the other reader away, set an owner level of {} or more; or stop the other reader.",
                level.saturating_add(1)
            ),
            Rule::Outranked(None) | Rule::Displaced(None) => {
                format!(
                    "{own_group} Or, to send the other reader away, set a higher owner level; or stop the other reader."
                )
            }
            Rule::Crowded => format!(
                "{own_group} Or stop one of the five; or set an owner level (0 is enough), which disconnects all five."
            ),
            Rule::Unknown => format!("{own_group} Or stop the other reader."),
        }
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the partition \"{}\" in the consumer group \"{}\"", self.partition, self.group)
    }
}

impl Rule {
    fn of(said: &str) -> Self {
        let text = said.to_ascii_lowercase();
        if text.contains("is getting disconnected") {
            Self::Displaced(level(&text))
        } else if text.contains("epoch") {
            Self::Outranked(level(&text))
        } else if text.contains("allowed receivers") {
            Self::Crowded
        } else {
            Self::Unknown
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Outranked(_) => "outranked",
            Self::Displaced(_) => "displaced",
            Self::Crowded => "five-readers",
            Self::Unknown => "taken",
        }
    }
}

/// The other reader's owner level: the first number in quotes after the word "epoch".
fn level(text: &str) -> Option<i64> {
    let (_, rest) = text.split_once("epoch")?;
    let (_, rest) = rest.split_once('\'')?;
    rest.split_once('\'')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contender(group: &str, owner_level: Option<i64>) -> Contender {
        Contender { group: group.into(), partition: "2".into(), owner_level }
    }

    #[test]
    fn the_service_names_the_rule() {
        for (said, rule) in [
            (
                "At least one receiver for the endpoint is created with epoch of '22', and so non-epoch receiver is not allowed.",
                Rule::Outranked(Some(22)),
            ),
            (
                "A receiver with a higher epoch '3' already exists. A new receiver with epoch 2 cannot be created.",
                Rule::Outranked(Some(3)),
            ),
            (
                "New receiver 'it's me' with higher epoch of '7' is created hence current receiver 'nil' with epoch '0' is getting disconnected.",
                Rule::Displaced(Some(7)),
            ),
            (
                "Exceeded the maximum number of allowed receivers per partition in a consumer group which is 5.",
                Rule::Crowded,
            ),
            ("An epoch of another kind.", Rule::Outranked(None)),
            ("epoch 'x'", Rule::Outranked(None)),
            ("", Rule::Unknown),
        ] {
            assert_eq!(Rule::of(said), rule, "{said}");
        }
    }

    #[test]
    fn every_rule_has_its_words_and_its_way_out() {
        let higher = contender("workflows", None).conflict("created with epoch of '22', and so");
        assert!(higher.message.contains("owner level 22") && higher.message.contains("this reader has none"));
        assert!(
            higher.fix.as_deref().is_some_and(|fix| fix.contains("23 or more") && fix.contains("Built-in endpoints"))
        );
        assert!(!higher.message.contains("Azure Functions"));
        let shared = contender("$default", Some(1)).conflict("higher epoch of '2' … is getting disconnected");
        assert!(shared.message.contains("Azure Functions") && shared.message.contains("this reader's is 1"));
        let crowded = contender("workflows", None).conflict("maximum number of allowed receivers");
        assert!(crowded.message.contains("Five") && crowded.message.contains("partition \"2\""));
        assert!(crowded.fix.as_deref().is_some_and(|fix| fix.contains("stop one of the five")));
        let codes = [&higher, &shared, &crowded].map(|conflict| conflict.code.as_str());
        assert_eq!(codes, ["outranked", "displaced", "five-readers"]);
    }
}
