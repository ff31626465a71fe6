//! What an engine measures of its work.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::{EngineStats, Finish, FinishReason};

/// What an engine did since it was spawned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// Requests that were taken.
    pub submitted: u64,
    /// Requests that ended, by how.
    pub ended: Ends,
    /// Tokens of prompts that were decoded.
    pub prompt_tokens: u64,
    /// Tokens of prompts that others had decoded.
    pub cached_tokens: u64,
    /// Generated tokens.
    pub completion_tokens: u64,
    /// Drafts: each is one request's in one step.
    pub drafts: u64,
    /// Tokens that were drafted and decoded before it was known whether they come.
    pub drafted_tokens: u64,
    /// Those of them that came.
    pub accepted_tokens: u64,
    /// Decodes.
    pub steps: u64,
    /// Requests in all decodes together: by `steps`, this is how many share one on average.
    pub step_requests: u64,
    /// Seconds in decodes with tokens of prompts, all that follows each of them included.
    pub prompt_seconds: f64,
    /// Seconds in decodes of generated tokens alone, all that follows each of them included.
    pub decode_seconds: f64,
    /// Seconds of all these between the decodes: choosing tokens, making text of them, handing it over.
    pub overhead_seconds: f64,
    /// Requests whose state moved to host memory to make room.
    pub parked: u64,
    /// Leftovers that moved to host memory.
    pub stowed: u64,
    /// Leftovers in host memory now, in bytes.
    pub stored_bytes: u64,
    /// Seconds from submission to the first decode.
    pub queue: Summary,
    /// Seconds from submission to the first token.
    pub first_token: Summary,
    /// Seconds between two tokens of a request.
    pub token_gap: Summary,
    /// Seconds of a decode, all that follows it included.
    pub step: Summary,
    /// Seconds from submission to the end.
    pub request: Summary,
}

/// Requests that ended, by how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// By the model, a stop string or token, or the end of a constraint.
    pub stop: u64,
    /// By their length or that of the context.
    pub length: u64,
    /// Cancelled.
    pub cancelled: u64,
    /// Their time was up.
    pub timeout: u64,
    /// Something failed.
    pub error: u64,
}

/// Bounds in seconds by which measurements are counted, for histograms of Prometheus.
pub const LATENCY_BOUNDS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// A number of measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// All together.
    pub sum: f64,
    /// Half of them are at most this; within 1 %, as the others.
    pub p50: f64,
    /// Nine tenths of them are at most this.
    pub p90: f64,
    /// Ninety-nine hundredths of them are at most this.
    pub p99: f64,
    /// The largest.
    pub max: f64,
    /// How many are at most each of [`LATENCY_BOUNDS`].
    pub at_most: [u64; LATENCY_BOUNDS.len()],
}

