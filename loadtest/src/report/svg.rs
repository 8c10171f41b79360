//! Plots as SVG: axes, lines and stacked areas. Colours are CSS variables, so that one picture is good in light and dark.

use std::fmt::Write;

use crate::quantity::{show_count, show_ns};

/// Size of a drawing, about the pixels that the page gives it, so that its letters are as large as those around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Size {
    width: f64,
    height: f64,
}

/// As wide as the page.
pub(super) const WIDE: Size = Size { width: 1100.0, height: 340.0 };
/// Two beside each other.
pub(super) const HALF: Size = Size { width: 530.0, height: 270.0 };

/// Room around the plotting area.
const LEFT: f64 = 70.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;

/// How values become places on an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scale {
    /// Evenly from a value to another.
    Linear(f64, f64),
    /// By their logarithm; both values above 0.
    Log(f64, f64),
    /// Percentiles by the logarithm of what is left to 100: 0, 90, 99, 99.9 are evenly spaced. The value: how many nines.
    Nines(f64),
}

impl Scale {
    /// A linear scale from 0 that holds `most` and ends at a round value.
    pub(super) fn from_zero(most: f64) -> Self {
        let step = round_step(most.max(1e-9) / 4.0);
        Self::Linear(0.0, (most / step).ceil().max(1.0) * step)
    }

    /// A logarithmic scale of whole decades, or halves of one where the values lie close together.
    pub(super) fn decades(least: f64, most: f64) -> Self {
        let least = least.max(1.0);
        let (low, high) = (least.log10(), most.max(least * 1.01).log10());
        let grain = if high - low < 1.2 { 4.0 } else { 1.0 };
        let low = (low * grain).floor() / grain;
        let high = ((high * grain).ceil() / grain).max(low + 1.0 / grain);
        Self::Log(10f64.powf(low), 10f64.powf(high))
    }

    /// 0 to 1.
    fn place(self, value: f64) -> f64 {
        let place = match self {
            Self::Linear(from, to) => (value - from) / (to - from).max(f64::MIN_POSITIVE),
            Self::Log(from, to) => (value.max(from).log10() - from.log10()) / (to.log10() - from.log10()),
            Self::Nines(nines) => -(1.0 - value / 100.0).max(1e-12).log10() / nines,
        };
        place.clamp(0.0, 1.0)
    }

    fn ticks(self) -> Vec<f64> {
        match self {
            Self::Linear(from, to) => {
                let step = round_step((to - from) / 4.0);
                let count = ((to - from) / step).round() as usize;
                (0..=count)
                    .map(|tick| from + step * tick as f64)
                    .filter(|tick| *tick <= to * 1.0001)
                    .collect()
            }
            Self::Log(from, to) => log_ticks(from, to),
            Self::Nines(nines) => {
                (0..=nines.ceil() as i32).map(|nine| 100.0 - 100.0 * 10f64.powi(-nine)).collect()
            }
        }
    }
}

fn log_ticks(from: f64, to: f64) -> Vec<f64> {
    let decades = to.log10() - from.log10();
    let steps: &[f64] = if decades <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let first = from.log10().floor() as i32;
    let last = to.log10().ceil() as i32;
    let all = (first..=last).flat_map(|decade| steps.iter().map(move |step| step * 10f64.powi(decade)));
    all.filter(|tick| *tick >= from * 0.999 && *tick <= to * 1.001).collect()
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let found =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= least * 0.999);
    found.unwrap_or(power * 10.0)
}

/// What the numbers of an axis are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Unit {
    /// Nanoseconds.
    Ns,
    /// Seconds of the run.
    Seconds,
    /// Percentiles.
    Percentile,
    /// Numbers per second.
    PerSecond,
}

