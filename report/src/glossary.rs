//! Explanations of the terms on a page.

use super::data::Data;
use super::figure::escape;

/// A term and its meaning.
type Term = (&'static str, &'static str);

const ARM: Term = (
    "Arm",
    "One of the compared queues. All arms of a repetition have the same network and the \
     same random draws of traffic.",
);
const QUEUES: Term = (
    "Classic, L4S",
    "The two queues of DualPI2 (RFC 9332): classic traffic (Reno, CUBIC) fills its queue up to a \
     target delay; L4S traffic (DCTCP, Prague) asks for marks early and keeps its delay low.",
);
const PLAIN: Term = ("dualpi2", "DualPI2 with the defaults of RFC 9332.");
const TUNED: Term = (
    "dualpi2-tuned",
    "DualPI2 with a target of 10 ms (15 ms in RFC 9332) and gains of four times the defaults: \
     the first change that an administrator would try.",
);
const RULE: Term = (
    "adaptive",
    "DualPI2 with set-points moved by a rule according to the link\u{2019}s idle time. It is \
     not learned.",
);
const LEARNED: Term = (
    "l4sllm",
    "DualPI2 with overrides by a learned policy. A number in the name is the packets between two \
     decisions.",
);
const DELAY: Term = (
    "Delay, p50, p99",
    "Time that a packet waited in the bottleneck\u{2019}s queue (sojourn time): median and 99th \
     percentile of forwarded packets.",
);
const UTILISATION: Term = (
    "Utilisation",
    "Bits that the bottleneck sent, as a share of its capacity.",
);
const DROPPED: Term = ("Dropped", "Share of the packets that left the queue.");
const JAIN: Term = (
    "Jain",
    "Jain\u{2019}s index of fairness among long-lived flows: 1 when all get the same rate, 1/n when one of \
     n gets everything.",
);
const OVERRIDE: Term = (
    "Override",
    "A decision of a controller that replaces DualPI2\u{2019}s own for a packet, or moves its \
     set-points. Limits in the kernel refuse harmful overrides.",
);
const DECISION: Term = (
    "Decision",
    "Time from the record that completes an interval until the override takes effect. \
     \u{201c}Set\u{201d}: the \
     scenario sets it; it was not measured.",
);

/// The terms used on the page for `data`.
pub(super) fn glossary(data: &Data) -> String {
    let controlled = data.facts.arms.iter().any(|arm| arm.is_controlled());
    let any = |is: &dyn Fn(&str) -> bool| data.arms.iter().any(|arm| is(&arm.base));
    let terms = [
        (ARM, true),
        (PLAIN, any(&|name| name == "dualpi2")),
        (TUNED, any(&|name| name == "dualpi2-tuned")),
        (RULE, any(&|name| name == "adaptive")),
        (LEARNED, any(&|name| name.starts_with("l4sllm"))),
        (QUEUES, true),
        (UTILISATION, true),
        (DROPPED, true),
        (DELAY, true),
        (JAIN, true),
        (OVERRIDE, controlled),
        (DECISION, controlled),
    ];
    let terms = terms.into_iter().filter(|(_, used)| *used);
    let entries: String = terms
        .map(|((name, meaning), _)| {
            format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(meaning))
        })
        .collect();
    format!("<dl class=\"legend terms\">\n{entries}</dl>\n")
}
