//! A curve, and its plot.

use anyhow::Result;
use connector_tests::workspace;
use plotters::prelude::*;

/// How a figure grows with the work.
pub struct Curve {
    /// The name, which is also the name of the file.
    pub name: &'static str,
    /// What the work is.
    pub work: &'static str,
    /// What was measured.
    pub figure: &'static str,
    /// The work and the figure, in ascending order.
    pub points: Vec<(f64, f64)>,
}

impl Curve {
    /// A curve without points.
    #[must_use]
    pub fn new(name: &'static str, work: &'static str, figure: &'static str) -> Self {
        Self { name, work, figure, points: Vec::new() }
    }

    /// Adds the next point.
    pub fn add(&mut self, work: usize, figure: f64) {
        self.points.push((work as f64, figure));
    }

    /// The slope between the last two points, with both axes logarithmic. A figure that falls to nothing does not grow.
    #[must_use]
    pub fn exponent(&self) -> f64 {
        let [.., (less, before), (more, after)] = self.points[..] else { return 0.0 };
        if before <= 0.0 || after <= 0.0 {
            return 0.0;
        }
        (after / before).log10() / (more / less).log10()
    }

    /// Writes `docs/growth/NAME.svg`.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn draw(&self) -> Result<()> {
        let folder = workspace().join("docs/growth");
        std::fs::create_dir_all(&folder)?;
        let path = folder.join(format!("{}.svg", self.name));
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else { return Ok(()) };
        let linear: Vec<(f64, f64)> = self.points.iter().map(|(work, _)| (*work, first.1 * work / first.0)).collect();
        let figures = self.points.iter().chain(&linear).map(|(_, figure)| *figure);
        let (least, most) = figures.fold((f64::MAX, f64::MIN), |(least, most), one| (least.min(one), most.max(one)));
        let root = SVGBackend::new(&path, (560, 400)).into_drawing_area();
        root.fill(&WHITE)?;
        let caption = format!("{}, exponent {:.2}", self.name, self.exponent());
        let mut chart = ChartBuilder::on(&root)
            .caption(caption, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(72)
            .build_cartesian_2d((first.0 * 0.8..last.0 * 1.25).log_scale(), (least * 0.7..most * 1.5).log_scale())?;
        chart
            .configure_mesh()
            .x_desc(self.work)
            .y_desc(self.figure)
            .x_label_formatter(&|work| format!("{work}"))
            .y_label_formatter(&|figure| format!("{figure}"))
            .light_line_style(WHITE)
            .draw()?;
        chart.draw_series(LineSeries::new(linear, RGBColor(170, 170, 170)))?;
        chart.draw_series(LineSeries::new(self.points.iter().copied(), BLUE.stroke_width(2)).point_size(4))?;
        root.present()?;
        Ok(())
    }
}
