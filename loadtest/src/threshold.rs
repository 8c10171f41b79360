//! Bounds on figures: what `--fail-if` and `--find-knee` are given.

use crate::quantity::{self, NoQuantity, show_ns};

/// A figure of a report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Metric {
    /// A percentile of the latency from the intended time, in nanoseconds.
    Percentile(f64),
    /// A percentile of the time from when a request was sent.
    ServicePercentile(f64),
    /// A percentile of how late requests were sent.
    LatenessPercentile(f64),
    /// Mean latency from the intended time.
    Mean,
    /// Largest latency from the intended time.
    Max,
    /// Share of the requests that failed, 0 to 1.
    Errors,
    /// Requests answered per second.
    Rate,
    /// Share of a core that the busiest generator thread used, 0 to 1.
    GeneratorCpu,
}

/// How a figure is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `>`
    Above,
    /// `>=`
    AtLeast,
}

/// A figure and a bound: `p99>10ms`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    /// Which figure.
    pub(crate) metric: Metric,
    /// How it is compared.
    pub(crate) relation: Relation,
    /// With what: nanoseconds, a share, or requests per second.
    pub(crate) bound: f64,
    text: String,
}

/// A condition that is not written as one.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum BadCondition {
    /// No relation in it.
    #[error("`{0}` has no <, <=, > or >= in it: write something like p99>10ms")]
    Relation(String),
    /// The figure is not known.
    #[error(
        "`{0}` is no figure; there are p50 (any percentile), service.p99, lateness.p99, mean, max, errors, rate and generator"
    )]
    Metric(String),
    /// The bound is no quantity of that kind.
    #[error(transparent)]
    Bound(#[from] NoQuantity),
    /// More than 100 per cent, or less than none.
    #[error("`{0}` is no percentile between 0 and 100")]
    Percentile(String),
}

impl Condition {
    /// Reads a condition.
    pub(crate) fn parse(text: &str) -> Result<Self, BadCondition> {
        let no_relation = || BadCondition::Relation(text.to_owned());
        let at = text.find(['<', '>']).ok_or_else(no_relation)?;
        let (name, rest) = text.split_at(at);
        let (relation, bound) = match (rest.strip_prefix("<="), rest.strip_prefix(">=")) {
            (Some(bound), _) => (Relation::AtMost, bound),
            (_, Some(bound)) => (Relation::AtLeast, bound),
            _ if rest.starts_with('<') => (Relation::Below, rest.trim_start_matches('<')),
            _ => (Relation::Above, rest.trim_start_matches('>')),
        };
        let metric = metric(name.trim())?;
        let bound = bound.trim();
        let bound = match metric {
            Metric::Errors | Metric::GeneratorCpu => share(bound)?,
            Metric::Rate => quantity::rate(bound)?,
            _ => quantity::duration_ns(bound)? as f64,
        };
        Ok(Self { metric, relation, bound, text: text.to_owned() })
    }

    /// Whether a figure of this value fulfils it.
    pub(crate) fn holds(&self, value: f64) -> bool {
        match self.relation {
            Relation::Below => value < self.bound,
            Relation::AtMost => value <= self.bound,
            Relation::Above => value > self.bound,
            Relation::AtLeast => value >= self.bound,
        }
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// A value of its figure, for people.
    pub(crate) fn show(&self, value: f64) -> String {
        match self.metric {
            Metric::Errors | Metric::GeneratorCpu => quantity::show_share(value),
            Metric::Rate => format!("{}/s", quantity::show_rate(value)),
            _ => show_ns(value as u64),
        }
    }
}

fn metric(name: &str) -> Result<Metric, BadCondition> {
    let unknown = || BadCondition::Metric(name.to_owned());
    let percentile = |digits: &str| {
        let value: f64 = digits.parse().map_err(|_| unknown())?;
        if (0.0..=100.0).contains(&value) {
            Ok(value / 100.0)
        } else {
            Err(BadCondition::Percentile(name.to_owned()))
        }
    };
    if let Some(digits) = name.strip_prefix("service.p") {
        return percentile(digits).map(Metric::ServicePercentile);
    }
    if let Some(digits) = name.strip_prefix("lateness.p") {
        return percentile(digits).map(Metric::LatenessPercentile);
    }
    match name {
        "mean" => Ok(Metric::Mean),
        "max" => Ok(Metric::Max),
        "errors" => Ok(Metric::Errors),
        "rate" => Ok(Metric::Rate),
        "generator" => Ok(Metric::GeneratorCpu),
        _ => percentile(name.strip_prefix('p').ok_or_else(unknown)?).map(Metric::Percentile),
    }
}

fn share(text: &str) -> Result<f64, NoQuantity> {
    match text.strip_suffix('%') {
        Some(percent) => Ok(quantity::rate(percent.trim())? / 100.0),
        None => quantity::rate(text),
    }
}

#[cfg(test)]
mod tests {
    use super::{BadCondition, Condition, Metric, Relation};

    #[test]
    fn conditions_name_a_figure_and_a_bound() {
        let of = |text: &str| Condition::parse(text).map(|c| (c.metric, c.relation, c.bound));
        assert_eq!(of("p99>10ms"), Ok((Metric::Percentile(0.99), Relation::Above, 1e7)));
        assert_eq!(of("p99.9 <= 1s"), Ok((Metric::Percentile(0.9990000000000001), Relation::AtMost, 1e9)));
        assert_eq!(of("errors>0.1%"), Ok((Metric::Errors, Relation::Above, 0.001)));
        assert_eq!(of("rate<19k"), Ok((Metric::Rate, Relation::Below, 19e3)));
        assert_eq!(of("service.p50>=1us"), Ok((Metric::ServicePercentile(0.5), Relation::AtLeast, 1e3)));
        assert_eq!(of("generator>90%"), Ok((Metric::GeneratorCpu, Relation::Above, 0.9)));
        assert_eq!(of("lateness.p99>1ms"), Ok((Metric::LatenessPercentile(0.99), Relation::Above, 1e6)));
        assert!(matches!(of("p99"), Err(BadCondition::Relation(_))));
        assert!(matches!(of("q99>1ms"), Err(BadCondition::Metric(_))));
        assert!(matches!(of("p101>1ms"), Err(BadCondition::Percentile(_))));
        assert!(matches!(of("p99>fast"), Err(BadCondition::Bound(_))));
    }

    #[test]
    fn conditions_hold_on_their_side_of_the_bound() {
        let holds = |text: &str, value| Condition::parse(text).unwrap().holds(value);
        assert!(holds("p99>10ms", 10_000_001.0) && !holds("p99>10ms", 1e7));
        assert!(holds("p99>=10ms", 1e7) && holds("p99<=10ms", 1e7) && !holds("p99<10ms", 1e7));
        let condition = Condition::parse("errors>0.1%").unwrap();
        assert_eq!((condition.show(0.012), condition.text()), ("1.2 %".to_owned(), "errors>0.1%"));
    }
}
