//! Figures: panels of axes and marks, drawn as SVG.
//!
//! The grid is thin and behind the data, the legend is above the panels (never
//! over data), every axis has units, and colours can be distinguished with any
//! colour vision and in greyscale. Files have a light background; a page
//! replaces the colours if the reader prefers a dark one.

mod area;
mod box_plot;
mod colour;
#[cfg(feature = "png")]
mod png;
mod scale;
mod svg;

pub(crate) use box_plot::{BoxPlot, nearest_rank};
pub(crate) use colour::{
    ArmStyle, BETTER, CLASSIC, CLASSIC_FLOWS, DASHES, INK, L4S, L4S_FLOWS, MUTED, WARMUP, WORSE,
    arm_styles, dark_rules, series_styles,
};
#[cfg(feature = "png")]
pub(crate) use png::png;
pub(crate) use scale::Scale;
pub(crate) use svg::escape;

use area::Area;
use svg::{Stroke, Svg, TextStyle, text_width};

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 66.0;
// Half of a label with five digits extends beyond the axis.
const RIGHT: f64 = 20.0;
const GAP: f64 = 26.0;
const TITLE: f64 = 24.0;
const BOTTOM: f64 = 50.0;
const LEGEND_LINE: f64 = 24.0;
const TEXT: f64 = 14.0;
const SMALL: f64 = 13.0;
/// Maximum width of a panel on a page, px of the drawing: a phone shows it at
/// three quarters of its size.
const WIDEST: f64 = 487.0;

/// A drawing: panels in a grid under one legend.
#[derive(Debug, Clone, Default)]
pub(crate) struct Figure {
    /// File name without extension.
    pub name: String,
    /// Text alternative for screen readers.
    pub title: String,
    /// Panels side by side.
    pub columns: usize,
    /// Height of one panel's plotting area, px.
    pub panel_height: f64,
    /// Space for the names on a vertical axis, px; 0 for numbers.
    pub name_width: f64,
    /// Space for text to the right of a panel, px.
    pub word_width: f64,
    /// Legend above the panels.
    pub legend: Vec<Key>,
    /// Panels, row by row.
    pub panels: Vec<Panel>,
}

/// An entry of the legend.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// Meaning of the sign.
    pub label: String,
    /// The sign.
    pub sign: Sign,
}

/// The sign of a mark in a legend.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Sign {
    /// A line segment.
    Line {
        colour: &'static str,
        width: f64,
        dash: &'static str,
    },
    /// A dot, or a ring where hollow.
    Dot { colour: &'static str, hollow: bool },
    /// A filled area.
    Area { colour: &'static str, opacity: f64 },
}

/// One pair of axes.
#[derive(Debug, Clone)]
pub(crate) struct Panel {
    /// Title above the panel.
    pub title: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// Marks, drawn in this order.
    pub marks: Vec<Mark>,
}

/// An axis with its quantity and unit.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    /// Name and unit; empty for none.
    pub label: String,
    /// Positions of values.
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
    /// A band between two values at each x; none interrupts it.
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
    /// A value and its interval at a place of the vertical axis, with words
    /// right of the panel. A value outside the axis is drawn as an arrow.
    Interval {
        at: f64,
        value: f64,
        low: f64,
        high: f64,
        colour: &'static str,
        words: String,
    },
    /// A point.
    Dot {
        at: (f64, f64),
        radius: f64,
        colour: &'static str,
        /// A ring instead of a disc.
        hollow: bool,
    },
    /// A range of the horizontal axis, behind everything.
    Range { from: f64, to: f64, ground: Ground },
    /// Text instead of data.
    Note { text: String },
}

/// Meaning of a range of an axis.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ground {
    /// Time that is not measured.
    Warmup,
    /// Much better.
    Better,
    /// Much worse.
    Worse,
}

impl Figure {
    /// The figure as an SVG document; `prefix` distinguishes its identifiers
    /// from those of other results on the page.
    pub(crate) fn svg(&self, prefix: &str) -> String {
        let mut svg = Svg::new();
        let columns = self.columns.max(1);
        let width = (WIDTH - GAP * (columns - 1) as f64) / columns as f64;
        let mut top = self.draw_legend(&mut svg);
        for row in self.panels.chunks(columns) {
            for (column, panel) in row.iter().enumerate() {
                let left = column as f64 * (width + GAP);
                self.area(left, top, width).draw(&mut svg, panel);
            }
            top += self.cell_height();
        }
        let id = format!("{prefix}-{}", self.name);
        svg.finish((WIDTH, top + 4.0), &id, &self.title)
    }

