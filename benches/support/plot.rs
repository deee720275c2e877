//! Plots as SVG, readable on light and on dark pages.

use std::fmt::Write;
use std::path::Path;

use super::table::{plain, short};

#[derive(Clone, Copy, PartialEq)]
pub enum Whose {
    Ours,
    Floor,
    Peer,
}

impl Whose {
    fn class(self) -> &'static str {
        match self {
            Whose::Ours => "ours",
            Whose::Floor => "floor",
            Whose::Peer => "peer",
        }
    }
}

/// Writes the plot into `docs/`.
pub fn write(name: &str, svg: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    std::fs::write(&path, svg).expect("docs is there");
    println!("(written: {})\n", path.display());
}

const WIDTH: f64 = 760.0;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}\
.title{font-size:15px;font-weight:600}.small{font-size:11px;fill:#59636e}\
.grid{stroke:#d1d9e0;stroke-width:1}\
rect.ours,circle.ours{fill:#0969da}rect.floor,circle.floor{fill:#8c959f}\
rect.peer,circle.peer{fill:#bc4c00}\
polyline{fill:none;stroke-width:2}polyline.ours{stroke:#0969da}\
polyline.floor{stroke:#8c959f}polyline.peer{stroke:#bc4c00}\
.second{stroke-dasharray:6 4}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}\
.grid{stroke:#3d444d}rect.ours,circle.ours{fill:#4493f8}rect.floor,circle.floor{fill:#6e7681}\
rect.peer,circle.peer{fill:#db6d28}polyline.ours{stroke:#4493f8}\
polyline.floor{stroke:#6e7681}polyline.peer{stroke:#db6d28}}";

fn begin(height: f64, title: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-label=\"{0}\">\n<style>{STYLE}</style>\n\
         <text class=\"title\" x=\"12\" y=\"22\">{0}</text>\n",
        escaped(title)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// From the power of ten below the least to the one above the most.
struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Scale {
    fn new(figures: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Scale {
        let least = figures.clone().fold(f64::INFINITY, f64::min);
        let most = figures.fold(f64::MIN_POSITIVE, f64::max);
        let low = least.log10().floor();
        let high = most.log10().ceil().max(low + 1.0);
        Scale {
            low,
            high,
            from,
            to,
        }
    }

    /// From the least to the most.
    fn tight(figures: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Scale {
        let least = figures.clone().fold(f64::INFINITY, f64::min);
        let most = figures.fold(f64::MIN_POSITIVE, f64::max);
        let low = least.log10();
        let high = most.log10().max(low + 0.1);
        Scale {
            low,
            high,
            from,
            to,
        }
    }

    fn place(&self, figure: f64) -> f64 {
        let share = (figure.log10() - self.low) / (self.high - self.low);
        self.from + share * (self.to - self.from)
    }

    fn marks(&self) -> impl Iterator<Item = f64> {
        (self.low as i32..=self.high as i32).map(|power| 10f64.powi(power))
    }
}

/// A bar for each figure, on a logarithmic scale: shorter is faster.
pub fn bars(title: &str, unit: &str, bars: &[(String, f64, Whose)]) -> String {
    let (top, step, left) = (42.0, 24.0, 330.0);
    let height = top + step * bars.len() as f64 + 26.0;
    let mut svg = begin(height, title);
    let figures = bars.iter().map(|bar| bar.1);
    let scale = Scale::new(figures, left, WIDTH - 70.0);
    for mark in scale.marks() {
        let (x, end) = (scale.place(mark), height - 22.0);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{x:.0}\" y1=\"{top}\" x2=\"{x:.0}\" y2=\"{end}\"/>\
             <text class=\"small\" x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{} {unit}</text>",
            height - 8.0,
            short(mark)
        ); // a String takes everything
    }
    for (index, (what, figure, whose)) in bars.iter().enumerate() {
        let y = top + step * index as f64;
        let end = scale.place(*figure);
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{}\" x=\"{left}\" y=\"{:.0}\" width=\"{:.1}\" height=\"15\"/>\
             <text class=\"small\" x=\"{:.1}\" y=\"{:.0}\">{}</text>",
            left - 8.0,
            y + 16.0,
            escaped(&what.replace('`', "")),
            whose.class(),
            y + 4.0,
            (end - left).max(1.0),
            end.max(left) + 6.0,
            y + 16.0,
            plain(*figure)
        );
    }
    svg + "</svg>\n"
}

/// One line of a plot; a second one of the same kind is dashed.
pub struct Line {
    pub what: String,
    pub whose: Whose,
    pub dashed: bool,
    pub points: Vec<(f64, f64)>,
}

/// Lines on two logarithmic scales.
pub fn lines(title: &str, x_axis: &str, y_axis: &str, lines: &[Line]) -> String {
    let (top, bottom, left, right) = (52.0, 300.0, 80.0, 520.0);
    let mut svg = begin(bottom + 46.0, title);
    let points = lines.iter().flat_map(|line| line.points.iter().copied());
    let across = Scale::tight(points.clone().map(|point| point.0), left, right);
    let up = Scale::new(points.clone().map(|point| point.1), bottom, top);
    for mark in up.marks() {
        let y = up.place(mark);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{left}\" y1=\"{y:.0}\" x2=\"{right}\" y2=\"{y:.0}\"/>\
             <text class=\"small\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            y + 4.0,
            short(mark)
        );
    }
    let mut marks: Vec<f64> = points.map(|point| point.0).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    for mark in marks {
        let x = across.place(mark);
        let _ = writeln!(
            svg,
            "<text class=\"small\" x=\"{x:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
            bottom + 18.0,
            short(mark)
        );
    }
    let _ = writeln!(
        svg,
        "<text class=\"small\" x=\"{left}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>\
         <text class=\"small\" x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"middle\">{}</text>",
        top - 12.0,
        escaped(y_axis),
        (left + right) / 2.0,
        bottom + 36.0,
        escaped(x_axis)
    );
    // The names beside the ends, apart from each other.
    let mut names: Vec<(f64, &Line)> = lines
        .iter()
        .filter_map(|line| Some((up.place(line.points.last()?.1), line)))
        .collect();
    names.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut free = f64::MIN;
    for (y, line) in names {
        let places: Vec<(f64, f64)> = line
            .points
            .iter()
            .map(|&(x, y)| (across.place(x), up.place(y)))
            .collect();
        let path: Vec<String> = places
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        let class = line.whose.class();
        let second = if line.dashed { " second" } else { "" };
        let _ = writeln!(
            svg,
            "<polyline class=\"{class}{second}\" points=\"{}\"/>",
            path.join(" ")
        );
        for (x, y) in &places {
            let _ = write!(
                svg,
                "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>"
            );
        }
        let name = y.max(free + 17.0);
        free = name;
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.0}\">{}</text>",
            places.last().map_or(right, |place| place.0) + 10.0,
            name + 4.0,
            escaped(&line.what)
        );
    }
    svg + "</svg>\n"
}