impl Metrics {
    /// The text that Prometheus reads, with the state of the moment in `stats`
    /// ([exposition format](https://prometheus.io/docs/instrumenting/exposition_formats/)).
    #[must_use]
    pub fn prometheus(&self, stats: &EngineStats) -> String {
        let mut text = Text::default();
        text.counter("requests_total", "Requests that were taken.", self.submitted as f64);
        let Ends { stop, length, cancelled, timeout, error } = self.ended;
        text.head("requests_ended_total", "counter", "Requests that ended, by how.");
        let ends = [
            ("stop", stop),
            ("length", length),
            ("cancelled", cancelled),
            ("timeout", timeout),
            ("error", error),
        ];
        for (reason, count) in ends {
            text.value("requests_ended_total", &format!("{{reason=\"{reason}\"}}"), count as f64);
        }
        for (name, help, value) in [
            ("prompt_tokens_total", "Tokens of prompts that were decoded.", self.prompt_tokens as f64),
            ("cached_tokens_total", "Tokens of prompts that others had decoded.", self.cached_tokens as f64),
            ("completion_tokens_total", "Generated tokens.", self.completion_tokens as f64),
            ("drafts_total", "Drafts, each of one request in one step.", self.drafts as f64),
            ("drafted_tokens_total", "Tokens that were drafted.", self.drafted_tokens as f64),
            ("accepted_tokens_total", "Drafted tokens that came.", self.accepted_tokens as f64),
            ("steps_total", "Decodes.", self.steps as f64),
            ("step_requests_total", "Requests in all decodes together.", self.step_requests as f64),
            ("prompt_seconds_total", "Seconds in decodes with tokens of prompts.", self.prompt_seconds),
            ("decode_seconds_total", "Seconds in decodes of generated tokens alone.", self.decode_seconds),
            ("overhead_seconds_total", "Seconds between decodes.", self.overhead_seconds),
            ("parked_total", "Requests whose state moved to host memory.", self.parked as f64),
            ("stowed_total", "Leftovers that moved to host memory.", self.stowed as f64),
        ] {
            text.counter(name, help, value);
        }
        for (name, help, value) in [
            ("requests_active", "Requests that have a sequence.", stats.active),
            ("requests_queued", "Requests of which nothing is decoded.", stats.queued),
            ("requests_parked", "Requests whose state waits in host memory.", stats.parked),
            ("cells_used", "Cells of the context in use.", stats.cells_used),
            ("cells", "Cells of the context.", stats.cells),
        ] {
            text.head(name, "gauge", help);
            text.value(name, "", value as f64);
        }
        text.head("stored_bytes", "gauge", "Leftovers in host memory, in bytes.");
        text.value("stored_bytes", "", self.stored_bytes as f64);
        for (name, help, summary) in [
            ("queue_seconds", "Seconds from submission to the first decode.", &self.queue),
            ("first_token_seconds", "Seconds from submission to the first token.", &self.first_token),
            ("token_gap_seconds", "Seconds between two tokens of a request.", &self.token_gap),
            ("step_seconds", "Seconds of a decode.", &self.step),
        ] {
            text.summary(name, help, summary);
        }
        for (name, help, summary) in [
            ("queue_time_seconds", "Seconds from submission to the first decode.", &self.queue),
            ("time_to_first_token_seconds", "Seconds from submission to the first token.", &self.first_token),
            ("inter_token_latency_seconds", "Seconds between two tokens of a request.", &self.token_gap),
            ("request_duration_seconds", "Seconds from submission to the end.", &self.request),
        ] {
            text.histogram(name, help, summary);
        }
        text.0
    }
}

/// Text in Prometheus' format.
#[derive(Default)]
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP tabagent_{name} {help}"));
        self.line(format_args!("# TYPE tabagent_{name} {kind}"));
    }

    fn value(&mut self, name: &str, labels: &str, value: f64) {
        self.line(format_args!("tabagent_{name}{labels} {value}"));
    }

    fn counter(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "counter", help);
        self.value(name, "", value);
    }

    fn summary(&mut self, name: &str, help: &str, summary: &Summary) {
        self.head(name, "summary", help);
        for (quantile, value) in [("0.5", summary.p50), ("0.9", summary.p90), ("0.99", summary.p99)] {
            self.value(name, &format!("{{quantile=\"{quantile}\"}}"), value);
        }
        self.value(&format!("{name}_sum"), "", summary.sum);
        self.value(&format!("{name}_count"), "", summary.count as f64);
    }

    fn histogram(&mut self, name: &str, help: &str, summary: &Summary) {
        self.head(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for (bound, count) in LATENCY_BOUNDS.iter().zip(summary.at_most) {
            self.value(&bucket, &format!("{{le=\"{bound}\"}}"), count as f64);
        }
        self.value(&bucket, "{le=\"+Inf\"}", summary.count as f64);
        self.value(&format!("{name}_sum"), "", summary.sum);
        self.value(&format!("{name}_count"), "", summary.count as f64);
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{text}");
    }
}

/// Collects the measurements of an engine.
pub(crate) struct Recorder {
    totals: Metrics,
    queue: Quantiles,
    first_token: Quantiles,
    token_gap: Quantiles,
    step: Quantiles,
    request: Quantiles,
}

