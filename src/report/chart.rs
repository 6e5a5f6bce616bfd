//! Charts as SVG, drawn by `plotters`, put into the page as they are.
//!
//! Colours are written as the light theme's; the page's style sheet finds them by value and puts
//! the theme's own in their place. No chart is drawn of nothing.

use plotters::coord::combinators::WithKeyPoints;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::model::{Percentiles, ResourceReport};
use super::series::VerdictSeries;
use super::text;

/// A chart that cannot be drawn.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ChartError(String);

impl<E: std::error::Error + Send + Sync> From<DrawingAreaErrorKind<E>> for ChartError {
    fn from(error: DrawingAreaErrorKind<E>) -> Self {
        Self(error.to_string())
    }
}

const INK: RGBColor = RGBColor(0x1b, 0x21, 0x2c);
const MUTED: RGBColor = RGBColor(0x5d, 0x66, 0x75);
const GRID: RGBColor = RGBColor(0xe3, 0xe6, 0xec);
const LEGACY: RGBColor = RGBColor(0xc2, 0x6a, 0x0a);
const SYNC: RGBColor = RGBColor(0x25, 0x5f, 0xd6);
const AGREED: RGBColor = RGBColor(0x1d, 0x93, 0x6c);
const LAG: RGBColor = RGBColor(0x8c, 0xcf, 0xb4);
const DISAGREED: RGBColor = RGBColor(0xc9, 0x2a, 0x4b);
const UNDECIDED: RGBColor = RGBColor(0xb6, 0xbd, 0xc9);

/// About the width at which the page shows it, so that texts keep their size.
const WIDTH: u32 = 520;
const FONT: &str = "system-ui, sans-serif";

fn label<'a>(size: i32, color: &'a RGBColor, h: HPos, v: VPos) -> TextStyle<'a> {
    (FONT, size).into_font().color(color).pos(Pos::new(h, v))
}

/// Latencies of both paths, a pair of lines for each route: a line from p50 to p99, a dot at p50,
/// ticks at p95 and p99, on a logarithmic scale. None if nothing was measured.
pub(super) fn latencies(resource: &ResourceReport) -> Result<Option<String>, ChartError> {
    let rows: Vec<Row<'_>> = resource.routes.iter().filter_map(Row::of).collect();
    let measured = || rows.iter().flat_map(|row| row.lanes()).filter_map(|(_, found)| found);
    let low = measured().map(|found| found.p50_ms).fold(f64::INFINITY, f64::min);
    let high = measured().map(|found| found.p99_ms).fold(0.0, f64::max);
    if rows.is_empty() || !low.is_finite() {
        return Ok(None);
    }
    let ticks = ticks(low, high);
    let (from, to) = (ticks[0], ticks[ticks.len() - 1]);
    let count = u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let mut svg = String::new();
    {
        let size = (WIDTH, 36 + 64 * count.min(200));
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(6)
            .margin_left(16)
            .margin_right(110)
            .x_label_area_size(22)
            .build_cartesian_2d(
                (from..to).log_scale().with_key_points(ticks),
                f64::from(count)..0.0,
            )?;
        let tick = |ms: &f64| {
            if *ms >= 1_000.0 { format!("{} s", ms / 1_000.0) } else { format!("{ms} ms") }
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_label_formatter(&tick)
            .x_label_style(label(12, &MUTED, HPos::Center, VPos::Top))
            .draw()?;
        for (at, row) in (0_u32..count).zip(&rows) {
            let top = f64::from(at);
            let title = Text::new(row.title(), (4, 0), label(13, &INK, HPos::Left, VPos::Center));
            chart.draw_series([EmptyElement::at((from, top + 0.2)) + title])?;
            for (y, found) in [top + 0.5, top + 0.76].into_iter().zip(row.lanes()) {
                match found {
                    (color, Some(found)) => draw_lane(&mut chart, y, color, &found)?,
                    (color, None) => draw_absence(&mut chart, (from, y), color)?,
                }
            }
        }
        area.present()?;
    }
    Ok(Some(svg))
}

type Lanes<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<LogTicks, RangedCoordf64>>;
type LogTicks = WithKeyPoints<LogCoord<f64>>;

fn draw_lane(
    chart: &mut Lanes<'_, '_>,
    y: f64,
    color: RGBColor,
    found: &Percentiles,
) -> Result<(), ChartError> {
    let (p50, p95, p99) = (found.p50_ms, found.p95_ms, found.p99_ms);
    let line = color.stroke_width(3);
    chart.draw_series([PathElement::new(vec![(p50, y), (p99, y)], line)])?;
    let tick = |at| EmptyElement::at((at, y)) + PathElement::new(vec![(0, -5), (0, 5)], line);
    chart.draw_series([p95, p99].map(tick))?;
    chart.draw_series([Circle::new((p50, y), 5, color.filled())])?;
    let name = format!("{} · {}", text::ms(p50), text::ms(p99));
    let name = Text::new(name, (9, 0), label(12, &MUTED, HPos::Left, VPos::Center));
    chart.draw_series([EmptyElement::at((p99, y)) + name])?;
    Ok(())
}

fn draw_absence(
    chart: &mut Lanes<'_, '_>,
    at: (f64, f64),
    color: RGBColor,
) -> Result<(), ChartError> {
    let path = if color == LEGACY { "legacy" } else { "sync" };
    let name = format!("{path} {}", text::NOT_MEASURED);
    let name = Text::new(name, (4, 0), label(12, &MUTED, HPos::Left, VPos::Center));
    chart.draw_series([EmptyElement::at(at) + name])?;
    Ok(())
}

/// One route's latencies, side by side if there are any, else as answered.
struct Row<'a> {
    route: &'a str,
    side_by_side: bool,
    legacy: Option<Percentiles>,
    sync: Option<Percentiles>,
}

