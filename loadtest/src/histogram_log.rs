//! The HdrHistogram interval log, version 1.3 with V2 histograms: what HistogramLogAnalyzer and HistogramLogProcessor read.
//! Values are nanoseconds, times seconds, the largest value of an interval milliseconds, as they expect.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use crate::base64::base64;
use crate::plan::SharedPlan;
use crate::run::{Observer, Point};
use crate::tally::Tally;

/// Writes the log of a run, and passes everything on to who shows it.
pub(crate) struct HistogramLog<'a> {
    out: Option<BufWriter<File>>,
    inner: &'a mut dyn Observer,
    open_loop: bool,
    began: SystemTime,
    headed: bool,
}

impl<'a> HistogramLog<'a> {
    /// A log in the file at `path`, where one is wanted.
    pub(crate) fn new(path: Option<&Path>, inner: &'a mut dyn Observer) -> io::Result<Self> {
        let out = path.map(File::create).transpose()?.map(BufWriter::new);
        Ok(Self { out, inner, open_loop: false, began: UNIX_EPOCH, headed: false })
    }

    fn write(&mut self, tally: &Tally, point: &Point) -> io::Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        if !std::mem::replace(&mut self.headed, true) {
            let began = self.began.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
            writeln!(out, "#[Histogram log format version 1.3]")?;
            writeln!(out, "#[BaseTime: {began:.3} (seconds since epoch)]")?;
            writeln!(out, "#[StartTime: {began:.3} (seconds since epoch)]")?;
            let columns =
                "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"";
            writeln!(out, "{columns}")?;
        }
        line(out, "", &tally.corrected, point)?;
        if self.open_loop {
            line(out, "Tag=sent,", &tally.service, point)?;
        }
        out.flush()
    }
}

fn line(out: &mut impl Write, tag: &str, histogram: &Histogram<u64>, point: &Point) -> io::Result<()> {
    let mut encoded = Vec::new();
    V2DeflateSerializer::new().serialize(histogram, &mut encoded).map_err(io::Error::other)?;
    let max_ms = histogram.max() as f64 / 1e6;
    writeln!(out, "{tag}{:.3},{:.3},{max_ms:.3},{}", point.at_s, point.seconds, base64(&encoded))
}

impl Observer for HistogramLog<'_> {
    fn begins(&mut self, plan: &SharedPlan, at: SystemTime) {
        self.began = at;
        self.open_loop = plan.is_open();
        self.inner.begins(plan, at);
    }

    fn tick(&mut self, tally: &Tally, point: &Point, total: &Tally) -> io::Result<()> {
        self.write(tally, point)?;
        self.inner.tick(tally, point, total)
    }
}