impl Unit {
    pub(super) fn show(self, value: f64) -> String {
        match self {
            Self::Ns => show_ns(value.round() as u64).replace(".00 ", " ").replace(".0 ", " "),
            Self::Seconds => format!("{} s", trimmed(value, 1)),
            Self::Percentile => trimmed(value, 5),
            Self::PerSecond if value >= 1e6 => format!("{} M", trimmed(value / 1e6, 2)),
            Self::PerSecond if value >= 10_000.0 => format!("{} k", trimmed(value / 1e3, 1)),
            Self::PerSecond if value >= 100.0 => show_count(value.round() as u64),
            Self::PerSecond => trimmed(value, 2),
        }
    }
}

/// A number without zeros at its end.
fn trimmed(value: f64, places: usize) -> String {
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// An axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axis {
    pub(super) scale: Scale,
    pub(super) unit: Unit,
    pub(super) title: &'static str,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// A line.
    Line,
    /// A dashed line.
    Dashed,
    /// An area between it and the series before it, which it lies on.
    Stacked,
}

/// One series: its name, its class (a colour of the page), how it looks, its points.
#[derive(Debug, Clone)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) class: String,
    pub(super) look: Look,
    pub(super) points: Vec<(f64, f64)>,
}

/// Draws a plot with its legend.
pub(super) fn plot(title: &str, size: Size, x: Axis, y: Axis, series: &[Series]) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = draw(&mut out, title, &Frame { size, x, y }, series);
    out
}

/// A plotting area: values to places.
struct Frame {
    size: Size,
    x: Axis,
    y: Axis,
}

impl Frame {
    fn right(&self) -> f64 {
        self.size.width - RIGHT
    }

    fn bottom(&self) -> f64 {
        self.size.height - BOTTOM
    }

    fn place_x(&self, value: f64) -> f64 {
        LEFT + self.x.scale.place(value) * (self.right() - LEFT)
    }

    fn place_y(&self, value: f64) -> f64 {
        self.bottom() - self.y.scale.place(value) * (self.bottom() - TOP)
    }
}

fn draw(out: &mut String, title: &str, frame: &Frame, series: &[Series]) -> std::fmt::Result {
    write!(out, "<figure><figcaption>{}<span class=\"legend\">", escape(title))?;
    for one in series {
        let dash = if one.look == Look::Dashed { " dash" } else { "" };
        write!(out, "<span class=\"key {}{dash}\"><i></i>{}</span>", one.class, escape(&one.name))?;
    }
    writeln!(out, "</span></figcaption>")?;
    let Size { width, height } = frame.size;
    writeln!(out, "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\">", escape(title))?;
    axes(out, frame)?;
    let mut below: Vec<(f64, f64)> = Vec::new();
    for one in series {
        let places: Vec<(f64, f64)> =
            one.points.iter().map(|(at, value)| (frame.place_x(*at), frame.place_y(*value))).collect();
        if one.look == Look::Stacked {
            area(out, one, &places, &below, frame.bottom())?;
            below = places;
        } else {
            line(out, one, &places)?;
        }
        marks(out, one, frame)?;
    }
    writeln!(out, "</svg></figure>")
}