    /// The figure as a legend and an SVG for each panel, laid out by the page's
    /// width.
    pub(crate) fn html(&self, prefix: &str) -> String {
        let keys: String = self.legend.iter().map(Key::html).collect();
        let legend = match keys.is_empty() {
            true => String::new(),
            false => format!("<div class=\"keys\">{keys}</div>\n"),
        };
        let columns = self.columns.max(1);
        let width = ((WIDTH - GAP * (columns - 1) as f64) / columns as f64).min(WIDEST);
        let panels = self.panels.iter().enumerate().map(|(number, panel)| {
            let mut svg = Svg::new();
            self.area(0.0, 0.0, width).draw(&mut svg, panel);
            let title = match panel.title.as_str() {
                "" => format!("{}: {}", self.title, panel.y.label),
                own => format!("{}: {own}", self.title),
            };
            let id = format!("{prefix}-{}-{number}", self.name);
            svg.finish((width, self.cell_height()), &id, &title)
        });
        format!(
            "{legend}<div class=\"panels of-{columns}\">\n{}</div>\n",
            panels.collect::<String>()
        )
    }

    /// Height of a panel with its title and its axis.
    fn cell_height(&self) -> f64 {
        let named = self.panels.iter().any(|panel| !panel.x.label.is_empty());
        TITLE + self.panel_height + if named { BOTTOM } else { BOTTOM - TEXT }
    }

    /// The plotting area of a panel in the cell of a grid.
    fn area(&self, left: f64, top: f64, width: f64) -> Area {
        let names = match self.name_width > 0.0 {
            true => self.name_width,
            false => LEFT,
        };
        let title_x = match self.name_width > 0.0 {
            true => left + 4.0,
            false => left + names,
        };
        Area {
            title_x,
            x: left + names,
            y: top + TITLE,
            width: width - names - self.word_width.max(RIGHT),
            height: self.panel_height,
        }
    }

    /// Returns the position of the panels.
    fn draw_legend(&self, svg: &mut Svg) -> f64 {
        if self.legend.is_empty() {
            return 0.0;
        }
        let (mut x, mut y) = (LEFT, 18.0);
        for key in &self.legend {
            let sign = key.sign.width();
            let width = sign + 7.0 + text_width(&key.label) * TEXT;
            if x > LEFT && x + width > WIDTH - RIGHT {
                (x, y) = (LEFT, y + LEGEND_LINE);
            }
            key.sign.draw(svg, (x, y - 5.0));
            svg.text((x + sign + 7.0, y), &key.label, text_style(TEXT, "start"));
            x += width + 24.0;
        }
        y + 8.0
    }
}

/// Width of a line or an area in a legend, px.
const SIGN: f64 = 30.0;
/// Radius of a dot in a legend and of the large dots of a panel, px.
pub(crate) const DOT: f64 = 6.0;

impl Key {
    fn html(&self) -> String {
        let mut svg = Svg::new();
        self.sign.draw(&mut svg, (0.0, 7.0));
        format!(
            "<span class=\"word\">{}{}</span>\n",
            svg.sign(self.sign.width(), 14.0),
            escape(&self.label)
        )
    }
}

impl Sign {
    fn width(self) -> f64 {
        match self {
            Sign::Dot { .. } => 2.0 * DOT + 2.0,
            Sign::Line { .. } | Sign::Area { .. } => SIGN,
        }
    }

    /// Draws it to the right of `from`.
    fn draw(self, svg: &mut Svg, (x, y): (f64, f64)) {
        match self {
            Sign::Line {
                colour,
                width,
                dash,
            } => {
                let stroke = Stroke {
                    colour,
                    width,
                    dash,
                };
                svg.line((x, y), (x + SIGN, y), stroke);
            }
            Sign::Dot { colour, hollow } => {
                svg.dot((x + DOT + 1.0, y), DOT, colour, hollow);
            }
            Sign::Area { colour, opacity } => {
                svg.rect((x, y - 6.0), (x + SIGN, y + 6.0), (colour, opacity), None);
            }
        }
    }
}

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