/// A step, measured.
pub(crate) struct StepTime {
    pub(crate) n_requests: usize,
    pub(crate) n_prompt: usize,
    /// Requests of which tokens were drafted.
    pub(crate) drafts: usize,
    /// The decode alone.
    pub(crate) decode: Duration,
    /// All of the step.
    pub(crate) whole: Duration,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        let [queue, first_token, token_gap, step, request] = [(); 5].map(|()| Quantiles::new());
        Self { totals: Metrics::default(), queue, first_token, token_gap, step, request }
    }

    pub(crate) fn submitted(&mut self) {
        self.totals.submitted += 1;
    }

    pub(crate) fn step(&mut self, time: &StepTime) {
        let totals = &mut self.totals;
        totals.steps += 1;
        totals.step_requests += time.n_requests as u64;
        totals.prompt_tokens += time.n_prompt as u64;
        totals.drafts += time.drafts as u64;
        let seconds = time.whole.as_secs_f64();
        if time.n_prompt > 0 {
            totals.prompt_seconds += seconds;
        } else {
            totals.decode_seconds += seconds;
        }
        totals.overhead_seconds += time.whole.saturating_sub(time.decode).as_secs_f64();
        self.step.add(time.whole);
    }

    pub(crate) fn token_gap(&mut self, gap: Duration) {
        self.token_gap.add(gap);
    }

    pub(crate) fn parked(&mut self) {
        self.totals.parked += 1;
    }

    /// A leftover moved to host memory, where all take `n_bytes` now.
    pub(crate) fn stowed(&mut self, n_bytes: usize) {
        self.totals.stowed += 1;
        self.totals.stored_bytes = n_bytes as u64;
    }

    /// A request ended, `whole` after its submission.
    pub(crate) fn ended(&mut self, finish: &Finish, whole: Duration) {
        let ended = &mut self.totals.ended;
        *match finish.reason {
            FinishReason::Stop => &mut ended.stop,
            FinishReason::Length => &mut ended.length,
            FinishReason::Cancelled => &mut ended.cancelled,
            FinishReason::Timeout => &mut ended.timeout,
            FinishReason::Error(_) => &mut ended.error,
        } += 1;
        self.totals.cached_tokens += finish.usage.cached_tokens as u64;
        self.totals.completion_tokens += finish.usage.completion_tokens as u64;
        self.totals.drafted_tokens += finish.usage.drafted_tokens as u64;
        self.totals.accepted_tokens += finish.usage.accepted_tokens as u64;
        self.request.add(whole);
        self.queue.add(finish.timings.queued);
        if let Some(first_token) = finish.timings.first_token {
            self.first_token.add(first_token);
        }
    }

    pub(crate) fn metrics(&self) -> Metrics {
        Metrics {
            queue: self.queue.summary(),
            first_token: self.first_token.summary(),
            token_gap: self.token_gap.summary(),
            step: self.step.summary(),
            request: self.request.summary(),
            ..self.totals.clone()
        }
    }
}

/// Durations, counted by size.
struct Quantiles {
    /// In microseconds; `None` if there is no memory for it.
    histogram: Option<Histogram<u64>>,
    sum: f64,
    /// How many are at most each of [`LATENCY_BOUNDS`].
    at_most: [u64; LATENCY_BOUNDS.len()],
}

impl Quantiles {
    fn new() -> Self {
        // An hour is the longest that is told apart; two digits.
        Self {
            histogram: Histogram::new_with_bounds(1, 3_600_000_000, 2).ok(),
            sum: 0.0,
            at_most: <_>::default(),
        }
    }

    fn add(&mut self, duration: Duration) {
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).max(1));
        }
        self.sum += duration.as_secs_f64();
        for (bound, count) in LATENCY_BOUNDS.iter().zip(&mut self.at_most) {
            *count += u64::from(duration.as_secs_f64() <= *bound);
        }
    }

    fn summary(&self) -> Summary {
        let Some(histogram) = &self.histogram else { return Summary::default() };
        let seconds = |micros: u64| micros as f64 / 1e6;
        if histogram.is_empty() {
            return Summary::default();
        }
        let at = |quantile| seconds(histogram.value_at_quantile(quantile));
        Summary {
            count: histogram.len(),
            sum: self.sum,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: seconds(histogram.max()),
            at_most: self.at_most,
        }
    }
}