impl<'a> Row<'a> {
    fn of(route: &'a super::RouteReport) -> Option<Self> {
        let table = &route.latency;
        let (paired, answered) = (
            (table.paired_legacy, table.paired_sync),
            (table.answered_legacy, table.answered_sync),
        );
        let side_by_side = paired.0.is_some() && paired.1.is_some();
        let (legacy, sync) = if side_by_side { paired } else { answered };
        (legacy.is_some() || sync.is_some()).then_some(Self {
            route: &route.route,
            side_by_side,
            legacy,
            sync,
        })
    }

    fn title(&self) -> String {
        let how = if self.side_by_side { "side by side" } else { "as answered" };
        let count = self.legacy.or(self.sync).map_or(0, |found| found.count);
        match (self.legacy, self.sync) {
            (Some(legacy), Some(sync)) if legacy.count != sync.count => format!(
                "{} · {how}, n = {} legacy, {} sync",
                self.route,
                text::count(legacy.count),
                text::count(sync.count)
            ),
            _ => format!("{} · {how}, n = {}", self.route, text::count(count)),
        }
    }

    fn lanes(&self) -> [(RGBColor, Option<Percentiles>); 2] {
        [(LEGACY, self.legacy), (SYNC, self.sync)]
    }
}

/// 1, 2, 5 times powers of ten around a range, in milliseconds; powers alone for a wide range.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let wide = high / low.max(1e-3) > 1_000.0;
    let steps: &[f64] = if wide { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let all: Vec<f64> = (-3..=7)
        .flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)))
        .map(|tick| (tick * 1e6).round() / 1e6)
        .collect();
    let start = all.iter().rposition(|tick| *tick <= low).unwrap_or(0);
    let end = all.iter().position(|tick| *tick >= high).unwrap_or(all.len() - 1).max(start + 1);
    all[start..=end.min(all.len() - 1)].to_vec()
}

