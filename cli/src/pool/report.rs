//! Reports ignored and ambiguous parts of a log on standard error.

use l4sllm_model::log::{Fault, Place, Tally};
use l4sllm_model::text::shown;

use crate::output::errln;

/// Prints the report; nothing for a log without faults.
pub fn print(tally: &Tally) {
    for shown in &tally.shown {
        say(&shown.place, shown.fault);
    }
    let bad = tally.bad();
    if bad > 0 {
        errln!("{} in {} lines:", count(bad, "fault"), tally.lines);
    }
    for (reason, count) in Fault::REASONS.iter().zip(tally.faults) {
        if count > 0 {
            errln!("{count:>10}  {reason}");
        }
    }
    if tally.other_lines > 0 {
        errln!("{}", count(tally.other_lines, "unrelated line"));
    }
    if tally.repeats > 0 {
        errln!(
            "{} omitted by a syslog daemon (FreeBSD's keeps them with -cc)",
            count(tally.repeats, "repetition")
        );
    }
    times(tally);
}

fn times(tally: &Tally) {
    match &tally.first_untimed {
        Some(place) => {
            say(place, "no readable time");
            errln!(
                "{} without a time: expected a prefix as \"Nov 20 10:11:12\", \
                 \"2024-11-20T10:11:12+01:00\" or \"[ 1234.567890]\", in English (LC_ALL=C)",
                count(tally.untimed, "row")
            );
        }
        None if tally.untimed > 0 => {
            errln!("{} without a time", count(tally.untimed, "row"));
        }
        None => {}
    }
    if let Some((step, place)) = &tally.largest_step {
        say(place, "the clock was set back");
        errln!(
            "{} before the previous one, by at most {} s; the time does not advance there (if \
             times are mixed, set --zone and --year)",
            count(tally.set_back, "time"),
            *step as f64 / 1e9
        );
    }
    if let Some(place) = &tally.leap_open {
        say(place, "from February to March of an unknown year");
        errln!("a common year is assumed; set the year with --year");
    }
    if tally.hosts.len() > 1 {
        let names: Vec<String> = tally
            .hosts
            .iter()
            .take(8)
            .map(|host| format!("\"{}\"", shown(host)))
            .collect();
        let more = if tally.hosts.len() > names.len() {
            ", ..."
        } else {
            ""
        };
        errln!(
            "{} hosts, each with separate episodes: {}{more}",
            tally.hosts.len(),
            names.join(", ")
        );
    }
    if tally.restarts > 0 {
        errln!(
            "{} of a machine or its clock",
            count(tally.restarts, "restart")
        );
    }
}

fn say(place: &Place, what: impl std::fmt::Display) {
    let (path, line) = (shown(&place.path), place.line);
    if place.text.is_empty() {
        errln!("{path}:{line}: {what}");
    } else {
        errln!("{path}:{line}: {what}: {:?}", place.text);
    }
}

fn count(number: u64, of: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{number} {of}{s}")
}
