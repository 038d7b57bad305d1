//! Figures: panels of axes and marks, drawn as SVG.
//!
//! Light background, dark text, thin grid behind the data, a legend above the
//! panels (never over data), units on every axis, colours that people with
//! any colour vision can tell apart and that differ in grey as well.

mod box_plot;
mod colour;
#[cfg(feature = "png")]
mod png;
mod scale;
mod svg;

pub(crate) use box_plot::{BoxPlot, nearest_rank};
pub(crate) use colour::{ArmStyle, CLASSIC, INK, L4S, MUTED, arm_styles, series_styles};
#[cfg(feature = "png")]
pub(crate) use png::png;
pub(crate) use scale::Scale;
pub(crate) use svg::escape;

use svg::{Stroke, Svg, TextStyle, text_width};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 66.0;
// Half of a label of five digits stands out there.
const RIGHT: f64 = 20.0;
const GAP: f64 = 26.0;
const TITLE: f64 = 24.0;
const BOTTOM: f64 = 50.0;
const LEGEND_LINE: f64 = 24.0;
const TEXT: f64 = 14.0;
const SMALL: f64 = 13.0;
const GRID: &str = "#e4e6ea";
const FRAME: &str = "#8a8f98";

/// A drawing: panels in a grid under one legend.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// File name without extension.
    pub name: String,
    /// What it shows, for those who cannot see it.
    pub title: String,
    /// Panels side by side.
    pub columns: usize,
    /// Height of one panel's plotting area, px.
    pub panel_height: f64,
    /// Room for the names of a vertical axis, px; 0 for numbers.
    pub name_width: f64,
    /// Explained above the panels.
    pub legend: Vec<Key>,
    /// Row by row.
    pub panels: Vec<Panel>,
}

/// An entry of the legend.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// What the sign means.
    pub label: String,
    /// The sign.
    pub sign: Sign,
}

/// How a legend shows a mark.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sign {
    /// A piece of line.
    Line {
        colour: &'static str,
        width: f64,
        dash: &'static str,
    },
    /// A filled area.
    Area { colour: &'static str, opacity: f64 },
}

/// One pair of axes.
#[derive(Debug, Clone)]
pub(crate) struct Panel {
    /// Stands above it.
    pub title: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// Drawn in this order.
    pub marks: Vec<Mark>,
}

/// An axis and what it measures, with the unit.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    /// Name and unit; empty for none.
    pub label: String,
    /// Where values lie.
    pub scale: Scale,
}

/// Something drawn in a panel, in the axes' values.
#[derive(Debug, Clone)]
pub(crate) enum Mark {
    /// Points connected by a line; none interrupts it.
    Line {
        points: Vec<Option<(f64, f64)>>,
        colour: &'static str,
        width: f64,
        dash: &'static str,
    },
    /// Between two values at each x; none interrupts it.
    Band {
        points: Vec<Option<(f64, f64, f64)>>,
        colour: &'static str,
    },
    /// A distribution along the horizontal axis at a place of the vertical one.
    Box {
        at: f64,
        half_height: f64,
        of: BoxPlot,
        colour: &'static str,
    },
    /// A horizontal bar from 0 at a place of the vertical axis, with its value next to it.
    Bar {
        at: f64,
        value: f64,
        label: String,
        colour: &'static str,
    },
    /// A reference at a value of the horizontal axis.
    Upright { value: f64 },
    /// Words in place of data.
    Note { text: String },
}

impl Figure {
    /// The figure as an SVG document; `prefix` keeps its identifiers apart from
    /// those of other results in one page.
    pub(crate) fn svg(&self, prefix: &str) -> String {
        let mut svg = Svg::new();
        let left = if self.name_width > 0.0 {
            self.name_width
        } else {
            LEFT
        };
        let columns = self.columns.max(1);
        let width =
            (WIDTH - RIGHT - left * columns as f64 - GAP * (columns - 1) as f64) / columns as f64;
        let mut top = self.draw_legend(&mut svg);
        for row in self.panels.chunks(columns) {
            top += TITLE;
            for (column, panel) in row.iter().enumerate() {
                let x = left + column as f64 * (width + left + GAP);
                let area = Area {
                    x,
                    y: top,
                    width,
                    height: self.panel_height,
                };
                area.draw(&mut svg, panel);
            }
            top += self.panel_height + BOTTOM;
        }
        svg.finish(
            WIDTH,
            top + 4.0,
            &format!("{prefix}-{}", self.name),
            &self.title,
        )
    }