/// Verdicts over time, stacked. None if no step holds any.
pub(super) fn verdicts(series: &VerdictSeries) -> Result<Option<String>, ChartError> {
    let highest = series.buckets.iter().map(super::Bucket::total).max().unwrap_or(0);
    if highest == 0 {
        return Ok(None);
    }
    let height = 260;
    let steps = i32::try_from(series.buckets.len()).unwrap_or(i32::MAX);
    #[expect(clippy::cast_precision_loss, reason = "counts of a chart")]
    let highest = highest as f64;
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin_top(10)
            .margin_right(6)
            .x_label_area_size(24)
            .y_label_area_size(48)
            // A short run gets slim bars, not one that fills the chart.
            .build_cartesian_2d(0.0..f64::from(steps.max(6)), 0.0..highest * 1.06)?;
        let name = |at: &f64| {
            // A label only where a step begins.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 0 and the number of steps"
            )]
            let index = at.round() as usize;
            let whole = (at - at.round()).abs() < 1e-6;
            let bucket = series.buckets.get(index).filter(|_| whole);
            bucket.map_or_else(String::new, |bucket| time_label(&bucket.at, series.step_s))
        };
        let number = |value: &f64| {
            let whole = (value - value.round()).abs() < 1e-6;
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let number = text::count(value.round() as u64);
            if whole { number } else { String::new() }
        };
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_labels(8)
            .y_labels(4)
            .x_label_formatter(&name)
            .y_label_formatter(&number)
            .x_label_style(label(12, &MUTED, HPos::Center, VPos::Top))
            .y_label_style(label(12, &MUTED, HPos::Right, VPos::Center))
            .draw()?;
        chart.draw_series(bars(series))?;
        area.present()?;
    }
    Ok(Some(svg))
}

fn bars(series: &VerdictSeries) -> Vec<Rectangle<(f64, f64)>> {
    let mut bars = Vec::new();
    for (at, bucket) in (0_u32..).zip(&series.buckets) {
        let mut base = 0.0;
        for (part, color) in [
            (bucket.agreed, AGREED),
            (bucket.lag, LAG),
            (bucket.disagreed, DISAGREED),
            (bucket.undecided, UNDECIDED),
        ] {
            #[expect(clippy::cast_precision_loss, reason = "counts of a chart")]
            let part = part as f64;
            if part > 0.0 {
                let x = f64::from(at);
                let corners = [(x + 0.08, base), (x + 0.92, base + part)];
                bars.push(Rectangle::new(corners, color.filled()));
                base += part;
            }
        }
    }
    bars
}

/// Clock time; the date where steps are hours or days; no seconds where all are zero.
fn time_label(at: &str, step_s: u64) -> String {
    let moment = text::moment(at);
    match step_s {
        86_400.. => moment.split(' ').next().unwrap_or_default().to_owned(),
        3_600.. => moment.get(5..16).unwrap_or_default().to_owned(),
        60.. => moment.get(11..16).unwrap_or_default().to_owned(),
        _ => text::clock(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Bucket;

    #[test]
    fn nothing_measured_draws_nothing() {
        let buckets = vec![Bucket::default(); 3];
        assert!(verdicts(&VerdictSeries { step_s: 60, buckets }).unwrap().is_none());
        let mut report = crate::report::fixture::report();
        let resource = &mut report.resources[0];
        resource.routes.iter_mut().for_each(|route| route.latency = Default::default());
        assert!(latencies(resource).unwrap().is_none());
    }

    #[test]
    fn ticks_hold_the_range() {
        assert_eq!(ticks(1.2, 9.0), [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(ticks(0.5, 5_000.0), [0.1, 1.0, 10.0, 100.0, 1_000.0, 10_000.0]);
        assert_eq!(ticks(3.0, 3.0), [2.0, 5.0]);
        for (low, high) in [(0.0, 0.0), (1e-9, 1e12), (1.0, 1.0), (0.001, 3_600_000.0)] {
            assert!(ticks(low, high).len() >= 2, "{low} {high}");
        }
    }

    #[test]
    fn bars_are_drawn_for_what_there_is() {
        let bucket = |agreed, disagreed| Bucket {
            at: "2026-11-23T10:00:00Z".to_owned(),
            agreed,
            disagreed,
            ..Bucket::default()
        };
        let series = VerdictSeries { step_s: 60, buckets: vec![bucket(5, 0), bucket(3, 2)] };
        let svg = verdicts(&series).unwrap().unwrap();
        assert_eq!(svg.matches("fill=\"#1D936C\"").count(), 2);
        assert_eq!(svg.matches("fill=\"#C92A4B\"").count(), 1);
        assert_eq!(svg.matches("fill=\"#B6BDC9\"").count(), 0);
    }
}
