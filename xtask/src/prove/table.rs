//! The table: promised beside measured.

use super::verdict::Judged;

const HEADINGS: [&str; 5] = ["bound", "promised", "measured", "verdict", "promised in"];

/// The judged bounds as aligned text, followed by the reasons of what is missing.
pub(crate) fn render(judged: &[Judged]) -> String {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(judged.iter().map(row));
    let mut widths = [0; HEADINGS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    for one in judged {
        if let Some(why) = &one.missing {
            text.push_str(&format!("{}: {why}\n", one.bound.name));
        }
    }
    text.push_str(
        "measured: the median of the runs, and the interval that holds the true one with 95 %",
    );
    text
}

fn row(one: &Judged) -> [String; HEADINGS.len()] {
    let measured = one.measured.map_or_else(
        || "-".to_owned(),
        |m| format!("{:.3} [{:.3}, {:.3}] of {}", m.median, m.low, m.high, m.runs),
    );
    [
        one.bound.name.to_owned(),
        one.bound.promise(),
        measured,
        one.verdict.as_str().to_owned(),
        one.bound.promised_in.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::bounds::BOUNDS;
    use super::super::measure::Samples;
    use super::*;

    #[test]
    fn promised_stands_beside_measured() {
        let judged = [
            Judged::new(BOUNDS[0], Samples { numbers: vec![1.5; 6], missing: None }),
            Judged::new(
                BOUNDS[1],
                Samples { numbers: Vec::new(), missing: Some("no such command".to_owned()) },
            ),
        ];
        let text = render(&judged);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[..4],
            [
                "bound               promised  measured                   verdict       promised in",
                "proxy_overhead_p50  ≤ 2.00    1.500 [1.500, 1.500] of 6  pass          docs/architecture.md",
                "query_list_p50      ≤ 1.25    -                          not measured  docs/architecture.md",
                "query_list_p50: no such command",
            ]
        );
    }
}