    /// Returns where the panels begin.
    fn draw_legend(&self, svg: &mut Svg) -> f64 {
        const SIGN: f64 = 30.0;
        if self.legend.is_empty() {
            return 0.0;
        }
        let (mut x, mut y) = (LEFT, 18.0);
        for key in &self.legend {
            let width = SIGN + 7.0 + text_width(&key.label) * TEXT;
            if x > LEFT && x + width > WIDTH - RIGHT {
                (x, y) = (LEFT, y + LEGEND_LINE);
            }
            let middle = y - 5.0;
            match key.sign {
                Sign::Line {
                    colour,
                    width,
                    dash,
                } => {
                    svg.line(
                        (x, middle),
                        (x + SIGN, middle),
                        Stroke {
                            colour,
                            width,
                            dash,
                        },
                    );
                }
                Sign::Area { colour, opacity } => {
                    svg.rect(
                        (x, middle - 6.0),
                        (x + SIGN, middle + 6.0),
                        (colour, opacity),
                        None,
                    );
                }
            }
            svg.text((x + SIGN + 7.0, y), &key.label, text_style(TEXT, "start"));
            x += width + 24.0;
        }
        y + 8.0
    }
}

/// Where a panel's data lies, px.
#[derive(Clone, Copy)]
struct Area {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Area {
    fn draw(self, svg: &mut Svg, panel: &Panel) {
        let (right, bottom) = (self.x + self.width, self.y + self.height);
        svg.text(
            (self.x, self.y - 8.0),
            &panel.title,
            TextStyle {
                bold: true,
                ..text_style(TEXT, "start")
            },
        );
        self.draw_x(svg, &panel.x);
        self.draw_y(svg, &panel.y);
        svg.clipped((self.x, self.y - 1.0), (right + 1.0, bottom + 1.0), |svg| {
            for mark in &panel.marks {
                self.draw_mark(svg, panel, mark);
            }
        });
        svg.rect(
            (self.x, self.y),
            (right, bottom),
            ("none", 1.0),
            Some(Stroke::solid(FRAME, 1.0)),
        );
        // Words go over the frame, so that a long bar's value is not cut.
        for mark in &panel.marks {
            self.draw_words(svg, panel, mark);
        }
    }

    fn draw_x(self, svg: &mut Svg, axis: &Axis) {
        let bottom = self.y + self.height;
        let grid = !matches!(axis.scale, Scale::Names(_));
        for tick in axis.scale.ticks() {
            let x = self.x + axis.scale.place(tick.value) * self.width;
            if grid {
                svg.line((x, self.y), (x, bottom), Stroke::solid(GRID, 1.0));
            }
            if !tick.label.is_empty() {
                svg.line((x, bottom), (x, bottom + 4.0), Stroke::solid(FRAME, 1.0));
                svg.text((x, bottom + 18.0), &tick.label, text_style(SMALL, "middle"));
            }
        }
        let at = (self.x + self.width / 2.0, bottom + 38.0);
        svg.text(at, &axis.label, text_style(TEXT, "middle"));
    }

    fn draw_y(self, svg: &mut Svg, axis: &Axis) {
        let right = self.x + self.width;
        let grid = !matches!(axis.scale, Scale::Names(_));
        for tick in axis.scale.ticks() {
            let share = axis.scale.place(tick.value);
            // Names read from the top down, numbers from the bottom up.
            let share = if grid { 1.0 - share } else { share };
            let y = self.y + share * self.height;
            if grid {
                svg.line((self.x, y), (right, y), Stroke::solid(GRID, 1.0));
            }
            if !tick.label.is_empty() {
                svg.line((self.x - 4.0, y), (self.x, y), Stroke::solid(FRAME, 1.0));
                svg.text(
                    (self.x - 8.0, y + 4.5),
                    &tick.label,
                    text_style(SMALL, "end"),
                );
            }
        }
        let style = TextStyle {
            upward: true,
            ..text_style(TEXT, "middle")
        };
        svg.text(
            (self.x - 48.0, self.y + self.height / 2.0),
            &axis.label,
            style,
        );
    }