/// The times between a request's tokens.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    last: Option<Instant>,
    /// In microseconds, one for each token but the first.
    micros: Vec<u32>,
}

impl Gaps {
    /// Notes that `n_tokens` came now. Returns the time since the last ones, for each of them.
    pub(crate) fn note(&mut self, now: Instant, n_tokens: usize) -> Option<Duration> {
        if n_tokens == 0 {
            return None;
        }
        let last = self.last.replace(now)?;
        let gap = now.saturating_duration_since(last) / u32::try_from(n_tokens).unwrap_or(u32::MAX);
        let micros = u32::try_from(gap.as_micros()).unwrap_or(u32::MAX);
        self.micros.extend(std::iter::repeat_n(micros, n_tokens));
        Some(gap)
    }

    /// The gaps that a half, nine tenths and ninety-nine hundredths of all do not exceed; `None` without any.
    pub(crate) fn quantiles(mut self) -> Option<[Duration; 3]> {
        let n_gaps = self.micros.len();
        if n_gaps == 0 {
            return None;
        }
        self.micros.sort_unstable();
        let at = |part: f64| {
            let index = ((part * n_gaps as f64).ceil() as usize).clamp(1, n_gaps) - 1;
            Duration::from_micros(u64::from(self.micros[index]))
        };
        Some([at(0.5), at(0.9), at(0.99)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_gaps_are_those_of_the_sorted_list() {
        let mut gaps = Gaps::default();
        let mut now = Instant::now();
        assert_eq!(gaps.note(now, 3), None);
        for i in 1..=100 {
            now += Duration::from_millis(i);
            assert_eq!(gaps.note(now, 1), Some(Duration::from_millis(i)));
        }
        assert_eq!(gaps.note(now, 0), None);
        let quantiles = gaps.quantiles().unwrap();
        assert_eq!(quantiles.map(|gap| gap.as_millis()), [50, 90, 99]);
        assert_eq!(Gaps::default().quantiles(), None);
    }

    #[test]
    fn prometheus_text_has_a_type_for_every_value() {
        let mut recorder = Recorder::new();
        recorder.submitted();
        let time = |n_prompt| StepTime {
            drafts: 0,
            n_requests: 3,
            n_prompt,
            decode: Duration::from_millis(9),
            whole: Duration::from_millis(10),
        };
        recorder.step(&time(0));
        recorder.step(&time(5));
        recorder.token_gap(Duration::from_millis(10));
        recorder.token_gap(Duration::from_millis(11));
        let metrics = recorder.metrics();
        assert_eq!((metrics.steps, metrics.step_requests, metrics.prompt_tokens), (2, 6, 5));
        assert!((metrics.decode_seconds - 0.01).abs() < 1e-9 && (metrics.prompt_seconds - 0.01).abs() < 1e-9);
        assert!((metrics.overhead_seconds - 0.002).abs() < 1e-9);
        assert!((metrics.step.p99 - 0.01).abs() < 1e-4, "{}", metrics.step.p99);
        let text = metrics.prometheus(&EngineStats::default());
        assert!(text.contains("\ntabagent_step_requests_total 6\n"), "{text}");
        assert!(text.contains("\ntabagent_step_seconds_count 2\n"), "{text}");
        for (bound, count) in [("0.005", 0), ("0.01", 1), ("0.025", 2), ("300", 2), ("+Inf", 2)] {
            let line = format!("\ntabagent_inter_token_latency_seconds_bucket{{le=\"{bound}\"}} {count}\n");
            assert!(text.contains(&line), "{text}");
        }
        let typed: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split([' ', '{']).next().unwrap();
            let name =
                ["_sum", "_count", "_bucket"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(typed.contains(&name), "{line}");
            assert!(line.split(' ').next_back().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
}