fn axes(out: &mut String, frame: &Frame) -> std::fmt::Result {
    let (right, bottom) = (frame.right(), frame.bottom());
    for tick in frame.y.scale.ticks() {
        let at = frame.place_y(tick);
        writeln!(out, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>")?;
        let (text, x, y) = (frame.y.unit.show(tick), LEFT - 8.0, at + 4.0);
        writeln!(out, "<text class=\"tick\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{text}</text>")?;
    }
    for tick in frame.x.scale.ticks() {
        let at = frame.place_x(tick);
        writeln!(out, "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>")?;
        let anchor = if at > right - 16.0 { "end" } else { "middle" };
        let (text, y) = (frame.x.unit.show(tick), bottom + 17.0);
        writeln!(
            out,
            "<text class=\"tick\" x=\"{at:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        )?;
    }
    writeln!(out, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>")?;
    let (middle, low) = ((LEFT + right) / 2.0, frame.size.height - 5.0);
    let title = frame.x.title;
    writeln!(out, "<text class=\"title\" x=\"{middle}\" y=\"{low}\" text-anchor=\"middle\">{title}</text>")?;
    let (height, title) = ((TOP + bottom) / 2.0, frame.y.title);
    let turned = format!("transform=\"rotate(-90 12 {height})\"");
    writeln!(
        out,
        "<text class=\"title\" x=\"12\" y=\"{height}\" text-anchor=\"middle\" {turned}>{title}</text>"
    )
}

fn path(places: &[(f64, f64)], first: char) -> String {
    let mut path = String::new();
    for (index, (x, y)) in places.iter().enumerate() {
        let _ = write!(path, "{}{x:.1} {y:.1}", if index == 0 { first } else { 'L' });
    }
    path
}

fn line(out: &mut String, series: &Series, places: &[(f64, f64)]) -> std::fmt::Result {
    let dash = if series.look == Look::Dashed { " dash" } else { "" };
    writeln!(out, "<path class=\"line {}{dash}\" d=\"{}\"/>", series.class, path(places, 'M'))
}

/// An area down to the one before it, or to the floor.
fn area(
    out: &mut String,
    series: &Series,
    places: &[(f64, f64)],
    below: &[(f64, f64)],
    floor: f64,
) -> std::fmt::Result {
    let base: Vec<(f64, f64)> = if below.is_empty() {
        places.iter().rev().map(|(x, _)| (*x, floor)).collect()
    } else {
        below.iter().rev().copied().collect()
    };
    writeln!(out, "<path class=\"area {}\" d=\"{}{}Z\"/>", series.class, path(places, 'M'), path(&base, 'L'))
}

/// Invisible marks that tell their value when the pointer is over them; few enough to be found. Those of a stack would tell
/// sums.
fn marks(out: &mut String, series: &Series, frame: &Frame) -> std::fmt::Result {
    if series.look == Look::Stacked {
        return Ok(());
    }
    let every = series.points.len().div_ceil(120).max(1);
    for (at, value) in series.points.iter().step_by(every) {
        let (x, y) = (frame.place_x(*at), frame.place_y(*value));
        let told = format!("{}: {} at {}", series.name, frame.y.unit.show(*value), frame.x.unit.show(*at));
        let (class, told) = (&series.class, escape(&told));
        writeln!(
            out,
            "<circle class=\"mark {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{told}</title></circle>"
        )?;
    }
    Ok(())
}

/// Text that may stand in HTML and in attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::{Scale, Unit, escape};

    #[test]
    fn scales_put_values_where_they_belong() {
        assert!((Scale::Nines(4.0).place(99.0) - 0.5).abs() < 1e-9);
        assert!((Scale::Nines(4.0).place(99.99) - 1.0).abs() < 1e-9);
        assert!((Scale::Log(1e3, 1e7).place(1e5) - 0.5).abs() < 1e-9);
        assert_eq!(Scale::from_zero(37.0), Scale::Linear(0.0, 40.0));
        assert_eq!(Scale::Linear(0.0, 40.0).place(50.0), 1.0, "nothing is drawn outside");
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(Scale::from_zero(37.0).ticks(), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(Scale::decades(30_000.0, 9e6).ticks().len(), 4);
        for (least, most) in [(1.0, 1.0), (1e5, 1.1e5), (1e3, 1e10), (0.0, 0.0)] {
            let count = Scale::decades(least, most).ticks().len();
            assert!((1..=12).contains(&count), "{least} {most}: {count}");
        }
        let nines: Vec<String> =
            Scale::Nines(4.0).ticks().into_iter().map(|tick| Unit::Percentile.show(tick)).collect();
        assert_eq!(nines, ["0", "90", "99", "99.9", "99.99"]);
    }

    #[test]
    fn names_cannot_break_out_of_the_page() {
        assert_eq!(escape("<b a=\"'\">&"), "&lt;b a=&quot;&#39;&quot;&gt;&amp;");
    }
}
