//! Text that fits a narrow terminal: tables in several parts that each repeat the
//! first column, and lines of prose wrapped between words.

use std::ops::Range;

/// Maximum width of a table column, in characters; wider text is prose.
const CELL_MOST: usize = 30;

/// Wraps the lines of `text` that are wider than `width`; lines between empty
/// lines are laid out together.
pub fn fit(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut block = Vec::new();
    for line in text.split_inclusive('\n') {
        let line = line.strip_suffix('\n').unwrap_or(line);
        if line.trim().is_empty() {
            lay_out(&block, width, &mut out);
            block.clear();
            out.push('\n');
        } else {
            block.push(line);
        }
    }
    lay_out(&block, width, &mut out);
    if !text.ends_with('\n') {
        out.pop();
    }
    out
}

fn lay_out(block: &[&str], width: usize, out: &mut String) {
    if block.iter().all(|line| visible(line).len() <= width) {
        for line in block {
            out.push_str(line);
            out.push('\n');
        }
        return;
    }
    let lines: Vec<Vec<char>> = block.iter().map(|line| visible(line)).collect();
    let columns = columns(&lines);
    let is_cell = |column: &Range<usize>| column.len() <= CELL_MOST;
    if block.len() > 1 && columns.len() > 2 && columns.iter().all(is_cell) {
        return in_parts(&lines, &columns, width, out);
    }
    // After labels, or below the beginning of the line.
    let prose = columns.iter().find(|column| !is_cell(column));
    let labelled = prose.filter(|_| block.len() > 1 && columns.len() > 1);
    let mut lines = block.iter().zip(&lines).peekable();
    while let Some((line, shown)) = lines.next() {
        let own = shown.iter().take_while(|c| **c == ' ').count();
        let indent = labelled.map_or(own, |column| column.start);
        let (mut paragraph, mut last) = ((*line).to_owned(), *line);
        while let Some((next, _)) = lines.next_if(|(next, _)| continues(last, next)) {
            paragraph.push(' ');
            paragraph.push_str(next.trim_start());
            last = next;
        }
        wrap(&paragraph, indent.min(width / 2), width, out);
    }
}

/// Fill width of prose in reports, in characters.
const FILLED: usize = 100;

/// Whether a line was broken because the next word did not fit.
fn continues(line: &str, next: &str) -> bool {
    let word = next.trim_start().split(' ').next().unwrap_or_default();
    let length = visible(line).len();
    length <= FILLED && length + 1 + visible(word).len() > FILLED
}

/// The visible text of a line, without colour escape sequences.
fn visible(line: &str) -> Vec<char> {
    let mut shown = Vec::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\x1b' {
            chars.by_ref().find(|c| *c == 'm');
        } else {
            shown.push(c);
        }
    }
    shown
}

/// Columns separated by at least two blanks in all lines.
fn columns(lines: &[Vec<char>]) -> Vec<Range<usize>> {
    let longest = lines.iter().map(Vec::len).max().unwrap_or(0);
    let blank = |at: usize| {
        lines
            .iter()
            .all(|line| line.get(at).is_none_or(|c| *c == ' '))
    };
    let mut columns: Vec<Range<usize>> = Vec::new();
    for at in (0..longest).filter(|at| !blank(*at)) {
        match columns.last_mut() {
            Some(last) if at < last.end + 2 => last.end = at + 1,
            _ => columns.push(at..at + 1),
        }
    }
    columns
}

/// The table in parts that fit, separated by blank lines.
fn in_parts(lines: &[Vec<char>], columns: &[Range<usize>], width: usize, out: &mut String) {
    let first = columns[0].clone();
    let mut rest = columns[1..].iter().peekable();
    while let Some(next) = rest.next() {
        let mut part = vec![first.clone(), next.clone()];
        let mut used = first.len() + 2 + next.len();
        while let Some(next) = rest.next_if(|next| used + 2 + next.len() <= width) {
            used += 2 + next.len();
            part.push(next.clone());
        }
        for line in lines {
            let cells = part.iter().map(|column| {
                let cell = |at: usize| line.get(at).copied().unwrap_or(' ');
                column.clone().map(cell).collect::<String>()
            });
            let cells: Vec<String> = cells.collect();
            out.push_str(cells.join("  ").trim_end());
            out.push('\n');
        }
        if rest.peek().is_some() {
            out.push('\n');
        }
    }
}

/// Wraps a line between words and indents all but the first line.
fn wrap(line: &str, indent: usize, width: usize, out: &mut String) {
    let margin = " ".repeat(indent);
    let (mut current, mut used) = (String::new(), 0);
    for word in line.split_inclusive(' ') {
        let length = visible(word.trim_end()).len();
        if used + length > width && used > indent {
            out.push_str(current.trim_end());
            out.push('\n');
            (current, used) = (margin.clone(), indent);
        }
        current.push_str(word);
        used += visible(word).len();
    }
    out.push_str(current.trim_end());
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [&str; 6] = [
        "         Utilisation  Classic delay",
        "Arm                %    p50     p99",
        "dualpi2         99.9   15.1    26.0",
        "tuned           98.2   11.0    20.0",
        "",
        "A line of prose that is longer than the terminal is wide.",
    ];

    fn text(lines: &[&str]) -> String {
        lines.join("\n") + "\n"
    }

    #[test]
    fn wide_tables_are_split_between_column_groups() {
        let parts = [
            "         Utilisation",
            "Arm                %",
            "dualpi2         99.9",
            "tuned           98.2",
            "",
            "         Classic delay",
            "Arm        p50     p99",
            "dualpi2   15.1    26.0",
            "tuned     11.0    20.0",
            "",
            "A line of prose that is longer",
            "than the terminal is wide.",
        ];
        assert_eq!(fit(&text(&TABLE), 30), text(&parts));
    }

    #[test]
    fn tables_that_fit_are_unchanged() {
        assert_eq!(fit(&text(&TABLE), 100), text(&TABLE));
        assert_eq!(fit("no end of line", 5), "no\nend\nof\nline");
    }

    #[test]
    fn refills_wrapped_prose() {
        let words = |count: usize| vec!["word"; count].join(" ");
        let filled = text(&[&words(20), &words(3), "Another line."]);
        let lines: Vec<usize> = fit(&filled, 50).lines().map(str::len).collect();
        assert_eq!(lines, [49, 49, 14, 13]);
    }

    #[test]
    fn labelled_text_is_indented_and_colour_codes_have_zero_width() {
        let green = |text: &str| format!("\x1b[32m{text}\x1b[0m");
        let module = green("ok     ") + "  module   release 0.1.0 answers, all well";
        let traffic = green("ok     ") + "  traffic  some packets";
        let first = green("ok     ") + "  module   release 0.1.0";
        let parts = [&first, "                  answers, all well", &traffic];
        assert_eq!(fit(&text(&[&module, &traffic]), 38), text(&parts));
    }
}
