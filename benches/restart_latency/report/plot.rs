//! A plot of one experiment: a line per measured quantity, a dot per value, a bar for the median.

use plotters::prelude::*;

use crate::row::Row;
use crate::sample::Samples;

const WIDTH: u32 = 1000;
const LINE_HEIGHT: u32 = 22;
const MARGIN: u32 = 70;
const LABEL_WIDTH: u32 = 420;
const LABEL_HEIGHT: i32 = 11;
const OURS: RGBColor = RGBColor(0x1f, 0x5f, 0xbf);
const FLOOR: RGBColor = RGBColor(0x80, 0x80, 0x80);

/// The plot as SVG. All rows have the same unit.
pub fn draw(title: &str, rows: &[&Row]) -> String {
    let lines: Vec<(String, &Samples, RGBColor)> = rows.iter().flat_map(|row| lines(row)).collect();
    let unit = rows[0].unit;
    let mut svg = String::new();
    paint(&mut svg, &format!("{title} ({unit})"), &lines).expect("memory can be drawn into");
    svg
}

fn lines(row: &Row) -> impl Iterator<Item = (String, &Samples, RGBColor)> {
    let label = move |samples: &Samples| format!("{}, {}: {}", row.on, row.case, samples.what);
    let ours = std::iter::once((label(&row.ours), &row.ours, OURS));
    ours.chain(row.floors.iter().map(move |floor| (label(floor), floor, FLOOR)))
}

fn paint(
    svg: &mut String,
    title: &str,
    lines: &[(String, &Samples, RGBColor)],
) -> Result<(), Box<dyn std::error::Error>> {
    let height = MARGIN + LINE_HEIGHT * u32::try_from(lines.len())?;
    let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let most = lines.iter().map(|(_, samples, _)| samples.max()).fold(0.0, f64::max) * 1.02;
    let count = lines.len() as f64;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 16))
        .margin_right(12)
        .x_label_area_size(24)
        .y_label_area_size(LABEL_WIDTH)
        .build_cartesian_2d(0.0..most, 0.0..count)?;
    // Labels of lines are drawn below: the axis would place them between the lines.
    chart.configure_mesh().disable_y_mesh().y_labels(0).x_labels(8).draw()?;
    for (index, (label, samples, color)) in lines.iter().enumerate() {
        let middle = count - index as f64 - 0.5;
        let dots = samples.values.iter().map(|value| Circle::new((*value, middle), 3, color.mix(0.5).filled()));
        chart.draw_series(dots)?;
        let median = samples.median();
        let bar = PathElement::new(vec![(median, middle - 0.35), (median, middle + 0.35)], color.stroke_width(3));
        chart.draw_series(std::iter::once(bar))?;
        let y = chart.backend_coord(&(0.0, middle)).1 - LABEL_HEIGHT / 2;
        root.draw_text(label, &("sans-serif", LABEL_HEIGHT).into_text_style(&root), (6, y))?;
    }
    root.present()?;
    Ok(())
}
