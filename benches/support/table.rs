//! Tables in Markdown, and how figures are written.

/// Printed when it is dropped, so that its columns are as wide as they have to be.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: &str, head: &[&str]) -> Table {
        println!("{title}\n");
        Table {
            rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()],
        }
    }

    pub fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.rows
            .push(cells.iter().map(|&cell| cell.to_owned()).collect());
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let columns = self.rows[0].len();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (number, row) in self.rows.iter().enumerate() {
            let cells = row.iter().zip(&widths);
            let cells = cells.map(|(cell, width)| format!(" {cell:width$} |"));
            println!("|{}", cells.collect::<String>());
            if number == 0 {
                let rule = widths
                    .iter()
                    .map(|width| format!("{}|", "-".repeat(width + 2)));
                println!("|{}", rule.collect::<String>());
            }
        }
        println!();
    }
}

/// What a figure should be. It is said when it is not, and nothing fails.
#[derive(Clone, Copy)]
pub enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    pub fn holds(self, figure: f64) -> bool {
        match self {
            Bound::AtMost(most) => figure <= most,
            Bound::AtLeast(least) => figure >= least,
        }
    }

    /// The bound, and `over` (or `under`) when the figure breaks it.
    pub fn judge(self, figure: f64) -> String {
        let (bound, word) = match self {
            Bound::AtMost(most) => (format!("≤ {}", short(most)), "over"),
            Bound::AtLeast(least) => (format!("≥ {}", short(least)), "under"),
        };
        match self.holds(figure) {
            true => bound,
            false => format!("{bound}: **{word}**"),
        }
    }
}

/// Three figures that count, thousands set off; whole numbers whole.
pub fn plain(figure: f64) -> String {
    let digits = match figure.abs() {
        x if !x.is_finite() => return "-".into(),
        x if x >= 99.95 || x.fract() == 0.0 => 0,
        x if x >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{figure:.digits$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let mut out = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) && digit.is_ascii_digit() {
            out.push(',');
        }
        out.push(digit);
    }
    match rest {
        "" => out,
        _ => format!("{out}.{rest}"),
    }
}

/// The same without zeros at its end.
pub fn short(figure: f64) -> String {
    let text = plain(figure);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

pub fn us(seconds: f64) -> String {
    plain(seconds * 1e6)
}

pub fn ms(seconds: f64) -> String {
    plain(seconds * 1e3)
}

pub fn times(ratio: f64) -> String {
    match ratio.is_finite() {
        true => format!("{ratio:.2}"),
        false => "-".into(),
    }
}
