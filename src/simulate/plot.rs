//! A plot of a run: load above, nodes below.

use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::outcome::{Outcome, Point};

const SIZE: (u32, u32) = (1200, 640);
const LOAD: RGBColor = RGBColor(70, 110, 180);
const WANTED: RGBColor = RGBColor(220, 120, 20);
const READY: RGBColor = RGBColor(30, 130, 60);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Writes an SVG of load, wanted and ready nodes over time.
///
/// # Errors
/// The file cannot be written.
pub fn plot(outcome: &Outcome, title: &str, file: &Path) -> Result<(), String> {
    let mut text = String::new();
    drawn(outcome, title, &mut text).map_err(|error| error.to_string())?;
    std::fs::write(file, text).map_err(|error| format!("{}: {error}", file.display()))
}

fn drawn(outcome: &Outcome, title: &str, into: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::with_string(into, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (above, below) = root.titled(title, ("sans-serif", 20))?.split_vertically(SIZE.1 / 2);
    let load = |point: &Point| point.load as f64;
    let wanted = |point: &Point| point.wanted as f64;
    let ready = |point: &Point| point.ready as f64;
    let points = &outcome.points;
    panel(&above, points, "requests in flight or waiting", &[("load", LOAD, &load)])?;
    panel(&below, points, "nodes", &[("wanted", WANTED, &wanted), ("ready", READY, &ready)])?;
    root.present()?;
    Ok(())
}

/// A line of a panel: its name, color, and value.
type Line<'a> = (&'static str, RGBColor, &'a dyn Fn(&Point) -> f64);

fn panel(area: &Area<'_>, points: &[Point], title: &str, lines: &[Line<'_>]) -> Result<(), Box<dyn std::error::Error>> {
    let minutes = |point: &Point| point.at / 60.0;
    let last = points.last().map_or(1.0, minutes).max(1.0);
    let values = lines.iter().flat_map(|(.., value)| points.iter().map(value));
    let highest = values.fold(1.0, f64::max) * 1.05;
    let mut chart: Chart<'_, '_> = ChartBuilder::on(area)
        .margin(8)
        .x_label_area_size(32)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..last, 0.0..highest)?;
    chart.configure_mesh().x_desc("minutes").y_desc(title).light_line_style(WHITE).draw()?;
    for (name, color, value) in lines {
        let color = *color;
        // Nodes and requests are whole: from one point to the next in steps.
        let steps = points.windows(2).flat_map(|pair| match pair {
            [a, b] => vec![(minutes(a), value(a)), (minutes(b), value(a))],
            _ => Vec::new(),
        });
        chart
            .draw_series(LineSeries::new(steps, color.stroke_width(2)))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart.configure_series_labels().border_style(BLACK).background_style(WHITE.mix(0.8)).draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plot_shows_load_and_nodes() {
        let point = |at: f64| Point { at, load: 10 + at as usize, wanted: 3, ready: 2 };
        let outcome = Outcome { points: (0..100).map(|at| point(f64::from(at))).collect(), ..Outcome::default() };
        let mut text = String::new();
        drawn(&outcome, "esb & worker", &mut text).unwrap();
        assert!(text.starts_with("<svg") && text.trim_end().ends_with("</svg>"), "{text}");
        for part in ["esb &amp; worker", "wanted", "ready", "load", "minutes"] {
            assert!(text.contains(part), "{part}");
        }
        assert!(text.matches("<polyline").count() >= 3);
        let mut empty = String::new();
        drawn(&Outcome::default(), "", &mut empty).unwrap();
    }
}