    fn draw_mark(self, svg: &mut Svg, panel: &Panel, mark: &Mark) {
        let at = |x: f64, y: f64| self.at(panel, x, y);
        match mark {
            Mark::Line {
                points,
                colour,
                width,
                dash,
            } => {
                for run in points.split(Option::is_none) {
                    let run: Vec<_> = run.iter().flatten().map(|&(x, y)| at(x, y)).collect();
                    svg.path(
                        &run,
                        Stroke {
                            colour,
                            width: *width,
                            dash,
                        },
                    );
                }
            }
            Mark::Band { points, colour } => {
                for run in points.split(Option::is_none) {
                    let low = run.iter().flatten().map(|&(x, low, _)| at(x, low));
                    let high = run.iter().flatten().rev().map(|&(x, _, high)| at(x, high));
                    let outline: Vec<_> = low.chain(high).collect();
                    svg.area(&outline, colour, 0.22);
                }
            }
            Mark::Box {
                at: y,
                half_height,
                of,
                colour,
            } => {
                self.draw_box(svg, panel, (*y, *half_height), of, colour);
            }
            Mark::Bar {
                at: y,
                value,
                colour,
                ..
            } => {
                svg.rect(
                    at(0.0, y - 0.34),
                    at(*value, y + 0.34),
                    (colour, 0.85),
                    None,
                );
            }
            Mark::Upright { value } => {
                let x = at(*value, 0.0).0;
                svg.line((x, self.y), (x, self.y + self.height), REFERENCE);
            }
            Mark::Note { .. } => {}
        }
    }

    fn draw_words(self, svg: &mut Svg, panel: &Panel, mark: &Mark) {
        match mark {
            Mark::Bar {
                at, value, label, ..
            } => {
                let (x, y) = self.at(panel, *value, *at);
                let style = TextStyle {
                    halo: true,
                    ..text_style(SMALL, "start")
                };
                svg.text((x + 6.0, y + 4.5), label, style);
            }
            Mark::Note { text } => {
                let middle = (self.x + self.width / 2.0, self.y + self.height / 2.0);
                let style = TextStyle {
                    colour: MUTED,
                    ..text_style(TEXT, "middle")
                };
                svg.text(middle, text, style);
            }
            _ => {}
        }
    }

    fn draw_box(
        self,
        svg: &mut Svg,
        panel: &Panel,
        (y, half): (f64, f64),
        of: &BoxPlot,
        colour: &'static str,
    ) {
        let at = |x: f64, offset: f64| self.at(panel, x, y + offset);
        let line = Stroke::solid(colour, 1.6);
        svg.line(at(of.p1, 0.0), at(of.p25, 0.0), line);
        svg.line(at(of.p75, 0.0), at(of.p99, 0.0), line);
        svg.line(at(of.p1, -half / 2.0), at(of.p1, half / 2.0), line);
        svg.line(at(of.p99, -half / 2.0), at(of.p99, half / 2.0), line);
        svg.rect(at(of.p25, -half), at(of.p75, half), ("#ffffff", 1.0), None);
        svg.rect(
            at(of.p25, -half),
            at(of.p75, half),
            (colour, 0.25),
            Some(line),
        );
        svg.line(
            at(of.p50, -half),
            at(of.p50, half),
            Stroke::solid(colour, 3.0),
        );
        svg.circle(at(of.mean, 0.0), 3.2, "#ffffff", line);
    }

    fn at(self, panel: &Panel, x: f64, y: f64) -> (f64, f64) {
        let (across, up) = (panel.x.scale.place(x), panel.y.scale.place(y));
        let down = if matches!(panel.y.scale, Scale::Names(_)) {
            up
        } else {
            1.0 - up
        };
        // Far outside is cut anyway; near enough keeps the file's numbers short.
        let near = |share: f64| share.clamp(-1.0, 2.0);
        (
            self.x + near(across) * self.width,
            self.y + near(down) * self.height,
        )
    }
}

const REFERENCE: Stroke = Stroke {
    colour: INK,
    width: 1.2,
    dash: "5 4",
};

fn text_style(size: f64, anchor: &'static str) -> TextStyle {
    TextStyle {
        size,
        colour: INK,
        anchor,
        bold: false,
        upward: false,
        halo: false,
    }
}
