//! Comments of captured packets.

use std::fmt::Write;

use l4sllm_abi::{Action, Ecn, Mode, Override, Queue, Reason};

use crate::aqm::Departure;
use crate::router::InForce;

/// Appends verdict, reason, queue, sojourn time, codepoint and the control in force,
/// separated by semicolons.
pub(super) fn write(
    text: &mut String,
    departure: &Departure,
    discipline: &str,
    in_force: Option<&InForce>,
) {
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "{}; {}{}; {} queue; sojourn {} ms; {}",
        verdict(departure.action),
        reason(departure.reason).unwrap_or(discipline),
        match departure.reason {
            Reason::Steer => " under an override",
            Reason::Student => " under the student",
            _ => "",
        },
        queue(departure.queue),
        ms(departure.sojourn_ns),
        codepoint(departure.ecn),
    );
    let Some(in_force) = in_force else { return };
    match in_force.latest {
        Some(latest) if in_force.active || is_of_override(departure.reason) => {
            write_override(text, &latest);
        }
        _ => text.push_str("; no override"),
    }
    let points = &in_force.set_points;
    let _ = write!(
        text,
        "; target {} ms, L4S threshold {} ms, k {}, alpha {} Hz, beta {} Hz, tupdate {} ms",
        ms(points.target_ns),
        ms(points.l4s_threshold_ns),
        f64::from(points.coupling_q8) / 256.0,
        f64::from(points.alpha_uhz) / 1e6,
        f64::from(points.beta_uhz) / 1e6,
        ms(points.tupdate_ns),
    );
}

fn write_override(text: &mut String, latest: &Override) {
    let _ = write!(text, "; override {}: ", latest.id);
    let _ = match latest.mode {
        Mode::Once { action, .. } => write!(text, "{} once", imperative(action)),
        Mode::Hold {
            action, packets, ..
        } => write!(text, "{} {packets} packets", imperative(action)),
        Mode::Steer(_) => write!(text, "steer"),
    };
    let _ = write!(text, ", based on record {}", latest.based_on);
}

/// Whether the latest override determined the reason, although it may have been used
/// up by this packet.
fn is_of_override(reason: Reason) -> bool {
    !matches!(reason, Reason::Base | Reason::Tail | Reason::Flush)
}

fn verdict(action: Action) -> &'static str {
    match action {
        Action::Enqueue => "enqueued",
        Action::Drop => "dropped",
        Action::Mark => "marked",
    }
}

fn imperative(action: Action) -> &'static str {
    match action {
        Action::Enqueue => "enqueue",
        Action::Drop => "drop",
        Action::Mark => "mark",
    }
}

/// The reason; `None` if the discipline decided.
fn reason(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::Base | Reason::Steer | Reason::Student => return None,
        Reason::Once => "override once",
        Reason::Hold => "override hold",
        Reason::Tail => "queue limit",
        Reason::NotEct => "override refused: not ECN-capable",
        Reason::DropShare => "override refused: share of drops used up",
        Reason::MarkShare => "override refused: share of marks used up",
        Reason::Ceiling => "override refused: delay above the ceiling",
        Reason::Overload => "override refused: overload",
        Reason::LastPacket => "override refused: last packet",
        Reason::Flush => "queue deleted",
    })
}

fn queue(queue: Queue) -> &'static str {
    match queue {
        Queue::L4s => "L4S",
        Queue::Classic => "classic",
    }
}

fn codepoint(ecn: Ecn) -> &'static str {
    match ecn {
        Ecn::NotEct => "Not-ECT",
        Ecn::Ect1 => "ECT(1)",
        Ecn::Ect0 => "ECT(0)",
        Ecn::Ce => "CE",
    }
}

fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use l4sllm_abi::Params;

    use super::*;

    const DEPARTURE: Departure = Departure {
        cookie: 0,
        bytes: 1500,
        ecn: Ecn::Ce,
        queue: Queue::L4s,
        action: Action::Mark,
        sojourn_ns: 1_234_500,
        reason: Reason::Base,
    };

    fn comment(reason: Reason, in_force: Option<&InForce>) -> String {
        let mut text = String::new();
        let departure = Departure {
            reason,
            ..DEPARTURE
        };
        write(&mut text, &departure, "dualpi2", in_force);
        text
    }

    #[test]
    fn comments_have_the_verdict_and_the_control_in_force() {
        const POINTS: &str = "target 15 ms, L4S threshold 1 ms, k 2, alpha 0.159 Hz, \
                              beta 3.199 Hz, tupdate 16 ms";
        let mut in_force = InForce {
            set_points: Params {
                alpha_uhz: 159_000,
                beta_uhz: 3_199_000,
                ..Params::default()
            },
            latest: None,
            active: false,
        };
        assert_eq!(
            comment(Reason::Base, Some(&in_force)),
            format!("marked; dualpi2; L4S queue; sojourn 1.2345 ms; CE; no override; {POINTS}")
        );
        let latest = Override {
            sched: 1,
            instance: 0,
            id: NonZeroU64::new(7).unwrap(),
            based_on: 99,
            expires_ns: 1,
            mode: Mode::Once {
                action: Action::Mark,
                queue: None,
            },
        };
        in_force.latest = Some(latest);
        // This packet used it up.
        assert!(comment(Reason::Once, Some(&in_force)).contains(
            "marked; override once; L4S queue; sojourn 1.2345 ms; CE; \
             override 7: mark once, based on record 99; target"
        ));
        // It was used up earlier.
        assert!(comment(Reason::Base, Some(&in_force)).contains("; no override; "));
    }

    #[test]
    fn queues_without_a_device_have_no_override() {
        assert_eq!(
            comment(Reason::Base, None),
            "marked; dualpi2; L4S queue; sojourn 1.2345 ms; CE"
        );
    }
}
