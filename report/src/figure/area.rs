//! One panel: axes, marks and text.

use super::colour::{BETTER_GROUND, FRAME, GRID, PAPER, WARMUP, WORSE_GROUND};
use super::svg::{Stroke, Svg, TextStyle};
use super::{Axis, BoxPlot, Ground, INK, MUTED, Mark, Panel, SMALL, Scale, TEXT, text_style};

/// Position of a panel's data area, px.
#[derive(Clone, Copy)]
pub(super) struct Area {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
    /// Position of its title.
    pub title_x: f64,
}

impl Area {
    pub(super) fn draw(self, svg: &mut Svg, panel: &Panel) {
        let (right, bottom) = (self.x + self.width, self.y + self.height);
        svg.text(
            (self.title_x, self.y - 8.0),
            &panel.title,
            TextStyle {
                bold: true,
                ..text_style(TEXT, "start")
            },
        );
        for mark in &panel.marks {
            self.draw_range(svg, panel, mark);
        }
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
        // Text is drawn over the frame, so that a long bar's value is not cut
        // off.
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
            // Names are ordered from the top down, numbers from the bottom up.
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
            Mark::Dot {
                at: (x, y),
                radius,
                colour,
                hollow,
            } => svg.dot(at(*x, *y), *radius, colour, *hollow),
            Mark::Interval {
                at: y,
                value,
                low,
                high,
                colour,
                ..
            } => self.draw_interval(svg, panel, *y, [*low, *value, *high], colour),
            Mark::Range { .. } | Mark::Note { .. } => {}
        }
    }

    fn draw_range(self, svg: &mut Svg, panel: &Panel, mark: &Mark) {
        let Mark::Range { from, to, ground } = mark else {
            return;
        };
        let inside = |x: f64| x.clamp(self.x, self.x + self.width);
        let (left, right) = (
            inside(self.at(panel, *from, 0.0).0),
            inside(self.at(panel, *to, 0.0).0),
        );
        let colour = match ground {
            Ground::Warmup => WARMUP,
            Ground::Better => BETTER_GROUND,
            Ground::Worse => WORSE_GROUND,
        };
        let bottom = self.y + self.height;
        svg.rect((left, self.y), (right, bottom), (colour, 1.0), None);
    }

    /// A line from the minimum to the maximum and a dot; an arrow for values
    /// outside the axis.
    fn draw_interval(
        self,
        svg: &mut Svg,
        panel: &Panel,
        y: f64,
        [low, value, high]: [f64; 3],
        colour: &'static str,
    ) {
        let (left, right) = (self.x + 5.0, self.x + self.width - 5.0);
        let at = |value: f64| self.at(panel, value, y);
        let middle = at(value).1;
        let inside = |x: f64| x.clamp(left, right);
        svg.line(
            (inside(at(low).0), middle),
            (inside(at(high).0), middle),
            Stroke::solid(colour, 2.0),
        );
        let x = at(value).0;
        if (left..=right).contains(&x) {
            svg.circle((x, middle), 4.5, colour, Stroke::solid(PAPER, 1.0));
            return;
        }
        let (tip, back) = match x < left {
            true => (left - 2.0, left + 8.0),
            false => (right + 2.0, right - 8.0),
        };
        let head = [(tip, middle), (back, middle - 5.5), (back, middle + 5.5)];
        svg.area(&head, colour, 1.0);
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
            Mark::Interval {
                at, words, colour, ..
            } => {
                let y = self.at(panel, 0.0, *at).1 + 4.5;
                let style = TextStyle {
                    colour,
                    ..text_style(SMALL, "start")
                };
                svg.text((self.x + self.width + 8.0, y), words, style);
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
        svg.rect(at(of.p25, -half), at(of.p75, half), (PAPER, 1.0), None);
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
        svg.circle(at(of.mean, 0.0), 3.2, PAPER, line);
    }

    fn at(self, panel: &Panel, x: f64, y: f64) -> (f64, f64) {
        let (across, up) = (panel.x.scale.place(x), panel.y.scale.place(y));
        let down = if matches!(panel.y.scale, Scale::Names(_)) {
            up
        } else {
            1.0 - up
        };
        // Points far outside are clipped anyway; clamping them keeps the file's
        // numbers short.
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
