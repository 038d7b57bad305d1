//! The SVG elements used in figures. They have only attributes and no style
//! sheet, because several figures may share a page, and each must also work as
//! a separate file.

use std::fmt::Write;

use super::colour::PAPER;

/// Similar font families; the first is the one embedded for PNG.
const FONTS: &str = "Noto Sans, DejaVu Sans, Helvetica, Arial, sans-serif";

/// An SVG document under construction.
#[derive(Debug)]
pub(super) struct Svg {
    body: String,
    clips: usize,
}

/// Style of a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stroke {
    pub colour: &'static str,
    pub width: f64,
    /// `stroke-dasharray`; empty for a solid line.
    pub dash: &'static str,
}

/// Style of text.
#[derive(Debug, Clone, Copy)]
pub(super) struct TextStyle {
    pub size: f64,
    pub colour: &'static str,
    /// `start`, `middle` or `end`.
    pub anchor: &'static str,
    pub bold: bool,
    /// Rotated to read upwards.
    pub upward: bool,
    /// Background around the letters, for text over lines.
    pub halo: bool,
}

impl Svg {
    pub(super) fn new() -> Svg {
        Svg {
            body: String::new(),
            clips: 0,
        }
    }

    /// Creates the document. `title` is for screen readers; `id` keeps the clip
    /// paths of several figures on one page distinct.
    pub(super) fn finish(self, (width, height): (f64, f64), id: &str, title: &str) -> String {
        let (width, height) = (Number(width), Number(height));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" font-family=\"{FONTS}\">\n\
             <title>{}</title>\n<rect width=\"{width}\" height=\"{height}\" fill=\"{PAPER}\"/>\n{}</svg>\n",
            escape(title),
            self.body.replace("@clip", &format!("{id}-clip")),
        )
    }

    /// A part of a line of text.
    pub(super) fn sign(self, width: f64, height: f64) -> String {
        let (width, height, body) = (Number(width), Number(height), self.body.trim_end());
        format!(
            "<svg width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             aria-hidden=\"true\">{body}</svg>"
        )
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: Stroke) {
        let _ = writeln!(
            self.body,
            "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"{}/>",
            Number(from.0),
            Number(from.1),
            Number(to.0),
            Number(to.1),
            stroke.attributes()
        );
    }

    /// Connected points.
    pub(super) fn path(&mut self, points: &[(f64, f64)], stroke: Stroke) {
        if points.len() < 2 {
            return;
        }
        let _ = writeln!(
            self.body,
            "<path d=\"{}\" fill=\"none\" stroke-linejoin=\"round\"{}/>",
            path(points),
            stroke.attributes()
        );
    }

    /// A filled area.
    pub(super) fn area(&mut self, points: &[(f64, f64)], colour: &str, opacity: f64) {
        if points.len() < 3 {
            return;
        }
        let (path, opacity) = (path(points), Number(opacity));
        let _ = writeln!(
            self.body,
            "<path d=\"{path}Z\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>"
        );
    }

    /// A rectangle by two corners.
    pub(super) fn rect(
        &mut self,
        from: (f64, f64),
        to: (f64, f64),
        fill: (&str, f64),
        stroke: Option<Stroke>,
    ) {
        let stroke = stroke.map(Stroke::attributes).unwrap_or_default();
        let _ = writeln!(
            self.body,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\" fill-opacity=\"{}\"{stroke}/>",
            Number(from.0.min(to.0)),
            Number(from.1.min(to.1)),
            Number((to.0 - from.0).abs()),
            Number((to.1 - from.1).abs()),
            fill.0,
            Number(fill.1),
        );
    }

    pub(super) fn circle(&mut self, at: (f64, f64), radius: f64, fill: &str, stroke: Stroke) {
        let _ = writeln!(
            self.body,
            "<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{fill}\"{}/>",
            Number(at.0),
            Number(at.1),
            Number(radius),
            stroke.attributes()
        );
    }

    /// A dot, or a ring of the same size where `hollow`.
    pub(super) fn dot(&mut self, at: (f64, f64), radius: f64, colour: &'static str, hollow: bool) {
        match hollow {
            true => self.circle(at, radius - 1.0, "none", Stroke::solid(colour, 2.0)),
            false => self.circle(at, radius, colour, Stroke::solid(PAPER, 1.0)),
        }
    }

    pub(super) fn text(&mut self, at: (f64, f64), text: &str, style: TextStyle) {
        let (x, y) = (Number(at.0), Number(at.1));
        let turn = if style.upward {
            format!(" transform=\"rotate(-90 {x} {y})\"")
        } else {
            String::new()
        };
        let weight = if style.bold {
            " font-weight=\"bold\""
        } else {
            ""
        };
        let halo = match style.halo {
            true => format!(" stroke=\"{PAPER}\" stroke-width=\"4\" paint-order=\"stroke\""),
            false => String::new(),
        };
        let _ = writeln!(
            self.body,
            "<text x=\"{x}\" y=\"{y}\" font-size=\"{}\" fill=\"{}\" text-anchor=\"{}\"{weight}{turn}{halo}>{}</text>",
            Number(style.size),
            style.colour,
            style.anchor,
            escape(text)
        );
    }

    /// Clips the output of `draw` to a rectangle.
    pub(super) fn clipped(
        &mut self,
        from: (f64, f64),
        to: (f64, f64),
        draw: impl FnOnce(&mut Svg),
    ) {
        self.clips += 1;
        let name = format!("@clip{}", self.clips);
        let _ = writeln!(
            self.body,
            "<clipPath id=\"{name}\"><rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/></clipPath>\n\
             <g clip-path=\"url(#{name})\">",
            Number(from.0),
            Number(from.1),
            Number(to.0 - from.0),
            Number(to.1 - from.1)
        );
        draw(self);
        self.body.push_str("</g>\n");
    }
}

impl Stroke {
    pub(super) fn solid(colour: &'static str, width: f64) -> Stroke {
        Stroke {
            colour,
            width,
            dash: "",
        }
    }

    fn attributes(self) -> String {
        let dash = if self.dash.is_empty() {
            String::new()
        } else {
            format!(" stroke-dasharray=\"{}\"", self.dash)
        };
        format!(
            " stroke=\"{}\" stroke-width=\"{}\"{dash}",
            self.colour,
            Number(self.width)
        )
    }
}

/// `text` as XML character data.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 cannot represent these.
            c if c.is_control() && !matches!(c, '\n' | '\t') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Approximate width of `text` in ems, for the layout of a legend.
pub(super) fn text_width(text: &str) -> f64 {
    text.chars()
        .map(|c| match c {
            'i' | 'j' | 'l' | '.' | ',' | ':' | '\'' | '|' | ' ' => 0.28,
            'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.88,
            'A'..='Z' => 0.66,
            _ => 0.57,
        })
        .sum()
}

fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::with_capacity(points.len() * 11);
    for (index, &(x, y)) in points.iter().enumerate() {
        let command = if index == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{command}{} {}", Number(x), Number(y));
    }
    path
}

/// At most a hundredth of a pixel, without trailing zeros.
struct Number(f64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hundredths = (self.0 * 100.0).round();
        // Also turns -0 into 0.
        let rounded = if hundredths == 0.0 {
            0.0
        } else {
            hundredths / 100.0
        };
        write!(f, "{rounded}")
    }
}
