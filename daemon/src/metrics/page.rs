//! The shapes of metrics used here, in the OpenMetrics text format.

use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::Quantiles;

/// The text of another program's metrics.
pub fn text_by(
    write: impl Fn(&mut Page<'_>) -> Result<(), Error> + Send + Sync + 'static,
) -> String {
    text_of(Box::new(Written(write)))
}

/// Metrics written by a function.
struct Written<F>(F);

impl<F> std::fmt::Debug for Written<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Written")
    }
}

impl<F> Collector for Written<F>
where
    F: Fn(&mut Page<'_>) -> Result<(), Error> + Send + Sync + 'static,
{
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        (self.0)(&mut Page::new(encoder))
    }
}

/// The text of a collector.
pub(super) fn text_of(collector: Box<dyn Collector>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(collector);
    let mut out = String::new();
    // Writing to a string fails only if the collector does, which it does not.
    let _ = encode(&mut out, &registry);
    out
}

/// Names and values of a sample's labels.
pub type Labels<'a> = Vec<(&'a str, &'a str)>;

/// The encoder, with the shapes used here.
pub struct Page<'a>(DescriptorEncoder<'a>);

impl<'a> Page<'a> {
    pub(super) fn new(encoder: DescriptorEncoder<'a>) -> Page<'a> {
        Page(encoder)
    }

    /// The encoder, for other shapes.
    pub(super) fn encoder(&mut self) -> &mut DescriptorEncoder<'a> {
        &mut self.0
    }

    /// Writes a counter, one sample for each set of labels.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn counters(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: &[(Labels<'_>, f64)],
    ) -> Result<(), Error> {
        let mut family =
            self.0
                .encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        for (labels, value) in samples {
            match labels.is_empty() {
                true => counter(&mut family, *value)?,
                false => counter(&mut family.encode_family(labels)?, *value)?,
            }
        }
        Ok(())
    }

    /// Writes a gauge, one sample for each set of labels.
    ///
    /// # Errors
    /// Those of the encoder.
    pub fn gauges(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        samples: &[(Labels<'_>, f64)],
    ) -> Result<(), Error> {
        let mut family = self
            .0
            .encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in samples {
            match labels.is_empty() {
                true => gauge(&mut family, *value)?,
                false => gauge(&mut family.encode_family(labels)?, *value)?,
            }
        }
        Ok(())
    }

    pub(super) fn quantiles(&mut self, name: &str, help: &str, q: &Quantiles) -> Result<(), Error> {
        let samples = [
            ("0.5", q.p50),
            ("0.9", q.p90),
            ("0.99", q.p99),
            ("0.999", q.p999),
            ("1", q.max),
        ];
        let samples = samples.map(|(at, us)| (vec![("quantile", at)], us / 1e6));
        self.gauges(name, help, Some(Unit::Seconds), &samples)
    }
}

/// Whole numbers stay whole: most counters are packets or bytes.
fn counter(metric: &mut MetricEncoder<'_>, value: f64) -> Result<(), Error> {
    match value.fract() == 0.0 {
        true => metric.encode_counter::<NoLabelSet, _, u64>(&(value as u64), None),
        false => metric.encode_counter::<NoLabelSet, _, u64>(&value, None),
    }
}

fn gauge(metric: &mut MetricEncoder<'_>, value: f64) -> Result<(), Error> {
    match value.fract() == 0.0 && value.abs() < 1e15 {
        true => metric.encode_gauge(&(value as i64)),
        false => metric.encode_gauge(&value),
    }
}

/// A sample without labels.
pub fn alone(value: f64) -> [(Labels<'static>, f64); 1] {
    [(Vec::new(), value)]
}
