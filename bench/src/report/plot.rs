//! Plots as SVG, legible in light and in dark.

use std::fmt::Write;

use super::{compared, peers, spread};
use crate::results::WorkResult;
use crate::statistics::Spread;
use crate::works::{Kind, Work};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 450.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 22.0;

const STYLE: &str = "<style>\
    text{font:12px system-ui,sans-serif;fill:#222}.title{font-weight:600}.faint{fill:#666}.line{stroke:#999;stroke-width:1}\
    .bar{fill:#9aa4b2}.own{fill:#1769aa}.mark{stroke:#c2410c;stroke-width:2}.whisker{stroke:#222;stroke-width:1.2}\
    @media(prefers-color-scheme:dark){text{fill:#e6e6e6}.faint{fill:#a0a0a0}.line{stroke:#666}\
    .bar{fill:#667085}.own{fill:#5aa9e6}.whisker{stroke:#e6e6e6}.mark{stroke:#fb923c}}</style>";

fn picture(height: f64, title: &str, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\
         {STYLE}<text x=\"8\" y=\"20\" class=\"title\">{title}</text>\n{body}</svg>\n"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn label(body: &mut String, y: f64, class: &str, text: &str) {
    let _ = writeln!(
        body,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" class=\"{class}\">{}</text>",
        LEFT - 8.0,
        y + 14.0,
        escaped(text)
    );
}

/// A bar from the left with a whisker from least to most; `scale` is pixels for each unit.
fn bar(body: &mut String, y: f64, class: &str, value: Spread, scale: f64, digits: usize) {
    let (from, to, middle) = (LEFT + value.min * scale, LEFT + value.max * scale, y + 9.0);
    let _ = writeln!(
        body,
        "<rect x=\"{LEFT}\" y=\"{}\" width=\"{:.1}\" height=\"14\" class=\"{class}\"/>\
         <line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle}\" y2=\"{middle}\" class=\"whisker\"/>\
         <text x=\"{:.1}\" y=\"{}\">{:.digits$}</text>",
        y + 2.0,
        value.median * scale,
        WIDTH - RIGHT + 14.0,
        y + 14.0,
        value.median,
    );
}

/// Our CPU over a peer's at saturation, as in the summary: less than 1 is better; a mark where the bar is.
pub(super) fn ratios(measured: &[(&Work, WorkResult)]) -> String {
    let mut rows: Vec<(String, Spread, Option<f64>)> = Vec::new();
    for (work, result) in measured {
        for (peer, bar) in compared(work) {
            let ratios = super::enough(super::ratios(result, peer, "saturation"));
            rows.extend(Spread::of(ratios).map(|spread| (format!("{} / {peer}", work.title), spread, bar)));
        }
    }
    let most = rows.iter().map(|(_, spread, _)| spread.max).fold(1.2, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let mut body = String::new();
    let mut y = 34.0;
    for (title, spread, mark) in &rows {
        label(&mut body, y, "", title);
        bar(&mut body, y, "own", *spread, scale, 2);
        if let Some(mark) = mark {
            let x = LEFT + mark * scale;
            let _ = writeln!(
                body,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{y}\" y2=\"{}\" class=\"mark\"/>",
                y + 18.0
            );
        }
        y += ROW;
    }
    let one = LEFT + scale;
    let _ = writeln!(
        body,
        "<line x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"30\" y2=\"{y}\" class=\"line\"/>\
         <text x=\"{one:.1}\" y=\"{}\" text-anchor=\"middle\" class=\"faint\">the peer = 1</text>",
        y + 14.0
    );
    let title =
        "CPU for each request: ours over the peer's, saturated (orange: must reach; line: least to most)";
    picture(y + 22.0, title, &body)
}

/// CPU for each request at saturation, each work in its own scale.
pub(super) fn cpu(measured: &[(&Work, WorkResult)]) -> String {
    let mut body = String::new();
    let mut y = 34.0;
    for (work, result) in
        measured.iter().filter(|(work, _)| matches!(work.kind, Kind::Requests | Kind::Downloads))
    {
        let rows: Vec<(&str, Spread)> = peers(result)
            .filter_map(|(peer, rounds)| Some((peer, spread(rounds, "saturation", |phase| phase.cpu_us)?)))
            .collect();
        let most = rows.iter().map(|(_, spread)| spread.max).fold(0.001, f64::max);
        let scale = (WIDTH - LEFT - RIGHT) / most;
        let _ =
            writeln!(body, "<text x=\"8\" y=\"{}\" class=\"title\">{}</text>", y + 14.0, escaped(work.title));
        y += ROW;
        for (peer, spread) in rows {
            label(&mut body, y, "faint", peer);
            let class = if peer.starts_with("ringway") { "own" } else { "bar" };
            bar(&mut body, y, class, spread, scale, 2);
            y += ROW;
        }
        y += 6.0;
    }
    picture(y + 4.0, "CPU for each request, saturated, in microseconds", &body)
}
